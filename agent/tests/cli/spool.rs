//! `remora spool`, on a spool that an agent has left behind.

use super::remora;
use bytes::Bytes;
use remora::delivery::export::batch::{Batch, Signal};
use remora::delivery::queue::spool::disk::OsDisk;
use remora::delivery::queue::spool::{Limits, Spool};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::thread::JoinHandle;

/// Leaves two batches of 3 and 4 spans in a spool.
fn leave(dir: &Path) {
    let disk = Box::new(OsDisk::open(dir).unwrap());
    let mut spool = Spool::open(disk, Limits::new(16 << 20, true), 0).unwrap();
    for items in [3, 4] {
        let body = Bytes::from(vec![7; 100]);
        let signal = Signal::Traces;
        let batch = Batch {
            signal,
            items,
            body,
        };
        spool.append(&batch, false).unwrap();
    }
    spool.sync().unwrap();
}

/// Leaves a batch of another signal beside them.
fn leave_one(dir: &Path, signal: Signal, items: u64) {
    let disk = Box::new(OsDisk::open(&dir.join(signal.name())).unwrap());
    let mut spool = Spool::open(disk, Limits::new(1 << 20, true), 0).unwrap();
    let body = Bytes::from(vec![7; 100]);
    let batch = Batch {
        signal,
        items,
        body,
    };
    spool.append(&batch, false).unwrap();
    spool.sync().unwrap();
}

fn spool(action: &str, dir: &Path, url: &str) -> Output {
    let mut command = remora();
    command.args(["spool", action, "--dir"]).arg(dir);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    command.output().unwrap()
}

/// Answers `count` requests with `status`. Returns where.
fn gateway(count: usize, status: &'static str) -> String {
    listening(count, status).0
}

/// The same; at the end there are the heads of the requests, in lower case.
fn listening(count: usize, status: &'static str) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = std::thread::spawn(move || {
        let answer = |_| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap().to_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            stream.read_exact(&mut vec![0; length]).unwrap();
            let answer =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            head
        };
        (0..count).map(answer).collect()
    });
    (url, heads)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_is_there_is_shown_and_sent() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path());
    let status = text(&spool("status", dir.path(), "").stdout);
    assert!(status.contains(": 7 spans, "), "{status}");
    let verified = spool("verify", dir.path(), "");
    assert_eq!(verified.status.code(), Some(0));
    assert_eq!(
        text(&verified.stdout),
        "7 spans in 2 batches: all can be read\n"
    );
    let inspected = text(&spool("inspect", dir.path(), "").stdout);
    assert_eq!(inspected.lines().count(), 2, "{inspected}");

    let drained = spool("drain", dir.path(), &gateway(2, "200 OK"));
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    let said = text(&drained.stderr);
    assert!(
        said.contains("7 reported = 7 delivered + 0 dropped"),
        "{said}"
    );
    let status = text(&spool("status", dir.path(), "").stdout);
    assert!(status.contains(": 0 spans, "), "{status}");
}

#[test]
fn what_a_gateway_refuses_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path());
    let drained = spool("drain", dir.path(), &gateway(2, "400 Bad Request"));
    assert_eq!(drained.status.code(), Some(1), "{drained:?}");
    let said = text(&drained.stderr);
    assert!(
        said.contains("7 reported = 0 delivered + 7 dropped"),
        "{said}"
    );
}

#[test]
fn what_is_sent_has_the_headers_of_files_and_goes_through_the_proxy() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path());
    let files = tempfile::tempdir().unwrap();
    let (headers, token) = (files.path().join("headers"), files.path().join("token"));
    std::fs::write(&headers, "x-tenant: shop\n").unwrap();
    let drain = |proxy: &str| {
        let mut command = remora();
        command.args(["spool", "drain", "--dir"]).arg(dir.path());
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gateway.test");
        command.env("REMORA_OTLP_HEADERS_FILE", &headers);
        command.env("REMORA_OTLP_BEARER_TOKEN_FILE", &token);
        command.env("HTTP_PROXY", proxy).env_remove("NO_PROXY");
        command.env_remove("no_proxy").output().unwrap()
    };
    // Both batches in one request.
    let (proxy, heads) = listening(1, "200 OK");
    let missing = drain(&proxy);
    assert_eq!(missing.status.code(), Some(64), "{missing:?}");
    let said = text(&missing.stderr);
    assert!(
        said.contains("REMORA_OTLP_BEARER_TOKEN_FILE: cannot read"),
        "{said}"
    );
    std::fs::write(&token, "t0ken\n").unwrap();
    let unusable = drain("socks5://name:s3cret@127.0.0.1:1");
    assert_eq!(unusable.status.code(), Some(64), "{unusable:?}");
    let said = text(&unusable.stderr);
    assert!(
        said.contains("HTTP_PROXY: (hidden): not the URL of a proxy") && !said.contains("s3cret"),
        "{said}"
    );

    let drained = drain(&proxy.replace("//", "//name:password@"));
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    for head in heads.join().unwrap() {
        assert!(head.starts_with("post http://gateway.test/v1/traces http/1.1"));
        for line in [
            "authorization: bearer t0ken",
            "x-tenant: shop",
            "proxy-authorization: basic bmftztpwyxnzd29yza==",
        ] {
            assert!(head.lines().any(|it| it == line), "{line} in {head}");
        }
    }
}

#[test]
fn each_signal_is_shown_and_sent() {
    let dir = tempfile::tempdir().unwrap();
    leave(dir.path());
    leave_one(dir.path(), Signal::Metrics, 50);
    leave_one(dir.path(), Signal::Profiles, 2);
    let shown = text(&spool("status", dir.path(), "").stdout);
    for expected in [
        ": 7 spans, ",
        "/metrics: 50 data points, ",
        "/profiles: 2 profiles, ",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    let mut command = remora();
    command.args(["spool", "inspect", "-o", "json", "--dir"]);
    let inspected = text(&command.arg(dir.path()).output().unwrap().stdout);
    let lines: Vec<serde_json::Value> = (inspected.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let shown: Vec<_> = (lines.iter())
        .map(|line| (line["signal"].as_str().unwrap(), line["number"].as_u64()))
        .collect();
    let (first, second) = (Some(0), Some(1));
    assert_eq!(
        shown,
        [
            ("traces", first),
            ("traces", second),
            ("metrics", first),
            ("profiles", first)
        ]
    );
    assert_eq!(
        (&lines[0]["spans"], &lines[2]["data_points"]),
        (&3.into(), &50.into())
    );

    let (url, heads) = listening(3, "200 OK");
    let drained = spool("drain", dir.path(), &url);
    assert_eq!(drained.status.code(), Some(0), "{drained:?}");
    let said = text(&drained.stderr);
    for expected in [
        "remora: 7 reported = 7 delivered + 0 dropped\n",
        "remora: data points: 50 reported = 50 delivered + 0 dropped\n",
        "remora: profiles: 2 reported = 2 delivered + 0 dropped\n",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    let mut paths: Vec<String> = (heads.join().unwrap().iter())
        .map(|head| head.split(' ').nth(1).unwrap().to_owned())
        .collect();
    paths.sort();
    assert_eq!(
        paths,
        ["/v1/metrics", "/v1/traces", "/v1development/profiles"]
    );
}
