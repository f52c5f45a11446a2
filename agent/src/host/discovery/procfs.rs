//! Bounded reads below `/proc/PID`.

#![allow(unsafe_code, reason = "makes system calls that have no wrapper")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// The directory `/proc/PID` of a process. Held open, it stays that process's: after
/// its end, reads fail instead of reaching the next process with the id.
#[derive(Debug)]
pub(crate) struct ProcDir {
    path: String,
    /// Keeps `path`, which goes through `/proc/self/fd`, valid.
    _dir: OwnedFd,
}

/// Fields of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stat {
    /// Start of the process since boot, in clock ticks.
    pub(crate) start_ticks: u64,
    /// Bottom of the stack: with address space randomisation, different after each
    /// `exec`. 0 if the agent may not see it.
    pub(crate) start_stack: u64,
}

impl ProcDir {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let dir = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY)
            .open(format!("/proc/{pid}"))?;
        Ok(Self {
            path: format!("/proc/self/fd/{}", dir.as_raw_fd()),
            _dir: dir.into(),
        })
    }

    /// Reads at most `limit` bytes of a file into `out`, which is emptied first.
    pub(crate) fn read(&self, name: &str, limit: u64, out: &mut Vec<u8>) -> io::Result<()> {
        out.clear();
        File::open(format!("{}/{name}", self.path))?
            .take(limit)
            .read_to_end(out)?;
        Ok(())
    }

    /// Target of a symbolic link, lossy.
    pub(crate) fn link(&self, name: &str) -> Option<String> {
        let target = std::fs::read_link(format!("{}/{name}", self.path)).ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    pub(crate) fn stat(&self, buffer: &mut Vec<u8>) -> Option<Stat> {
        parse_stat(self.stat_fields(buffer)?)
    }

    /// The process that waits for its end; `None` if that is out of sight.
    pub(crate) fn parent(&self, buffer: &mut Vec<u8>) -> Option<Self> {
        let mut fields = self.stat_fields(buffer)?.split_ascii_whitespace();
        Self::open(fields.nth(4 - 3)?.parse().ok()?).ok()
    }

    /// What follows the name in parentheses: field 3 (state) and on.
    fn stat_fields<'a>(&self, buffer: &'a mut Vec<u8>) -> Option<&'a str> {
        self.read("stat", 4096, buffer).ok()?;
        std::str::from_utf8(buffer.rsplit(|&byte| byte == b')').next()?).ok()
    }

    /// Reads at most `limit` bytes of a regular file as the process itself sees it.
    /// Links in its root cannot lead out of it, and nothing that blocks is opened.
    pub(crate) fn read_inside(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let found = open_inside(self.root()?.as_fd(), path).ok()?;
        if !found.metadata().ok()?.is_file() {
            return None;
        }
        // Only now that it is known to be no device and no pipe is it opened.
        let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).ok()?;
        let mut out = Vec::new();
        file.take(limit).read_to_end(&mut out).ok()?;
        Some(out)
    }

    /// Whether a path, as the process itself sees it, is a regular file. `None` if its root is
    /// out of reach. Nothing is opened.
    pub(crate) fn has_file(&self, path: &str) -> Option<bool> {
        let found = open_inside(self.root()?.as_fd(), path);
        Some(found.is_ok_and(|file| file.metadata().is_ok_and(|meta| meta.is_file())))
    }

    fn root(&self) -> Option<File> {
        let mut options = File::options();
        options
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY);
        options.open(format!("{}/root", self.path)).ok()
    }
}

fn parse_stat(rest: &str) -> Option<Stat> {
    let mut fields = rest.split_ascii_whitespace();
    let start_ticks = fields.nth(22 - 3)?.parse().ok()?;
    let start_stack = fields.nth(28 - 23)?.parse().ok()?;
    Some(Stat {
        start_ticks,
        start_stack,
    })
}

/// Finds a file without opening it: openat2(2) with `RESOLVE_IN_ROOT`; Linux 5.6.
fn open_inside(root: BorrowedFd<'_>, path: &str) -> io::Result<File> {
    let path = CString::new(path)?;
    // SAFETY: all-zero is a valid `open_how`, which is plain integers.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: `path` is NUL-terminated and `how` is as long as stated; the kernel only
    // reads both during the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { File::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Time since boot by two clocks, ns: what `/proc` counts in, less what the kernel
/// programs stamp records with. They differ by the time spent suspended.
pub(crate) fn suspended_ns() -> u64 {
    let clock = |id| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid timespec to write to; a failed call leaves it zero.
        unsafe { libc::clock_gettime(id, &raw mut time) };
        time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
    };
    clock(libc::CLOCK_BOOTTIME).saturating_sub(clock(libc::CLOCK_MONOTONIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_name() {
        let fields = "S 1 1 1 0 -1 4194560 1 0 0 0 2 3 0 0 20 0 1 0 777 9 9 9 9 9 888 0";
        let stat = parse_stat(fields).unwrap();
        assert_eq!((stat.start_ticks, stat.start_stack), (777, 888));
        assert_eq!(parse_stat("S 1 x"), None);
    }

    #[test]
    fn files_inside_a_root_cannot_lead_out_or_block() {
        let dir = ProcDir::open(std::process::id()).unwrap();
        let mut buffer = Vec::new();
        assert!(dir.stat(&mut buffer).unwrap().start_ticks > 0);
        assert!(dir.read_inside("/proc/self/root/etc/passwd", 10).is_none());
        assert!(dir.read_inside("/dev/null", 10).is_none());
        assert!(dir.read_inside("/etc", 10).is_none());
        assert_eq!(dir.read_inside("/etc/passwd", 4).unwrap().len(), 4);

        let temporary = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", temporary.path().join("link")).unwrap();
        let root = File::open(temporary.path()).unwrap();
        assert!(open_inside(root.as_fd(), "link").is_err());
        assert!(open_inside(root.as_fd(), "../../../../etc/passwd").is_err());
    }
}
