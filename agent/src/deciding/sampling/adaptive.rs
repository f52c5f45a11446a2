//! Adaptive sampling: rules first, and a budget for everything else.

use super::overload::Overload;
use super::rule::{Condition, Rule};
use super::strata::{Strata, Stratum, Terms};
use super::threshold::Threshold;
use super::{By, Decision, Settings, class, is_error, upstream};
use crate::deciding::route::Routed;
use crate::model::exchange::Exchange;

/// Share of the budget that rules cannot take away.
const RESERVE: f64 = 0.1;
/// The first control intervals are shorter: this long, and then twice as long each time.
const FIRST_INTERVAL: f64 = 1.0;
/// A pause this many intervals long says nothing about traffic: the host was suspended, or
/// the clock stepped.
const GAP: f64 = 3.0;
/// Bounds of the correction from what was kept to what was meant to be kept.
const TRIM: (f64, f64) = (0.5, 2.0);
/// How much of an error is corrected at once.
const TRIM_GAIN: f64 = 0.25;
/// Bounds of the correction within an interval, and how fast it may rise in a second.
const PRESSURE: (f64, f64) = (0.05, 4.0);
const RELEASE: f64 = 1.25;
/// Most of the budget that a stratum nobody has seen before may take at once.
const WELCOME: f64 = 1.0 / 32.0;

/// State of adaptive sampling.
#[derive(Debug)]
pub struct Adaptive {
    settings: Settings,
    strata: Strata,
    overload: Overload,
    /// Whether some rule asks for the moving percentile.
    percentiles: bool,
    /// Monotonic time of the last tick, ns.
    last_tick: Option<u64>,
    /// Seconds of the window and the interval that are over.
    window: f64,
    elapsed: f64,
    /// Length of this interval, seconds.
    interval: f64,
    /// Spans that may still be kept at once.
    tokens: f64,
    /// In this second: spans that rules and budget kept.
    wanted: u64,
    /// In this interval: spans kept by rules, and by the budget (and the rules for rare ones).
    forced: u64,
    budgeted: u64,
    /// Spans kept by rules in this second, and lately; per second, averaged.
    forced_now: u64,
    forced_lately: f64,
    forced_rate: f64,
    /// What is left for the budget per second, as planned for this interval.
    planned: f64,
    /// Requests per second of the last interval.
    traffic: f64,
    /// What the budget was meant to keep, and kept, per second of the last interval.
    meant: f64,
    trim: f64,
    /// The plan was changed within the interval.
    disturbed: bool,
    /// Spans kept per second in the last whole second.
    kept_rate: f64,
    kept: u64,
}

impl Adaptive {
    pub(super) fn new(settings: Settings) -> Self {
        let interval = FIRST_INTERVAL.min(settings.interval);
        Self {
            strata: Strata::new(welcome(&settings, interval), settings.budget * interval),
            overload: Overload::new(settings.cap),
            percentiles: percentiles(&settings),
            last_tick: None,
            window: 0.0,
            elapsed: 0.0,
            interval,
            tokens: settings.cap,
            wanted: 0,
            forced: 0,
            budgeted: 0,
            forced_now: 0,
            forced_lately: 0.0,
            forced_rate: 0.0,
            planned: settings.budget,
            traffic: 0.0,
            meant: 0.0,
            trim: 1.0,
            disturbed: false,
            kept_rate: 0.0,
            kept: 0,
            settings,
        }
    }

    pub(super) fn configure(&mut self, settings: Settings) {
        self.overload.set_cap(settings.cap);
        self.percentiles = percentiles(&settings);
        self.interval = self.interval.min(settings.interval);
        self.strata.set_welcome(welcome(&settings, self.interval));
        self.settings = settings;
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.settings.rules
    }

    /// The settings in force.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All strata, those without a place of their own first.
    #[must_use]
    pub fn strata(&self) -> &[Stratum] {
        &self.strata.all
    }

    /// Requests that shared a stratum because there were too many.
    #[must_use]
    pub const fn shared(&self) -> u64 {
        self.strata.shared
    }

    /// Overload.
    #[must_use]
    pub const fn overload(&self) -> &Overload {
        &self.overload
    }

    /// Spans kept per second, and requests per second, lately.
    #[must_use]
    pub const fn rates(&self) -> (f64, f64) {
        (self.kept_rate, self.traffic)
    }

    #[inline]
    pub(super) fn decide(&mut self, exchange: &Exchange<'_>, routed: Routed<'_>) -> Decision {
        let parent = upstream(exchange);
        let place = self.strata.place(routed.id, class(exchange), || {
            (&exchange.process.service, routed.text.unwrap_or_default())
        });
        let stratum = &mut self.strata.all[place];
        let slow = self.percentiles && stratum.p99.above(exchange.duration_ns);
        let mut decided = None;
        for (rule, at) in self.settings.rules.iter().zip(0u8..) {
            let matches = match &rule.condition {
                Condition::Errors => is_error(exchange),
                Condition::Slow(ns) => exchange.duration_ns >= *ns,
                Condition::SlowForRoute => slow,
                Condition::Rare(per_minute) => {
                    let few = (per_minute / 60.0 * self.interval).max(1.0);
                    stratum.seen < few as u64 && stratum.expected(self.interval) <= few
                }
                Condition::Upstream => parent.sampled,
                Condition::Path(glob) => exchange.path.is_some_and(|path| glob.matches(path)),
                Condition::Route(glob) => routed.text.is_some_and(|route| glob.matches(route)),
                Condition::Service(glob) => glob.matches(&exchange.process.service),
            };
            if matches {
                decided = Some((at, rule));
                break;
            }
        }
        let (by, threshold, budgeted) = match decided {
            None => (By::Budget, Some(self.strata.next(place)), true),
            Some((at, rule)) => match rule.condition {
                // Its traffic is part of what the budget is shared by.
                Condition::Rare(_) => {
                    self.strata.next(place);
                    (By::Rule(at), Some(rule.threshold), true)
                }
                // Kept upstream if its randomness passes their threshold, here if it passes
                // ours: kept by either, so the lower one tells the probability.
                Condition::Upstream => {
                    let own = rule.threshold.max(stratum.threshold());
                    (
                        By::Rule(at),
                        parent.threshold.map(|theirs| theirs.min(own)),
                        false,
                    )
                }
                _ => (By::Rule(at), Some(rule.threshold), false),
            },
        };
        // A span that does not know its probability is kept by its rule, and only overload
        // can change that.
        let limit = threshold.unwrap_or(Threshold::ALWAYS);
        if !limit.keeps(parent.randomness) {
            return Decision {
                keep: false,
                by,
                threshold,
            };
        }
        self.wanted += 1;
        let overload = self.overload.threshold();
        if !overload.keeps(parent.randomness) {
            return Decision {
                keep: false,
                by: By::Overload,
                threshold: Some(overload),
            };
        }
        if self.tokens < 1.0 {
            return Decision {
                keep: false,
                by: By::HardCap,
                threshold: None,
            };
        }
        self.tokens -= 1.0;
        self.kept += 1;
        if budgeted {
            self.budgeted += 1;
        } else {
            self.forced += 1;
            self.forced_now += 1;
        }
        Decision {
            keep: true,
            by,
            threshold: threshold.map(|threshold| threshold.max(overload)),
        }
    }

    pub(super) fn tick(&mut self, now_ns: u64, queue: f64) {
        let last = self.last_tick.replace(now_ns).unwrap_or(now_ns);
        // A clock that goes back stands still.
        let seconds = now_ns.saturating_sub(last) as f64 / 1e9;
        self.tokens = (self.tokens + seconds * self.settings.cap).min(self.settings.cap.max(1.0));
        self.window += seconds;
        self.elapsed += seconds;
        if self.window >= 1.0 {
            self.overload
                .second(self.wanted as f64 / self.window, queue);
            self.kept_rate = self.kept as f64 / self.window;
            self.second();
            (self.window, self.wanted, self.kept, self.forced_now) = (0.0, 0, 0, 0);
        }
        if self.elapsed >= self.interval {
            if self.elapsed > self.interval * GAP {
                self.strata.skip();
            } else {
                self.control();
            }
            (self.elapsed, self.forced, self.budgeted) = (0.0, 0, 0);
        }
    }

    /// Rules keep more or less than planned, as in a burst of errors: the rest makes way
    /// within a second, and comes back within a few.
    fn second(&mut self) {
        let forced = self.forced_now as f64 / self.window;
        self.forced_lately += 0.6 * (forced - self.forced_lately);
        let goal = self.left(self.forced_lately) / self.planned.max(f64::MIN_POSITIVE);
        let before = self.strata.pressure();
        let pressure = goal.min(before * RELEASE).clamp(PRESSURE.0, PRESSURE.1);
        // Small changes are noise, and cost a look at all strata.
        if (pressure - before).abs() > 0.02 * before {
            self.strata.set_pressure(pressure);
            self.disturbed |= (pressure - 1.0).abs() > 0.1;
        }
    }

    /// What rules leave of the budget, spans per second.
    fn left(&self, forced: f64) -> f64 {
        let budget = self.settings.budget;
        (budget - forced).max(budget * RESERVE)
    }

    /// Sets the probabilities for the next interval from what came in this one.
    fn control(&mut self) {
        let seconds = self.elapsed;
        let forced = self.forced as f64 / seconds;
        let weight = if forced > self.forced_rate { 0.8 } else { 0.5 };
        self.forced_rate += weight * (forced - self.forced_rate);
        let traffic = self.strata.measure(seconds);
        // Only steady traffic tells whether the shares were right.
        let steady = (traffic - self.traffic).abs() < 0.1 * traffic && !self.disturbed;
        self.disturbed = false;
        self.traffic = traffic;
        let kept = self.budgeted as f64 / seconds;
        if steady && self.meant > 0.0 && kept > 0.0 {
            self.trim *= (self.meant / kept).powf(TRIM_GAIN);
            self.trim = self.trim.clamp(TRIM.0, TRIM.1);
        }
        self.interval = (self.interval * 2.0).min(self.settings.interval);
        self.strata
            .set_welcome(welcome(&self.settings, self.interval));
        // What came last counts most: a burst that is over, or has just begun.
        let shared = self.left(self.forced_lately * 0.5 + self.forced_rate * 0.5);
        self.planned = shared;
        let terms = Terms {
            spans: shared * self.trim * self.interval,
            seconds: self.interval,
            floor: self.settings.floor,
        };
        let kept = self.strata.allot(terms);
        // What cannot be reached, because there is less traffic, is no error.
        self.meant = (kept / self.trim / self.interval).min(shared);
        if kept < shared * self.trim * self.interval * 0.99 {
            self.meant = 0.0;
        }
    }
}

fn percentiles(settings: &Settings) -> bool {
    (settings.rules.iter()).any(|rule| rule.condition == Condition::SlowForRoute)
}

fn welcome(settings: &Settings, interval: f64) -> f64 {
    settings.budget * interval * WELCOME
}
