//! What is recorded is what was seen, and lines come at once.

use std::fs;
use std::time::{Duration, Instant};

use crate::clients::{curl, wrk};
use crate::harness::process::{Spawned, output, remora};
use crate::harness::raw::{Raw, RawServer};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::harness::wait_until;
use crate::servers::nginx::Nginx;
use crate::servers::programs;

/// The output of a live run and of the replay of its recording are the same lines in
/// the same order, the summary included.
#[test]
fn replay_is_identical() {
    require_privilege!();
    let (nginx, node) = (Nginx::start(), programs::node());
    let dir = nginx.server.dir.path();
    let (recording, live) = (dir.join("recording"), dir.join("live"));
    let mut trace = Spawned::with_streams(
        remora()
            .args(["trace", "-o", "json", "-w"])
            .arg(&recording)
            .stdout(fs::File::create(&live).unwrap())
            .stderr(fs::File::create(dir.join("errors")).unwrap()),
    );
    wait_until("the agent to be ready", || {
        let errors = fs::read_to_string(dir.join("errors")).unwrap();
        errors.contains("remora: tracing").then_some(())
    });
    let base = format!("http://127.0.0.1:{}", nginx.port());
    wrk::load(&format!("{base}/hello/load"), 4, 1, &[]);
    curl::one(&["-d", "some body"], &format!("{base}/upload/x"));
    curl::one(
        &["-H", &format!("A: {}", "x".repeat(4000))],
        &format!("{base}/hello/long"),
    );
    curl::one(&[], &format!("http://127.0.0.1:{}/chunked/x", node.port));
    let aborted = format!("http://127.0.0.1:{}/slow/x", node.port);
    curl::one(&["--max-time", "0.05"], &aborted);
    let broken = RawServer::start(|mut peer| {
        peer.head();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    });
    Raw::connect(broken.port)
        .send("GET /broken HTTP/1.1\r\n\r\n")
        .rest();
    std::thread::sleep(Duration::from_millis(300));
    trace.signal(libc::SIGINT);
    assert!(trace.wait().success());

    let replayed = output(remora().args(["replay", "-o", "json"]).arg(&recording));
    assert!(replayed.status.success(), "{replayed:?}");
    let (live, replayed) = (fs::read(&live).unwrap(), replayed.stdout);
    let lines = |bytes: &[u8]| -> Vec<String> {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    };
    for (number, (live, replayed)) in lines(&live).iter().zip(lines(&replayed)).enumerate() {
        assert_eq!(*live, replayed, "line {number}");
    }
    assert!(
        live == replayed,
        "{} and {} bytes",
        live.len(),
        replayed.len()
    );
    assert!(lines(&live).len() > 100);
}

/// What was recorded is in the file about a second later, also if the agent is killed.
#[test]
fn recordings_are_flushed() {
    require_privilege!();
    let nginx = Nginx::start();
    let dir = nginx.server.dir.path();
    let (recording, log) = (dir.join("recording"), dir.join("log"));
    let mut trace = Spawned::logged(
        remora()
            .args(["trace", "-o", "json", "-w"])
            .arg(&recording)
            // What other tests do would be recorded as well, and be replayed at every look.
            .env("REMORA_INCLUDE", format!("port={}", nginx.port())),
        &log,
    );
    wait_until("the agent to be ready", || {
        let said = fs::read_to_string(&log).unwrap();
        said.contains("remora: tracing").then_some(())
    });
    let url = format!("http://127.0.0.1:{}/hello/flushed", nginx.port());
    curl::one(&[], &url);
    let answered = Instant::now();
    let lines = || -> usize {
        let replayed = output(remora().args(["replay", "-o", "json"]).arg(&recording));
        let text = String::from_utf8_lossy(&replayed.stdout);
        text.matches("\"path\":\"/hello/flushed\"").count()
    };
    wait_until("the recorded request", || (lines() == 2).then_some(()));
    let took = answered.elapsed();
    // A second is meant; a busy host may take the processor away.
    assert!(took < Duration::from_secs(4), "{took:?}");
    trace.signal(libc::SIGKILL);
    assert!(!trace.wait().success());
    assert_eq!(lines(), 2);
}

/// At low rates a line is there soon after the response.
#[test]
fn lines_come_promptly() {
    require_privilege!(alone);
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    let mut client = Raw::connect(nginx.port());
    let mut delays = Vec::new();
    for number in 0..30 {
        let path = format!("/hello/{number}");
        client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        client.answer();
        let answered = Instant::now();
        let arrived = trace.arrival(|request| request.path() == path);
        delays.push(arrived.saturating_duration_since(answered));
        std::thread::sleep(Duration::from_millis(20));
    }
    delays.sort_unstable();
    let (median, worst) = (delays[15], delays[29]);
    eprintln!("from response to line: median {median:?}, worst {worst:?}");
    // 100 ms is promised for an idle host; a busy one may take the processor away.
    assert!(median < Duration::from_millis(100), "{delays:?}");
    assert!(worst < Duration::from_secs(1), "{delays:?}");
    trace
        .collect(nginx.port(), 60)
        .lossless()
        .both(nginx.port(), 30);
}
