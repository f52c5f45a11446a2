//! Child processes that end with the value that stands for them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use super::wait_until;
pub(crate) use crate::ports::{free_port, listener};

/// The effective user id of this process.
pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes no argument and cannot fail.
    unsafe { libc::geteuid() }
}

/// Sends a signal to a process (positive) or to a process group (negative).
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: plain integers; a process that is gone gives ESRCH, which is fine.
    unsafe { libc::kill(pid, signal) };
}

/// A program in a process group of its own, which is killed on drop.
#[derive(Debug)]
pub(crate) struct Spawned {
    child: Child,
    log: Option<PathBuf>,
    /// Whether the program has ended and its number may belong to another.
    reaped: bool,
}

impl Spawned {
    /// Starts a program whose output goes to `log`.
    pub(crate) fn logged(command: &mut Command, log: &Path) -> Self {
        let out = File::create(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: Some(log.to_owned()),
            reaped: false,
        }
    }

    /// Starts a program with the standard streams set by the caller.
    pub(crate) fn with_streams(command: &mut Command) -> Self {
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: None,
            reaped: false,
        }
    }

    /// The process itself, for its streams and for waiting.
    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process alone.
    pub(crate) fn signal(&self, number: i32) {
        signal(i32::try_from(self.pid()).unwrap(), number);
    }

    /// The process and everything it started that is still there.
    pub(crate) fn tree(&self) -> HashSet<u32> {
        let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid: u32| Some((pid, parent(pid)?)))
            .collect();
        let mut tree = HashSet::from([self.pid()]);
        loop {
            let before = tree.len();
            for (pid, parent) in &parents {
                if tree.contains(parent) {
                    tree.insert(*pid);
                }
            }
            if tree.len() == before {
                return tree;
            }
        }
    }

    /// Waits until the program accepts connections on `port`.
    pub(crate) fn wait_for_port(&mut self, port: u16) {
        wait_until(&format!("port {port}"), || {
            self.check_alive();
            TcpStream::connect(("127.0.0.1", port))
                .or_else(|_| TcpStream::connect(("::1", port)))
                .ok()
        });
    }

    fn check_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            self.reaped = true;
            let log = self.log.as_deref().map(std::fs::read_to_string);
            panic!("the program ended early with {status}: {log:?}");
        }
    }

    /// Waits for the end of the program.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait_until("a program's end", || self.child.try_wait().unwrap());
        self.reaped = true;
        status
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        let pid = i32::try_from(self.pid()).unwrap();
        // A master that is asked to end takes its workers along and waits for them.
        self.signal(libc::SIGTERM);
        let start = Instant::now();
        while !ended(self.pid()) && start.elapsed() < Duration::from_millis(500) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The group is signalled before its leader is reaped: until then its number
        // cannot belong to anybody else.
        signal(-pid, libc::SIGKILL);
        let _ = self.child.wait();
    }
}

/// Whether a child has ended; it is not reaped.
fn ended(pid: u32) -> bool {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero `siginfo_t` is valid, and the call writes no more than one.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let result = libc::waitid(libc::P_PID, pid, &raw mut info, options);
        result != 0 || info.si_pid() != 0
    }
}

/// Parent of a process, from `/proc/PID/stat`.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, so fields are counted behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// The name of a process as the kernel shows it.
pub(crate) fn comm(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Resident memory of a process, bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// The agent, without the settings of whoever runs the tests.
pub(crate) fn remora() -> Command {
    remora_at(Path::new(env!("CARGO_BIN_EXE_remora")))
}

/// As [`remora`], from a copy of its file.
pub(crate) fn remora_at(path: &Path) -> Command {
    without_settings(Command::new(path))
}

/// A command that does not see the settings of this process's environment: what tests are
/// told by variables is not for the agent, which refuses names it does not know.
pub(crate) fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("REMORA_") || text.starts_with("OTEL_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a program to its end, which has to come before the deadline.
pub(crate) fn output(command: &mut Command) -> Output {
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap());
    let status = Spawned::with_streams(command).wait();
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Output {
        status,
        stdout: read(&mut stdout),
        stderr: read(&mut stderr),
    }
}

/// Runs a program that has to succeed and returns its standard output.
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    String::from_utf8(output.stdout).unwrap()
}

/// A command with arguments.
pub(crate) fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}
