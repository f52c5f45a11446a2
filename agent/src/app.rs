//! From what is asked to what is done.

use std::io::{self, Write};

use crate::cli::Invocation;
use crate::demo;
use crate::exit::Failure;

/// Does what is asked.
///
/// # Errors
/// Why it could not be done.
pub fn execute(invocation: Invocation) -> Result<(), Failure> {
    match invocation {
        Invocation::Print(text) => print(&text),
        Invocation::DemoService(args) => demo::service::run(&args).map_err(Failure::failed),
        Invocation::DemoClient(args) => demo::client::run(&args).map_err(Failure::failed),
        _ => Err(Failure::failed("not in this build")),
    }
}

/// Prints a text. A reader who has seen enough is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
