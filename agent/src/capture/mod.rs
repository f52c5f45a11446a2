//! The kernel side, seen from the agent: load, attach, read records and counters; records
//! decoded ([`ingest`]), kept in a file ([`recording`]), and accounted for ([`ledger`]).

mod access;
mod diagnostics;
mod error;
pub mod ingest;
pub mod ledger;
mod maps;
mod memory;
mod programs;
mod quiesce;
pub mod recording;
mod rules;
mod verifier;
pub(crate) mod wait;

pub use error::CaptureError;
pub use memory::kernel_memory;
pub use programs::ProgramStats;
pub(crate) use rules::processes_running;
pub use rules::{Rule, Rules, Verdict};
pub use verifier::verified_by_log;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::Program;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::{Ebpf, EbpfLoader, VerifierLogLevel};
use remora_common::config::{Config, HEAD_BYTES, config_flags};
use remora_common::counters::COUNT;
use remora_common::http2::BLOCK_BYTES;
use remora_common::offsets::{OPTIONAL, Offsets};
use remora_common::pod::Pod;

use crate::host::preflight::btf::{self, Btf};

use access::Access;
use diagnostics::Diagnostics;
use programs::{CONN_ENDS, STAGES, hooks};

/// The kernel programs: `agent/ebpf/remora.bpf.o` unless the build asked for another.
/// `cargo xtask build-ebpf` makes the file, and one beside it that names the sources it was
/// made from.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("KERNEL_OBJECT"));

/// Where the running kernel describes its types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Smallest and default size of the ring, bytes. Sizes are powers of two.
pub const RING_BYTES: (u32, u32) = (64 << 10, 16 << 20);

/// Default number of connections followed at a time.
pub const MAX_CONNECTIONS: u32 = 16_384;

/// Default number of threads that may be within a call on a followed connection.
pub const MAX_THREADS: u32 = 8_192;

/// What to capture, and within which bounds.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// Head bytes captured per request, 256 to 8192.
    pub head_bytes: u32,
    /// Size of the ring in bytes; rounded up to a power of two.
    pub ring_bytes: u32,
    /// Connections followed at a time.
    pub max_connections: u32,
    /// Threads that may be within a call on a followed connection.
    pub max_threads: u32,
    /// What to leave out, or to look at alone.
    pub rules: Rules,
    /// Note which thread serves which request, for [`Capture::serving`].
    pub serving: bool,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            head_bytes: HEAD_BYTES.1,
            ring_bytes: RING_BYTES.1,
            max_connections: MAX_CONNECTIONS,
            max_threads: MAX_THREADS,
            rules: Rules::default(),
            serving: false,
        }
    }
}

/// The loaded and attached programs. Everything is undone when this is dropped.
pub struct Capture {
    ebpf: Ebpf,
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
    links: Vec<(&'static str, RawTracePointLinkId)>,
    /// When it was last waited for records, and how many came since.
    waited: Instant,
    taken: usize,
    /// What the programs write about themselves, if somebody listens.
    diagnostics: Option<Diagnostics>,
    // A program array is emptied when userspace lets go of it.
    _stages: ProgramArray<MapData>,
}

impl Capture {
    /// Loads the programs for the running kernel and attaches them.
    ///
    /// # Errors
    /// Says which privilege or kernel feature is missing and how to get it.
    pub fn start(config: &CaptureConfig) -> Result<Self, CaptureError> {
        let mut capture = Self::load(config)?;
        capture.attach()?;
        Ok(capture)
    }

    /// Loads the programs without attaching any.
    ///
    /// # Errors
    /// As [`Capture::start`].
    pub fn load(config: &CaptureConfig) -> Result<Self, CaptureError> {
        let (offsets, access) = kernel_types()?;
        let loaded = Self::load_for(config, &offsets, access);
        match loaded {
            // A kernel that describes the faster way to read memory, but does not let
            // these programs use it.
            Err(error @ CaptureError::Verifier { .. }) if access.is_typed() => {
                tracing::warn!(%error, "typed kernel pointers refused, reading through helpers");
                Self::load_for(config, &offsets, Access::default())
            }
            other => other,
        }
    }

    fn load_for(
        config: &CaptureConfig,
        offsets: &Offsets,
        access: Access,
    ) -> Result<Self, CaptureError> {
        let mut ebpf = Self::object(config, offsets, access, VerifierLogLevel::default())?;
        programs::load(&mut ebpf)?;
        let mut stages = ProgramArray::try_from(maps::take(&mut ebpf, "STAGES")?)
            .map_err(CaptureError::from_map)?;
        for (name, index) in STAGES {
            let fd = programs::named(&mut ebpf, name)?
                .fd()
                .map_err(|e| CaptureError::from_program(name, e))?;
            stages.set(index, fd, 0).map_err(CaptureError::from_map)?;
        }
        // Closes the maps behind itself, so the programs must have them by now.
        config.rules.install(&mut ebpf)?;
        let ring =
            RingBuf::try_from(maps::take(&mut ebpf, "RECORDS")?).map_err(CaptureError::from_map)?;
        let counters = PerCpuArray::try_from(maps::take(&mut ebpf, "COUNTERS")?)
            .map_err(CaptureError::from_map)?;
        let diagnostics = Diagnostics::of(&mut ebpf);
        Ok(Self {
            ebpf,
            ring,
            counters,
            links: Vec::new(),
            waited: Instant::now(),
            taken: 0,
            diagnostics,
            _stages: stages,
        })
    }

    /// Creates the maps; the programs are relocated, but not loaded.
    fn object(
        config: &CaptureConfig,
        offsets: &Offsets,
        access: Access,
        log: VerifierLogLevel,
    ) -> Result<Ebpf, CaptureError> {
        let ring_bytes = config
            .ring_bytes
            .clamp(RING_BYTES.0, 1 << 30)
            .next_power_of_two();
        let preemptible = programs::preemptible();
        let mut globals = Config {
            self_tgid: std::process::id(),
            head_bytes: config.head_bytes.clamp(HEAD_BYTES.0, HEAD_BYTES.2),
            wakeup_bytes: ring_bytes / 8,
            flags: config.rules.flags()
                | diagnostics::flag()
                | flag(config.serving, config_flags::SERVING)
                | flag(preemptible, config_flags::PREEMPTIBLE),
            block_bytes: (config.head_bytes).clamp(BLOCK_BYTES.1, BLOCK_BYTES.2),
            type_file: 0,
            type_socket: 0,
            type_pointer: 0,
            type_registers: 0,
            reserved: [0; 3],
        };
        access.configure(&mut globals);
        let max_connections = config.max_connections.max(16);
        let max_threads = config.max_threads.max(16);
        let object = access.patch(OBJECT);
        EbpfLoader::new()
            .verifier_log_level(log)
            // No relocations: offsets are patched in as data.
            .btf(None)
            .override_global("CONFIG", globals.as_bytes(), true)
            .override_global("OFFSETS", offsets.as_bytes(), true)
            .map_max_entries("RECORDS", ring_bytes)
            .map_max_entries("AYA_LOGS", diagnostics::ring_bytes())
            .map_max_entries("CONNS", max_connections)
            .map_max_entries("MESSAGES", max_connections)
            .map_max_entries("SERVING", max_threads)
            .map_max_entries("OTHERS", max_connections.saturating_mul(4))
            .map_max_entries("TASKS", if preemptible { max_threads } else { 1 })
            // Its claims of slots beside them.
            .map_max_entries("MORE_SENDS", max_threads.saturating_mul(2))
            .load(object.bytes())
            .map_err(CaptureError::from_ebpf)
    }

    fn attach(&mut self) -> Result<(), CaptureError> {
        for (name, hook) in hooks() {
            let link = programs::named(&mut self.ebpf, name)?
                .attach(hook)
                .map_err(|e| CaptureError::from_program(name, e))?;
            self.links.push((name, link));
        }
        Ok(())
    }

    /// Detaches the programs and waits until none of them runs: records and counters can
    /// still be read, and change no more.
    ///
    /// Ends of connections go first: while calls are not seen any more, a response that
    /// is sent before its connection ends would be taken for one that never was.
    ///
    /// # Errors
    /// Those of the system calls that detach.
    pub fn stop(&mut self) -> Result<(), CaptureError> {
        let (ends, calls): (Vec<_>, Vec<_>) = self
            .links
            .drain(..)
            .partition(|(name, _)| CONN_ENDS.contains(name));
        for (name, link) in ends.into_iter().chain(calls.into_iter().rev()) {
            programs::named(&mut self.ebpf, name)?
                .detach(link)
                .map_err(|e| CaptureError::from_program(name, e))?;
        }
        quiesce::wait();
        Ok(())
    }

    /// Hands the records that are waiting to `take`, in order; if there are none, waits
    /// for at most `timeout`. Returns how many there were.
    ///
    /// The kernel wakes this up early only when much is waiting or a process is new:
    /// call it every 20 ms or so. The busier the host, the shorter it waits: see [`pace`].
    ///
    /// # Errors
    /// Those of `poll(2)`, but for interrupted calls, which count as a timeout.
    pub fn poll(&mut self, timeout: Duration, take: &mut dyn FnMut(&[u8])) -> io::Result<usize> {
        let mut taken = self.drain(take);
        self.taken += taken;
        if taken == 0 && !timeout.is_zero() {
            let now = Instant::now();
            let timeout = pace(self.taken, now - self.waited, timeout);
            self.taken = 0;
            self.waited = now;
            wait::readable(self.ring.as_raw_fd(), timeout)?;
            taken = self.drain(take);
            self.taken += taken;
        }
        if let Some(diagnostics) = &mut self.diagnostics {
            diagnostics.flush();
        }
        Ok(taken)
    }

    fn drain(&mut self, take: &mut dyn FnMut(&[u8])) -> usize {
        let mut taken = 0;
        // Bounded, so that a flood does not keep the caller from its other work.
        while taken < DRAIN_MAX
            && let Some(record) = self.ring.next()
        {
            take(&record);
            taken += 1;
        }
        taken
    }

    /// Which thread serves which request, for
    /// [`Sampler::requests_from`](crate::profile::kernel::Sampler::requests_from): a hash
    /// from thread ids to [`remora_common::profile::Serving`]. Empty unless
    /// [`CaptureConfig::serving`] is set.
    ///
    /// # Errors
    /// The map is missing in the object.
    pub fn serving(&self) -> Result<BorrowedFd<'_>, CaptureError> {
        match self.ebpf.map("SERVING") {
            Some(Map::HashMap(map)) => Ok(map.fd().as_fd()),
            _ => Err(CaptureError::Object {
                what: "map `SERVING` is missing".to_owned(),
            }),
        }
    }

    /// The kernel's counters, summed over all CPUs; indices are
    /// [`remora_common::counters::Counter`].
    ///
    /// # Errors
    /// Those of the map's system call.
    pub fn counters(&self) -> io::Result<[u64; COUNT]> {
        let mut sums = [0u64; COUNT];
        for (index, sum) in (0u32..).zip(sums.iter_mut()) {
            let values = self.counters.get(&index, 0).map_err(io::Error::other)?;
            *sum = values
                .iter()
                .fold(0u64, |sum, value| sum.wrapping_add(*value));
        }
        Ok(sums)
    }

    /// Identities of the connections that are followed. Exact when the programs are detached;
    /// while connections come and go, one of them may be left out.
    ///
    /// # Errors
    /// The map is missing in the object, or cannot be read.
    pub fn followed(&self) -> Result<HashSet<u64>, CaptureError> {
        maps::followed(&self.ebpf)
    }

    /// Events at which the kernel left the programs out because they were already running
    /// on that CPU, at most: where a hook has two instances, only what both did not see is
    /// gone. Every one may hide a request. `None` if the kernel does not tell (before Linux
    /// 5.12, or without procfs).
    #[must_use]
    pub fn missed(&self) -> Option<u64> {
        let mut by_hook: BTreeMap<&str, u64> = BTreeMap::new();
        for (name, hook) in hooks() {
            let missed = self.recursion_misses(name)?;
            let least = by_hook.entry(hook).or_insert(missed);
            *least = missed.min(*least);
        }
        Some(by_hook.values().sum())
    }

    /// Runs of one program that the kernel left out.
    fn recursion_misses(&self, name: &str) -> Option<u64> {
        let Program::RawTracePoint(program) = self.ebpf.program(name)? else {
            return None;
        };
        let fd = program.fd().ok()?.as_fd().as_raw_fd();
        // The kernel tells it here, or in a structure that aya does not show.
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:"))?;
        value.trim().parse().ok()
    }

    /// Name and verifier instruction count (Linux 5.16 and later) of every program.
    ///
    /// # Errors
    /// Those of the system calls that ask.
    pub fn programs(&self) -> Result<Vec<ProgramStats>, CaptureError> {
        let mut out = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let Program::RawTracePoint(program) = program else {
                continue;
            };
            if program.fd().is_err() {
                // Not loaded: not needed on this kernel.
                continue;
            }
            let info = program
                .info()
                .map_err(|e| CaptureError::from_program(name, e))?;
            out.push(ProgramStats {
                name: name.to_owned(),
                instructions: info.size_translated().map(|bytes| bytes / 8),
                verified: info.verified_instruction_count(),
                runs: info.run_count(),
                run_time_ns: u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
            });
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }
}

/// Records to wait for at a time: those of 50 spans, handled in 12 µs if all are filtered out,
/// in 65 if all are exported, which is by how much a traced thread may be late that needs the
/// CPU meanwhile. With ten times as many, one request of a hundred took 6 to 8 % longer
/// (`cargo xtask bench-latency`).
const BATCH: u32 = 100;

/// How long to wait for records when `taken` came in the time that `passed`, at most
/// `timeout`.
///
/// Where all CPUs are busy, those that wait for the answers of a thread whose CPU the agent
/// took stand still as well, if that takes longer than what they have left to do.
fn pace(taken: usize, passed: Duration, timeout: Duration) -> Duration {
    let taken = u32::try_from(taken).unwrap_or(u32::MAX).max(1);
    let batch = passed.saturating_mul(BATCH) / taken;
    batch.max(Duration::from_millis(1)).min(timeout)
}

/// Most records taken in one [`Capture::poll`].
const DRAIN_MAX: usize = 65_536;

const fn flag(set: bool, flag: u32) -> u32 {
    if set { flag } else { 0 }
}

fn kernel_types() -> Result<(Offsets, Access), CaptureError> {
    let bytes = std::fs::read(KERNEL_BTF).map_err(|source| CaptureError::NoBtf {
        path: KERNEL_BTF,
        source,
    })?;
    let btf = Btf::parse(&bytes).map_err(|e| CaptureError::BadBtf {
        what: e.to_string(),
    })?;
    let (offsets, missing) = btf::offsets(&btf);
    let missing: Vec<String> = missing
        .iter()
        .filter(|m| !OPTIONAL.contains(&(m.structure, m.member)))
        .map(|m| format!("{}.{}", m.structure, m.member))
        .collect();
    if offsets.fdt_fd != offsets.fdt_max_fds + 8 {
        // So it has been since descriptor tables exist; the programs read both at once.
        let what = "`fdtable` is not laid out as the programs read it".to_owned();
        return Err(CaptureError::BadBtf { what });
    }
    if missing.is_empty() {
        Ok((offsets, Access::of(&btf)))
    } else {
        Err(CaptureError::Members { missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_the_shorter_the_wait() {
        let ms = Duration::from_millis;
        assert_eq!(pace(0, ms(20), ms(20)), ms(20));
        assert_eq!(pace(100, ms(20), ms(20)), ms(20));
        assert_eq!(pace(400, ms(20), ms(20)), ms(5));
        assert_eq!(pace(400, ms(20), ms(3)), ms(3));
        assert_eq!(pace(100_000, ms(20), ms(20)), ms(1));
        assert_eq!(pace(usize::MAX, Duration::MAX, ms(20)), ms(20));
    }
}
