//! A process with two hundred different libraries, each with thousands of functions.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{alone, run, session, source, start};
use remora::profile::kernel::Targets;
use remora::profile::session::Options;

const LIBRARIES: usize = 200;
/// What the agent may grow by, KiB.
const GROWTH: u64 = 60 << 10;

/// Resident memory of this process: now, and the most there was, KiB.
fn resident() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let number = line.and_then(|line| line.split_ascii_whitespace().next());
        number.unwrap().parse().unwrap()
    };
    (value("VmRSS:"), value("VmHWM:"))
}

/// A library of 3,000 functions with frames, 300 KB of code, and one that works.
fn library(directory: &Path) -> Vec<u8> {
    let (assembly, library) = (directory.join("many.s"), directory.join("many.so"));
    std::fs::write(
        &assembly,
        ".text\n.macro function\n.type f\\@,@function\nf\\@:\n.cfi_startproc\n\
         sub $24,%rsp\n.cfi_adjust_cfa_offset 24\n.skip 88,0x90\nadd $24,%rsp\n\
         .cfi_adjust_cfa_offset -24\nret\n.cfi_endproc\n.size f\\@,.-f\\@\n.endm\n\
         .rept 3000\nfunction\n.endr\n\
         .globl busy\n.type busy,@function\nbusy:\n.cfi_startproc\n1: dec %rdi\njnz 1b\nret\n\
         .cfi_endproc\n.size busy,.-busy\n.section .note.GNU-stack,\"\",@progbits\n",
    )
    .unwrap();
    run(Command::new("gcc")
        .args(["-shared", "-Wl,--build-id=sha1", "-o"])
        .arg(&library)
        .arg(&assembly));
    std::fs::read(library).unwrap()
}

#[test]
fn two_hundred_libraries_take_little_memory() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = library(directory.path());
    // `Elf64_Nhdr` of a build id, and its owner.
    let note = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    let at = bytes.windows(note.len()).position(|window| window == note);
    let at = at.unwrap() + note.len();
    for n in 0..LIBRARIES {
        bytes[at..at + 8].copy_from_slice(&(n as u64).to_le_bytes());
        std::fs::write(directory.path().join(format!("lib{n}.so")), &bytes).unwrap();
    }
    let program = directory.path().join("many");
    run(Command::new("gcc")
        .args(["-O2", "-o"])
        .arg(&program)
        .arg(source("many.c")));
    let running = start(
        Command::new(&program)
            .arg(directory.path())
            .arg(LIBRARIES.to_string()),
    );
    std::thread::sleep(Duration::from_secs(2));
    // The most there is from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, _) = resident();
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
    let begin = Instant::now();
    while session.progress().preparing > 0 || begin.elapsed() < Duration::from_secs(5) {
        session.poll(Duration::from_millis(50)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(60), "never prepared");
    }
    let progress = session.progress();
    let tables: u64 = session.prepared().iter().map(|it| it.bytes).sum();
    let profile = session.flush().unwrap();
    let (now, most) = resident();
    let sampled: std::collections::BTreeSet<&str> = profile
        .mappings
        .iter()
        .map(|mapping| profile.string(mapping.file))
        .filter(|file| file.contains("/lib"))
        .collect();
    let named = profile.samples.iter().filter(|sample| {
        let leaf = profile.stack(sample).frames.first();
        let line = leaf.and_then(|leaf| profile.locations[leaf.index()].lines.first());
        line.is_some_and(|line| {
            profile.string(profile.functions[line.function.index()].name) == "busy"
        })
    });
    let named: u64 = named.map(|sample| sample.count).sum();
    eprintln!(
        "{} binaries, {} with samples, {} of {} samples named, tables of {} KiB: {} KiB more, \
         at most {} KiB",
        progress.binaries,
        sampled.len(),
        named,
        profile.count(),
        tables >> 10,
        now.saturating_sub(before),
        most.saturating_sub(before)
    );
    assert!(progress.binaries > LIBRARIES && sampled.len() > LIBRARIES / 2);
    assert!(named * 10 > profile.count() * 9);
    assert!(most - before <= GROWTH, "{} KiB", most - before);
}
