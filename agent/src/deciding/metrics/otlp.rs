//! Metrics as OTLP requests.
//!
//! A round exports all series, in pieces of a few hundred, so that the thread that captures
//! is never busy with it for long, and requests stay far below the 4 MiB that receivers take.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as WireBuckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, Exemplar as WireExemplar, ExponentialHistogram,
    ExponentialHistogramDataPoint, Histogram as WireHistogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use prost::Message;

use super::active::{Active, ActiveKey};
use super::histogram::{Buckets, Histogram};
use super::key::Key;
use super::{Exemplar, Registry, Series};
use crate::model::exchange::Side;
use crate::pairing::proto::grpc;
use crate::span::resource::{self, HostResource};

/// Series of a piece: three data points of some 500 bytes each.
const PIECE: usize = 256;

/// An encoded request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The `ExportMetricsServiceRequest`.
    pub body: Vec<u8>,
    /// Data points in it.
    pub points: u64,
}

/// Encodes series.
#[derive(Debug)]
pub struct Encoder {
    host: HostResource,
    /// Where the round is; `None` between rounds.
    at: Option<usize>,
}

/// One of the instruments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Instrument {
    Duration,
    RequestSize,
    ResponseSize,
    Call,
    Active,
}

impl Instrument {
    /// Name, unit and description (semantic conventions).
    pub(super) const fn words(self, side: Side) -> [&'static str; 3] {
        match (self, side) {
            (Self::Duration, Side::Server) => [
                "http.server.request.duration",
                "s",
                "Duration of HTTP server requests.",
            ],
            (Self::Duration, Side::Client) => [
                "http.client.request.duration",
                "s",
                "Duration of HTTP client requests.",
            ],
            (Self::RequestSize, Side::Server) => [
                "http.server.request.body.size",
                "By",
                "Size of HTTP server request bodies.",
            ],
            (Self::RequestSize, Side::Client) => [
                "http.client.request.body.size",
                "By",
                "Size of HTTP client request bodies.",
            ],
            (Self::ResponseSize, Side::Server) => [
                "http.server.response.body.size",
                "By",
                "Size of HTTP server response bodies.",
            ],
            (Self::ResponseSize, Side::Client) => [
                "http.client.response.body.size",
                "By",
                "Size of HTTP client response bodies.",
            ],
            (Self::Active, Side::Server) => [
                "http.server.active_requests",
                "{request}",
                "Number of active HTTP server requests.",
            ],
            (Self::Active, Side::Client) => [
                "http.client.active_requests",
                "{request}",
                "Number of active HTTP requests.",
            ],
            (Self::Call, Side::Server) => [
                "rpc.server.call.duration",
                "s",
                "Duration of incoming remote procedure calls.",
            ],
            (Self::Call, Side::Client) => [
                "rpc.client.call.duration",
                "s",
                "Duration of outgoing remote procedure calls.",
            ],
        }
    }

    /// The instruments of a series, with their histograms.
    pub(super) fn of(series: &Series) -> impl Iterator<Item = (Self, &Histogram)> {
        let first = if series.key.rpc {
            Self::Call
        } else {
            Self::Duration
        };
        let sizes = series.sizes.iter().flat_map(|sizes| sizes.iter());
        std::iter::once((first, &series.duration))
            .chain(
                [Self::RequestSize, Self::ResponseSize]
                    .into_iter()
                    .zip(sizes),
            )
            .filter(|(_, histogram)| histogram.totals.count > 0)
    }
}

/// What is written of a metric.
enum Points {
    Explicit(Vec<HistogramDataPoint>),
    Exponential(Vec<ExponentialHistogramDataPoint>),
    Numbers(Vec<NumberDataPoint>),
}

/// Times of a point, and whether it says that the series has ended.
#[derive(Clone, Copy)]
struct When {
    since_ns: u64,
    now_ns: u64,
    ended: bool,
}

impl Encoder {
    /// An encoder between two rounds.
    #[must_use]
    pub const fn new(host: HostResource) -> Self {
        Self { host, at: None }
    }

    /// Begins a round, unless one is under way.
    pub fn begin(&mut self) {
        self.at.get_or_insert(0);
    }

    /// Whether a round is under way.
    #[must_use]
    pub const fn is_busy(&self) -> bool {
        self.at.is_some()
    }

    /// The next piece of the round, at `now_ns` since 1970. `None` if there is nothing to
    /// export in it; [`Self::is_busy`] tells whether there is more. At the end of the round
    /// idle series are retired.
    pub fn next(&mut self, registry: &mut Registry, now_ns: u64) -> Option<Piece> {
        let start = self.at?;
        let end = (start + PIECE).min(registry.series.len());
        let mut groups: BTreeMap<u32, BTreeMap<(Instrument, bool), Points>> = BTreeMap::new();
        let mut points = 0;
        let settings = &registry.settings;
        for series in registry.series.get_mut(start..end).unwrap_or_default() {
            let ended = Registry::is_idle(series, settings, now_ns);
            // Deltas of silent series are nothing; cumulative ones end with a mark.
            if series.touched || !settings.delta {
                let when = When {
                    since_ns: series.since_ns,
                    now_ns: now_ns.max(series.since_ns.saturating_add(1)),
                    ended,
                };
                let group = groups.entry(series.key.service).or_default();
                for (instrument, histogram) in Instrument::of(series) {
                    points += 1;
                    let side = series.key.side == Side::Client;
                    push(group, (instrument, side), series, histogram, when);
                }
            }
            // What has just ended keeps its state until it is retired.
            if !ended {
                Registry::exported(series, settings, now_ns);
            }
        }
        self.at = Some(end);
        if end >= registry.series.len() {
            for (key, active) in &registry.active {
                points += 1;
                let group = groups.entry(key.service).or_default();
                push_number(group, key, *active, now_ns);
            }
            registry.retire(now_ns);
            self.at = None;
        }
        if points == 0 {
            return None;
        }
        let temporality = if registry.settings.delta {
            AggregationTemporality::Delta
        } else {
            AggregationTemporality::Cumulative
        };
        let resource_metrics = groups
            .into_iter()
            .map(|(service, metrics)| self.resource(registry, service, metrics, temporality))
            .collect();
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        Some(Piece { body, points })
    }

    fn resource(
        &self,
        registry: &Registry,
        service: u32,
        metrics: BTreeMap<(Instrument, bool), Points>,
        temporality: AggregationTemporality,
    ) -> ResourceMetrics {
        let field = (registry.services.get(service))
            .map(|process| resource::encode_service(process, &self.host))
            .unwrap_or_default();
        // Field 1 is the resource in `ResourceSpans` as in `ResourceMetrics`; what was just
        // encoded can be decoded.
        let mut group = ResourceMetrics::decode(&*field).unwrap_or_default();
        group.schema_url = resource::SCHEMA_URL.to_owned();
        let metrics = metrics
            .into_iter()
            .map(|((instrument, client), points)| metric(instrument, client, points, temporality))
            .collect();
        group.scope_metrics = vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: resource::NAME.to_owned(),
                version: resource::VERSION.to_owned(),
                ..Default::default()
            }),
            metrics,
            schema_url: resource::SCHEMA_URL.to_owned(),
        }];
        group
    }
}

fn metric(
    instrument: Instrument,
    client: bool,
    points: Points,
    temporality: AggregationTemporality,
) -> Metric {
    let side = if client { Side::Client } else { Side::Server };
    let [name, unit, description] = instrument.words(side).map(str::to_owned);
    let aggregation_temporality = temporality.into();
    let data = match points {
        Points::Explicit(data_points) => Data::Histogram(WireHistogram {
            data_points,
            aggregation_temporality,
        }),
        Points::Exponential(data_points) => Data::ExponentialHistogram(ExponentialHistogram {
            data_points,
            aggregation_temporality,
        }),
        // A sum that goes up and down is cumulative whatever is preferred for others
        // (OTLP exporter, "Temporality preference").
        Points::Numbers(data_points) => Data::Sum(Sum {
            data_points,
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: false,
        }),
    };
    Metric {
        name,
        unit,
        description,
        data: Some(data),
        ..Default::default()
    }
}

fn push(
    group: &mut BTreeMap<(Instrument, bool), Points>,
    metric: (Instrument, bool),
    series: &Series,
    histogram: &Histogram,
    when: When,
) {
    let exemplars = match metric.0 {
        Instrument::Duration | Instrument::Call if !when.ended => exemplars(series),
        _ => Vec::new(),
    };
    let attributes = attributes(&series.key);
    let totals = &histogram.totals;
    let flags = if when.ended {
        DataPointFlags::NoRecordedValueMask as u32
    } else {
        0
    };
    let known = !when.ended;
    match &histogram.buckets {
        Buckets::Explicit(bounds, counts) => {
            let point = HistogramDataPoint {
                attributes,
                start_time_unix_nano: when.since_ns,
                time_unix_nano: when.now_ns,
                count: if known { totals.count } else { 0 },
                sum: known.then_some(totals.sum),
                bucket_counts: if known {
                    counts.iter().map(|count| u64::from(*count)).collect()
                } else {
                    Vec::new()
                },
                explicit_bounds: if known { bounds.to_vec() } else { Vec::new() },
                exemplars,
                flags,
                min: known.then_some(totals.min),
                max: known.then_some(totals.max),
            };
            if let Points::Explicit(points) =
                group.entry(metric).or_insert(Points::Explicit(Vec::new()))
            {
                points.push(point);
            }
        }
        Buckets::Exponential(exponential) => {
            let point = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: when.since_ns,
                time_unix_nano: when.now_ns,
                count: if known { totals.count } else { 0 },
                sum: known.then_some(totals.sum),
                scale: exponential.scale,
                zero_count: if known {
                    u64::from(exponential.zeros)
                } else {
                    0
                },
                positive: known.then(|| WireBuckets {
                    offset: exponential.offset,
                    bucket_counts: exponential
                        .counts
                        .iter()
                        .map(|count| u64::from(*count))
                        .collect(),
                }),
                exemplars,
                flags,
                min: known.then_some(totals.min),
                max: known.then_some(totals.max),
                ..Default::default()
            };
            if let Points::Exponential(points) = group
                .entry(metric)
                .or_insert(Points::Exponential(Vec::new()))
            {
                points.push(point);
            }
        }
    }
}

fn push_number(
    group: &mut BTreeMap<(Instrument, bool), Points>,
    key: &ActiveKey,
    active: Active,
    now_ns: u64,
) {
    let flags = if active.ended {
        DataPointFlags::NoRecordedValueMask as u32
    } else {
        0
    };
    let value = i64::try_from(active.count).unwrap_or(i64::MAX);
    let point = NumberDataPoint {
        attributes: wire(active_labels(key)),
        start_time_unix_nano: active.since_ns,
        time_unix_nano: now_ns.max(active.since_ns.saturating_add(1)),
        flags,
        value: (!active.ended).then_some(number_data_point::Value::AsInt(value)),
        ..Default::default()
    };
    let metric = (Instrument::Active, key.client);
    let numbers = || Points::Numbers(Vec::new());
    if let Points::Numbers(points) = group.entry(metric).or_insert_with(numbers) {
        points.push(point);
    }
}

/// The attributes of a count of active requests.
pub(super) fn active_labels(key: &ActiveKey) -> Vec<(&'static str, Label<'_>)> {
    vec![
        ("http.request.method", Label::Text(&key.method)),
        ("url.scheme", Label::Text("http")),
    ]
}

fn exemplars(series: &Series) -> Vec<WireExemplar> {
    let wire = |exemplar: &Exemplar| WireExemplar {
        time_unix_nano: exemplar.unix_ns,
        value: Some(ExemplarValue::AsDouble(exemplar.value)),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: exemplar.span_id.to_vec(),
        ..Default::default()
    };
    series.exemplars.iter().flatten().map(wire).collect()
}

/// The attributes of a series, in the words of OTLP.
pub(super) fn labels<'a>(key: &'a Key) -> Vec<(&'static str, Label<'a>)> {
    if key.overflow {
        return vec![("otel.metric.overflow", Label::True)];
    }
    let mut labels = Vec::with_capacity(8);
    let mut text = |name, value: Option<&'a str>| {
        if let Some(value) = value {
            labels.push((name, Label::Text(value)));
        }
    };
    if key.rpc {
        text("rpc.system.name", Some("grpc"));
        text("rpc.method", key.text.as_deref());
        text("rpc.response.status_code", key.status.map(grpc_status));
    } else {
        text("http.request.method", Some(&*key.method));
        match key.side {
            Side::Server => text("http.route", key.text.as_deref()),
            Side::Client => text("url.template", key.text.as_deref()),
        }
        text("url.scheme", Some("http"));
        text("network.protocol.version", Some(key.version));
    }
    text("error.type", key.error.as_deref());
    text(
        "server.address",
        key.server.as_ref().map(|(name, _)| &**name),
    );
    if let Some(status) = key.status.filter(|_| !key.rpc) {
        labels.push(("http.response.status_code", Label::Number(status.into())));
    }
    if let Some((_, Some(port))) = key.server {
        labels.push(("server.port", Label::Number(port.into())));
    }
    labels
}

/// The value of an attribute.
pub(super) enum Label<'a> {
    Text(&'a str),
    Number(i64),
    True,
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    wire(labels(key))
}

fn wire(labels: Vec<(&str, Label<'_>)>) -> Vec<KeyValue> {
    let pair = |(name, label): (&str, Label<'_>)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(match label {
                Label::Text(text) => Value::StringValue(text.to_owned()),
                Label::Number(number) => Value::IntValue(number),
                Label::True => Value::BoolValue(true),
            }),
        }),
        ..Default::default()
    };
    labels.into_iter().map(pair).collect()
}

/// The name of a `grpc-status`.
fn grpc_status(status: u32) -> &'static str {
    grpc::status_name(status).unwrap_or("UNKNOWN")
}
