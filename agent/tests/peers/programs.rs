//! The programs: where they were built, how each is started, and what it counted.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::process::{Spawned, command, free_port, run};
use crate::truth::{self, Counts};

/// What `cargo xtask` says about where programs are: this, and the name in capitals.
const VARIABLE: &str = "REMORA_TEST_PEER_";

/// A program that was built for the tests.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    let variable = format!("{VARIABLE}{}", name.to_uppercase().replace('-', "_"));
    let found = std::env::var_os(&variable).map(PathBuf::from);
    assert!(
        found.is_some() || std::env::var_os("REMORA_TEST_ALL").is_none_or(|all| all != "1"),
        "REMORA_TEST_ALL=1, but {variable} is not set: run the tests with cargo xtask"
    );
    if found.is_none() {
        eprintln!("skipped: {variable} is not set; `cargo xtask test --only peers` builds {name}");
    }
    found
}

/// Binds programs to their names, or returns from the test if one was not built.
macro_rules! require_built {
    ($($name:ident),+ $(,)?) => {
        $(let Some($name) = $crate::programs::built(&stringify!($name).replace('_', "-")) else {
            return;
        };)+
    };
}
pub(crate) use require_built;

/// A running server.
pub(crate) struct Server {
    /// Where it serves HTTP, or gRPC if it serves nothing else.
    pub(crate) port: u16,
    /// Where it serves gRPC beside HTTP, or HTTP with a port for each version.
    pub(crate) second: u16,
    pub(crate) process: Spawned,
    pub(crate) dir: TempDir,
}

impl Server {
    /// Starts what `command` makes of two free ports and an empty directory, and waits until
    /// it listens on the first `ports` of them.
    pub(crate) fn start(
        ports: usize,
        command: impl FnOnce(u16, u16, &std::path::Path) -> Command,
    ) -> Self {
        let (port, second) = (free_port(), free_port());
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Spawned::logged(&mut command(port, second, dir.path()), &log);
        for port in [port, second].into_iter().take(ports) {
            listening(&mut process, port);
        }
        Self {
            port,
            second,
            process,
            dir,
        }
    }

    /// Ends the server and returns what it counted.
    pub(crate) fn counts(mut self) -> Counts {
        self.process.signal(libc::SIGTERM);
        self.process.wait();
        truth::read(&std::fs::read_to_string(self.dir.path().join("log")).unwrap())
    }
}

/// Waits until a program listens. One that runs on the JVM takes a minute for it where it
/// gets a tenth of a processor: longer than anything else here.
fn listening(process: &mut Spawned, port: u16) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120)
        && TcpStream::connect(("127.0.0.1", port)).is_err()
    {
        if process.child().try_wait().unwrap().is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    process.wait_for_port(port);
}

/// Serves the users with Gin: HTTP/1 and HTTP/2 without TLS.
pub(crate) fn gin(program: PathBuf) -> Server {
    Server::start(1, |port, _, _| command(program, &[address(port)]))
}

/// Serves the users with Kratos.
pub(crate) fn kratos(program: PathBuf) -> Server {
    Server::start(2, |port, second, _| {
        command(program, &[address(port), address(second)])
    })
}

/// Serves the users with go-zero.
pub(crate) fn gozero(program: PathBuf) -> Server {
    Server::start(2, |port, second, _| {
        command(program, &[port.to_string(), address(second)])
    })
}

/// Serves the users with grpc-go.
pub(crate) fn grpcserver(program: PathBuf) -> Server {
    Server::start(1, |port, _, _| command(program, &[address(port)]))
}

/// Makes `rounds` of requests of every kind to a local port, over `connections`; returns
/// what came of them. `protocol` is `http1` or `h2c`.
pub(crate) fn httpclient(
    program: &PathBuf,
    protocol: &str,
    base: &str,
    rounds: usize,
    connections: usize,
) -> Counts {
    httpclient_with(program, protocol, base, rounds, connections, &[])
}

/// As [`httpclient`], with further arguments.
pub(crate) fn httpclient_with(
    program: &PathBuf,
    protocol: &str,
    base: &str,
    rounds: usize,
    connections: usize,
    more: &[&str],
) -> Counts {
    let arguments = [
        protocol,
        base,
        &rounds.to_string(),
        &connections.to_string(),
    ];
    truth::read(&run(command(program, &arguments).args(more)))
}

/// Makes `calls` to a local port over one connection, `streams` at a time; returns what came
/// of them. `more` are further arguments.
pub(crate) fn grpcclient(
    program: &PathBuf,
    port: u16,
    calls: usize,
    streams: usize,
    more: &[&str],
) -> Counts {
    let mut client = command(
        program,
        &[address(port), calls.to_string(), streams.to_string()],
    );
    truth::read(&run(client.args(more)))
}

/// A local address.
pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// The URL of a local port.
pub(crate) fn base(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}
