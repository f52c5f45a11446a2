//! The `remora` binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use remora::app;
use remora::cli::{self, Cli};

fn main() -> ExitCode {
    let invocation = match Cli::read(std::env::args_os(), &cli::environment()) {
        Ok(invocation) => invocation,
        Err(stop) => return stop.report(),
    };
    match app::execute(invocation) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => cli::report(&failure),
    }
}
