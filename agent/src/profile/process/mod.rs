//! Processes: what they have mapped, and the binaries behind it.

pub mod arena;
pub mod binary;
pub mod elf;
pub mod gopclntab;
pub mod maps;

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd as _;

/// A file that is only in memory.
///
/// # Errors
/// Those of `memfd_create(2)`.
#[allow(unsafe_code, reason = "calls the C library")]
pub fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name ends with NUL.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}
