//! Metrics and profiles have what spans have: failover, a spool, accounts; and none of them
//! takes room from another.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
};
use prost::Message;
use remora::config::otel::OtelSettings;
use remora::config::spool::SpoolSettings;
use remora::delivery::export::batch::{Batch, Signal};
use remora::delivery::export::breaker::Circuit;
use remora::delivery::export::counters::{DropReason, Snapshot};
use remora::delivery::export::exporter::{Destination, Endpoints, ExportSettings, Exporter};

use super::receiver::{Answer, Receiver, free_address, push, settings, start, wait};
use super::sample_profile::profile;

/// Points of one sum, with these times.
fn points(times: std::ops::Range<u64>) -> Batch {
    let items = times.end - times.start;
    let data_points = times.map(|time_unix_nano| NumberDataPoint {
        time_unix_nano,
        ..NumberDataPoint::default()
    });
    let sum = Sum {
        data_points: data_points.collect(),
        ..Sum::default()
    };
    let metric = Metric {
        name: "some.sum".into(),
        data: Some(Data::Sum(sum)),
        ..Metric::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..ScopeMetrics::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    };
    Batch {
        signal: Signal::Metrics,
        items,
        body: Bytes::from(request.encode_to_vec()),
    }
}

/// The times of the points in requests that were answered with success, as they came.
fn times(receiver: &Receiver) -> Vec<u64> {
    let mut times = Vec::new();
    for (request, status) in receiver.answered() {
        if request.path != "/v1/metrics" || status != 200 {
            continue;
        }
        let request = ExportMetricsServiceRequest::decode(request.body).unwrap();
        for metric in (request.resource_metrics.into_iter())
            .flat_map(|it| it.scope_metrics)
            .flat_map(|it| it.metrics)
        {
            let Some(Data::Sum(sum)) = metric.data else {
                panic!("{metric:?}");
            };
            times.extend(sum.data_points.iter().map(|it| it.time_unix_nano));
        }
    }
    times
}

/// All signals to one place.
fn all(endpoint: &str, spool: Option<&Path>) -> ExportSettings {
    let pairs = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)];
    let otel = OtelSettings::resolve(|name| {
        let pair = pairs.iter().find(|(key, _)| *key == name)?;
        Some(pair.1.to_owned())
    })
    .unwrap();
    let mut settings = settings(&pairs);
    settings.metrics = Some(Destination::Gateway(otel.metrics).into());
    settings.profiles = Some(Destination::Gateway(otel.profiles).into());
    settings.spool = spool.map(|dir| SpoolSettings {
        bytes: 8 << 20,
        sync: Duration::from_millis(20),
        ..SpoolSettings::new(dir.into())
    });
    settings
}

fn ok() -> Answer {
    Answer::Status(200, vec![])
}

fn url(receiver: &Receiver) -> String {
    format!("http://{}", receiver.address)
}

fn counts(exporter: &Exporter, signal: Signal) -> Snapshot {
    exporter.lane(signal).unwrap().counters.snapshot()
}

#[test]
fn what_no_gateway_took_comes_in_the_next_run_in_order() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Status(503, vec![]));
    let dir = tempfile::tempdir().unwrap();
    let (exporter, mut sink) = start(all(&url(&receiver), Some(dir.path())));
    let (metrics, profiles) = (exporter.metrics().unwrap(), exporter.profiles().unwrap());
    for round in 0..20 {
        metrics.push(points(round * 10..round * 10 + 10));
    }
    profiles.push(&profile(true));
    push(&mut sink, 1, 30);
    drop(sink);
    let lanes = exporter.lanes().to_vec();
    exporter.shutdown(Duration::from_millis(200));
    let kept: Vec<_> = (lanes.iter())
        .map(|lane| {
            let end = lane.counters.snapshot();
            assert!(end.balances() && end.dropped_total() == 0, "{end:?}");
            (lane.signal, end.queued)
        })
        .collect();
    let expected = [
        (Signal::Traces, 30),
        (Signal::Metrics, 200),
        (Signal::Profiles, 2),
    ];
    assert_eq!(kept, expected);

    receiver.reset(vec![Answer::Status(503, vec![])]);
    receiver.otherwise(ok());
    let (exporter, sink) = start(all(&url(&receiver), Some(dir.path())));
    let metrics = exporter.metrics().unwrap();
    for round in 20..30 {
        metrics.push(points(round * 10..round * 10 + 10));
    }
    wait(|| {
        exporter
            .lanes()
            .iter()
            .all(|lane| lane.counters.snapshot().queued == 0)
    });
    for (signal, recovered) in expected {
        assert_eq!(counts(&exporter, signal).recovered, recovered);
    }
    let metered = counts(&exporter, Signal::Metrics);
    assert_eq!((metered.accepted, metered.delivered), (300, 300));
    // Values that follow each other, each once, in fewer requests than there were rounds.
    assert_eq!(times(&receiver), (0..300).collect::<Vec<_>>());
    let received = receiver.received();
    let requests = |path: &str| received.iter().filter(|it| it.path == path).count();
    assert!(requests("/v1/metrics") < 30);
    assert!(requests("/v1development/profiles") >= 1);
    drop((sink, exporter));
}

#[test]
fn other_signals_fail_over_as_well_and_their_circuits_show() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(ok());
    let nobody = format!("http://{}", free_address());
    let works = all(&url(&receiver), None);
    let behind = |endpoints: Option<Endpoints>| match endpoints.unwrap().preferred {
        Destination::Gateway(settings) => vec![settings],
        other => panic!("{other:?}"),
    };
    let mut settings = all(&nobody, None);
    settings.metrics.as_mut().unwrap().failover = behind(works.metrics);
    settings.profiles.as_mut().unwrap().failover = behind(works.profiles);
    let (exporter, _sink) = start(settings);
    exporter.metrics().unwrap().push(points(0..10));
    exporter.profiles().unwrap().push(&profile(false));
    for (signal, items) in [(Signal::Metrics, 10), (Signal::Profiles, 2)] {
        wait(|| counts(&exporter, signal).delivered == items);
        let counts = counts(&exporter, signal);
        assert!(counts.failovers > 0);
        assert_ne!(counts.circuits[0], Circuit::Closed, "{signal:?}");
        assert_eq!(counts.circuits[1], Circuit::Closed, "{signal:?}");
        let endpoints = exporter.lane(signal).unwrap().endpoints.clone();
        let path = signal.http_path();
        let expected = [
            format!("{nobody}/{path}"),
            format!("{}/{path}", url(&receiver)),
        ];
        assert_eq!(*endpoints, expected);
    }
}

/// A hundred times the metrics that fit cost no span.
#[test]
fn a_flood_of_one_signal_pushes_out_no_other() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Status(503, vec![]));
    let dir = tempfile::tempdir().unwrap();
    let mut settings = all(&url(&receiver), Some(dir.path()));
    settings.queue_bytes = 7 << 20;
    settings.spool.as_mut().unwrap().compress = false;
    let (exporter, mut sink) = start(settings);
    push(&mut sink, 1, 500);
    let metrics = exporter.metrics().unwrap();
    for round in 0..400 {
        metrics.push(points(round * 5000..round * 5000 + 5000));
    }
    drop(sink);
    wait(|| counts(&exporter, Signal::Metrics).dropped_for(DropReason::SpoolFull) > 0);
    let lanes = exporter.lanes().to_vec();
    exporter.shutdown(Duration::from_millis(100));
    let [spans, metered, _] = &lanes[..] else {
        panic!("{lanes:?}");
    };
    let (spans, metered) = (spans.counters.snapshot(), metered.counters.snapshot());
    assert_eq!((spans.queued, spans.dropped_total()), (500, 0), "{spans:?}");
    assert!(metered.balances() && metered.queued > 0, "{metered:?}");
    let lost =
        metered.dropped_for(DropReason::SpoolFull) + metered.dropped_for(DropReason::QueueFull);
    assert_eq!(metered.accepted, metered.queued + lost, "{metered:?}");
}

#[test]
fn metrics_that_are_too_large_are_cut() {
    let large = Answer::Status(413, vec![]);
    let receiver = Receiver::http(vec![large.clone(), large.clone(), ok(), large]);
    receiver.otherwise(ok());
    let (exporter, _sink) = start(all(&url(&receiver), None));
    exporter.metrics().unwrap().push(points(0..101));
    wait(|| counts(&exporter, Signal::Metrics).queued == 0);
    assert_eq!(counts(&exporter, Signal::Metrics).delivered, 101);
    assert_eq!(times(&receiver), (0..101).collect::<Vec<_>>());
    assert_eq!(receiver.received().len(), 7);
}
