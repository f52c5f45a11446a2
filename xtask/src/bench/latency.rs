//! `bench-latency`: what tracing adds to the latency of a server that is not saturated.
//!
//! Requests are made at fixed times whether or not earlier ones are answered, and latency
//! counts from the time at which a request was due. Modes take turns in short slices and
//! are compared within a round, as in `bench-throughput`.

use super::pair::{self, Plan};
use super::sink::Sink;
use super::subject::{Agent, Attached, Mode};
use super::throughput::{slots, spread};
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Modes of a round; the second `none` shows how much two equal slices differ.
const MODES: [(&str, Mode); 3] = [
    ("none", Mode::None),
    ("control", Mode::None),
    ("agent", Mode::Agent),
];

/// Latencies that are compared.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// Latencies of a slice.
type Slice = [Duration; QUANTILES.len()];

/// Arguments of `bench-latency`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Requests per second; both ends of each are traced
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// How long the server works on a request, waiting as for a database, µs
    #[arg(long, default_value_t = 1_000)]
    work: u64,
    /// Connections at a time
    #[arg(long, default_value_t = 100)]
    connections: u32,
    /// Rounds; every round runs every mode once
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Length of a slice, seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Send every span, to a gateway on the same CPUs; else those that sampling keeps
    #[arg(long)]
    every_span: bool,
}

/// Measures and prints.
///
/// # Errors
/// Not root, a connection that fails, or an agent that ends.
pub(crate) fn main(args: &Args) -> Result<()> {
    let sink = Sink::start()?;
    let mut agent = Agent::new(args.agent.clone(), "run")?.exporting_to(sink.address);
    if args.every_span {
        agent = agent.keeping_all();
    }
    let server = pair::serve(Duration::from_micros(args.work))?;
    let plan = Plan {
        connections: args.connections,
        depth: 1,
        rate: f64::from(args.rate),
        duration: Duration::from_secs(args.seconds.into()),
    };
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut slices = [Slice::default(); MODES.len()];
        for index in slots(round, MODES.len()) {
            slices[index] = slice(MODES[index].1, &agent, server, &plan)?;
        }
        let shown: Vec<String> = MODES
            .iter()
            .zip(&slices)
            .map(|((name, _), slice)| format!("{name} {}", slice.map(micros).join(" ")))
            .collect();
        let names = QUANTILES.map(|(name, _)| name).join(" ");
        eprintln!("round {}: {names}, µs: {}", round + 1, shown.join(", "));
        rounds.push(slices);
    }
    ensure!(sink.spans() > 0, "the agent exported nothing");
    println!(
        "{}/s of {} µs work over {} connections, both ends traced, {} rounds",
        args.rate, args.work, args.connections, args.rounds
    );
    println!("median (min-max) of the ratios to `none` within a round");
    println!("and the least of all rounds, µs: what a neighbour's work did not disturb\n");
    for (index, (name, _)) in MODES.iter().enumerate() {
        let mut line = format!("{name:<8}");
        for (quantile, (title, _)) in QUANTILES.iter().enumerate() {
            let ratio = |round: &[Slice; MODES.len()]| {
                round[index][quantile].as_secs_f64() / round[0][quantile].as_secs_f64()
            };
            let least = rounds.iter().map(|round| round[index][quantile]).min();
            line += &format!(
                "  {title} {:>19} {:>5}",
                spread(rounds.iter().map(ratio)),
                least.map(micros).unwrap_or_default()
            );
        }
        println!("{line}");
    }
    Ok(())
}

fn micros(time: Duration) -> String {
    time.as_micros().to_string()
}

fn slice(mode: Mode, agent: &Agent, server: SocketAddr, plan: &Plan) -> Result<Slice> {
    let mut attached = Attached::new(mode, agent)?;
    let done = pair::ask(server, plan)?;
    if let Some(agent) = &mut attached.agent {
        agent.check()?;
    }
    attached.detach()?;
    let rate = done.requests as f64 / done.took.as_secs_f64();
    ensure!(
        rate > plan.rate * 0.95,
        "only {rate:.0} requests/s: the machine is too busy for this rate"
    );
    Ok(QUANTILES.map(|(_, part)| done.quantile(part)))
}
