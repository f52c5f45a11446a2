//! What is attached while the load runs: nothing, empty programs, or the agent.

use super::child::Running;
use super::programs;
use crate::process::run;
use crate::workspace;
use anyhow::{Result, ensure};
use aya::Ebpf;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long the agent may take to attach.
const START: Duration = Duration::from_secs(20);
/// No further program for this long: everything is attached.
const SETTLED: Duration = Duration::from_millis(700);

/// The modes that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// Nothing is attached.
    None,
    /// Programs that do nothing are attached to the same hooks.
    Empty,
    /// The agent runs.
    Agent,
}

impl Mode {
    /// Name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Empty => "empty",
            Self::Agent => "agent",
        }
    }
}

/// How the agent is started.
pub(super) struct Agent {
    path: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Agent {
    /// Takes the binary and its arguments; builds the binary if none is given.
    pub(super) fn new(path: Option<PathBuf>, args: &str) -> Result<Self> {
        let path = match path {
            Some(path) => path,
            None => {
                let mut build = Command::new(workspace::cargo());
                build.current_dir(workspace::root());
                run(build.args(["build", "--release", "--locked", "-p", "remora"]))?;
                workspace::target().join("release/remora")
            }
        };
        let args = args.split_whitespace().map(str::to_owned).collect();
        Ok(Self {
            path,
            args,
            env: Vec::new(),
        })
    }

    /// Has it send spans to a gateway that speaks OTLP/HTTP.
    pub(super) fn exporting_to(self, gateway: SocketAddr) -> Self {
        self.with("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{gateway}"))
    }

    /// Has it keep every span, where every one is counted.
    pub(super) fn keeping_all(self) -> Self {
        self.with("OTEL_TRACES_SAMPLER", "always_on")
    }

    /// Sets a variable.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Something attached, until dropped.
pub(super) struct Attached {
    /// The agent, if it is what is attached.
    pub(super) agent: Option<Running>,
    /// Its programs.
    pub(super) programs: BTreeSet<u32>,
    empty: Option<Ebpf>,
}

impl Attached {
    /// Attaches what the mode says and waits until that is done.
    pub(super) fn new(mode: Mode, agent: &Agent) -> Result<Self> {
        let mut attached = Self {
            agent: None,
            programs: BTreeSet::new(),
            empty: None,
        };
        match mode {
            Mode::None => return Ok(attached),
            Mode::Empty => {
                let object = workspace::root().join("agent/ebpf/empty.bpf.o");
                attached.empty = Some(programs::attach_empty(&object)?);
                attached.programs = programs::of_process(std::process::id())?;
            }
            Mode::Agent => {
                let mut running = Running::start(
                    Command::new(&agent.path)
                        .args(&agent.args)
                        .envs(agent.env.iter().map(|(name, value)| (name, value))),
                )?;
                attached.programs = settled(&mut running)?;
                attached.agent = Some(running);
            }
        }
        Ok(attached)
    }

    /// Detaches, and waits until that is done.
    pub(super) fn detach(self) -> Result<()> {
        drop(self.empty);
        self.agent.map_or(Ok(()), Running::stop)
    }
}

/// What the agent says when the programs are attached, in `trace` and in `run`.
const READY: [&str; 2] = ["remora: tracing", "remora: exporting"];

/// Waits until the agent's programs are there, no more are added, and it says that it is at
/// work: on a busy host much time lies between loading and attaching.
fn settled(agent: &mut Running) -> Result<BTreeSet<u32>> {
    let start = Instant::now();
    let mut ours = BTreeSet::new();
    let mut changed = Instant::now();
    let ready = |agent: &Running| READY.iter().any(|word| agent.said().contains(word));
    while ours.is_empty() || changed.elapsed() < SETTLED || !ready(agent) {
        agent.check()?;
        ensure!(
            start.elapsed() < START,
            "the agent attached nothing within {START:?}"
        );
        let now = programs::of_process(agent.pid())?;
        if now != ours {
            ours = now;
            changed = Instant::now();
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(ours)
}
