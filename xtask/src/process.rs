//! Running other programs.

use anyhow::{Context as _, Result, bail};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

thread_local! {
    /// Where this thread and the programs it runs write, if not to the terminal.
    static LOG: RefCell<Option<Log>> = const { RefCell::new(None) };
}

/// A file that takes what would go to the terminal.
pub(crate) struct Log(File);

impl Log {
    /// An empty one.
    ///
    /// # Errors
    /// The file cannot be created.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        File::create(path)?;
        // Programs side by side write to it as well: each at its end.
        Ok(Self(File::options().append(true).open(path)?))
    }

    /// The same file again.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }
}

/// Makes this thread, and the programs it runs, write to `log`; `None`: to the terminal.
pub(crate) fn log_to(log: Option<Log>) {
    LOG.set(log);
}

/// Where this thread writes, for a thread that it starts.
pub(crate) fn log() -> Option<Log> {
    LOG.with_borrow(|log| log.as_ref().and_then(|log| log.again().ok()))
}

/// Writes a line to the log, or to the terminal.
pub(crate) fn say(line: &str) {
    LOG.with_borrow_mut(|log| match log {
        // What cannot be logged is not worth ending for.
        Some(Log(file)) => drop(file.write_all(format!("{line}\n").as_bytes())),
        None => println!("{line}"),
    });
}

/// Makes a program write to the log, if there is one; else its streams stay as they are.
pub(crate) fn logged(command: &mut Command) -> &mut Command {
    if let (Some(Log(out)), Some(Log(err))) = (log(), log()) {
        command.stdout(out).stderr(err);
    }
    command
}

/// Prints the command, runs it with this terminal or the log, and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    say(&format!("$ {}", shown(command)));
    let status = logged(command)
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs the command silently and returns its trimmed standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !out.status.success() {
        let error = String::from_utf8_lossy(&out.stderr);
        bail!(
            "{} ended with {}: {}",
            shown(command),
            out.status,
            error.trim()
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Program and arguments as one line.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}
