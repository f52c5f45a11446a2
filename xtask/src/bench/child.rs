//! Child processes that end with the task, and their CPU time.

use crate::process::{output, shown};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a program may take to end after SIGTERM. The agent tries for ten seconds to deliver what it has.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program of ours. It is ended when this is dropped.
pub(super) struct Running {
    child: Child,
    name: String,
    /// What it says on standard error, and the thread that listens.
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts the program; what it says on standard output is thrown away.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let name = shown(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let said = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().context("no pipe")?;
        let heard = Arc::clone(&said);
        let listener = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push_str(&line);
                heard.push('\n');
            }
        });
        Ok(Self {
            child,
            name,
            said,
            listener: Some(listener),
        })
    }

    /// The process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU time used so far, user and system, in seconds.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        cpu_ticks(&stat)
            .map(|ticks| ticks as f64 / ticks_per_second())
            .context("/proc/PID/stat")
    }

    /// Resident memory, bytes.
    pub(super) fn rss(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// Largest resident memory so far, bytes.
    pub(super) fn rss_peak(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Ok(kib.context("/proc/PID/status")? << 10)
    }

    /// Fails if the program has ended by itself, with what it said.
    pub(super) fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            self.join();
            bail!("{} ended with {status}: {}", self.name, self.said().trim());
        }
        Ok(())
    }

    /// Asks the program to end, and waits until it has.
    pub(super) fn stop(mut self) -> Result<()> {
        self.check()?;
        self.end()
    }

    /// The same; returns what it said on standard error.
    pub(super) fn stop_and_read(mut self) -> Result<String> {
        self.check()?;
        self.end()?;
        self.join();
        Ok(self.said())
    }

    /// What it has said on standard error so far.
    pub(super) fn said(&self) -> String {
        let said = self.said.lock();
        said.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the end of its standard error.
    fn join(&mut self) {
        if let Some(listener) = self.listener.take() {
            // It does not panic, and what it heard is kept if it did.
            let _ = listener.join();
        }
    }

    fn end(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        output(Command::new("kill").args(["-TERM", &pid]))?;
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {PATIENCE:?}", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.end();
        }
    }
}

/// User and system time, clock ticks: fields 14 and 15 of proc_pid_stat(5).
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The command name in parentheses may contain anything, spaces included.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn ticks_per_second() -> f64 {
    let ticks = output(Command::new("getconf").arg("CLK_TCK"));
    ticks
        .ok()
        .and_then(|ticks| ticks.parse().ok())
        .unwrap_or(100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_any_command_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 90 0 0 0 31 11 0 0 20 0 1 0 100";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (a"), None);
    }
}
