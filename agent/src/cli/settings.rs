//! Flags for the settings that can also come from environment and file.

use std::path::PathBuf;

use clap::Args;

use crate::config::otel::OtelSettings;
use crate::config::raw::FILE_VARIABLE;
use crate::config::{self, resolved::Config};
use crate::model::exit::Failure;

/// Settings as they are typed.
#[derive(Clone, Default, Debug, Args)]
pub struct SettingsArgs {
    /// YAML file with settings [env: REMORA_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,

    /// Bytes captured of every request head, 256 to 8k; longer heads are marked [default: 1k]
    #[arg(long, value_name = "BYTES", help_heading = "Settings")]
    capture_head_bytes: Option<String>,

    /// Size of the ring buffer, a power of two [default: 16m]
    #[arg(long, value_name = "BYTES", help_heading = "Settings")]
    ring_bytes: Option<String>,
}

impl SettingsArgs {
    /// Those of a command that captures nothing: only a file.
    pub(super) fn of_file(config: Option<PathBuf>) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Settings of flags, environment, file and defaults together.
    ///
    /// # Errors
    /// All mistakes, with [`crate::model::exit::Exit::Config`].
    pub fn resolve(self, env: &[(String, String)]) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), &self.flags(), env)
            .map_err(|mistakes| config::failure(&mistakes))
    }

    /// The same with flags of the command itself, and with the standard variables of
    /// OpenTelemetry.
    ///
    /// # Errors
    /// All mistakes in both.
    pub fn resolve_with_otel(
        self,
        own: impl IntoIterator<Item = (&'static str, String)>,
        env: &[(String, String)],
    ) -> Result<(Config, OtelSettings), Failure> {
        let mut flags = self.flags();
        flags.extend(own);
        Config::load_with_otel(self.config.as_deref(), &flags, env)
            .map_err(|mistakes| config::failure(&mistakes))
    }

    /// The file with settings: of the flag, else of the environment.
    pub(super) fn file(&self, env: &[(String, String)]) -> Option<PathBuf> {
        let named = |(name, value): &&(String, String)| name == FILE_VARIABLE && !value.is_empty();
        let from_env = || {
            env.iter()
                .find(named)
                .map(|(_, value)| PathBuf::from(value))
        };
        self.config.clone().or_else(from_env)
    }

    fn flags(&self) -> Vec<(&'static str, String)> {
        [
            ("capture_head_bytes", &self.capture_head_bytes),
            ("ring_bytes", &self.ring_bytes),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)))
        .collect()
    }
}
