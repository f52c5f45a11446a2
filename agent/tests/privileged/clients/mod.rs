//! The clients: each makes the planned requests and says what it did.

pub(crate) mod curl;
pub(crate) mod http2;
pub(crate) mod wrk;

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::expect::{Done, Planned, read_done};
use crate::harness::process::Spawned;
use crate::harness::tools;

/// What a client did, and the processes it did it with.
pub(crate) struct Work {
    pub(crate) done: Vec<Done>,
    pub(crate) pids: HashSet<u32>,
}

/// Node's `http` with keep-alive, four connections.
pub(crate) fn node(port: u16, plan: &[Planned]) -> Work {
    let script = include_str!("../programs/client.js");
    driver("client.js", script, Command::new("node"), port, plan)
}

/// Python's `requests`, four threads with a session each.
pub(crate) fn python(port: u16, plan: &[Planned]) -> Work {
    let script = include_str!("../programs/client.py");
    driver(
        "client.py",
        script,
        Command::new(tools::python()),
        port,
        plan,
    )
}

/// Go's net/http, four goroutines.
pub(crate) fn go(port: u16, plan: &[Planned]) -> Work {
    let program = tools::go("client", include_str!("../programs/client.go"));
    run(Command::new(program), port, plan)
}

fn driver(name: &str, script: &str, mut command: Command, port: u16, plan: &[Planned]) -> Work {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, script).unwrap();
    command.arg(path);
    run(command, port, plan)
}

fn run(mut command: Command, port: u16, plan: &[Planned]) -> Work {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { dir.path().join(name) };
    serde_json::to_writer(File::create(file("plan")).unwrap(), plan).unwrap();
    command
        .arg(format!("127.0.0.1:{port}"))
        .arg(file("plan"))
        .arg("4")
        .stdin(Stdio::null())
        .stdout(File::create(file("out")).unwrap());
    let mut process = Spawned::with_streams(&mut command);
    let pids = HashSet::from([process.pid()]);
    assert!(process.wait().success(), "{command:?}");
    let output = std::fs::read_to_string(file("out")).unwrap();
    Work {
        done: read_done(&output, plan),
        pids,
    }
}
