//! `remora trace`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::filters::FilterArgs;
use super::output::{Output, OutputArgs, time};
use super::settings::SettingsArgs;
use crate::config::resolved::Config;
use crate::deciding::filter::Filter;
use crate::model::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  remora trace                                     everything
  remora trace --status 404,5xx                    what failed
  remora trace --port 8080 --not --path '/health*'
  remora trace --comm nginx --side server -c 10    ten that nginx served
  remora trace -p 4242 --min-duration 100ms        slow ones of one process
  remora trace --protocol grpc --not --grpc-status OK
  remora trace -o json --duration 1m | jq .path
  remora trace -w requests.rec                     record, for remora replay
  remora trace -- ./test.sh                        one command and its children

A narrow terminal leaves columns out: first PEER, RECV and SENT, then TIME, SIDE, PROCESS, \
DURATION and METHOD.";

/// Show the HTTP requests of this host, live
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    #[command(flatten)]
    filters: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// Stop after this time: 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Output")]
    duration: Option<Duration>,

    /// Record what came from the kernel, before filters, for remora replay
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    write: Option<PathBuf>,

    #[command(flatten)]
    settings: SettingsArgs,

    /// Start this command, show only its requests and those of its children, and end with it
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What to trace.
#[derive(Debug)]
pub struct Trace {
    /// Settings.
    pub config: Config,
    /// Which requests to show.
    pub filter: Filter,
    /// How to show them.
    pub output: Output,
    /// Stop after this time.
    pub duration: Option<Duration>,
    /// Record to this file.
    pub record: Option<PathBuf>,
    /// Trace only this command; empty if everything is traced.
    pub command: Vec<OsString>,
}

impl TraceArgs {
    /// Adds settings, and checks what can be checked.
    ///
    /// # Errors
    /// Mistakes in the settings; a process to be traced that is not there.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Trace, Failure> {
        let config = self.settings.resolve(env)?;
        let filter = self.filters.filter;
        for pid in filter.pids() {
            if !Path::new("/proc").join(pid.to_string()).exists() {
                return Err(Failure::usage(format!("there is no process {pid}"))
                    .with_fix("give the id of a running process to --pid, as ps shows it"));
            }
        }
        let least = Duration::from_nanos(filter.min_duration());
        if self.duration.is_some_and(|all| all < least) {
            return Err(Failure::usage(
                "no request passes: --min-duration is longer than --duration",
            )
            .with_fix("trace for longer, or leave --duration out: Ctrl-C ends it"));
        }
        Ok(Trace {
            output: self.output.resolve(&config),
            config,
            filter,
            duration: self.duration,
            record: self.write,
            command: self.command,
        })
    }
}
