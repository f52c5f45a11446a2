//! The sampling programs, seen from the agent: load, attach, read samples and counters,
//! and write what they follow stacks by.

pub mod clock;
mod sys;
mod tables;

pub use tables::{Published, Tables};

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::{PerfEvent as PerfProgram, Program, RawTracePoint};
use aya::{Ebpf, EbpfLoader};
use remora_common::pod::Pod;
use remora_common::profile::{self, COUNTERS, Config, Mapping, Process, config_flags};

use crate::capture::CaptureError;
use crate::host::preflight::btf::{Btf, KERNEL};
use crate::profile::model::Event;
use clock::{Clock, NoCycles};
use sys::{PerfEvent, Shared};

/// The sampling programs; made as the tracing programs are, loaded on their own.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../ebpf/profile.bpf.o");

/// Ring bytes for each CPU. At 99 samples a second of 1 KiB each, 2 s fit in.
const RING_BYTES_PER_CPU: u32 = 256 << 10;
/// Smallest and largest ring, bytes.
const RING_BYTES: (u32, u32) = (1 << 20, 16 << 20);

/// What to sample.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Targets {
    /// Only these processes and the children they make.
    pub pids: Vec<u32>,
    /// Only processes whose program has one of these names (first 15 bytes).
    pub comms: Vec<String>,
    /// Only these cgroups v2, by id.
    pub cgroups: Vec<u64>,
    /// Leave out kernel stacks.
    pub user_only: bool,
    /// Sample the agent as well.
    pub with_itself: bool,
}

/// Programs that follow the life of processes, and their tracepoints: ends before
/// beginnings.
const HOOKS: [(&str, &str); 3] = [
    ("profile_exit", "sched_process_exit"),
    ("profile_exec", "sched_process_exec"),
    ("profile_fork", "sched_process_fork"),
];

/// Value of a chosen process: it stays chosen when it runs another program, and so are
/// its children.
const KEPT: u32 = 2;

/// The loaded sampling programs. Everything is undone when this is dropped.
pub struct Sampler {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    processes: HashMap<MapData, u32, [u64; 2]>,
    lost: HashMap<MapData, u32, u64>,
    mappings: Shared<Mapping>,
    serving: MapData,
    events: Vec<PerfEvent>,
    event: Event,
    instead: Option<NoCycles>,
    // A program array is emptied when userspace lets go of it.
    _stages: ProgramArray<MapData>,
}

/// What the kernel says of one sampling program.
#[derive(Clone, Debug)]
pub struct ProgramCost {
    /// Name of the program.
    pub name: String,
    /// Instructions of the program, after the kernel's rewriting.
    pub instructions: Option<u32>,
    /// Instructions the verifier walked through (Linux 5.16 and later).
    pub verified: Option<u32>,
    /// Runs while `kernel.bpf_stats_enabled` was 1; tail calls are part of the first.
    pub runs: u64,
    /// Time in these runs, ns.
    pub run_time_ns: u64,
}

impl Sampler {
    /// Loads the programs, without taking samples yet.
    ///
    /// # Errors
    /// Says which privilege or kernel feature is missing and how to get it.
    pub fn load(targets: &Targets) -> Result<(Self, Tables), CaptureError> {
        let cpus = aya::util::online_cpus().map_or(1, |cpus| cpus.len());
        let ring_bytes = RING_BYTES_PER_CPU
            .saturating_mul(u32::try_from(cpus).unwrap_or(u32::MAX))
            .clamp(RING_BYTES.0, RING_BYTES.1)
            .next_power_of_two();
        let config = config(targets, ring_bytes)?;
        let mut ebpf = EbpfLoader::new()
            // No relocations: offsets are patched in as data.
            .btf(None)
            .override_global("PROFILE", config.as_bytes(), true)
            .map_max_entries("SAMPLES", ring_bytes)
            .load(OBJECT)
            .map_err(CaptureError::from_ebpf)?;
        for name in ["sample", "unwind"] {
            perf_program(&mut ebpf, name)?
                .load()
                .map_err(|e| CaptureError::from_program(name, e))?;
        }
        for (name, _) in HOOKS {
            hook(&mut ebpf, name)?
                .load()
                .map_err(|e| CaptureError::from_program(name, e))?;
        }
        choose(&mut ebpf, targets)?;
        let mut stages =
            ProgramArray::try_from(take(&mut ebpf, "STAGES")?).map_err(CaptureError::from_map)?;
        let unwind = perf_program(&mut ebpf, "unwind")?;
        let fd = unwind
            .fd()
            .map_err(|e| CaptureError::from_program("unwind", e))?;
        stages.set(0, fd, 0).map_err(CaptureError::from_map)?;
        let (_, mappings) = shared(&mut ebpf, "MAPPINGS", profile::MAPPINGS)?;
        let (_, rules) = shared(&mut ebpf, "RULES", profile::RULES)?;
        let Map::ArrayOfMaps(tables) = take(&mut ebpf, "TABLES")? else {
            return Err(missing("TABLES"));
        };
        let Map::ArrayOfMaps(serving) = take(&mut ebpf, "SERVING")? else {
            return Err(missing("SERVING"));
        };
        let sampler = Self {
            ring: RingBuf::try_from(take(&mut ebpf, "SAMPLES")?).map_err(CaptureError::from_map)?,
            counters: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)
                .map_err(CaptureError::from_map)?,
            processes: HashMap::try_from(take(&mut ebpf, "PROCESSES")?)
                .map_err(CaptureError::from_map)?,
            lost: HashMap::try_from(take(&mut ebpf, "LOST")?).map_err(CaptureError::from_map)?,
            ebpf,
            mappings,
            serving,
            events: Vec::new(),
            event: Event::CpuClock,
            instead: None,
            _stages: stages,
        };
        Ok((sampler, Tables::new(tables, rules)))
    }

    /// Starts taking samples on every CPU, `frequency` a second by the kernel's clock. By
    /// the cycle counter they are as many at the CPU's full speed, and fewer below it; where
    /// there is none, [`Self::instead`] says so and the kernel's clock is used.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn start(&mut self, frequency: u32, clock: Clock) -> Result<(), CaptureError> {
        for (name, tracepoint) in HOOKS {
            hook(&mut self.ebpf, name)?
                .attach(tracepoint)
                .map_err(|e| CaptureError::from_program(name, e))?;
        }
        let cpus = aya::util::online_cpus().map_err(|(_, source)| CaptureError::Privilege {
            what: "the list of processors".to_owned(),
            source,
        })?;
        let refused = |source| CaptureError::Privilege {
            what: "a perf event for the sampling program".to_owned(),
            source,
        };
        let (ticks, instead) =
            clock.choose(frequency, &cpus, clock::full_speed(), &|ticks, cpu| {
                PerfEvent::open(ticks, cpu).map(drop)
            });
        for cpu in cpus {
            let event = PerfEvent::open(ticks, cpu).map_err(refused)?;
            let program = perf_program(&mut self.ebpf, "sample")?;
            let fd = program
                .fd()
                .map_err(|e| CaptureError::from_program("sample", e))?;
            event.start(fd.as_fd()).map_err(refused)?;
            self.events.push(event);
        }
        self.event = ticks.event();
        self.instead = instead;
        Ok(())
    }

    /// Stops taking samples. What was taken can still be read.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn stop(&mut self) -> io::Result<()> {
        for event in &self.events {
            event.stop()?;
        }
        Ok(())
    }

    /// What makes the CPUs take samples.
    #[must_use]
    pub fn event(&self) -> Event {
        self.event
    }

    /// Why samples are not taken by the clock that was asked for, if they are not.
    #[must_use]
    pub fn instead(&self) -> Option<&NoCycles> {
        self.instead.as_ref()
    }

    /// Hands the records that are waiting to `take`, at most `limit`; if there are none,
    /// waits for at most `timeout`.
    ///
    /// # Errors
    /// Those of `poll(2)`, but for interrupted calls.
    pub fn poll(
        &mut self,
        timeout: Duration,
        limit: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<usize> {
        let mut taken = self.drain(limit, take);
        if taken == 0 && !timeout.is_zero() {
            let mut waiting = libc::pollfd {
                fd: self.ring.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
            // SAFETY: one valid `pollfd`, and its number.
            if unsafe { libc::poll(&raw mut waiting, 1, millis) } < 0 {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            taken = self.drain(limit, take);
        }
        Ok(taken)
    }

    fn drain(&mut self, limit: usize, take: &mut dyn FnMut(&[u8])) -> usize {
        let mut taken = 0;
        while taken < limit
            && let Some(record) = self.ring.next()
        {
            take(&record);
            taken += 1;
        }
        taken
    }

    /// Counters of each CPU, by [`profile::Counter`].
    ///
    /// # Errors
    /// Those of the map's system call.
    pub fn counters(&self) -> io::Result<Vec<[u64; COUNTERS]>> {
        let mut out = Vec::new();
        for (index, counter) in (0u32..).zip(0..COUNTERS) {
            let values = self.counters.get(&index, 0).map_err(io::Error::other)?;
            out.resize(values.len().max(out.len()), [0; COUNTERS]);
            for (cpu, value) in out.iter_mut().zip(values.iter()) {
                cpu[counter] = *value;
            }
        }
        Ok(out)
    }

    /// Samples lost because the ring was full, by process, since this was asked before.
    /// Each entry is taken out, so that there is room for the processes of a host that runs
    /// for months; what is lost between the two calls for one entry is nobody's.
    pub fn take_lost(&mut self) -> Vec<(u32, u64)> {
        let mut lost: Vec<(u32, u64)> = self.lost.iter().flatten().collect();
        for (tgid, _) in &lost {
            // Only the agent takes entries out.
            let _ = self.lost.remove(tgid);
        }
        lost.sort_unstable();
        lost
    }

    /// Writes mappings where no process refers to. `false` if there is no such place.
    pub fn write_mappings(&mut self, first: u32, mappings: &[Mapping]) -> bool {
        self.mappings.write(first as usize, mappings)
    }

    /// Makes samples carry the request their thread serves, as `map` tells: a hash from
    /// thread ids (`u32`) to [`profile::Serving`], which whoever traces requests fills.
    ///
    /// # Errors
    /// Those of the system call; `EINVAL` if the map is of another kind.
    pub fn requests_from(&mut self, map: BorrowedFd<'_>) -> io::Result<()> {
        sys::set_inner(self.serving.fd().as_fd(), 0, map)
    }

    /// Makes the programs use these mappings for a process.
    ///
    /// # Errors
    /// Those of the map's system call.
    pub fn set_process(&mut self, tgid: u32, process: Process) -> io::Result<()> {
        let Process {
            asked,
            first,
            count,
        } = process;
        // The two halves of the value in the kernel.
        let value = [asked, u64::from(count) << 32 | u64::from(first)];
        self.processes
            .insert(tgid, value, 0)
            .map_err(io::Error::other)
    }

    /// Makes the programs forget a process.
    pub fn remove_process(&mut self, tgid: u32) {
        // It may be gone already.
        let _ = self.processes.remove(&tgid);
    }

    /// What the kernel says of every program.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramCost> {
        let mut out: Vec<ProgramCost> = self
            .ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = match program {
                    Program::PerfEvent(program) => program.info(),
                    Program::RawTracePoint(program) => program.info(),
                    _ => return None,
                };
                let info = info.ok()?;
                Some(ProgramCost {
                    name: name.to_owned(),
                    instructions: info.size_translated().map(|bytes| bytes / 8),
                    verified: info.verified_instruction_count(),
                    runs: info.run_count(),
                    run_time_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                })
            })
            .collect();
        out.sort_by(|a, b| a.name.cmp(&b.name));
        out
    }
}

/// Settings of the programs, with offsets of the running kernel.
fn config(targets: &Targets, ring_bytes: u32) -> Result<Config, CaptureError> {
    let bytes = std::fs::read(KERNEL).map_err(|source| CaptureError::NoBtf {
        path: KERNEL,
        source,
    })?;
    let bad = |e: crate::host::preflight::btf::BtfError| CaptureError::BadBtf {
        what: e.to_string(),
    };
    let btf = Btf::parse(&bytes).map_err(bad)?;
    let task = |member| {
        btf.member_offset("task_struct", member)
            .map(|member| member.byte_offset)
            .map_err(bad)
    };
    let mut flags = 0;
    let mut set = |on: bool, flag: u32| flags |= if on { flag } else { 0 };
    set(
        !targets.pids.is_empty() || !targets.comms.is_empty(),
        config_flags::BY_PROCESS,
    );
    set(!targets.cgroups.is_empty(), config_flags::BY_CGROUP);
    set(targets.user_only, config_flags::NO_KERNEL);
    set(!targets.with_itself, config_flags::NOT_ITSELF);
    set(true, config_flags::REQUESTS);
    Ok(Config {
        self_tgid: std::process::id(),
        flags,
        wakeup_bytes: ring_bytes / 4,
        task_stack: task("stack")?,
        task_mm: task("mm")?,
        task_tgid: task("tgid")?,
        // The union is as large as a kernel stack; not every kernel describes it.
        stack_bytes: btf
            .member_offset("thread_union", "stack")
            .ok()
            .and_then(|stack| stack.size)
            .unwrap_or(DEFAULT_STACK),
        task_fsbase: task("thread.fsbase").unwrap_or(0),
    })
}

/// Bytes of a kernel stack where the kernel does not say: `THREAD_SIZE` of x86-64.
const DEFAULT_STACK: u32 = 16 << 10;

/// Writes the targets into the maps.
fn choose(ebpf: &mut Ebpf, targets: &Targets) -> Result<(), CaptureError> {
    for pid in &targets.pids {
        insert(ebpf, "CHOSEN", pid, KEPT)?;
    }
    for name in &targets.comms {
        let mut key = [0u8; 16];
        for (to, from) in key.iter_mut().take(15).zip(name.bytes()) {
            *to = from;
        }
        for pid in crate::capture::processes_running(name) {
            insert(ebpf, "CHOSEN", &pid, 1)?;
        }
        insert(ebpf, "CHOSEN_COMM", &key, 1)?;
    }
    for cgroup in &targets.cgroups {
        insert(ebpf, "CHOSEN_CGROUP", cgroup, 1)?;
    }
    Ok(())
}

fn insert<K: aya::Pod>(
    ebpf: &mut Ebpf,
    map: &str,
    key: &K,
    value: u32,
) -> Result<(), CaptureError> {
    let map = ebpf.map_mut(map).ok_or_else(|| missing(map))?;
    let mut map: HashMap<_, K, u32> = HashMap::try_from(map).map_err(CaptureError::from_map)?;
    map.insert(key, value, 0).map_err(CaptureError::from_map)
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, CaptureError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

/// The memory of an array map, and the map itself.
fn shared<T: Pod>(
    ebpf: &mut Ebpf,
    name: &str,
    len: u32,
) -> Result<(MapData, Shared<T>), CaptureError> {
    let Map::Array(map) = take(ebpf, name)? else {
        return Err(missing(name));
    };
    let memory = Shared::map(map.fd().as_fd(), len as usize);
    let memory = memory.map_err(|source| CaptureError::Privilege {
        what: format!("mapping map `{name}`"),
        source,
    })?;
    Ok((map, memory))
}

fn missing(name: &str) -> CaptureError {
    CaptureError::Object {
        what: format!("`{name}` is missing"),
    }
}

fn hook<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut RawTracePoint, CaptureError> {
    ebpf.program_mut(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(|e| CaptureError::from_program(name, e))
}

fn perf_program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut PerfProgram, CaptureError> {
    ebpf.program_mut(name)
        .ok_or_else(|| missing(name))?
        .try_into()
        .map_err(|e| CaptureError::from_program(name, e))
}
