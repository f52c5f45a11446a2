//! Code made at run time: named by the map that its runtime writes, wherever that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Running, alone, folded, have, names, poll, profile, run, session, share};
use crate::harness::{source, start};
use remora::profile::kernel::Targets;
use remora::profile::session::Options;

/// A file that is removed on drop.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn made(directory: &Path) -> PathBuf {
    let program = directory.join("jit");
    run(Command::new("gcc")
        .args(["-O2", "-fomit-frame-pointer", "-o"])
        .arg(&program)
        .arg(source("jit.c")));
    program
}

fn map(pid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/perf-{pid}.map"))
}

fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts that the made function is called by the one that made it.
fn assert_named(pid: u32, name: &str) {
    let Some(profile) = profile(&[pid], 300) else {
        return;
    };
    let named = share(&profile, |names, whole| {
        whole && names.ends_with(&["interpreter", name])
    });
    eprintln!("{named:.1} % of {} samples are named", profile.count());
    assert!(named > 95.0, "{}", folded(&profile));
}

#[test]
fn a_map_names_what_was_made() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let running = start(&mut Command::new(made(directory.path())));
    let _map = Removed(map(running.pid()));
    wait_for("map", || map(running.pid()).exists().then_some(()));
    assert_named(
        running.pid(),
        &format!("made_at_run_time of {}", running.pid()),
    );
}

/// The process that `unshare` started: the only child.
fn child(of: &Running) -> u32 {
    let pid = of.pid();
    wait_for("child", || {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        let child: u32 = children.split_whitespace().next()?.parse().ok()?;
        let comm = fs::read_to_string(format!("/proc/{child}/comm")).ok()?;
        (comm == "jit\n").then_some(child)
    })
}

/// Runs the program in new namespaces, with a `/tmp` of its own.
fn apart(program: &Path, namespaces: &[&str]) -> Running {
    start(
        Command::new("unshare")
            .args(["--mount", "--fork", "--kill-child"])
            .args(namespaces)
            .args(["sh", "-c", "mount -t tmpfs none /tmp && exec \"$0\""])
            .arg(program),
    )
}

#[test]
fn a_map_is_found_in_the_file_system_of_its_process() {
    let _alone = alone();
    // Not below /tmp, which is another one for the program.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let program = made(directory.path());
    for (namespaces, own) in [(&[][..], None), (&["--pid", "--mount-proc"][..], Some(1))] {
        let unshared = apart(&program, namespaces);
        let pid = child(&unshared);
        let own = own.unwrap_or(pid);
        let inside = format!("/proc/{pid}/root/tmp/perf-{own}.map");
        wait_for("map", || Path::new(&inside).exists().then_some(()));
        // Somebody else's map of the same number names nothing.
        assert!(!map(pid).exists());
        let _other = Removed(map(pid));
        fs::write(map(pid), "0 ffffffffffffffff somebody_else\n").unwrap();
        assert_named(pid, &format!("made_at_run_time of {own}"));
    }
}

#[test]
fn java_functions_are_named_by_the_map_of_its_own_tool() {
    if !["java", "javac", "jcmd"].into_iter().all(have) {
        return;
    }
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    run(Command::new("javac")
        .arg("-d")
        .arg(directory.path())
        .arg(source("Busy.java")));
    // Inlined functions are no frames, and those without frame pointers have none.
    let running = start(
        Command::new("java")
            .args(["-XX:+PreserveFramePointer", "-XX:CompileCommand=quiet"])
            .args(["-XX:CompileCommand=dontinline,Busy::*", "-cp"])
            .arg(directory.path())
            .arg("Busy"),
    );
    std::thread::sleep(Duration::from_secs(3));
    let Some(mut session) = session(Options {
        targets: Targets {
            pids: vec![running.pid()],
            user_only: true,
            ..Targets::default()
        },
        frequency: 499,
        ..Options::default()
    }) else {
        return;
    };
    let _map = Removed(map(running.pid()));
    poll(&mut session, Duration::from_secs(3));
    // While it is sampled: names are looked up when the profile ends.
    run(Command::new("jcmd").args([&running.pid().to_string(), "Compiler.perfmap"]));
    let profile = session.finish().unwrap();
    let has = |names: &[&str], function: &str| names.iter().any(|name| name.contains(function));
    let leaf = share(&profile, |names, _| {
        names.last().is_some_and(|name| name.contains("Busy.leaf"))
    });
    let chain = share(&profile, |names, _| {
        has(names, "Busy.middle") && has(names, "Busy.leaf")
    });
    let whole = share(&profile, |_, whole| whole);
    eprintln!(
        "{leaf:.1} % of {} samples in Busy.leaf, {chain:.1} % with its caller, {whole:.1} % whole",
        profile.count()
    );
    assert!(profile.count() > 500);
    assert!(leaf > 80.0 && chain > 80.0, "{}", folded(&profile));
    let example = profile.samples.iter().max_by_key(|sample| sample.count);
    eprintln!("{:?}", names(&profile, example.unwrap()));
}
