//! Runs steps side by side.
//!
//! Each [`Lane`] is a thread that takes its steps in order. Two cores are kept busy that
//! way: what waits for the network or for a timeout runs beside what computes. A step waits
//! for the steps it names in `after`, and runs even if they failed: nothing is skipped.

use super::{Finished, Lane, Outcome, Step};
use crate::process::{self, Log};
use crate::workspace;
use anyhow::Result;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// All lanes.
const LANES: [Lane; 5] = [
    Lane::Fetch,
    Lane::Tools,
    Lane::Build,
    Lane::Tests,
    Lane::Kernels,
];

/// Runs the steps; returns what they did, in the order in which they ended. One step alone
/// prints as it goes. Of several, each writes into a file of its own, which is printed
/// when the step has ended, so that the lines of two steps never mix.
pub(super) fn run(steps: &[&'static Step]) -> Vec<Finished> {
    if let [step] = steps {
        println!("\n=== {}: {} ===", step.name, step.about);
        return vec![run_step(step)];
    }
    let board = Board::default();
    thread::scope(|scope| {
        for lane in LANES {
            let board = &board;
            let mine: Vec<&Step> = steps.iter().copied().filter(|s| s.lane == lane).collect();
            scope.spawn(move || {
                if lane != Lane::Tests {
                    yield_to_tests();
                }
                for step in mine {
                    board.wait(step, steps);
                    println!("--- {} begins", step.name);
                    board.end(run_logged(step));
                }
            });
        }
    });
    board
        .finished
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Who has ended.
#[derive(Default)]
struct Board {
    finished: Mutex<Vec<Finished>>,
    changed: Condvar,
}

impl Board {
    /// Waits for the steps that `step` comes after, as far as they run at all.
    fn wait(&self, step: &Step, steps: &[&'static Step]) {
        let runs = |name: &&&str| steps.iter().any(|other| other.name == **name);
        let before: Vec<&&str> = step.after.iter().filter(runs).collect();
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = |finished: &mut Vec<Finished>| {
            !before
                .iter()
                .all(|name| finished.iter().any(|other| other.name == **name))
        };
        drop(self.changed.wait_while(finished, ended));
    }

    fn end(&self, finished: Finished) {
        self.finished
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(finished);
        self.changed.notify_all();
    }
}

/// Runs a step with its output in a file, and prints that.
fn run_logged(step: &'static Step) -> Finished {
    static PRINTING: Mutex<()> = Mutex::new(());
    let path = workspace::target().join(format!("xtask-test/{}.log", step.name));
    let log = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| Log::create(&path));
    match log {
        Ok(log) => process::log_to(Some(log)),
        Err(error) => eprintln!("no log of {} in {}: {error}", step.name, path.display()),
    }
    let finished = run_step(step);
    process::log_to(None);
    let _one = PRINTING.lock().unwrap_or_else(PoisonError::into_inner);
    println!("\n=== {}: {} ===", step.name, step.about);
    print_file(&path);
    finished
}

fn print_file(path: &Path) {
    if let Ok(bytes) = fs::read(path) {
        print!("{}", String::from_utf8_lossy(&bytes));
    }
}

fn run_step(step: &'static Step) -> Finished {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(step.run));
    let result: Result<Outcome> =
        result.unwrap_or_else(|_| Err(anyhow::anyhow!("the step itself panicked")));
    let outcome = result.unwrap_or_else(|error| {
        let message = format!("{error:#}");
        process::say(&format!("{}: FAILED: {message}", step.name));
        let first = message.lines().next().unwrap_or_default().to_owned();
        Outcome {
            failed: 1,
            remarks: vec![first],
            ..Outcome::default()
        }
    });
    Finished {
        name: step.name,
        took: start.elapsed(),
        outcome,
    }
}

/// Lowers the priority of this thread and of all it starts, so that what compiles or
/// emulates takes what the tests leave, not half of the machine. Only speed depends on it.
fn yield_to_tests() {
    let Ok(thread) = fs::read_link("/proc/thread-self") else {
        return;
    };
    let Some(id) = thread.file_name() else {
        return;
    };
    let renice = Command::new("renice")
        .args(["-n", "5", "-p"])
        .arg(id)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    drop(renice);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    static BUILT: AtomicBool = AtomicBool::new(false);

    fn build() -> Result<Outcome> {
        thread::sleep(std::time::Duration::from_millis(50));
        BUILT.store(true, Ordering::SeqCst);
        Ok(Outcome::one())
    }

    fn test() -> Result<Outcome> {
        anyhow::ensure!(BUILT.load(Ordering::SeqCst), "not built yet");
        Ok(Outcome::one())
    }

    fn panics() -> Result<Outcome> {
        let nothing: [u32; 0] = [];
        Ok(Outcome {
            passed: *nothing.iter().max().expect("nothing"),
            ..Outcome::default()
        })
    }

    const fn step(name: &'static str, lane: Lane, run: fn() -> Result<Outcome>) -> Step {
        Step {
            name,
            about: "",
            lane,
            after: &["xtask-unit-build", "not chosen"],
            run,
        }
    }

    static BUILD: Step = Step {
        after: &[],
        ..step("xtask-unit-build", Lane::Build, build)
    };
    static TEST: Step = step("xtask-unit-test", Lane::Tests, test);
    static PANICS: Step = step("xtask-unit-panics", Lane::Tools, panics);

    #[test]
    fn a_step_waits_for_those_before_it_and_a_panic_is_a_failure() {
        let finished = run(&[&TEST, &PANICS, &BUILD]);
        let of = |step: &Step| finished.iter().find(|it| it.name == step.name).unwrap();
        assert_eq!(finished[0].name, BUILD.name);
        assert_eq!(of(&TEST).outcome.passed, 1);
        assert_eq!(of(&PANICS).outcome.failed, 1);
    }
}
