//! The Prometheus text format, version 0.0.4.

use std::fmt::Write;

use super::memory::MemoryMetrics;
use super::sampling::SamplingMetrics;
use super::usage::Usage;
use crate::export::breaker::Circuit;
use crate::export::counters::{DropReason, Snapshot};
use crate::queue::{Depth, SpoolDepth};

/// Requests from the kernel's point of view: `seen == emitted + filtered + lost`.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CaptureCounts {
    /// Requests that ended.
    pub seen: u64,
    /// Requests handed to the outputs.
    pub emitted: u64,
    /// Requests that the user's filters left out.
    pub filtered: u64,
    /// Requests lost, by reason.
    pub lost: Vec<(&'static str, u64)>,
    /// Events at which the kernel left its programs out, if it tells: each may hide a
    /// request, which is then not among those seen.
    pub missed: Option<u64>,
}

/// What `/metrics` shows. What does not apply is left out.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct SelfMetrics {
    /// Capture.
    pub capture: Option<CaptureCounts>,
    /// Export.
    pub export: Option<(Snapshot, Depth)>,
    /// Sampling, routes and RED metrics.
    pub sampling: Option<SamplingMetrics>,
    /// What it may hold.
    pub memory: Option<MemoryMetrics>,
    /// The agent's own cost.
    pub usage: Option<Usage>,
}

impl SelfMetrics {
    /// Renders all metrics.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Text(String::with_capacity(4096));
        text.family("remora_build_info", "gauge", "Version of the agent.");
        text.sample(
            "remora_build_info",
            Some(("version", env!("CARGO_PKG_VERSION"))),
            1,
        );
        if let Some(capture) = &self.capture {
            text.capture(capture);
        }
        if let Some((export, depth)) = &self.export {
            text.export(export, depth);
        }
        if let Some(usage) = &self.usage {
            text.usage(usage);
        }
        if let Some(memory) = &self.memory {
            memory.render(&mut text.0);
        }
        if let Some(sampling) = &self.sampling {
            sampling.render(&mut text.0);
        }
        text.0
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are the agent's own words: nothing in them needs escaping.
    fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: u64) {
        let _ = match label {
            None => writeln!(self.0, "{name} {value}"),
            Some((key, word)) => writeln!(self.0, "{name}{{{key}=\"{word}\"}} {value}"),
        };
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, None, value);
    }

    fn capture(&mut self, capture: &CaptureCounts) {
        let help = "Requests whose end was seen in the kernel.";
        self.single("remora_requests_seen_total", "counter", help, capture.seen);
        let help = "Requests handed to the outputs.";
        self.single(
            "remora_requests_emitted_total",
            "counter",
            help,
            capture.emitted,
        );
        let help = "Requests left out by filters.";
        self.single(
            "remora_requests_filtered_total",
            "counter",
            help,
            capture.filtered,
        );
        self.family(
            "remora_requests_lost_total",
            "counter",
            "Requests lost before the outputs.",
        );
        for (reason, count) in &capture.lost {
            self.sample(
                "remora_requests_lost_total",
                Some(("reason", reason)),
                *count,
            );
        }
        if let Some(missed) = capture.missed {
            let help =
                "Events at which the kernel left Remora's programs out; each may hide a request.";
            self.single("remora_programs_missed_total", "counter", help, missed);
        }
    }

    fn export(&mut self, export: &Snapshot, depth: &Depth) {
        let help = "Spans handed to the exporter.";
        self.single(
            "remora_spans_accepted_total",
            "counter",
            help,
            export.accepted,
        );
        let help = "Spans acknowledged by the gateway.";
        self.single(
            "remora_spans_delivered_total",
            "counter",
            help,
            export.delivered,
        );
        self.family(
            "remora_spans_dropped_total",
            "counter",
            "Spans given up by the exporter.",
        );
        for reason in DropReason::ALL {
            let count = export.dropped_for(reason);
            self.sample(
                "remora_spans_dropped_total",
                Some(("reason", reason.name())),
                count,
            );
        }
        let help = "Spans accepted, and neither delivered nor dropped yet.";
        self.single("remora_spans_queued", "gauge", help, export.queued);
        let help = "Encoded spans held in memory, bytes.";
        self.single("remora_queue_bytes", "gauge", help, depth.bytes as u64);
        let help = "Requests sent to the gateway, repeated ones included.";
        self.single(
            "remora_export_requests_total",
            "counter",
            help,
            export.requests,
        );
        let help = "Requests to the gateway that repeated an earlier one.";
        self.single(
            "remora_export_retries_total",
            "counter",
            help,
            export.retries,
        );
        let help = "Request bodies acknowledged, bytes before compression.";
        self.single("remora_export_bytes_total", "counter", help, export.bytes);
        let help = "Requests that went to another endpoint than the preferred one.";
        self.single(
            "remora_export_failovers_total",
            "counter",
            help,
            export.failovers,
        );
        let help = "Circuit to the preferred endpoint: closed, half_open or open.";
        self.family("remora_export_circuit", "gauge", help);
        for circuit in [Circuit::Closed, Circuit::HalfOpen, Circuit::Open] {
            let label = Some(("state", circuit.name()));
            self.sample(
                "remora_export_circuit",
                label,
                u64::from(circuit == export.circuit),
            );
        }
        let help = "Most bytes of encoded spans in memory.";
        self.single(
            "remora_queue_bytes_max",
            "gauge",
            help,
            depth.capacity as u64,
        );
        let help = "Spans that an earlier run of the agent left in the spool.";
        self.single(
            "remora_spans_recovered_total",
            "counter",
            help,
            export.recovered,
        );
        if let Some(spool) = &depth.spool {
            self.spool(spool);
        }
    }

    fn spool(&mut self, spool: &SpoolDepth) {
        let stats = &spool.stats;
        for (name, help, value) in [
            (
                "up",
                "Whether the spool can be used.",
                u64::from(spool.problem.is_none()),
            ),
            (
                "spans",
                "Spans on disk, copies of those under way included.",
                stats.items,
            ),
            ("bytes", "Bytes of the spool's files.", stats.bytes),
            (
                "bytes_max",
                "Most bytes of the spool's files.",
                spool.capacity,
            ),
            ("segments", "Files of spans.", stats.segments),
            (
                "foreign_files",
                "Files in the directory that are not the spool's.",
                stats.foreign,
            ),
        ] {
            self.single(&format!("remora_spool_{name}"), "gauge", help, value);
        }
        for (name, help, value) in [
            (
                "damaged",
                "Damaged places found in the spool.",
                stats.damaged,
            ),
            (
                "io_errors",
                "Operations of the disk that failed.",
                stats.io_errors,
            ),
        ] {
            self.single(
                &format!("remora_spool_{name}_total"),
                "counter",
                help,
                value,
            );
        }
    }

    fn usage(&mut self, usage: &Usage) {
        let name = "process_cpu_seconds_total";
        self.family(name, "counter", "CPU time of the agent, seconds.");
        let _ = writeln!(self.0, "{name} {:.3}", usage.cpu.as_secs_f64());
        let help = "Resident memory of the agent, bytes.";
        self.single("process_resident_memory_bytes", "gauge", help, usage.rss);
        let help = "Highest resident memory of the agent, bytes.";
        self.single(
            "process_resident_memory_peak_bytes",
            "gauge",
            help,
            usage.rss_peak,
        );
        self.single(
            "process_threads",
            "gauge",
            "Threads of the agent.",
            usage.threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::memory::StepMetrics;

    #[test]
    fn every_sample_belongs_to_a_family() {
        let metrics = SelfMetrics {
            capture: Some(CaptureCounts {
                seen: 10,
                emitted: 7,
                filtered: 1,
                lost: vec![("ring_full", 2), ("decode", 0)],
                missed: Some(0),
            }),
            export: Some((
                Snapshot {
                    accepted: 7,
                    delivered: 4,
                    dropped: [1, 0, 0, 0, 0, 0, 0],
                    queued: 2,
                    ..Snapshot::default()
                },
                Depth::default(),
            )),
            sampling: Some(SamplingMetrics::default()),
            memory: Some(MemoryMetrics {
                fill: vec![("queue", 0.5)],
                limits: vec![("queue", 24 << 20)],
                steps: vec![StepMetrics {
                    name: "detail",
                    active: true,
                    entered: 3,
                }],
            }),
            usage: Usage::read(),
        };
        let text = metrics.render();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                family = rest.split(' ').next().unwrap().to_owned();
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(series.split('{').next(), Some(family.as_str()), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.contains("remora_requests_lost_total{reason=\"ring_full\"} 2\n"));
        assert!(text.contains("remora_spans_dropped_total{reason=\"queue_full\"} 1\n"));
        assert!(text.contains("process_cpu_seconds_total "));
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let text = SelfMetrics::default().render();
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
