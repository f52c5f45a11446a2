//! Programs whose stacks are known, compiled in every way that changes frames.

use std::path::Path;
use std::process::Command;

use crate::harness::{alone, folded, have, profile, run, share, source, start};
use remora::profile::model::Profile;

const C: &[&str] = &["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];
/// Enough that chance alone moves a share of 70 % by three points once in 200,000 times.
const SAMPLES: u64 = 5000;

fn compile(compiler: &str, arguments: &[&str], file: &str, to: &Path) {
    run(Command::new(compiler)
        .args(arguments)
        .arg(source(file))
        .arg("-o")
        .arg(to));
}

/// Runs the program and takes its profile.
fn of(program: &Path, arguments: &[&Path]) -> Option<Profile> {
    let running = start(Command::new(program).args(arguments));
    std::thread::sleep(std::time::Duration::from_millis(200));
    profile(&[running.pid()], SAMPLES)
}

/// `main`, 21 times `chain`, and one of the leaves.
fn chained(names: &[&str], whole: bool) -> bool {
    let at = |wanted: &str| names.iter().position(|name| name.contains(wanted));
    let (Some(main), Some(first)) = (at("main"), at("chain")) else {
        return false;
    };
    let chain = names.iter().filter(|name| name.contains("chain")).count();
    let leaf = names
        .last()
        .is_some_and(|name| is(name, "hot") || is(name, "cold"));
    whole && main < first && chain == 21 && leaf
}

/// Whether a name in some language is that of a function.
fn is(name: &str, function: &str) -> bool {
    name == function
        || name.contains(&format!("{function}("))
        || name.ends_with(&format!("::{function}"))
        || name == format!("main.{function}")
}

fn ends_in(profile: &Profile, function: &str) -> f64 {
    share(profile, |names, _| {
        names.last().is_some_and(|name| is(name, function))
    })
}

/// The whole chain in 99 % of samples, and a split of 70 to 30.
fn check(what: &str, profile: &Profile) {
    // What the program does besides its leaves: a few instructions of `chain`, and what a
    // signal or a page fault interrupts.
    let whole = share(profile, |names, whole| {
        chained(names, whole) || (whole && names.iter().any(|name| is(name, "main")))
    });
    let leaves = share(profile, chained);
    let (hot, cold) = (ends_in(profile, "hot"), ends_in(profile, "cold"));
    let split = 100.0 * hot / (hot + cold);
    eprintln!(
        "{what}: {} samples, {leaves:.2} % whole chains, {whole:.2} % reach main, split {split:.1}",
        profile.count()
    );
    assert!(
        profile.count() >= SAMPLES / 2,
        "{} samples",
        profile.count()
    );
    assert!(
        whole >= 99.0 && leaves >= 97.0,
        "{what}\n{}",
        folded(profile)
    );
    assert!((split - 70.0).abs() <= 3.0, "{what}: {split}");
}

#[test]
fn c_in_every_form() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let forms: [(&str, &[&str]); 4] = [
        ("pie", &["-pie", "-fPIE"]),
        ("static", &["-static"]),
        ("static-pie", &["-static-pie", "-fPIE"]),
        (
            "frame pointers",
            &["-fno-omit-frame-pointer", "-fno-asynchronous-unwind-tables"],
        ),
    ];
    for (name, form) in forms {
        let program = directory.path().join(name.replace(' ', "-"));
        compile("gcc", &[C, form].concat(), "known.c", &program);
        let Some(profile) = of(&program, &[]) else {
            return;
        };
        check(&format!("C, {name}"), &profile);
    }
}

#[test]
fn c_without_section_headers_or_symbols() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("stripped");
    compile("gcc", C, "known.c", &program);
    run(Command::new("strip").arg(&program));
    let mut bytes = std::fs::read(&program).unwrap();
    // Where the section headers are, how many, and which holds their names.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    std::fs::write(&program, bytes).unwrap();
    let Some(profile) = of(&program, &[]) else {
        return;
    };
    // There are no names, but 24 frames: the leaf and its caller, `chain`, `main`, and what
    // the C library puts below.
    let deep = share(&profile, |names, whole| whole && names.len() >= 25);
    assert!(deep >= 97.0, "{deep}\n{}", folded(&profile));
}

#[test]
fn c_in_libraries_loaded_by_hand_and_deleted() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libknown.so");
    let program = directory.path().join("loader");
    compile(
        "gcc",
        &[C, &["-shared", "-fPIC", "-DLIBRARY"]].concat(),
        "known.c",
        &library,
    );
    compile("gcc", &[C, &["-DDLOPEN"]].concat(), "known.c", &program);
    let running = start(Command::new(&program).arg(&library));
    std::thread::sleep(std::time::Duration::from_millis(300));
    // Deleted while it is mapped, and another file in its place.
    std::fs::remove_file(&library).unwrap();
    std::fs::write(&library, "another file").unwrap();
    if let Some(profile) = profile(&[running.pid()], SAMPLES) {
        check("C, library, deleted", &profile);
    }
}

#[test]
fn cpp() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("known-cpp");
    compile("g++", C, "known.cpp", &program);
    if let Some(profile) = of(&program, &[]) {
        check("C++", &profile);
    }
}

#[test]
fn rust() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("known-rust");
    compile("rustc", &["-O", "--edition=2021"], "known.rs", &program);
    if let Some(profile) = of(&program, &[]) {
        check("Rust", &profile);
    }
}

#[test]
fn go_with_and_without_symbols() {
    let _alone = alone();
    if !have("go") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, flags) in [("Go", "-ldflags="), ("Go, stripped", "-ldflags=-s -w")] {
        let program = directory.path().join(name);
        run(Command::new("go")
            .args(["build", flags, "-o"])
            .arg(&program)
            .arg(source("known.go"))
            .env("GO111MODULE", "off")
            .env("GOCACHE", directory.path().join("cache")));
        let Some(profile) = of(&program, &[]) else {
            return;
        };
        // The runtime has threads of its own.
        let work = share(&profile, |names, _| names.contains(&"main.chain"));
        let whole = share(&profile, |names, whole| {
            whole
                && names.contains(&"main.chain")
                && names.contains(&"main.work")
                && names.first() == Some(&"runtime.goexit")
        });
        let leaves = ends_in(&profile, "hot") + ends_in(&profile, "cold");
        let split = 100.0 * ends_in(&profile, "hot") / leaves;
        eprintln!("{name}: {work:.2} % at work, {whole:.2} % whole, split {split:.1}");
        let right = work >= 95.0 && whole >= work * 0.99;
        assert!(right, "{name}\n{}", folded(&profile));
        assert!((split - 70.0).abs() <= 3.0, "{split}");
    }
}

#[test]
fn work_in_a_signal_handler_is_above_what_it_interrupted() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    for form in ["-pie", "-static"] {
        let program = directory.path().join("signal");
        compile("gcc", &[C, &[form]].concat(), "signal.c", &program);
        let Some(profile) = of(&program, &[]) else {
            return;
        };
        let handled = share(&profile, |names, _| names.contains(&"handler"));
        let whole = share(&profile, |names, whole| {
            let at = |wanted: &str| names.iter().position(|name| *name == wanted);
            whole
                && names.contains(&"handler")
                && at("interrupted") < at("handler")
                && at("main").is_some()
        });
        eprintln!("signal handler, {form}: {handled:.1} % of samples, {whole:.1} % whole");
        assert!(
            handled > 20.0 && whole >= handled * 0.99,
            "{}",
            folded(&profile)
        );
    }
}

#[test]
fn who_jumps_is_not_on_the_stack() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("tail");
    compile("gcc", &["-O2", "-fomit-frame-pointer"], "tail.c", &program);
    let Some(profile) = of(&program, &[]) else {
        return;
    };
    let right = share(&profile, |names, whole| {
        whole && names.ends_with(&["main", "calls", "hot"])
    });
    assert!(right >= 99.0, "{}", folded(&profile));
}
