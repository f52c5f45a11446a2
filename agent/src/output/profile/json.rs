//! JSON lines: what was sampled, every stack, and the ledger.

use super::diff::Compared;
use super::frames::{self, Frame};
use super::{By, collapse::Name};
use crate::model::text::hex::hex;
use crate::model::text::time::Rfc3339;
use crate::profile::model::{Event, Loss, Process, Profile, Sample};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Write};

#[derive(Serialize)]
struct Head<'a> {
    kind: &'static str,
    start: String,
    duration_ns: u64,
    period_ns: Option<u64>,
    period_cycles: Option<u64>,
    event: &'a str,
    by: Option<&'static str>,
}

#[derive(Serialize)]
struct StackLine<'a> {
    kind: &'static str,
    samples: u64,
    cpu_ns: Option<u64>,
    cycles: Option<u64>,
    group: Option<String>,
    pid: u32,
    tid: u32,
    comm: &'a str,
    thread: Option<&'a str>,
    service: Option<&'a str>,
    container_id: Option<&'a str>,
    method: Option<&'a str>,
    route: Option<&'a str>,
    trace_id: Option<String>,
    span_id: Option<String>,
    /// Why the stack does not reach its root.
    cut: Option<&'static str>,
    /// Root first.
    frames: Vec<FrameLine<'a>>,
}

#[derive(Serialize)]
struct FrameLine<'a> {
    function: Cow<'a, str>,
    kind: &'static str,
    inlined: bool,
    module: Option<&'a str>,
    build_id: Option<&'a str>,
    address: String,
    file: Option<&'a str>,
    line: Option<u32>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    kind: &'static str,
    seen: u64,
    emitted: u64,
    lost: BTreeMap<&'static str, u64>,
    /// In the kernel, by number of the CPU.
    lost_per_cpu: &'a [u64],
    tagged: u64,
    untagged: u64,
    processes: Vec<ProcessLine<'a>>,
}

#[derive(Serialize)]
struct ProcessLine<'a> {
    pid: u32,
    comm: Option<&'a str>,
    samples: u64,
    complete: u64,
    stopped: BTreeMap<&'static str, u64>,
    lost: u64,
}

#[derive(Serialize)]
struct ChangeLine<'a> {
    kind: &'static str,
    function: &'a str,
    code: Option<&'static str>,
    /// Shares of all samples, 0 to 1.
    self_before: f64,
    self_now: f64,
    total_before: f64,
    total_now: f64,
}

/// Writes a profile: its head, a line for each stack, and the ledger.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, profile: &Profile, by: Option<By>) -> io::Result<()> {
    line(out, &head(profile, by))?;
    for sample in &profile.samples {
        line(out, &stack(profile, sample, by))?;
    }
    summary(out, profile)
}

/// Writes what changed: a line for each function, and the ledger.
///
/// # Errors
/// Those of the writer.
pub fn write_diff(
    out: &mut impl Write,
    profile: &Profile,
    compared: &Compared,
    by: Option<By>,
) -> io::Result<()> {
    line(out, &head(profile, by))?;
    for change in compared.changes() {
        let Name { text, kind } = change.name;
        let change = ChangeLine {
            kind: "profile_change",
            function: text,
            code: kind.map(crate::profile::model::Kind::name),
            self_before: change.own[0],
            self_now: change.own[1],
            total_before: change.total[0],
            total_now: change.total[1],
        };
        line(out, &change)?;
    }
    summary(out, profile)
}

fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

fn head(profile: &Profile, by: Option<By>) -> Head<'_> {
    Head {
        kind: "profile",
        start: Rfc3339(profile.start_unix_ns).to_string(),
        duration_ns: profile.duration_ns,
        period_ns: profile.cpu_ns(1),
        period_cycles: cycles(profile, 1),
        event: profile.event.name(),
        by: by.map(By::name),
    }
}

/// Cycles of so many samples, if they are of cycles.
fn cycles(profile: &Profile, samples: u64) -> Option<u64> {
    matches!(profile.event, Event::Cycles { .. }).then(|| profile.value(samples))
}

fn stack<'a>(profile: &'a Profile, sample: &'a Sample, by: Option<By>) -> StackLine<'a> {
    let (thread, info) = (profile.thread(sample), &profile.process(sample).info);
    let key = &sample.key;
    StackLine {
        kind: "profile_stack",
        samples: sample.count,
        cpu_ns: profile.cpu_ns(sample.count),
        cycles: cycles(profile, sample.count),
        group: by.map(|by| frames::group(profile, sample, by)),
        pid: info.tgid,
        tid: thread.tid,
        comm: &info.comm,
        thread: known(profile.string(thread.name)),
        service: known(&info.service),
        container_id: info.container_id.as_deref(),
        method: known(profile.string(key.method)),
        route: known(profile.string(key.route)),
        trace_id: key.link.map(|link| hex(&link.trace_id)),
        span_id: key.link.map(|link| hex(&link.span_id)),
        cut: profile.stack(sample).stop.map(|stop| stop.name()),
        frames: frames::of_sample(profile, sample)
            .map(|frame| frame_line(profile, &frame))
            .collect(),
    }
}

fn frame_line<'a>(profile: &'a Profile, frame: &Frame<'a>) -> FrameLine<'a> {
    let mapping = frame.location.mapping;
    let mapping = mapping.map(|id| profile.mappings[id.index()]);
    let function = frame
        .line
        .map(|line| profile.functions[line.function.index()]);
    FrameLine {
        function: frame.name(profile),
        kind: frame.location.kind.name(),
        inlined: frame.inlined,
        module: mapping.and_then(|mapping| known(profile.string(mapping.file))),
        build_id: mapping.and_then(|mapping| known(profile.string(mapping.build_id))),
        address: format!("{:#x}", frame.location.address),
        file: function.and_then(|function| known(profile.string(function.file))),
        line: frame.line.map(|line| line.line).filter(|line| *line > 0),
    }
}

fn summary(out: &mut impl Write, profile: &Profile) -> io::Result<()> {
    let ledger = &profile.ledger;
    let lost = Loss::ALL.map(|loss| (loss.name(), ledger.lost[loss as usize]));
    line(
        out,
        &SummaryLine {
            kind: "profile_summary",
            seen: ledger.seen,
            emitted: ledger.emitted,
            lost: lost.into(),
            lost_per_cpu: &ledger.lost_per_cpu,
            tagged: ledger.tagged,
            untagged: ledger.untagged,
            processes: profile.processes.iter().map(process).collect(),
        },
    )?;
    out.flush()
}

fn process(process: &Process) -> ProcessLine<'_> {
    let reasons = process.unwinding.reasons();
    ProcessLine {
        pid: process.info.tgid,
        comm: known(&process.info.comm),
        samples: process.unwinding.total(),
        complete: process.unwinding.complete,
        stopped: reasons.map(|(stop, count)| (stop.name(), count)).collect(),
        lost: process.lost,
    }
}

fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
