//! The agent's memory in its own metrics.

use std::fmt::Write as _;

/// What may be held, what is, and what is done without because of it.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct MemoryMetrics {
    /// How full each part is, 0 to 1.
    pub fill: Vec<(&'static str, f64)>,
    /// What each part may hold, bytes.
    pub limits: Vec<(&'static str, u64)>,
    /// What is turned down when it is nearly full, in order.
    pub steps: Vec<StepMetrics>,
}

/// One such step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StepMetrics {
    /// Its name.
    pub name: &'static str,
    /// Whether it is in force.
    pub active: bool,
    /// How often it began.
    pub entered: u64,
}

impl MemoryMetrics {
    /// Appends everything in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        let limits = self
            .limits
            .iter()
            .map(|(part, bytes)| (*part, *bytes as f64));
        let active = |step: &StepMetrics| (step.name, f64::from(u8::from(step.active)));
        let entered = |step: &StepMetrics| (step.name, step.entered as f64);
        for (name, kind, help, key, samples) in [
            (
                "remora_memory_limit_bytes",
                "gauge",
                "What the watched shares of memory_limit may hold: the queue of spans, and requests under way.",
                "part",
                limits.collect::<Vec<_>>(),
            ),
            (
                "remora_memory_fill_ratio",
                "gauge",
                "How much of it is in use.",
                "part",
                self.fill.clone(),
            ),
            (
                "remora_memory_step",
                "gauge",
                "1 while this is turned down, because memory runs short.",
                "step",
                self.steps.iter().map(active).collect(),
            ),
            (
                "remora_memory_steps_total",
                "counter",
                "Times that it was.",
                "step",
                self.steps.iter().map(entered).collect(),
            ),
        ] {
            // Writing to a `String` cannot fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (label, value) in samples {
                let _ = writeln!(out, "{name}{{{key}=\"{label}\"}} {value}");
            }
        }
    }
}
