//! `remora replay`.

use std::path::PathBuf;

use clap::Args;

use super::filters::FilterArgs;
use super::output::{Output, OutputArgs};
use crate::config::{self, resolved::Config};
use crate::deciding::filter::Filter;
use crate::model::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  remora replay requests.rec
  remora replay requests.rec --status 404 -o json
  remora replay requests.rec --path '/orders*' --red";

/// Show the requests of a recording; needs no privilege
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// A file written by remora trace -w
    file: PathBuf,

    #[command(flatten)]
    filters: FilterArgs,

    #[command(flatten)]
    output: OutputArgs,

    /// YAML file with settings [env: REMORA_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
}

/// What to replay.
#[derive(Debug)]
pub struct Replay {
    /// The recording.
    pub file: PathBuf,
    /// Settings.
    pub config: Config,
    /// Which requests to show.
    pub filter: Filter,
    /// How to show them.
    pub output: Output,
}

impl ReplayArgs {
    /// Adds settings.
    ///
    /// # Errors
    /// Mistakes in the settings.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Replay, Failure> {
        let config = Config::load(self.config.as_deref(), &[], env)
            .map_err(|mistakes| config::failure(&mistakes))?;
        Ok(Replay {
            file: self.file,
            filter: self.filters.filter,
            output: self.output.resolve(&config),
            config,
        })
    }
}
