//! Between pairing and output: the route of a request, its metrics, and whether its span is
//! kept.

use std::time::Instant;

use super::own;
use super::tagging::Tagger;
use crate::config::otel::metrics::MetricsExport;
use crate::config::sampling::Deciding;
use crate::deciding::metrics::{self, Registry, prometheus};
use crate::deciding::route::{Routed, Router};
use crate::deciding::sampling::Sampler;
use crate::delivery::telemetry::sampling::{SamplingMetrics, Stratum};
use crate::model::exchange::{Exchange, Sink, TraceContext};
use crate::span::method::KnownMethods;

/// Strata shown in the agent's own metrics: the busiest.
const SHOWN_STRATA: usize = 1000;

/// An exchange with its route. That of a gRPC call is its method, which it has already.
#[inline]
pub(super) fn routed<'a>(exchange: &Exchange<'a>, routed: Routed<'a>) -> Exchange<'a> {
    Exchange {
        route: routed.text.filter(|_| exchange.rpc.is_none()),
        ..exchange.clone()
    }
}

/// Counts every exchange, and hands on those whose spans are kept.
#[derive(Debug)]
pub(super) struct Decider<S> {
    /// What takes spans.
    pub(super) sink: S,
    router: Router,
    /// RED metrics.
    pub(super) registry: Registry,
    sampler: Sampler,
    /// Requests of the agent itself, which go no further.
    pub(super) own: u64,
    /// Where samples of CPU time learn of the requests they are of.
    pub(super) tagger: Option<Tagger>,
    /// Where `tracestate` is put together.
    state: String,
    started: Instant,
    /// How full the memory for spans is, 0 to 1.
    pub(super) fill: f64,
}

impl<S> Decider<S> {
    pub(super) fn new(
        sink: S,
        deciding: &Deciding,
        metrics: metrics::Settings,
        now_ns: u64,
    ) -> Self {
        Self {
            sink,
            router: Router::new(deciding.routes.clone(), deciding.max_routes),
            registry: Registry::new(metrics, now_ns),
            sampler: Sampler::new(deciding.sampling.clone()),
            own: 0,
            tagger: None,
            state: String::new(),
            started: Instant::now(),
            fill: 0.0,
        }
    }

    /// Takes other settings; what is known of the traffic stays.
    pub(super) fn configure(&mut self, deciding: &Deciding) {
        self.router
            .configure(deciding.routes.clone(), deciding.max_routes);
        self.registry.set_max_series(deciding.max_series);
        self.sampler.configure(deciding.sampling.clone());
    }

    /// To be called several times a second.
    pub(super) fn tick(&mut self) {
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sampler.tick(now, self.fill);
    }

    /// All RED metrics, in the Prometheus format.
    pub(super) fn prometheus(&self, format: prometheus::Format) -> String {
        let mut text = String::new();
        prometheus::render(&self.registry, format, &mut text);
        text
    }

    /// The state of sampling, for the agent's own metrics.
    pub(super) fn metrics(&self) -> SamplingMetrics {
        let adaptive = self.sampler.adaptive();
        let (kept, traffic) = adaptive.rates();
        let mut strata: Vec<_> = adaptive.strata().iter().collect();
        strata.sort_by(|a, b| b.rate.unwrap_or(0.0).total_cmp(&a.rate.unwrap_or(0.0)));
        let strata = strata
            .into_iter()
            .take(SHOWN_STRATA)
            .map(Stratum::of)
            .collect();
        SamplingMetrics {
            strategy: self.sampler.strategy().name(),
            decisions: (self.sampler.tallies())
                .map(|(name, tally)| (name.to_owned(), tally))
                .collect(),
            budget: adaptive.settings().budget,
            cap: adaptive.settings().cap,
            kept,
            traffic,
            overload: adaptive.overload().is_active(),
            overloads: adaptive.overload().entered,
            shared: adaptive.shared(),
            strata_count: adaptive.strata().len(),
            strata,
            routes: self.router.counts(),
            series: self.registry.counts(),
            ..SamplingMetrics::default()
        }
    }

    /// What was kept and what not, as one line.
    pub(super) fn line(&self) -> String {
        let all: Vec<_> = self.sampler.tallies().collect();
        let (kept, dropped) = all.iter().fold((0, 0), |(kept, dropped), (_, tally)| {
            (kept + tally.kept, dropped + tally.dropped)
        });
        let by: Vec<String> = (all.iter())
            .filter(|(_, tally)| tally.kept > 0)
            .map(|(name, tally)| format!("{name} {}", tally.kept))
            .collect();
        let mut line = format!(
            "{} requests = {kept} kept + {dropped} not sampled",
            kept + dropped
        );
        if !by.is_empty() {
            line.push_str(&format!("; kept by {}", by.join(", ")));
        }
        line
    }
}

impl<S: Sink> Sink for Decider<S> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        if own::is_export(exchange) {
            self.own += 1;
            return;
        }
        let route = self.router.route(exchange);
        let decision = self.sampler.decide(exchange, route);
        self.registry.record(exchange, route, decision.keep);
        if let Some(tagger) = &mut self.tagger {
            tagger.exchange(exchange, route.text, decision.keep);
        }
        if decision.keep {
            let state = decision.tracestate(exchange, &mut self.state);
            let trace = TraceContext {
                state,
                ..exchange.trace
            };
            let kept = Exchange {
                trace,
                ..routed(exchange, route)
            };
            self.sink.exchange(&kept);
        }
    }
}

/// How metrics are counted.
pub(super) fn metrics_settings(
    deciding: &Deciding,
    export: &MetricsExport,
    known_methods: KnownMethods,
) -> metrics::Settings {
    metrics::Settings {
        exponential: export.exponential,
        delta: export.delta,
        exemplars: export.exemplars,
        max_series: deciding.max_series,
        known_methods,
        ..metrics::Settings::default()
    }
}
