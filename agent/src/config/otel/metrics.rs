//! `OTEL_METRICS_EXPORTER` and what else is standard about metrics.

use std::time::Duration;

use super::values::Reader;
use crate::deciding::metrics::ExemplarFilter;

/// Time between two exports if `OTEL_METRIC_EXPORT_INTERVAL` is not set.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// How metrics are exported.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MetricsExport {
    /// `OTEL_METRICS_EXPORTER` has `otlp`, the default.
    pub otlp: bool,
    /// It has `prometheus`: served at `/metrics`, beside the agent's own.
    pub prometheus: bool,
    /// `OTEL_METRIC_EXPORT_INTERVAL`.
    pub interval: Duration,
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE` is `delta` or `lowmemory`: both mean
    /// deltas for histograms.
    pub delta: bool,
    /// `OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION` is exponential.
    pub exponential: bool,
    /// `OTEL_METRICS_EXEMPLAR_FILTER`.
    pub exemplars: ExemplarFilter,
}

pub(super) fn read(reader: &mut Reader<'_>) -> MetricsExport {
    const EXPORTER: &str = "OTEL_METRICS_EXPORTER";
    let names = reader
        .list(EXPORTER)
        .unwrap_or_else(|| vec!["otlp".to_owned()]);
    let is = |name: &str| names.iter().any(|given| given.eq_ignore_ascii_case(name));
    let known = ["otlp", "prometheus", "none"];
    if names
        .iter()
        .any(|name| !known.iter().any(|known| name.eq_ignore_ascii_case(known)))
    {
        reader.mistake(
            EXPORTER,
            "not a known value",
            "use otlp, prometheus, both, or none",
        );
    }
    let (otlp, prometheus) = (is("otlp"), is("prometheus"));
    let interval = reader.number("OTEL_METRIC_EXPORT_INTERVAL", 1000);
    let delta = reader.choice(
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        &[("cumulative", false), ("delta", true), ("lowmemory", true)],
    );
    let exponential = reader.choice(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        &[
            ("explicit_bucket_histogram", false),
            ("base2_exponential_bucket_histogram", true),
        ],
    );
    let exemplars = reader.choice(
        "OTEL_METRICS_EXEMPLAR_FILTER",
        &[
            ("trace_based", ExemplarFilter::TraceBased),
            ("always_on", ExemplarFilter::AlwaysOn),
            ("always_off", ExemplarFilter::AlwaysOff),
        ],
    );
    MetricsExport {
        otlp,
        prometheus,
        interval: interval.map_or(DEFAULT_INTERVAL, Duration::from_millis),
        delta: delta.unwrap_or(false),
        exponential: exponential.unwrap_or(false),
        exemplars: exemplars.unwrap_or(ExemplarFilter::TraceBased),
    }
}
