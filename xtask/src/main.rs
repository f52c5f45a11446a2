//! Build, test and measurement tasks: `cargo xtask --help`.

#![forbid(unsafe_code)]

mod bench;
mod deny;
mod deps;
mod ebpf;
mod layering;
mod peers;
mod picture;
mod process;
mod test;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Build, test and measurement tasks of the Remora workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the kernel programs into agent/ebpf/ (installs the compiler if it is missing)
    BuildEbpf,
    /// Fail when the committed kernel object does not come from the sources beside it
    CheckEbpf {
        /// Also build the object from source and compare
        #[arg(long)]
        rebuild: bool,
    },
    /// Run every check of the project, in order, and sum up
    Test(test::Args),
    /// Fail when a module of the agent imports a later stage
    Layering,
    /// Check licences, duplicates, sources and advisories of the dependencies
    Deny,
    /// Build a program of others that tests talk to, unless it was before, and say where it is
    Peer {
        /// Its name, such as `collector`
        name: String,
    },
    /// Boot the kernel matrix, trace real requests in it, and count
    TestVm(vm::Args),
    /// Measure each kernel program with the kernel's own run-time statistics
    BenchHooks(bench::hooks::Args),
    /// Measure what tracing costs a saturated server, in interleaved rounds
    BenchThroughput(bench::throughput::Args),
    /// Measure what tracing adds to latency at a fixed rate, in interleaved rounds
    BenchLatency(bench::latency::Args),
    /// Run `remora demo` in a terminal and draw it into docs/demo.svg, for README.md
    Picture,
    /// Trace and export a high rate of requests, and fail if one is lost
    BenchLoss(bench::loss::Args),
    /// Trace while no gateway takes anything, and fail if the agent grows over its limit
    BenchOutage(bench::outage::Args),
}

fn main() -> ExitCode {
    if ebpf::crate_names::asked() {
        return ebpf::crate_names::main();
    }
    let done = |()| true;
    let result = match Cli::parse().task {
        Task::BuildEbpf => ebpf::build().map(done),
        Task::CheckEbpf { rebuild: false } => ebpf::check().map(done),
        Task::CheckEbpf { rebuild: true } => ebpf::rebuild().map(|remark| {
            if let Some(remark) = remark {
                println!("note: {remark}");
            }
            true
        }),
        Task::Test(args) => test::main(&args),
        Task::Layering => layering::check().map(done),
        Task::Deny => deny::check().map(|_| true),
        Task::Peer { name } => peers::program(&name).map(|path| {
            println!("{}", path.display());
            true
        }),
        Task::TestVm(args) => vm::main(&args).map(done),
        Task::BenchHooks(args) => bench::hooks::main(&args).map(done),
        Task::BenchThroughput(args) => bench::throughput::main(&args).map(done),
        Task::BenchLatency(args) => bench::latency::main(&args).map(done),
        Task::Picture => picture::main().map(done),
        Task::BenchLoss(args) => bench::loss::main(&args).map(done),
        Task::BenchOutage(args) => bench::outage::main(&args).map(done),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        // Said already, in the closing line.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
