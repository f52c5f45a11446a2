//! `remora run`.

use clap::Args;

use super::settings::SettingsArgs;
use crate::config::otel::OtelSettings;
use crate::config::resolved::Config;
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  remora run
  OTEL_EXPORTER_OTLP_ENDPOINT=http://gateway:4318 remora run
  OTEL_EXPORTER_OTLP_ENDPOINT=http://gateway:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc remora run
  remora run --config /etc/remora.yaml

The standard OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES variables are \
honoured. Own settings are REMORA_* variables, or keys of the same names in the file.";

/// Export the HTTP requests of this host as OpenTelemetry spans, until SIGTERM
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// What to run.
#[derive(Debug)]
pub struct Run {
    /// Settings.
    pub config: Config,
    /// What the standard variables say.
    pub otel: OtelSettings,
}

impl RunArgs {
    /// Adds settings.
    ///
    /// # Errors
    /// All mistakes in settings and standard variables.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Run, Failure> {
        let (config, otel) = self.settings.resolve_with_otel(env)?;
        Ok(Run { config, otel })
    }
}
