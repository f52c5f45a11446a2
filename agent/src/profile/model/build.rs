//! Filling a profile: equal things are held once, and memory has a limit.

use super::{
    Event, Function, FunctionId, Ledger, Line, Link, Location, LocationId, Loss, MAX_FRAMES,
    Mapping, MappingId, Process, ProcessId, Profile, Sample, SampleKey, Stack, StackId, Stop,
    StringId, Thread, ThreadId, Unwinding,
};
use crate::model::exchange::ProcessInfo;
use indexmap::{Equivalent, IndexMap, IndexSet};
use rustc_hash::FxBuildHasher;
use std::hash::Hash;
use std::mem::size_of;
use std::sync::Arc;

type Set<T> = IndexSet<T, FxBuildHasher>;

/// Longest string that is kept, bytes; symbol names of traced programs have no limit.
const MAX_STRING: usize = 4 << 10;
/// What an entry of a hash table costs besides its value, bytes.
const ENTRY: usize = 24;

/// How big a profile may become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Memory of all tables, bytes, as far as it can be told.
    pub bytes: usize,
    /// Whether samples keep their times.
    pub times: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            times: false,
        }
    }
}

/// The profile has no room for another entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the profile has reached its memory limit")]
pub struct Full;

/// Fills a [`Profile`].
#[derive(Debug)]
pub struct Builder {
    limits: Limits,
    used: usize,
    strings: Set<Box<str>>,
    mappings: Set<Mapping>,
    functions: Set<Function>,
    locations: Set<Location>,
    stacks: Set<Stack>,
    processes: IndexMap<(u32, u64), Process, FxBuildHasher>,
    threads: Set<Thread>,
    samples: IndexMap<SampleKey, (u64, Vec<u64>), FxBuildHasher>,
    ledger: Ledger,
}

/// A [`Location`] that is looked for without allocating. Field for field the same, so
/// that both hash alike.
#[derive(PartialEq, Eq, Hash)]
struct LocationRef<'a> {
    kind: super::Kind,
    mapping: Option<MappingId>,
    address: u64,
    lines: &'a [Line],
}

impl Equivalent<Location> for LocationRef<'_> {
    fn equivalent(&self, key: &Location) -> bool {
        self.address == key.address
            && self.mapping == key.mapping
            && self.kind == key.kind
            && *self.lines == *key.lines
    }
}

/// The same for a [`Stack`].
#[derive(PartialEq, Eq, Hash)]
struct StackRef<'a> {
    frames: &'a [LocationId],
    stop: Option<Stop>,
}

impl Equivalent<Stack> for StackRef<'_> {
    fn equivalent(&self, key: &Stack) -> bool {
        self.stop == key.stop && *self.frames == *key.frames
    }
}

impl Builder {
    /// An empty profile.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let mut strings = Set::default();
        strings.insert("".into());
        Self {
            limits,
            used: 0,
            strings,
            mappings: Set::default(),
            functions: Set::default(),
            locations: Set::default(),
            stacks: Set::default(),
            processes: IndexMap::default(),
            threads: Set::default(),
            samples: IndexMap::default(),
            ledger: Ledger::default(),
        }
    }

    /// Memory used, bytes, as far as it can be told.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used
    }

    /// A string. Longer ones than 4 KiB are cut.
    ///
    /// # Errors
    /// No room. This goes for all tables.
    pub fn string(&mut self, text: &str) -> Result<StringId, Full> {
        let text = &text[..text.floor_char_boundary(MAX_STRING)];
        if let Some(index) = self.strings.get_index_of(text) {
            return Ok(StringId(id(index)));
        }
        self.charge(text.len() + size_of::<Box<str>>())?;
        let (index, _) = self.strings.insert_full(text.into());
        Ok(StringId(id(index)))
    }

    /// A mapping.
    ///
    /// # Errors
    /// No room.
    pub fn mapping(&mut self, mapping: Mapping) -> Result<MappingId, Full> {
        intern(&mut self.mappings, mapping, &mut self.used, &self.limits).map(MappingId)
    }

    /// A function.
    ///
    /// # Errors
    /// No room.
    pub fn function(&mut self, function: Function) -> Result<FunctionId, Full> {
        intern(&mut self.functions, function, &mut self.used, &self.limits).map(FunctionId)
    }

    /// A location: see [`Location`] for the fields.
    ///
    /// # Errors
    /// No room.
    pub fn location(
        &mut self,
        kind: super::Kind,
        mapping: Option<MappingId>,
        address: u64,
        lines: &[Line],
    ) -> Result<LocationId, Full> {
        let wanted = LocationRef {
            kind,
            mapping,
            address,
            lines,
        };
        if let Some(index) = self.locations.get_index_of(&wanted) {
            return Ok(LocationId(id(index)));
        }
        self.charge(size_of::<Location>() + size_of_val(lines))?;
        let (index, _) = self.locations.insert_full(Location {
            kind,
            mapping,
            address,
            lines: lines.into(),
        });
        Ok(LocationId(id(index)))
    }

    /// A stack, leaf first. Frames beyond [`MAX_FRAMES`] are cut at the root, and the
    /// stack says so.
    ///
    /// # Errors
    /// No room.
    pub fn stack(&mut self, frames: &[LocationId], stop: Option<Stop>) -> Result<StackId, Full> {
        let (frames, stop) = match frames.get(..MAX_FRAMES) {
            Some(kept) if kept.len() < frames.len() => (kept, Some(Stop::TooDeep)),
            _ => (frames, stop),
        };
        if let Some(index) = self.stacks.get_index_of(&StackRef { frames, stop }) {
            return Ok(StackId(id(index)));
        }
        self.charge(size_of::<Stack>() + size_of_val(frames))?;
        let frames = frames.into();
        let (index, _) = self.stacks.insert_full(Stack { frames, stop });
        Ok(StackId(id(index)))
    }

    /// A process. One with the same pid and start is the same; its newest names count.
    ///
    /// # Errors
    /// No room.
    pub fn process(&mut self, info: &Arc<ProcessInfo>, started_ns: u64) -> Result<ProcessId, Full> {
        let key = (info.tgid, started_ns);
        if let Some((index, _, process)) = self.processes.get_full_mut(&key) {
            if !Arc::ptr_eq(&process.info, info) {
                process.info = Arc::clone(info);
            }
            return Ok(ProcessId(id(index)));
        }
        self.charge(size_of::<Process>() + size_of::<ProcessInfo>() + 128)?;
        let process = Process {
            info: Arc::clone(info),
            started_ns,
            unwinding: Unwinding::default(),
            lost: 0,
        };
        let (index, _) = self.processes.insert_full(key, process);
        Ok(ProcessId(id(index)))
    }

    /// A thread; `name` is its own, empty if it has the process's.
    ///
    /// # Errors
    /// No room.
    pub fn thread(&mut self, process: ProcessId, tid: u32, name: &str) -> Result<ThreadId, Full> {
        let name = self.string(name)?;
        let thread = Thread { process, tid, name };
        intern(&mut self.threads, thread, &mut self.used, &self.limits).map(ThreadId)
    }

    /// Adds a sample, and counts it as seen and emitted.
    ///
    /// # Errors
    /// No room; nothing was counted then: [`Builder::lose`] it.
    pub fn sample(&mut self, key: SampleKey, time_unix_ns: u64) -> Result<(), Full> {
        let times = self.limits.times;
        if !self.samples.contains_key(&key) {
            self.charge(size_of::<SampleKey>() + size_of::<(u64, Vec<u64>)>())?;
        }
        if times {
            self.charge(size_of::<u64>())?;
        }
        let (count, when) = self.samples.entry(key).or_default();
        *count += 1;
        if times {
            when.push(time_unix_ns);
        }
        self.ledger.seen += 1;
        self.ledger.emitted += 1;
        if key.method.is_some() || key.route.is_some() || key.link.is_some() {
            self.ledger.tagged += 1;
        } else {
            self.ledger.untagged += 1;
        }
        let stop = self.stacks[key.stack.index()].stop;
        let process = self.threads[key.thread.index()].process;
        self.processes[process.index()].unwinding.add(stop, 1);
        Ok(())
    }

    /// Counts lost samples as seen and lost; `process` is whose they were, if known.
    pub fn lose(&mut self, loss: Loss, process: Option<ProcessId>, count: u64) {
        self.ledger.seen += count;
        self.ledger.lost[loss as usize] += count;
        if let Some(process) = process {
            self.processes[process.index()].lost += count;
        }
    }

    /// Counts what each CPU lost, as the kernel says. They are not added to the losses.
    pub fn lost_per_cpu(&mut self, counts: Vec<u64>) {
        self.ledger.lost_per_cpu = counts;
    }

    /// The counts up to now.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The profile. `start_unix_ns` and `duration_ns` say when samples were taken,
    /// `period_ns` what CPU time each stands for.
    #[must_use]
    pub fn finish(
        self,
        event: Event,
        start_unix_ns: u64,
        duration_ns: u64,
        period_ns: u64,
    ) -> Profile {
        let samples = self
            .samples
            .into_iter()
            .map(|(key, (count, times))| Sample { key, count, times });
        Profile {
            start_unix_ns,
            duration_ns,
            period_ns,
            event,
            strings: self.strings.into_iter().collect(),
            mappings: self.mappings.into_iter().collect(),
            functions: self.functions.into_iter().collect(),
            locations: self.locations.into_iter().collect(),
            stacks: self.stacks.into_iter().collect(),
            processes: self.processes.into_values().collect(),
            threads: self.threads.into_iter().collect(),
            samples: samples.collect(),
            ledger: self.ledger,
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Full> {
        charge(&mut self.used, &self.limits, bytes)
    }
}

impl SampleKey {
    /// A sample of a thread that serves no known request.
    #[must_use]
    pub fn untagged(stack: StackId, thread: ThreadId) -> Self {
        Self {
            stack,
            thread,
            method: StringId::NONE,
            route: StringId::NONE,
            link: None,
        }
    }

    /// The same sample with the request that the thread served.
    #[must_use]
    pub fn serving(self, method: StringId, route: StringId, link: Option<Link>) -> Self {
        Self {
            method,
            route,
            link,
            ..self
        }
    }
}

fn charge(used: &mut usize, limits: &Limits, bytes: usize) -> Result<(), Full> {
    let sum = used.saturating_add(bytes).saturating_add(ENTRY);
    if sum > limits.bytes {
        return Err(Full);
    }
    *used = sum;
    Ok(())
}

fn intern<T: Hash + Eq>(
    set: &mut Set<T>,
    value: T,
    used: &mut usize,
    limits: &Limits,
) -> Result<u32, Full> {
    if let Some(index) = set.get_index_of(&value) {
        return Ok(id(index));
    }
    charge(used, limits, size_of::<T>())?;
    Ok(id(set.insert_full(value).0))
}

/// Tables end long before 2³² entries: memory is limited.
fn id(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
