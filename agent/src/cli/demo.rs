//! `remora demo`, and the services and clients it starts.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::time;
use crate::config::resolved::Config;
use crate::model::exit::Failure;
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  sudo remora demo
  remora demo --replay     without privileges: the recording that comes with it
  sudo remora demo -o json";

/// See what Remora does, on small services and clients of its own
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Replay the recording that comes with the program instead of tracing
    #[arg(long)]
    replay: bool,

    /// table for people, or json: one object a line (see remora schema)
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    output: Format,

    /// How long the clients make requests, at most 60s
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "3s")]
    duration: Duration,

    /// Record what came from the kernel
    #[arg(short, long, value_name = "FILE", conflicts_with = "replay")]
    write: Option<PathBuf>,
}

/// What to show.
#[derive(Debug)]
pub struct Demo {
    /// Settings.
    pub config: Config,
    /// Do not trace.
    pub replay: bool,
    /// How to show requests.
    pub format: Format,
    /// How long the clients make requests.
    pub duration: Duration,
    /// Record to this file.
    pub record: Option<PathBuf>,
}

impl DemoArgs {
    /// Adds settings.
    ///
    /// # Errors
    /// Mistakes in the settings, or a demo without end.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Demo, Failure> {
        if self.duration > Duration::from_secs(60) {
            return Err(Failure::usage("--duration of the demo is at most 60s"));
        }
        let config =
            Config::load(None, &[], env).map_err(|mistakes| crate::config::failure(&mistakes))?;
        Ok(Demo {
            config,
            replay: self.replay,
            format: self.output,
            duration: self.duration,
            record: self.write,
        })
    }
}

/// A service of the demo.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Service {
    /// What clients talk to; asks the stock
    Shop,
    /// What the shop talks to
    Stock,
    /// What clients talk to with gRPC
    Prices,
}

/// Serve requests for the demo; the address is printed on standard output
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    /// Which service
    #[arg(value_enum)]
    pub service: Service,

    /// Port on the loopback address; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    pub port: u16,

    /// Where the stock is, for the shop
    #[arg(long, value_name = "ADDRESS", required_if_eq("service", "shop"))]
    pub stock: Option<SocketAddr>,
}

/// Make requests for the demo; their number is printed on standard output
#[derive(Clone, Debug, Args)]
pub struct ClientArgs {
    /// Where the shop is
    pub shop: SocketAddr,

    /// Where the prices are, if they are to be asked for
    #[arg(long, value_name = "ADDRESS")]
    pub prices: Option<SocketAddr>,

    /// How long
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "3s")]
    pub duration: Duration,
}
