//! The command line: what was typed becomes what is meant.
//!
//! Every command has a file with its flags as they are typed and a `resolve` that turns
//! them into an [`Invocation`], in which everything is checked and loaded. Help, usage
//! and exit codes are part of the interface.

pub mod completions;
pub mod debug;
pub mod demo;
pub mod doctor;
pub mod filters;
pub mod output;
pub mod profile;
pub mod replay;
pub mod run;
pub mod schema;
pub mod settings;
pub mod spool;
pub mod trace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::model::exit::{Exit, Failure};

const LONG_ABOUT: &str = "\
Remora shows every HTTP request that the processes of this host serve or make, and \
exports them as OpenTelemetry spans, without any change to those processes.

It watches system calls from within the kernel (eBPF) and needs root.";

const EXAMPLES: &str = "\
Examples:
  sudo remora demo                          see what it does, on own small services
  sudo remora trace                         all HTTP requests of this host, live
  sudo remora trace --status 404,5xx        those that failed
  sudo remora trace -- curl localhost:8080  those of one command
  sudo remora profile --by route            which endpoint burns the CPU
  sudo remora run                           export to the gateway at localhost:4318
  sudo remora doctor                        what this host allows, and what to fix

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 missing privilege or kernel feature, \
64 bad configuration.";

/// The command line as it is typed.
#[derive(Debug, Parser)]
#[command(
    name = "remora",
    version,
    about = "Zero-instrumentation tracing of HTTP requests on a Linux host",
    long_about = LONG_ABOUT,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    command: Typed,
}

/// Commands as they are typed.
#[derive(Debug, Subcommand)]
enum Typed {
    Demo(demo::DemoArgs),
    Trace(trace::TraceArgs),
    Replay(replay::ReplayArgs),
    Profile(profile::ProfileArgs),
    Run(run::RunArgs),
    Doctor(doctor::DoctorArgs),
    Spool(spool::SpoolArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    /// Print the version
    Version,
    #[command(hide = true)]
    Debug(debug::DebugArgs),
    #[command(hide = true)]
    DemoService(demo::ServiceArgs),
    #[command(hide = true)]
    DemoClient(demo::ClientArgs),
}

/// What the program is asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Show what Remora does, on processes of its own.
    Demo(demo::Demo),
    /// Show the requests of the host.
    Trace(trace::Trace),
    /// Show the requests of a recording.
    Replay(replay::Replay),
    /// Show where the CPU time of the host goes.
    Profile(Box<profile::Profile>),
    /// Export the requests of the host.
    Run(Box<run::Run>),
    /// Check the host.
    Doctor(doctor::Doctor),
    /// Look at the export spool.
    Spool(Box<spool::SpoolCommand>),
    /// Print what the project's tests ask for.
    Debug(debug::DebugArgs),
    /// Serve requests for the demo.
    DemoService(demo::ServiceArgs),
    /// Make requests for the demo.
    DemoClient(demo::ClientArgs),
    /// Print a text.
    Print(String),
}

/// Why there is nothing to do.
#[derive(Debug)]
pub enum Stop {
    /// Help was asked for, or the command line makes no sense.
    Clap(clap::Error),
    /// Flags and settings were understood, but cannot be used.
    Failure(Failure),
}

impl Cli {
    /// Reads arguments, the program's name first, in the given environment.
    ///
    /// # Errors
    /// Help, version, or what is wrong.
    pub fn read<I, T>(args: I, env: &[(String, String)]) -> Result<Invocation, Stop>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(args).map_err(Stop::Clap)?;
        let cli = Self::from_arg_matches(&matches).map_err(|error| {
            let name = matches.subcommand_name().unwrap_or_default();
            Stop::Clap(match command.find_subcommand_mut(name) {
                Some(sub) => error.format(sub),
                None => error.format(&mut command),
            })
        })?;
        match cli.command {
            Typed::Demo(args) => args.resolve(env).map(Invocation::Demo),
            Typed::Trace(args) => args.resolve(env).map(Invocation::Trace),
            Typed::Replay(args) => args.resolve(env).map(Invocation::Replay),
            Typed::Profile(args) => args
                .resolve(env)
                .map(|profile| Invocation::Profile(Box::new(profile))),
            Typed::Run(args) => args.resolve(env).map(|run| Invocation::Run(Box::new(run))),
            Typed::Doctor(args) => Ok(Invocation::Doctor(args.resolve(env))),
            Typed::Spool(args) => args.resolve(env).map(|it| Invocation::Spool(Box::new(it))),
            Typed::Schema(args) => args.resolve().map(Invocation::Print),
            Typed::Completions(args) => Ok(Invocation::Print(args.resolve(&mut Self::command()))),
            Typed::Version => Ok(Invocation::Print(Self::command().render_version())),
            Typed::Debug(args) => Ok(Invocation::Debug(args)),
            Typed::DemoService(args) => Ok(Invocation::DemoService(args)),
            Typed::DemoClient(args) => Ok(Invocation::DemoClient(args)),
        }
        .map_err(Stop::Failure)
    }
}

impl Stop {
    /// Prints it where it belongs, and says how to end.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Failure(failure) => report(failure),
            Self::Clap(error) => {
                // The terminal may be gone; there is nobody left to tell.
                let _ = error.print();
                let help = matches!(
                    error.kind(),
                    ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
                );
                let exit = if help { Exit::Done } else { Exit::Usage };
                ExitCode::from(exit.code())
            }
        }
    }
}

/// Prints a failure on standard error, and says how to end.
#[must_use]
pub fn report(failure: &Failure) -> ExitCode {
    eprintln!("remora: {failure}");
    ExitCode::from(failure.exit.code())
}

/// The environment as text; variables that are not UTF-8 cannot be settings.
#[must_use]
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
