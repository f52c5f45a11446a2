//! The test programs of the workspace, built once for all steps that run them.
//!
//! One build has one set of features and one kernel object; steps that each ran
//! `cargo test -p …` made cargo build dependencies and the agent again. A runner such as
//! cargo-nextest would do that as well, but takes minutes to build on a new machine, and
//! gives each test a process: the tests of one program share locks and what they build.

use crate::process::{logged, say, shown};
use crate::{ebpf, workspace};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A test program.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Program {
    /// The target's name: that of the file in `tests/`, or of the library.
    pub(super) name: String,
    file: PathBuf,
    /// Where cargo would run it.
    dir: PathBuf,
}

impl Program {
    /// Starts it as cargo does.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command
            .current_dir(&self.dir)
            .env("CARGO_MANIFEST_DIR", &self.dir);
        command
    }
}

/// All of them, built if they were not yet.
///
/// # Errors
/// They do not compile.
pub(super) fn all() -> Result<Vec<Program>> {
    static BUILT: Mutex<Vec<Program>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if built.is_empty() {
        *built = build()?;
    }
    Ok(built.clone())
}

/// The program of this target.
///
/// # Errors
/// As [`all`]; or there is none.
pub(super) fn named(name: &str) -> Result<Program> {
    let found = all()?.into_iter().find(|program| program.name == name);
    found.with_context(|| format!("no test target is named {name}"))
}

fn build() -> Result<Vec<Program>> {
    let mut cargo = Command::new(workspace::cargo());
    cargo
        .current_dir(workspace::root())
        .args(["test", "--workspace", "--locked", "--no-run"])
        .arg("--message-format=json-render-diagnostics");
    ebpf::builds_agent(&mut cargo);
    say(&format!("$ {}", shown(&cargo)));
    let mut child = logged(&mut cargo)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(&cargo)))?;
    let mut programs = Vec::new();
    let stdout = child.stdout.take().context("no output of cargo")?;
    for line in BufReader::new(stdout).lines() {
        programs.extend(artifact(&line?));
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", shown(&cargo));
    }
    ensure!(!programs.is_empty(), "cargo named no test program");
    Ok(programs)
}

/// The test program that a message of cargo is about.
fn artifact(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    Some(Program {
        name: message["target"]["name"].as_str()?.to_owned(),
        file: message["executable"].as_str()?.into(),
        dir: Path::new(message["manifest_path"].as_str()?)
            .parent()?
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_taken() {
        let message = |test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": "/r/agent/Cargo.toml",
                "target": {"name": "replay", "kind": ["test"]}, "profile": {"test": test},
                "executable": "/r/target/debug/deps/replay-1",
            })
            .to_string()
        };
        let program = artifact(&message(true)).unwrap();
        assert_eq!(
            (program.name.as_str(), program.dir.as_path()),
            ("replay", Path::new("/r/agent"))
        );
        assert_eq!(artifact(&message(false)), None);
        assert_eq!(artifact("not JSON"), None);
    }
}
