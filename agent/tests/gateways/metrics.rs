//! Metrics: both temporalities, both kinds of histogram, exemplars, over both protocols.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Metric, exemplar, metric::Data};
use prost::Message;
use remora::deciding::metrics::otlp::Encoder;
use remora::deciding::metrics::{ExemplarFilter, Registry, Settings};
use remora::deciding::route::{DEFAULT_ROUTES, Router};
use remora::delivery::export::batch::{Batch, Signal};
use remora::delivery::export::exporter::Destination;
use serde_json::{Value, json};

use crate::collector::{self, Collector, binary, config};
use crate::receiver::{settings, start};
use crate::sample;

/// Three rounds of requests, as they are sent.
fn rounds(exponential: bool, delta: bool) -> Vec<(u64, Vec<u8>)> {
    let start = sample::server().start;
    let mut registry = Registry::new(
        Settings {
            exponential,
            delta,
            exemplars: ExemplarFilter::AlwaysOn,
            ..Settings::default()
        },
        start,
    );
    let mut router = Router::new(Vec::new(), DEFAULT_ROUTES);
    let mut encoder = Encoder::new(settings(&[]).host);
    let mut pieces = Vec::new();
    for round in 0..3u64 {
        for number in 0..100 {
            let mut sample = if number % 3 == 0 {
                sample::client()
            } else {
                sample::server()
            };
            sample.duration = 1_000_000 * (number + 1) * (round + 1);
            sample.span_id = (round * 100 + number + 1).to_be_bytes();
            sample.status = Some(if number % 10 == 0 { 500 } else { 200 });
            let exchange = sample.exchange();
            let routed = router.route(&exchange);
            registry.record(&exchange, routed, true);
        }
        encoder.begin();
        while encoder.is_busy() {
            let piece = encoder.next(&mut registry, start + (round + 1) * 1_000_000_000);
            pieces.extend(piece.map(|it| (it.points, it.body)));
        }
    }
    pieces
}

/// What a point must say, the same from protobuf and from the Collector's JSON: name of the
/// metric, temporality, count, sum, buckets, and the exemplars' spans and values.
type Said = (String, i64, u64, f64, Vec<u64>, Vec<(String, f64)>);

fn sent(metric: &Metric) -> Vec<Said> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|it| format!("{it:02x}"))
            .collect::<String>()
    };
    let exemplars = |list: &[Exemplar]| {
        list.iter()
            .map(|it| match it.value {
                Some(exemplar::Value::AsDouble(value)) => (hex(&it.span_id), value),
                ref other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    let name = metric.name.clone();
    match metric.data.as_ref().unwrap() {
        Data::Histogram(it) => (it.data_points.iter())
            .map(|point| {
                let buckets = point.bucket_counts.clone();
                let temporality = i64::from(it.aggregation_temporality);
                let exemplars = exemplars(&point.exemplars);
                let sum = point.sum.unwrap();
                (
                    name.clone(),
                    temporality,
                    point.count,
                    sum,
                    buckets,
                    exemplars,
                )
            })
            .collect(),
        Data::ExponentialHistogram(it) => (it.data_points.iter())
            .map(|point| {
                let buckets = point.positive.clone().unwrap_or_default().bucket_counts;
                let temporality = i64::from(it.aggregation_temporality);
                let exemplars = exemplars(&point.exemplars);
                let sum = point.sum.unwrap();
                (
                    name.clone(),
                    temporality,
                    point.count,
                    sum,
                    buckets,
                    exemplars,
                )
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

/// Numbers of 64 bits are strings in OTLP's JSON.
fn number(value: &Value) -> u64 {
    value.as_str().map_or(0, |it| it.parse().unwrap())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn came(metric: &Value) -> Vec<Said> {
    let kinds = ["histogram", "exponentialHistogram"];
    let data = kinds.iter().map(|it| &metric[it]).find(|it| it.is_object());
    let data = data.unwrap_or_else(|| panic!("{metric}"));
    list(&data["dataPoints"])
        .map(|point| {
            let buckets = match &point["positive"] {
                Value::Null => &point["bucketCounts"],
                positive => &positive["bucketCounts"],
            };
            let exemplars = list(&point["exemplars"]);
            (
                metric["name"].as_str().unwrap().to_owned(),
                data["aggregationTemporality"].as_i64().unwrap(),
                number(&point["count"]),
                point["sum"].as_f64().unwrap(),
                list(buckets).map(number).collect(),
                exemplars
                    .map(|it| {
                        let span = it["spanId"].as_str().unwrap().to_owned();
                        (span, it["asDouble"].as_f64().unwrap())
                    })
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn every_point_comes_with_its_buckets_and_exemplars() {
    let Some(binary) = binary() else { return };
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Collector::start(&binary, dir.path(), &config(dir.path()));
        let url = gateway.url(protocol);
        let pairs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ];
        let otel = remora::config::otel::OtelSettings::resolve(|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name)?;
            Some(pair.1.to_owned())
        });
        let mut settings = settings(&pairs);
        settings.metrics = Some(Destination::Gateway(otel.unwrap().metrics).into());
        let (exporter, sink) = start(settings);
        let metrics = exporter.metrics().unwrap();
        let (mut expected, mut points) = (Vec::new(), 0);
        for (exponential, delta) in [(false, false), (false, true), (true, false), (true, true)] {
            for (items, body) in rounds(exponential, delta) {
                let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
                let scopes = (request.resource_metrics.iter()).flat_map(|it| &it.scope_metrics);
                expected.extend(scopes.flat_map(|it| &it.metrics).flat_map(sent));
                points += items;
                metrics.push(Batch {
                    signal: Signal::Metrics,
                    items,
                    body: body.into(),
                });
            }
        }
        drop(sink);
        let lane = exporter.lane(Signal::Metrics).unwrap().clone();
        exporter.shutdown(Duration::from_secs(20));
        let end = lane.counters.snapshot();
        assert_eq!((end.delivered, end.accepted), (points, points), "{end:?}");
        gateway.stop();
        let lines = collector::lines(dir.path());
        let resources = lines.iter().flat_map(|it| list(&it["resourceMetrics"]));
        let scopes = resources.flat_map(|it| list(&it["scopeMetrics"]));
        let mut arrived: Vec<_> = scopes
            .flat_map(|it| list(&it["metrics"]))
            .flat_map(came)
            .collect();
        let order = |a: &Said, b: &Said| a.partial_cmp(b).unwrap();
        arrived.sort_by(order);
        expected.sort_by(order);
        assert_eq!(arrived.len() as u64, points);
        assert_eq!(arrived, expected, "{protocol}");
        let with_exemplars = expected.iter().filter(|it| !it.5.is_empty()).count();
        assert!(with_exemplars > 20, "{with_exemplars}");
        assert_eq!(json!(expected.iter().any(|it| it.1 == 1)), json!(true));
    }
}
