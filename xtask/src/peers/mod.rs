//! Programs of others that tests talk to, built from their pinned sources.
//!
//! What is built is kept outside the checkout, under a name that holds the hash of what it
//! was built from: a second run, and a second checkout, find it there.

mod daprd;
mod envoy;
mod go;
mod maven;

use crate::workspace;
use anyhow::{Context as _, Result};
use go::Program;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Go programs. Their folder holds `go.mod`, `go.sum` and what is compiled.
const GO: [Program; 7] = [
    Program {
        name: "collector",
        sources: "agent/tests/gateways/collector",
        package: ".",
    },
    traced("gin", "./gin"),
    traced("kratos", "./kratos"),
    traced("gozero", "./gozero"),
    traced("grpcserver", "./grpcserver"),
    traced("grpcclient", "./grpcclient"),
    traced("httpclient", "./httpclient"),
];

/// A program of the tests that trace real peers.
const fn traced(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        sources: "agent/tests/peers/programs/go",
        package,
    }
}

/// Makes a program, unless it was made before, and says where it is.
type Make = fn() -> Result<PathBuf>;

/// All others.
const OTHERS: [(&str, Make); 4] = [
    ("daprd", daprd::build),
    ("envoy", envoy::install),
    ("spring-tomcat", maven::tomcat),
    ("spring-webflux", maven::webflux),
];

/// Where a program is; built first unless it was before.
///
/// # Errors
/// No program has this name, or it cannot be built.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    if let Some((_, make)) = OTHERS.iter().find(|it| it.0 == name) {
        return make();
    }
    let names = GO.iter().map(|it| it.name).chain(OTHERS.map(|it| it.0));
    let names = || names.collect::<Vec<_>>().join(", ");
    let found = GO.iter().find(|it| it.name == name);
    go::build(found.with_context(|| format!("no peer is named {name}; there are: {}", names()))?)
}

/// The folder that keeps what was built: `remora-peers` in the user's cache.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set, or the folder cannot be made.
fn cache() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    let peers = cache
        .context("set HOME or XDG_CACHE_HOME: what is built has to be kept somewhere")?
        .join("remora-peers");
    fs::create_dir_all(&peers).with_context(|| format!("cannot make {}", peers.display()))?;
    Ok(peers)
}

/// Held by the one process or thread that makes `name`; steps run side by side.
///
/// # Errors
/// The file system cannot lock.
fn lock(cache: &Path, name: &str) -> Result<File> {
    let file = File::create(cache.join(format!("{name}.lock")))?;
    file.lock()?;
    Ok(file)
}

/// Hash of the names and contents of all files below `dir`, and of `more`: 16 hex digits.
///
/// # Errors
/// A file cannot be read.
fn fingerprint(dir: &Path, more: &[&str]) -> Result<String> {
    let mut files = Vec::new();
    list(dir, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for file in files {
        part(workspace::relative(&file).as_bytes());
        part(&fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    more.iter().for_each(|it| part(it.as_bytes()));
    let digest = hash.finalize();
    Ok(digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Copies a folder with all that is in it; the copy can be written to.
///
/// # Errors
/// A file cannot be read or written.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut files = Vec::new();
    list(from, &mut files)?;
    for file in files {
        let copy = to.join(file.strip_prefix(from)?);
        let parent = copy.parent().context("a file without folder")?;
        fs::create_dir_all(parent)?;
        fs::write(&copy, fs::read(&file)?)
            .with_context(|| format!("cannot write {}", copy.display()))?;
    }
    Ok(())
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
