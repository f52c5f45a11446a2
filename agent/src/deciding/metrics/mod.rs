//! Rate, errors and durations of all requests, whether their spans are kept or not.
//!
//! The instruments are those of the semantic conventions: `http.{server,client}.request.duration`,
//! `http.{server,client}.{request,response}.body.size`, `http.{server,client}.active_requests` and
//! `rpc.{server,client}.call.duration`.
//! A series is a service, side, route, method, status, protocol version, error and, for clients,
//! server. Counts are exact: what finds no room in the limits goes to one series a service with
//! `otel.metric.overflow`.
//!
//! Memory: a series with explicit buckets takes about 0.95 KB, with exponential ones at most 1.6 KB; there
//! are at most [`Settings::max_series`], a quarter of them for one service, and an overflow series
//! for each side and kind of at most [`services::MAX_SERVICES`] services.

mod active;
pub mod histogram;
mod instrument;
mod key;
mod label;
pub mod otlp;
mod points;
pub mod prometheus;
pub mod services;

#[cfg(test)]
mod tests;

use rustc_hash::FxHashMap;

use crate::deciding::route::Routed;
use crate::model::exchange::Exchange;
use crate::span::method::KnownMethods;
use histogram::{DURATION_BOUNDS, DURATION_BUCKETS, Histogram, SIZE_BOUNDS, SIZE_BUCKETS};
use key::{Key, KeyRef};
use services::Services;

/// Series at a time, unless the settings say otherwise.
pub const DEFAULT_SERIES: usize = 10_000;
/// A series is retired when it was silent for so long, ns.
pub const DEFAULT_IDLE_NS: u64 = 300_000_000_000;
/// A cumulative series starts anew at this count: its buckets count to 2^32.
const RESET: u64 = 1 << 31;

/// What metrics are like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Exponential histograms instead of explicit ones.
    pub exponential: bool,
    /// Delta temporality instead of cumulative.
    pub delta: bool,
    /// Which requests become exemplars.
    pub exemplars: ExemplarFilter,
    /// Series at a time.
    pub max_series: usize,
    /// Silence after which a series is retired, ns.
    pub idle_ns: u64,
    /// Methods reported by name.
    pub known_methods: KnownMethods,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exponential: false,
            delta: false,
            exemplars: ExemplarFilter::TraceBased,
            max_series: DEFAULT_SERIES,
            idle_ns: DEFAULT_IDLE_NS,
            known_methods: KnownMethods::default(),
        }
    }
}

/// `OTEL_METRICS_EXEMPLAR_FILTER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExemplarFilter {
    /// Requests whose spans are kept.
    TraceBased,
    /// All requests.
    AlwaysOn,
    /// None.
    AlwaysOff,
}

/// A request that stands for others.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Exemplar {
    /// When it ended, ns since 1970.
    pub unix_ns: u64,
    /// How long it took, s.
    pub value: f64,
    /// Its trace …
    pub trace_id: [u8; 16],
    /// … and span.
    pub span_id: [u8; 8],
}

/// A series.
#[derive(Debug)]
pub(crate) struct Series {
    key: Key,
    /// Since when it counts, ns since 1970.
    since_ns: u64,
    /// End of its last request, ns since 1970, as far as rounds have seen it.
    active_ns: u64,
    touched: bool,
    duration: Histogram,
    /// Bodies of requests and responses; not for gRPC.
    sizes: Option<Box<[Histogram; 2]>>,
    /// The last and the slowest one since the last round.
    exemplars: [Option<Exemplar>; 2],
}

/// What is known about the series.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Series.
    pub series: usize,
    /// Services.
    pub services: usize,
    /// Requests that found no room for a series of their own.
    pub overflow: u64,
    /// Series retired.
    pub retired: u64,
}

/// Counts requests.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    services: Services,
    series: Vec<Series>,
    index: FxHashMap<u64, u32>,
    /// Series by service, for the share of one.
    shares: FxHashMap<u32, u32>,
    last: (u64, u32),
    /// Since when a new series counts, ns since 1970: no request before was of it.
    since_ns: u64,
    overflow: u64,
    overflow_series: usize,
    retired: u64,
    active: active::Counts,
}

impl Registry {
    /// Counts from now on, ns since 1970.
    #[must_use]
    pub fn new(settings: Settings, now_ns: u64) -> Self {
        Self {
            settings,
            services: Services::new(),
            series: Vec::new(),
            index: FxHashMap::default(),
            shares: FxHashMap::default(),
            last: (0, u32::MAX),
            since_ns: now_ns,
            overflow: 0,
            overflow_series: 0,
            retired: 0,
            active: active::Counts::new(),
        }
    }

    /// Another limit from now on. Series that are there stay.
    pub fn set_max_series(&mut self, max_series: usize) {
        self.settings.max_series = max_series;
    }

    /// Counts a request. `kept` says whether its span is.
    #[inline]
    pub fn record(&mut self, exchange: &Exchange<'_>, routed: Routed<'_>, kept: bool) {
        let service = self.services.of(exchange.process);
        let mut digits = itoa::Buffer::new();
        let key = KeyRef::of(
            exchange,
            routed,
            service,
            &self.settings.known_methods,
            &mut digits,
        );
        let hash = key.hash();
        let at = match self.find(hash, &key) {
            Ok(at) => at,
            Err(free) => self.add(free, key, routed.text),
        };
        let Some(series) = self.series.get_mut(at as usize) else {
            return;
        };
        series.touched = true;
        let seconds = exchange.duration_ns as f64 / 1e9;
        series.duration.record(seconds);
        if let Some(sizes) = &mut series.sizes {
            for (size, histogram) in [exchange.request_body_bytes, exchange.response_body_bytes]
                .into_iter()
                .zip(sizes.iter_mut())
            {
                if let Some(size) = size {
                    histogram.record(size as f64);
                }
            }
        }
        let wanted = match self.settings.exemplars {
            ExemplarFilter::TraceBased => kept,
            ExemplarFilter::AlwaysOn => true,
            ExemplarFilter::AlwaysOff => false,
        };
        if wanted {
            let exemplar = Exemplar {
                unix_ns: exchange.start_unix_ns.saturating_add(exchange.duration_ns),
                value: seconds,
                trace_id: exchange.trace.trace_id,
                span_id: exchange.trace.span_id,
            };
            series.keep(exemplar);
        }
    }

    /// Where the series of a key is, or a place in the index that is free for it.
    #[inline]
    fn find(&mut self, hash: u64, key: &KeyRef<'_>) -> Result<u32, u64> {
        if self.last.0 == hash
            && let Some(series) = self.series.get(self.last.1 as usize)
            && key.is(&series.key)
        {
            return Ok(self.last.1);
        }
        let mut place = hash;
        while let Some(at) = self.index.get(&place) {
            if let Some(series) = self.series.get(*at as usize)
                && key.is(&series.key)
            {
                self.last = (hash, *at);
                return Ok(*at);
            }
            place = place.wrapping_add(1);
        }
        Err(place)
    }

    #[cold]
    fn add(&mut self, place: u64, key: KeyRef<'_>, text: Option<&str>) -> u32 {
        let limit = self.settings.max_series;
        let share = self.shares.get(&key.service).copied().unwrap_or_default() as usize;
        let own = self.series.len() - self.overflow_series;
        let full = own >= limit || share >= (limit / 4).max(1);
        let (place, key) = if full {
            self.overflow += 1;
            let key = key.overflowing();
            match self.find(key.hash(), &key) {
                Ok(at) => return at,
                Err(place) => (place, key),
            }
        } else {
            (place, key)
        };
        let at = self.series.len() as u32;
        if key.overflow {
            self.overflow_series += 1;
        } else {
            *self.shares.entry(key.service).or_default() += 1;
        }
        let new = |bounds, buckets| {
            if self.settings.exponential {
                Histogram::exponential(buckets)
            } else {
                Histogram::explicit(bounds)
            }
        };
        let size = || new(&SIZE_BOUNDS[..], SIZE_BUCKETS);
        // Doubling would leave up to half of the memory unused.
        if self.series.len() == self.series.capacity() {
            self.series.reserve_exact(self.series.len() / 8 + 64);
        }
        self.series.push(Series {
            sizes: (!key.rpc).then(|| Box::new([size(), size()])),
            duration: new(&DURATION_BOUNDS[..], DURATION_BUCKETS),
            key: key.to_owned(text),
            since_ns: self.since_ns,
            active_ns: self.since_ns,
            touched: false,
            exemplars: [None; 2],
        });
        self.index.insert(place, at);
        at
    }

    /// What is known about the series.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            series: self.series.len(),
            services: self.services.len(),
            overflow: self.overflow,
            retired: self.retired,
        }
    }

    /// Bytes that all series take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let heap = |series: &Series| {
            let sizes = series.sizes.as_ref().map_or(0, |sizes| {
                size_of::<[Histogram; 2]>() + sizes.iter().map(Histogram::heap_bytes).sum::<usize>()
            });
            series.key.heap_bytes() + series.duration.heap_bytes() + sizes
        };
        self.series.capacity() * size_of::<Series>()
            + self.series.iter().map(heap).sum::<usize>()
            + self.index.capacity() * 17
    }

    /// Series at these positions are told: their values were exported at `now_ns`. Those that
    /// are silent for too long are marked for [`Self::retire`].
    fn exported(series: &mut Series, settings: &Settings, now_ns: u64) {
        if series.touched {
            series.active_ns = now_ns;
        }
        if settings.delta || series.duration.totals.count >= RESET {
            series.since_ns = now_ns;
            series.duration.reset();
            for histogram in series.sizes.iter_mut().flat_map(|sizes| sizes.iter_mut()) {
                histogram.reset();
            }
        }
        series.touched = false;
        series.exemplars = [None; 2];
    }

    /// For where nothing is exported and metrics are only read: what [`Encoder`](otlp::Encoder)
    /// does with silent and with long series at the end of a round.
    pub fn tend(&mut self, now_ns: u64) {
        let settings = &self.settings;
        for series in &mut self.series {
            if !Self::is_idle(series, settings, now_ns) {
                // Whoever reads comes when it likes: one is kept until there is another.
                let [last, slowest] = series.exemplars;
                Self::exported(series, settings, now_ns);
                series.exemplars = [slowest.or(last), None];
            }
        }
        self.retire(now_ns);
    }

    /// Whether a series was silent for too long.
    fn is_idle(series: &Series, settings: &Settings, now_ns: u64) -> bool {
        !series.touched && now_ns.saturating_sub(series.active_ns) >= settings.idle_ns
    }

    /// Removes series that are idle at `now_ns`; new ones count from then on.
    fn retire(&mut self, now_ns: u64) {
        self.since_ns = now_ns;
        self.active.retain(|_, active| !active.ended);
        let before = self.series.len();
        let settings = &self.settings;
        self.series
            .retain(|series| !Self::is_idle(series, settings, now_ns));
        if self.series.len() == before {
            return;
        }
        self.retired += (before - self.series.len()) as u64;
        self.last = (0, u32::MAX);
        self.index.clear();
        self.shares.clear();
        self.overflow_series = 0;
        for (series, at) in self.series.iter().zip(0u32..) {
            let mut place = series.key.hash();
            while self.index.contains_key(&place) {
                place = place.wrapping_add(1);
            }
            self.index.insert(place, at);
            if series.key.overflow {
                self.overflow_series += 1;
            } else {
                *self.shares.entry(series.key.service).or_default() += 1;
            }
        }
        let used: std::collections::BTreeSet<u32> = self
            .series
            .iter()
            .map(|series| series.key.service)
            .chain(self.active.keys().map(|key| key.service))
            .collect();
        self.services.retain(|service| used.contains(&service));
    }
}

impl Series {
    #[inline]
    fn keep(&mut self, exemplar: Exemplar) {
        let [last, slowest] = &mut self.exemplars;
        if slowest.is_none_or(|slowest| exemplar.value > slowest.value) {
            // What was the slowest is still one of the last.
            *last = slowest.replace(exemplar).or(*last);
        } else {
            *last = Some(exemplar);
        }
    }
}
