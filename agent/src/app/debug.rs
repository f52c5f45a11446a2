//! `remora debug`.

use std::io::{self, Write};

use crate::capture::{self, Capture, CaptureConfig};
use crate::cli::debug::{DebugArgs, Topic};
use crate::model::exit::{Exit, Failure};
use crate::profile::kernel::{Sampler, Targets};

/// Prints what was asked for.
pub(super) fn run(args: &DebugArgs) -> Result<u8, Failure> {
    match args.topic {
        Topic::Verifier => verifier(),
    }
}

/// Loads the kernel programs without attaching them and prints a line for each.
fn verifier() -> Result<u8, Failure> {
    let config = CaptureConfig::default();
    let capture = Capture::load(&config).map_err(super::live::refused)?;
    let mut programs = capture.programs().map_err(super::live::refused)?;
    if programs.iter().any(|program| program.verified.is_none()) {
        let counts = capture::verified_by_log(&config).map_err(super::live::refused)?;
        for program in &mut programs {
            let told = counts.iter().find(|(name, _)| *name == program.name);
            program.verified = program.verified.or(told.map(|(_, count)| *count));
        }
    }
    let mut out = io::stdout().lock();
    for program in programs {
        let line = serde_json::json!({
            "program": program.name,
            "insns": program.instructions,
            "verified_insns": program.verified,
        });
        if super::written(writeln!(out, "{line}"))?.is_none() {
            return Ok(Exit::Done.code());
        }
    }
    let (sampler, _tables) = Sampler::load(&Targets::default()).map_err(super::live::refused)?;
    for program in sampler.programs() {
        let line = serde_json::json!({
            "program": format!("profile/{}", program.name),
            "insns": program.instructions,
            "verified_insns": program.verified,
        });
        if super::written(writeln!(out, "{line}"))?.is_none() {
            break;
        }
    }
    Ok(Exit::Done.code())
}
