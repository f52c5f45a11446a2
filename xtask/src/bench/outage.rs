//! `bench-outage`: what `remora run` holds while its gateway is away.

use super::loss::Accounts;
use super::pair::{self, Plan};
use super::subject::{Agent, Attached, Mode};
use anyhow::{Context as _, Result, ensure};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Where the agent's default for `memory_limit` is, MiB.
const MEMORY_LIMIT: u64 = 128;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `bench-outage`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Measure this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Requests per second; both ends of each are traced
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// How long, seconds
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// `memory_limit`, MiB; the agent must not be larger as a whole, its ring and code included
    #[arg(long, value_name = "MIB", default_value_t = MEMORY_LIMIT)]
    memory: u64,
    /// Let it spool to this directory
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// The agent was larger than it may be, or spans are not accounted for.
pub(crate) fn main(args: &Args) -> Result<()> {
    let mut agent = Agent::new(args.agent.clone(), "run")?
        .exporting_to(nobody()?)
        .keeping_all()
        .with("REMORA_MEMORY_LIMIT", &format!("{}MiB", args.memory));
    if let Some(dir) = &args.spool {
        agent = agent.with("REMORA_SPOOL_DIR", &dir.to_string_lossy());
    }
    let server = pair::serve(Duration::ZERO)?;
    let plan = Plan {
        connections: 32,
        depth: 1,
        rate: f64::from(args.rate),
        duration: Duration::from_secs(args.seconds.into()),
    };
    let mut attached = Attached::new(Mode::Agent, &agent)?;
    let mut running = attached.agent.take().context("no agent")?;
    let load = std::thread::spawn(move || pair::ask(server, &plan));
    let (begin, mut resident) = (Instant::now(), Vec::new());
    while !load.is_finished() {
        std::thread::sleep(LOOK);
        running.check()?;
        let now = running.rss()?;
        if resident.len() % 60 == 0 {
            let seconds = begin.elapsed().as_secs();
            println!("after {seconds:>4} s: {} MB resident", now >> 20);
        }
        resident.push(now);
    }
    let done = load.join().ok().context("the load panicked")??;
    let peak = running.rss_peak()?;
    let said = running.stop_and_read()?;
    let accounts = Accounts::read(&said).with_context(|| format!("the agent said: {said}"))?;
    for line in said.lines().filter(|line| line.contains(" = ")) {
        println!("{line}");
    }
    let (tenth, all) = (resident.len() / 10, resident.len());
    let last = resident.iter().skip(all - tenth.max(1)).max();
    let last = last.copied().unwrap_or_default();
    println!(
        "{} requests in {:.0} s; resident: {} MB at most, {} MB in the last tenth; memory_limit {} MiB",
        done.requests,
        done.took.as_secs_f64(),
        peak >> 20,
        last >> 20,
        args.memory
    );
    ensure!(accounts.seen >= done.requests * 2, "requests were not seen");
    ensure!(accounts.delivered == 0, "somebody took spans");
    ensure!(
        accounts.reported == accounts.dropped + accounts.kept,
        "spans are neither kept nor counted as dropped"
    );
    ensure!(
        peak <= args.memory << 20,
        "the agent was larger than its limit"
    );
    Ok(())
}

/// An address at which nobody listens.
fn nobody() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
