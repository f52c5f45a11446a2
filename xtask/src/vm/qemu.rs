//! Boots a kernel in QEMU and collects what the machine printed.

use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A machine that has not powered off by then is stuck. Beside tests it gets what they leave.
const TIME_LIMIT: Duration = Duration::from_secs(1800);

/// What a machine printed on its second serial port.
#[derive(Debug)]
pub(crate) struct Run {
    /// All of it; sections begin with a line `@@ name`.
    pub(crate) text: String,
    /// From power-on to power-off.
    pub(crate) took: Duration,
}

/// Boots `vmlinuz` with `initramfs` and waits until the machine powers off.
/// Logs go to `dir`.
///
/// # Errors
/// QEMU cannot start, or the machine did not reach its end in time; the message
/// ends with the last lines of the console.
pub(crate) fn boot(vmlinuz: &Path, initramfs: &Path, dir: &Path) -> Result<Run> {
    fs::create_dir_all(dir)?;
    let console = dir.join("console.log");
    let results = dir.join("results.log");
    let start = Instant::now();
    // No KVM: it does not run these guests in a nested machine, and emulation takes
    // a few seconds only.
    let machine = Command::new("qemu-system-x86_64")
        // One thread for both processors of a guest. On two, 7.2 panicked once ("Oops: int3" in
        // `trace_syscall_enter`) where one processor runs code that the other one is patching;
        // whether the emulator is to blame is not proven. Two machines run at a time, so that
        // nothing is lost.
        .args(["-accel", "tcg,thread=single", "-smp", "2", "-m", "1G"])
        // QEMU 7.2 gets an unlocked CMPXCHG16B wrong now and then, and the slab
        // allocator of 6.12 uses it: without this, three in ten boots end in a panic.
        .args(["-cpu", "max,cx16=off"])
        .args([
            "-display",
            "none",
            "-monitor",
            "none",
            "-nodefaults",
            "-no-reboot",
        ])
        .arg("-serial")
        .arg(file(&console))
        .arg("-serial")
        .arg(file(&results))
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .arg("-kernel")
        .arg(vmlinuz)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    wait(machine)?;
    let text = String::from_utf8_lossy(&fs::read(&results)?).replace('\r', "");
    if !text.lines().any(|line| line == "@@ end") {
        bail!(
            "the machine did not reach its end in {:.0?}\nconsole:\n{}\nresults:\n{}",
            start.elapsed(),
            tail(&String::from_utf8_lossy(&fs::read(&console)?)),
            tail(&text)
        );
    }
    Ok(Run {
        text,
        took: start.elapsed(),
    })
}

fn file(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Waits for the end of the machine, and ends it at the time limit.
fn wait(mut machine: Child) -> Result<()> {
    let deadline = Instant::now() + TIME_LIMIT;
    while machine.try_wait()?.is_none() {
        if Instant::now() > deadline {
            machine.kill()?;
            machine.wait()?;
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

impl Run {
    /// The lines of a section.
    pub(crate) fn section(&self, name: &str) -> Vec<&str> {
        let is_start = |line: &&str| line.strip_prefix("@@ ") != Some(name);
        let lines = self.text.lines().skip_while(is_start).skip(1);
        lines.take_while(|line| !line.starts_with("@@ ")).collect()
    }

    /// The rest of a line `@@ name rest`, if there is one.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let values = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("@@ "));
        values
            .filter_map(|line| line.split_once(' '))
            .find(|(key, _)| *key == name)
            .map(|v| v.1)
    }
}

/// Where the logs of a kernel's machine go.
pub(crate) fn log_dir(target: &Path, series: &str) -> PathBuf {
    target.join("vm/logs").join(series)
}
