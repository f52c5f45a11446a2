//! Runs test programs, counts what they report, and notes how long each test took.

use super::Outcome;
use crate::process::{say, shown};
use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Runs a program of libtest and sums up. The time of each test needs libtest's
/// `--report-time`, unstable as an option but there in every toolchain: the variable opens
/// it, at run time, to a program that the stable compiler built.
///
/// # Errors
/// The program cannot start.
pub(super) fn run_program(program: &mut Command) -> Result<Outcome> {
    program
        .args(["-Z", "unstable-options", "--report-time"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("SUITE_TEST_TIMES", "1");
    run(program)
}

/// Runs the command, shows its output as it comes, and sums up the result lines.
///
/// # Errors
/// The command cannot start. A build that fails is one failure in the outcome.
pub(super) fn run(command: &mut Command) -> Result<Outcome> {
    say(&format!("$ {}", shown(command)));
    let mut child = crate::process::logged(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut outcome = Outcome::default();
    let (mut results, mut ignored) = (0, 0);
    let mut waited: HashMap<String, Duration> = HashMap::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            if let Some((test, time)) = waited_line(&line) {
                waited.insert(test, time);
                continue;
            }
            say(&line);
            if let Some(counts) = result_line(&line) {
                outcome.passed += counts[0];
                outcome.failed += counts[1];
                ignored += counts[2];
                results += 1;
            }
            if let Some((test, time)) = test_line(&line) {
                let waited = waited.get(&test).copied().unwrap_or_default();
                outcome.tests.push((test, time.saturating_sub(waited)));
            }
        }
    }
    let status = child.wait()?;
    if !status.success() && outcome.failed == 0 {
        outcome.failed = 1;
        outcome.remarks.push(format!("ended with {status}"));
    }
    if ignored > 0 {
        outcome.remarks.push(format!("{ignored} marked #[ignore]"));
    }
    if results == 0 && outcome.failed == 0 {
        outcome.failed = 1;
        outcome.remarks.push("no test ran".to_owned());
    }
    Ok(outcome)
}

/// Passed, failed and ignored of a line such as
/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`. It may follow
/// what a test wrote without a line end.
fn result_line(line: &str) -> Option<[u32; 3]> {
    let (_, counts) = line.split_once("test result: ")?;
    let (_, counts) = counts.split_once(". ")?;
    let mut numbers = counts
        .split("; ")
        .map(|part| part.split_whitespace().next()?.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

/// Name and time of a line such as `test cases::ends::reset ... ok <1.234s>`.
fn test_line(line: &str) -> Option<(String, Duration)> {
    let (_, line) = line.split_once("test ")?;
    let (name, result) = line.split_once(" ... ")?;
    let (_, time) = result.rsplit_once('<')?;
    Some((name.to_owned(), seconds(time.strip_suffix("s>")?)?))
}

/// Name and time of a line such as `waited for its turn: cases::ends::reset 1.234`, which a
/// harness writes whose tests wait for each other.
fn waited_line(line: &str) -> Option<(String, Duration)> {
    let (_, line) = line.split_once("waited for its turn: ")?;
    let (name, time) = line.split_once(' ')?;
    Some((name.to_owned(), seconds(time.trim_end())?))
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_result_lines() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(result_line(line), Some([12, 3, 1]));
        assert_eq!(result_line("test record::reads ... ok"), None);
        assert_eq!(result_line("test result: "), None);
    }

    #[test]
    fn the_time_of_a_test_is_without_the_wait_for_its_turn() {
        let lines = "echo 'waited for its turn: a::b 1.5'; echo 'test a::b ... ok <2.000s>'; \
                     echo 'test c ... FAILED <0.250s>'; echo 'test d ... ignored'; \
                     echo 'test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured'; exit 101";
        let outcome = run(Command::new("sh").args(["-c", lines])).unwrap();
        assert_eq!((outcome.passed, outcome.failed), (1, 1));
        let times = [("a::b", 500), ("c", 250)];
        let times = times.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms)));
        assert_eq!(outcome.tests, times);
    }

    #[test]
    fn a_build_that_fails_and_a_run_without_tests_are_failures() {
        let failed = run(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!((failed.passed, failed.failed), (0, 1));
        let empty = run(Command::new("sh").args(["-c", "echo nothing"])).unwrap();
        assert_eq!((empty.passed, empty.failed), (0, 1));
    }
}
