//! Clients of cleartext HTTP/2.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use serde::Serialize;
use tempfile::TempDir;

use super::Work;
use crate::harness::DEADLINE;
use crate::harness::expect::{Done, Planned, read_done};
use crate::harness::process::{Spawned, run};

/// A request for Node's client.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Ask {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    /// Bytes of body to send.
    pub(crate) body: usize,
    /// Time after which the stream is reset, ms; never if 0.
    pub(crate) cancel: u64,
    /// Bytes of header fields to send.
    pub(crate) header: usize,
}

impl Ask {
    /// A GET.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: "GET",
            path: path.into(),
            ..Self::default()
        }
    }
}

/// Node's `http2` with one connection.
pub(crate) struct Node {
    process: Spawned,
    stdin: ChildStdin,
    lines: Receiver<String>,
    begun: bool,
    _dir: TempDir,
}

impl Node {
    /// Starts a client that makes requests in phases, at most `concurrency` at a time.
    pub(crate) fn start(
        port: u16,
        phases: &impl Serialize,
        concurrency: usize,
        settings: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (script, plan) = (dir.path().join("h2_client.js"), dir.path().join("plan"));
        std::fs::write(&script, include_str!("../programs/h2_client.js")).unwrap();
        serde_json::to_writer(File::create(&plan).unwrap(), phases).unwrap();
        let mut node = Command::new("node");
        node.arg(script)
            .arg(format!("127.0.0.1:{port}"))
            .arg(plan)
            .arg(concurrency.to_string())
            .args(settings);
        let mut process = Spawned::with_streams(node.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let stdin = process.child().stdin.take().unwrap();
        let stdout = BufReader::new(process.child().stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        Self {
            process,
            stdin,
            lines,
            begun: false,
            _dir: dir,
        }
    }

    /// Lets it make the requests of the next phase and returns the lines about them.
    pub(crate) fn next_lines(&mut self) -> String {
        if self.begun {
            self.stdin.write_all(b"go on\n").unwrap();
        }
        self.begun = true;
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(DEADLINE) {
                Ok(line) if line == "paused" => return text,
                Ok(line) => text = text + &line + "\n",
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    assert!(self.process.wait().success());
                    return text;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the client hangs: {text}"),
            }
        }
    }

    /// As [`Node::next_lines`], read.
    pub(crate) fn next(&mut self) -> Vec<Done> {
        self.next_lines()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect()
    }

    pub(crate) fn pids(&self) -> HashSet<u32> {
        HashSet::from([self.process.pid()])
    }
}

/// Node's `http2`, up to four streams at a time.
pub(crate) fn node(port: u16, plan: &[Planned]) -> Work {
    let mut node = Node::start(port, &plan, 4, &[]);
    Work {
        pids: node.pids(),
        done: read_done(&node.next_lines(), plan),
    }
}

/// Makes exactly `count` requests for `url` with h2load, with so many connections and
/// streams at a time on each.
pub(crate) fn h2load(url: &str, count: usize, connections: usize, streams: usize) {
    let output = run(Command::new("h2load")
        .args(["-n", &count.to_string()])
        .args(["-c", &connections.to_string()])
        .args(["-m", &streams.to_string()])
        .arg(url));
    let succeeded = format!("{count} total, {count} started, {count} done, {count} succeeded");
    assert!(output.contains(&succeeded), "{output}");
}

/// Makes requests with nghttp, which asks in the first one for a change from HTTP/1.1 and
/// makes the others over the same connection.
pub(crate) fn nghttp_upgrade(port: u16, paths: &[&str]) {
    let urls = paths
        .iter()
        .map(|path| format!("http://127.0.0.1:{port}{path}"));
    let output = run(Command::new("nghttp")
        .args(["--null-out", "--stat", "--upgrade"])
        .args(urls));
    // Stream, times, status, size and path.
    for path in paths {
        let line = output.lines().find(|line| line.ends_with(path));
        assert!(
            line.is_some_and(|line| line.contains(" 200 ")),
            "{path}: {output}"
        );
    }
}
