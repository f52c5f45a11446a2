//! `test`: every check of the project in one command.
//!
//! A step that cannot run fails: nothing is skipped. What a step could not check is
//! printed beside its result. Steps run side by side, in lanes: see `schedule`.

mod libtest;
mod programs;
mod schedule;
mod steps;

use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use steps::{ON_DEMAND, STEPS};

/// So many of the slowest tests are named at the end.
const SLOWEST: usize = 20;

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
    /// Tests that ran, and how long each took.
    pub(crate) tests: Vec<(String, Duration)>,
}

impl Outcome {
    /// One check that passed.
    fn one() -> Self {
        Self {
            passed: 1,
            ..Self::default()
        }
    }

    /// Adds what another part of the step did.
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.remarks.extend(other.remarks);
        self.tests.extend(other.tests);
    }
}

/// What runs one after the other; lanes run side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    /// Waits for the network.
    Fetch,
    /// Builds outside of cargo's folder `debug`, or hardly computes.
    Tools,
    /// Builds in cargo's folders, which cargo allows one process at a time.
    Build,
    /// Runs tests. They trace the whole host and may measure it: one program at a time, and
    /// ahead of all other lanes.
    Tests,
    /// Emulates machines.
    Kernels,
}

/// A step: its name, what it checks, when it runs, and how.
struct Step {
    name: &'static str,
    about: &'static str,
    lane: Lane,
    /// Steps of other lanes that have to end first, if they run.
    after: &'static [&'static str],
    /// What it needs it installs itself; `fetch` only does so ahead of time.
    run: fn() -> Result<Outcome>,
}

/// A step that has ended.
struct Finished {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

/// Runs the steps, all of them even if one fails, and sums up; whether everything passed.
///
/// # Errors
/// No step has the name asked for.
pub(crate) fn main(args: &Args) -> Result<bool> {
    let all = || STEPS.iter().chain(ON_DEMAND);
    if args.list {
        for step in all() {
            println!("{:<12} {}", step.name, step.about);
        }
        return Ok(true);
    }
    if let Some(unknown) = args
        .only
        .iter()
        .find(|name| all().all(|s| s.name != **name))
    {
        bail!("no step is named {unknown}; --list names them");
    }
    let start = Instant::now();
    let steps: Vec<&Step> = if args.only.is_empty() {
        STEPS.iter().collect()
    } else {
        let named = |step: &&Step| args.only.iter().any(|name| name == step.name);
        all().filter(named).collect()
    };
    let mut finished = schedule::run(&steps);
    finished.sort_by_key(|it| steps.iter().position(|step| step.name == it.name));
    slowest(&finished);
    Ok(summary(&finished, start.elapsed()))
}

/// Prints the slowest tests of all steps.
fn slowest(finished: &[Finished]) {
    let mut tests: Vec<_> = finished
        .iter()
        .flat_map(|step| step.outcome.tests.iter().map(|test| (step.name, test)))
        .collect();
    if tests.is_empty() {
        return;
    }
    tests.sort_by_key(|(_, (_, took))| std::cmp::Reverse(*took));
    println!("\nthe slowest of {} tests:", tests.len());
    for (step, (name, took)) in tests.iter().take(SLOWEST) {
        println!("{:>8.1} s  {step}: {name}", took.as_secs_f32());
    }
}

/// Prints the table and the closing line; whether all is well.
fn summary(finished: &[Finished], took: Duration) -> bool {
    println!(
        "\n{:<12} {:>7} {:>7} {:>8}",
        "step", "passed", "failed", "time"
    );
    let (mut passed, mut failed, mut sum) = (0, 0, Duration::ZERO);
    for Finished {
        name,
        took,
        outcome,
    } in finished
    {
        passed += outcome.passed;
        failed += outcome.failed;
        sum += *took;
        let seconds = took.as_secs_f32();
        let remarks = outcome.remarks.join("; ");
        let line = format!(
            "{name:<12} {:>7} {:>7} {seconds:>6.1} s  {remarks}",
            outcome.passed, outcome.failed
        );
        println!("{}", line.trim_end());
    }
    println!(
        "{:.1} minutes; one after the other, the steps would be {:.1}",
        took.as_secs_f32() / 60.0,
        sum.as_secs_f32() / 60.0
    );
    println!("\n{passed} passed, {failed} failed");
    failed == 0
}
