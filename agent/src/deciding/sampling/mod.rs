//! Which spans are kept.
//!
//! A decision is made when a request is complete, so that it can depend on how it ended.
//! Metrics are counted before. Whatever keeps a span, the decision is by threshold
//! (consistent probability sampling): the same trace is kept by all agents that use the same
//! threshold, and the span says in `tracestate` how many it stands for.
//!
//! Nothing here knows a clock: [`Sampler::tick`] is told the time, which may be virtual.

pub mod overload;
pub mod quantile;
pub mod rule;
pub mod strata;
pub mod strategy;
pub mod threshold;
pub mod tracestate;

mod adaptive;
#[cfg(test)]
mod tests;

pub use adaptive::Adaptive;

use crate::deciding::route::Routed;
use crate::model::exchange::{Exchange, Side};
use rule::Rule;
use strategy::Strategy;
use threshold::{Randomness, Threshold};
use tracestate::Upstream;

/// Budget unless the settings say otherwise, spans per second.
pub const DEFAULT_BUDGET: f64 = 100.0;
/// Length of a control interval: smallest, default, largest, seconds.
pub const INTERVAL: (f64, f64, f64) = (1.0, 10.0, 60.0);
/// Smallest probability of the budget, unless the settings say otherwise.
pub const DEFAULT_FLOOR: f64 = 0.001;

/// How to sample.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// The strategy. What follows is for [`Strategy::Adaptive`].
    pub strategy: Strategy,
    /// Spans per second.
    pub budget: f64,
    /// Spans per second that are never exceeded.
    pub cap: f64,
    /// Seconds between two adjustments.
    pub interval: f64,
    /// Smallest probability that the budget leads to.
    pub floor: f64,
    /// Rules, in order.
    pub rules: Vec<Rule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Adaptive,
            budget: DEFAULT_BUDGET,
            cap: default_cap(DEFAULT_BUDGET),
            interval: INTERVAL.1,
            floor: DEFAULT_FLOOR,
            rules: (rule::DEFAULTS.iter())
                .filter_map(|text| Rule::parse(text).ok())
                .collect(),
        }
    }
}

/// The cap that goes with a budget, if none is set.
#[must_use]
pub fn default_cap(budget: f64) -> f64 {
    (budget * 10.0).max(1000.0)
}

/// Who decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The rule with this index.
    Rule(u8),
    /// No rule matched: the budget.
    Budget,
    /// A strategy without rules.
    Strategy,
    /// It would have been kept, but for overload.
    Overload,
    /// It would have been kept, but for the cap.
    HardCap,
}

/// Whether a span is kept, and why.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Decision {
    /// Whether it is kept.
    pub keep: bool,
    /// Who decided.
    pub by: By,
    /// The threshold used; `None` if the probability is not known.
    pub threshold: Option<Threshold>,
}

impl Decision {
    /// The `tracestate` of a kept span, put together in `out`.
    pub fn tracestate<'a>(&self, exchange: &Exchange<'_>, out: &'a mut String) -> Option<&'a str> {
        out.clear();
        tracestate::write(out, exchange.trace.state, self.threshold);
        Some(out.as_str()).filter(|state| !state.is_empty())
    }
}

/// Spans that one reason decided about.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Kept.
    pub kept: u64,
    /// Dropped.
    pub dropped: u64,
}

/// Decides.
#[derive(Debug)]
pub struct Sampler {
    strategy: Strategy,
    adaptive: Adaptive,
    counts: Counts,
}

/// Tallies by who decided.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Counts {
    rules: Vec<Tally>,
    others: [Tally; 4],
}

/// Indices into [`Counts::others`], in the order of [`rule::RESERVED`].
const fn other(by: By) -> Option<usize> {
    match by {
        By::Rule(_) => None,
        By::Budget => Some(0),
        By::Overload => Some(1),
        By::HardCap => Some(2),
        By::Strategy => Some(3),
    }
}

impl Sampler {
    /// A sampler that knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let counts = Counts {
            rules: vec![Tally::default(); settings.rules.len()],
            ..Counts::default()
        };
        Self {
            strategy: settings.strategy,
            adaptive: Adaptive::new(settings),
            counts,
        }
    }

    /// Takes other settings from now on. What is known of the traffic stays, and so do the
    /// counts of rules that keep their names.
    pub fn configure(&mut self, settings: Settings) {
        let before = std::mem::take(&mut self.counts.rules);
        let names: Vec<String> = self
            .adaptive
            .rules()
            .iter()
            .map(|rule| rule.name.clone())
            .collect();
        let same = |rule: &Rule| {
            let at = names.iter().position(|name| *name == rule.name)?;
            before.get(at).copied()
        };
        self.counts.rules = (settings.rules.iter())
            .map(|rule| same(rule).unwrap_or_default())
            .collect();
        self.strategy = settings.strategy;
        self.adaptive.configure(settings);
    }

    /// Decides about a request.
    #[inline]
    pub fn decide(&mut self, exchange: &Exchange<'_>, routed: Routed<'_>) -> Decision {
        let decision = match self.strategy {
            Strategy::Adaptive => self.adaptive.decide(exchange, routed),
            strategy => fixed(strategy, exchange),
        };
        let tally = match decision.by {
            By::Rule(at) => self.counts.rules.get_mut(usize::from(at)),
            by => other(by).and_then(|at| self.counts.others.get_mut(at)),
        };
        if let Some(tally) = tally {
            tally.kept += u64::from(decision.keep);
            tally.dropped += u64::from(!decision.keep);
        }
        decision
    }

    /// Says what time it is (monotonic, ns), and how full the queue of spans is (0 to 1).
    /// To be called several times a second.
    pub fn tick(&mut self, now_ns: u64, queue: f64) {
        self.adaptive.tick(now_ns, queue);
    }

    /// The name of who decided.
    #[must_use]
    pub fn name(&self, by: By) -> &str {
        match by {
            By::Rule(at) => {
                let rule = self.adaptive.rules().get(usize::from(at));
                rule.map_or("", |rule| rule.name.as_str())
            }
            By::Strategy => self.strategy.name(),
            by => other(by).map_or("", |at| rule::RESERVED[at]),
        }
    }

    /// All tallies, with the names of who decided.
    pub fn tallies(&self) -> impl Iterator<Item = (&str, Tally)> {
        let rules = self.adaptive.rules().iter().map(|rule| rule.name.as_str());
        let others = [By::Budget, By::Overload, By::HardCap, By::Strategy];
        let others = others
            .into_iter()
            .map(|by| self.name(by))
            .zip(self.counts.others);
        rules.zip(self.counts.rules.iter().copied()).chain(others)
    }

    /// The adaptive part, for its state.
    #[must_use]
    pub const fn adaptive(&self) -> &Adaptive {
        &self.adaptive
    }

    /// The strategy in force.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }
}

/// Strategies that need no state.
fn fixed(strategy: Strategy, exchange: &Exchange<'_>) -> Decision {
    let upstream = upstream(exchange);
    let by_ratio = |ratio: f64| {
        let threshold = Threshold::of(ratio);
        Decision {
            keep: threshold.keeps(upstream.randomness),
            by: By::Strategy,
            threshold: Some(threshold),
        }
    };
    match strategy {
        Strategy::ParentBased(_) if exchange.trace.parent_span_id.is_some() => Decision {
            keep: upstream.sampled,
            by: By::Strategy,
            threshold: upstream.threshold,
        },
        Strategy::Ratio(ratio) | Strategy::ParentBased(ratio) => by_ratio(ratio),
        Strategy::AlwaysOff => by_ratio(0.0),
        Strategy::AlwaysOn | Strategy::Adaptive => by_ratio(1.0),
    }
}

/// What is known from upstream.
#[derive(Clone, Copy, Debug)]
struct Parent {
    /// There is a parent, and it was sampled.
    sampled: bool,
    /// With this threshold, if it says so and kept to it.
    threshold: Option<Threshold>,
    randomness: Randomness,
}

#[inline]
fn upstream(exchange: &Exchange<'_>) -> Parent {
    let trace = &exchange.trace;
    let state = match trace.state {
        Some(state) => Upstream::parse(state),
        None => Upstream::default(),
    };
    let randomness = state.randomness.unwrap_or(Randomness::of(&trace.trace_id));
    let sampled = trace.parent_span_id.is_some() && trace.flags & 1 == 1;
    Parent {
        sampled,
        threshold: state
            .threshold
            .filter(|threshold| sampled && threshold.keeps(randomness)),
        randomness,
    }
}

/// Whether a request failed (OpenTelemetry conventions: 5xx, for clients 4xx as well, no valid
/// response, or a gRPC status that is an error for the side).
#[inline]
fn is_error(exchange: &Exchange<'_>) -> bool {
    let first = if exchange.side == Side::Server {
        500
    } else {
        400
    };
    exchange.error.is_some() || exchange.status.is_some_and(|status| status >= first)
}

/// The class of a request's status: an index into [`strata::CLASSES`].
#[inline]
fn class(exchange: &Exchange<'_>) -> u8 {
    match exchange.rpc {
        Some(rpc) => match rpc.status {
            None => 0,
            Some(0) => 6,
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            Some(2 | 4 | 12..=15) => 8,
            Some(_) => 7,
        },
        None => match exchange.status {
            Some(status @ 100..=599) => (status / 100) as u8,
            _ => 0,
        },
    }
}
