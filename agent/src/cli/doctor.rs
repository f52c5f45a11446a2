//! `remora doctor`.

use clap::Args;

use super::output::Format;

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
#[derive(Clone, Copy, Debug)]
pub struct Doctor {
    /// How to show the checks.
    pub format: Format,
}

impl DoctorArgs {
    /// Nothing can go wrong here.
    #[must_use]
    pub const fn resolve(self) -> Doctor {
        Doctor {
            format: self.output,
        }
    }
}
