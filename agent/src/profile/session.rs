//! A profile being taken: samples come in, mappings and tables go out.

pub mod track;

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use remora_common::cursor::Cursor;
use remora_common::profile::{COUNTERS, Counter, Gone, Sample, Wanted};
use remora_common::record::{Header, Kind};

use super::collect::{Collector, Lost, Span, Tag};
use super::kernel::clock::{Clock, NoCycles};
use super::kernel::{ProgramCost, Sampler, Targets};
use super::model::{Event, Limits, Profile};
use super::recording::{self, Recorder};
use super::symbolize::{Live, Names};
use crate::capture::CaptureError;
use crate::host::discovery::procfs::ProcDir;
use crate::model::clock::Offset;
use track::Tracker;

/// Frequencies of samples, per second and CPU: smallest, default of continuous profiles,
/// default of others, largest.
pub const FREQUENCY: (u32, u32, u32, u32) = (1, 19, 99, 10_000);

/// What to sample, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to sample.
    pub targets: Targets,
    /// Samples a second on each CPU, within [`FREQUENCY`].
    pub frequency: u32,
    /// What makes the CPUs take samples.
    pub clock: Clock,
    /// How big the profile may become.
    pub limits: Limits,
    /// Write what comes from the kernel to this file.
    pub record: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            targets: Targets::default(),
            frequency: FREQUENCY.2,
            clock: Clock::default(),
            limits: Limits::default(),
            record: None,
        }
    }
}

/// Why a session cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] CaptureError),
    /// The recording.
    #[error(transparent)]
    Recording(#[from] recording::Error),
    /// A thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// How far a session has come.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Samples in the profile.
    pub samples: u64,
    /// Samples lost in the kernel.
    pub lost: u64,
    /// Processes whose stacks are followed.
    pub processes: usize,
    /// Binaries with code.
    pub binaries: usize,
    /// Binaries whose unwind rows are being prepared.
    pub preparing: usize,
}

/// A profile being taken. Everything is undone when this is dropped.
pub struct Session {
    sampler: Sampler,
    tracker: Tracker,
    collector: Collector,
    names: Names,
    recorder: Option<Recorder>,
    batch: Vec<u8>,
    frequency: u32,
    started: (SystemTime, Instant),
    /// Samples each CPU had lost when this profile began.
    lost_before: Vec<u64>,
}

/// Records taken in one go.
const BATCH: usize = 512;
/// Longest wait for the unwind rows of the processes that were asked for.
const EXPECT: Duration = Duration::from_secs(1);
/// Longest wait while unwind rows are being prepared.
const WHILE_PREPARING: Duration = Duration::from_millis(5);

impl Session {
    /// Starts taking samples.
    ///
    /// # Errors
    /// Says which privilege or kernel feature is missing.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let frequency = options.frequency.clamp(FREQUENCY.0, FREQUENCY.3);
        let (sampler, tables) = Sampler::load(&options.targets)?;
        let clock = Offset::measure();
        let recorder = match &options.record {
            Some(path) => Some(Recorder::create(path, clock)?),
            None => None,
        };
        let tracker = Tracker::start(tables).map_err(StartError::Thread)?;
        let collector = Collector::new(options.limits, clock);
        let mut session = Self {
            sampler,
            tracker,
            collector,
            names: Names::default(),
            recorder,
            batch: Vec::new(),
            frequency,
            started: (SystemTime::now(), Instant::now()),
            lost_before: Vec::new(),
        };
        session.expect(&options.targets.pids);
        session.sampler.start(frequency, options.clock)?;
        Ok(session)
    }

    /// Prepares for processes that will be sampled, so that their first stacks are whole.
    fn expect(&mut self, pids: &[u32]) {
        for pid in pids {
            self.tracker.expect(
                *pid,
                &mut self.sampler,
                &mut self.collector,
                &mut self.recorder,
            );
        }
        let begin = Instant::now();
        while self.tracker.preparing() > 0 && begin.elapsed() < EXPECT {
            self.tracker
                .tick(&mut self.sampler, &mut self.collector, &mut self.recorder);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Takes in what is waiting, or waits for at most `timeout`. Call it at least ten
    /// times a second.
    ///
    /// # Errors
    /// Those of waiting; a recording that cannot be written only ends the recording.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        // Rows that are ready wake nobody.
        let timeout = match self.tracker.preparing() {
            0 => timeout,
            _ => timeout.min(WHILE_PREPARING),
        };
        let taken = self.sampler.poll(timeout, BATCH, &mut |record| {
            batch.extend_from_slice(record);
            batch.resize(batch.len().next_multiple_of(8), 0);
        });
        let mut rest = batch.as_slice();
        while let Some(header) = Cursor::new(rest).read::<Header>() {
            let len = (header.len as usize).clamp(size_of::<Header>(), rest.len());
            self.record(header.kind, &rest[..len]);
            rest = rest.get(len.next_multiple_of(8)..).unwrap_or_default();
        }
        self.batch = batch;
        self.tracker
            .tick(&mut self.sampler, &mut self.collector, &mut self.recorder);
        if taken? < BATCH {
            self.settle();
        }
        Ok(())
    }

    fn record(&mut self, kind: Kind, record: &[u8]) {
        let mut cursor = Cursor::new(record);
        match kind {
            Kind::SAMPLE => {
                if let Some(sample) = cursor.read::<Sample>() {
                    self.tracker.sampled(
                        &sample,
                        &mut self.sampler,
                        &mut self.collector,
                        &mut self.recorder,
                    );
                }
                if let Some(recorder) = &mut self.recorder {
                    recorder.record(record);
                }
                self.collector.sample(record);
            }
            Kind::WANTED => {
                if let Some(wanted) = cursor.read::<Wanted>() {
                    self.tracker.wanted(
                        wanted,
                        &mut self.sampler,
                        &mut self.collector,
                        &mut self.recorder,
                    );
                }
            }
            Kind::GONE => {
                if let Some(gone) = cursor.read::<Gone>() {
                    if let Some(recorder) = &mut self.recorder {
                        recorder.record(record);
                    }
                    self.tracker.gone(gone.tgid);
                    self.collector.gone(gone.tgid);
                }
            }
            _ => {}
        }
    }

    /// A request ended: samples taken while a thread served it get this tag.
    pub fn tag(&mut self, conn: u64, request: u32, tag: Tag) {
        self.collector.tag(conn, request, tag);
    }

    /// The ring was empty: requests that ended before have all their samples.
    fn settle(&mut self) {
        let recorder = &mut self.recorder;
        self.collector.settle(&mut |conn, request, tag| {
            if let Some(recorder) = recorder {
                recorder.tag(conn, request, tag);
            }
        });
    }

    /// The sampling programs, to connect them with who traces requests.
    pub fn sampler(&mut self) -> &mut Sampler {
        &mut self.sampler
    }

    /// What makes the CPUs take samples.
    #[must_use]
    pub fn event(&self) -> Event {
        self.sampler.event()
    }

    /// Why samples are not taken by the clock that was asked for, if they are not.
    #[must_use]
    pub fn instead(&self) -> Option<&NoCycles> {
        self.sampler.instead()
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let lost = self.counter(Counter::RingFull);
        Progress {
            samples: self.collector.count(),
            lost,
            processes: self.tracker.processes(),
            binaries: self.tracker.binaries().len(),
            preparing: self.tracker.preparing(),
        }
    }

    /// How long preparing unwind rows took, and how many there are, by binary.
    #[must_use]
    pub fn prepared(&self) -> &[track::Preparation] {
        self.tracker.prepared()
    }

    /// What the kernel says of every program.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramCost> {
        self.sampler.programs()
    }

    /// The kernel's counters, summed over all CPUs.
    #[must_use]
    pub fn counter(&self, counter: Counter) -> u64 {
        let counters = self.sampler.counters().unwrap_or_default();
        counters.iter().map(|cpu| cpu[counter as usize]).sum()
    }

    /// The profile up to now; the next one begins.
    ///
    /// # Errors
    /// Those of reading what is left in the ring.
    pub fn flush(&mut self) -> io::Result<Profile> {
        self.drain()?;
        // Once for those that have just ended, once to be done with them.
        self.settle();
        self.settle();
        let now = (SystemTime::now(), Instant::now());
        let (begin, since) = std::mem::replace(&mut self.started, now);
        let start = begin.duration_since(UNIX_EPOCH).unwrap_or_default();
        let span = Span {
            start_unix_ns: nanoseconds(start),
            duration_ns: nanoseconds(now.1.duration_since(since)),
            period_ns: match self.sampler.event() {
                Event::CpuClock => 1_000_000_000 / u64::from(self.frequency.max(1)),
                Event::Cycles { .. } => 0,
            },
            event: self.sampler.event(),
        };
        let lost = self.lost();
        let mut live = Live::new(&mut self.names, self.tracker.binaries());
        Ok(match self.recorder.take() {
            None => self.collector.finish(span, &lost, &mut live),
            Some(mut recorder) => {
                let mut symbols = recorder.listen(&mut live);
                let profile = self.collector.finish(span, &lost, &mut symbols);
                recorder.end(span, &lost);
                profile
            }
        })
    }

    /// Stops taking samples and returns the profile. A recording ends with it.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub fn finish(mut self) -> io::Result<Profile> {
        self.sampler.stop()?;
        self.flush()
    }

    /// Takes in what is in the ring.
    fn drain(&mut self) -> io::Result<()> {
        // Bounded: the ring holds some thousand samples, and more may be coming.
        for _ in 0..64 {
            self.poll(Duration::ZERO)?;
            if self.batch.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// What was lost since this was asked before.
    fn lost(&mut self) -> Lost {
        let counters = self.sampler.counters().unwrap_or_default();
        let ring_full = |cpu: &[u64; COUNTERS]| cpu[Counter::RingFull as usize];
        let now: Vec<u64> = counters.iter().map(ring_full).collect();
        let before = std::mem::replace(&mut self.lost_before, now.clone());
        let before = before.into_iter().chain(std::iter::repeat(0));
        let per_process = self.sampler.take_lost();
        let nameless = per_process
            .iter()
            .filter(|(tgid, _)| !self.collector.knows(*tgid));
        let comms = nameless.filter_map(|(tgid, _)| Some((*tgid, comm(*tgid)?)));
        Lost {
            comms: comms.collect(),
            per_cpu: now
                .into_iter()
                .zip(before)
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
            per_process,
        }
    }
}

/// The command name of a running process.
fn comm(tgid: u32) -> Option<String> {
    let mut bytes = Vec::new();
    let directory = ProcDir::open(tgid).ok()?;
    directory.read("comm", 64, &mut bytes).ok()?;
    Some(String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
