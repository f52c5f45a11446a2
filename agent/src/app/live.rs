//! Requests of the running host: from the kernel through the pairing stage to a sink.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::sweep::Sweep;
use crate::capture::ledger::Ledger;
use crate::capture::recording::{self, Header, Recorder};
use crate::capture::{self, Capture, CaptureConfig, CaptureError, Verdict};
use crate::config::resolved::Config;
use crate::config::rule::{Rule, Rules};
use crate::host::discovery::host::HostInfo;
use crate::host::preflight;
use crate::model::clock::{Offset, Remeasure};
use crate::model::exchange::{ProcessInfo, Side, Sink};
use crate::model::exit::{Exit, Failure};
use crate::model::ids::Seed;
use crate::model::processes::Processes;
use crate::pairing::conn::{Limits, Pipeline};
use remora_common::pod::Pod as _;
use remora_common::record::Close;

/// Longest wait for records; the kernel does not wake the agent for every one.
pub(super) const STEP: Duration = Duration::from_millis(20);
/// Age at which what is recorded goes to the operating system.
const FLUSH: Duration = Duration::from_secs(1);

/// A live source.
pub(super) struct Live<P> {
    capture: Capture,
    pipeline: Pipeline<P>,
    clock: Remeasure,
    recorder: Option<Recorder>,
    flushed: Instant,
    sweep: Sweep,
}

impl<P: Processes> Live<P> {
    /// Begins to capture. `only` are processes to which, with their children, tracing
    /// is limited; `record` is a file for what comes from the kernel; `serving` says
    /// whether to note which thread serves which request.
    pub(super) fn start(
        config: &Config,
        only: &[u32],
        processes: P,
        record: Option<&Path>,
        serving: bool,
    ) -> Result<Self, Failure> {
        // Whoever lacks them gets this one message, and no other.
        preflight::privileges()?;
        let capture_config = CaptureConfig {
            serving,
            ..capture_config(config, only)?
        };
        let (seed, clock) = (Seed::random(), Offset::measure());
        // First the kernel, so that nothing is written where it refuses.
        let capture = Capture::start(&capture_config).map_err(refused)?;
        let header = Header {
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            seed,
            clock,
            host: host(),
        };
        Ok(Self {
            capture,
            pipeline: Pipeline::new(limits(config), seed, clock, processes),
            clock: Remeasure::start(),
            recorder: record
                .map(|path| Recorder::create(path, &header))
                .transpose()
                .map_err(unwritable)?,
            flushed: Instant::now(),
            sweep: Sweep::new(),
        })
    }

    /// Takes what is there, or waits for it for at most `wait`. Returns the number of
    /// records.
    pub(super) fn step<S: Sink>(&mut self, wait: Duration, sink: &mut S) -> Result<usize, Failure> {
        self.sweep(sink)?;
        let Self {
            capture,
            pipeline,
            clock,
            recorder,
            flushed,
            ..
        } = self;
        let mut recorded = Ok(());
        if let Some(offset) = clock.due() {
            pipeline.set_clock(offset);
            if let Some(recorder) = recorder {
                recorded = recorder.clock(offset);
            }
        }
        if let Some(recorder) = recorder
            && recorded.is_ok()
            && flushed.elapsed() >= FLUSH
        {
            *flushed = Instant::now();
            recorded = recorder.flush();
        }
        let taken = capture.poll(wait, &mut |bytes| {
            let process = pipeline.record(bytes, sink);
            if let Some(recorder) = recorder {
                let result = recorder.record(bytes, process);
                if recorded.is_ok() {
                    recorded = result;
                }
            }
        });
        recorded.map_err(unwritable)?;
        taken.map_err(|error| Failure::failed(format!("records cannot be read: {error}")))
    }

    /// The accounts so far. Requests whose records are still in the ring are seen, but
    /// neither emitted nor lost yet.
    pub(super) fn ledger(&mut self) -> Result<Ledger, Failure> {
        let counters = self.capture.counters().map_err(uncounted)?;
        self.pipeline.set_kernel_counters(counters);
        Ok(self.pipeline.ledger())
    }

    /// How full the memory for requests under way is, 0 to 1.
    pub(super) fn fill(&self) -> f64 {
        self.pipeline.fill()
    }

    /// Whether new connections are passed over, see [`Pipeline::set_refuses`].
    pub(super) fn set_refuses(&mut self, refuses: bool) {
        self.pipeline.set_refuses(refuses);
    }

    /// Which thread serves which request: see [`Capture::serving`].
    pub(super) fn serving(&self) -> Result<BorrowedFd<'_>, CaptureError> {
        self.capture.serving()
    }

    /// Events at which the kernel left the programs out: see [`Capture::missed`].
    pub(super) fn missed(&self) -> Option<u64> {
        self.capture.missed()
    }

    /// Looks for connections whose end was in a lost record.
    fn sweep<S: Sink>(&mut self, sink: &mut S) -> Result<(), Failure> {
        if !self.sweep.begins() {
            return Ok(());
        }
        let gone = self.gone()?;
        let gone = self.sweep.ends(gone);
        self.end_untold(gone, sink)
    }

    /// Connections with requests under way that the kernel programs follow no more.
    fn gone(&self) -> Result<Vec<u64>, Failure> {
        let under_way: Vec<u64> = self.pipeline.under_way().collect();
        if under_way.is_empty() {
            return Ok(under_way);
        }
        let followed = self.capture.followed().map_err(refused)?;
        let gone = under_way.into_iter().filter(|id| !followed.contains(id));
        Ok(gone.collect())
    }

    /// Ends connections as the records of their ends would have.
    fn end_untold<S: Sink>(&mut self, gone: Vec<u64>, sink: &mut S) -> Result<(), Failure> {
        for close in gone.into_iter().map(Close::untold) {
            self.pipeline.record(close.as_bytes(), sink);
            if let Some(recorder) = &mut self.recorder {
                recorder
                    .record(close.as_bytes(), None)
                    .map_err(unwritable)?;
            }
        }
        Ok(())
    }

    /// Tells of the requests under way: see [`Pipeline::in_flight`].
    pub(super) fn in_flight(&self, each: &mut dyn FnMut(&ProcessInfo, Side, Option<&str>)) {
        self.pipeline.in_flight(each);
    }

    /// Detaches the programs, takes what is left, and closes the ledger.
    pub(super) fn finish<S: Sink>(mut self, sink: &mut S) -> Result<Ledger, Failure> {
        if let Some(missed) = self.missed().filter(|missed| *missed > 0) {
            eprintln!(
                "remora: the kernel left the programs out {missed} times; each may hide a request"
            );
        }
        self.capture.stop().map_err(refused)?;
        while self.step(Duration::ZERO, sink)? > 0 {}
        let gone = self.gone()?;
        self.end_untold(gone, sink)?;
        let counters = self.capture.counters().map_err(uncounted)?;
        self.pipeline.set_kernel_counters(counters);
        if let Some(recorder) = self.recorder {
            recorder.finish(&counters).map_err(unwritable)?;
        }
        Ok(self.pipeline.ledger())
    }
}

/// Bounds of the pairing stage. The kernel's table is the narrower one: records of closed
/// connections may still be on their way when it has room again.
fn limits(config: &Config) -> Limits {
    Limits {
        conns: (config.max_connections as usize).saturating_mul(2),
        ..Limits::within(config.memory.pipeline)
    }
}

/// Attributes of this host, for a recording.
fn host() -> BTreeMap<String, String> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    HostInfo::read().attributes().map(own).collect()
}

fn uncounted(error: io::Error) -> Failure {
    Failure::failed(format!("counters cannot be read: {error}"))
}

fn unwritable(error: recording::Error) -> Failure {
    use std::error::Error as _;
    let cause = error
        .kind
        .source()
        .map_or_else(String::new, |cause| format!(": {cause}"));
    Failure::failed(format!("{error}{cause}"))
}

pub(super) fn refused(error: CaptureError) -> Failure {
    let exit = if error.is_environment() {
        Exit::Unsupported
    } else {
        Exit::Failed
    };
    Failure::new(exit, &error).with_fix(error.fix())
}

/// Settings as the kernel side takes them.
fn capture_config(config: &Config, only: &[u32]) -> Result<CaptureConfig, Failure> {
    Ok(CaptureConfig {
        head_bytes: config.capture_head_bytes,
        ring_bytes: config.ring_bytes,
        max_connections: config.max_connections,
        rules: rules(&config.rules, only)?,
        ..CaptureConfig::default()
    })
}

fn rules(configured: &Rules, only: &[u32]) -> Result<capture::Rules, Failure> {
    let mut rules = capture::Rules::default();
    for rule in &configured.include {
        // A command to trace alone takes the place of the processes in the settings.
        let task = matches!(rule, Rule::Pid(_) | Rule::Executable(_));
        if only.is_empty() || !task {
            rules.add(kernel_rule(rule)?, Verdict::Include);
        }
    }
    for rule in &configured.exclude {
        rules.add(kernel_rule(rule)?, Verdict::Exclude);
    }
    for pid in only {
        rules.add(capture::Rule::Pid(*pid), Verdict::Include);
    }
    Ok(rules)
}

fn kernel_rule(rule: &Rule) -> Result<capture::Rule, Failure> {
    Ok(match rule {
        Rule::Pid(pid) => capture::Rule::Pid(*pid),
        Rule::Executable(name) => capture::Rule::Executable(name.clone()),
        Rule::Port(port) => capture::Rule::Port(*port),
        Rule::Cgroup(path) => capture::Rule::Cgroup(cgroup_id(path).map_err(|error| {
            Failure::new(Exit::Config, format!("there is no cgroup {path}: {error}"))
                .with_fix("name a cgroup v2 as in /proc/PID/cgroup, behind 0::")
        })?),
    })
}

/// The kernel's id of a cgroup v2: the inode number of its folder.
pub(super) fn cgroup_id(path: &str) -> io::Result<u64> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let root = mounts
        .lines()
        .find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let place = words.next()?;
            (words.next()? == "cgroup2").then(|| PathBuf::from(place))
        })
        .ok_or_else(|| io::Error::other("no cgroup v2 hierarchy is mounted"))?;
    Ok(std::fs::metadata(root.join(Path::new(path.trim_start_matches('/'))))?.ino())
}
