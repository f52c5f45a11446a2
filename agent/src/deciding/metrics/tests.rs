use super::otlp::Encoder;
use super::*;
use crate::fixture::{START, curl, nginx, ok, server_conn, v6_conn};
use crate::model::exchange::{Exchange, ProcessInfo, Protocol, Rpc, Side};
use crate::span::resource::HostResource;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, HistogramDataPoint, metric::Data, number_data_point,
};
use prost::Message;

const SECOND: u64 = 1_000_000_000;
const ROUTED: Routed<'_> = Routed {
    id: 1,
    text: Some("/users/{id}"),
};

fn registry(settings: Settings) -> Registry {
    Registry::new(settings, START)
}

/// All requests of a round.
fn round(
    encoder: &mut Encoder,
    registry: &mut Registry,
    now: u64,
) -> Vec<ExportMetricsServiceRequest> {
    encoder.begin();
    let mut all = Vec::new();
    while encoder.is_busy() {
        let piece = encoder.next(registry, now);
        all.extend(piece.map(|piece| ExportMetricsServiceRequest::decode(&*piece.body).unwrap()));
    }
    all
}

/// Explicit points of a metric.
fn points(requests: &[ExportMetricsServiceRequest], name: &str) -> Vec<HistogramDataPoint> {
    let metrics = (requests.iter())
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|group| &group.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    metrics
        .filter(|metric| metric.name == name)
        .flat_map(|metric| match &metric.data {
            Some(Data::Histogram(histogram)) => histogram.data_points.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn attributes(point: &HistogramDataPoint) -> String {
    let mut all: Vec<String> = (point.attributes.iter())
        .map(|pair| {
            format!(
                "{}={:?}",
                pair.key,
                pair.value.as_ref().unwrap().value.as_ref().unwrap()
            )
        })
        .collect();
    all.sort();
    all.join(" ")
        .replace("StringValue", "")
        .replace("IntValue", "")
        .replace("BoolValue", "")
}

fn encoder() -> Encoder {
    Encoder::new(HostResource::default())
}

#[test]
fn a_request_counts_in_the_metrics_of_the_conventions() {
    let (nginx, curl, tcp, v6) = (nginx(), curl(), server_conn(), v6_conn());
    let mut registry = registry(Settings::default());
    registry.record(&ok(&nginx, &tcp), ROUTED, true);
    let client = Exchange {
        side: Side::Client,
        status: Some(404),
        error: Some("404"),
        authority: Some("Shop.example:81"),
        ..ok(&curl, &v6)
    };
    registry.record(
        &client,
        Routed {
            id: 2,
            text: Some("/a"),
        },
        false,
    );
    let requests = round(&mut encoder(), &mut registry, START + 60 * SECOND);
    let server = &points(&requests, "http.server.request.duration")[0];
    assert_eq!(
        attributes(server),
        "http.request.method=(\"GET\") http.response.status_code=(200) http.route=(\"/users/{id}\") \
         network.protocol.version=(\"1.1\") url.scheme=(\"http\")"
    );
    assert_eq!((server.count, server.sum), (1, Some(0.001_234_567)));
    assert_eq!(
        (server.start_time_unix_nano, server.time_unix_nano),
        (START, START + 60 * SECOND)
    );
    assert_eq!(
        server.exemplars[0].trace_id,
        ok(&nginx, &tcp).trace.trace_id
    );
    let client = &points(&requests, "http.client.request.duration")[0];
    assert_eq!(
        attributes(client),
        "error.type=(\"404\") http.request.method=(\"GET\") http.response.status_code=(404) \
         network.protocol.version=(\"1.1\") server.address=(\"Shop.example\") server.port=(81) \
         url.scheme=(\"http\") url.template=(\"/a\")"
    );
    assert!(client.exemplars.is_empty(), "its span was not kept");
    assert_eq!(
        points(&requests, "http.server.response.body.size")[0].sum,
        Some(512.0)
    );
    let resource = requests[0].resource_metrics[0].resource.as_ref().unwrap();
    let has = |key: &str| resource.attributes.iter().any(|pair| pair.key == key);
    assert!(has("service.name") && has("service.instance.id") && !has("process.pid"));
}

#[test]
fn calls_count_by_method_and_status() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut registry = registry(Settings::default());
    let rpc = Rpc {
        method: "shop.Cart/Add",
        status: Some(14),
        message: None,
        request_messages: 1,
        response_messages: 1,
    };
    let call = Exchange {
        rpc: Some(rpc),
        protocol: Protocol::Grpc,
        error: Some("UNAVAILABLE"),
        ..ok(&nginx, &tcp)
    };
    registry.record(
        &call,
        Routed {
            id: 3,
            text: Some("shop.Cart/Add"),
        },
        true,
    );
    let requests = round(&mut encoder(), &mut registry, START + SECOND);
    assert_eq!(
        attributes(&points(&requests, "rpc.server.call.duration")[0]),
        "error.type=(\"UNAVAILABLE\") rpc.method=(\"shop.Cart/Add\") \
         rpc.response.status_code=(\"UNAVAILABLE\") rpc.system.name=(\"grpc\")"
    );
    assert!(points(&requests, "http.server.request.duration").is_empty());
}

#[test]
fn processes_of_a_service_share_series_and_containers_do_not() {
    let tcp = server_conn();
    let mut registry = registry(Settings::default());
    for (id, container) in [(1, None), (2, None), (3, Some("c1")), (4, Some("c2"))] {
        let process = ProcessInfo {
            id,
            tgid: id,
            container_id: container.map(str::to_owned),
            ..nginx()
        };
        registry.record(&ok(&process, &tcp), ROUTED, false);
    }
    let requests = round(&mut encoder(), &mut registry, START + SECOND);
    let counts: Vec<u64> = points(&requests, "http.server.request.duration")
        .iter()
        .map(|point| point.count)
        .collect();
    assert_eq!(counts, [2, 1, 1]);
    let instances: std::collections::BTreeSet<String> = (requests[0].resource_metrics.iter())
        .map(|group| format!("{:?}", group.resource))
        .collect();
    assert_eq!(instances.len(), 3);
}

#[test]
fn cumulative_series_go_on_and_deltas_begin_anew() {
    let (nginx, tcp) = (nginx(), server_conn());
    for delta in [false, true] {
        let mut registry = registry(Settings {
            delta,
            ..Settings::default()
        });
        let mut encoder = encoder();
        let mut found = Vec::new();
        for n in 1..=3 {
            if n != 2 {
                registry.record(&ok(&nginx, &tcp), ROUTED, true);
            }
            let requests = round(&mut encoder, &mut registry, START + n * 60 * SECOND);
            let points = points(&requests, "http.server.request.duration");
            found.extend(points.iter().map(|p| {
                (
                    (p.start_time_unix_nano - START) / SECOND,
                    (p.time_unix_nano - START) / SECOND,
                    p.count,
                    p.exemplars.len(),
                )
            }));
        }
        let expected = if delta {
            vec![(0, 60, 1, 1), (120, 180, 1, 1)]
        } else {
            vec![(0, 60, 1, 1), (0, 120, 1, 0), (0, 180, 2, 1)]
        };
        assert_eq!(found, expected, "delta {delta}");
    }
}

#[test]
fn idle_series_end_with_a_mark_and_begin_later_if_they_come_back() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut registry = registry(Settings::default());
    let mut encoder = encoder();
    registry.record(&ok(&nginx, &tcp), ROUTED, false);
    for minute in 1..=5 {
        let requests = round(&mut encoder, &mut registry, START + minute * 60 * SECOND);
        assert_eq!(
            points(&requests, "http.server.request.duration")[0].flags,
            0,
            "{minute}"
        );
    }
    let end = START + 6 * 60 * SECOND;
    let last = &points(
        &round(&mut encoder, &mut registry, end),
        "http.server.request.duration",
    )[0];
    assert_eq!((last.flags, last.count, last.sum), (1, 0, None));
    assert_eq!(
        registry.counts(),
        Counts {
            retired: 1,
            services: 1,
            ..Counts::default()
        }
    );
    assert!(round(&mut encoder, &mut registry, end + 60 * SECOND).is_empty());
    registry.record(&ok(&nginx, &tcp), ROUTED, false);
    let again = &points(
        &round(&mut encoder, &mut registry, end + 120 * SECOND),
        "http.server.request.duration",
    )[0];
    assert_eq!(
        (again.start_time_unix_nano, again.count),
        (end + 60 * SECOND, 1)
    );
}

#[test]
fn a_wall_clock_that_goes_back_makes_no_backward_point() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut registry = registry(Settings {
        delta: true,
        ..Settings::default()
    });
    let mut encoder = encoder();
    for now in [
        START + 60 * SECOND,
        START - 3600 * SECOND,
        START - 3500 * SECOND,
    ] {
        registry.record(&ok(&nginx, &tcp), ROUTED, false);
        let requests = round(&mut encoder, &mut registry, now);
        let point = &points(&requests, "http.server.request.duration")[0];
        assert!(point.time_unix_nano > point.start_time_unix_nano && point.count == 1);
    }
}

/// Random paths, hosts and methods, as a hostile client sends them.
#[test]
fn a_cardinality_attack_cannot_make_series_and_loses_no_count() {
    let (nginx, curl, tcp, v6) = (nginx(), curl(), server_conn(), v6_conn());
    let mut registry = registry(Settings {
        max_series: 400,
        ..Settings::default()
    });
    let quiet = ProcessInfo {
        id: 9,
        service: "quiet".into(),
        ..self::nginx()
    };
    for n in 0..50_000u32 {
        let (method, host) = (format!("M{n}"), format!("host-{n}.example:{}", n % 60_000));
        let route = format!("/{n}");
        let routed = Routed {
            id: n,
            text: Some(&route),
        };
        let attack = Exchange {
            method: Some(&method),
            authority: Some(&host),
            ..ok(&nginx, &tcp)
        };
        registry.record(&attack, routed, true);
        let client = Exchange {
            side: Side::Client,
            authority: Some(&host),
            ..ok(&curl, &v6)
        };
        registry.record(&client, ROUTED, true);
    }
    // A fourth is the most that one service gets.
    registry.record(&ok(&quiet, &tcp), ROUTED, true);
    let counts = registry.counts();
    assert_eq!(counts.series, 100 + 100 + 1 + 2, "{counts:?}");
    let requests = round(&mut encoder(), &mut registry, START + SECOND);
    let server = points(&requests, "http.server.request.duration");
    assert_eq!(server.iter().map(|point| point.count).sum::<u64>(), 50_001);
    let overflow = server
        .iter()
        .filter(|point| attributes(point).contains("otel.metric.overflow=(true)"));
    assert_eq!(overflow.map(|point| point.count).sum::<u64>(), 50_000 - 100);
    assert!(
        server
            .iter()
            .all(|point| !attributes(point).contains("\"M"))
    );
}

#[test]
fn series_fit_in_the_memory_that_is_promised() {
    let (nginx, tcp) = (nginx(), server_conn());
    for (exponential, most) in [(false, 10_000_000), (true, 16_000_000)] {
        let mut registry = registry(Settings {
            exponential,
            max_series: 40_000,
            ..Settings::default()
        });
        for n in 0..10_000u32 {
            let route = format!("/api/v1/resources-{n}/{{id}}/details");
            let mut exchange = ok(&nginx, &tcp);
            // Six decades of durations and sizes.
            for power in 0..40 {
                exchange.duration_ns = 10_000 << (power / 2);
                exchange.request_body_bytes = Some(power * 1000);
                exchange.response_body_bytes = Some(1 << (power / 2));
                registry.record(
                    &exchange,
                    Routed {
                        id: n,
                        text: Some(&route),
                    },
                    true,
                );
            }
        }
        assert_eq!(registry.counts().series, 10_000);
        let bytes = registry.bytes();
        println!("10,000 series, exponential {exponential}: {bytes} bytes");
        assert!(bytes <= most, "{bytes}");
    }
}

#[test]
fn key_churn_forgets_services_and_series() {
    let tcp = server_conn();
    let mut registry = registry(Settings::default());
    let mut encoder = encoder();
    for n in 0..5_000u32 {
        let process = ProcessInfo {
            id: n,
            service: format!("job-{n}"),
            ..nginx()
        };
        registry.record(
            &ok(&process, &tcp),
            Routed {
                id: n,
                text: Some("/run"),
            },
            false,
        );
        if n % 50 == 0 {
            round(
                &mut encoder,
                &mut registry,
                START + u64::from(n / 50 + 1) * 60 * SECOND,
            );
        }
    }
    let counts = registry.counts();
    assert!(
        counts.services <= 400 && counts.series <= 400 && counts.retired > 4_000,
        "{counts:?}"
    );
    assert_eq!(counts.overflow, 0);
}

#[test]
fn prometheus_text_is_complete_and_escaped() {
    let (nginx, tcp) = (nginx(), server_conn());
    for exponential in [false, true] {
        let mut registry = registry(Settings {
            exponential,
            ..Settings::default()
        });
        for ms in [1, 3, 30, 300, 20_000] {
            let exchange = Exchange {
                duration_ns: ms * 1_000_000,
                ..ok(&nginx, &tcp)
            };
            registry.record(
                &exchange,
                Routed {
                    id: 1,
                    text: Some("/a\"b\\c"),
                },
                false,
            );
        }
        let mut text = String::new();
        prometheus::render(&registry, prometheus::Format::Text, &mut text);
        assert!(text.contains("# TYPE http_server_request_duration_seconds histogram\n"));
        let labels = r#"service_name="nginx",http_request_method="GET",http_route="/a\"b\\c""#;
        assert!(text.contains(labels), "{text}");
        let value = |le: &str| {
            let end = format!("le=\"{le}\"}} ");
            let line = text.lines().find(|line| {
                line.starts_with("http_server_request_duration") && line.contains(&end)
            });
            line.unwrap()
                .rsplit(' ')
                .next()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        let (low, high) = if exponential {
            ("0.00390625", "0.5")
        } else {
            ("0.005", "0.5")
        };
        assert_eq!(
            (value(low), value(high), value("+Inf")),
            (2, 4, 5),
            "{text}"
        );
    }
}

/// Values of a metric with the method of each; `None` for the mark that it has ended.
fn active(requests: &[ExportMetricsServiceRequest], name: &str) -> Vec<(String, Option<i64>)> {
    let metrics = (requests.iter())
        .flat_map(|request| &request.resource_metrics)
        .flat_map(|group| &group.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    let mut all = Vec::new();
    for metric in metrics.filter(|metric| metric.name == name) {
        let Some(Data::Sum(sum)) = &metric.data else {
            panic!("{metric:?}");
        };
        assert!(!sum.is_monotonic, "{metric:?}");
        assert_eq!(
            sum.aggregation_temporality(),
            AggregationTemporality::Cumulative
        );
        assert_eq!(metric.unit, "{request}");
        for point in &sum.data_points {
            assert!(point.start_time_unix_nano < point.time_unix_nano);
            let value = point.value.map(|value| match value {
                number_data_point::Value::AsInt(value) => value,
                other => panic!("{other:?}"),
            });
            let ended = point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0;
            assert_eq!(value.is_none(), ended);
            let pair = &point.attributes[0];
            let method = pair.value.as_ref().unwrap().value.as_ref().unwrap();
            let AnyValue::StringValue(method) = method else {
                panic!("{method:?}");
            };
            assert_eq!(pair.key, "http.request.method");
            all.push((method.clone(), value));
        }
    }
    all
}

#[test]
fn requests_under_way_are_told_in_every_round_until_their_kind_is_forgotten() {
    let (nginx, tcp) = (nginx(), server_conn());
    // Deltas are for what only grows.
    let mut registry = registry(Settings {
        delta: true,
        ..Settings::default()
    });
    let mut encoder = encoder();
    let mut told = |registry: &mut Registry, at: u64, methods: &[&str]| {
        let now = START + at * SECOND;
        registry.count_active(now, |each| {
            for method in methods {
                each(&nginx, Side::Server, Some(method).copied());
            }
        });
        active(
            &round(&mut encoder, registry, now),
            "http.server.active_requests",
        )
    };
    let some = |all: &[(&str, i64)]| -> Vec<(String, Option<i64>)> {
        (all.iter())
            .map(|(method, value)| ((*method).to_owned(), Some(*value)))
            .collect()
    };
    let under_way = ["GET", "BREW", "GET", "MAKE"];
    assert_eq!(
        told(&mut registry, 10, &under_way),
        some(&[("GET", 2), ("_OTHER", 2)])
    );
    registry.record(&ok(&nginx, &tcp), ROUTED, true);
    // The methods nobody knows have no series that would keep them.
    let mut ended = some(&[("GET", 0)]);
    ended.push(("_OTHER".to_owned(), None));
    assert_eq!(told(&mut registry, 20, &[]), ended);
    assert_eq!(told(&mut registry, 30, &[]), some(&[("GET", 0)]));
    // With the series goes the zero.
    let idle = Settings::default().idle_ns / SECOND + 30;
    told(&mut registry, idle, &[]);
    let last = told(&mut registry, idle + 1, &[]);
    assert_eq!(last, [("GET".to_owned(), None)]);
    assert!(told(&mut registry, idle + 2, &[]).is_empty());
    // At the end nobody looks any more.
    told(&mut registry, idle + 3, &["GET"]);
    registry.end_active();
    let requests = round(
        &mut Encoder::new(HostResource::default()),
        &mut registry,
        START,
    );
    assert_eq!(
        active(&requests, "http.server.active_requests"),
        [("GET".to_owned(), None)]
    );
}

#[test]
fn series_that_are_only_scraped_are_retired_as_well() {
    let (nginx, tcp) = (nginx(), server_conn());
    let mut registry = registry(Settings::default());
    registry.record(&ok(&nginx, &tcp), ROUTED, true);
    let idle = Settings::default().idle_ns;
    for minute in 1..=5 {
        registry.tend(START + minute * 60 * SECOND);
        assert_eq!(registry.counts().series, 1, "{minute}");
    }
    registry.tend(START + 60 * SECOND + idle);
    let counts = registry.counts();
    assert_eq!((counts.series, counts.retired), (0, 1));
}
