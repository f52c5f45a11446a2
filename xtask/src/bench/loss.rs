//! `bench-loss`: whether `remora run` delivers every request at a high rate.

use super::calls::{self, Amount, Calls};
use super::load::{self, Load, Protocol};
use super::pair::{self, Plan};
use super::sink::Sink;
use super::subject::{Agent, Attached, Mode};
use crate::deps;
use anyhow::{Context as _, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `bench-loss`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// What is asked
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Requests per second; both ends of each are traced
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    /// How long, seconds
    #[arg(long, default_value_t = 30)]
    seconds: u32,
    /// Connections at a time
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Requests pipelined in one call, at most 16; of gRPC, calls under way on a connection
    #[arg(long, default_value_t = 1)]
    depth: usize,
}

/// Measures and prints.
///
/// # Errors
/// A request that was lost, or spans that the sink did not get.
pub(crate) fn main(args: &Args) -> Result<()> {
    let sink = Sink::start()?;
    let agent = Agent::new(args.agent.clone(), "run")?
        .exporting_to(sink.address)
        .keeping_all();
    let ask: Box<dyn FnOnce() -> Result<Load>> = match args.protocol {
        Protocol::Http1 => {
            let server = pair::serve(Duration::ZERO)?;
            let plan = Plan {
                connections: args.connections,
                depth: args.depth,
                rate: f64::from(args.rate),
                duration: Duration::from_secs(args.seconds.into()),
            };
            Box::new(move || {
                let done = pair::ask(server, &plan)?;
                Ok(Load {
                    requests: done.requests,
                    seconds: done.took.as_secs_f64(),
                })
            })
        }
        Protocol::Grpc => {
            deps::apt(&load::PACKAGES)?;
            let server = calls::nghttpd()?;
            let calls = Calls {
                connections: args.connections,
                streams: u32::try_from(args.depth)?,
            };
            let count = u64::from(args.rate) * u64::from(args.seconds);
            Box::new(move || {
                let load = calls::h2load(&server, calls, Amount::Paced(count, args.rate))?;
                server.running.stop()?;
                Ok(load)
            })
        }
    };
    let mut attached = Attached::new(Mode::Agent, &agent)?;
    let mut running = attached.agent.take().context("no agent")?;
    let before = running.cpu_seconds()?;
    let done = ask()?;
    running.check()?;
    let (cpu, rss) = (running.cpu_seconds()? - before, running.rss_peak()?);
    let said = running.stop_and_read()?;
    let accounts = Accounts::read(&said).with_context(|| format!("the agent said: {said}"))?;

    let rate = done.requests as f64 / done.seconds;
    println!(
        "{} requests in {:.1} s, {rate:.0}/s of {}/s asked for; {} connections, {} a call",
        done.requests, done.seconds, args.rate, args.connections, args.depth
    );
    for line in said
        .lines()
        .filter(|line| line.contains(" = ") || line.contains("left the"))
    {
        println!("{line}");
    }
    println!("sink: {} spans received", sink.spans());
    let sides = done.requests * 2;
    println!(
        "{sides} sides made, {} others seen; agent: {:.2} µs of CPU a span, {} MB resident at most",
        accounts.seen as i128 - i128::from(sides),
        cpu * 1e6 / accounts.seen as f64,
        rss >> 20
    );
    ensure!(accounts.seen >= sides, "requests were not seen");
    ensure!(
        accounts.reported == accounts.seen && accounts.delivered == accounts.seen,
        "requests were lost"
    );
    ensure!(
        sink.spans() == accounts.seen,
        "the sink counted other spans"
    );
    Ok(())
}

/// The numbers in the last lines of `remora run`.
#[derive(PartialEq, Debug)]
pub(super) struct Accounts {
    pub(super) seen: u64,
    pub(super) reported: u64,
    pub(super) delivered: u64,
    /// By the exporter.
    pub(super) dropped: u64,
    /// For the next run.
    pub(super) kept: u64,
}

impl Accounts {
    pub(super) fn read(said: &str) -> Option<Self> {
        let number = |before: &str| {
            said.lines()
                .filter(|line| line.contains(" = ") && !line.contains(": data points: "))
                .find_map(|line| {
                    line.split_once(before)?
                        .0
                        .split(' ')
                        .next_back()?
                        .parse()
                        .ok()
                })
        };
        Some(Self {
            seen: number(" seen = ")?,
            reported: number(" reported + ")?,
            delivered: number(" delivered + ")?,
            dropped: number(" dropped")?,
            // Said only if there is something.
            kept: number(" kept in the spool").unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_run_prints() {
        let said = "remora: exporting to x\n\
                    remora: data points: 2 reported = 2 delivered + 0 dropped\n\
                    remora: 12 seen = 9 reported + 0 filtered + 3 lost (ring_full 3)\n\
                    remora: 9 reported = 7 delivered + 2 dropped (queue_full 2)\n";
        let expected = Accounts {
            seen: 12,
            reported: 9,
            delivered: 7,
            dropped: 2,
            kept: 0,
        };
        assert_eq!(Accounts::read(said), Some(expected));
        let said = said.replace("(queue_full 2)", "(queue_full 2) + 5 kept in the spool");
        assert_eq!(Accounts::read(&said).unwrap().kept, 5);
        assert_eq!(Accounts::read("remora: exporting to x\n"), None);
    }
}
