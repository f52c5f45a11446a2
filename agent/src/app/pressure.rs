//! What the agent does without when its memory runs short.
//!
//! In this order: what only describes a request is left out of its span, spans are thinned
//! out, new connections are not followed. The first two hold the export queue down as well
//! as they can. The third costs exact metrics, so only requests under way may bring it about:
//! a gateway that is away must not make the agent blind, and following fewer requests would
//! not free the queue.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::deciding::sampling::overload;
use crate::delivery::telemetry::memory::StepMetrics;

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// What is turned down, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Detail,
    Sampling,
    Connections,
}

/// Fill at which a step begins, below which it may end, its name, and what is said of it.
const STEPS: [(Step, f64, f64, &str, &str); 3] = [
    (
        Step::Detail,
        0.8,
        0.65,
        "detail",
        "spans without peers, user agents and threads",
    ),
    // The sampler itself thins out, at the same marks.
    (
        Step::Sampling,
        overload::ENTER,
        overload::LEAVE,
        "sampling",
        "fewer spans",
    ),
    (
        Step::Connections,
        0.95,
        0.8,
        "connections",
        "new connections are not followed, their requests are counted as lost (conn_evicted)",
    ),
];

/// How full the parts of the memory are, 0 to 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub(super) struct Fill {
    /// Batches.
    pub(super) queue: f64,
    /// Requests under way.
    pub(super) pipeline: f64,
}

impl Fill {
    /// What spans take part in.
    pub(super) fn most(self) -> f64 {
        self.queue.max(self.pipeline)
    }
}

/// One step.
#[derive(Clone, Copy, Default, Debug)]
struct State {
    active: bool,
    /// Seconds on end below the mark.
    calm: u32,
    entered: u64,
}

/// The steps in force.
#[derive(Debug)]
pub(super) struct Pressure {
    states: [State; STEPS.len()],
    next: Instant,
    fill: Fill,
}

impl Pressure {
    pub(super) fn new() -> Self {
        Self {
            states: Default::default(),
            next: Instant::now(),
            fill: Fill::default(),
        }
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + INTERVAL;
        }
        due
    }

    /// A second is over.
    pub(super) fn second(&mut self, fill: Fill) {
        self.fill = fill;
        for (state, (step, enter, leave, name, what)) in self.states.iter_mut().zip(STEPS) {
            let fill = match step {
                Step::Connections => fill.pipeline,
                Step::Detail | Step::Sampling => fill.most(),
            };
            if fill >= enter {
                state.calm = 0;
                if !state.active {
                    state.active = true;
                    state.entered += 1;
                    warn!(step = name, fill, "memory runs short: {what}");
                }
            } else if state.active {
                state.calm = if fill < leave { state.calm + 1 } else { 0 };
                if state.calm >= overload::HOLD {
                    *state = State {
                        entered: state.entered,
                        ..State::default()
                    };
                    info!(step = name, "there is enough memory again");
                }
            }
        }
    }

    /// Whether what only describes is left out of spans.
    pub(super) const fn is_brief(&self) -> bool {
        self.states[Step::Detail as usize].active
    }

    /// Whether new connections are not followed.
    pub(super) const fn refuses(&self) -> bool {
        self.states[Step::Connections as usize].active
    }

    /// For the agent's own metrics.
    pub(super) fn metrics(&self) -> Vec<StepMetrics> {
        let all = self.states.iter().zip(STEPS);
        all.map(|(state, (_, _, _, name, _))| StepMetrics {
            name,
            active: state.active,
            entered: state.entered,
        })
        .collect()
    }

    /// At the last look.
    pub(super) const fn fill(&self) -> Fill {
        self.fill
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(pressure: &Pressure) -> Vec<&'static str> {
        let steps = pressure.metrics();
        let active = steps.into_iter().filter(|step| step.active);
        active.map(|step| step.name).collect()
    }

    #[test]
    fn steps_come_in_order_and_go_after_a_while() {
        let mut pressure = Pressure::new();
        let pipeline = |pipeline| Fill {
            queue: 0.0,
            pipeline,
        };
        let mut seen = Vec::new();
        for percent in (0..=100).step_by(5) {
            pressure.second(pipeline(f64::from(percent) / 100.0));
            if seen.last() != Some(&active(&pressure)) {
                seen.push(active(&pressure));
            }
        }
        let order: [&[&str]; 4] = [
            &[],
            &["detail"],
            &["detail", "sampling"],
            &["detail", "sampling", "connections"],
        ];
        assert_eq!(seen, order);
        // Between the marks everything stays, and a moment of calm changes nothing.
        for _ in 0..60 {
            pressure.second(pipeline(0.82));
        }
        assert_eq!(active(&pressure).len(), 3);
        for second in 1..=overload::HOLD {
            assert_eq!(active(&pressure).len(), 3, "{second}");
            pressure.second(pipeline(0.78));
        }
        assert_eq!(active(&pressure), ["detail", "sampling"]);
        for _ in 0..overload::HOLD {
            pressure.second(pipeline(0.0));
        }
        assert_eq!(active(&pressure), [""; 0]);
        let entered: Vec<_> = pressure.metrics().iter().map(|step| step.entered).collect();
        assert_eq!(entered, [1, 1, 1]);
    }

    #[test]
    fn a_full_queue_never_makes_the_agent_blind() {
        let mut pressure = Pressure::new();
        pressure.second(Fill {
            queue: 1.0,
            pipeline: 0.1,
        });
        assert_eq!(active(&pressure), ["detail", "sampling"]);
        assert!(pressure.is_brief() && !pressure.refuses());
    }
}
