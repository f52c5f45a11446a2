//! wrk.

use std::path::Path;
use std::process::Command;

use crate::harness::process::run;

/// What wrk says it did.
#[derive(Debug)]
pub(crate) struct Load {
    /// Responses it received in full.
    pub(crate) requests: usize,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Percentiles of latency, seconds: 50, 75, 90, 99.
    pub(crate) percentiles: Vec<(u32, f64)>,
}

/// Runs one thread of wrk with `connections` for whole `seconds`.
pub(crate) fn load(url: &str, connections: usize, seconds: u32, headers: &[&str]) -> Load {
    let headers: Vec<&str> = headers.iter().flat_map(|header| ["-H", header]).collect();
    threads(url, 1, connections, seconds, &headers)
}

/// As [`load`], with more threads, which share the connections out evenly and leave the
/// rest, and with further arguments.
pub(crate) fn threads(
    url: &str,
    threads: usize,
    connections: usize,
    seconds: u32,
    arguments: &[&str],
) -> Load {
    let mut command = Command::new("wrk");
    command
        .args(["--latency", "-t", &threads.to_string()])
        .args(["-c", &connections.to_string()])
        .args(["-d", &format!("{seconds}s")])
        .args(arguments);
    read(&run(command.arg(url)))
}

/// Makes exactly `count` requests over one connection: the script stops wrk's thread
/// at the last response, so that nothing is in flight when it ends. That takes three
/// seconds, however fast the server is.
pub(crate) fn exactly(url: &str, count: usize, dir: &Path) -> Load {
    let script = dir.join("count.lua");
    let text = format!(
        "local left = {count}
response = function()
  left = left - 1
  if left == 0 then wrk.thread:stop() end
end"
    );
    std::fs::write(&script, text).unwrap();
    let mut command = Command::new("wrk");
    command.args(["-t", "1", "-c", "1", "-d", "3s", "-s"]);
    read(&run(command.arg(script).arg(url)))
}

fn read(output: &str) -> Load {
    assert!(!output.contains("Socket errors"), "{output}");
    assert!(!output.contains("Non-2xx"), "{output}");
    let requests = output
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .unwrap_or_else(|| panic!("{output}"));
    let rate = output
        .lines()
        .find_map(|line| line.trim().strip_prefix("Requests/sec:"))
        .unwrap();
    Load {
        requests: requests.0.parse().unwrap(),
        rate: rate.trim().parse().unwrap(),
        percentiles: output.lines().filter_map(percentile).collect(),
    }
}

/// A line such as `     99%    1.23ms`.
fn percentile(line: &str) -> Option<(u32, f64)> {
    let (percent, time) = line.trim().split_once('%')?;
    let time = time.trim();
    let unit = time.find(|c: char| c.is_ascii_alphabetic())?;
    let scale = match &time[unit..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    Some((
        percent.parse().ok()?,
        time[..unit].parse::<f64>().ok()? * scale,
    ))
}
