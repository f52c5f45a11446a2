//! `remora run`: where spans go, and where it listens.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use crate::clients::curl;
use crate::harness::process::{Spawned, output, remora};
use crate::harness::{require_privilege, wait_until};
use crate::servers::nginx::Nginx;

/// What the agent says of where it listens.
fn listening(log: &Path) -> String {
    wait_until("the agent to listen", || {
        let text = fs::read_to_string(log).unwrap();
        let (_, rest) = text.split_once("remora: listening on ")?;
        rest.split_once('\n').map(|(address, _)| address.to_owned())
    })
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Kinds of the spans in a file of OTLP JSON lines whose path or URL ends so, sorted.
fn kinds(file: &Path, end: &str) -> Vec<i32> {
    let text = fs::read_to_string(file).unwrap();
    let requests = text
        .lines()
        .map(|line| serde_json::from_str::<ExportTraceServiceRequest>(line).unwrap());
    let spans = requests
        .flat_map(|request| request.resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans);
    let mut kinds: Vec<i32> = spans
        .filter(|span| {
            span.attributes.iter().any(|attribute| {
                let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
                ["url.path", "url.full"].contains(&attribute.key.as_str())
                    && matches!(value, Some(Value::StringValue(text)) if text.ends_with(end))
            })
        })
        .map(|span| span.kind)
        .collect();
    kinds.sort_unstable();
    kinds
}

/// Every request is in the file, on both sides, and the agent tells of itself meanwhile.
#[test]
fn spans_go_to_a_file() {
    require_privilege!();
    let nginx = Nginx::start();
    let dir = nginx.server.dir.path();
    let (file, log) = (dir.join("spans.jsonl"), dir.join("run.log"));
    let mut agent = Spawned::logged(
        remora()
            .args(["run", "--listen", "127.0.0.1:0", "--export-file"])
            .arg(&file),
        &log,
    );
    let address = listening(&log);
    assert!(get(&address, "/readyz").starts_with("HTTP/1.1 200 "));
    for _ in 0..5 {
        let url = format!("http://127.0.0.1:{}/hello/into-a-file", nginx.port());
        curl::one(&[], &url);
    }
    let metrics = get(&address, "/metrics");
    for name in [
        "remora_requests_seen_total ",
        "remora_programs_missed_total ",
    ] {
        // The kernel tells of programs it left out since 5.12.
        assert!(metrics.contains(name), "{name} is not in {metrics}");
    }
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
    let said = fs::read_to_string(&log).unwrap();
    assert!(said.contains(" delivered + 0 dropped"), "{said}");
    // Five of servers (2) and five of clients (3).
    let expected = [[2; 5], [3; 5]].concat();
    assert_eq!(kinds(&file, "/hello/into-a-file"), expected, "{said}");
}

/// Another program has the port: one message says so, and how to go on.
#[test]
fn an_address_that_is_taken() {
    require_privilege!();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let refused = output(
        remora()
            .args(["run", "--listen", &address, "--export-file"])
            .arg(dir.path().join("spans")),
    );
    let message = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{message}");
    let expected = format!("remora: cannot listen on {address}: Address already in use");
    assert!(message.starts_with(&expected), "{message}");
    assert!(message.contains("--listen"), "{message}");
    assert!(message.lines().count() <= 3, "one message: {message}");
}
