//! The agent does not trace itself, nor what it sends to a gateway on the same host.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use crate::clients::curl;
use crate::harness::process::{Spawned, remora};
use crate::harness::require_privilege;
use crate::harness::{tools, wait_until};
use crate::servers::Server;
use crate::servers::nginx::Nginx;

/// A gateway that keeps what it gets.
pub(super) fn gateway() -> Server {
    Server::start(|port, dir| {
        let script = dir.join("receiver.py");
        fs::write(&script, include_str!("../programs/receiver.py")).unwrap();
        let mut python = Command::new(tools::python());
        python.arg(script).arg(port.to_string()).arg(dir);
        python
    })
}

/// Requests received so far, decoded.
pub(super) fn received(dir: &Path) -> Vec<ExportTraceServiceRequest> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "otlp"))
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| ExportTraceServiceRequest::decode(&*fs::read(file).unwrap()).unwrap())
        .collect()
}

pub(super) fn spans(requests: &[ExportTraceServiceRequest]) -> Vec<&Span> {
    requests
        .iter()
        .flat_map(|request| &request.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect()
}

fn attribute<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    let attribute = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key)?;
    attribute.value.as_ref()?.value.as_ref()
}

pub(super) fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    match attribute(span, key) {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

#[test]
fn no_feedback() {
    require_privilege!();
    let (gateway, nginx) = (gateway(), Nginx::start());
    let mut agent = Spawned::with_streams(
        remora()
            .arg("run")
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", gateway.port),
            )
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_TRACES_SAMPLER", "always_on")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .stdin(Stdio::null()),
    );
    let url = format!("http://127.0.0.1:{}/hello/run", nginx.port());
    let dir = gateway.dir.path();
    // The agent is at work when its first spans have arrived.
    wait_until("the first spans", || {
        curl::one(&[], &url);
        std::thread::sleep(Duration::from_millis(100));
        (!spans(&received(dir)).is_empty()).then_some(())
    });
    for _ in 0..10 {
        curl::one(&[], &format!("{url}-counted"));
    }
    // With a loop, each delivery would be a request to report, over and over.
    std::thread::sleep(Duration::from_secs(3));
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success(), "the agent flushes and ends well");
    let received = received(dir);
    let spans = spans(&received);
    let counted = spans
        .iter()
        .filter(|span| text(span, "url.path").is_some_and(|path| path == "/hello/run-counted"))
        .count();
    let asked = spans
        .iter()
        .filter(|span| text(span, "url.full").is_some_and(|full| full == format!("{url}-counted")))
        .count();
    assert_eq!((counted, asked), (10, 10), "{spans:#?}");
    for span in spans {
        let port = attribute(span, "server.port");
        assert!(port.is_some(), "{span:#?}");
        assert_ne!(
            port,
            Some(&Value::IntValue(gateway.port.into())),
            "{span:#?}"
        );
    }
}

/// The kernel programs do not know whose a Unix socket's other end is.
#[test]
fn no_feedback_over_a_unix_socket() {
    require_privilege!(alone);
    let (gateway, nginx) = (gateway(), Nginx::start());
    let dir = gateway.dir.path();
    let log = dir.join("agent.log");
    let mut agent = Spawned::logged(
        remora()
            .arg("run")
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("unix://{}", dir.join("otlp.sock").display()),
            )
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
            .env("OTEL_BSP_SCHEDULE_DELAY", "200")
            .env("OTEL_TRACES_SAMPLER", "always_on")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "1000")
            .stdin(Stdio::null()),
        &log,
    );
    let url = format!("http://127.0.0.1:{}/hello/unix", nginx.port());
    wait_until("the first spans", || {
        curl::one(&[], &url);
        std::thread::sleep(Duration::from_millis(100));
        (!spans(&received(dir)).is_empty()).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success(), "the agent flushes and ends well");
    let received = received(dir);
    let exports =
        |span: &&&Span| text(span, "url.path").is_some_and(|path| path.starts_with("/v1/"));
    let fed_back: Vec<_> = spans(&received).into_iter().collect();
    let fed_back: Vec<_> = fed_back.iter().filter(exports).collect();
    assert!(fed_back.is_empty(), "{fed_back:#?}");
    // They were seen, and are accounted for: seen = reported + filtered + lost.
    let said = fs::read_to_string(&log).unwrap();
    let accounts = said.lines().find(|line| line.contains(" seen = ")).unwrap();
    let number = |before: &str| -> u64 {
        let words: Vec<_> = accounts.split_whitespace().collect();
        let at = words.iter().position(|word| *word == before).unwrap();
        words[at - 1].parse().unwrap()
    };
    assert!(number("filtered") >= 3, "{accounts}");
    assert_eq!(
        number("seen"),
        number("reported") + number("filtered") + number("lost"),
        "{accounts}"
    );
}
