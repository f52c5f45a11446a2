//! The manifest beside the kernel object: which sources and which compiler made it.

use crate::workspace;
use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// File name of the manifest, in `agent/ebpf/`.
pub(crate) const NAME: &str = "remora.bpf.o.sources";

/// Files and folders that decide what the kernel programs are.
const SOURCES: [&str; 7] = [
    "common/Cargo.toml",
    "common/src",
    "ebpf/.cargo",
    "ebpf/Cargo.lock",
    "ebpf/Cargo.toml",
    "ebpf/build.rs",
    "ebpf/src",
];

/// What the kernel object was made of.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Manifest {
    /// Hash over all of `files`.
    pub(crate) sources: String,
    /// `rustc --version`.
    pub(crate) compiler: String,
    /// `bpf-linker --version`.
    pub(crate) linker: String,
    /// Object name and hash.
    pub(crate) objects: Vec<(String, String)>,
    /// Path and hash of every source file.
    pub(crate) files: BTreeMap<String, String>,
}

impl Manifest {
    /// A manifest of the sources as they are now, without compiler and objects.
    pub(crate) fn of_sources() -> Result<Self> {
        let mut files = BTreeMap::new();
        for source in SOURCES {
            collect(&workspace::root().join(source), &mut files)?;
        }
        Ok(Self {
            sources: digest(&files),
            files,
            ..Self::default()
        })
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut manifest = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(' ').context("a line without a value")?;
            let pair = || value.split_once(' ').context("a line without a path");
            match key {
                "sources" => manifest.sources = value.to_owned(),
                "compiler" => manifest.compiler = value.to_owned(),
                "linker" => manifest.linker = value.to_owned(),
                "object" => {
                    let (hash, name) = pair()?;
                    manifest.objects.push((name.to_owned(), hash.to_owned()));
                }
                "file" => {
                    let (hash, path) = pair()?;
                    manifest.files.insert(path.to_owned(), hash.to_owned());
                }
                _ => anyhow::bail!("unknown entry `{key}`"),
            }
        }
        Ok(manifest)
    }

    /// Which files differ between this manifest and the sources in `now`.
    pub(crate) fn differences(&self, now: &Self) -> Vec<String> {
        let mut differences = Vec::new();
        for (path, hash) in &now.files {
            match self.files.get(path) {
                Some(recorded) if recorded == hash => {}
                Some(_) => differences.push(format!("changed: {path}")),
                None => differences.push(format!("added: {path}")),
            }
        }
        let removed = self
            .files
            .keys()
            .filter(|path| !now.files.contains_key(*path));
        differences.extend(removed.map(|path| format!("removed: {path}")));
        if differences.is_empty() && self.sources != now.sources {
            differences.push(format!("the manifest's own hash: {NAME}"));
        }
        differences
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# What the kernel objects beside this file were built from."
        )?;
        writeln!(
            f,
            "# Written by `cargo xtask build-ebpf`, checked by `cargo xtask check-ebpf`."
        )?;
        writeln!(f, "sources {}", self.sources)?;
        writeln!(f, "compiler {}", self.compiler)?;
        writeln!(f, "linker {}", self.linker)?;
        for (name, hash) in &self.objects {
            writeln!(f, "object {hash} {name}")?;
        }
        for (path, hash) in &self.files {
            writeln!(f, "file {hash} {path}")?;
        }
        Ok(())
    }
}

/// Lower-case hexadecimal SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// One hash over the sorted paths and contents.
fn digest(files: &BTreeMap<String, String>) -> String {
    let mut all = String::new();
    for (path, hash) in files {
        all.push_str(hash);
        all.push(' ');
        all.push_str(path);
        all.push('\n');
    }
    sha256(all.as_bytes())
}

fn collect(path: &Path, files: &mut BTreeMap<String, String>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(&entry?.path(), files)?;
        }
    } else if path.exists() {
        files.insert(workspace::relative(path), sha256(&fs::read(path)?));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let files = files
            .iter()
            .map(|(p, h)| ((*p).to_owned(), (*h).to_owned()))
            .collect();
        Manifest {
            sources: digest(&files),
            compiler: "rustc 1.96.0 (abc 2026-05-25)".to_owned(),
            linker: "bpf-linker 0.10.3".to_owned(),
            objects: vec![("remora.bpf.o".to_owned(), sha256(b"object"))],
            files,
        }
    }

    #[test]
    fn reads_back_what_it_writes() {
        let written = manifest(&[("ebpf/src/main.rs", "aa"), ("common/src/lib.rs", "bb")]);
        assert_eq!(Manifest::parse(&written.to_string()).unwrap(), written);
    }

    #[test]
    fn names_changed_added_and_removed_files() {
        let then = manifest(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let now = manifest(&[("a", "1"), ("b", "9"), ("d", "4")]);
        assert_eq!(
            then.differences(&now),
            ["changed: b", "added: d", "removed: c"]
        );
        assert!(
            then.differences(&manifest(&[("c", "3"), ("b", "2"), ("a", "1")]))
                .is_empty()
        );
    }

    #[test]
    fn sha256_is_the_published_one() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc"), expected);
    }
}
