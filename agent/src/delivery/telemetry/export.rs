//! What becomes of each signal on its way out, as metrics.

use std::fmt::Write as _;

use super::text::Text;
use crate::delivery::export::batch::Signal;
use crate::delivery::export::breaker::Circuit;
use crate::delivery::export::counters::{DropReason, Snapshot};
use crate::delivery::export::lane::Lane;
use crate::delivery::queue::{Depth, SpoolDepth};

/// The state of one signal.
#[derive(Clone, PartialEq, Debug)]
pub struct LaneMetrics {
    /// Which one.
    pub signal: Signal,
    /// What became of it.
    pub counts: Snapshot,
    /// What waits.
    pub depth: Depth,
    /// Its endpoints, the preferred one first.
    pub endpoints: Vec<String>,
}

impl LaneMetrics {
    /// As it is now.
    #[must_use]
    pub fn of(lane: &Lane) -> Self {
        Self {
            signal: lane.signal,
            counts: lane.counters.snapshot(),
            depth: lane.queue.depth(),
            endpoints: lane.endpoints.to_vec(),
        }
    }
}

type Value = fn(&LaneMetrics) -> u64;

/// Renders all families.
pub(super) fn render(text: &mut Text, lanes: &[LaneMetrics]) {
    for lane in lanes {
        items(text, lane);
    }
    let families: [(&str, &str, &str, Value); 9] = [
        (
            "remora_queue_bytes",
            "gauge",
            "Encoded batches held in memory, bytes.",
            |it| it.depth.bytes as u64,
        ),
        (
            "remora_queue_bytes_max",
            "gauge",
            "Most bytes of encoded batches in memory.",
            |it| it.depth.capacity as u64,
        ),
        (
            "remora_export_requests_total",
            "counter",
            "Requests sent to gateways, repeated ones included.",
            |it| it.counts.requests,
        ),
        (
            "remora_export_retries_total",
            "counter",
            "Requests to gateways that repeated an earlier one.",
            |it| it.counts.retries,
        ),
        (
            "remora_export_bytes_total",
            "counter",
            "Request bodies acknowledged, bytes before compression.",
            |it| it.counts.bytes,
        ),
        (
            "remora_export_failovers_total",
            "counter",
            "Requests that went to another endpoint than the preferred one.",
            |it| it.counts.failovers,
        ),
        (
            "remora_export_requests_in_flight",
            "gauge",
            "Requests under way or about to be repeated.",
            |it| it.counts.pace.in_flight,
        ),
        (
            "remora_export_requests_in_flight_max",
            "gauge",
            "Requests that may be under way at once, as latency and backlog have it now.",
            |it| it.counts.pace.limit,
        ),
        (
            "remora_export_request_bytes_max",
            "gauge",
            "Bytes up to which waiting batches are put into one request now.",
            |it| it.counts.pace.bytes,
        ),
    ];
    for (name, kind, help, value) in families {
        by_signal(text, lanes, (name, kind, help), value);
    }
    circuits(text, lanes);
    spools(text, lanes);
}

fn by_signal(
    text: &mut Text,
    lanes: &[LaneMetrics],
    (name, kind, help): (&str, &str, &str),
    value: impl Fn(&LaneMetrics) -> u64,
) {
    text.family(name, kind, help);
    for lane in lanes {
        text.sample(name, Some(("signal", lane.signal.name())), value(lane));
    }
}

fn items(text: &mut Text, lane: &LaneMetrics) {
    let (unit, words) = (lane.signal.unit_key(), lane.signal.unit());
    let counts = &lane.counts;
    for (name, help, value) in [
        ("accepted", "handed to the exporter", counts.accepted),
        ("delivered", "acknowledged by a gateway", counts.delivered),
        (
            "recovered",
            "that an earlier run of the agent left in the spool",
            counts.recovered,
        ),
    ] {
        let (name, help) = (
            format!("remora_{unit}_{name}_total"),
            format!("Number of {words} {help}."),
        );
        text.single(&name, "counter", &help, value);
    }
    let name = format!("remora_{unit}_dropped_total");
    text.family(
        &name,
        "counter",
        &format!("Number of {words} given up by the exporter."),
    );
    for reason in DropReason::ALL {
        text.sample(
            &name,
            Some(("reason", reason.name())),
            counts.dropped_for(reason),
        );
    }
    let help = format!("Number of {words} accepted, and neither delivered nor dropped yet.");
    text.single(
        &format!("remora_{unit}_queued"),
        "gauge",
        &help,
        counts.queued,
    );
}

fn circuits(text: &mut Text, lanes: &[LaneMetrics]) {
    let name = "remora_export_circuit";
    let help = "Circuit to an endpoint: closed, half_open or open.";
    text.family(name, "gauge", help);
    for lane in lanes {
        for (endpoint, now) in lane.endpoints.iter().zip(lane.counts.circuits) {
            let (signal, endpoint) = (lane.signal.name(), escaped(endpoint));
            for circuit in [Circuit::Closed, Circuit::HalfOpen, Circuit::Open] {
                let (state, value) = (circuit.name(), u64::from(circuit == now));
                // Writing to a `String` cannot fail.
                let _ = writeln!(
                    text.0,
                    "{name}{{signal=\"{signal}\",endpoint=\"{endpoint}\",state=\"{state}\"}} {value}"
                );
            }
        }
    }
}

/// A label's value: endpoints are the user's words.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn spools(text: &mut Text, lanes: &[LaneMetrics]) {
    let lanes: Vec<LaneMetrics> = lanes
        .iter()
        .filter(|lane| lane.depth.spool.is_some())
        .cloned()
        .collect();
    if lanes.is_empty() {
        return;
    }
    type Value = fn(&SpoolDepth) -> u64;
    let families: [(&str, &str, &str, Value); 8] = [
        ("up", "gauge", "Whether the spool can be used.", |it| {
            u64::from(it.problem.is_none())
        }),
        (
            "items",
            "gauge",
            "Spans, data points or profiles on disk, copies of those under way included.",
            |it| it.stats.items,
        ),
        ("bytes", "gauge", "Bytes of the spool's files.", |it| {
            it.stats.bytes
        }),
        (
            "bytes_max",
            "gauge",
            "Most bytes of the spool's files.",
            |it| it.capacity,
        ),
        ("segments", "gauge", "Files of batches.", |it| {
            it.stats.segments
        }),
        (
            "foreign_files",
            "gauge",
            "Files in the directory that are not the spool's.",
            |it| it.stats.foreign,
        ),
        (
            "damaged_total",
            "counter",
            "Damaged places found in the spool.",
            |it| it.stats.damaged,
        ),
        (
            "io_errors_total",
            "counter",
            "Operations of the disk that failed.",
            |it| it.stats.io_errors,
        ),
    ];
    for (name, kind, help, value) in families {
        let name = format!("remora_spool_{name}");
        by_signal(text, &lanes, (&name, kind, help), |lane| {
            lane.depth.spool.as_ref().map_or(0, value)
        });
    }
}
