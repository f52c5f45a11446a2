//! Metrics as OTLP requests.
//!
//! A round exports all series, in pieces of a few hundred, so that the thread that captures
//! is never busy with it for long, and requests stay far below the 4 MiB that receivers take.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, Histogram as WireHistogram, Metric,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data,
};
use prost::Message;

use super::Registry;
use super::instrument::Instrument;
use super::points::{Points, When, push, push_number};
use crate::model::exchange::Side;
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
