//! A third party between the agent and the receiver: the OTLP collector `rotel` takes what
//! the exporter sends, decodes it, and passes it on.
//!
//! Needs its binary (`pip install rotel`; the wheel holds it as `rotel/rotel-agent`):
//! `REMORA_TEST_ROTEL=/path/to/rotel-agent cargo test --test gateways -- rotel`.
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::receiver::{self, Receiver, free_address, push, settings, start, wait};
use crate::{all, encoded, sorted};

/// Spans of each run.
const SPANS: u64 = 5000;

/// The collector; ended with the value.
struct Rotel(Child);

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary() -> Option<PathBuf> {
    match std::env::var_os("REMORA_TEST_ROTEL") {
        Some(path) if !path.is_empty() => Some(path.into()),
        _ if all() => panic!(
            "rotel is missing: python3 -m venv V && V/bin/pip install rotel, then set \
             REMORA_TEST_ROTEL=V/lib/python3.*/site-packages/rotel/rotel-agent"
        ),
        _ => {
            eprintln!(
                "skipped: REMORA_TEST_ROTEL does not name a rotel binary (pip install rotel)"
            );
            None
        }
    }
}

fn rotel(
    binary: PathBuf,
    grpc: SocketAddr,
    http: SocketAddr,
    protocol: &str,
    to: &Receiver,
) -> Rotel {
    let directory = tempfile::tempdir().unwrap().keep();
    let mut command = Command::new(binary);
    command
        .env_clear()
        .arg("start")
        .args(["--otlp-grpc-endpoint", &grpc.to_string()])
        .args(["--otlp-http-endpoint", &http.to_string()])
        .args(["--exporter", "otlp", "--otlp-exporter-protocol", protocol])
        .args([
            "--otlp-exporter-endpoint",
            &format!("http://{}", to.address),
        ])
        .args(["--otlp-exporter-compression", "none"])
        .arg("--pid-file")
        .arg(directory.join("pid"))
        .arg("--log-file")
        .arg(directory.join("log"))
        .stdout(Stdio::null());
    let rotel = Rotel(command.spawn().expect("rotel starts"));
    for address in [grpc, http] {
        wait(|| TcpStream::connect(address).is_ok());
    }
    rotel
}

fn through(ours: &str, theirs: &str, gzip: bool) {
    let Some(binary) = binary() else { return };
    let receiver = if theirs == "grpc" {
        Receiver::grpc(vec![])
    } else {
        Receiver::http(vec![])
    };
    let (grpc, http) = (free_address(), free_address());
    let _rotel = rotel(binary, grpc, http, theirs, &receiver);

    let endpoint = format!("http://{}", if ours == "grpc" { grpc } else { http });
    let (exporter, mut sink) = start(settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", ours),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            if gzip { "gzip" } else { "none" },
        ),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000"),
    ]));
    push(&mut sink, 1, SPANS);
    drop(sink);
    let snapshot = exporter.shutdown(Duration::from_secs(10));
    assert_eq!(
        (snapshot.delivered, snapshot.accepted),
        (SPANS, SPANS),
        "{snapshot:?}"
    );

    wait(|| receiver.spans().len() as u64 >= SPANS);
    let spans = receiver.spans();
    assert_eq!(receiver::ids(&spans), (1..=SPANS).collect::<Vec<_>>());
    // What comes out is what went in, span by span and resource by resource.
    let expected = encoded();
    let ours = &expected.resource_spans[0];
    let mut span = spans[0].clone();
    span.span_id
        .clone_from(&ours.scope_spans[0].spans[0].span_id);
    assert_eq!(span, ours.scope_spans[0].spans[0]);
    for request in receiver.received() {
        for group in request.request().resource_spans {
            assert_eq!(sorted(group.resource), sorted(ours.resource.clone()));
            assert_eq!(group.scope_spans[0].scope, ours.scope_spans[0].scope);
        }
    }
}

#[test]
fn over_http() {
    through("http/protobuf", "http", false);
}

#[test]
fn over_http_compressed() {
    through("http/protobuf", "http", true);
}

#[test]
fn over_grpc() {
    through("grpc", "grpc", false);
}

#[test]
fn over_grpc_compressed() {
    through("grpc", "grpc", true);
}
