//! Installing what a task needs, and saying so.

use crate::process::{output, run, say};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Held while something is installed: steps run side by side and may need the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Installs the Debian packages of `packages` that are not installed yet.
///
/// # Errors
/// Not a Debian system, not root, or apt failed; the message names the packages.
pub(crate) fn apt(packages: &[&str]) -> Result<()> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let missing: Vec<&str> = packages.iter().copied().filter(|p| !installed(p)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if which("apt-get").is_none() {
        bail!("these Debian packages (or your system's equivalents) are needed: {list}");
    }
    say(&format!("installing with apt: {list}"));
    let install = || {
        run(Command::new("apt-get")
            .args(["-o", "DPkg::Lock::Timeout=300", "-qq", "-y"])
            .args(["install", "--no-install-recommends"])
            .args(&missing)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    if install().is_ok() {
        return Ok(());
    }
    // The package lists of a new machine may be absent or old.
    run(Command::new("apt-get").args(["-o", "DPkg::Lock::Timeout=300", "-qq", "update"]))
        .and_then(|()| install())
        .with_context(|| format!("install these packages as root: apt-get install {list}"))
}

fn installed(package: &str) -> bool {
    output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

/// Installs a program from crates.io at exactly this version, unless it is there.
///
/// # Errors
/// The build failed, or crates.io cannot be reached.
pub(crate) fn cargo_install(name: &str, version: &str) -> Result<()> {
    let found = output(Command::new(name).arg("--version")).unwrap_or_default();
    if found.split_whitespace().any(|word| word == version) {
        return Ok(());
    }
    say(&format!("installing with cargo: {name} {version}"));
    run(Command::new("cargo")
        .args([
            "install",
            name,
            "--version",
            version,
            "--locked",
            "--quiet",
            "--debug",
        ])
        // Built once and run for seconds: optimising them would take the longest of all.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        // Neither the flags nor the compiler of a surrounding cargo belong in there.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC")
        .env_remove("CARGO_TARGET_DIR"))
}

/// A Python environment below the target directory with this requirement installed.
///
/// # Errors
/// Python cannot be installed, or PyPI cannot be reached.
pub(crate) fn venv(name: &str, requirement: &str) -> Result<PathBuf> {
    venv_in(&workspace::target().join("venv"), name, requirement)
}

/// A Python environment in the folder `name` of `parent` with this requirement installed.
///
/// # Errors
/// As [`venv`].
pub(crate) fn venv_in(parent: &Path, name: &str, requirement: &str) -> Result<PathBuf> {
    apt(&["python3-venv"])?;
    // Not the lock of apt: two venvs do not wait for a hundred Debian packages.
    static MAKING: Mutex<()> = Mutex::new(());
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = parent.join(name);
    let installed = dir.join("requirement");
    if fs::read_to_string(&installed).is_ok_and(|found| found == requirement) {
        return Ok(dir);
    }
    say(&format!("installing with pip: {requirement}"));
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&dir))?;
    run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", requirement]))?;
    fs::write(installed, requirement)?;
    Ok(dir)
}

/// The first executable of that name on `PATH`.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| is_file(file))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file())
}

/// Adds a component of the Rust toolchain, unless cargo already has it.
///
/// # Errors
/// There is no rustup, or it cannot reach its server.
pub(crate) fn rustup_component(name: &str) -> Result<()> {
    let program = if name == "rustfmt" {
        "cargo-fmt"
    } else {
        "cargo-clippy"
    };
    if output(Command::new(program).arg("--version")).is_ok() {
        return Ok(());
    }
    say(&format!("installing with rustup: {name}"));
    run(Command::new("rustup").args(["component", "add", name]))
}
