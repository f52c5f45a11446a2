//! `remora spool`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::run::{endpoints, export_line, failover, left, log, unusable};
use super::written;
use crate::cli::spool::{Action, SpoolCommand};
use crate::delivery::export::batch::Signal;
use crate::delivery::export::exporter::{ExportSettings, Exporter};
use crate::delivery::export::lane::Lane;
use crate::delivery::queue::spool::disk::OsDisk;
use crate::delivery::queue::spool::{Limits, Losses, Next, Spool, Stats};
use crate::model::exit::{Exit, Failure};
use crate::model::signal;
use crate::model::text::size::ShortSize;
use crate::output::Format;

/// How often the progress of a drain is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// How often a drain that goes on says what it waits for.
const TELL: Duration = Duration::from_secs(5);

/// Does what is asked. Returns the exit code.
pub(super) fn run(command: &SpoolCommand) -> Result<u8, Failure> {
    match command.action {
        Action::Status => status(command),
        Action::Inspect => inspect(command),
        Action::Verify => verify(command),
        Action::Drain => drain(command),
    }
}

/// The spool of a signal as it is, without a lock: an agent may be writing to it.
fn look(command: &SpoolCommand, signal: Signal) -> Result<Spool, Failure> {
    let (dir, bytes) = (dir_of(command, signal), bytes_max(command));
    OsDisk::look(&dir)
        .and_then(|disk| Spool::look(Box::new(disk), Limits::new(bytes, false), 0))
        .map_err(|error| Failure::failed(format!("{}: {error}", dir.display())))
}

/// The spools there are: always that of spans, others if an agent has made them.
fn spools(command: &SpoolCommand) -> Result<Vec<(Signal, Spool)>, Failure> {
    let there = |signal: &Signal| *signal == Signal::Traces || dir_of(command, *signal).is_dir();
    let all = Signal::ALL.into_iter().filter(there);
    all.map(|signal| Ok((signal, look(command, signal)?)))
        .collect()
}

fn dir_of(command: &SpoolCommand, signal: Signal) -> PathBuf {
    (command.config.spool.as_ref()).map_or_else(PathBuf::new, |spool| spool.dir_of(signal))
}

/// Of all signals together: how it is dealt out among them is the agent's to know.
fn bytes_max(command: &SpoolCommand) -> u64 {
    command.config.spool.as_ref().map_or(0, |spool| spool.bytes)
}

fn stats(command: &SpoolCommand, signal: Signal, stats: &Stats, losses: Losses) -> Value {
    let mut line = json!({
        "kind": "spool",
        "signal": signal.name(),
        "dir": dir_of(command, signal).display().to_string(),
        "batches": stats.records,
        "bytes": stats.bytes,
        "bytes_max": bytes_max(command),
        "segments": stats.segments,
        "foreign_files": stats.foreign,
        "damaged": stats.damaged,
        "lost_corrupt": losses.corrupt,
        "lost_missing": losses.missing,
    });
    line[signal.unit_key()] = stats.items.into();
    line
}

fn status(command: &SpoolCommand) -> Result<u8, Failure> {
    let (mut text, mut bytes) = (String::new(), 0);
    for (signal, mut spool) in spools(command)? {
        let (found, losses) = (spool.stats(), spool.take_losses());
        bytes += found.bytes;
        text += &match command.format {
            Format::Json => format!("{}\n", stats(command, signal, &found, losses)),
            Format::Table => {
                format!(
                    "{}: {} {}, {} in {} and {}\n",
                    dir_of(command, signal).display(),
                    found.items,
                    signal.unit(),
                    ShortSize(found.bytes),
                    counted(found.records, "batch", "batches"),
                    counted(found.segments, "file", "files"),
                ) + &remarks(signal, &found, losses)
            }
        };
    }
    if command.format == Format::Table {
        let most = ShortSize(bytes_max(command));
        text += &format!("{} of at most {most} in all\n", ShortSize(bytes));
    }
    print(&text)
}

/// A number of things.
fn counted(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn remarks(signal: Signal, found: &Stats, losses: Losses) -> String {
    let mut text = String::new();
    let unit = signal.unit();
    for (count, what) in [
        (
            found.damaged,
            "damaged places; what is around them is read".to_owned(),
        ),
        (losses.corrupt, format!("{unit} lost to damage")),
        (
            losses.missing,
            format!("{unit} lost with files that are gone"),
        ),
        (
            found.foreign,
            "files that are not the spool's; they are left alone".to_owned(),
        ),
    ] {
        if count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    text
}

fn inspect(command: &SpoolCommand) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    for (signal, mut spool) in spools(command)? {
        while let Next::Record(record) = spool.read_next(usize::MAX) {
            let (items, bytes) = (record.batch.items, record.batch.body.len());
            let (name, seq) = (signal.name(), record.seq);
            let line = match command.format {
                Format::Json => {
                    let mut line = json!({
                        "kind": "batch", "number": seq, "signal": name, "bytes": bytes,
                    });
                    line[signal.unit_key()] = items.into();
                    line.to_string()
                }
                Format::Table => format!("{seq:>10}  {name:<8}  {items:>7}  {bytes:>9}"),
            };
            spool.settle(seq);
            if written(writeln!(out, "{line}"))?.is_none() {
                return Ok(Exit::Done.code());
            }
        }
    }
    Ok(Exit::Done.code())
}

fn verify(command: &SpoolCommand) -> Result<u8, Failure> {
    let (mut text, mut all_whole) = (String::new(), true);
    for (signal, mut spool) in spools(command)? {
        let (mut batches, mut items) = (0u64, 0u64);
        while let Next::Record(record) = spool.read_next(usize::MAX) {
            batches += 1;
            items += record.batch.items;
            spool.settle(record.seq);
        }
        let (found, losses) = (spool.stats(), spool.take_losses());
        let whole = losses == Losses::default() && found.damaged == 0 && found.io_errors == 0;
        all_whole &= whole;
        text += &match command.format {
            Format::Json => {
                let mut line = stats(command, signal, &found, losses);
                line[signal.unit_key()] = items.into();
                line["batches"] = batches.into();
                format!("{line}\n")
            }
            Format::Table => {
                let verdict = if whole {
                    "all can be read"
                } else {
                    "not all can be read"
                };
                let unit = signal.unit();
                let batches = counted(batches, "batch", "batches");
                format!("{items} {unit} in {batches}: {verdict}\n")
                    + &remarks(signal, &found, losses)
            }
        };
    }
    print(&text)?;
    Ok(if all_whole { Exit::Done } else { Exit::Failed }.code())
}

fn drain(command: &SpoolCommand) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    let (config, otel) = (&command.config, &command.otel);
    // What keeps a gateway from answering is in the log.
    log(&config.log);
    let mut settings = ExportSettings::from_otel(otel)
        .ok_or_else(|| Failure::new(Exit::Config, "exporting is switched off"))?;
    settings.spool.clone_from(&config.spool);
    settings.in_flight = config.export_in_flight as usize;
    settings.failover = failover(config, &otel.traces, Signal::Traces)?;
    if left(config, Signal::Metrics) {
        settings.metrics = Some(endpoints(config, &otel.metrics, Signal::Metrics)?);
    }
    if left(config, Signal::Profiles) {
        settings.profiles = Some(endpoints(config, &otel.profiles, Signal::Profiles)?);
    }
    let destination = settings.destination.to_string();
    let (exporter, sink) = Exporter::start(settings).map_err(unusable)?;
    drop(sink);
    let lanes = exporter.lanes().to_vec();
    let mut spools = lanes.iter().filter_map(|lane| lane.queue.depth().spool);
    if let Some(problem) = spools.find_map(|spool| spool.problem) {
        return Err(Failure::failed(problem).with_fix("stop the agent that uses it"));
    }
    eprintln!("remora: draining to {destination}");
    let waits = |lane: &Lane| lane.counters.snapshot().queued > 0;
    let mut told = Instant::now();
    while lanes.iter().any(waits) && signal::received().is_none() {
        thread::sleep(LOOK);
        if told.elapsed() >= TELL {
            told = Instant::now();
            for lane in lanes.iter().filter(|lane| waits(lane)) {
                eprintln!("remora: {}", progress(lane));
            }
        }
    }
    exporter.shutdown(Duration::from_secs(1));
    let mut all = true;
    for lane in lanes {
        let end = lane.counters.snapshot();
        // What a gateway refuses is gone from the spool, too, and must not look like success.
        all &= end.delivered == end.accepted;
        let of = match lane.signal {
            Signal::Traces => String::new(),
            other => format!("{}: ", other.unit()),
        };
        eprintln!("remora: {of}{}", export_line(&end));
    }
    Ok(if all { Exit::Done } else { Exit::Failed }.code())
}

/// What a drain waits for.
fn progress(lane: &Lane) -> String {
    let now = lane.counters.snapshot();
    let endpoints = lane.endpoints.join(", ");
    let unit = lane.signal.unit();
    let answer = if now.pace.in_flight > 0 {
        format!("waiting for an answer of {endpoints}")
    } else {
        format!("waiting to call {endpoints} again")
    };
    format!(
        "{} {unit} delivered, {} to go, {} repeated requests; {answer}",
        now.delivered, now.queued, now.retries
    )
}

fn print(text: &str) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(Exit::Done.code())
}
