//! The programs in the object: which there are, which of them this kernel needs, and loading them.

use aya::Ebpf;
use aya::programs::RawTracePoint;

use super::error::CaptureError;

/// Programs in the order in which they are attached: the ends of calls before their
/// beginnings, so that no beginning waits for an end that is never seen.
const HOOKS: [(&str, &str); 7] = [
    ("sched_process_exit", "sched_process_exit"),
    ("sched_process_exec", "sched_process_exec"),
    ("sched_process_fork", "sched_process_fork"),
    ("tcp_destroy_sock", "tcp_destroy_sock"),
    ("inet_sock_set_state", "inet_sock_set_state"),
    ("sys_exit", "sys_exit"),
    ("sys_enter", "sys_enter"),
];

/// Those of [`HOOKS`] that tell of connections that end.
pub(super) const CONN_ENDS: [&str; 2] = ["tcp_destroy_sock", "inet_sock_set_state"];

/// Programs that are attached as well where tracepoints of system calls can be preempted:
/// there the kernel leaves a program out while a preempted thread is within it on the
/// same CPU. The second one does what the first one could not.
const AGAIN: [(&str, &str); 2] = [
    ("sys_exit_again", "sys_exit"),
    ("sys_enter_again", "sys_enter"),
];

/// First kernel on which they can. The change came with Linux 7; nothing shows it to
/// userspace but the version.
const PREEMPTIBLE_SINCE: u32 = 7;

/// Programs that others continue in, with their index.
pub(super) const STAGES: [(&str, u32); 7] = [
    ("advance", 0),
    ("announce", 1),
    ("give_up", 2),
    ("follow_frames", 3),
    ("look_again", 4),
    ("preamble", 5),
    ("skim", 6),
];

/// What the kernel says of one loaded program.
#[derive(Clone, Debug)]
pub struct ProgramStats {
    /// Name of the program.
    pub name: String,
    /// Instructions of the program, after the kernel's rewriting.
    pub instructions: Option<u32>,
    /// Instructions the verifier walked through.
    pub verified: Option<u32>,
    /// Runs while `kernel.bpf_stats_enabled` was 1.
    pub runs: u64,
    /// Time in these runs, ns.
    pub run_time_ns: u64,
}

/// Loads all programs that this kernel needs, on as many threads: the verifier walks
/// through each for up to half a second, and does not wait for itself.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), CaptureError> {
    let stages = STAGES.into_iter().map(|(name, _)| name);
    let mut wanted: Vec<&str> = hooks().map(|(name, _)| name).chain(stages).collect();
    std::thread::scope(|scope| {
        let mut loads = Vec::new();
        for (name, program) in ebpf.programs_mut() {
            let Some(at) = wanted.iter().position(|wanted| *wanted == name) else {
                continue;
            };
            let name = wanted.swap_remove(at);
            loads.push(scope.spawn(move || {
                <&mut RawTracePoint>::try_from(program)
                    .and_then(RawTracePoint::load)
                    .map_err(|e| CaptureError::from_program(name, e))
            }));
        }
        for load in loads {
            load.join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

/// The programs to attach to this kernel, in order.
pub(super) fn hooks() -> impl Iterator<Item = (&'static str, &'static str)> {
    let again = preemptible();
    // Behind the first ones: the kernel runs them in the order in which they came.
    HOOKS
        .into_iter()
        .chain(AGAIN.into_iter().filter(move |_| again))
}

/// Whether tracepoints of system calls can be preempted.
pub(super) fn preemptible() -> bool {
    kernel_major().is_some_and(|major| major >= PREEMPTIBLE_SINCE)
}

/// The first number of the kernel's version.
fn kernel_major() -> Option<u32> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    release.split('.').next()?.trim().parse().ok()
}

/// One of the programs in the object.
pub(super) fn named<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut RawTracePoint, CaptureError> {
    ebpf.program_mut(name)
        .ok_or_else(|| CaptureError::Object {
            what: format!("program `{name}` is missing"),
        })?
        .try_into()
        .map_err(|e| CaptureError::from_program(name, e))
}
