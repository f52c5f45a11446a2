//! `remora debug`.

use std::io::{self, Write};

use crate::capture::{Capture, CaptureConfig};
use crate::cli::debug::{DebugArgs, Topic};
use crate::exit::{Exit, Failure};

/// Prints what was asked for.
pub(super) fn run(args: &DebugArgs) -> Result<u8, Failure> {
    match args.topic {
        Topic::Verifier => verifier(),
    }
}

/// Loads the kernel programs without attaching them and prints a line for each.
fn verifier() -> Result<u8, Failure> {
    let capture = Capture::load(&CaptureConfig::default()).map_err(super::live::refused)?;
    let mut out = io::stdout().lock();
    for program in capture.programs().map_err(super::live::refused)? {
        let line = serde_json::json!({
            "program": program.name,
            "insns": program.instructions,
            "verified_insns": program.verified,
        });
        if super::written(writeln!(out, "{line}"))?.is_none() {
            break;
        }
    }
    Ok(Exit::Done.code())
}
