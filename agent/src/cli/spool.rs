//! `remora spool`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::settings::SettingsArgs;
use crate::config::otel::OtelSettings;
use crate::config::resolved::Config;
use crate::model::exit::{Exit, Failure};
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  remora spool status --dir /var/lib/remora/spool
  remora spool inspect -o json | jq .signal
  remora spool verify
  remora spool drain                send what is in it, without a running agent

status, inspect and verify change nothing and work beside a running agent. Exit code of \
verify: 0 if everything can be read, 1 otherwise.";

/// Look at the export spool, check it, or send what is in it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SpoolArgs {
    /// What to do
    #[arg(value_enum)]
    action: Action,

    /// Directory of the spool [default: the spool_dir of the settings]
    #[arg(long, value_name = "DIR")]
    dir: Option<String>,

    /// table for people, or json: one object a line
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    output: Format,

    /// YAML file with settings [env: REMORA_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
}

/// What to do with a spool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Action {
    /// How much is in it
    Status,
    /// A line for each batch in it
    Inspect,
    /// Read everything in it and say what is damaged
    Verify,
    /// Send what is in it to the gateway; no agent may be running on it
    Drain,
}

/// What to do.
#[derive(Debug)]
pub struct SpoolCommand {
    /// What.
    pub action: Action,
    /// Where.
    pub dir: PathBuf,
    /// How to show it.
    pub format: Format,
    /// Settings.
    pub config: Config,
    /// What the standard variables say.
    pub otel: OtelSettings,
}

impl SpoolArgs {
    /// Adds settings.
    ///
    /// # Errors
    /// All mistakes in settings, or no directory is named.
    pub fn resolve(self, env: &[(String, String)]) -> Result<SpoolCommand, Failure> {
        let dir = self.dir.map(|dir| ("spool_dir", dir));
        let (config, otel) = SettingsArgs::of_file(self.config).resolve_with_otel(dir, env)?;
        let Some(spool) = &config.spool else {
            let failure = Failure::new(Exit::Config, "no spool is configured");
            return Err(failure.with_fix("name its directory: --dir DIR, or REMORA_SPOOL_DIR"));
        };
        Ok(SpoolCommand {
            action: self.action,
            dir: spool.dir.clone(),
            format: self.output,
            config,
            otel,
        })
    }
}
