//! `remora spool`.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::run::{export_line, failover, unusable};
use super::written;
use crate::cli::spool::{Action, SpoolCommand};
use crate::exit::{Exit, Failure};
use crate::export::exporter::{ExportSettings, Exporter};
use crate::output::Format;
use crate::queue::spool::disk::OsDisk;
use crate::queue::spool::{Limits, Losses, Next, Spool, Stats};
use crate::signal;
use crate::text::size::ShortSize;

/// How often the progress of a drain is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Does what is asked. Returns the exit code.
pub(super) fn run(command: &SpoolCommand) -> Result<u8, Failure> {
    match command.action {
        Action::Status => status(command),
        Action::Inspect => inspect(command),
        Action::Verify => verify(command),
        Action::Drain => drain(command),
    }
}

/// The spool as it is, without a lock: an agent may be writing to it.
fn look(command: &SpoolCommand) -> Result<Spool, Failure> {
    let bytes = command.config.spool.as_ref().map_or(0, |spool| spool.bytes);
    OsDisk::look(&command.dir)
        .and_then(|disk| Spool::look(Box::new(disk), Limits::new(bytes, false), 0))
        .map_err(|error| Failure::failed(format!("{}: {error}", command.dir.display())))
}

fn stats(command: &SpoolCommand, stats: &Stats, losses: Losses) -> Value {
    json!({
        "kind": "spool",
        "dir": command.dir.display().to_string(),
        "spans": stats.items,
        "batches": stats.records,
        "bytes": stats.bytes,
        "bytes_max": command.config.spool.as_ref().map(|spool| spool.bytes),
        "segments": stats.segments,
        "foreign_files": stats.foreign,
        "damaged": stats.damaged,
        "lost_corrupt": losses.corrupt,
        "lost_missing": losses.missing,
    })
}

fn status(command: &SpoolCommand) -> Result<u8, Failure> {
    let mut spool = look(command)?;
    let (found, losses) = (spool.stats(), spool.take_losses());
    let text = match command.format {
        Format::Json => format!("{}\n", stats(command, &found, losses)),
        Format::Table => {
            let max = command.config.spool.as_ref().map_or(0, |spool| spool.bytes);
            format!(
                "{}: {} spans in {} batches, {} of {} in {} segments\n",
                command.dir.display(),
                found.items,
                found.records,
                ShortSize(found.bytes),
                ShortSize(max),
                found.segments,
            ) + &remarks(&found, losses)
        }
    };
    print(&text)
}

fn remarks(found: &Stats, losses: Losses) -> String {
    let mut text = String::new();
    for (count, what) in [
        (found.damaged, "damaged places; what is around them is read"),
        (losses.corrupt, "spans lost to damage"),
        (losses.missing, "spans lost with files that are gone"),
        (
            found.foreign,
            "files that are not the spool's; they are left alone",
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    text
}

fn inspect(command: &SpoolCommand) -> Result<u8, Failure> {
    let mut spool = look(command)?;
    let mut out = io::stdout().lock();
    while let Next::Record(record) = spool.read_next(usize::MAX) {
        let (signal, spans) = (record.batch.signal.name(), record.batch.items);
        let bytes = record.batch.body.len();
        let line = match command.format {
            Format::Json => json!({
                "kind": "batch", "number": record.seq, "signal": signal, "spans": spans,
                "bytes": bytes,
            })
            .to_string(),
            Format::Table => format!("{:>10}  {signal:<8}  {spans:>7}  {bytes:>9}", record.seq),
        };
        spool.settle(record.seq);
        if written(writeln!(out, "{line}"))?.is_none() {
            break;
        }
    }
    Ok(Exit::Done.code())
}

fn verify(command: &SpoolCommand) -> Result<u8, Failure> {
    let mut spool = look(command)?;
    let (mut batches, mut spans) = (0u64, 0u64);
    while let Next::Record(record) = spool.read_next(usize::MAX) {
        batches += 1;
        spans += record.batch.items;
        spool.settle(record.seq);
    }
    let (found, losses) = (spool.stats(), spool.take_losses());
    let whole = losses == Losses::default() && found.damaged == 0 && found.io_errors == 0;
    let text = match command.format {
        Format::Json => {
            let mut line = stats(command, &found, losses);
            line["spans"] = spans.into();
            line["batches"] = batches.into();
            format!("{line}\n")
        }
        Format::Table => {
            let verdict = if whole {
                "all can be read"
            } else {
                "not all can be read"
            };
            format!("{spans} spans in {batches} batches: {verdict}\n") + &remarks(&found, losses)
        }
    };
    print(&text)?;
    Ok(if whole { Exit::Done } else { Exit::Failed }.code())
}

fn drain(command: &SpoolCommand) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    let mut settings = ExportSettings::from_otel(&command.otel)
        .ok_or_else(|| Failure::new(Exit::Config, "exporting is switched off"))?;
    settings.spool.clone_from(&command.config.spool);
    settings.failover = failover(&command.config, &command.otel)?;
    let destination = settings.destination.to_string();
    let (exporter, sink) = Exporter::start(settings).map_err(unusable)?;
    drop(sink);
    let problem = exporter
        .queue()
        .depth()
        .spool
        .and_then(|spool| spool.problem);
    if let Some(problem) = problem {
        return Err(Failure::failed(problem).with_fix("stop the agent that uses it"));
    }
    eprintln!("remora: draining to {destination}");
    let counters = exporter.counters();
    while counters.snapshot().queued > 0 && signal::received().is_none() {
        thread::sleep(LOOK);
    }
    let end = exporter.shutdown(Duration::from_secs(1));
    eprintln!("remora: {}", export_line(&end));
    // What a gateway refuses is gone from the spool, too, and must not look like success.
    Ok(if end.delivered == end.accepted {
        Exit::Done
    } else {
        Exit::Failed
    }
    .code())
}

fn print(text: &str) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done.code())
}
