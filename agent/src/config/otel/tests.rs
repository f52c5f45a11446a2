use super::*;
use std::collections::HashMap;

fn resolve(pairs: &[(&str, &str)]) -> Result<OtelSettings, Vec<Mistake>> {
    let map: HashMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect();
    OtelSettings::resolve(|name| map.get(name).cloned())
}

fn traces(pairs: &[(&str, &str)]) -> OtlpSettings {
    resolve(pairs).expect("valid").traces
}

#[test]
fn nothing_set() {
    let settings = resolve(&[]).unwrap();
    assert!(!settings.disabled);
    assert_eq!(settings.traces_exporter, TracesExporter::Otlp);
    assert_eq!(settings.traces.protocol, Protocol::HttpProtobuf);
    assert_eq!(settings.traces.endpoint, "http://localhost:4318/v1/traces");
    assert_eq!(
        settings.metrics.endpoint,
        "http://localhost:4318/v1/metrics"
    );
    assert_eq!(settings.traces.timeout, Some(Duration::from_secs(10)));
    assert_eq!(settings.traces.compression, None);
    assert_eq!(*settings.traces.proxies, Proxies::default());
    assert_eq!(
        settings.batch,
        BatchSettings {
            delay: Duration::from_secs(1),
            export_timeout: Some(Duration::from_secs(300)),
            queue_spans: 65_536,
            batch_spans: 4096,
        }
    );
    assert!(settings.known_methods.contains("GET"));
}

#[test]
fn empty_counts_as_unset() {
    let names = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_SDK_DISABLED",
        "OTEL_TRACES_EXPORTER",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ];
    let settings = resolve(&names.map(|name| (name, " "))).unwrap();
    assert_eq!(settings.traces.endpoint, "http://localhost:4318/v1/traces");
}

#[test]
fn generic_endpoints_get_a_path_and_own_ones_do_not() {
    for (value, expected) in [
        ("http://gw:4318", "http://gw:4318/v1/traces"),
        ("http://gw:4318/", "http://gw:4318/v1/traces"),
        ("https://gw/otlp", "https://gw/otlp/v1/traces"),
        ("https://gw/otlp/", "https://gw/otlp/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
    ] {
        assert_eq!(
            traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).endpoint,
            expected
        );
    }
    for (value, expected) in [
        ("http://gw:4318", "http://gw:4318/"),
        ("http://gw/x?key=1", "http://gw/x?key=1"),
    ] {
        let settings = resolve(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://other:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", value),
        ])
        .unwrap();
        assert_eq!(settings.traces.endpoint, expected);
        assert_eq!(settings.metrics.endpoint, "http://other:1/v1/metrics");
    }
}

#[test]
fn grpc_endpoints() {
    let grpc = |extra: &[(&str, &str)]| {
        let mut pairs = vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        pairs.extend(extra);
        traces(&pairs).endpoint
    };
    assert_eq!(grpc(&[]), "http://localhost:4317");
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    assert_eq!(grpc(&[(endpoint, "http://gw:4317")]), "http://gw:4317");
    assert_eq!(grpc(&[(endpoint, "gw:4317")]), "https://gw:4317");
    assert_eq!(
        grpc(&[
            (endpoint, "gw:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "True")
        ]),
        "http://gw:4317"
    );
    assert_eq!(
        grpc(&[
            (endpoint, "https://gw:4317"),
            ("OTEL_EXPORTER_OTLP_INSECURE", "true")
        ]),
        "https://gw:4317"
    );
}

#[test]
fn a_signals_own_variable_wins() {
    let settings = resolve(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "B-Key=x%20y%3D, c=d=e"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROFILES_COMPRESSION", "ZSTD"),
    ])
    .unwrap();
    assert_eq!(settings.traces.protocol, Protocol::Grpc);
    assert_eq!(settings.metrics.protocol, Protocol::HttpProtobuf);
    let headers: Vec<_> = settings
        .traces
        .headers
        .0
        .iter()
        .map(|(n, v)| (n.as_str(), v.to_str().unwrap()))
        .collect();
    assert_eq!(headers, [("b-key", "x y="), ("c", "d=e")]);
    assert_eq!(settings.traces.timeout, Some(Duration::from_millis(2500)));
    assert_eq!(settings.metrics.timeout, None);
    assert_eq!(settings.traces.compression, None);
    assert_eq!(settings.metrics.compression, Some(Compression::Gzip));
    assert_eq!(settings.profiles.compression, Some(Compression::Zstd));
    assert_eq!(
        format!("{:?}", settings.traces.headers),
        "[\"b-key\", \"c\"]"
    );
}

#[test]
fn the_batch_processor() {
    let settings = resolve(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "250"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "30000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "2048"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "512"),
    ])
    .unwrap();
    let expected = BatchSettings {
        delay: Duration::from_millis(250),
        export_timeout: Some(Duration::from_secs(30)),
        queue_spans: 2048,
        batch_spans: 512,
    };
    assert_eq!(settings.batch, expected);
    assert_eq!(
        resolve(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")])
            .unwrap()
            .batch
            .batch_spans,
        100
    );
}

#[test]
fn names_and_resources() {
    let settings = resolve(&[
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=a,deployment.environment.name=pre%2Cprod",
        ),
        ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", "GET, PURGE"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_SDK_DISABLED", "TRUE"),
    ])
    .unwrap();
    assert_eq!(settings.service_name.as_deref(), Some("a"));
    assert_eq!(
        settings.resource[1],
        ("deployment.environment.name".into(), "pre,prod".into())
    );
    assert!(settings.known_methods.contains("PURGE") && !settings.known_methods.contains("POST"));
    assert_eq!(settings.traces_exporter, TracesExporter::Console);
    assert!(settings.disabled);
    let named = resolve(&[
        ("OTEL_SERVICE_NAME", "b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a"),
    ]);
    assert_eq!(named.unwrap().service_name.as_deref(), Some("b"));
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let mistakes = resolve(&[
        ("OTEL_SDK_DISABLED", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer secret,oops",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/does/not/exist"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "11"),
    ])
    .unwrap_err();
    let names: Vec<&str> = mistakes
        .iter()
        .map(|mistake| mistake.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "OTEL_SDK_DISABLED",
            "OTEL_TRACES_EXPORTER",
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        ]
    );
    assert!(
        mistakes
            .iter()
            .all(|mistake| !mistake.fix.is_empty() && !mistake.problem.is_empty())
    );
    assert!(!format!("{mistakes:?}").contains("secret"));
}

#[test]
fn endpoints_that_cannot_work() {
    for value in [
        "gw:4318",
        "ftp://gw",
        "http://",
        "http://:4318",
        "http://gw:0",
        "http://gw:99999",
        "http://gw:x",
        "http://user:password@gw",
        "http://gw/#x",
        "http://gw/?a=b",
        "http://g w",
        "unix:run/gw.sock",
        "unix://run/gw.sock",
        "unix:///run/",
        "unix:",
    ] {
        let mistakes = resolve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", value)]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{value}: {mistakes:?}");
    }
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert!(
        resolve(&[
            grpc,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gw:4317/v1/traces")
        ])
        .is_err()
    );
}

#[test]
fn a_key_needs_its_certificate() {
    let mistakes = resolve(&[("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/dev/null")]).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes[0]
            .fix
            .contains("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")
    );
}

#[test]
fn unix_sockets() {
    let (own, generic) = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
    );
    for (name, value) in [(own, "unix:/run/gw.sock"), (generic, "unix:///run/gw.sock")] {
        for (protocol, endpoint) in [
            ("grpc", "http://localhost/"),
            ("http/protobuf", "http://localhost/v1/traces"),
        ] {
            let settings = traces(&[(name, value), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)]);
            assert_eq!(settings.endpoint, endpoint);
            assert_eq!(settings.peer().as_deref(), Some("unix:/run/gw.sock"));
            let further = settings.at("http://gw:1", Signal::Traces).unwrap();
            assert_eq!(further.peer().as_deref(), Some("gw:1"));
            let back = further.at(value, Signal::Traces).unwrap();
            assert_eq!(back.socket, settings.socket);
        }
    }
    let long = format!("unix:///{}", "x".repeat(107));
    assert!(resolve(&[(generic, &long)]).is_err());
}

#[test]
fn variables_of_proxies() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://gw");
    let settings = traces(&[
        endpoint,
        ("https_proxy", "http://u:s3cret@lower:1"),
        ("ALL_PROXY", "http://all:2"),
        ("all_proxy", "http://not:3"),
        ("no_proxy", "near.example"),
    ]);
    assert_eq!(settings.peer().as_deref(), Some("lower:1"));
    let further = |url| settings.at(url, Signal::Traces).unwrap().peer().unwrap();
    assert_eq!(further("http://gw"), "all:2");
    assert_eq!(further("https://near.example"), "near.example:443");
    assert!(!format!("{settings:?}").contains("s3cret"));

    let unusable = ("HTTPS_PROXY", "socks5://u:s3cret@proxy");
    let mistakes = resolve(&[endpoint, unusable]).unwrap_err();
    let [mistake] = &mistakes[..] else {
        panic!("{mistakes:?}")
    };
    assert_eq!(
        (mistake.name.as_str(), mistake.value.as_str()),
        ("HTTPS_PROXY", "(hidden)")
    );
    // Nobody goes through it.
    let settings = traces(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gw"), unusable]);
    let problem = settings.at("https://gw", Signal::Traces).unwrap_err();
    assert!(
        problem.contains("HTTPS_PROXY") && !problem.contains("s3cret"),
        "{problem}"
    );
}
