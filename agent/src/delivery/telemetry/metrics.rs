//! The Prometheus text format, version 0.0.4.

use std::fmt::Write;

use super::export::{self, LaneMetrics};
use super::memory::MemoryMetrics;
use super::sampling::SamplingMetrics;
use super::text::Text;
use super::usage::Usage;

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
    /// Export, by signal.
    pub export: Vec<LaneMetrics>,
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
        if !self.export.is_empty() {
            export::render(&mut text, &self.export);
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

impl Text {
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
    use crate::delivery::export::batch::Signal;
    use crate::delivery::export::breaker::Circuit;
    use crate::delivery::export::counters::Snapshot;
    use crate::delivery::queue::{Depth, SpoolDepth};
    use crate::delivery::telemetry::memory::StepMetrics;

    fn lane(signal: Signal) -> LaneMetrics {
        let mut counts = Snapshot {
            accepted: 7,
            delivered: 4,
            dropped: [1, 0, 0, 0, 0, 0, 0],
            queued: 2,
            ..Snapshot::default()
        };
        counts.circuits[1] = Circuit::Open;
        let spool = (signal == Signal::Metrics).then(SpoolDepth::default);
        LaneMetrics {
            signal,
            counts,
            depth: Depth {
                spool,
                ..Depth::default()
            },
            endpoints: vec!["http://a:4318/".into(), "http://b\"\\:4318/".into()],
        }
    }

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
            export: vec![lane(Signal::Traces), lane(Signal::Metrics)],
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
        for line in [
            "remora_data_points_dropped_total{reason=\"queue_full\"} 1\n",
            "remora_data_points_queued 2\n",
            "remora_export_requests_total{signal=\"metrics\"} 0\n",
            "remora_spool_up{signal=\"metrics\"} 1\n",
            "remora_export_circuit{signal=\"traces\",endpoint=\"http://a:4318/\",state=\"closed\"} 1\n",
            "remora_export_circuit{signal=\"traces\",endpoint=\"http://b\\\"\\\\:4318/\",state=\"open\"} 1\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        assert!(!text.contains("remora_spool_up{signal=\"traces\"}"));
        assert!(text.contains("process_cpu_seconds_total "));
    }

    #[test]
    fn what_does_not_apply_is_left_out() {
        let text = SelfMetrics::default().render();
        assert_eq!(text.lines().count(), 3, "{text}");
    }
}
