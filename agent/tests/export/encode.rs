//! The bytes of a batch, decoded by `opentelemetry-proto` and compared with spans built
//! from the semantic conventions by hand.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::prelude::*;
use prost::Message;
use remora::delivery::export::otlp::Encoder;
use remora::host::discovery::host::HostInfo;
use remora::model::exchange::{Endpoint, Incomplete, Protocol, Side};
use remora::span::attrs::SpanOptions;
use remora::span::method::KnownMethods;
use remora::span::resource::HostResource;

use crate::sample::{Sample, client, process, server};

fn host() -> HostResource {
    HostResource {
        host: HostInfo {
            name: Some("node-1".into()),
            id: Some("0123456789abcdef0123456789abcdef".into()),
            ..HostInfo::default()
        },
        attributes: vec![
            ("k8s.node.name".into(), "node-1".into()),
            ("service.name".into(), "not-this".into()),
            ("deployment.environment.name".into(), "overridden".into()),
        ],
    }
}

fn encode(samples: &[&Sample], options: SpanOptions) -> ExportTraceServiceRequest {
    let mut encoder = Encoder::new(options, host());
    samples
        .iter()
        .for_each(|sample| encoder.push(&sample.exchange()));
    let limit = encoder.bytes();
    let batch = encoder.seal().expect("spans were pushed");
    assert!(encoder.is_empty() && encoder.seal().is_none());
    assert_eq!(batch.items, samples.len() as u64);
    assert!(batch.body.len() <= limit, "{} > {limit}", batch.body.len());
    let request = ExportTraceServiceRequest::decode(batch.body.clone()).expect("valid protobuf");
    assert_eq!(
        request.encode_to_vec(),
        batch.body,
        "the bytes are prost's bytes"
    );
    request
}

fn one(sample: &Sample, options: SpanOptions) -> Span {
    let mut request = encode(&[sample], options);
    let mut scope_spans = request.resource_spans.remove(0).scope_spans.remove(0);
    scope_spans.spans.remove(0)
}

fn text(value: &str) -> Value {
    Value::StringValue(value.into())
}

fn attributes(pairs: Vec<(&str, Value)>) -> Vec<KeyValue> {
    pairs
        .into_iter()
        .map(|(key, value)| KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        })
        .collect()
}

fn get<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes
        .iter()
        .find(|attribute| attribute.key == key)
        .and_then(|attribute| attribute.value.as_ref()?.value.as_ref())
}

#[test]
fn a_call() {
    let mut sample = server();
    sample.protocol = Protocol::Grpc;
    sample.method = Some("POST".into());
    sample.path = Some("/shop.v1.Orders/Get".into());
    sample.user_agent = Some("grpc-go/1.60.0".into());
    sample.rpc = Some(("shop.v1.Orders/Get".into(), Some(14), 3, 1));
    sample.error = Some("UNAVAILABLE".into());
    let span = one(&sample, SpanOptions::default());
    assert_eq!((span.name.as_str(), span.kind), ("shop.v1.Orders/Get", 2));
    let expected = attributes(vec![
        ("rpc.system.name", text("grpc")),
        ("rpc.method", text("shop.v1.Orders/Get")),
        ("rpc.response.status_code", text("UNAVAILABLE")),
        ("server.address", text("api.example.com")),
        ("server.port", Value::IntValue(8080)),
        ("client.address", text("192.0.2.10")),
        ("network.protocol.name", text("http")),
        ("network.protocol.version", text("2")),
        ("network.transport", text("tcp")),
        ("network.peer.address", text("192.0.2.10")),
        ("network.peer.port", Value::IntValue(51324)),
        ("user_agent.original", text("grpc-go/1.60.0")),
        ("remora.rpc.request.messages", Value::IntValue(3)),
        ("remora.rpc.response.messages", Value::IntValue(1)),
        ("error.type", text("UNAVAILABLE")),
        ("thread.id", Value::IntValue(4243)),
    ]);
    assert_eq!(span.attributes, expected);
    let error = span.status.expect("a call that failed");
    assert_eq!((error.code, error.message.as_str()), (2, ""));
    // A status that is the caller's fault is no error of the server.
    sample.rpc = Some((String::new(), Some(5), 0, 0));
    sample.error = None;
    let span = one(&sample, SpanOptions::default());
    assert_eq!((span.name.as_str(), &span.status), ("grpc", &None));
    assert_eq!(
        get(&span, "rpc.response.status_code"),
        Some(&text("NOT_FOUND"))
    );
    assert_eq!(
        (get(&span, "rpc.method"), get(&span, "http.request.method")),
        (None, None)
    );
}

#[test]
fn a_server_span() {
    let expected = Span {
        trace_id: b"0123456789abcdef".to_vec(),
        span_id: b"spanspan".to_vec(),
        parent_span_id: b"parentpa".to_vec(),
        trace_state: "vendor=value,ot=th:8".into(),
        flags: 0x301,
        name: "GET".into(),
        kind: 2,
        start_time_unix_nano: 1_767_323_045_123_456_789,
        end_time_unix_nano: 1_767_323_045_124_691_356,
        attributes: attributes(vec![
            ("http.request.method", text("GET")),
            ("url.scheme", text("http")),
            ("url.path", text("/users/7")),
            ("server.address", text("api.example.com")),
            ("server.port", Value::IntValue(8080)),
            ("client.address", text("192.0.2.10")),
            ("network.protocol.name", text("http")),
            ("network.protocol.version", text("1.1")),
            ("network.transport", text("tcp")),
            ("network.peer.address", text("192.0.2.10")),
            ("network.peer.port", Value::IntValue(51324)),
            ("user_agent.original", text("curl/7.88.1")),
            ("http.response.status_code", Value::IntValue(200)),
            ("http.request.body.size", Value::IntValue(0)),
            ("http.response.body.size", Value::IntValue(512)),
            ("thread.id", Value::IntValue(4243)),
        ]),
        ..Span::default()
    };
    assert_eq!(one(&server(), SpanOptions::default()), expected);
}

#[test]
fn a_client_span_of_a_failed_request() {
    let mut sample = client();
    sample.method = Some("PURGE".into());
    sample.status = None;
    sample.response_body = None;
    sample.request_body = Some(1_000_000);
    sample.error = Some("connection_reset".into());
    sample.incomplete = Incomplete::RESPONSE_NOT_SEEN;
    sample.incomplete.insert(Incomplete::HEAD_TRUNCATED);
    sample.flags = 0;
    sample.protocol = Protocol::Http10;
    let incomplete = ["head_truncated", "response_not_seen"].map(|name| AnyValue {
        value: Some(text(name)),
    });
    let expected = Span {
        trace_id: b"0123456789abcdef".to_vec(),
        span_id: b"clientsp".to_vec(),
        flags: 0x100,
        name: "HTTP".into(),
        kind: 3,
        start_time_unix_nano: 1_767_323_045_123_456_789,
        end_time_unix_nano: 1_767_323_045_124_691_356,
        attributes: attributes(vec![
            ("http.request.method", text("_OTHER")),
            ("http.request.method_original", text("PURGE")),
            ("url.full", text("http://api.example.com:8080/users/7")),
            ("server.address", text("api.example.com")),
            ("server.port", Value::IntValue(8080)),
            ("network.protocol.name", text("http")),
            ("network.protocol.version", text("1.0")),
            ("network.transport", text("tcp")),
            ("network.peer.address", text("192.0.2.10")),
            ("network.peer.port", Value::IntValue(51324)),
            ("user_agent.original", text("curl/7.88.1")),
            ("http.request.body.size", Value::IntValue(1_000_000)),
            ("error.type", text("connection_reset")),
            ("thread.id", Value::IntValue(4243)),
            (
                "remora.incomplete",
                Value::ArrayValue(ArrayValue {
                    values: incomplete.into(),
                }),
            ),
        ]),
        status: Some(Status {
            message: String::new(),
            code: 2,
        }),
        ..Span::default()
    };
    assert_eq!(one(&sample, SpanOptions::default()), expected);
}

#[test]
fn queries_and_credentials_stay_out_unless_allowed() {
    let mut sample = client();
    sample.authority = Some("user:password@api.example.com".into());
    let span = one(&sample, SpanOptions::default());
    assert_eq!(
        get(&span, "url.full"),
        Some(&text("http://REDACTED:REDACTED@api.example.com/users/7"))
    );
    assert_eq!(get(&span, "server.port"), Some(&Value::IntValue(80)));
    let allowed = SpanOptions {
        allow_query: true,
        ..SpanOptions::default()
    };
    let span = one(&sample, allowed.clone());
    assert_eq!(
        get(&span, "url.full"),
        Some(&text(
            "http://REDACTED:REDACTED@api.example.com/users/7?token=secret"
        ))
    );
    let bytes = span.encode_to_vec();
    assert!(!bytes.windows(8).any(|window| window == b"password"));

    let span = one(&server(), allowed);
    assert_eq!(get(&span, "url.query"), Some(&text("token=secret")));
    let bytes = one(&server(), SpanOptions::default()).encode_to_vec();
    assert!(!bytes.windows(6).any(|window| window == b"secret"));
}

#[test]
fn brief_spans_say_what_counts() {
    for sample in [server(), client()] {
        let whole = one(
            &sample,
            SpanOptions {
                allow_query: true,
                ..SpanOptions::default()
            },
        );
        let brief = one(
            &sample,
            SpanOptions {
                allow_query: true,
                brief: true,
                ..SpanOptions::default()
            },
        );
        let keys = |span: &Span| -> Vec<String> {
            span.attributes
                .iter()
                .map(|pair| pair.key.clone())
                .collect()
        };
        let missing: Vec<_> = keys(&whole)
            .into_iter()
            .filter(|key| !keys(&brief).contains(key))
            .collect();
        for key in &missing {
            let describes = [
                "client.address",
                "url.query",
                "user_agent.original",
                "thread.id",
            ];
            assert!(
                describes.contains(&key.as_str()) || key.starts_with("network."),
                "{key}"
            );
        }
        assert!(
            missing.contains(&"user_agent.original".to_owned()),
            "{missing:?}"
        );
        let (whole, brief) = (whole.encoded_len(), brief.encoded_len());
        eprintln!("{whole} bytes, {brief} if brief");
        assert!(10 * brief < 8 * whole);
    }
}

#[test]
fn errors_follow_the_side() {
    for (side, status, error) in [
        (Side::Server, 404, false),
        (Side::Server, 499, false),
        (Side::Server, 500, true),
        (Side::Client, 399, false),
        (Side::Client, 404, true),
        (Side::Client, 503, true),
    ] {
        let sample = Sample {
            side,
            status: Some(status),
            ..server()
        };
        let span = one(&sample, SpanOptions::default());
        assert_eq!(
            span.status.as_ref().map(|status| status.code),
            error.then_some(2),
            "{side:?} {status}"
        );
        assert_eq!(
            get(&span, "error.type"),
            error.then(|| text(&status.to_string())).as_ref()
        );
    }
}

#[test]
fn routes_and_known_methods() {
    let options = SpanOptions {
        known_methods: KnownMethods::exactly(vec!["PURGE".into()]),
        ..SpanOptions::default()
    };
    let mut sample = server();
    sample.method = Some("PURGE".into());
    sample.route = Some("/users/{id}".into());
    let span = one(&sample, options.clone());
    assert_eq!(span.name, "PURGE /users/{id}");
    assert_eq!(get(&span, "http.route"), Some(&text("/users/{id}")));
    sample.method = Some("GET".into());
    assert_eq!(one(&sample, options).name, "HTTP /users/{id}");
    sample.method = None;
    let span = one(&sample, SpanOptions::default());
    assert_eq!(get(&span, "http.request.method"), Some(&text("_OTHER")));
    assert_eq!(get(&span, "http.request.method_original"), None);
}

#[test]
fn unknown_authorities_fall_back_to_the_connection() {
    for authority in [None, Some("not a host".to_owned())] {
        let mut sample = Sample {
            authority,
            ..client()
        };
        sample.conn.peer = Endpoint::Tcp("[2001:db8::1]:8080".parse().unwrap());
        let span = one(&sample, SpanOptions::default());
        assert_eq!(
            get(&span, "url.full"),
            Some(&text("http://[2001:db8::1]:8080/users/7"))
        );
        assert_eq!(get(&span, "server.address"), Some(&text("2001:db8::1")));
        assert_eq!(get(&span, "server.port"), Some(&Value::IntValue(8080)));
        sample.side = Side::Server;
        let span = one(&sample, SpanOptions::default());
        assert_eq!(get(&span, "server.address"), Some(&text("10.0.0.5")));
        assert_eq!(get(&span, "client.address"), Some(&text("2001:db8::1")));
    }
}

#[test]
fn unix_sockets() {
    let mut sample = client();
    sample.conn.peer = Endpoint::Unix("/run/docker.sock".into());
    sample.authority = Some("docker".into());
    let span = one(&sample, SpanOptions::default());
    assert_eq!(get(&span, "network.transport"), Some(&text("unix")));
    assert_eq!(
        get(&span, "network.peer.address"),
        Some(&text("/run/docker.sock"))
    );
    assert_eq!(get(&span, "network.peer.port"), None);
    assert_eq!(get(&span, "server.address"), Some(&text("docker")));
    assert_eq!(get(&span, "server.port"), None);
    sample.authority = None;
    let span = one(&sample, SpanOptions::default());
    assert_eq!(
        get(&span, "server.address"),
        Some(&text("/run/docker.sock"))
    );
    assert_eq!(get(&span, "url.full"), None);
}

#[test]
fn targets_without_a_path() {
    let mut sample = client();
    sample.method = Some("CONNECT".into());
    sample.path = Some("db.example.com:443".into());
    sample.query = None;
    let span = one(&sample, SpanOptions::default());
    assert_eq!(
        get(&span, "url.full"),
        Some(&text("http://db.example.com:443"))
    );
    assert_eq!(get(&span, "server.address"), Some(&text("db.example.com")));
    sample.side = Side::Server;
    assert_eq!(get(&one(&sample, SpanOptions::default()), "url.path"), None);
    sample.method = Some("OPTIONS".into());
    sample.path = Some("*".into());
    assert_eq!(
        get(&one(&sample, SpanOptions::default()), "url.path"),
        Some(&text("*"))
    );
}

#[test]
fn spans_are_grouped_by_process() {
    let samples: Vec<Sample> = (0..30)
        .map(|i| {
            let mut sample = server();
            sample.process = process(i % 3);
            sample.span_id = u64::from(i + 1).to_be_bytes();
            sample
        })
        .collect();
    let request = encode(&samples.iter().collect::<Vec<_>>(), SpanOptions::default());
    assert_eq!(request.resource_spans.len(), 3);
    for (id, group) in request.resource_spans.iter().enumerate() {
        assert_eq!(group.schema_url, "https://opentelemetry.io/schemas/1.41.0");
        let resource = group.resource.as_ref().expect("a resource");
        let service = resource.attributes.iter().find(|a| a.key == "service.name");
        assert_eq!(
            service,
            attributes(vec![("service.name", text(&format!("service-{id}")))]).first()
        );
        let [scope_spans] = &group.scope_spans[..] else {
            panic!("one scope")
        };
        assert_eq!(scope_spans.schema_url, group.schema_url);
        let scope = InstrumentationScope {
            name: "remora".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            ..Default::default()
        };
        assert_eq!(scope_spans.scope, Some(scope));
        let ids: Vec<u64> = scope_spans
            .spans
            .iter()
            .map(|span| u64::from_be_bytes(span.span_id.clone().try_into().unwrap()))
            .collect();
        assert_eq!(
            ids,
            (0..10).map(|n| n * 3 + id as u64 + 1).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_resource() {
    let mut request = encode(&[&server()], SpanOptions::default());
    let mut attributes_got = request
        .resource_spans
        .remove(0)
        .resource
        .unwrap()
        .attributes;
    let instance = attributes_got.remove(3);
    assert_eq!(instance.key, "service.instance.id");
    let expected = attributes(vec![
        ("service.name", text("service-1")),
        ("service.namespace", text("shop")),
        ("deployment.environment.name", text("test")),
        ("process.pid", Value::IntValue(4001)),
        ("process.executable.name", text("nginx")),
        ("process.executable.path", text("/usr/sbin/nginx")),
        ("container.id", text(&"a".repeat(64))),
        ("k8s.pod.uid", text("11111111-2222-3333-4444-555555555555")),
        ("host.name", text("node-1")),
        ("host.id", text("0123456789abcdef0123456789abcdef")),
        ("os.type", text("linux")),
        ("telemetry.distro.name", text("remora")),
        ("telemetry.distro.version", text(env!("CARGO_PKG_VERSION"))),
        ("k8s.node.name", text("node-1")),
    ]);
    assert_eq!(attributes_got, expected);
}

#[test]
fn a_process_about_which_nothing_is_known() {
    let mut sample = server();
    sample.process = remora::model::exchange::ProcessInfo {
        id: 1,
        tgid: 4001,
        comm: String::new(),
        executable: None,
        service: String::new(),
        service_namespace: None,
        resource: vec![],
        container_id: None,
        pod_uid: None,
    };
    let mut request = encode(&[&sample], SpanOptions::default());
    let resource = request.resource_spans.remove(0).resource.unwrap();
    let service = &resource.attributes[0];
    assert_eq!(
        *std::slice::from_ref(service),
        attributes(vec![("service.name", text("unknown_service"))])[..]
    );
    assert!(
        resource
            .attributes
            .iter()
            .all(|a| a.key != "process.executable.name")
    );
}

#[test]
fn instance_ids_are_stable_and_distinct() {
    let instance = |sample: &Sample| {
        let mut request = encode(&[sample], SpanOptions::default());
        let attributes = request
            .resource_spans
            .remove(0)
            .resource
            .unwrap()
            .attributes;
        attributes
            .into_iter()
            .find(|a| a.key == "service.instance.id")
            .unwrap()
    };
    assert_eq!(instance(&server()), instance(&server()));
    assert_ne!(instance(&server()), instance(&client()));
    let mut own = server();
    own.process
        .resource
        .push(("service.instance.id".into(), "mine".into()));
    assert_eq!(
        vec![instance(&own)],
        attributes(vec![("service.instance.id", text("mine"))])
    );
}

#[test]
fn more_processes_than_are_kept() {
    let mut encoder = Encoder::new(SpanOptions::default(), host());
    for round in 0..3u32 {
        for id in 0..1500 {
            let mut sample = server();
            sample.process = process(round * 700 + id);
            encoder.push(&sample.exchange());
        }
        let batch = encoder.seal().unwrap();
        let request = ExportTraceServiceRequest::decode(batch.body).unwrap();
        assert_eq!(request.resource_spans.len(), 1500);
        for (id, group) in request.resource_spans.iter().enumerate() {
            let resource = group.resource.as_ref().unwrap();
            let expected = text(&format!("service-{}", round as usize * 700 + id));
            assert_eq!(
                resource.attributes[0].value.as_ref().unwrap().value,
                Some(expected)
            );
            assert_eq!(group.scope_spans[0].spans.len(), 1);
        }
    }
}

prop_compose! {
    fn hostile()(
        texts in prop::collection::vec(prop::option::of(prop_oneof![".{0,40}".boxed(), ("[ -~]{1,8}", 0..3000usize).prop_map(|(text, times)| text.repeat(times))]), 8),
        numbers in prop::collection::vec(any::<u64>(), 4),
        status in prop::option::of(any::<u16>()),
        flags in any::<u8>(),
        ids in any::<([u8; 16], [u8; 8], Option<[u8; 8]>)>(),
        client in any::<bool>(),
        unix in any::<bool>(),
        incomplete in any::<[bool; 6]>(),
        tid in any::<u32>(),
    ) -> Sample {
        let mut sample = server();
        let mut texts = texts.into_iter();
        let mut next = || texts.next().flatten();
        sample.method = next();
        sample.path = next();
        sample.query = next();
        sample.authority = next();
        sample.user_agent = next();
        sample.route = next();
        sample.state = next();
        sample.error = next();
        sample.start = numbers[0];
        sample.duration = numbers[1];
        sample.request_body = Some(numbers[2]);
        sample.response_body = Some(numbers[3]);
        sample.status = status;
        sample.flags = flags;
        (sample.trace_id, sample.span_id, sample.parent) = ids;
        sample.side = if client { Side::Client } else { Side::Server };
        sample.tid = tid;
        if unix {
            sample.conn.peer = Endpoint::Unix(sample.path.clone().unwrap_or_default());
        }
        for (set, reason) in incomplete.into_iter().zip([
            Incomplete::HEAD_TRUNCATED,
            Incomplete::JOINED_MIDSTREAM,
            Incomplete::RESPONSE_NOT_SEEN,
            Incomplete::RESPONSE_INCOMPLETE,
            Incomplete::REQUEST_INCOMPLETE,
            Incomplete::FRAMING_LOST,
        ]) {
            if set {
                sample.incomplete.insert(reason);
            }
        }
        sample
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever a traced process sends, the batch stays decodable and says the same.
    #[test]
    fn hostile_exchanges(samples in prop::collection::vec(hostile(), 1..6)) {
        let request = encode_lossy(&samples);
        let spans = &request.resource_spans[0].scope_spans[0].spans;
        prop_assert_eq!(spans.len(), samples.len());
        for (span, sample) in spans.iter().zip(&samples) {
            prop_assert_eq!(&span.trace_id[..], &sample.trace_id[..]);
            prop_assert_eq!(&span.span_id[..], &sample.span_id[..]);
            prop_assert_eq!(&span.parent_span_id[..], sample.parent.as_ref().map_or(&[][..], |id| &id[..]));
            prop_assert_eq!(&span.trace_state, sample.state.as_deref().unwrap_or_default());
            prop_assert_eq!(span.flags & 0xff, u32::from(sample.flags));
            prop_assert_eq!(span.start_time_unix_nano, sample.start);
            prop_assert_eq!(span.end_time_unix_nano, sample.start.saturating_add(sample.duration));
            prop_assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
            let mut keys: Vec<&str> = span.attributes.iter().map(|a| a.key.as_str()).collect();
            keys.sort_unstable();
            let count = keys.len();
            keys.dedup();
            prop_assert_eq!(keys.len(), count, "keys are unique");
            let string = |key: &str| match get(span, key) {
                Some(Value::StringValue(text)) => Some(text.as_str()),
                _ => None,
            };
            prop_assert_eq!(string("user_agent.original"), sample.user_agent.as_deref());
            prop_assert_eq!(span.status.is_some(), string("error.type").is_some());
            prop_assert!(string("url.query").is_none());
            if let Some(error) = sample.error.as_deref() {
                prop_assert_eq!(string("error.type"), Some(error));
            }
            prop_assert_eq!(
                get(span, "http.request.body.size").cloned(),
                sample.request_body.map(|n| Value::IntValue(i64::try_from(n).unwrap_or(i64::MAX)))
            );
            prop_assert_eq!(get(span, "remora.incomplete").is_some(), !sample.incomplete.is_empty());
        }
    }
}

fn encode_lossy(samples: &[Sample]) -> ExportTraceServiceRequest {
    let mut encoder = Encoder::new(SpanOptions::default(), host());
    samples
        .iter()
        .for_each(|sample| encoder.push(&sample.exchange()));
    let limit = encoder.bytes();
    let body = encoder.seal().expect("spans were pushed").body;
    assert!(body.len() <= limit);
    ExportTraceServiceRequest::decode(body).expect("valid protobuf")
}
