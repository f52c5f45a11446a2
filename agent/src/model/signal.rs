//! SIGINT, SIGTERM and SIGHUP as flags to look at.

#![allow(unsafe_code, reason = "calls the C library")]

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};

/// Whoever means it sends another signal later than this after the first, ns. Sooner it is the
/// same wish twice: `timeout` of coreutils signals the command and then its group, a terminal its
/// group and a supervisor in it the command once more.
const ECHO_NS: i64 = 1_000_000_000;

static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// When the first one came, ns of the monotonic clock; 0 for never.
static SINCE: AtomicI64 = AtomicI64::new(0);
static HUNG_UP: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: libc::c_int) {
    let now = monotonic_ns();
    let first = SINCE.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    match first {
        Ok(_) => RECEIVED.store(signal, Ordering::Relaxed),
        Err(since) if !is_meant(since, now) => {}
        // The end takes too long for someone. The signal is blocked here, and comes when this
        // returns.
        // SAFETY: `signal` and `raise` are async-signal-safe (signal-safety(7)); no memory is
        // involved.
        Err(_) => unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        },
    }
}

/// Whether a signal at `now` is a wish of its own beside the first one, at `since`.
const fn is_meant(since: i64, now: i64) -> bool {
    now - since >= ECHO_NS
}

/// Never 0. Async-signal-safe.
fn monotonic_ns() -> i64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `clock_gettime` is async-signal-safe (signal-safety(7)) and writes to a structure
    // that outlives the call. It cannot fail for this clock; if it did, the time stays 0.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).max(1)
}

extern "C" fn note_hangup(_: libc::c_int) {
    HUNG_UP.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM only set a flag. One that comes a second or more after the
/// first ends the process as usual, should the end take too long for someone.
///
/// # Errors
/// The kernel refuses, which it does not for these signals.
pub fn catch() -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        handle(signal, note)?;
    }
    Ok(())
}

/// From now on SIGHUP only sets a flag, every time.
///
/// # Errors
/// As [`catch`].
pub fn catch_hangup() -> std::io::Result<()> {
    handle(libc::SIGHUP, note_hangup)
}

fn handle(signal: libc::c_int, handler: extern "C" fn(libc::c_int)) -> std::io::Result<()> {
    // SAFETY: all bytes zero is a valid `sigaction`: no flags, an empty mask, and a
    // handler that is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    // SAFETY: the handlers store to atomics and call functions that are async-signal-safe
    // (signal-safety(7)); the structure is valid and outlives the call.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Whether SIGHUP came since the last call.
#[must_use]
pub fn hung_up() -> bool {
    HUNG_UP.swap(false, Ordering::Relaxed)
}

/// The signal that asked for an end, if one did.
#[must_use]
pub fn received() -> Option<i32> {
    match RECEIVED.load(Ordering::Relaxed) {
        0 => None,
        signal => Some(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_no_wish_of_its_own() {
        let since = monotonic_ns();
        assert!(since > 0);
        assert!(!is_meant(since, since));
        assert!(!is_meant(since, since + ECHO_NS - 1));
        assert!(is_meant(since, since + ECHO_NS));
    }
}
