//! `remora doctor`: what this host allows.

use std::fmt::Write as _;
use std::io::{self, Write};

use std::thread;
use std::time::{Duration, Instant};

use super::written;
use crate::capture::{self, Capture, CaptureConfig};
use crate::cli::doctor::Doctor;
use crate::config::otel::OtlpSettings;
use crate::config::spool::SpoolSettings;
use crate::delivery::export::batch::Signal;
use crate::delivery::export::probe::probe;
use crate::delivery::queue::spool::disk::OsDisk;
use crate::delivery::queue::spool::{Limits, Spool};
use crate::host::preflight::{self, Check, Status};
use crate::model::exit::{Exit, Failure};
use crate::model::text::cell::Cell;
use crate::output::Format;
use crate::output::screen::{Colour, Screen};

/// Shows the checks. Returns the exit code.
pub(super) fn run(doctor: &Doctor) -> Result<u8, Failure> {
    let endpoint = doctor.endpoint.as_ref();
    let mut checks =
        preflight::checks(endpoint.map(|found| (found.address.as_str(), found.origin.as_str())));
    let reached = |check: &Check| check.id == "endpoint" && check.status == Status::Pass;
    // Where nobody listens, there is nothing to add.
    if checks.iter().any(reached) {
        checks.extend(doctor.export.as_ref().map(export));
    }
    if checks.iter().all(|check| check.status != Status::Fail) {
        checks.push(programs());
    }
    checks.push(configuration(&doctor.mistakes));
    checks.extend(doctor.spool.as_ref().map(spool));
    let text = match doctor.format {
        Format::Json => json(&checks)?,
        Format::Table => table(&checks, &Screen::stdout()),
    };
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    let failed = checks.iter().any(|check| check.status == Status::Fail);
    let exit = if failed {
        Exit::Unsupported
    } else {
        Exit::Done
    };
    Ok(exit.code())
}

/// How long the programs are attached to see whether the kernel leaves them out.
const ATTACHED: Duration = Duration::from_millis(100);

/// Whether this kernel takes the programs, what they keep in its memory, and whether it
/// runs them at every event.
fn programs() -> Check {
    let (id, title) = ("programs", "kernel programs");
    let begun = Instant::now();
    match Capture::start(&CaptureConfig::default()) {
        Ok(capture) => {
            let memory = capture::kernel_memory().unwrap_or(0) >> 20;
            let millis = begun.elapsed().as_millis();
            thread::sleep(ATTACHED);
            // Not a warning: how many there are says nothing yet of whether any hid a request.
            let missed = capture.missed().map_or_else(
                || "this kernel does not tell when it leaves them out".to_owned(),
                |missed| format!("left out {missed} times in {} ms", ATTACHED.as_millis()),
            );
            let observed = format!(
                "attached in {millis} ms; {memory} MiB of kernel memory, no more; {missed}"
            );
            Check {
                id,
                title,
                status: Status::Pass,
                observed,
                fix: None,
                lost: None,
            }
        }
        Err(error) => Check {
            id,
            title,
            status: Status::Fail,
            observed: error.to_string(),
            fix: Some(error.fix().to_owned()),
            lost: Some("everything"),
        },
    }
}

/// Whether the spool can be used, and what is in it.
fn spool(settings: &SpoolSettings) -> Check {
    let (id, title) = ("spool", "export spool");
    let dir = settings.dir.display();
    let look = |signal| {
        OsDisk::look(&settings.dir_of(signal))
            .and_then(|disk| Spool::look(Box::new(disk), Limits::new(settings.bytes, false), 0))
            .map(|spool| spool.stats())
    };
    let (observed, problem) = match look(Signal::Traces) {
        Ok(spans) => {
            let mut observed = format!("{dir}: {} spans", spans.items);
            let (mut bytes, mut damaged) = (spans.bytes, spans.damaged > 0);
            for signal in [Signal::Metrics, Signal::Profiles] {
                // Those that are not there were never needed.
                if let Ok(stats) = look(signal) {
                    observed.push_str(&format!(", {} {}", stats.items, signal.unit()));
                    bytes += stats.bytes;
                    damaged |= stats.damaged > 0;
                }
            }
            observed.push_str(&format!(", {bytes} of {} bytes", settings.bytes));
            (
                observed,
                damaged.then(|| format!("see what is damaged: remora spool verify --dir {dir}")),
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (format!("{dir}: not there yet, the agent makes it"), None)
        }
        Err(error) => {
            let fix = format!("make {dir} a directory that the agent may read and write");
            (format!("{dir}: {error}"), Some(fix))
        }
    };
    Check {
        id,
        title,
        status: problem.as_ref().map_or(Status::Pass, |_| Status::Warn),
        observed,
        lost: problem
            .as_ref()
            .map(|_| "what waits while the gateway is away"),
        fix: problem,
    }
}

/// How long a gateway may take to answer a test export.
const ANSWER: Duration = Duration::from_secs(5);

/// Whether the gateway takes a request as `remora run` would send it.
fn export(settings: &OtlpSettings) -> Check {
    let tried = probe(settings, ANSWER);
    let (observed, fix) = match tried {
        Ok(()) => ("a request without spans was accepted".to_owned(), None),
        Err(cause) => (
            cause,
            Some("compare protocol, path, headers and certificates with what the gateway wants"),
        ),
    };
    Check {
        id: "export",
        title: "test export",
        status: fix.map_or(Status::Pass, |_| Status::Warn),
        observed,
        lost: fix.map(|_| "export"),
        fix: fix.map(str::to_owned),
    }
}

/// Whether `remora run` would take its settings.
fn configuration(mistakes: &[crate::config::Mistake]) -> Check {
    let wrong: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let (id, title) = ("configuration", "configuration");
    if wrong.is_empty() {
        let observed = "all settings make sense".to_owned();
        return Check {
            id,
            title,
            status: Status::Pass,
            observed,
            fix: None,
            lost: None,
        };
    }
    Check {
        id,
        title,
        status: Status::Fail,
        observed: wrong.join("; "),
        fix: Some("correct what is named".to_owned()),
        lost: Some("remora run does not start"),
    }
}

fn json(checks: &[Check]) -> Result<String, Failure> {
    let mut text = String::new();
    for check in checks {
        text.push_str(&serde_json::to_string(check).map_err(Failure::failed)?);
        text.push('\n');
    }
    Ok(text)
}

fn table(checks: &[Check], screen: &Screen) -> String {
    let (dim, plain) = (screen.paint(Colour::Dim), screen.plain());
    let title_width = checks
        .iter()
        .map(|check| check.title.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (word, colour) = match check.status {
            Status::Pass => ("pass", Colour::Green),
            Status::Warn => ("warn", Colour::Yellow),
            Status::Fail => ("fail", Colour::Red),
        };
        let colour = screen.paint(colour);
        let observed = Cell::whole(&check.observed, 0);
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{colour}{word}{plain}  {:title_width$}  {observed}",
            check.title
        );
        for (what, value) in [("lost", check.lost), ("fix", check.fix.as_deref())] {
            if let Some(value) = value {
                let value = Cell::whole(value, 0);
                let _ = writeln!(
                    text,
                    "      {:title_width$}  {dim}{what}:{plain} {value}",
                    ""
                );
            }
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let verdict = match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => "Remora can do everything here.".to_owned(),
        (0, warnings) => format!("Remora works here; warnings: {warnings}."),
        (failed, _) => format!("Remora does not work here; failed checks: {failed}."),
    };
    let _ = writeln!(text, "\n{verdict}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mistake;

    #[test]
    fn shows_what_is_lost_and_how_to_get_it() {
        let checks = [
            configuration(&[]),
            configuration(&[Mistake::new("--x", "it is\x1b[2J wrong")]),
        ];
        assert_eq!(
            table(&checks, &Screen::file()),
            "\
pass  configuration  all settings make sense
fail  configuration  --x: it is\\x1b[2J wrong
                     lost: remora run does not start
                     fix: correct what is named

Remora does not work here; failed checks: 1.
"
        );
    }

    #[test]
    fn every_real_check_follows_the_schema() {
        let schema = crate::output::schema::by_name("doctor").unwrap();
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let mut checks = preflight::checks(Some(("127.0.0.1:9", "default")));
        checks.push(configuration(&[Mistake::new("--x", "wrong")]));
        let text = json(&checks).unwrap();
        assert_eq!(text.lines().count(), checks.len());
        for line in text.lines() {
            validator
                .validate(&serde_json::from_str(line).unwrap())
                .unwrap();
        }
    }
}
