//! Who a span belongs to: the trace of the request and the name of the service.

use crate::clients::curl;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::{Server, programs};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[test]
fn traceparent_is_honoured() {
    require_privilege!();
    let nginx = Nginx::start();
    let valid = format!("00-{TRACE}-{PARENT}-01");
    // A later version may say more behind the flags.
    let later = format!("cc-{TRACE}-{PARENT}-00-what-the-future-holds");
    let invalid = [
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        format!("00-{TRACE}-{}-01", "0".repeat(16)),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{PARENT}-01-more"),
        format!("00-{TRACE}-{PARENT}"),
        String::from("00"),
    ];
    let trace = Trace::start(&[]);
    let ask = |path: &str, traceparent: &str| {
        let url = format!("http://127.0.0.1:{}/hello/{path}", nginx.port());
        curl::one(&["-H", &format!("traceparent: {traceparent}")], &url);
    };
    ask("valid", &valid);
    ask("valid", &later);
    for value in &invalid {
        ask("invalid", value);
    }
    let made = 2 + invalid.len();
    let report = trace.collect(nginx.port(), 2 * made).lossless();
    let (at_server, at_client) = report.both(nginx.port(), made);
    for span in at_server.into_iter().chain(at_client) {
        let parent = span.parent_span_id.as_deref();
        if span.path() == "/hello/valid" {
            assert_eq!(
                (span.trace_id.as_str(), parent),
                (TRACE, Some(PARENT)),
                "{span:?}"
            );
            assert_ne!(span.span_id, PARENT);
        } else {
            assert!(parent.is_none() && span.trace_id != TRACE, "{span:?}");
        }
    }
}

/// The service each server is reported as.
fn service(server: &Server, path: &str) -> String {
    let trace = Trace::start(&[]);
    let url = format!("http://127.0.0.1:{}{path}", server.port);
    assert_eq!(curl::one(&["-A", "the agent/1.0"], &url).0.status, 200);
    let report = trace.collect(server.port, 2).lossless();
    let (at_server, at_client) = report.pair(server.port);
    assert_eq!(at_client.service, "curl");
    assert_eq!(at_client.user_agent.as_deref(), Some("the agent/1.0"));
    assert_eq!(at_server.user_agent.as_deref(), Some("the agent/1.0"));
    at_server.service.clone()
}

#[test]
fn services_are_named_by_what_they_run() {
    require_privilege!();
    assert_eq!(service(&Nginx::start().server, "/hello/x"), "nginx");
    assert_eq!(service(&programs::gunicorn("sync", &[]), "/hello/x"), "app");
    assert_eq!(service(&programs::uvicorn(), "/hello/x"), "shop");
    assert_eq!(service(&programs::node(), "/hello/x"), "storefront");
    assert_eq!(
        service(&programs::python("HTTP/1.1"), "/hello/x"),
        "http_server"
    );
    assert_eq!(service(&programs::go(), "/hello/x"), "server");
    assert_eq!(service(&programs::java(), "/hello/x"), "HelloServer");
}

#[test]
fn services_name_themselves() {
    require_privilege!();
    let port = crate::harness::process::free_port();
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("server.js");
    std::fs::write(&script, include_str!("../programs/server.js")).unwrap();
    let process = crate::harness::process::Spawned::logged(
        std::process::Command::new("node")
            .arg(script)
            .arg(port.to_string())
            .env("OTEL_SERVICE_NAME", "checkout"),
        &dir.path().join("log"),
    );
    let mut server = Server { port, process, dir };
    server.process.wait_for_port(port);
    assert_eq!(service(&server, "/hello/x"), "checkout");
}
