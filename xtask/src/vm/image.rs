//! The initramfs of the test machine: busybox, nginx and curl with the libraries they
//! need, and the agent.

use super::cpio::Archive;
use crate::process::output;
use crate::{deps, ebpf, process, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian packages with the programs in the image and the emulator that boots it.
pub(crate) const PACKAGES: [&str; 6] = [
    "busybox-static",
    "nginx-light",
    "curl",
    "qemu-system-x86",
    "libc-bin",
    "debian-archive-keyring",
];

/// Installs what building and booting the image needs.
pub(crate) fn install() -> Result<()> {
    deps::apt(&PACKAGES)
}

/// Writes the image and returns its path. Without an agent, the machine only makes
/// its requests.
pub(crate) fn build(agent: Option<&Path>) -> Result<PathBuf> {
    let mut archive = Archive::default();
    for dir in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "sbin",
        "var/log/nginx",
        "var/lib/nginx",
    ] {
        archive.directory(dir);
    }
    archive.file("init", include_bytes!("init.sh"));
    archive.file("etc/nginx.conf", include_bytes!("nginx.conf"));
    archive.file("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
    archive.file("etc/group", b"root:x:0:\n");
    archive.file("bin/busybox", &fs::read("/bin/busybox")?);
    for program in ["nginx", "curl"] {
        add_installed(&mut archive, program)?;
    }
    if let Some(agent) = agent {
        add_program(&mut archive, "remora", agent)?;
    }
    let path = workspace::target().join("vm/initramfs");
    fs::create_dir_all(workspace::target().join("vm"))?;
    fs::write(&path, archive.finish())?;
    Ok(path)
}

/// Adds a program of this system and every shared library it loads.
fn add_installed(archive: &mut Archive, name: &str) -> Result<()> {
    let sbin = Path::new("/usr/sbin").join(name);
    let path = deps::which(name).or_else(|| sbin.exists().then_some(sbin));
    let path = path.with_context(|| format!("{name} is not installed"))?;
    add_program(archive, name, &path)
}

/// Adds a program and every shared library it loads.
fn add_program(archive: &mut Archive, name: &str, path: &Path) -> Result<()> {
    archive.file(&format!("bin/{name}"), &fs::read(path)?);
    // Lines of ldd: `libz.so.1 => /lib/…/libz.so.1 (0x…)`, `/lib64/ld-… (0x…)`.
    let libraries = output(Command::new("ldd").arg(path))?;
    for library in libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        let content = fs::read(library).with_context(|| format!("cannot read {library}"))?;
        archive.file(library.trim_start_matches('/'), &content);
    }
    Ok(())
}

/// Builds the agent as it is shipped.
///
/// # Errors
/// It does not compile.
pub(crate) fn build_shipped() -> Result<PathBuf> {
    let mut command = Command::new(workspace::cargo());
    command.current_dir(workspace::root()).args([
        "build",
        "--quiet",
        "-p",
        "remora",
        "--bin",
        "remora",
        "--release",
        "--locked",
    ]);
    ebpf::builds_agent(&mut command);
    process::run(&mut command)?;
    Ok(workspace::target().join("release/remora"))
}

/// As [`build_shipped`]; returns a copy without debug information: the machine holds all
/// its files in memory.
pub(crate) fn build_agent() -> Result<PathBuf> {
    let shipped = build_shipped()?;
    let stripped = workspace::target().join("vm/remora");
    process::run(Command::new("strip").arg("-o").arg(&stripped).arg(shipped))?;
    Ok(stripped)
}
