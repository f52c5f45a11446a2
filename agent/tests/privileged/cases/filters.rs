//! Filters let through exactly what they say and count the rest.

use crate::clients::curl;
use crate::harness::process::{output, remora};
use crate::harness::report::Report;
use crate::harness::request::{Request, Side};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;
use crate::servers::programs;

/// Reads what `remora replay FILE -o json FILTERS` prints.
fn replay(file: &str, filters: &[&str]) -> Report {
    let output = output(remora().args(["replay", file, "-o", "json"]).args(filters));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{filters:?}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    Report::new(lines, &errors)
}

/// One recording of various requests, and every filter over it.
#[test]
fn every_filter() {
    require_privilege!();
    let (nginx, node) = (Nginx::start(), programs::node());
    let file = nginx.server.dir.path().join("recording");
    let file = file.to_str().unwrap();
    let trace = Trace::start(&["-w", file]);
    let mut pid = 0;
    for (port, path) in [
        (nginx.port(), "/hello/1"),
        (nginx.port(), "/hello/2"),
        (nginx.port(), "/missing/1"),
        (nginx.port(), "/failing/1"),
        (nginx.port(), "/nothing/1"),
        (node.port, "/slow/1"),
        (node.port, "/failing/2"),
        (node.port, "/missing/x/y"),
    ] {
        pid = curl::one(&[], &format!("http://127.0.0.1:{port}{path}")).1;
        let purge = format!("http://127.0.0.1:{port}/hello/purged");
        curl::one(&["-X", "PURGE"], &purge);
    }
    trace.collect_all(&[nginx.port(), node.port], 32).lossless();

    let all = replay(file, &[]);
    assert_eq!(all.summary.filtered, 0);
    all.both(nginx.port(), 10);
    all.both(node.port, 6);
    let (nginx_port, pid_text) = (nginx.port().to_string(), pid.to_string());
    let node_pid = node.process.pid().to_string();
    let port = nginx.port();
    type Wanted<'a> = Box<dyn Fn(&Request) -> bool + 'a>;
    let status = |range: std::ops::RangeInclusive<u16>| -> Wanted<'_> {
        Box::new(move |r| r.status.is_some_and(|status| range.contains(&status)))
    };
    let cases: Vec<(Vec<&str>, Wanted<'_>)> = vec![
        (vec!["--port", &nginx_port], Box::new(|r| r.to_port(port))),
        (
            vec!["--side", "server"],
            Box::new(|r| r.side == Side::Server),
        ),
        (
            vec!["--side", "client"],
            Box::new(|r| r.side == Side::Client),
        ),
        (vec!["--status", "404"], status(404..=404)),
        (vec!["--status", "5xx"], status(500..=599)),
        (vec!["--status", "204-404"], status(204..=404)),
        (
            vec!["--status", "404", "--status", "5xx"],
            Box::new(|r| matches!(r.status, Some(404 | 500..=599))),
        ),
        (
            vec!["--not", "--status", "2xx"],
            Box::new(|r| !matches!(r.status, Some(200..=299))),
        ),
        (
            vec!["--not", "--port", &nginx_port, "--side", "server"],
            Box::new(|r| !r.to_port(port) && r.side == Side::Server),
        ),
        (
            vec!["--method", "PURGE"],
            Box::new(|r| r.method.as_deref() == Some("PURGE")),
        ),
        (
            vec!["--path", "/hello/*"],
            Box::new(|r| r.path().starts_with("/hello/")),
        ),
        (
            vec!["--path", "/missing/1"],
            Box::new(|r| r.path() == "/missing/1"),
        ),
        (vec!["--comm", "curl"], Box::new(|r| r.comm == "curl")),
        (
            vec!["--comm", "node", "--comm", "nginx"],
            Box::new(|r| r.comm == "node" || r.comm == "nginx"),
        ),
        (vec!["--pid", &pid_text], Box::new(|r| r.pid == pid)),
        (
            vec!["--pid", &node_pid, "--status", "503"],
            Box::new(|r| r.pid == node.process.pid() && r.status == Some(503)),
        ),
        (
            vec!["--min-duration", "100ms"],
            Box::new(|r| r.duration_ns >= 100_000_000),
        ),
        (
            vec!["--protocol", "http/1.1"],
            Box::new(|r| r.protocol == "http/1.1"),
        ),
        (vec!["--protocol", "http/1.0"], Box::new(|_| false)),
    ];
    for (filters, wanted) in cases {
        let report = replay(file, &filters);
        let expected: Vec<_> = all.requests.iter().filter(|r| wanted(r)).cloned().collect();
        assert_eq!(report.requests, expected, "{filters:?}");
        let filtered = (all.requests.len() - expected.len()) as u64;
        assert_eq!(report.summary.filtered, filtered, "{filters:?}");
        assert_eq!(report.summary.seen, all.summary.seen, "{filters:?}");
    }
}

#[test]
fn live() {
    require_privilege!();
    let nginx = Nginx::start();
    let port = nginx.port().to_string();
    // The kernel leaves out everything else on the host, so that the ledger is ours.
    let only = format!("port={port}");
    let trace = Trace::start_with(
        &["--port", &port, "--side", "server", "--status", "4xx"],
        &[("REMORA_INCLUDE", &only)],
    );
    for number in 0..5 {
        for path in ["hello", "missing", "failing"] {
            curl::one(&[], &format!("http://127.0.0.1:{port}/{path}/{number}"));
        }
    }
    let report = trace.collect(nginx.port(), 5).lossless();
    assert_eq!(report.requests.len(), 5);
    for (number, span) in report.requests.iter().enumerate() {
        assert_eq!((span.side, span.status), (Side::Server, Some(404)));
        assert_eq!(span.path(), format!("/missing/{number}"));
    }
    assert_eq!((report.summary.seen, report.summary.filtered), (30, 25));
}

#[test]
fn a_command_is_run_and_traced() {
    require_privilege!();
    let nginx = Nginx::start();
    let url = format!("http://127.0.0.1:{}/hello/command", nginx.port());
    let trace = output(
        remora()
            .args(["trace", "-o", "json", "--side", "client"])
            .args(["--path", "/hello/command"])
            .args(["--", "curl", "-s", "-o", "/dev/null", &url]),
    );
    assert!(trace.status.success(), "{trace:?}");
    let text = String::from_utf8(trace.stdout).unwrap();
    let report = Report::new(
        text.lines().map(|line| serde_json::from_str(line).unwrap()),
        "",
    );
    assert_eq!(report.client(nginx.port()).len(), 1, "{report:?}");
}
