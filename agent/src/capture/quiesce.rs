//! Waiting for programs that run while they are detached.

#![allow(unsafe_code, reason = "makes a system call that has no wrapper")]

use std::thread;
use std::time::Duration;

/// `MEMBARRIER_CMD_GLOBAL` of `linux/membarrier.h`; the libc crate has only the number of
/// the system call.
const GLOBAL: libc::c_int = 1;

/// For what a grace period does not cover: a thread that is preempted between the
/// tracepoint and the program (Linux 7), and kernels that refuse the call.
const MARGIN: Duration = Duration::from_millis(5);

/// Returns when no program that was detached before runs any more, on any CPU.
///
/// Programs run in read-side critical sections of RCU, and `membarrier(2)` waits for the end
/// of all that have begun (`synchronize_rcu`). Time alone is no bound: a virtual CPU that its
/// host leaves waiting within a program goes on after any pause, and would count a request
/// whose record nobody reads.
pub(super) fn wait() {
    thread::sleep(MARGIN);
    // SAFETY: takes three numbers, touches no memory. Fails where CPUs run without ticks
    // (`nohz_full`) or the call is forbidden; then the pause above has to do.
    let ended = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if ended != 0 {
        tracing::debug!(
            error = %std::io::Error::last_os_error(),
            "the kernel does not wait for running programs",
        );
    }
}
