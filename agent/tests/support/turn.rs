//! How long a test waited for others, for whoever lists the slowest tests.
//!
//! The variable is not named `REMORA_…`: the agent, which inherits it, refuses settings it
//! does not know.

use std::io::Write as _;
use std::time::Instant;

/// Takes a lock, and says how long that took if `SUITE_TEST_TIMES` is set: libtest's own
/// time of the test begins before it.
pub(crate) fn take<T>(lock: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let turn = lock();
    let thread = std::thread::current();
    if let (Some(test), Some(_)) = (thread.name(), std::env::var_os("SUITE_TEST_TIMES")) {
        let waited = start.elapsed().as_secs_f64();
        // Past the test framework, which keeps what a test prints. The line end in front
        // parts it from what another test may have begun.
        let line = format!("\nwaited for its turn: {test} {waited:.3}\n");
        let _ = std::io::stdout().write_all(line.as_bytes());
    }
    turn
}
