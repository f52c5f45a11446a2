//! RED metrics of `remora run`, held against what wrk and nginx say, after a collector of
//! somebody else took them and passed them on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::Message;

use super::itself::{gateway, received, spans, text};
use crate::clients::http2::h2load;
use crate::clients::wrk;
use crate::grpc::{Call, Peer};
use crate::harness::expect::Planned;
use crate::harness::process::{Spawned, command, free_port, remora};
use crate::harness::{require_privilege, tools, wait_until};
use crate::servers::Server;
use crate::servers::http2::nghttpd;
use crate::servers::nginx::Nginx;

/// The collector `rotel`, if its binary is named, with a port for HTTP.
pub(super) fn rotel(to: u16, dir: &Path, http: u16) -> Option<(Spawned, u16)> {
    let binary = std::env::var_os("REMORA_TEST_ROTEL").filter(|path| !path.is_empty());
    let Some(binary) = binary.map(PathBuf::from) else {
        let all = std::env::var_os("REMORA_TEST_ALL").is_some_and(|all| all == "1");
        assert!(
            !all,
            "REMORA_TEST_ROTEL does not name a rotel binary (pip install rotel)"
        );
        eprintln!("skipped: REMORA_TEST_ROTEL does not name a rotel binary");
        return None;
    };
    let grpc = free_port();
    let mut command = command(binary, &["start"]);
    command
        .env_clear()
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
        .args([
            "--otlp-exporter-endpoint",
            &format!("http://127.0.0.1:{to}"),
        ])
        .args(["--otlp-exporter-compression", "none"])
        .arg("--pid-file")
        .arg(dir.join("rotel.pid"))
        .arg("--log-file")
        .arg(dir.join("rotel.log"));
    let mut rotel = Spawned::logged(&mut command, &dir.join("rotel.out"));
    rotel.wait_for_port(http);
    Some((rotel, http))
}

/// Metrics received so far, in order.
pub(super) fn metrics(dir: &Path) -> Vec<Metric> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "metrics"))
        .collect();
    files.sort();
    let requests = files
        .iter()
        .map(|file| ExportMetricsServiceRequest::decode(&*fs::read(file).unwrap()).unwrap());
    requests
        .flat_map(|request| request.resource_metrics)
        .flat_map(|resource| resource.scope_metrics)
        .flat_map(|scope| scope.metrics)
        .collect()
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|pair| pair.key == key)?;
    match value.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Count and buckets (upper bound, count) of a series.
type Series = (u64, Vec<(f64, u64)>);

/// The last point of the series of a metric with a route (or template).
fn series(metrics: &[Metric], name: &str, route: &str) -> Option<Series> {
    let fits = |attributes: &[KeyValue]| {
        let found = attribute(attributes, "http.route").or(attribute(attributes, "url.template"));
        found.as_deref() == Some(route)
            && attribute(attributes, "http.response.status_code").as_deref() == Some("200")
    };
    let mut last = None;
    for metric in metrics.iter().filter(|metric| metric.name == name) {
        match metric.data.as_ref().unwrap() {
            Data::Histogram(histogram) => {
                for point in histogram
                    .data_points
                    .iter()
                    .filter(|point| fits(&point.attributes))
                {
                    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
                    let buckets = bounds.zip(point.bucket_counts.iter().copied()).collect();
                    last = Some((point.count, buckets));
                }
            }
            Data::ExponentialHistogram(histogram) => {
                for point in histogram
                    .data_points
                    .iter()
                    .filter(|point| fits(&point.attributes))
                {
                    let base = f64::from(-point.scale).exp2().exp2();
                    let positive = point.positive.as_ref().unwrap();
                    let bound = |at: usize| base.powi(positive.offset + at as i32 + 1);
                    let buckets = positive.bucket_counts.iter().enumerate();
                    let buckets = buckets.map(|(at, count)| (bound(at), *count)).collect();
                    last = Some((point.count, buckets));
                }
            }
            other => panic!("{other:?}"),
        }
    }
    last
}

/// The bucket that a percentile is in.
fn percentile(series: &Series, percent: u32) -> (f64, f64) {
    let rank = (series.0 * u64::from(percent)).div_ceil(100);
    let (mut below, mut low) = (0, 0.0);
    for (high, count) in &series.1 {
        below += count;
        if below >= rank {
            return (low, *high);
        }
        low = *high;
    }
    panic!("{series:?}");
}

/// A server that takes 4 to 103 ms for a request.
pub(super) fn sleepy() -> Server {
    Server::start(|port, dir| {
        let script = dir.join("sleepy.py");
        fs::write(&script, include_str!("../programs/sleepy.py")).unwrap();
        command(
            tools::python(),
            &[script.as_os_str(), port.to_string().as_ref()],
        )
    })
}

fn through_a_collector(aggregation: &str) {
    require_privilege!(alone);
    let (gateway, nginx) = (gateway(), Nginx::start());
    let dir = gateway.dir.path();
    let Some((_rotel, collector)) = rotel(gateway.port, dir, free_port()) else {
        return;
    };
    let sleepy = sleepy();
    let mut agent = Spawned::with_streams(
        remora()
            .arg("run")
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{collector}"),
            )
            .env(
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                aggregation,
            )
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .env("REMORA_SAMPLING_SPANS_PER_SECOND", "20")
            .stdin(Stdio::null()),
    );
    let warm = format!("http://127.0.0.1:{}/warm/1", sleepy.port);
    wait_until("the first metrics", || {
        crate::clients::curl::one(&[], &warm);
        std::thread::sleep(Duration::from_millis(100));
        (!metrics(dir).is_empty()).then_some(())
    });
    let counted = nginx.log(0).len();
    let hello = format!("http://127.0.0.1:{}/hello/12345", nginx.port());
    let exact = wrk::exactly(&hello, 20_000, dir);
    let logged = nginx.log(exact.requests).len() - counted;
    let slow = wrk::load(
        &format!("http://127.0.0.1:{}/sleep/77", sleepy.port),
        32,
        5,
        &[],
    );
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success(), "the agent flushes and ends well");
    let expected = logged as u64;
    let found = wait_until("the last metrics", || {
        let found = metrics(dir);
        let server = series(&found, "http.server.request.duration", "/hello/{id}")?;
        let asleep = series(&found, "http.client.request.duration", "/sleep/{id}")?;
        let all = server.0 >= expected && asleep.0 >= slow.requests as u64;
        if !all {
            std::thread::sleep(Duration::from_millis(100));
        }
        all.then_some(found)
    });
    // Counts are those of nginx, and of wrk, although few spans were kept.
    for (name, count) in [
        ("http.server.request.duration", expected),
        ("http.client.request.duration", exact.requests as u64),
        ("http.server.response.body.size", expected),
    ] {
        assert_eq!(
            series(&found, name, "/hello/{id}").unwrap().0,
            count,
            "{name}"
        );
    }
    let kept = received(dir);
    let kept = spans(&kept);
    let routed = kept.iter().filter(|span| span.name == "GET /hello/{id}");
    assert!(
        routed.clone().count() > 0 && kept.len() < 5_000,
        "{} spans",
        kept.len()
    );
    let route = routed.clone().find_map(|span| text(span, "http.route"));
    assert_eq!(route, Some("/hello/{id}"));
    let thinned = |span: &&&opentelemetry_proto::tonic::trace::v1::Span| {
        span.trace_state.starts_with("ot=th:")
    };
    assert!(routed.clone().all(|span| thinned(&span)));
    // Percentiles are within a bucket, and the millisecond that wrk rounds and is late by.
    let asleep = series(&found, "http.client.request.duration", "/sleep/{id}").unwrap();
    let total = asleep.0.abs_diff(slow.requests as u64);
    assert!(total <= 32, "{} for {slow:?}", asleep.0);
    for (percent, wrk) in slow
        .percentiles
        .iter()
        .filter(|(percent, _)| [50, 90, 99].contains(percent))
    {
        let (low, high) = percentile(&asleep, *percent);
        println!("{aggregation} p{percent}: wrk {wrk:.4} s, bucket {low:.4} to {high:.4} s");
        assert!(
            low - 0.002 <= *wrk && *wrk <= high + 0.002,
            "p{percent}: {wrk} not in {low}..{high}"
        );
    }
}

#[test]
fn explicit_histograms() {
    through_a_collector("explicit_bucket_histogram");
}

#[test]
fn exponential_histograms() {
    through_a_collector("base2_exponential_bucket_histogram");
}

/// The count of the last point that has all of these attributes.
fn counted(metrics: &[Metric], name: &str, wanted: &[(&str, &str)]) -> Option<u64> {
    let fits = |attributes: &[KeyValue]| {
        (wanted.iter()).all(|(key, value)| attribute(attributes, key).as_deref() == Some(value))
    };
    let mut last = None;
    for metric in metrics.iter().filter(|metric| metric.name == name) {
        let Data::Histogram(histogram) = metric.data.as_ref().unwrap() else {
            panic!("{metric:?}");
        };
        let points = histogram.data_points.iter();
        last = points
            .filter(|point| fits(&point.attributes))
            .map(|point| point.count)
            .next_back()
            .or(last);
    }
    last
}

/// h2load and grpc-go say how many they made; the collector has as many.
#[test]
fn streams_and_calls() {
    require_privilege!(alone);
    const STREAMS: usize = 5_000;
    let gateway = gateway();
    let dir = gateway.dir.path();
    let Some((_rotel, collector)) = rotel(gateway.port, dir, free_port()) else {
        return;
    };
    let file = Planned {
        method: "GET",
        path: "/hello/counted".into(),
        body: 0,
    };
    let nghttpd = nghttpd(&[&[file]]);
    let url = format!("http://127.0.0.1:{}/hello/counted", nghttpd.port);
    let serving = Peer::Python.serve();
    let mut calls = vec![Call::unary("counted"); 300];
    calls.extend(vec![Call::unary("counted").failing(5, "no such thing"); 20]);
    // Compiling and installing is done before anything is counted.
    Peer::Go.call(serving.port(), &[Call::unary("warm")], 1);
    let mut agent = Spawned::with_streams(
        remora()
            .arg("run")
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{collector}"),
            )
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .stdin(Stdio::null()),
    );
    let warm = format!("http://127.0.0.1:{}/warm", nghttpd.port);
    wait_until("the first metrics", || {
        crate::clients::curl::one(&["--http2-prior-knowledge"], &warm);
        std::thread::sleep(Duration::from_millis(100));
        (!metrics(dir).is_empty()).then_some(())
    });
    h2load(&url, STREAMS, 2, 10);
    let (answered, _) = Peer::Go.call(serving.port(), &calls, 4);
    let ended = |status| answered.iter().filter(|it| it.status == status).count();
    assert_eq!((ended(0), ended(5)), (300, 20));
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success(), "the agent flushes and ends well");
    let call = |status| {
        [
            ("rpc.method", "peers.Unary/counted"),
            ("rpc.response.status_code", status),
        ]
    };
    let stream = [
        ("network.protocol.version", "2"),
        ("http.response.status_code", "200"),
    ];
    let (good, bad) = (call("OK"), call("NOT_FOUND"));
    for (name, wanted, count) in [
        ("http.server.request.duration", &stream, STREAMS),
        ("http.client.request.duration", &stream, STREAMS),
        ("http.server.response.body.size", &stream, STREAMS),
        ("rpc.server.call.duration", &good, 300),
        ("rpc.client.call.duration", &good, 300),
        ("rpc.server.call.duration", &bad, 20),
        ("rpc.client.call.duration", &bad, 20),
    ] {
        let found = wait_until(name, || {
            let found = counted(&metrics(dir), name, wanted)?;
            (found >= count as u64).then_some(found)
        });
        assert_eq!(found, count as u64, "{name} {wanted:?}");
    }
}
