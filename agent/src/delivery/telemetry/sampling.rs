//! Sampling, routes and series in the agent's own metrics.

use std::fmt::Write as _;

use crate::deciding::metrics;
use crate::deciding::metrics::prometheus::escaped;
use crate::deciding::route;
use crate::deciding::sampling::Tally;
use crate::deciding::sampling::strata::{self, CLASSES};

/// The state of sampling at one moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct SamplingMetrics {
    /// Name of the strategy.
    pub strategy: &'static str,
    /// What every rule decided.
    pub decisions: Vec<(String, Tally)>,
    /// Spans per second: the budget, the most, and what was kept lately.
    pub budget: f64,
    /// See [`Self::budget`].
    pub cap: f64,
    /// See [`Self::budget`].
    pub kept: f64,
    /// Requests per second that share the budget.
    pub traffic: f64,
    /// Whether overload is in force, and how often it began.
    pub overload: bool,
    /// See [`Self::overload`].
    pub overloads: u64,
    /// Requests that had to share a stratum.
    pub shared: u64,
    /// Strata.
    pub strata_count: usize,
    /// The busiest strata.
    pub strata: Vec<Stratum>,
    /// Routes.
    pub routes: route::Counts,
    /// Series of RED metrics.
    pub series: metrics::Counts,
    /// Requests that have begun and not ended.
    pub in_flight: u64,
    /// Settings taken while running, and refused.
    pub reloads: (u64, u64),
    /// RED metrics, in the Prometheus format, if they were asked for.
    pub red: String,
}

/// A stratum, for output.
#[derive(Clone, PartialEq, Debug)]
pub struct Stratum {
    service: String,
    route: String,
    class: &'static str,
    probability: f64,
    rate: f64,
}

impl Stratum {
    /// Its state now.
    #[must_use]
    pub fn of(stratum: &strata::Stratum) -> Self {
        Self {
            service: stratum.names.0.to_string(),
            route: stratum.names.1.to_string(),
            class: CLASSES
                .get(usize::from(stratum.class))
                .copied()
                .unwrap_or_default(),
            probability: stratum.threshold().probability(),
            rate: stratum.rate.unwrap_or(0.0),
        }
    }
}

impl SamplingMetrics {
    /// Appends everything in the Prometheus text format.
    pub fn render(&self, out: &mut String) {
        // Writing to a `String` cannot fail, here and below.
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, f64)]| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        let one = |value: f64| [(String::new(), value)];
        let decisions: Vec<(String, f64)> = (self.decisions.iter())
            .flat_map(|(rule, tally)| {
                [("kept", tally.kept), ("dropped", tally.dropped)].map(|(word, count)| {
                    (
                        format!("{{rule=\"{rule}\",decision=\"{word}\"}}"),
                        count as f64,
                    )
                })
            })
            .collect();
        let name = "remora_sampling_decisions_total";
        family(
            name,
            "counter",
            "Spans kept and dropped, by the rule that decided.",
            &decisions,
        );
        let label = format!("{{strategy=\"{}\"}}", self.strategy);
        family(
            "remora_sampling_info",
            "gauge",
            "Strategy in force.",
            &[(label, 1.0)],
        );
        for (name, help, value) in [
            (
                "remora_sampling_budget_spans_per_second",
                "Spans that are meant to be kept.",
                self.budget,
            ),
            (
                "remora_sampling_max_spans_per_second",
                "Spans that are kept at most.",
                self.cap,
            ),
            (
                "remora_sampling_kept_spans_per_second",
                "Spans kept in the last second.",
                self.kept,
            ),
            (
                "remora_sampling_shared_requests_per_second",
                "Requests that share the budget.",
                self.traffic,
            ),
            (
                "remora_sampling_overload",
                "1 while all spans are thinned out.",
                f64::from(u8::from(self.overload)),
            ),
            (
                "remora_requests_in_flight",
                "Requests that have begun and not ended.",
                self.in_flight as f64,
            ),
            (
                "remora_sampling_strata",
                "Strata.",
                self.strata_count as f64,
            ),
            ("remora_routes", "Routes known.", self.routes.routes as f64),
            (
                "remora_route_nodes",
                "Nodes of all path trees.",
                self.routes.nodes as f64,
            ),
            (
                "remora_red_series",
                "Series of RED metrics.",
                self.series.series as f64,
            ),
            (
                "remora_red_services",
                "Services with RED metrics.",
                self.series.services as f64,
            ),
        ] {
            family(name, "gauge", help, &one(value));
        }
        for (name, help, value) in [
            (
                "remora_sampling_overloads_total",
                "Times that overload began.",
                self.overloads,
            ),
            (
                "remora_sampling_strata_shared_total",
                "Requests without a stratum of their own.",
                self.shared,
            ),
            (
                "remora_routes_unknown_total",
                "Requests without a route.",
                self.routes.unknown,
            ),
            (
                "remora_routes_other_total",
                "Requests whose route found no room.",
                self.routes.other,
            ),
            (
                "remora_route_folds_total",
                "Positions whose words became variables.",
                self.routes.folds,
            ),
            (
                "remora_red_overflow_total",
                "Requests whose series found no room.",
                self.series.overflow,
            ),
            (
                "remora_red_retired_total",
                "Series that were silent for too long.",
                self.series.retired,
            ),
        ] {
            family(name, "counter", help, &one(value as f64));
        }
        let reloads = [("taken", self.reloads.0), ("refused", self.reloads.1)]
            .map(|(word, count)| (format!("{{result=\"{word}\"}}"), count as f64));
        family(
            "remora_config_reloads_total",
            "counter",
            "Settings read while running.",
            &reloads,
        );
        let strata = |value: fn(&Stratum) -> f64| -> Vec<(String, f64)> {
            (self.strata.iter())
                .map(|stratum| {
                    let labels = format!(
                        "{{service=\"{}\",route=\"{}\",class=\"{}\"}}",
                        escaped(&stratum.service),
                        escaped(&stratum.route),
                        stratum.class
                    );
                    (labels, value(stratum))
                })
                .collect()
        };
        let name = "remora_sampling_stratum_probability";
        family(
            name,
            "gauge",
            "Probability in force, of the busiest strata.",
            &strata(|one| one.probability),
        );
        let name = "remora_sampling_stratum_requests_per_second";
        family(
            name,
            "gauge",
            "Requests of the busiest strata.",
            &strata(|one| one.rate),
        );
        out.push_str(&self.red);
    }
}
