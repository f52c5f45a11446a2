//! Which processes are followed, and what the kernel knows of them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use remora_common::profile::{
    MAPPINGS, Mapping, PROCESS_MAPPINGS, Process, Sample, Wanted, mapping_kind,
};
use remora_common::record::{self, Header, Kind};
use rustc_hash::FxHashMap;

use crate::host::discovery::ProcessResolver;
use crate::host::discovery::procfs::ProcDir;
use crate::model::processes::Processes as _;
use crate::profile::collect::{BinaryInfo, CodeRange, Collector, Content, Mapped, Mappings};
use crate::profile::kernel::{Published, Sampler, Tables};
use crate::profile::process::arena::Arena;
use crate::profile::process::binary::{Binaries, BinaryId, Code};
use crate::profile::process::maps;
use crate::profile::recording::Recorder;
use crate::profile::unwind::worker::{Done, Job, Worker};

/// Bytes read of `/proc/PID/maps`; 100 a line.
const MAX_MAPS: u64 = 8 << 20;
/// Executable mappings of one process.
const MAX_REGIONS: usize = PROCESS_MAPPINGS as usize - 1;
/// How often the mappings of a process that is sampled are read again: libraries may be
/// replaced by others at the same addresses.
const REFRESH: Duration = Duration::from_secs(5);
/// A process without a sample for so long is forgotten, until its next one.
const FORGET: Duration = Duration::from_secs(60);
/// Processes looked at in one tick.
const LOOKS: usize = 8;
/// Time between ticks.
const TICK: Duration = Duration::from_millis(200);
/// `USER_HZ`, the unit of times in `/proc`: part of the kernel's interface.
const TICK_NS: u64 = 10_000_000;

/// How a binary's rows were prepared.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// Path of the binary.
    pub path: String,
    /// Rows; 0 if it has none, and frame pointers are followed.
    pub rows: usize,
    /// Kernel memory they take.
    pub bytes: u64,
    /// Functions whose unwind information is malformed.
    pub malformed: u64,
    /// Time it took.
    pub took: Duration,
    /// Why there is no table, where there should be one.
    pub error: Option<String>,
}

/// What is known of a binary's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rows {
    Preparing,
    Ready(Published),
    /// It has none, or they could not be read.
    None,
}

/// A process whose mappings the kernel has.
#[derive(Debug)]
struct Tracked {
    first: u32,
    mappings: Vec<(Mapping, Code)>,
    read: Instant,
    sampled: Instant,
}

/// All of it.
pub(super) struct Tracker {
    worker: Worker,
    waiting: VecDeque<Job>,
    binaries: Binaries,
    rows: Vec<Rows>,
    prepared: Vec<Preparation>,
    processes: FxHashMap<u32, Tracked>,
    queue: VecDeque<u32>,
    arena: Arena,
    resolver: ProcessResolver,
    buffer: Vec<u8>,
    ticked: Instant,
}

/// Preparations remembered for who asks.
const MAX_PREPARED: usize = 4096;

impl Tracker {
    pub(super) fn start(tables: Tables) -> io::Result<Self> {
        Ok(Self {
            worker: Worker::start(tables)?,
            waiting: VecDeque::new(),
            binaries: Binaries::default(),
            rows: Vec::new(),
            prepared: Vec::new(),
            processes: FxHashMap::default(),
            queue: VecDeque::new(),
            arena: Arena::new(MAPPINGS),
            resolver: ProcessResolver::new(),
            buffer: Vec::new(),
            ticked: Instant::now(),
        })
    }

    pub(super) fn processes(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    pub(super) fn prepared(&self) -> &[Preparation] {
        &self.prepared
    }

    pub(super) fn preparing(&self) -> usize {
        self.rows
            .iter()
            .filter(|rows| **rows == Rows::Preparing)
            .count()
    }

    /// A sample came; makes sure that its process is known.
    pub(super) fn sampled(
        &mut self,
        sample: &Sample,
        sampler: &mut Sampler,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) {
        let now = Instant::now();
        if let Some(tracked) = self.processes.get_mut(&sample.tgid) {
            tracked.sampled = now;
            return;
        }
        // Kernel threads have no mappings.
        if sample.user > 0 || !collector.knows(sample.tgid) {
            let who = who(sample.tgid, sample.time, sample.cgroup, sample.comm);
            self.look(&who, sampler, collector, recorder);
        }
    }

    /// A process will be sampled.
    pub(super) fn expect(
        &mut self,
        tgid: u32,
        sampler: &mut Sampler,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) {
        // One that does not exist is not sampled either.
        let who = who(tgid, u64::MAX, 0, [0; 16]);
        self.look(&who, sampler, collector, recorder);
    }

    /// The kernel lacks mappings of a process.
    pub(super) fn wanted(
        &mut self,
        wanted: Wanted,
        sampler: &mut Sampler,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) {
        let who = who(wanted.tgid, wanted.time, 0, [0; 16]);
        // With its first sample the process was looked at already.
        let recent = self
            .processes
            .get(&wanted.tgid)
            .is_some_and(|tracked| wanted.stale == 0 && tracked.read.elapsed() < TICK);
        if !recent {
            self.look(&who, sampler, collector, recorder);
        }
    }

    /// A process ended or runs another program; the kernel has forgotten it already.
    pub(super) fn gone(&mut self, tgid: u32) {
        if let Some(tracked) = self.processes.remove(&tgid) {
            let len = u32::try_from(tracked.mappings.len()).unwrap_or(0);
            self.arena.give_back(tracked.first, len, Instant::now());
        }
    }

    /// Reads what a process has mapped, and tells whom it concerns what changed.
    fn look(
        &mut self,
        who: &record::Process,
        sampler: &mut Sampler,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) -> Option<()> {
        let tgid = who.tgid;
        let directory = ProcDir::open(tgid).ok()?;
        let started_ns = directory.stat(&mut self.buffer)?.start_ticks * TICK_NS;
        directory.read("maps", MAX_MAPS, &mut self.buffer).ok()?;
        let regions = maps::parse(&self.buffer, MAX_REGIONS);
        let mut mapped = Vec::with_capacity(regions.len());
        let mut mappings = Vec::with_capacity(regions.len());
        for region in &regions {
            let (code, new) = self.binaries.code(tgid, region);
            if let (Code::Binary(id), true) = (code, new) {
                self.discovered(id, collector, recorder);
            }
            let address = self.address(code, region.offset);
            let code = if address.is_none() {
                Code::Unknown
            } else {
                code
            };
            mapped.push(Mapped {
                range: region.range.clone(),
                address: address.unwrap_or(0),
                content: match code {
                    Code::Binary(BinaryId(id)) => Content::Binary(id),
                    Code::Jit => Content::Jit,
                    Code::Unknown => Content::Unknown,
                },
            });
            mappings.push((self.mapping(region, code, address.unwrap_or(0)), code));
        }
        let known = collector.mappings(tgid);
        if known.is_none_or(|known| known.mapped != mapped || known.started_ns != started_ns) {
            let mappings = Mappings {
                info: self.resolver.resolve(who),
                started_ns,
                mapped,
            };
            if let Some(recorder) = recorder {
                recorder.process(&mappings);
            }
            collector.process(mappings);
        }
        self.enter(tgid, mappings, sampler);
        Some(())
    }

    /// Gives the kernel the mappings of a process.
    fn enter(&mut self, tgid: u32, mappings: Vec<(Mapping, Code)>, sampler: &mut Sampler) {
        let now = Instant::now();
        if let Some(tracked) = self.processes.get_mut(&tgid) {
            tracked.read = now;
            if tracked.mappings == mappings {
                return;
            }
        }
        let len = u32::try_from(mappings.len()).unwrap_or(0);
        let Some(first) = self.arena.take(len, now) else {
            return;
        };
        let plain: Vec<Mapping> = mappings.iter().map(|(mapping, _)| *mapping).collect();
        let process = Process {
            asked: 0,
            first,
            count: len,
        };
        if !sampler.write_mappings(first, &plain) || sampler.set_process(tgid, process).is_err() {
            self.arena.give_back(first, len, now);
            return;
        }
        let sampled = self
            .processes
            .get(&tgid)
            .map_or(now, |tracked| tracked.sampled);
        let before = self.processes.insert(
            tgid,
            Tracked {
                first,
                mappings,
                read: now,
                sampled,
            },
        );
        match before {
            Some(before) => {
                let len = u32::try_from(before.mappings.len()).unwrap_or(0);
                self.arena.give_back(before.first, len, now);
            }
            None => self.queue.push_back(tgid),
        }
    }

    /// A binary's first mapping was seen: its rows are needed.
    fn discovered(
        &mut self,
        id: BinaryId,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) {
        let Some(binary) = self.binaries.get(id) else {
            return;
        };
        let code = binary.elf.segments.iter().filter(|segment| segment.code);
        let info = BinaryInfo {
            path: binary.path.clone(),
            build_id: binary.elf.build_id.clone(),
            code: code
                .map(|segment| CodeRange {
                    address: segment.address,
                    offset: segment.offset,
                    size: segment.size,
                })
                .collect(),
        };
        if let Some(recorder) = recorder {
            recorder.binary(&info);
        }
        collector.binary(info);
        self.rows.push(Rows::Preparing);
        self.waiting.push_back(Job::Prepare {
            binary: id,
            file: Arc::clone(&binary.file),
            elf: Arc::clone(&binary.elf),
        });
        self.send();
    }

    fn send(&mut self) {
        while let Some(job) = self.waiting.pop_front() {
            if let Err(job) = self.worker.ask(job) {
                self.waiting.push_front(job);
                break;
            }
        }
    }

    /// The address, in the binary's own terms, of a place in its file. Code that is no
    /// binary's has none, which is no obstacle.
    fn address(&self, code: Code, offset: u64) -> Option<u64> {
        match code {
            Code::Binary(id) => self.binaries.get(id)?.elf.address_of(offset),
            Code::Jit | Code::Unknown => Some(0),
        }
    }

    fn mapping(&self, region: &maps::Region, code: Code, address: u64) -> Mapping {
        let mut mapping = Mapping {
            begin: region.range.start,
            end: region.range.end,
            offset: 0,
            table: 0,
            kind: match code {
                Code::Jit => mapping_kind::JIT,
                _ => mapping_kind::FRAME_POINTERS,
            },
        };
        if let Code::Binary(id) = code
            && let Some(binary) = self.binaries.get(id)
        {
            mapping.offset = address.wrapping_sub(binary.elf.base());
            // A table ends with the code, a mapping with its last page.
            let end = binary.elf.end().next_multiple_of(4096);
            let len = end.saturating_sub(address);
            mapping.end = mapping.end.min(mapping.begin.saturating_add(len));
            match self.rows.get(id.0 as usize) {
                Some(Rows::Ready(table)) => {
                    mapping.kind = mapping_kind::ROWS;
                    mapping.table = table.index;
                }
                Some(Rows::Preparing) => mapping.kind = mapping_kind::PREPARING,
                Some(Rows::None) | None => {}
            }
        }
        mapping
    }

    /// Does what is due.
    pub(super) fn tick(
        &mut self,
        sampler: &mut Sampler,
        collector: &mut Collector,
        recorder: &mut Option<Recorder>,
    ) {
        while let Some(done) = self.worker.done() {
            self.finished(done, sampler);
        }
        self.send();
        let now = Instant::now();
        if now.duration_since(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        for _ in 0..LOOKS.min(self.queue.len()) {
            let Some(tgid) = self.queue.pop_front() else {
                break;
            };
            let Some(tracked) = self.processes.get(&tgid) else {
                continue;
            };
            self.queue.push_back(tgid);
            if now.duration_since(tracked.sampled) > FORGET {
                sampler.remove_process(tgid);
                collector.gone(tgid);
                if let Some(recorder) = recorder {
                    recorder.gone(tgid);
                }
                self.gone(tgid);
            } else if now.duration_since(tracked.read) > REFRESH
                && now.duration_since(tracked.sampled) < REFRESH
            {
                let who = who(tgid, u64::MAX, 0, [0; 16]);
                self.look(&who, sampler, collector, recorder);
            }
        }
    }

    /// A binary's rows are there: processes that have it mapped may use them.
    fn finished(&mut self, done: Done, sampler: &mut Sampler) {
        let rows = match done.table {
            Ok(Some(table)) => Rows::Ready(table),
            Ok(None) | Err(_) => Rows::None,
        };
        if let Some(known) = self.rows.get_mut(done.binary.0 as usize) {
            *known = rows;
        }
        if self.prepared.len() < MAX_PREPARED {
            self.prepared.push(Preparation {
                path: self
                    .binaries
                    .get(done.binary)
                    .map_or_else(String::new, |binary| binary.path.clone()),
                rows: done.rows,
                bytes: match rows {
                    Rows::Ready(table) => table.bytes,
                    _ => 0,
                },
                malformed: done.malformed,
                took: done.took,
                error: done.table.err().map(|error| error.to_string()),
            });
        }
        for tracked in self.processes.values_mut() {
            for (index, (mapping, code)) in (tracked.first..).zip(&mut tracked.mappings) {
                if *code != Code::Binary(done.binary) {
                    continue;
                }
                if let Rows::Ready(table) = rows {
                    mapping.table = table.index;
                    // The table before the word that says it is there.
                    sampler.write_mappings(index, &[*mapping]);
                    mapping.kind = mapping_kind::ROWS;
                } else {
                    mapping.kind = mapping_kind::FRAME_POINTERS;
                }
                sampler.write_mappings(index, &[*mapping]);
            }
        }
    }
}

/// What a resolver is asked with.
fn who(tgid: u32, time: u64, cgroup: u64, comm: [u8; 16]) -> record::Process {
    record::Process {
        header: Header::new(Kind::PROCESS, size_of::<record::Process>() as u32),
        time,
        cgroup,
        tgid,
        reserved: 0,
        comm,
    }
}
