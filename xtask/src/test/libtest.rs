//! Runs `cargo test` and counts what it reports.

use super::Outcome;
use crate::process::shown;
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

/// Runs the command, shows its output as it comes, and sums up the result lines.
///
/// # Errors
/// The command cannot start. A build that fails is one failure in the outcome.
pub(super) fn run(command: &mut Command) -> Result<Outcome> {
    eprintln!("$ {}", shown(command));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let mut outcome = Outcome::default();
    let (mut results, mut ignored) = (0, 0);
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            if let Some(counts) = result_line(&line) {
                outcome.passed += counts[0];
                outcome.failed += counts[1];
                ignored += counts[2];
                results += 1;
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
    fn a_build_that_fails_and_a_run_without_tests_are_failures() {
        let failed = run(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!((failed.passed, failed.failed), (0, 1));
        let empty = run(Command::new("sh").args(["-c", "echo nothing"])).unwrap();
        assert_eq!((empty.passed, empty.failed), (0, 1));
    }
}
