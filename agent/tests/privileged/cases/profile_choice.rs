//! What `remora profile` samples, where it writes, and what it says of both.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::profile::{burner, burning, folded, text};
use crate::harness::process::{Spawned, output, remora};
use crate::harness::{require_privilege, wait_until};

fn profile(args: &[&str]) -> Output {
    output(remora().arg("profile").args(args))
}

#[test]
fn a_name_that_nothing_has_is_told_at_once_and_fails_in_the_end() {
    require_privilege!();
    let made = profile(&[
        "--comm",
        "no-such-program",
        "--duration",
        "1s",
        "-o",
        "folded",
    ]);
    let said = text(&made.stderr);
    assert_eq!(made.status.code(), Some(1), "{said}");
    assert!(made.stdout.is_empty());
    for part in [
        "no process is called 'no-such-program' yet",
        "no process called 'no-such-program' used a CPU",
        "ps -eo pid,comm",
    ] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
    // A pattern chooses among what is there.
    let begin = Instant::now();
    let made = profile(&["--comm", "no-such-*", "--duration", "30s"]);
    let said = text(&made.stderr);
    assert_eq!(made.status.code(), Some(2), "{said}");
    assert!(said.contains("ps -eo pid,comm"), "{said}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_name_chooses_what_starts_later() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    // A name that no other test has.
    let program = dir.path().join("late-burner");
    fs::rename(burner(dir.path()), &program).unwrap();
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    let mut command = remora();
    command
        .args([
            "profile",
            "--comm",
            "late-burner",
            "--duration",
            "3s",
            "-o",
            "folded",
            "-w",
        ])
        .arg(&out);
    let mut run = Spawned::logged(&mut command, &log);
    wait_until("sampling", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("sampling at")
            .then_some(())
    });
    let done = output(Command::new(program).args(["1", "0", "/dev/null"]));
    assert!(done.status.success());
    let status = wait_until("the end", || run.child().try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert!(status.success(), "{said}");
    assert!(
        said.contains("no process is called 'late-burner' yet"),
        "{said}"
    );
    let stacks = fs::read_to_string(out).unwrap();
    assert!(stacks.contains("burn_leaf"), "{stacks}");
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_sampling() {
    require_privilege!();
    let begin = Instant::now();
    let made = profile(&["--duration", "60s", "-w", "/proc/1/no-such-file"]);
    let said = text(&made.stderr);
    assert_eq!(made.status.code(), Some(1), "{said}");
    assert!(
        said.contains("fix: give a file that may be written to -w"),
        "{said}"
    );
    assert!(begin.elapsed() < Duration::from_secs(20));
    // What is there stays when nothing can be sampled.
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    fs::write(&old, "old").unwrap();
    for path in [&old, &new] {
        let made = profile(&["-w", path.to_str().unwrap(), "--", "/nonexistent/command"]);
        assert_eq!(made.status.code(), Some(1), "{made:?}");
    }
    assert_eq!(fs::read_to_string(old).unwrap(), "old");
    assert!(!new.exists());
}

#[test]
fn losses_are_shown_by_cpu_and_process() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    // Two, so that the ring is full soon.
    let other = tempfile::tempdir().unwrap();
    let (burner, second) = (burning(dir.path()), burning(other.path()));
    let (log, out) = (dir.path().join("log"), dir.path().join("out"));
    let mut command = remora();
    command
        .args([
            "profile",
            "-p",
            &burner.pid().to_string(),
            "-p",
            &second.pid().to_string(),
            "-F",
            "10000",
            "--duration",
            "60s",
            "-o",
            "json",
            "-w",
        ])
        .arg(&out);
    let mut run = Spawned::logged(&mut command, &log);
    wait_until("sampling", || {
        fs::read_to_string(&log)
            .unwrap()
            .contains("sampling at")
            .then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    run.signal(libc::SIGSTOP);
    std::thread::sleep(Duration::from_secs(8));
    run.signal(libc::SIGCONT);
    run.signal(libc::SIGINT);
    wait_until("the end", || run.child().try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains("in the kernel on CPU "), "{said}");
    let pid = burner.pid();
    let line = said
        .lines()
        .find(|line| line.contains(&format!("burner ({pid})")));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(
        !line.contains(", 0 lost") && line.contains(" lost  burner"),
        "{line}"
    );
    let lines = fs::read_to_string(out).unwrap();
    let summary: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let cpus = summary["lost_per_cpu"].as_array().unwrap();
    let sum: u64 = cpus.iter().map(|count| count.as_u64().unwrap()).sum();
    assert!(sum > 0 && summary["lost"]["ring_full"] == sum, "{summary}");
    let processes = summary["processes"].as_array().unwrap();
    let own = processes
        .iter()
        .find(|process| process["pid"] == pid)
        .unwrap();
    assert!(own["lost"].as_u64().unwrap() > 100, "{own}");
}

#[test]
fn a_shell_that_works_is_a_shell() {
    require_privilege!();
    let mut command = Command::new("sh");
    let command = command.args(["-c", "i=0; while [ $i -ge 0 ]; do i=$((i+1)); done"]);
    let shell = Spawned::with_streams(command.stdin(Stdio::null()));
    let pid = shell.pid().to_string();
    let made = profile(&[
        "-p",
        &pid,
        "--duration",
        "1s",
        "--by",
        "service",
        "-o",
        "folded",
    ]);
    assert!(made.status.success(), "{made:?}");
    let stacks = folded(&made);
    // Not by a word of its code, such as `done`.
    let program = fs::canonicalize("/bin/sh").unwrap();
    let start = format!("{};sh;", program.file_name().unwrap().display());
    assert!(
        !stacks.is_empty() && stacks.keys().all(|stack| stack.starts_with(&start)),
        "{stacks:?}"
    );
}

#[test]
fn cycles_are_counted_where_there_is_a_counter_and_told_where_there_is_none() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let burner = burning(dir.path());
    let pid = burner.pid().to_string();
    let made = profile(&[
        "-p",
        &pid,
        "--duration",
        "2s",
        "--event",
        "cycles",
        "-o",
        "json",
    ]);
    let said = text(&made.stderr);
    assert!(made.status.success(), "{said}");
    let lines = text(&made.stdout).lines();
    let lines: Vec<Value> = lines.map(|it| serde_json::from_str(it).unwrap()).collect();
    let (head, stacks) = (&lines[0], &lines[1..lines.len() - 1]);
    let one = if said.contains("samples are of CPU time instead of cycles: ") {
        assert!(said.contains("sampling at 99 Hz"), "{said}");
        assert_eq!(head["event"], "cpu-clock");
        assert!(head["period_cycles"].is_null() && head["period_ns"] == 1_000_000_000 / 99);
        "cpu_ns"
    } else {
        assert_eq!(head["event"], "cycles");
        assert!(head["period_ns"].is_null() && head["period_cycles"].as_u64() > Some(1_000_000));
        "cycles"
    };
    assert!(!stacks.is_empty());
    for stack in stacks {
        assert!(stack[one].as_u64() > Some(0), "{stack}");
        let values = ["cpu_ns", "cycles"].map(|key| stack[key].is_null());
        assert_eq!(values.iter().filter(|null| **null).count(), 1, "{stack}");
    }
}
