//! The implementations that are programs of other languages.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use tempfile::TempDir;

use super::{Answered, Call, Peer};
use crate::harness::process::{Spawned, command};
use crate::harness::tools;
use crate::servers::Server;

/// How long a phase may take: there are calls of half a minute.
const PHASE: Duration = Duration::from_secs(60);

/// The program, its source in `dir`, without arguments.
fn program(peer: Peer, dir: &Path) -> Command {
    let python = |flavour: &str| {
        let script = dir.join("grpc_peer.py");
        fs::write(&script, include_str!("../programs/grpc_peer.py")).unwrap();
        let mut python = Command::new(tools::python());
        python.arg(script).arg(flavour);
        python
    };
    match peer {
        Peer::Python => python("sync"),
        Peer::Asyncio => python("aio"),
        Peer::Node => {
            let script = dir.join("grpc_peer.js");
            fs::write(&script, include_str!("../programs/grpc_peer.js")).unwrap();
            let mut node = Command::new("node");
            node.arg(script).env("NODE_PATH", tools::node_modules());
            node
        }
        Peer::Go => Command::new(tools::go(
            "grpc_peer",
            include_str!("../programs/grpc_peer.go"),
        )),
        Peer::Tonic => unreachable!("tonic runs in this process"),
    }
}

/// Starts a server on a free port, with further arguments.
pub(super) fn serve(peer: Peer, arguments: &[&str]) -> Server {
    Server::start(|port, dir| {
        let mut program = program(peer, dir);
        program
            .args(["serve", &format!("127.0.0.1:{port}")])
            .args(arguments);
        program
    })
}

/// Starts a server on a Unix socket `socket` in its directory.
pub(crate) fn serve_unix(peer: Peer) -> (Spawned, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut program = program(peer, dir.path());
    program.args(["serve", &format!("unix:{}/socket", dir.path().display())]);
    let process = Spawned::logged(&mut program, &dir.path().join("log"));
    (process, dir)
}

/// A client at work.
pub(crate) struct Client {
    process: Spawned,
    stdin: ChildStdin,
    lines: Receiver<String>,
    begun: bool,
    _dir: TempDir,
}

impl Client {
    pub(super) fn start(
        peer: Peer,
        address: &str,
        phases: &[Vec<Call>],
        concurrency: usize,
        arguments: &[&str],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for call in phases.iter().flatten() {
            // The programs write commands themselves; this checks that there is room.
            call.messages();
        }
        let plan = dir.path().join("plan");
        serde_json::to_writer(File::create(&plan).unwrap(), phases).unwrap();
        let mut program = program(peer, dir.path());
        program
            .args(["call", address])
            .arg(plan)
            .arg(concurrency.to_string())
            .args(arguments);
        let mut process = Spawned::with_streams(
            program
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::inherit()),
        );
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

    pub(super) fn next(&mut self) -> Vec<Answered> {
        if self.begun {
            self.stdin.write_all(b"go on\n").unwrap();
        }
        self.begun = true;
        let mut answered = Vec::new();
        loop {
            match self.lines.recv_timeout(PHASE) {
                Ok(line) if line == "paused" => return answered,
                Ok(line) => {
                    let parsed = serde_json::from_str(&line);
                    answered.push(parsed.unwrap_or_else(|error| panic!("{error}: {line}")));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    assert!(self.process.wait().success());
                    return answered;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the client hangs"),
            }
        }
    }

    pub(super) fn pids(&self) -> HashSet<u32> {
        HashSet::from([self.process.pid()])
    }
}

/// Starts nginx as a gRPC proxy in front of a port.
pub(crate) fn nginx_proxy(upstream: u16) -> Server {
    Server::start(|port, dir| {
        let text = format!(
            "daemon off; user root; worker_processes 1; pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 1000; }}
http {{
  access_log {dir}/access.log; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
  fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  upstream peers {{ server 127.0.0.1:{upstream}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port} http2; client_max_body_size 0;
    location / {{ grpc_pass grpc://peers; }}
  }}
}}
",
            dir = dir.display()
        );
        fs::write(dir.join("nginx.conf"), text).unwrap();
        let mut nginx = command("nginx", &["-e", "stderr", "-c"]);
        nginx.arg(dir.join("nginx.conf")).current_dir(dir);
        nginx
    })
}
