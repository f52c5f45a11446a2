//! `remora doctor`: what this host allows, and what to fix.

use std::io::{self, Write};

use super::written;
use crate::cli::doctor::Doctor;
use crate::cli::output::Format;
use crate::exit::{Exit, Failure};
use crate::output::screen::{Colour, Screen};
use crate::preflight::{self, Check, Status};

/// Checks and prints. Returns the exit code.
pub(super) fn run(doctor: Doctor) -> Result<u8, Failure> {
    let checks = preflight::checks(endpoint().as_deref());
    let mut out = io::stdout().lock();
    let result = match doctor.format {
        Format::Json => json(&mut out, &checks),
        Format::Table => table(&mut out, &checks, &Screen::stdout()),
    };
    written(result.and_then(|()| out.flush()))?;
    let failed = checks.iter().any(|check| check.status == Status::Fail);
    Ok(if failed {
        Exit::Unsupported
    } else {
        Exit::Done
    }
    .code())
}

fn json(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        serde_json::to_writer(&mut *out, check)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn table(out: &mut impl Write, checks: &[Check], screen: &Screen) -> io::Result<()> {
    let width = checks
        .iter()
        .map(|check| check.title.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let (colour, word) = match check.status {
            Status::Pass => (Colour::Green, "pass"),
            Status::Warn => (Colour::Yellow, "warn"),
            Status::Fail => (Colour::Red, "FAIL"),
        };
        let (on, off) = (screen.paint(colour), screen.plain());
        writeln!(
            out,
            "{on}{word}{off}  {:width$}  {}",
            check.title, check.observed
        )?;
        if let Some(lost) = check.lost {
            writeln!(out, "      lost: {lost}")?;
        }
        if let Some(fix) = &check.fix {
            writeln!(out, "      fix:  {fix}")?;
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (failed, warned) = (count(Status::Fail), count(Status::Warn));
    match (failed, warned) {
        (0, 0) => writeln!(out, "Remora can do everything here."),
        (0, warned) => writeln!(out, "Remora works here, with {warned} restriction(s)."),
        (failed, _) => writeln!(out, "Remora cannot work here: {failed} check(s) failed."),
    }
}

/// Host and port of the gateway, if the environment names one.
fn endpoint() -> Option<String> {
    let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let url =
        get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"))?;
    let url: http::Uri = url.parse().ok()?;
    let port = match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    };
    Some(format!(
        "{}:{}",
        url.host()?,
        url.port_u16().unwrap_or(port)
    ))
}
