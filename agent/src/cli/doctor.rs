//! `remora doctor`.

use std::path::PathBuf;

use clap::Args;

use crate::config::Mistake;
use crate::config::otel::{OtelSettings, OtlpSettings, TracesExporter};
use crate::config::raw::Raw;
use crate::config::resolved::Config;
use crate::config::spool::SpoolSettings;
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  sudo remora doctor
  sudo remora doctor --config /etc/remora/remora.yaml
  sudo remora doctor -o json | jq 'select(.status != \"pass\")'

Exit code: 0 if nothing failed, 3 otherwise.";

/// Variables that say where spans go, the one that wins first.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Check what this host allows: what was observed, how to fix it, what is lost without
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// table for people, or json: one object a line (see remora schema doctor)
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    output: Format,

    /// YAML file with the settings of `remora run` [env: REMORA_CONFIG]
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    config: Option<PathBuf>,
}

/// How to check.
#[derive(Clone, Debug)]
pub struct Doctor {
    /// How to show the checks.
    pub format: Format,
    /// Where `remora run` would send spans; `None` if it would not send them.
    pub endpoint: Option<Endpoint>,
    /// How spans would be sent there.
    pub export: Option<OtlpSettings>,
    /// The export spool, if one is configured.
    pub spool: Option<SpoolSettings>,
    /// What is wrong with the settings of `remora run`.
    pub mistakes: Vec<Mistake>,
}

/// Where spans go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `host:port`, of the proxy if one is in between, or `unix:/path`.
    pub address: String,
    /// Who says so: a variable, a key of the file, or `default`.
    pub origin: String,
}

impl DoctorArgs {
    /// Adds what the settings say. Mistakes in them are part of the diagnosis.
    #[must_use]
    pub fn resolve(self, env: &[(String, String)]) -> Doctor {
        let mut doctor = Doctor {
            format: self.output,
            endpoint: None,
            export: None,
            spool: None,
            mistakes: Vec::new(),
        };
        let file = self.config.as_deref();
        match Config::load_with_otel(file, &[], env) {
            Ok((config, otel)) => {
                // They were reported if there were any.
                let raw = Raw::collect(file, &[], env, &mut Vec::new());
                doctor.endpoint = endpoint(&config, &otel, &raw);
                doctor.export = doctor.endpoint.is_some().then_some(otel.traces);
                doctor.spool = config.spool;
            }
            Err(mistakes) => doctor.mistakes = mistakes,
        }
        doctor
    }
}

/// Where spans would be sent, if they would be.
fn endpoint(config: &Config, otel: &OtelSettings, raw: &Raw) -> Option<Endpoint> {
    let sends = !otel.disabled
        && otel.traces_exporter == TracesExporter::Otlp
        && config.export_file.is_none();
    if !sends {
        return None;
    }
    let origin = ENDPOINTS.iter().find_map(|name| raw.otel_origin(name));
    Some(Endpoint {
        address: otel.traces.peer()?,
        origin: origin.unwrap_or("default").to_owned(),
    })
}
