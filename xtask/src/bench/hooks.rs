//! `bench-hooks`: what each kernel program costs, by the kernel's own count.

use super::calls::{self, Amount, Calls};
use super::load::{self, Load};
use super::programs::{self, Usage};
use super::subject::{Agent, Attached, Mode};
use super::{Common, prepare};
use anyhow::{Context as _, Result};
use aya::sys::{Stats, enable_stats};

/// Requests and blocks of the loads that are counted rather than timed.
const REDIS_REQUESTS: u64 = 200_000;
const CALLS: u64 = 100_000;
const DD_BLOCKS: u64 = 500_000;

/// Arguments of `bench-hooks`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// How long to load nginx in each mode, seconds
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

/// A workload, with what its unit is called and how many sides of it are traced.
struct Workload {
    name: &'static str,
    unit: &'static str,
    units_per_request: u64,
}

const HTTP: Workload = Workload {
    name: "nginx, 200 B responses, keep-alive, saturated by wrk",
    unit: "transaction side",
    units_per_request: 2,
};
const GRPC: Workload = Workload {
    name: "nghttpd, unary gRPC calls one at a time on each connection, saturated by h2load",
    unit: "call side",
    units_per_request: 2,
};
const REDIS: Workload = Workload {
    name: "redis PING: connections that are not HTTP",
    // Both ends write once and read once; what they do in between is part of it.
    unit: "read or write, with the calls around it",
    units_per_request: 4,
};
const FILES: Workload = Workload {
    name: "dd: one-byte reads and writes of descriptors that are no sockets",
    unit: "read or write",
    units_per_request: 2,
};

/// What one mode cost under one workload.
struct Cost {
    mode: Mode,
    programs: Vec<Usage>,
    load: Load,
}

impl Cost {
    fn per_unit(&self, workload: &Workload) -> f64 {
        let ns: u64 = self.programs.iter().map(|usage| usage.ns).sum();
        ns as f64 / (self.load.requests * workload.units_per_request) as f64
    }
}

/// Measures and prints.
///
/// # Errors
/// Not root, a program that cannot be installed or started, or an agent that ends.
pub(crate) fn main(args: &Args) -> Result<()> {
    let agent = prepare(&args.common)?;
    // Run times are counted as long as this is open, and not beyond.
    let _stats = enable_stats(Stats::RunTime).context("the kernel does not count run times")?;
    let nginx = load::nginx()?;
    let redis = load::redis()?;
    let nghttpd = calls::nghttpd()?;
    let wrk = || load::wrk(&nginx, args.seconds);
    report(
        &HTTP,
        &[
            measure(Mode::Empty, &agent, &wrk)?,
            measure(Mode::Agent, &agent, &wrk)?,
        ],
    );
    let call = || calls::h2load(&nghttpd, Calls::ALONE, Amount::Calls(CALLS));
    report(
        &GRPC,
        &[
            measure(Mode::Empty, &agent, &call)?,
            measure(Mode::Agent, &agent, &call)?,
        ],
    );
    let ping = || load::redis_benchmark(&redis, REDIS_REQUESTS);
    report(
        &REDIS,
        &[
            measure(Mode::Empty, &agent, &ping)?,
            measure(Mode::Agent, &agent, &ping)?,
        ],
    );
    let dd = || load::dd(DD_BLOCKS);
    report(
        &FILES,
        &[
            measure(Mode::Empty, &agent, &dd)?,
            measure(Mode::Agent, &agent, &dd)?,
        ],
    );
    nginx.running.stop()?;
    nghttpd.running.stop()?;
    redis.running.stop()?;
    Ok(())
}

fn measure(mode: Mode, agent: &Agent, load: &dyn Fn() -> Result<Load>) -> Result<Cost> {
    let mut attached = Attached::new(mode, agent)?;
    let before = programs::usage()?;
    let load = load()?;
    let after = programs::usage()?;
    if let Some(agent) = &mut attached.agent {
        agent.check()?;
    }
    let programs = programs::between(&attached.programs, &before, &after);
    attached.detach()?;
    Ok(Cost {
        mode,
        programs,
        load,
    })
}

fn report(workload: &Workload, costs: &[Cost]) {
    println!("\n{}", workload.name);
    for cost in costs {
        let rate = cost.load.requests as f64 / cost.load.seconds;
        println!(
            "  {}: {} requests, {rate:.0}/s",
            cost.mode.name(),
            cost.load.requests
        );
        for usage in &cost.programs {
            println!(
                "    {:<16} {:>9} runs {:>8.1} ns",
                usage.name,
                usage.runs,
                usage.mean()
            );
        }
        println!(
            "    sum per {}: {:.1} ns",
            workload.unit,
            cost.per_unit(workload)
        );
    }
    if let [empty, agent] = costs {
        let added = agent.per_unit(workload) - empty.per_unit(workload);
        println!("  added per {}: {added:.1} ns", workload.unit);
    }
}
