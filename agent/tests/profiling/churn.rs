//! Processes and mappings that come and go: memory stays bounded, and every sample is
//! accounted for. And the same profile from a recording.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Running, alone, poll, run, session, source, start};
use remora::profile::kernel::Targets;
use remora::profile::model::Limits;
use remora::profile::recording;
use remora::profile::session::Options;

/// Memory of this process that is its own, KiB.
fn own_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().nth(1));
    number.unwrap().parse().unwrap()
}

#[test]
fn a_thousand_short_processes_a_minute() {
    let _alone = alone();
    let Some(mut session) = session(Options {
        frequency: 499,
        ..Options::default()
    }) else {
        return;
    };
    poll(&mut session, Duration::from_millis(500));
    let before = own_memory();
    let begin = Instant::now();
    let mut started = 0;
    let mut running: Vec<Running> = Vec::new();
    while begin.elapsed() < Duration::from_secs(12) {
        // 20 a second, each busy for a few ms, whatever the machine and the agent do.
        while begin.elapsed() > Duration::from_millis(50) * started {
            let code = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done";
            running.push(start(Command::new("sh").args(["-c", code])));
            started += 1;
        }
        running.retain_mut(|process| process.0.try_wait().unwrap().is_none());
        session.poll(Duration::from_millis(20)).unwrap();
    }
    let took = begin.elapsed();
    drop(running);
    let progress = session.progress();
    let grown = own_memory().saturating_sub(before);
    let profile = session.finish().unwrap();
    let shells = profile
        .processes
        .iter()
        .filter(|p| p.info.comm == "sh")
        .count();
    let a_minute = f64::from(started) * 60.0 / took.as_secs_f64();
    eprintln!(
        "{started} processes, {a_minute:.0} a minute: {} samples, {shells} shells seen, \
         {progress:?}, {grown} KiB more",
        profile.count()
    );
    assert!(started >= 200 && a_minute >= 1_000.0, "{a_minute} a minute");
    assert!(shells > started as usize / 4, "{shells} of {started}");
    assert!(profile.ledger.balanced() && profile.ledger.lost() == 0);
    assert!(progress.processes < 200 && grown < 20 << 10);
}

#[test]
fn libraries_that_come_and_go() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libknown.so");
    let program = directory.path().join("churn");
    let flags = ["-O2", "-fomit-frame-pointer", "-fno-optimize-sibling-calls"];
    run(Command::new("gcc")
        .args(flags)
        .args(["-shared", "-fPIC", "-DLIBRARY"])
        .arg(source("known.c"))
        .arg("-o")
        .arg(&library));
    run(Command::new("gcc")
        .args(flags)
        .arg(source("churn.c"))
        .arg("-o")
        .arg(&program));
    // Copies differ: another file at the same address each time.
    for n in 0..8 {
        let copy = directory.path().join(format!("lib{n}.so"));
        let mut bytes = std::fs::read(&library).unwrap();
        bytes.extend_from_slice(&[n; 32]);
        std::fs::write(copy, bytes).unwrap();
    }
    let running = start(Command::new(&program).arg(directory.path()));
    let Some(mut session) = session(Options {
        targets: Targets {
            pids: vec![running.pid()],
            user_only: true,
            ..Targets::default()
        },
        frequency: 997,
        ..Options::default()
    }) else {
        return;
    };
    poll(&mut session, Duration::from_secs(6));
    let profile = session.finish().unwrap();
    let process = profile
        .processes
        .iter()
        .find(|p| p.unwinding.total() > 0)
        .unwrap();
    let success = process.unwinding.success().unwrap();
    eprintln!(
        "mapping churn: {success:.3} of {} stacks whole",
        process.unwinding.total()
    );
    assert!(success > 0.75, "{:?}", process.unwinding);
    assert!(profile.ledger.balanced());
}

#[test]
fn a_recording_gives_the_same_profile() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("recording");
    let Some(mut session) = session(Options {
        frequency: 499,
        record: Some(path.clone()),
        ..Options::default()
    }) else {
        return;
    };
    // Something that is busy throughout: how long `true` takes is up to the machine.
    let busy = start(Command::new("sh").args(["-c", "while :; do :; done"]));
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        run(&mut Command::new("true"));
        poll(&mut session, Duration::from_millis(20));
    }
    drop(busy);
    let live = session.finish().unwrap();
    assert!(live.count() > 100, "{}", live.count());
    let first = recording::replay(&path, Limits::default()).unwrap();
    assert_eq!(first, live);
    // Cut short, it is refused, whatever the place.
    let bytes = std::fs::read(&path).unwrap();
    for part in 1..20 {
        std::fs::write(&path, &bytes[..bytes.len() * part / 20]).unwrap();
        recording::replay(&path, Limits::default()).unwrap_err();
    }
}
