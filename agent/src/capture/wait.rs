//! Waiting for the kernel to say that a ring has records.

#![allow(unsafe_code, reason = "makes a system call that has no wrapper")]

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// Waits until the descriptor is readable, or the time has passed; a signal ends the wait as
/// the time does.
///
/// # Errors
/// Those of `poll(2)`, but for interrupted calls.
pub(crate) fn readable(fd: RawFd, timeout: Duration) -> io::Result<()> {
    let mut waiting = libc::pollfd {
        fd,
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
    Ok(())
}
