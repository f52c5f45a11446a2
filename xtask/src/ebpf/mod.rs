//! `build-ebpf` and `check-ebpf`: the kernel object and where it came from.
//!
//! The object is committed, so that users need neither LLVM nor a nightly compiler.
//! A manifest beside it names the hash of every source file, so that `check-ebpf`
//! can tell without a compiler whether the object belongs to the sources.

mod compiler;
mod manifest;
mod strip;

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use compiler::Compiler;
use manifest::Manifest;
use std::fs;
use std::path::PathBuf;

/// Binary targets of the kernel workspace and the sources that must exist for them:
/// the programs themselves, and empty programs on the same hooks for `bench-hooks`.
const OBJECTS: [(&str, &str); 2] = [("remora", "main.rs"), ("empty", "empty.rs")];

/// File name and content of an object.
type Object = (String, Vec<u8>);

/// Where the objects are committed.
fn committed() -> PathBuf {
    workspace::root().join("agent/ebpf")
}

/// Compiles the kernel programs and replaces the committed objects and manifest.
///
/// # Errors
/// A compiler that cannot be installed, or sources that do not compile.
pub(crate) fn build() -> Result<()> {
    let (manifest, objects) = compile()?;
    let dir = committed();
    fs::create_dir_all(&dir)?;
    for (name, bytes) in &objects {
        fs::write(dir.join(name), bytes)?;
        println!(
            "{}: {} bytes",
            workspace::relative(&dir.join(name)),
            bytes.len()
        );
    }
    let path = dir.join(manifest::NAME);
    fs::write(&path, manifest.to_string())?;
    println!(
        "{}: sources {}",
        workspace::relative(&path),
        manifest.sources
    );
    Ok(())
}

/// Compares the committed objects with the sources, by hash, and with `rebuild`
/// also with what a compiler makes of the sources now.
///
/// # Errors
/// The difference: which files changed, or which object does not come out the same.
pub(crate) fn check(rebuild: bool) -> Result<()> {
    let dir = committed();
    let path = dir.join(manifest::NAME);
    let text = fs::read_to_string(&path).with_context(|| {
        format!(
            "{} is missing; run `cargo xtask build-ebpf`",
            workspace::relative(&path)
        )
    })?;
    let recorded = Manifest::parse(&text)
        .with_context(|| format!("{} cannot be read", workspace::relative(&path)))?;
    let mut problems = recorded.differences(&Manifest::of_sources()?);
    for (name, hash) in &recorded.objects {
        match fs::read(dir.join(name)) {
            Ok(bytes) if manifest::sha256(&bytes) == *hash => {}
            Ok(_) => problems.push(format!("changed: agent/ebpf/{name}")),
            Err(error) => problems.push(format!("agent/ebpf/{name}: {error}")),
        }
    }
    if !problems.is_empty() {
        bail!(
            "the kernel object does not belong to its sources; run `cargo xtask build-ebpf`\n  {}",
            problems.join("\n  ")
        );
    }
    println!("kernel object matches its sources ({})", recorded.sources);
    if rebuild {
        check_rebuild(&recorded)
    } else {
        Ok(())
    }
}

fn check_rebuild(recorded: &Manifest) -> Result<()> {
    let (built, _) = compile()?;
    if built.compiler != recorded.compiler || built.linker != recorded.linker {
        // Other compilers make other instructions: there is nothing to compare with.
        println!(
            "NOTE: built with {}, {}; the committed object with {}, {}: bytes not compared",
            built.compiler, built.linker, recorded.compiler, recorded.linker
        );
        return Ok(());
    }
    let different: Vec<&str> = built
        .objects
        .iter()
        .filter(|object| !recorded.objects.contains(object))
        .map(|(name, _)| name.as_str())
        .collect();
    if !different.is_empty() {
        // Not a failure: cargo's names of crates, and with them the order of symbols, depend on
        // where the checkout lies. That the sources are the committed object's is checked by
        // their hash, and that they build is what was shown here.
        println!(
            "note: rebuilt, but not byte for byte the same: {} (built in another directory?)",
            different.join(", ")
        );
        return Ok(());
    }
    println!("rebuilt, byte for byte the same");
    Ok(())
}

/// Builds every object and returns them, stripped, with the manifest that describes them.
fn compile() -> Result<(Manifest, Vec<Object>)> {
    let compiler = Compiler::find()?;
    let dir = compiler.build()?;
    // After the build, because the first one writes Cargo.lock.
    let mut manifest = Manifest {
        compiler: compiler.version,
        linker: compiler.linker,
        ..Manifest::of_sources()?
    };
    let mut objects = Vec::new();
    for (bin, source) in OBJECTS {
        if !workspace::root().join("ebpf/src").join(source).exists() {
            continue;
        }
        let raw = fs::read(dir.join(bin)).with_context(|| format!("no binary target `{bin}`"))?;
        let bytes = strip::debug_info(&raw).with_context(|| format!("cannot strip `{bin}`"))?;
        let name = format!("{bin}.bpf.o");
        manifest
            .objects
            .push((name.clone(), manifest::sha256(&bytes)));
        objects.push((name, bytes));
    }
    Ok((manifest, objects))
}
