//! curl.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use super::Work;
use crate::harness::expect::{Done, Planned, read_done};
use crate::harness::process::Spawned;

/// What curl prints about a transfer, once the path is put in.
const FACTS: &str = r#"{"method":"%{method}","path":"PATH","status":%{http_code},"sent":%{size_upload},"received":%{size_download},"seconds":%{time_total}}\n"#;

/// One curl for all requests, which go over one connection.
pub(crate) fn kept(port: u16, plan: &[Planned]) -> Work {
    kept_with("http1.1", port, plan)
}

/// As [`fresh`], over HTTP/2 from the first byte on. (curl 7.88 fails in the second
/// transfer over such a connection.)
pub(crate) fn http2(port: u16, plan: &[Planned]) -> Work {
    fresh_with("http2-prior-knowledge", port, plan)
}

/// As [`kept`], asking in the first request for a change to HTTP/2.
pub(crate) fn upgrade(port: u16, plan: &[Planned]) -> Work {
    kept_with("http2", port, plan)
}

/// As [`upgrade`], over a connection for each request.
pub(crate) fn upgrade_each(port: u16, plan: &[Planned]) -> Work {
    fresh_with("http2", port, plan)
}

/// As [`kept`], with the option that says which version of HTTP to speak.
fn kept_with(version: &str, port: u16, plan: &[Planned]) -> Work {
    let dir = tempfile::tempdir().unwrap();
    let mut options = File::create(dir.path().join("options")).unwrap();
    for (number, planned) in plan.iter().enumerate() {
        if number > 0 {
            writeln!(options, "next").unwrap();
        }
        let url = format!("http://127.0.0.1:{port}{}?token=secret", planned.path);
        writeln!(options, "url = \"{url}\"\nsilent\noutput = \"/dev/null\"").unwrap();
        writeln!(options, "{version}").unwrap();
        let facts = FACTS.replace("PATH", &planned.path);
        let facts = facts.replace('\\', "\\\\").replace('"', "\\\"");
        writeln!(options, "write-out = \"{facts}\"").unwrap();
        match (planned.method, planned.body) {
            ("HEAD", _) => writeln!(options, "head").unwrap(),
            (method, 0) => writeln!(options, "request = {method}").unwrap(),
            (method, len) => {
                let body = dir.path().join(format!("body-{number}"));
                std::fs::write(&body, vec![b'c'; len]).unwrap();
                writeln!(
                    options,
                    "request = {method}\ndata-binary = \"@{}\"",
                    body.display()
                )
                .unwrap();
            }
        }
    }
    let mut command = Command::new("curl");
    command.arg("-K").arg(dir.path().join("options"));
    run(&mut command, dir.path(), plan)
}

/// One curl, and one connection, for each request.
pub(crate) fn fresh(port: u16, plan: &[Planned]) -> Work {
    fresh_with("http1.1", port, plan)
}

fn fresh_with(version: &str, port: u16, plan: &[Planned]) -> Work {
    let mut work = Work {
        done: Vec::new(),
        pids: HashSet::new(),
    };
    for planned in plan {
        let one = kept_with(version, port, std::slice::from_ref(planned));
        work.done.extend(one.done);
        work.pids.extend(one.pids);
    }
    work
}

/// One transfer with any options; `url` is the last argument.
pub(crate) fn one(options: &[&str], url: &str) -> (Done, u32) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("curl");
    command
        .args(["-s", "-o", "/dev/null", "-w", &FACTS.replace("PATH", url)])
        .args(options)
        .arg(url);
    let (output, pid) = output(&mut command, dir.path());
    // curl writes 000 if there was no response.
    let output = output.replace(":000,", ":0,");
    let done = serde_json::from_str(output.trim()).unwrap_or_else(|e| panic!("{e}: {output}"));
    (done, pid)
}

fn run(command: &mut Command, dir: &std::path::Path, plan: &[Planned]) -> Work {
    let (output, pid) = output(command, dir);
    Work {
        done: read_done(&output, plan),
        pids: HashSet::from([pid]),
    }
}

/// Runs curl, whatever its exit code: a test may want the transfer to fail.
fn output(command: &mut Command, dir: &std::path::Path) -> (String, u32) {
    let path = dir.join("out");
    command
        .stdin(Stdio::null())
        .stdout(File::create(&path).unwrap());
    let mut process = Spawned::with_streams(command);
    let pid = process.pid();
    process.wait();
    (std::fs::read_to_string(path).unwrap(), pid)
}
