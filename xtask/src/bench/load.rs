//! The traffic of the benches: real servers and load generators on the loopback.

use super::calls::{self, Amount, Calls};
use super::child::Running;
use crate::process::{output, shown};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Debian packages with the servers and load generators.
pub(super) const PACKAGES: [&str; 7] = [
    "nginx-light",
    "wrk",
    "redis-server",
    "redis-tools",
    "nghttp2",
    "util-linux",
    "coreutils",
];

/// Cores: one for the server, one for its load.
pub(super) const SERVER_CORE: &str = "0";
pub(super) const LOAD_CORE: &str = "1";

/// Concurrent connections of the load.
const CONNECTIONS: &str = "32";

/// A server with the port it listens on.
pub(super) struct Server {
    /// The process.
    pub(super) running: Running,
    /// Where it listens.
    pub(super) port: u16,
}

/// What a load generator did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Requests answered.
    pub(super) requests: u64,
    /// How long it took, seconds.
    pub(super) seconds: f64,
}

/// nginx in one process, answering 200 with a body of 200 bytes.
pub(super) fn nginx() -> Result<Server> {
    let dir = workspace::target().join("bench");
    fs::create_dir_all(&dir)?;
    let port = free_port()?;
    let config = dir.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; user root; worker_processes 1;\n\
         pid {dir}/nginx.pid; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path {dir}; proxy_temp_path {dir};\n\
         server {{ listen 127.0.0.1:{port};\n\
         location / {{ return 200 \"{body}\"; }} }} }}\n",
        dir = dir.display(),
        body = "x".repeat(200),
    );
    fs::write(&config, text)?;
    let mut command = pinned(SERVER_CORE, "nginx");
    command.args(["-e", "stderr", "-c"]).arg(&config);
    listening(Server {
        running: Running::start(&mut command)?,
        port,
    })
}

/// A redis server that writes nothing to disk.
pub(super) fn redis() -> Result<Server> {
    let port = free_port()?;
    let mut command = pinned(SERVER_CORE, "redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
    ]);
    listening(Server {
        running: Running::start(&mut command)?,
        port,
    })
}

/// What the load is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Protocol {
    /// Requests of wrk to nginx
    Http1,
    /// Unary calls of h2load to nghttpd, one at a time on each connection
    Grpc,
}

impl Protocol {
    /// What it is, in reports.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Http1 => "nginx, 200 B responses, saturated by wrk",
            Self::Grpc => "nghttpd, unary gRPC calls with 200 B answers, saturated by h2load",
        }
    }

    /// Starts the server.
    pub(super) fn serve(self) -> Result<Server> {
        match self {
            Self::Http1 => nginx(),
            Self::Grpc => calls::nghttpd(),
        }
    }

    /// Saturates the server for `seconds`.
    pub(super) fn saturate(self, server: &Server, seconds: u32) -> Result<Load> {
        match self {
            Self::Http1 => wrk(server, seconds),
            Self::Grpc => calls::h2load(server, Calls::ALONE, Amount::Seconds(seconds)),
        }
    }
}

/// Saturates nginx for `seconds`.
pub(super) fn wrk(server: &Server, seconds: u32) -> Result<Load> {
    let url = format!("http://127.0.0.1:{}/bench", server.port);
    let duration = format!("{seconds}s");
    let mut command = pinned(LOAD_CORE, "wrk");
    command.args(["-t", "1", "-c", CONNECTIONS, "-d", &duration, &url]);
    let report = output(&mut command)?;
    ensure!(
        !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "{report}"
    );
    parse_wrk(&report).with_context(|| format!("{} said: {report}", shown(&command)))
}

/// `PING` to redis, one at a time on every connection: traffic that is not HTTP.
pub(super) fn redis_benchmark(server: &Server, requests: u64) -> Result<Load> {
    let start = Instant::now();
    let mut command = pinned(LOAD_CORE, "redis-benchmark");
    command.args([
        "-p",
        &server.port.to_string(),
        "-c",
        CONNECTIONS,
        "-t",
        "ping_mbulk",
        "-q",
    ]);
    output(command.args(["-n", &requests.to_string()]))?;
    Ok(Load {
        requests,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Single-byte reads and writes of descriptors that are no sockets.
pub(super) fn dd(blocks: u64) -> Result<Load> {
    let start = Instant::now();
    let mut command = pinned(LOAD_CORE, "dd");
    output(
        command
            .args(["if=/dev/zero", "of=/dev/null", "bs=1"])
            .arg(format!("count={blocks}")),
    )?;
    Ok(Load {
        requests: blocks,
        seconds: start.elapsed().as_secs_f64(),
    })
}

pub(super) fn pinned(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    // Servers live in sbin, which the PATH of a user may lack.
    let sbin = PathBuf::from("/usr/sbin").join(program);
    command.args(["-c", core]);
    if sbin.exists() {
        command.arg(sbin)
    } else {
        command.arg(program)
    };
    command
}

pub(super) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

pub(super) fn listening(mut server: Server) -> Result<Server> {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", server.port)).is_err() {
        server.running.check()?;
        ensure!(
            Instant::now() < deadline,
            "a server does not listen on port {}",
            server.port
        );
        thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// Reads `  123456 requests in 5.00s, 34.56MB read`.
fn parse_wrk(report: &str) -> Option<Load> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    let (requests, rest) = line.trim().split_once(" requests in ")?;
    let time = rest.split(',').next()?;
    let seconds = match time.strip_suffix('m') {
        Some(minutes) => minutes.parse::<f64>().ok()? * 60.0,
        None => time.strip_suffix('s')?.parse().ok()?,
    };
    Some(Load {
        requests: requests.parse().ok()?,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_wrk_prints() {
        let report = "Running 2s test @ x\n  1 threads and 32 connections\n  \
                      91321 requests in 2.10s, 34.56MB read\nRequests/sec:  43486.19\n";
        let load = parse_wrk(report).unwrap();
        assert_eq!((load.requests, load.seconds), (91321, 2.1));
        assert!(parse_wrk("unable to connect").is_none());
    }
}
