//! `bench-hooks`, `bench-throughput`, `bench-latency`: what tracing costs the traced, and
//! `bench-loss`: whether it keeps up, `bench-outage`: what it holds meanwhile.

mod calls;
mod child;
pub(crate) mod hooks;
pub(crate) mod latency;
mod load;
pub(crate) mod loss;
pub(crate) mod outage;
mod pair;
mod programs;
mod sink;
mod subject;
pub(crate) mod throughput;

use crate::deps;
use anyhow::Result;
use std::path::PathBuf;
use subject::Agent;

/// Arguments that the benches share.
#[derive(clap::Args)]
pub(crate) struct Common {
    /// Measure this agent instead of building one
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Arguments of the agent; what it writes to standard output is thrown away
    #[arg(
        long,
        value_name = "ARGS",
        default_value = "trace -o json",
        allow_hyphen_values = true
    )]
    agent_args: String,
}

/// Installs the servers and the load, and builds the agent.
fn prepare(common: &Common) -> Result<Agent> {
    deps::apt(&load::PACKAGES)?;
    Agent::new(common.agent.clone(), &common.agent_args)
}
