//! From raw samples to a profile: no I/O, no clock, so that a recording gives the same.

mod losses;
mod mapped;
mod places;

pub use losses::Lost;
pub use mapped::{BinaryInfo, CodeRange, Content, Mapped, Mappings};

use std::collections::VecDeque;
use std::hash::Hash;
use std::sync::Arc;

use indexmap::IndexSet;
use remora_common::cursor::Cursor;
use remora_common::profile::{Sample as RawSample, sample_flags, stop};
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::model::{
    Builder, Event, Full, Limits, Link, LocationId, Loss, Profile, SampleKey, Stop,
};
use super::symbols::Symbols;
use crate::model::clock::Offset;
use crate::model::exchange::ProcessInfo;

/// The request that a thread served.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// Method.
    pub method: Arc<str>,
    /// Route; empty if it has none.
    pub route: Arc<str>,
    /// Its span, if there is one to be found.
    pub link: Option<Link>,
}

/// A place in code, before its name is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Frame {
    Kernel(u64),
    Binary {
        binary: u32,
        address: u64,
    },
    Jit {
        process: u32,
        address: u64,
    },
    /// Within a file that could not be read, or outside of what is mapped.
    Unknown {
        address: u64,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    stack: u32,
    thread: u32,
    request: Option<(u64, u32)>,
}

#[derive(Debug)]
struct Known {
    /// Place in `seen`.
    index: u32,
    mappings: Mappings,
}

/// A process that has samples.
#[derive(Debug)]
struct Seen {
    info: Arc<ProcessInfo>,
    started_ns: u64,
}

#[derive(PartialEq, Eq, Hash, Debug)]
struct Thread {
    process: u32,
    tid: u32,
    comm: [u8; 16],
}

/// Gathers samples.
#[derive(Debug)]
pub struct Collector {
    limits: Limits,
    used: usize,
    clock: Offset,
    binaries: Vec<BinaryInfo>,
    processes: FxHashMap<u32, Known>,
    seen: Vec<Seen>,
    frames: Interner<Frame>,
    stacks: Interner<(Box<[u32]>, u8)>,
    threads: Interner<Thread>,
    samples: FxHashMap<Key, (u64, Vec<u64>)>,
    /// Keys in the order of their first sample, so that a profile does not depend on
    /// how they are hashed.
    order: Vec<Key>,
    /// Requests that have samples, with their tags.
    requests: FxHashMap<(u64, u32), Option<Tag>>,
    /// Requests that ended lately: their samples may still be on their way.
    ended: VecDeque<((u64, u32), Tag)>,
    /// How many of them were there when [`Self::settle`] was called last.
    settling: usize,
    decode_errors: u64,
    /// Samples that there was no room for, by the place of their process in `seen`, if it
    /// was known before.
    full: FxHashMap<Option<u32>, u64>,
    first_time: u64,
    last_time: u64,
    count: u64,
    scratch: Vec<u32>,
}

/// What a profile is of, besides its samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// Begin, wall clock, ns since 1970.
    pub start_unix_ns: u64,
    /// Length, ns.
    pub duration_ns: u64,
    /// CPU time of one sample, ns; 0 if samples are not of time.
    pub period_ns: u64,
    /// What made the CPUs take samples.
    pub event: Event,
}

/// Requests that have ended and whose samples may still be on their way.
const MAX_ENDED: usize = 1 << 16;

impl Collector {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits, clock: Offset) -> Self {
        Self {
            limits,
            used: 0,
            clock,
            binaries: Vec::new(),
            processes: FxHashMap::default(),
            seen: Vec::new(),
            frames: Interner::default(),
            stacks: Interner::default(),
            threads: Interner::default(),
            samples: FxHashMap::default(),
            order: Vec::new(),
            requests: FxHashMap::default(),
            ended: VecDeque::new(),
            settling: 0,
            decode_errors: 0,
            full: FxHashMap::default(),
            first_time: 0,
            last_time: 0,
            count: 0,
            scratch: Vec::new(),
        }
    }

    /// A binary was found; they are numbered in order.
    pub fn binary(&mut self, info: BinaryInfo) {
        self.binaries.push(info);
    }

    /// A process was found, or has other mappings now.
    pub fn process(&mut self, mappings: Mappings) {
        let tgid = mappings.info.tgid;
        if let Some(known) = self.processes.get_mut(&tgid)
            && known.mappings.started_ns == mappings.started_ns
        {
            let seen = &mut self.seen[known.index as usize];
            if *seen.info != mappings.info {
                seen.info = Arc::new(mappings.info.clone());
            }
            known.mappings = mappings;
            return;
        }
        let index = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        self.seen.push(Seen {
            info: Arc::new(mappings.info.clone()),
            started_ns: mappings.started_ns,
        });
        self.processes.insert(tgid, Known { index, mappings });
    }

    /// A process ended, or runs another program. Its samples stay.
    pub fn gone(&mut self, tgid: u32) {
        self.processes.remove(&tgid);
    }

    /// Whether the process's mappings are known.
    #[must_use]
    pub fn knows(&self, tgid: u32) -> bool {
        self.processes.contains_key(&tgid)
    }

    /// What is known of a process.
    #[must_use]
    pub fn mappings(&self, tgid: u32) -> Option<&Mappings> {
        self.processes.get(&tgid).map(|known| &known.mappings)
    }

    /// A request ended, and is known by this tag.
    pub fn tag(&mut self, conn: u64, request: u32, tag: Tag) {
        if self.ended.len() >= MAX_ENDED
            && let Some((request, tag)) = self.ended.pop_front()
        {
            self.settling = self.settling.saturating_sub(1);
            self.tag_samples(request, tag);
        }
        self.ended.push_back(((conn, request), tag));
    }

    /// All samples taken before this were taken in. Forgets the requests that had ended
    /// when this was called before and that have no samples: nearly all of them, since a
    /// sample is rare and a request is not. The others are told to `tagged`.
    pub fn settle(&mut self, tagged: &mut dyn FnMut(u64, u32, &Tag)) {
        for _ in 0..self.settling {
            let Some((request, tag)) = self.ended.pop_front() else {
                break;
            };
            if let Some(tag) = self.tag_samples(request, tag) {
                tagged(request.0, request.1, tag);
            }
        }
        self.settling = self.ended.len();
    }

    /// The tag, if the request has samples.
    fn tag_samples(&mut self, request: (u64, u32), tag: Tag) -> Option<&Tag> {
        self.requests
            .get_mut(&request)
            .map(|known| &*known.insert(tag))
    }

    /// Samples taken in.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Takes in a sample record, header included.
    pub fn sample(&mut self, record: &[u8]) {
        let mut cursor = Cursor::new(record);
        let Some(sample) = cursor.read::<RawSample>() else {
            self.decode_errors += 1;
            return;
        };
        let (kernel, user) = (usize::from(sample.kernel), usize::from(sample.user));
        let Some(addresses) = cursor.take((kernel + user) * 8) else {
            self.decode_errors += 1;
            return;
        };
        if self.used > self.limits.bytes {
            let process = self.processes.get(&sample.tgid).map(|known| known.index);
            *self.full.entry(process).or_default() += 1;
            return;
        }
        let address = |chunk: &[u8]| chunk.try_into().map_or(0, u64::from_ne_bytes);
        let mut frames = std::mem::take(&mut self.scratch);
        frames.clear();
        let process = self.process_of(&sample);
        for (depth, chunk) in addresses.chunks_exact(8).enumerate() {
            let address = address(chunk);
            let frame = if let Some(depth) = depth.checked_sub(kernel) {
                let exact = depth < 32 && sample.exact >> depth & 1 == 1;
                let address = address.wrapping_sub(u64::from(!exact));
                self.locate(sample.tgid, process, address)
            } else {
                // The leaf's address is that of the instruction, the others' are behind calls.
                Frame::Kernel(address.wrapping_sub(u64::from(depth > 0)))
            };
            frames.push(number(&mut self.frames, frame, 0, &mut self.used));
        }
        let ended = match (sample.stop, user) {
            (stop::NO_USER, _) => stop::ROOT,
            (stop, _) => stop,
        };
        let stack = (frames.as_slice().into(), ended);
        let stack = number(&mut self.stacks, stack, frames.len() * 4, &mut self.used);
        self.scratch = frames;
        let thread = Thread {
            process,
            tid: sample.tid,
            comm: sample.comm,
        };
        let thread = number(&mut self.threads, thread, 0, &mut self.used);
        let request =
            (sample.flags & sample_flags::REQUEST != 0).then_some((sample.conn, sample.request));
        if let Some(request) = request {
            let used = &mut self.used;
            self.requests.entry(request).or_insert_with(|| {
                *used += size_of::<Option<Tag>>() + ENTRY;
                None
            });
        }
        let key = Key {
            stack,
            thread,
            request,
        };
        let order = &mut self.order;
        let used = &mut self.used;
        let (count, times) = self.samples.entry(key).or_insert_with(|| {
            order.push(key);
            *used += 2 * size_of::<Key>() + 48;
            (0, Vec::new())
        });
        *count += 1;
        if self.limits.times {
            times.push(self.clock.unix_ns(sample.time));
            self.used += 8;
        }
        self.count += 1;
        if self.first_time == 0 {
            self.first_time = sample.time;
        }
        self.last_time = self.last_time.max(sample.time);
    }

    /// The process of a sample; one of which nothing else is known if it was not announced.
    fn process_of(&mut self, sample: &RawSample) -> u32 {
        if let Some(known) = self.processes.get(&sample.tgid) {
            return known.index;
        }
        let end = sample.comm.iter().position(|byte| *byte == 0);
        let comm = &sample.comm[..end.unwrap_or(sample.comm.len())];
        let comm = String::from_utf8_lossy(comm).into_owned();
        self.process(Mappings {
            info: only_named(sample.tgid, comm),
            started_ns: 0,
            mapped: Vec::new(),
        });
        self.processes
            .get(&sample.tgid)
            .map_or(0, |known| known.index)
    }

    fn locate(&self, tgid: u32, process: u32, address: u64) -> Frame {
        let mapped = self.processes.get(&tgid).and_then(|known| {
            let mapped = &known.mappings.mapped;
            let at = mapped.partition_point(|m| m.range.end <= address);
            mapped.get(at).filter(|m| m.range.contains(&address))
        });
        match mapped {
            Some(mapped) => {
                let skipped = address - mapped.range.start;
                match mapped.content {
                    Content::Binary(binary) => Frame::Binary {
                        binary,
                        address: mapped.address.wrapping_add(skipped),
                    },
                    Content::Jit => Frame::Jit { process, address },
                    Content::Unknown => Frame::Unknown { address },
                }
            }
            None => Frame::Unknown { address },
        }
    }

    /// Everything gathered up to now as a profile. Processes and binaries stay known, and
    /// gathering begins anew.
    pub fn finish(&mut self, span: Span, lost: &Lost, symbols: &mut dyn Symbols) -> Profile {
        // A recording ends with tags.
        while let Some((request, tag)) = self.ended.pop_front() {
            self.tag_samples(request, tag);
        }
        let mut builder = Builder::new(self.limits);
        let locations = self.locations(&mut builder, symbols);
        let mut processes = FxHashMap::default();
        let order = std::mem::take(&mut self.order);
        for key in &order {
            let Some((count, times)) = self.samples.get(key) else {
                continue;
            };
            let written = self.write(
                &mut builder,
                &locations,
                &mut processes,
                *key,
                *count,
                times,
            );
            if let Err((Full, left)) = written {
                let thread = self.threads.get_index(key.thread as usize);
                let process = thread.and_then(|thread| processes.get(&thread.process));
                builder.lose(Loss::ProfileFull, process.copied(), left);
            }
        }
        self.count_losses(&mut builder, &processes, lost);
        self.reset();
        builder.finish(
            span.event,
            span.start_unix_ns,
            span.duration_ns,
            span.period_ns,
        )
    }

    /// Writes the samples of one key; the error says how many did not fit.
    fn write(
        &self,
        builder: &mut Builder,
        locations: &[Option<LocationId>],
        processes: &mut FxHashMap<u32, super::model::ProcessId>,
        key: Key,
        count: u64,
        times: &[u64],
    ) -> Result<(), (Full, u64)> {
        let all = |full| (full, count);
        let thread = self.threads.get_index(key.thread as usize);
        let stack = self.stacks.get_index(key.stack as usize);
        let (Some(thread), Some((frames, ended))) = (thread, stack) else {
            return Err((Full, count));
        };
        let mut ids = Vec::with_capacity(frames.len());
        for frame in frames {
            match locations.get(*frame as usize) {
                Some(Some(id)) => ids.push(*id),
                _ => return Err((Full, count)),
            }
        }
        let stack = builder.stack(&ids, stop_of(*ended)).map_err(all)?;
        let process = match processes.get(&thread.process) {
            Some(process) => *process,
            None => {
                let seen = &self.seen[thread.process as usize];
                let process = builder.process(&seen.info, seen.started_ns).map_err(all)?;
                processes.insert(thread.process, process);
                process
            }
        };
        let comm = &self.seen[thread.process as usize].info.comm;
        let end = thread.comm.iter().position(|byte| *byte == 0);
        let name = String::from_utf8_lossy(&thread.comm[..end.unwrap_or(thread.comm.len())]);
        let name = if *name == **comm { "" } else { &*name };
        let thread = builder.thread(process, thread.tid, name).map_err(all)?;
        let mut model = SampleKey::untagged(stack, thread);
        let tag = key.request.and_then(|request| self.requests.get(&request));
        if let Some(tag) = tag.and_then(Option::as_ref) {
            let method = builder.string(&tag.method).map_err(all)?;
            let route = builder.string(&tag.route).map_err(all)?;
            model = model.serving(method, route, tag.link);
        }
        for n in 0..count {
            let time = usize::try_from(n).ok().and_then(|n| times.get(n)).copied();
            builder
                .sample(model, time.unwrap_or(0))
                .map_err(|full| (full, count - n))?;
        }
        Ok(())
    }

    /// Forgets samples, keeps what is known of processes.
    fn reset(&mut self) {
        self.used = 0;
        self.frames = Interner::default();
        self.stacks = Interner::default();
        self.threads = Interner::default();
        self.samples = FxHashMap::default();
        self.requests = FxHashMap::default();
        self.settling = 0;
        self.decode_errors = 0;
        self.full = FxHashMap::default();
        self.count = 0;
        let mut seen = Vec::new();
        for known in self.processes.values_mut() {
            seen.push(Seen {
                info: Arc::clone(&self.seen[known.index as usize].info),
                started_ns: self.seen[known.index as usize].started_ns,
            });
            known.index = u32::try_from(seen.len() - 1).unwrap_or(u32::MAX);
        }
        self.seen = seen;
    }
}

/// A process of which only its command name is known, or not even that.
fn only_named(tgid: u32, comm: String) -> ProcessInfo {
    ProcessInfo {
        id: 0,
        tgid,
        service: comm.clone(),
        comm,
        executable: None,
        service_namespace: None,
        resource: Vec::new(),
        container_id: None,
        pod_uid: None,
    }
}

/// The model's word for why a stack ends.
fn stop_of(reason: u8) -> Option<Stop> {
    Some(match reason {
        stop::ROOT | stop::NO_USER => return None,
        stop::DEPTH => Stop::TooDeep,
        stop::NEW_PROCESS | stop::PREPARING => Stop::NotReady,
        stop::NO_MAPPING => Stop::NoMapping,
        stop::NO_ROW | stop::NO_FRAME => Stop::NoRows,
        stop::UNREADABLE => Stop::Unreadable,
        stop::REGISTER | stop::UNSUPPORTED => Stop::Unsupported,
        stop::NO_PROGRESS | stop::FRAME_POINTER => Stop::Corrupt,
        _ => Stop::Other,
    })
}

/// Values by number, in the order in which they came.
type Interner<T> = IndexSet<T, FxBuildHasher>;

/// The number of a value, which takes `size` more bytes than itself if it is new.
fn number<T: Hash + Eq>(values: &mut Interner<T>, value: T, size: usize, used: &mut usize) -> u32 {
    let (index, new) = values.insert_full(value);
    if new {
        *used += size_of::<T>() + size + ENTRY;
    }
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// What an entry of a hash table costs besides its value, bytes.
const ENTRY: usize = 24;
