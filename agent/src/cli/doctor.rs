//! `remora doctor`.

use clap::Args;

use crate::config::Mistake;
use crate::config::resolved::Config;
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  sudo remora doctor
  sudo remora doctor -o json | jq 'select(.status != \"pass\")'

Exit code: 0 if nothing failed, 3 otherwise.";

/// Check what this host allows: what was observed, how to fix it, what is lost without
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// How to show the checks
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// How to check.
#[derive(Clone, Debug)]
pub struct Doctor {
    /// How to show the checks.
    pub format: Format,
    /// Where spans are to be sent, `host:port`, if that is configured.
    pub endpoint: Option<String>,
    /// What is wrong with the settings of `remora run`.
    pub mistakes: Vec<Mistake>,
}

impl DoctorArgs {
    /// Adds what the settings say. Mistakes in them are part of the diagnosis.
    #[must_use]
    pub fn resolve(self, env: &[(String, String)]) -> Doctor {
        let mut doctor = Doctor {
            format: self.output,
            endpoint: None,
            mistakes: Vec::new(),
        };
        match Config::load_with_otel(None, &[], env) {
            Ok((_, otel)) => {
                let configured = env.iter().any(|(name, value)| {
                    !value.is_empty()
                        && name.starts_with("OTEL_EXPORTER_OTLP_")
                        && name.ends_with("ENDPOINT")
                });
                doctor.endpoint = Some(otel).filter(|_| configured).and_then(|otel| {
                    let endpoint = otel.traces.endpoint;
                    let tls = endpoint.scheme_str() == Some("https");
                    let port = endpoint.port_u16().unwrap_or(if tls { 443 } else { 80 });
                    Some(format!("{}:{port}", endpoint.host()?))
                });
            }
            Err(mistakes) => doctor.mistakes = mistakes,
        }
        doctor
    }
}
