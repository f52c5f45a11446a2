//! How a trace ends: by signals, limits, or a reader that leaves.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::clients::curl;
use crate::harness::process::{Spawned, output, remora};
use crate::harness::report::Report;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::nginx::Nginx;

fn report(text: &str) -> Report {
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    Report::new(lines, "")
}

#[test]
fn by_sigterm() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    curl::one(&[], &format!("http://127.0.0.1:{}/hello/x", nginx.port()));
    trace.wait_for(2, |request| request.to_port(nginx.port()));
    // The summary is the last line here as well.
    trace.stop_with(libc::SIGTERM).lossless().pair(nginx.port());
}

/// What the kernel has seen is shown, however short the time before the signal.
#[test]
fn nothing_is_left_in_the_ring() {
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    for number in 0..50 {
        curl::one(
            &[],
            &format!("http://127.0.0.1:{}/hello/{number}", nginx.port()),
        );
    }
    trace.stop().lossless().both(nginx.port(), 50);
}

#[test]
fn by_count() {
    require_privilege!();
    let nginx = Nginx::start();
    let port = nginx.port().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut trace = Spawned::with_streams(
        remora()
            .args([
                "trace", "-o", "json", "-c", "3", "--side", "server", "--port", &port,
            ])
            .stdout(file.reopen().unwrap())
            .stderr(Stdio::piped()),
    );
    let stderr = trace.child().stderr.take().unwrap();
    assert!(
        BufReader::new(stderr).lines().next().is_some(),
        "the agent is ready"
    );
    for number in 0..6 {
        curl::one(&[], &format!("http://127.0.0.1:{port}/hello/{number}"));
    }
    assert!(trace.wait().success());
    let report = report(&fs::read_to_string(file.path()).unwrap());
    assert_eq!(report.server(nginx.port()).len(), 3);
    assert_eq!(report.summary.emitted, 3);
}

#[test]
fn by_duration() {
    require_privilege!();
    let trace = output(remora().args(["trace", "-o", "json", "--duration", "300ms"]));
    assert!(trace.status.success(), "{trace:?}");
    report(&String::from_utf8(trace.stdout).unwrap());
}

/// A reader that has seen enough is no failure, and no noise.
#[test]
fn by_a_broken_pipe() {
    require_privilege!();
    let nginx = Nginx::start();
    let mut trace = Spawned::with_streams(
        remora()
            .args(["trace", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut errors = BufReader::new(trace.child().stderr.take().unwrap()).lines();
    assert!(errors.next().is_some(), "the agent is ready");
    drop(trace.child().stdout.take());
    let url = format!("http://127.0.0.1:{}/hello/x", nginx.port());
    let status = crate::harness::wait_until("the agent's end", || {
        curl::one(&[], &url);
        trace.child().try_wait().unwrap()
    });
    assert!(status.success(), "{status}");
    assert!(errors.next().is_none(), "nothing to complain about");
}
