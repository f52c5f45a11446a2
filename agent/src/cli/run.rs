//! `remora run`.

use std::path::PathBuf;

use clap::Args;

use super::settings::SettingsArgs;
use crate::config::otel::OtelSettings;
use crate::config::resolved::Config;
use crate::model::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  remora run
  OTEL_EXPORTER_OTLP_ENDPOINT=http://gateway:4318 remora run
  OTEL_EXPORTER_OTLP_PROTOCOL=grpc remora run     to localhost:4317
  remora run --config /etc/remora/remora.yaml
  remora run --export-file spans.jsonl
  remora run --listen 127.0.0.1:9464              health and own metrics
  remora run --profile                            CPU profiles as well, at 19 Hz

The standard OTEL_EXPORTER_OTLP_*, OTEL_BSP_* and OTEL_RESOURCE_ATTRIBUTES variables are \
honoured. Own settings are REMORA_* variables, or keys of the same names in the file.";

/// Export the HTTP requests of this host as OpenTelemetry spans, until SIGTERM
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    settings: SettingsArgs,

    /// Append OTLP JSON lines to a file instead of sending spans to a gateway
    #[arg(long, value_name = "FILE")]
    export_file: Option<String>,

    /// Export CPU profiles of all processes, too (v1development of OpenTelemetry)
    #[arg(long)]
    profile: bool,

    /// Serve /healthz, /readyz and /metrics here, such as 127.0.0.1:9464 [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

/// What to run.
#[derive(Debug)]
pub struct Run {
    /// Settings.
    pub config: Config,
    /// What the standard variables say.
    pub otel: OtelSettings,
    /// Where they came from, to read them again.
    pub source: Source,
}

/// Flags and environment, as they were given.
#[derive(Clone, Debug)]
pub struct Source {
    settings: SettingsArgs,
    own: Vec<(&'static str, String)>,
    env: Vec<(String, String)>,
}

impl Source {
    /// Reads the settings (again).
    ///
    /// # Errors
    /// All mistakes in them.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(self.resolve()?.0)
    }

    /// The file with settings, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.settings.file(&self.env)
    }

    fn resolve(&self) -> Result<(Config, OtelSettings), Failure> {
        (self.settings.clone()).resolve_with_otel(self.own.iter().cloned(), &self.env)
    }
}

impl RunArgs {
    /// Adds settings.
    ///
    /// # Errors
    /// All mistakes in settings and standard variables.
    pub fn resolve(self, env: &[(String, String)]) -> Result<Run, Failure> {
        let profile = self.profile.then(|| "true".to_owned());
        let own = [
            ("export_file", self.export_file),
            ("listen", self.listen),
            ("profile", profile),
        ];
        let own = (own.into_iter())
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let source = Source {
            settings: self.settings,
            own,
            env: env.to_vec(),
        };
        let (config, otel) = source.resolve()?;
        Ok(Run {
            config,
            otel,
            source,
        })
    }
}
