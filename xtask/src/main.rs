//! Build, test and measurement tasks: `cargo xtask --help`.

mod deps;
mod ebpf;
mod process;
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
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::BuildEbpf => ebpf::build(),
        Task::CheckEbpf { rebuild } => ebpf::check(rebuild),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
