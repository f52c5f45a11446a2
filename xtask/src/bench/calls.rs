//! Unary calls of gRPC on the loopback: nghttpd answers as a gRPC server does (a head, one
//! message, trailers with the status), h2load makes the calls.

use super::child::Running;
use super::load::{LOAD_CORE, Load, SERVER_CORE, Server, free_port, listening, pinned};
use crate::process::{output, shown};
use crate::workspace;
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::PathBuf;

/// Bytes of the message of a call, and of its answer.
const MESSAGES: [usize; 2] = [50, 200];

/// How h2load makes calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls {
    /// Connections.
    pub(super) connections: u32,
    /// Calls under way on each.
    pub(super) streams: u32,
}

impl Calls {
    /// As many at a time as [`super::load::wrk`], one on each connection.
    pub(super) const ALONE: Self = Self {
        connections: 32,
        streams: 1,
    };
}

/// How long, or how much.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// As fast as possible, for seconds.
    Seconds(u32),
    /// So many calls, as fast as possible.
    Calls(u64),
    /// So many calls at so many a second.
    Paced(u64, u32),
}

/// nghttpd in one thread.
pub(super) fn nghttpd() -> Result<Server> {
    let dir = folder()?;
    let port = free_port()?;
    fs::write(dir.join("call.grpc"), message(MESSAGES[1]))?;
    fs::write(dir.join("mime.types"), "application/grpc grpc\n")?;
    let mut command = pinned(SERVER_CORE, "nghttpd");
    command
        .args(["--no-tls", "-a", "127.0.0.1"])
        .args(["--trailer", "grpc-status: 0", "-d"])
        .arg(&dir)
        .arg("--mime-types-file")
        .arg(dir.join("mime.types"))
        .arg(port.to_string());
    listening(Server {
        running: Running::start(&mut command)?,
        port,
    })
}

/// Makes calls of nghttpd.
pub(super) fn h2load(server: &Server, calls: Calls, amount: Amount) -> Result<Load> {
    let asked = folder()?.join("call");
    fs::write(&asked, message(MESSAGES[0]))?;
    let mut command = pinned(LOAD_CORE, "h2load");
    match amount {
        Amount::Seconds(seconds) => command.args(["-D", &seconds.to_string()]),
        Amount::Calls(count) => command.args(["-n", &count.to_string()]),
        Amount::Paced(count, rate) => command
            .args(["-n", &count.to_string()])
            .args(["--rps", &rate.div_ceil(calls.connections).to_string()]),
    };
    command
        .args(["-c", &calls.connections.to_string()])
        .args(["-m", &calls.streams.to_string()])
        .args(["-H", "content-type: application/grpc"])
        .args(["-H", "te: trailers", "-d"])
        .arg(&asked)
        .arg(format!("http://127.0.0.1:{}/call.grpc", server.port));
    let report = output(&mut command)?;
    parse(&report).with_context(|| format!("{} said: {report}", shown(&command)))
}

fn folder() -> Result<PathBuf> {
    let dir = workspace::target().join("bench/grpc");
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

/// A message with its prefix: not compressed, and its length.
fn message(len: usize) -> Vec<u8> {
    let prefix = (len as u64).to_be_bytes();
    [&prefix[3..], &vec![b'm'; len]].concat()
}

/// Reads `finished in 2.01s, …` and `requests: 9 total, 9 started, 9 done, 9 succeeded, …`.
fn parse(report: &str) -> Result<Load> {
    let after = |word: &str| {
        report
            .lines()
            .find_map(|line| line.strip_prefix(word))
            .with_context(|| format!("there is no line `{word}`"))
    };
    let time = after("finished in ")?.split(',').next().unwrap_or_default();
    let seconds = [("ms", 1e3), ("us", 1e6), ("s", 1.0)]
        .into_iter()
        .find_map(|(unit, a_second)| Some(time.strip_suffix(unit)?.parse::<f64>().ok()? / a_second))
        .with_context(|| format!("{time} is no time"))?;
    let counts = after("requests: ")?;
    let count = |name: &str| {
        counts
            .split(", ")
            .find_map(|count| count.strip_suffix(name)?.trim().parse::<u64>().ok())
            .with_context(|| format!("no count of {name}"))
    };
    let (done, failed) = (count("done")?, count("failed")? + count("errored")?);
    ensure!(failed == 0 && count("succeeded")? == done, "calls failed");
    Ok(Load {
        requests: done,
        seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_h2load_prints() {
        let said = |time: &str, failed| {
            format!(
                "progress: 100% done\n\nfinished in {time}, 25933.95 req/s, 6.07MB/s\n\
                 requests: 22 total, 22 started, 20 done, 20 succeeded, {failed} failed, 0 errored, \
                 0 timeout\nstatus codes: 20 2xx, 0 3xx\n"
            )
        };
        let load = parse(&said("771.19ms", 0)).unwrap();
        assert_eq!((load.requests, load.seconds), (20, 0.77119));
        assert_eq!(parse(&said("2.01s", 0)).unwrap().seconds, 2.01);
        assert!(parse(&said("2.01s", 1)).is_err());
        assert!(parse("unable to connect").is_err());
    }

    #[test]
    fn messages_have_their_prefix() {
        assert_eq!(message(3), b"\0\0\0\0\x03mmm");
        assert_eq!(message(300)[..6], [0, 0, 0, 1, 44, b'm']);
    }
}
