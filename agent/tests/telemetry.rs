//! The agent's own endpoint, asked by a client that writes bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use remora::deciding::metrics::prometheus::Format;
use remora::delivery::telemetry::metrics::{CaptureCounts, SelfMetrics};
use remora::delivery::telemetry::server::{Status, TelemetryServer};
use remora::delivery::telemetry::usage::Usage;

#[derive(Default)]
struct Agent {
    ready: AtomicBool,
}

impl Status for Agent {
    fn ready(&self) -> Result<(), String> {
        let ready = self.ready.load(Ordering::SeqCst);
        ready.then_some(()).ok_or_else(|| "attaching".to_owned())
    }

    fn metrics(&self, _: Format) -> SelfMetrics {
        let capture = CaptureCounts {
            seen: 3,
            emitted: 3,
            ..CaptureCounts::default()
        };
        SelfMetrics {
            capture: Some(capture),
            export: Vec::new(),
            sampling: None,
            memory: None,
            usage: Usage::read(),
        }
    }
}

fn start() -> (TelemetryServer, Arc<Agent>) {
    let agent = Arc::new(Agent::default());
    let status: Arc<dyn Status> = agent.clone();
    (
        TelemetryServer::start("127.0.0.1:0".parse().unwrap(), status).unwrap(),
        agent,
    )
}

fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(8)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: SocketAddr, path: &str) -> String {
    ask(
        address,
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes(),
    )
}

#[test]
fn probes_and_metrics() {
    let (server, agent) = start();
    let address = server.address();
    assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let answer = get(address, "/readyz");
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("attaching\n"),
        "{answer}"
    );
    agent.ready.store(true, Ordering::SeqCst);
    assert!(get(address, "/readyz?verbose").starts_with("HTTP/1.1 200 OK\r\n"));
    let answer = get(address, "/metrics");
    assert!(
        answer.contains("\nremora_requests_seen_total 3\n"),
        "{answer}"
    );
    assert!(
        answer.contains("\nprocess_resident_memory_bytes "),
        "{answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert!(head.contains("text/plain; version=0.0.4"));
}

#[test]
fn other_requests() {
    let (server, _agent) = start();
    let address = server.address();
    assert!(get(address, "/").starts_with("HTTP/1.1 404 "));
    assert!(
        ask(
            address,
            b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
        )
        .starts_with("HTTP/1.1 405 ")
    );
    let head = ask(address, b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(ask(address, b"\x00\x01\x02\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(ask(address, b"GET /healthz HTTP/2.0\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert!(ask(address, b"GET /healthz\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let long = vec![b'x'; 9000];
    assert!(ask(address, &long).starts_with("HTTP/1.1 400 "));
}

#[test]
fn idle_connections_do_not_lock_others_out_for_long() {
    let (server, _agent) = start();
    let idle: Vec<_> = (0..16)
        .map(|_| TcpStream::connect(server.address()).unwrap())
        .collect();
    // All slots are taken; after five seconds they are taken back.
    let begin = Instant::now();
    assert!(get(server.address(), "/healthz").starts_with("HTTP/1.1 200 "));
    let waited = begin.elapsed();
    assert!(
        waited > Duration::from_secs(4) && waited < Duration::from_secs(7),
        "{waited:?}"
    );
    drop(idle);
}

#[test]
fn an_address_in_use() {
    let (server, agent) = start();
    assert!(TelemetryServer::start(server.address(), agent).is_err());
}
