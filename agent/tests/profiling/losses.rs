//! Samples that the kernel has no room for: counted by CPU and by process.

use std::process::Command;
use std::time::Duration;

use crate::harness::{alone, poll, session, start};
use remora::profile::kernel::Targets;
use remora::profile::model::Loss;
use remora::profile::session::Options;

#[test]
fn what_a_full_ring_loses_is_counted_by_cpu_and_process() {
    let _alone = alone();
    let busy = |cpu: &str| {
        start(Command::new("taskset").args(["-c", cpu, "sh", "-c", "while :; do :; done"]))
    };
    let cpus = std::thread::available_parallelism().unwrap().get().min(2);
    let early: Vec<_> = (0..cpus).map(|cpu| busy(&cpu.to_string())).collect();
    let Some(mut session) = session(Options {
        targets: Targets {
            user_only: true,
            ..Targets::default()
        },
        frequency: 10_000,
        ..Options::default()
    }) else {
        return;
    };
    poll(&mut session, Duration::from_millis(500));
    // Nobody takes samples away: a ring of 1 MiB is full after a second at the latest.
    std::thread::sleep(Duration::from_secs(2));
    let late = busy("0");
    std::thread::sleep(Duration::from_secs(1));
    let profile = session.finish().unwrap();
    let ledger = &profile.ledger;
    let lost = ledger.lost[Loss::RingFull as usize];
    eprintln!(
        "{} of {} lost, by CPU {:?}",
        lost, ledger.seen, ledger.lost_per_cpu
    );
    assert!(ledger.balanced() && ledger.emitted > 0, "{ledger:?}");
    assert_eq!(ledger.lost_per_cpu.iter().sum::<u64>(), lost);
    let of = |pid: u32| profile.processes.iter().find(|it| it.info.tgid == pid);
    for (cpu, running) in early.iter().enumerate() {
        assert!(ledger.lost_per_cpu[cpu] > 100, "{ledger:?}");
        let process = of(running.pid()).unwrap();
        assert!(process.lost > 100 && process.unwinding.total() > 100);
    }
    // No sample of it came through, and it has a name all the same.
    let process = of(late.pid()).unwrap();
    assert_eq!((&*process.info.comm, process.unwinding.total()), ("sh", 0));
    assert!(process.lost > 100);
    let named: u64 = profile.processes.iter().map(|process| process.lost).sum();
    assert!(named * 100 >= lost * 99, "{named} of {lost} have a process");
}

#[test]
fn each_profile_counts_its_own_losses() {
    let _alone = alone();
    let busy = start(Command::new("sh").args(["-c", "while :; do :; done"]));
    let Some(mut session) = session(Options {
        targets: Targets {
            pids: vec![busy.pid()],
            user_only: true,
            ..Targets::default()
        },
        frequency: 10_000,
        ..Options::default()
    }) else {
        return;
    };
    poll(&mut session, Duration::from_millis(300));
    std::thread::sleep(Duration::from_secs(3));
    let first = session.flush().unwrap();
    assert!(first.ledger.lost() > 100, "{:?}", first.ledger);
    // What was lost between the two readings of the counters is the next profile's.
    poll(&mut session, Duration::from_millis(300));
    session.flush().unwrap();
    poll(&mut session, Duration::from_millis(300));
    let last = session.finish().unwrap();
    assert_eq!(last.ledger.lost(), 0, "{:?}", last.ledger);
    assert_eq!(last.ledger.lost_per_cpu.iter().sum::<u64>(), 0);
    assert!(last.processes.iter().all(|process| process.lost == 0));
}
