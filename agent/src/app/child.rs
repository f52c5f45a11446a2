//! A command that is started, but held until tracing has begun.

#![allow(unsafe_code, reason = "forks and execs")]

use std::ffi::OsString;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread::{self, JoinHandle};

/// A process that exists and waits before it becomes the command. Let go of, it ends.
#[derive(Debug)]
pub(super) struct Held {
    pid: u32,
    go: PipeWriter,
    spawning: JoinHandle<io::Result<Child>>,
}

impl Held {
    /// Makes the process. Whether the command can be run shows when it is released.
    ///
    /// # Errors
    /// No pipe, thread or process can be made.
    pub(super) fn start(command: &[OsString]) -> io::Result<Self> {
        let (program, args) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let (mut told, tell) = io::pipe()?;
        let (wait, go) = io::pipe()?;
        let mut command = Command::new(program);
        command.args(args);
        let unused = go.as_raw_fd();
        // SAFETY: what runs between fork and exec makes only system calls that are
        // async-signal-safe (signal-safety(7)) and allocates nothing.
        unsafe { command.pre_exec(move || hold(&tell, &wait, unused)) };
        // `spawn` returns only when the command runs, so it needs a thread to wait in.
        let spawning = thread::spawn(move || command.spawn());
        let mut pid = [0; 4];
        match told.read_exact(&mut pid) {
            Ok(()) => Ok(Self {
                pid: u32::from_ne_bytes(pid),
                go,
                spawning,
            }),
            // The end of the pipe instead: there is no process.
            Err(error) => match joined(spawning) {
                Err(cause) => Err(cause),
                Ok(_) => Err(error),
            },
        }
    }

    /// Process id of the command.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it become the command.
    ///
    /// # Errors
    /// The command cannot be run.
    pub(super) fn release(mut self) -> io::Result<Child> {
        self.go.write_all(&[1])?;
        joined(self.spawning)
    }
}

fn joined(spawning: JoinHandle<io::Result<Child>>) -> io::Result<Child> {
    spawning
        .join()
        .map_err(|_| io::Error::other("the thread that starts the command ended"))?
}

/// In the new process: says who it is, and waits for a byte. `unused` is this process's
/// copy of the writing end it waits on, which would keep it waiting for ever.
fn hold(mut tell: &PipeWriter, mut wait: &PipeReader, unused: RawFd) -> io::Result<()> {
    // SAFETY: the descriptor is open in this process, which has not run anything else
    // since the fork, and nothing here uses it after this. `getpid` has no conditions.
    let pid = unsafe {
        libc::close(unused);
        libc::getpid()
    };
    tell.write_all(&pid.to_ne_bytes())?;
    wait.read_exact(&mut [0])
}

/// Sends a signal to a child that has not been waited for.
pub(super) fn signal(child: &Child, signal: i32) {
    if let Ok(pid) = libc::pid_t::try_from(child.id()) {
        // SAFETY: no memory is involved. The child was not waited for, so its id is not
        // in use for anything else.
        unsafe { libc::kill(pid, signal) };
    }
}

/// The exit code that a shell would show.
pub(super) fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn runs_only_when_released_under_the_pid_it_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > {}; exit 7", file.display());
        let held = Held::start(&command(&["sh", "-c", &script])).unwrap();
        let pid = held.pid();
        thread::sleep(std::time::Duration::from_millis(50));
        assert!(!file.exists());
        let status = held.release().unwrap().wait().unwrap();
        assert_eq!(code(status), 7);
        assert_eq!(
            std::fs::read_to_string(&file).unwrap().trim(),
            pid.to_string()
        );
    }

    #[test]
    fn ends_when_it_is_let_go_of() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ran");
        let held = Held::start(&command(&["touch", file.to_str().unwrap()])).unwrap();
        let Held { go, spawning, .. } = held;
        drop(go);
        assert!(joined(spawning).is_err());
        assert!(!file.exists());
    }

    #[test]
    fn says_why_a_command_cannot_be_run() {
        let held = Held::start(&command(&["/nonexistent/command"])).unwrap();
        assert_eq!(held.release().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn codes_are_those_of_a_shell() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        signal(&child, libc::SIGTERM);
        assert_eq!(code(child.wait().unwrap()), 128 + 15);
    }
}
