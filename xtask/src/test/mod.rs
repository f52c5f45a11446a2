//! `test`: every check of the project in one command.
//!
//! A step that cannot run fails: nothing is skipped. What a step could not check is
//! printed beside its result.

mod libtest;
mod steps;

use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use steps::{ON_DEMAND, STEPS};

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only this step; may be repeated
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,
    /// Name the steps, those on demand last, and end
    #[arg(long)]
    list: bool,
}

/// What a step did.
#[derive(Default, Debug)]
pub(crate) struct Outcome {
    /// Checks that passed.
    pub(crate) passed: u32,
    /// Checks that failed.
    pub(crate) failed: u32,
    /// What the reader must know, such as a check that was impossible.
    pub(crate) remarks: Vec<String>,
}

impl Outcome {
    /// One check that passed.
    fn one() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }
}

/// A step: its name, what it checks, and how.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn() -> Result<Outcome>,
}

/// Runs the steps in order, all of them even if one fails, and sums up; whether
/// everything passed.
///
/// # Errors
/// No step has the name asked for.
pub(crate) fn main(args: &Args) -> Result<bool> {
    if args.list {
        for step in STEPS.iter().chain(&ON_DEMAND) {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(true);
    }
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| STEPS.iter().chain(&ON_DEMAND).all(|s| s.name != **name))
    {
        bail!("no step is named {unknown}; --list names them");
    }
    let named = |step: &&Step| args.only.iter().any(|n| n == step.name);
    let usual = STEPS
        .iter()
        .filter(|step| args.only.is_empty() || named(step));
    let results: Vec<_> = usual
        .chain(ON_DEMAND.iter().filter(named))
        .map(run)
        .collect();
    Ok(summary(&results))
}

fn run(step: &Step) -> (&'static str, Duration, Outcome) {
    println!("\n=== {}: {} ===", step.name, step.about);
    let start = Instant::now();
    let outcome = (step.run)().unwrap_or_else(|error| {
        let message = format!("{error:#}");
        println!("{}: FAILED: {message}", step.name);
        let first = message.lines().next().unwrap_or_default().to_owned();
        Outcome {
            failed: 1,
            remarks: vec![first],
            ..Outcome::default()
        }
    });
    (step.name, start.elapsed(), outcome)
}

/// Prints the table and the closing line; whether all is well.
fn summary(results: &[(&str, Duration, Outcome)]) -> bool {
    println!(
        "\n{:<12} {:>7} {:>7} {:>8}",
        "step", "passed", "failed", "time"
    );
    let (mut passed, mut failed) = (0, 0);
    for (name, took, outcome) in results {
        passed += outcome.passed;
        failed += outcome.failed;
        let seconds = took.as_secs_f32();
        let remarks = outcome.remarks.join("; ");
        let line = format!(
            "{name:<12} {:>7} {:>7} {seconds:>6.1} s  {remarks}",
            outcome.passed, outcome.failed
        );
        println!("{}", line.trim_end());
    }
    println!("\n{passed} passed, {failed} failed");
    failed == 0
}
