//! What `--listen` serves, read by the parser of the Prometheus project's own client.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

use super::itself::{gateway, received, spans, text};
use crate::harness::process::{Spawned, command, free_port, remora};
use crate::harness::raw::Raw;
use crate::harness::trace::Trace;
use crate::harness::{require_privilege, tools, wait_until};
use crate::servers::nginx::Nginx;

/// What the parser makes of one line.
#[derive(Deserialize, Debug)]
struct Sample {
    r#type: String,
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The body of `/metrics`.
pub(super) fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// The value of a line of the agent's own metrics.
pub(super) fn value(metrics: &str, name: &str) -> f64 {
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {name}: {metrics}"))
        .parse()
        .unwrap()
}

fn parsed(text: &str) -> Vec<Sample> {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/privileged/programs/prometheus_text.py"
    );
    let mut parser = command(tools::python(), &[script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    parser
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success(), "refused: {text}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Values of a metric, by method.
fn by_method(samples: &[Sample], name: &str) -> BTreeMap<String, f64> {
    (samples.iter().filter(|sample| sample.name == name))
        .map(|sample| (sample.labels["http_request_method"].clone(), sample.value))
        .collect()
}

fn methods<const N: usize>(all: [(&str, f64); N]) -> BTreeMap<String, f64> {
    all.map(|(method, value)| (method.to_owned(), value)).into()
}

/// A server that answers nothing before all `requests` have come and the barrier is passed.
fn held(requests: usize, gate: &Arc<Barrier>) -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let gate = Arc::clone(gate);
    let server = thread::spawn(move || {
        let mut peers: Vec<Raw> = (0..requests)
            .map(|_| {
                let mut peer = Raw::new(listener.accept().unwrap().0);
                peer.head();
                peer
            })
            .collect();
        gate.wait();
        for peer in &mut peers {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        for peer in &mut peers {
            peer.rest();
        }
    });
    (port, server)
}

#[test]
fn requests_in_flight_rise_and_fall_and_every_line_is_understood() {
    require_privilege!();
    let gate = Arc::new(Barrier::new(2));
    let (port, server) = held(5, &gate);
    let (gateway, listen) = (gateway(), free_port());
    let mut agent = Spawned::with_streams(
        remora()
            .args(["run", "--listen", &format!("127.0.0.1:{listen}")])
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", gateway.port),
            )
            .env("OTEL_METRICS_EXPORTER", "prometheus")
            // Other tests make requests as well.
            .env("REMORA_INCLUDE", format!("port={port}"))
            .stdin(Stdio::null()),
    );
    wait_until("the agent captures", || {
        scrape(listen).filter(|text| text.contains("remora_requests_seen_total"))
    });
    let mut clients: Vec<Raw> = ["GET", "POST", "GET", "POST", "GET"]
        .into_iter()
        .map(|method| {
            let mut client = Raw::connect(port);
            client.send(format!(
                "{method} /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            ));
            client
        })
        .collect();
    let shows = |what: &str, counts: &BTreeMap<String, f64>| {
        wait_until(what, || {
            let samples = parsed(&scrape(listen)?);
            let found = ["http_server_active_requests", "http_client_active_requests"]
                .iter()
                .all(|name| by_method(&samples, name) == *counts);
            if !found {
                thread::sleep(Duration::from_millis(50));
            }
            found.then_some(samples)
        })
    };
    let samples = shows(
        "requests in flight",
        &methods([("GET", 3.0), ("POST", 2.0)]),
    );
    let none = by_method(&samples, "http_server_request_duration_seconds_count");
    assert!(none.is_empty(), "nothing was answered: {none:?}");
    gate.wait();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    let samples = shows("none in flight", &methods([("GET", 0.0), ("POST", 0.0)]));
    let counted = methods([("GET", 3.0), ("POST", 2.0)]);
    for side in ["server", "client"] {
        for what in [
            "request_duration_seconds",
            "request_body_size_bytes",
            "response_body_size_bytes",
        ] {
            let name = format!("http_{side}_{what}_count");
            assert_eq!(by_method(&samples, &name), counted, "{name}");
        }
        let sums = by_method(
            &samples,
            &format!("http_{side}_response_body_size_bytes_sum"),
        );
        assert_eq!(sums, methods([("GET", 6.0), ("POST", 4.0)]));
    }
    let gauge = |sample: &&Sample| sample.name == "http_server_active_requests";
    assert_eq!(samples.iter().find(gauge).unwrap().r#type, "gauge");
    drop(clients);
    server.join().unwrap();
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
}

/// Lines of `trace`, spans, their names and metrics have one route for a request.
#[test]
fn a_request_has_the_same_route_everywhere() {
    require_privilege!();
    let (nginx, gateway, listen) = (Nginx::start(), gateway(), free_port());
    let dir = gateway.dir.path();
    let settings = dir.join("routes.yaml");
    std::fs::write(&settings, "routes: [\"/hello/by/{name}\"]\n").unwrap();
    let mut agent = Spawned::with_streams(
        remora()
            .args([
                "run",
                "--listen",
                &format!("127.0.0.1:{listen}"),
                "--config",
            ])
            .arg(&settings)
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", gateway.port),
            )
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_METRICS_EXPORTER", "prometheus")
            .env("OTEL_TRACES_SAMPLER", "always_on")
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .env("REMORA_INCLUDE", format!("port={}", nginx.port()))
            .stdin(Stdio::null()),
    );
    let trace = Trace::start(&["--config", &settings.display().to_string()]);
    wait_until("the agent captures", || {
        scrape(listen).filter(|text| text.contains("remora_requests_seen_total"))
    });
    let paths = [
        "/hello/by/ada",
        "/hello/17",
        "/hello/2026-11-28",
        "/hello/8f14e45f-ceea-467a-9575-1b2d3c4d5e6f",
        "/hello/plain",
    ];
    for path in paths {
        crate::clients::curl::one(&[], &format!("http://127.0.0.1:{}{path}", nginx.port()));
    }
    let report = trace.collect(nginx.port(), 2 * paths.len()).lossless();
    let mut routes = BTreeMap::new();
    for line in report.server(nginx.port()) {
        routes.insert(line.path().to_owned(), line.route.clone().unwrap());
    }
    assert_eq!(routes.len(), paths.len(), "{routes:?}");
    assert_eq!(routes["/hello/by/ada"], "/hello/by/{name}");
    let requests = wait_until("all spans", || {
        let requests = received(dir);
        (spans(&requests).len() >= 2 * paths.len()).then_some(requests)
    });
    let mut told = BTreeMap::new();
    for span in spans(&requests) {
        if let Some(path) = text(span, "url.path") {
            let route = text(span, "http.route").unwrap().to_owned();
            assert_eq!(span.name, format!("GET {route}"));
            told.insert(path.to_owned(), route);
        }
    }
    assert_eq!(told, routes);
    let text = scrape(listen).unwrap();
    let samples = parsed(&text);
    let counted: BTreeMap<String, f64> = (samples.iter())
        .filter(|sample| sample.name == "http_server_request_duration_seconds_count")
        .map(|sample| (sample.labels["http_route"].clone(), sample.value))
        .collect();
    let mut expected = BTreeMap::new();
    for route in routes.into_values() {
        *expected.entry(route).or_insert(0.0) += 1.0;
    }
    assert_eq!(counted, expected, "{text}");
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
}
