//! Strata: requests that share a sampling probability.
//!
//! A stratum is a route (and with it a service and side) with a status class. From one
//! control interval to the next its probability follows from how much it may have and how
//! much is expected of it. Within an interval it is halved whenever twice as much came as
//! before and the budget has no room left: an unknown or suddenly busy stratum costs its
//! share and a logarithm, not its traffic. The probability never depends on the request it is for, so that adjusted
//! counts stay unbiased.

use rustc_hash::FxHashMap;

use super::quantile::MovingP99;
use super::threshold::Threshold;

/// Strata; requests beyond share one.
pub const MAX_STRATA: usize = 4096;
/// Longest service name and route kept for output, bytes.
const MAX_NAME: usize = 128;
/// Halving starts when this much more came than was expected.
const SURPRISE: f64 = 1.5;
/// Silent intervals after which a stratum is forgotten.
const IDLE: u16 = 30;
/// Weight of the last interval in the average, when there was more and less than expected.
const WEIGHT_UP: f64 = 0.8;
const WEIGHT_DOWN: f64 = 0.75;

/// Status classes: 0 if there was no response, 1 to 5 for HTTP, from 6 on for gRPC.
pub const CLASSES: [&str; 9] = [
    "none",
    "1xx",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    "grpc_ok",
    "grpc_client",
    "grpc_server",
];

/// A stratum.
#[derive(Clone, Debug)]
pub struct Stratum {
    /// Number of the route; `u32::MAX` for all that have no place of their own.
    pub route: u32,
    /// Index into [`CLASSES`].
    pub class: u8,
    /// Service and route, for output.
    pub names: (Box<str>, Box<str>),
    /// Requests a second, averaged.
    pub rate: Option<f64>,
    /// Durations.
    pub p99: MovingP99,
    /// In this interval: requests that a rule for rare ones or the budget decides.
    pub(super) seen: u64,
    /// Probability of the interval, how often it was halved since, and what follows.
    start: f64,
    halvings: i32,
    now: Threshold,
    /// Requests at which it is halved next.
    next: u64,
    idle: u16,
}

/// All strata.
#[derive(Debug)]
pub struct Strata {
    pub(super) all: Vec<Stratum>,
    index: FxHashMap<u64, u32>,
    last: (u64, u32),
    /// Requests that had to share a stratum.
    pub(super) shared: u64,
    /// For [`Self::allot`].
    order: Vec<(f64, u32)>,
    /// What a new stratum may keep before it is halved.
    welcome: f64,
    /// Correction of all probabilities within the interval.
    pressure: f64,
    /// Spans of the interval that are not planned for: they go to whoever needs them first.
    spare: f64,
}

/// Bounds of what can be allotted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Spans for the interval.
    pub(super) spans: f64,
    /// Length of the interval to come, seconds.
    pub(super) seconds: f64,
    /// Smallest probability.
    pub(super) floor: f64,
}

impl Strata {
    pub(super) fn new(welcome: f64, spare: f64) -> Self {
        let mut strata = Self {
            all: Vec::new(),
            index: FxHashMap::default(),
            last: (u64::MAX, 0),
            shared: 0,
            order: Vec::new(),
            welcome,
            pressure: 1.0,
            spare,
        };
        strata
            .all
            .push(Stratum::new(u32::MAX, 0, ("", ""), welcome));
        strata
    }

    /// Where the stratum of a request is. `names` is asked for when it is a new one.
    #[inline]
    pub(super) fn place<'a>(
        &mut self,
        route: u32,
        class: u8,
        names: impl FnOnce() -> (&'a str, &'a str),
    ) -> usize {
        let key = u64::from(route) << 8 | u64::from(class);
        if self.last.0 == key {
            return self.last.1 as usize;
        }
        let at = match self.index.get(&key) {
            Some(at) => *at,
            None => self.add(key, route, class, names()),
        };
        // Who shares a place is counted every time.
        if at != 0 {
            self.last = (key, at);
        }
        at as usize
    }

    /// The threshold for the next request of a stratum, which is counted.
    #[inline]
    pub(super) fn next(&mut self, at: usize) -> Threshold {
        let Some(stratum) = self.all.get_mut(at) else {
            return Threshold::NEVER;
        };
        stratum.seen += 1;
        if stratum.seen > stratum.next {
            // As long as there is room in the budget, nobody has to be thinned out.
            let more = (stratum.next / 4).max(1);
            let cost = more as f64 * stratum.now.probability();
            if cost <= self.spare {
                self.spare -= cost;
                stratum.next += more;
            } else {
                stratum.halve();
            }
        }
        stratum.now
    }

    #[cold]
    fn add(&mut self, key: u64, route: u32, class: u8, names: (&str, &str)) -> u32 {
        if self.all.len() >= MAX_STRATA {
            self.shared += 1;
            return 0;
        }
        let at = self.all.len() as u32;
        self.all
            .push(Stratum::new(route, class, names, self.welcome));
        self.index.insert(key, at);
        at
    }

    /// An interval of `seconds` is over: averages what came. Returns requests per second.
    pub(super) fn measure(&mut self, seconds: f64) -> f64 {
        let mut total = 0.0;
        for stratum in &mut self.all {
            let came = stratum.seen as f64 / seconds;
            total += came;
            stratum.idle = if stratum.seen == 0 {
                stratum.idle.saturating_add(1)
            } else {
                0
            };
            stratum.seen = 0;
            stratum.rate = Some(match stratum.rate {
                None => came,
                Some(rate) if came > rate => rate + WEIGHT_UP * (came - rate),
                Some(rate) => rate + WEIGHT_DOWN * (came - rate),
            });
        }
        self.last = (u64::MAX, 0);
        if self.all.iter().skip(1).any(|stratum| stratum.idle > IDLE) {
            let mut at = 0;
            self.all.retain(|stratum| {
                at += 1;
                at == 1 || stratum.idle <= IDLE
            });
            self.index.clear();
            for (stratum, at) in self.all.iter().zip(0u32..).skip(1) {
                let key = u64::from(stratum.route) << 8 | u64::from(stratum.class);
                self.index.insert(key, at);
            }
        }
        total
    }

    /// Forgets what came in this interval: it says nothing.
    pub(super) fn skip(&mut self) {
        for stratum in &mut self.all {
            stratum.seen = 0;
            stratum.begin(1.0);
        }
    }

    /// Multiplies the probabilities of this interval by `pressure` in place of what it was.
    pub(super) fn set_pressure(&mut self, pressure: f64) {
        self.pressure = pressure;
        for stratum in &mut self.all {
            stratum.set(pressure);
        }
    }

    pub(super) const fn pressure(&self) -> f64 {
        self.pressure
    }

    /// Gives every stratum its probability: shares in proportion to the logarithm of its
    /// traffic, so that a route with a hundred times the requests gets three times the spans;
    /// what a quiet one does not need goes to the others. Returns how many spans will be kept.
    pub(super) fn allot(&mut self, terms: Terms) -> f64 {
        let Terms {
            spans,
            seconds,
            floor,
        } = terms;
        let weight = |stratum: &Stratum| (1.0 + stratum.expected(seconds)).log2();
        self.order.clear();
        let mut weights = 0.0;
        for (stratum, at) in self.all.iter().zip(0u32..) {
            let expected = stratum.expected(seconds);
            let weight = weight(stratum);
            weights += weight;
            // Those that are content with the smallest share per weight first.
            let need = if weight > 0.0 { expected / weight } else { 0.0 };
            self.order.push((need, at));
        }
        self.order
            .sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        self.pressure = 1.0;
        let (mut left, mut kept) = (spans.max(0.0), 0.0);
        for (_, at) in &self.order {
            let stratum = &mut self.all[*at as usize];
            let expected = stratum.expected(seconds);
            let weight = weight(stratum);
            let share = if weights > 0.0 {
                left * weight / weights
            } else {
                left
            };
            weights -= weight;
            let goal = if spans <= 0.0 {
                0.0
            } else if expected <= share {
                1.0
            } else {
                (share / expected).max(floor)
            };
            // Slow up, fast down.
            let before = if stratum.start > 0.0 {
                stratum.start
            } else {
                goal
            };
            stratum.start = goal.min(before * 2.0);
            stratum.next = (expected * SURPRISE).max(share.min(self.welcome)).max(1.0) as u64;
            stratum.begin(1.0);
            let keeps = expected * stratum.start;
            left = (left - keeps).max(0.0);
            kept += keeps;
        }
        self.spare = (spans - kept).max(0.0);
        kept
    }

    /// What strata to come may keep before they are halved.
    pub(super) const fn set_welcome(&mut self, welcome: f64) {
        self.welcome = welcome;
    }
}

impl Stratum {
    fn new(route: u32, class: u8, names: (&str, &str), welcome: f64) -> Self {
        let own = |name: &str| {
            let end = (0..=MAX_NAME.min(name.len()))
                .rev()
                .find(|at| name.is_char_boundary(*at));
            Box::from(name.get(..end.unwrap_or(0)).unwrap_or_default())
        };
        let mut stratum = Self {
            route,
            class,
            names: (own(names.0), own(names.1)),
            rate: None,
            p99: MovingP99::default(),
            seen: 0,
            start: welcome.min(1.0),
            halvings: 0,
            now: Threshold::NEVER,
            next: welcome.max(1.0) as u64,
            idle: 0,
        };
        stratum.begin(1.0);
        stratum
    }

    fn begin(&mut self, pressure: f64) {
        self.halvings = 0;
        self.set(pressure);
    }

    fn set(&mut self, pressure: f64) {
        self.now = Threshold::of((self.start * pressure).min(1.0) * 0.5f64.powi(self.halvings));
    }

    /// Requests expected in an interval of so many seconds.
    pub(super) fn expected(&self, seconds: f64) -> f64 {
        self.rate.unwrap_or(0.0) * seconds
    }

    #[cold]
    fn halve(&mut self) {
        self.next = self.next.saturating_mul(2);
        self.halvings += 1;
        self.now = Threshold::of(self.now.probability() / 2.0);
    }

    /// The threshold in force.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.now
    }
}
