//! SIGINT, SIGTERM and SIGHUP as flags to look at.

#![allow(unsafe_code, reason = "calls the C library")]

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static HUNG_UP: AtomicBool = AtomicBool::new(false);

extern "C" fn note(signal: libc::c_int) {
    RECEIVED.store(signal, Ordering::Relaxed);
}

extern "C" fn note_hangup(_: libc::c_int) {
    HUNG_UP.store(true, Ordering::Relaxed);
}

/// From now on SIGINT and SIGTERM only set a flag, once: a second one ends the process
/// as usual, should the end take too long for someone.
///
/// # Errors
/// The kernel refuses, which it does not for these signals.
pub fn catch() -> std::io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        handle(signal, note, libc::SA_RESETHAND)?;
    }
    Ok(())
}

/// From now on SIGHUP only sets a flag, every time.
///
/// # Errors
/// As [`catch`].
pub fn catch_hangup() -> std::io::Result<()> {
    handle(libc::SIGHUP, note_hangup, 0)
}

fn handle(
    signal: libc::c_int,
    handler: extern "C" fn(libc::c_int),
    flags: libc::c_int,
) -> std::io::Result<()> {
    // SAFETY: all bytes zero is a valid `sigaction`: no flags, an empty mask, and a
    // handler that is set below.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = flags;
    // SAFETY: the handlers only store to an atomic, which is async-signal-safe
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
