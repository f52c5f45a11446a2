//! `test-vm`: the kernel matrix.
//!
//! Every kernel boots in an emulated machine with real servers and clients and the
//! agent. The agent must load every program, see every request once
//! per side, and account for all of them.

mod cpio;
mod image;
mod kernel;
mod qemu;
mod smoke;
mod verifier;

use crate::process::{self, say};
use crate::workspace;
use anyhow::{Result, bail};
pub(crate) use image::{PACKAGES, build_shipped};
use kernel::{Kernel, MATRIX};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;

/// Machines at a time: each keeps one core busy.
const PARALLEL: usize = 2;

/// Arguments of `test-vm`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Kernel series to test, such as 6.1; all if none is named
    kernels: Vec<String>,
    /// Write the verifier instruction counts into agent/ebpf/VERIFIER.md
    #[arg(long)]
    update: bool,
    /// Download the newest package of every kernel, even if one is there
    #[arg(long)]
    refresh: bool,
    /// Only boot and make the requests, without the agent
    #[arg(long)]
    boot_only: bool,
    /// Take this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
}

/// Kernels that passed and kernels that did not.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Outcome {
    /// Kernels on which everything was right.
    pub(crate) passed: u32,
    /// The others.
    pub(crate) failed: u32,
}

/// What one kernel showed.
struct Report {
    problems: Vec<String>,
    /// Verified instructions by program, if the agent told them.
    verifier: Option<BTreeMap<String, u64>>,
}

/// Runs the matrix as asked on the command line.
pub(crate) fn main(args: &Args) -> Result<()> {
    let outcome = run(args)?;
    if outcome.failed > 0 {
        bail!(
            "{} of {} kernels failed",
            outcome.failed,
            outcome.passed + outcome.failed
        );
    }
    Ok(())
}

/// Installs and downloads what the matrix needs.
///
/// # Errors
/// apt, or no Debian mirror can be reached.
pub(crate) fn fetch() -> Result<()> {
    image::install()?;
    kernel::fetch(&MATRIX, false).map(drop)
}

/// Runs the whole matrix.
pub(crate) fn run_all() -> Result<Outcome> {
    run(&Args {
        kernels: Vec::new(),
        update: false,
        refresh: false,
        boot_only: false,
        agent: None,
    })
}

fn run(args: &Args) -> Result<Outcome> {
    let kernels = selected(&args.kernels)?;
    image::install()?;
    let images = kernel::fetch(&kernels, args.refresh)?;
    let agent = match (&args.agent, args.boot_only) {
        (_, true) => None,
        (Some(agent), false) => Some(agent.clone()),
        (None, false) => Some(image::build_agent()?),
    };
    let initramfs = image::build(agent.as_deref())?;
    let mut table = verifier::load();
    let mut outcome = Outcome::default();
    let jobs: Vec<(Kernel, PathBuf)> = kernels.into_iter().zip(images).collect();
    for batch in jobs.chunks(PARALLEL) {
        for (kernel, result) in boot_batch(batch, &initramfs, agent.is_some()) {
            let mut problems = Vec::new();
            match result {
                Ok(report) => {
                    problems = report.problems;
                    match report.verifier {
                        Some(programs) if args.update => {
                            verifier::replace(&mut table, kernel.series, programs);
                        }
                        Some(programs) => {
                            problems.extend(verifier::compare(&table, kernel.series, &programs));
                        }
                        None => {}
                    }
                }
                Err(error) => problems.push(format!("{error:#}")),
            }
            let word = if problems.is_empty() { "ok" } else { "FAILED" };
            say(&format!("kernel {}: {word}", kernel.series));
            for problem in &problems {
                say(&format!("  {problem}"));
            }
            outcome.passed += u32::from(problems.is_empty());
            outcome.failed += u32::from(!problems.is_empty());
        }
    }
    if args.update {
        verifier::store(&table, &MATRIX.map(|kernel| kernel.series))?;
    }
    Ok(outcome)
}

fn selected(names: &[String]) -> Result<Vec<Kernel>> {
    if names.is_empty() {
        return Ok(MATRIX.to_vec());
    }
    let known = MATRIX.map(|kernel| kernel.series).join(", ");
    names
        .iter()
        .map(
            |name| match MATRIX.iter().find(|kernel| kernel.series == name) {
                Some(kernel) => Ok(*kernel),
                None => bail!("unknown kernel {name}; there are {known}"),
            },
        )
        .collect()
}

/// Boots a batch side by side.
fn boot_batch(
    batch: &[(Kernel, PathBuf)],
    initramfs: &Path,
    agent: bool,
) -> Vec<(Kernel, Result<Report>)> {
    thread::scope(|scope| {
        let machines: Vec<_> = batch
            .iter()
            .map(|(kernel, vmlinuz)| {
                let log = process::log();
                let machine = scope.spawn(move || {
                    process::log_to(log);
                    inspect(*kernel, vmlinuz, initramfs, agent)
                });
                (*kernel, machine)
            })
            .collect();
        machines
            .into_iter()
            .map(|(kernel, machine)| match machine.join() {
                Ok(result) => (kernel, result),
                Err(_) => (
                    kernel,
                    Err(anyhow::anyhow!("the thread of this machine panicked")),
                ),
            })
            .collect()
    })
}

fn inspect(kernel: Kernel, vmlinuz: &Path, initramfs: &Path, agent: bool) -> Result<Report> {
    let dir = qemu::log_dir(&workspace::target(), kernel.series);
    let run = qemu::boot(vmlinuz, initramfs, &dir)?;
    let release = run.section("kernel").join(" ");
    let seconds = run.took.as_secs_f32();
    say(&format!(
        "kernel {}: {release}, {} requests, {seconds:.1} s",
        kernel.series,
        smoke::requests()
    ));
    let mut problems = smoke::machine_problems(&run);
    if !release.starts_with(kernel.series) {
        problems.push(format!("the machine runs {release:?}"));
    }
    let mut programs = None;
    if agent {
        problems.extend(doctor_problems(&run));
        problems.extend(smoke::trace_problems(&run));
        problems.extend(smoke::profile_problems(&run));
        match verifier::read(&run) {
            Ok(read) => programs = Some(read),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    if !problems.is_empty() {
        problems.push(format!("logs are in {}", dir.display()));
    }
    Ok(Report {
        problems,
        verifier: programs,
    })
}

/// `doctor` must find nothing that fails on a kernel of the matrix.
fn doctor_problems(run: &qemu::Run) -> Vec<String> {
    if run.value("doctor-exit") == Some("0") {
        return Vec::new();
    }
    let mut problems = vec![format!("doctor ended with {:?}", run.value("doctor-exit"))];
    let failed = run
        .section("doctor")
        .into_iter()
        .filter(|line| line.contains("\"fail\""));
    problems.extend(failed.map(str::to_owned));
    problems
}
