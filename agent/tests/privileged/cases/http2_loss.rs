//! A ring that overflows in the middle of HTTP/2 streams: what is lost is counted, what is
//! shown is right.

use std::time::Duration;

use crate::clients::http2::h2load;
use crate::harness::expect::Planned;
use crate::harness::http2::{await_end, get, opening};
use crate::harness::raw::Raw;
use crate::harness::request::Request;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::{Server, http2 as servers};

const SMALLEST: (&str, &str) = ("REMORA_RING_BYTES", "65536");

fn nghttpd() -> Server {
    let file = |path: &str| Planned {
        method: "GET",
        path: path.into(),
        body: 0,
    };
    servers::nghttpd(&[&[file("/hello/lost"), file("/hello/raw")]])
}

/// The agent sleeps while a ring of the smallest size overflows.
#[test]
fn lost_records_are_counted() {
    require_privilege!(alone);
    const MADE: usize = 20_000;
    let server = nghttpd();
    let url = format!("http://127.0.0.1:{}/hello/lost", server.port);
    // The kernel leaves out everything else on the host, so that the ledger is ours.
    let only = format!("port={}", server.port);
    for (connections, streams) in [(1, 1), (1, 100), (8, 10)] {
        let trace = Trace::start_with(&[], &[SMALLEST, ("REMORA_INCLUDE", &only)]);
        trace.signal(libc::SIGSTOP);
        h2load(&url, MADE, connections, streams);
        trace.signal(libc::SIGCONT);
        std::thread::sleep(Duration::from_millis(500));
        let report = trace.stop();
        let summary = &report.summary;
        eprintln!("{connections} connections, {streams} streams: {summary:?}");
        assert!(
            summary.lost() > 0,
            "the ring was not small enough: {summary:?}"
        );
        // What was made was seen, and is here or counted.
        assert_eq!(summary.seen, 2 * MADE as u64, "{summary:?}");
        for span in &report.requests {
            assert_not_wrong(span, "/hello/lost");
        }
    }
}

/// Asserts that a span of a GET says nothing that is not so.
fn assert_not_wrong(span: &Request, path: &str) {
    assert_eq!(span.protocol, "http/2", "{span:?}");
    assert!(
        span.method.as_deref().is_none_or(|method| method == "GET"),
        "{span:?}"
    );
    assert!(
        span.path.as_deref().is_none_or(|seen| seen == path),
        "{span:?}"
    );
    assert!(span.status.is_none_or(|status| status == 200), "{span:?}");
    assert_eq!(span.error, None, "{span:?}");
    let known = span.method.is_some() && span.path.is_some() && span.status.is_some();
    assert!(known || !span.incomplete.is_empty(), "{span:?}");
    let body = (span.request_body_bytes, span.response_body_bytes);
    assert!(
        body == (Some(0), Some(6)) || !span.incomplete.is_empty(),
        "{span:?}"
    );
}

/// A connection on which records were lost goes on, and what comes after is right.
#[test]
fn recovers_from_loss() {
    require_privilege!(alone);
    let server = nghttpd();
    let url = format!("http://127.0.0.1:{}/hello/lost", server.port);
    let trace = Trace::start_with(&[], &[SMALLEST]);
    let mut client = Raw::connect(server.port);
    client.send(opening());
    let mut stream = 1;
    let mut ask = || {
        client.send(get(stream, "/hello/raw"));
        assert_eq!(await_end(&mut client), stream);
        stream += 2;
    };
    ask();
    trace.wait_for(2, |span| span.path() == "/hello/raw");
    trace.signal(libc::SIGSTOP);
    h2load(&url, 20_000, 2, 10);
    for _ in 0..10 {
        ask();
    }
    trace.signal(libc::SIGCONT);
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..50 {
        ask();
    }
    // Its own literals tell the path, and the connection is open yet.
    let known = |span: &Request| span.path() == "/hello/raw";
    trace.wait_for(102, known);
    let report = trace.stop();
    assert!(report.summary.lost() > 0, "{:?}", report.summary);
    let raw: Vec<_> = report.requests.iter().filter(|span| known(span)).collect();
    assert!((102..=122).contains(&raw.len()), "{}: {raw:#?}", raw.len());
    for span in &report.requests {
        let path = if known(span) {
            "/hello/raw"
        } else {
            "/hello/lost"
        };
        assert_not_wrong(span, path);
    }
    drop(client);
}
