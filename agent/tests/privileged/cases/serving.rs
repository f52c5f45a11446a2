//! Samples of CPU time know the request that their thread served, or that they do not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::process::{Spawned, free_port, output, remora};
use crate::harness::{require_privilege, wait_until};

/// Name of the server: at most 15 letters, and no other process has it.
const SERVER: &str = "remora-endpoint";

/// Starts the server. Its name is its own, whatever other tests run.
fn server(dir: &Path, mode: &str) -> (Spawned, u16) {
    let (source, program) = (dir.join("serving.c"), dir.join(SERVER));
    fs::write(&source, include_str!("serving.c")).unwrap();
    let made = output(
        Command::new("cc")
            .args(["-O2", "-pthread", "-o"])
            .arg(&program)
            .arg(source),
    );
    assert!(made.status.success(), "{made:?}");
    let port = free_port();
    let mut command = Command::new(program);
    let log = dir.join("server.log");
    let mut server = Spawned::logged(command.args([&port.to_string(), mode]), &log);
    server.wait_for_port(port);
    (server, port)
}

/// One request on a connection; what the body says.
fn ask(stream: &mut TcpStream, path: &str) -> String {
    // In one piece: the server reads no more than once.
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let read = stream.read(&mut buffer).unwrap();
        got.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&got);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (_, length) = head.split_once("Content-Length: ").unwrap();
            if body.len() >= length.parse().unwrap() {
                return body.to_owned();
            }
        }
        assert_ne!(read, 0, "{text}");
    }
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect(("127.0.0.1", port)).unwrap()
}

/// Three clients at a time, each of which asks for both endpoints in turn.
fn load(port: u16, rounds: usize, keep: bool) {
    let clients = (0..3).map(|_| {
        std::thread::spawn(move || {
            let mut kept = connect(port);
            for _ in 0..rounds {
                for path in ["/cheap", "/expensive", "/cheap"] {
                    if !keep {
                        drop(std::mem::replace(&mut kept, connect(port)));
                    }
                    ask(&mut kept, path);
                }
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    clients.into_iter().for_each(|it| it.join().unwrap());
}

/// Samples by group, the ledger, and the messages of `remora profile` under load.
fn profiled(dir: &Path, load: impl FnOnce()) -> (BTreeMap<String, u64>, Value, String) {
    let (out, log) = (dir.join("profile.jsonl"), dir.join("profile.log"));
    let mut command = remora();
    command.args([
        "profile",
        "--comm",
        SERVER,
        "-F",
        "997",
        "--duration",
        "60s",
    ]);
    command
        .args(["--by", "route", "-o", "json", "-w"])
        .arg(&out);
    let mut profile = Spawned::logged(&mut command, &log);
    let said = || fs::read_to_string(&log).unwrap();
    wait_until("sampling", || said().contains("sampling at").then_some(()));
    load();
    profile.signal(libc::SIGINT);
    assert!(profile.wait().success(), "{}", said());
    let mut groups = BTreeMap::new();
    let mut ledger = Value::Null;
    for line in fs::read_to_string(out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        match line["kind"].as_str().unwrap() {
            "profile_stack" => {
                let group = line["group"].as_str().unwrap().to_owned();
                *groups.entry(group).or_default() += line["samples"].as_u64().unwrap();
            }
            "profile_summary" => ledger = line,
            _ => {}
        }
    }
    (groups, ledger, said())
}

/// Shares of the endpoints are what the server itself counted.
fn shares(mode: &str, keep: bool) {
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), mode);
    let (groups, ledger, said) = profiled(dir.path(), || load(port, 200, keep));
    let counted = ask(&mut connect(port), "/");
    let counted: Vec<f64> = counted.split(' ').map(|it| it.parse().unwrap()).collect();
    let expected = 100.0 * counted[1] / (counted[0] + counted[1]);
    let samples = |group: &str| groups.get(group).copied().unwrap_or(0) as f64;
    let (cheap, expensive) = (samples("GET /cheap"), samples("GET /expensive"));
    let all: u64 = groups.values().sum();
    let share = 100.0 * expensive / (cheap + expensive);
    println!("{mode}: {share:.1} % of samples, {expected:.1} % of its CPU time; {groups:?}");
    assert!(cheap + expensive > 500.0, "{groups:?} {said}");
    assert!(
        (share - expected).abs() <= 5.0,
        "{share:.1} % of samples, {expected:.1} % counted: {groups:?} {said}"
    );
    // What is left is accepting, waiting and closing.
    assert!(
        cheap + expensive >= 0.9 * all as f64,
        "too few have a request: {groups:?} {said}"
    );
    let tagged = ledger["tagged"].as_u64().unwrap();
    let untagged = ledger["untagged"].as_u64().unwrap();
    assert_eq!(tagged + untagged, ledger["emitted"].as_u64().unwrap());
    assert_eq!(all, tagged + untagged);
    assert_eq!(tagged as f64, cheap + expensive, "{groups:?}");
    let line = format!("{tagged} of them in requests, {untagged} outside of any that is known");
    assert!(said.contains(&line), "{said}");
}

#[test]
fn one_thread_that_serves_all_connections() {
    require_privilege!(alone);
    shares("one", false);
}

#[test]
fn processes_that_share_a_listener() {
    require_privilege!(alone);
    shares("prefork", false);
}

#[test]
fn a_thread_for_each_connection() {
    require_privilege!(alone);
    shares("threads", true);
}

#[test]
fn requests_that_another_thread_answers_are_on_no_sample() {
    require_privilege!(alone);
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), "handoff");
    let (groups, ledger, said) = profiled(dir.path(), || load(port, 30, false));
    let all: u64 = groups.values().sum();
    assert!(all > 100, "{groups:?} {said}");
    assert_eq!(ledger["tagged"], 0, "{groups:?} {said}");
    assert_eq!(ledger["untagged"].as_u64(), Some(all), "{said}");
}

#[test]
fn exported_samples_link_to_exported_spans() {
    require_privilege!(alone);
    let dir = tempfile::tempdir().unwrap();
    let (_server, port) = server(dir.path(), "threads");
    let (out, log) = (dir.path().join("out.jsonl"), dir.path().join("log"));
    let mut command = remora();
    command
        .args(["run", "--profile", "--export-file"])
        .arg(&out)
        .env("REMORA_PROFILE_INTERVAL", "1s")
        .env("OTEL_TRACES_SAMPLER", "always_on");
    let mut run = Spawned::logged(&mut command, &log);
    let said = || fs::read_to_string(&log).unwrap();
    wait_until("the start", || {
        said().contains("exporting profiles").then_some(())
    });
    load(port, 100, true);
    run.signal(libc::SIGTERM);
    assert!(run.wait().success(), "{}", said());
    let (mut links, mut spans) = (BTreeSet::new(), BTreeSet::new());
    let id = |value: &Value| {
        let part = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        (part("traceId"), part("spanId"))
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for line in fs::read_to_string(&out).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        // The first entry of the table stands for none.
        let table = list(&line["dictionary"]["linkTable"]);
        links.extend(table.iter().skip(1).map(id));
        for resource in list(&line["resourceSpans"]) {
            for scope in list(&resource["scopeSpans"]) {
                spans.extend(list(&scope["spans"]).iter().map(id));
            }
        }
    }
    assert!(links.len() >= 10, "{} links: {}", links.len(), said());
    let dangling: Vec<_> = links.difference(&spans).collect();
    assert!(dangling.is_empty(), "{dangling:?} of {}", spans.len());
    assert!(!said().contains(" 0 in requests"), "{}", said());
}
