//! A ring that overflows in the middle of HTTP/2 streams: what is lost is counted, what is
//! shown is right.

use std::process::Stdio;
use std::time::Duration;

use super::itself::gateway;
use super::scraping::{scrape, value};
use crate::clients::http2::h2load;
use crate::harness::expect::Planned;
use crate::harness::http2::{await_end, get, ok, opening, settings};
use crate::harness::process::{Spawned, free_port, remora};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::request::Request;
use crate::harness::trace::Trace;
use crate::harness::{require_privilege, wait_until};
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

/// Waits until the agent says that so many requests are under way, and returns what else it
/// says then.
fn wait_in_flight(listen: u16, count: u64) -> String {
    let line = format!("\nremora_requests_in_flight {count}\n");
    wait_until(line.trim(), || {
        std::thread::sleep(Duration::from_millis(100));
        scrape(listen).filter(|text| text.contains(&line))
    })
}

/// The kernel could not tell of the end of two connections with a request under way: the
/// running agent finds out by itself, and counts those requests as lost.
#[test]
fn ends_that_were_lost_are_found() {
    require_privilege!(alone);
    const MADE: usize = 20_000;
    let flooded = nghttpd();
    let of_http2 = RawServer::start(|mut peer| {
        peer.take(opening().len());
        peer.take(get(1, "/answered").len() + get(3, "/held").len());
        peer.send([settings(), ok(1, b"fine")].concat());
        peer.rest_or_reset();
    });
    let of_http1 = RawServer::start(|mut peer| {
        peer.head();
        peer.rest_or_reset();
    });
    let (gateway, listen) = (gateway(), free_port());
    let ports = [flooded.port, of_http1.port, of_http2.port];
    let mut agent = Spawned::with_streams(
        remora()
            .args(["run", "--listen", &format!("127.0.0.1:{listen}")])
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{}", gateway.port),
            )
            .env("OTEL_METRICS_EXPORTER", "prometheus")
            .env(SMALLEST.0, SMALLEST.1)
            .env(
                "REMORA_INCLUDE",
                ports.map(|port| format!("port={port}")).join(","),
            )
            .stdin(Stdio::null()),
    );
    wait_until("the agent captures", || {
        scrape(listen).filter(|text| text.contains("remora_requests_seen_total"))
    });
    let mut http2 = Raw::connect(of_http2.port);
    http2.send(opening());
    http2.send([get(1, "/answered"), get(3, "/held")].concat());
    http2.take([settings(), ok(1, b"fine")].concat().len());
    let mut http1 = Raw::connect(of_http1.port);
    http1.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
    // Both sides of either.
    wait_in_flight(listen, 4);
    agent.signal(libc::SIGSTOP);
    let url = format!("http://127.0.0.1:{}/hello/lost", flooded.port);
    h2load(&url, MADE, 1, 10);
    drop((http1, http2));
    of_http1.join();
    of_http2.join();
    agent.signal(libc::SIGCONT);
    let told = wait_in_flight(listen, 0);
    let (seen, lost) = (
        value(&told, "remora_requests_seen_total"),
        value(&told, "remora_requests_lost_total{reason=\"ring_full\"}"),
    );
    eprintln!("{seen} seen, {lost} lost");
    assert_eq!(seen, (2 * MADE + 6) as f64, "{told}");
    let emitted = value(&told, "remora_requests_emitted_total");
    assert_eq!(emitted + lost, seen, "{told}");
    assert!(lost >= 4.0, "{told}");
    agent.signal(libc::SIGTERM);
    assert!(agent.wait().success());
}
