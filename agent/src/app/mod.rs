//! From what is asked to what is done: a source (the live host or a recording), the
//! pairing stage, and sinks.

mod child;
mod continuous;
mod debug;
mod deciding;
pub mod demo;
mod doctor;
mod live;
mod metering;
mod named;
mod names;
mod outlet;
mod own;
mod pressure;
mod profile;
mod redacting;
mod reload;
mod replay;
mod run;
mod spool;
mod status;
mod sweep;
mod tagging;
mod trace;

use std::io::{self, Write};

use crate::app::demo::services::{client, service};
use crate::cli::Invocation;
use crate::config::resolved::Config;
use crate::host::discovery::ProcessResolver;
use crate::model::exit::{Exit, Failure};
use names::Renamed;

/// Does what is asked. Returns the exit code.
///
/// # Errors
/// Why it could not be done.
pub fn execute(invocation: Invocation) -> Result<u8, Failure> {
    match invocation {
        Invocation::Print(text) => print(&text),
        Invocation::Trace(trace) => trace::run(trace),
        Invocation::Replay(replay) => replay::run(replay),
        Invocation::Profile(asked) => profile::run(&asked),
        Invocation::Run(run) => run::run(&run),
        Invocation::Debug(args) => debug::run(&args),
        Invocation::DemoService(args) => done(service::run(&args)),
        Invocation::DemoClient(args) => done(client::run(&args)),
        Invocation::Demo(demo) => demo::run(&demo),
        Invocation::Doctor(doctor) => doctor::run(&doctor),
        Invocation::Spool(command) => spool::run(&command),
    }
}

/// Why showing requests ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// It was asked for: by a signal, a limit, or the end of a command.
    Asked,
    /// Nobody reads any more.
    ReaderLeft,
}

/// What was written; `None` if the reader has seen enough, which is no failure.
fn written<T>(result: io::Result<T>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(None),
        Err(error) => Err(Failure::failed(format!("standard output: {error}"))),
    }
}

fn done(result: io::Result<()>) -> Result<u8, Failure> {
    result.map(|()| Exit::Done.code()).map_err(Failure::failed)
}

/// Prints a text.
fn print(text: &str) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done.code())
}

/// Describes the processes of this host.
fn processes(config: &Config) -> Renamed<ProcessResolver> {
    Renamed::new(ProcessResolver::new(), config.service_names.clone())
}
