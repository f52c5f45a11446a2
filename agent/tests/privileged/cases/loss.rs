//! What is lost is counted, to the unit.

use std::time::Duration;

use crate::clients::wrk;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;

/// The agent sleeps while a ring of the smallest size overflows.
#[test]
fn lost_records_are_counted() {
    require_privilege!(alone);
    const MADE: usize = 2000;
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/lost", nginx.port());
    // The kernel leaves out everything else on the host, so that the ledger is ours.
    let only = format!("port={}", nginx.port());
    let settings = [("REMORA_RING_BYTES", "65536"), ("REMORA_INCLUDE", &only)];
    let trace = Trace::start_with(&[], &settings);
    trace.signal(libc::SIGSTOP);
    let load = wrk::exactly(&url, MADE, nginx.server.dir.path());
    assert_eq!(load.requests, MADE);
    trace.signal(libc::SIGCONT);
    std::thread::sleep(Duration::from_millis(500));
    let report = trace.stop();
    let (server, client) = (report.server(nginx.port()), report.client(nginx.port()));
    let summary = &report.summary;
    eprintln!("{summary:?}");
    assert!(
        summary.lost() > 0,
        "the ring was not small enough: {summary:?}"
    );
    assert!(!server.is_empty() && !client.is_empty());
    // What was made was seen, and is here or counted.
    assert_eq!(summary.seen, 2 * MADE as u64, "{summary:?}");
    assert_eq!(server.len() + client.len(), report.requests.len());
    for span in &report.requests {
        assert_eq!(span.facts(), ("GET", "/hello/lost", 200, 0, 6));
    }
}

/// After a loss everything is well again, on the same connection.
#[test]
fn recovers_from_loss() {
    require_privilege!(alone);
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/recovers", nginx.port());
    let trace = Trace::start_with(&[], &[("REMORA_RING_BYTES", "65536")]);
    let mut client = crate::harness::raw::Raw::connect(nginx.port());
    let mut ask = |path: &str| {
        client.send(format!("GET /hello/{path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_eq!(client.answer().status, 200);
    };
    ask("before");
    std::thread::sleep(Duration::from_millis(200));
    trace.signal(libc::SIGSTOP);
    wrk::exactly(&url, 2000, nginx.server.dir.path());
    ask("within");
    trace.signal(libc::SIGCONT);
    std::thread::sleep(Duration::from_millis(500));
    for _ in 0..20 {
        ask("after");
    }
    let after = |request: &crate::harness::request::Request| request.path() == "/hello/after";
    trace.wait_for(40, after);
    let report = trace.stop();
    assert!(report.summary.lost() > 0, "{:?}", report.summary);
    assert_eq!(report.requests.iter().filter(|r| after(r)).count(), 40);
    for span in report.requests.iter().filter(|r| after(r)) {
        assert_eq!(
            (span.status, span.incomplete.len()),
            (Some(200), 0),
            "{span:?}"
        );
    }
}
