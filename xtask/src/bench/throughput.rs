//! `bench-throughput`: what tracing costs a saturated server, as a ratio.
//!
//! The machine's speed drifts, so modes take turns in short slices and are compared
//! within a round only; the figure is the median of the rounds' ratios.

use super::load::{Protocol, Server};
use super::subject::{Agent, Attached, Mode};
use super::{Common, prepare};
use anyhow::Result;

/// Modes of a round; the second `none` shows how much two equal slices differ.
const MODES: [(&str, Mode); 4] = [
    ("none", Mode::None),
    ("control", Mode::None),
    ("empty", Mode::Empty),
    ("agent", Mode::Agent),
];

/// Arguments of `bench-throughput`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// What the load is of
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Rounds; every round runs every mode once
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Length of a slice, seconds
    #[arg(long, default_value_t = 3)]
    seconds: u32,
}

/// One mode in one round.
#[derive(Clone, Copy, Default)]
struct Slice {
    /// Requests per second.
    rate: f64,
    /// CPU time of the server per request, µs.
    server_us: f64,
    /// CPU time of the agent per request, µs.
    agent_us: f64,
}

/// Measures and prints.
///
/// # Errors
/// Not root, a program that cannot be installed or started, or an agent that ends.
pub(crate) fn main(args: &Args) -> Result<()> {
    let agent = prepare(&args.common)?;
    let server = args.protocol.serve()?;
    args.protocol.saturate(&server, 1)?;
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut slices = [Slice::default(); MODES.len()];
        for index in slots(round, MODES.len()) {
            slices[index] = slice(MODES[index].1, &agent, &server, args)?;
        }
        let rates: Vec<String> = MODES
            .iter()
            .zip(&slices)
            .map(|((n, _), s)| format!("{n} {:.0}/s", s.rate))
            .collect();
        eprintln!("round {}: {}", round + 1, rates.join(", "));
        rounds.push(slices);
    }
    server.running.stop()?;
    report(args.protocol, &rounds);
    Ok(())
}

/// The order of the modes in a round: rotated, and turned round every other time, so that
/// no mode always follows the same.
pub(super) fn slots(round: usize, modes: usize) -> impl Iterator<Item = usize> {
    (0..modes).map(move |turn| {
        let turn = if round.is_multiple_of(2) {
            turn
        } else {
            modes - 1 - turn
        };
        (round / 2 + turn) % modes
    })
}

fn slice(mode: Mode, agent: &Agent, server: &Server, args: &Args) -> Result<Slice> {
    let mut attached = Attached::new(mode, agent)?;
    let agent_cpu = |attached: &Attached| -> Result<f64> {
        attached
            .agent
            .as_ref()
            .map_or(Ok(0.0), |agent| agent.cpu_seconds())
    };
    let before = (server.running.cpu_seconds()?, agent_cpu(&attached)?);
    let load = args.protocol.saturate(server, args.seconds)?;
    let after = (server.running.cpu_seconds()?, agent_cpu(&attached)?);
    if let Some(agent) = &mut attached.agent {
        agent.check()?;
    }
    attached.detach()?;
    let per_request = 1e6 / load.requests as f64;
    Ok(Slice {
        rate: load.requests as f64 / load.seconds,
        server_us: (after.0 - before.0) * per_request,
        agent_us: (after.1 - before.1) * per_request,
    })
}

fn report(protocol: Protocol, rounds: &[[Slice; MODES.len()]]) {
    println!(
        "{}, both ends traced, {} rounds",
        protocol.describe(),
        rounds.len()
    );
    println!("median (min-max) of the ratios to `none` within a round, CPU in µs per request\n");
    println!(
        "{:<8} {:>20} {:>20} {:>9} {:>9}",
        "mode", "throughput", "server CPU", "server", "agent"
    );
    for (index, (name, _)) in MODES.iter().enumerate() {
        let over = |value: &dyn Fn(&Slice) -> f64| {
            spread(
                rounds
                    .iter()
                    .map(|round| value(&round[index]) / value(&round[0])),
            )
        };
        let median = |value: &dyn Fn(&Slice) -> f64| {
            middle(rounds.iter().map(|round| value(&round[index])).collect())
        };
        println!(
            "{name:<8} {:>20} {:>20} {:>9.2} {:>9.2}",
            over(&|slice| slice.rate),
            over(&|slice| slice.server_us),
            median(&|slice| slice.server_us),
            median(&|slice| slice.agent_us),
        );
    }
}

/// Median, least and most.
pub(super) fn spread(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.3} ({low:.2}-{high:.2})", middle(values))
}

/// The median.
fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(middle(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(middle(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(spread([0.8, 0.9, 1.0].into_iter()), "0.900 (0.80-1.00)");
    }
}
