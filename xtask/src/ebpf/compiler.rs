//! The compiler for `bpfel-unknown-none`.
//!
//! `core` has to be built for the target, which needs the compiler's own sources.
//! Debian's `rustc-web` and `rust-web-src` provide both without rustup fetching
//! anything; `REMORA_EBPF_TOOLCHAIN=nightly` takes rustup's nightly instead.

use super::crate_names;
use crate::deps;
use crate::process::{output, run};
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "bpfel-unknown-none";
const LINKER_VERSION: &str = "0.10.3";
const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler that can build the kernel programs.
pub(crate) struct Compiler {
    toolchain: Toolchain,
    /// `rustc --version`.
    pub(crate) version: String,
    /// `bpf-linker --version`.
    pub(crate) linker: String,
}

enum Toolchain {
    /// Debian's compiler under the running cargo.
    Debian,
    /// A rustup toolchain with `rust-src`.
    Rustup(String),
}

impl Compiler {
    /// Installs what [`Self::find`] needs from Debian.
    ///
    /// # Errors
    /// apt failed, or this is no Debian.
    pub(crate) fn install() -> Result<()> {
        match env::var("REMORA_EBPF_TOOLCHAIN") {
            Ok(_) => Ok(()),
            Err(_) => deps::apt(&PACKAGES),
        }
    }

    /// Finds the compiler, installing what is missing.
    ///
    /// # Errors
    /// What could not be installed.
    pub(crate) fn find() -> Result<Self> {
        let toolchain = match env::var("REMORA_EBPF_TOOLCHAIN") {
            Ok(name) => Toolchain::Rustup(name),
            Err(_) => Toolchain::Debian,
        };
        let version = match &toolchain {
            Toolchain::Debian => {
                deps::apt(&PACKAGES).context(
                    "no compiler for the kernel programs; with rustup, set \
                     REMORA_EBPF_TOOLCHAIN=nightly (needs its rust-src component)",
                )?;
                output(Command::new(DEBIAN_RUSTC).arg("--version"))?
            }
            Toolchain::Rustup(name) => output(
                Command::new("rustc")
                    .arg(format!("+{name}"))
                    .arg("--version"),
            )?,
        };
        deps::cargo_install("bpf-linker", LINKER_VERSION)?;
        let linker = output(Command::new("bpf-linker").arg("--version"))?;
        let compiler = Self {
            toolchain,
            version,
            linker,
        };
        let core = compiler.sources()?.join("core/src/lib.rs");
        if !core.exists() {
            bail!(
                "{} is missing: the compiler's sources are not installed",
                core.display()
            );
        }
        Ok(compiler)
    }

    /// Builds the kernel workspace; returns the directory with the binaries.
    pub(crate) fn build(&self) -> Result<PathBuf> {
        let target_dir = workspace::target().join("ebpf");
        let wrapper = env::current_exe().context("xtask does not know its own file")?;
        let mut command = match &self.toolchain {
            Toolchain::Debian => {
                let mut command = Command::new(workspace::cargo());
                // A stable compiler of the distribution: `-Z build-std` is the only
                // unstable feature used.
                command
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Toolchain::Rustup(name) => {
                let mut command = Command::new("cargo");
                command
                    .arg(format!("+{name}"))
                    .env_remove("RUSTC")
                    .env_remove("RUSTUP_TOOLCHAIN");
                command
            }
        };
        command
            .current_dir(workspace::root().join("ebpf"))
            .args([
                "build",
                "--release",
                "--bins",
                "--target",
                TARGET,
                "-Z",
                "build-std=core",
            ])
            .arg("--target-dir")
            .arg(&target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags()?.join("\x1f"))
            .env("RUSTC_WRAPPER", wrapper)
            .env(crate_names::WRAPS, "1")
            .env_remove("RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env_remove("CARGO_INCREMENTAL");
        if workspace::root().join("ebpf/Cargo.lock").exists() {
            command.arg("--locked");
        }
        run(&mut command)?;
        Ok(target_dir.join(TARGET).join("release"))
    }

    /// Compiler flags. Paths are remapped so that the object does not depend on
    /// where the repository, cargo's registry or the compiler's sources are.
    fn flags(&self) -> Result<Vec<String>> {
        let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
        let cargo_home = env::var_os("CARGO_HOME").map_or_else(
            || env::home_dir().unwrap_or_default().join(".cargo"),
            PathBuf::from,
        );
        let mut flags = vec![
            "-Clinker=bpf-linker".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            "-Cdebuginfo=2".to_owned(),
            remap(workspace::root(), "remora"),
            remap(&self.sources()?, "rust"),
        ];
        // One folder per registry, whose name depends on the registry's address.
        for registry in fs::read_dir(cargo_home.join("registry/src"))
            .into_iter()
            .flatten()
        {
            flags.push(remap(&registry?.path(), "registry"));
        }
        Ok(flags)
    }

    /// Where the sources of `core` are.
    fn sources(&self) -> Result<PathBuf> {
        let mut command = match &self.toolchain {
            Toolchain::Debian => Command::new(DEBIAN_RUSTC),
            Toolchain::Rustup(name) => {
                let mut command = Command::new("rustc");
                command.arg(format!("+{name}"));
                command
            }
        };
        let sysroot = output(command.args(["--print", "sysroot"]))?;
        Ok(Path::new(&sysroot).join("lib/rustlib/src/rust/library"))
    }
}
