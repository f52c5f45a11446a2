//! The `remora` binary.

use std::process::ExitCode;

use remora::cli::{self, Cli};
use remora::{app, exit::Exit};

fn main() -> ExitCode {
    let invocation = match Cli::read(std::env::args_os(), &cli::environment()) {
        Ok(invocation) => invocation,
        Err(stop) => return stop.report(),
    };
    match app::execute(invocation) {
        Ok(()) => ExitCode::from(Exit::Done.code()),
        Err(failure) => cli::report(&failure),
    }
}
