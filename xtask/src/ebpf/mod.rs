//! `build-ebpf` and `check-ebpf`: the kernel object and where it came from.
//!
//! The object is committed, so that users need neither LLVM nor a nightly compiler.
//! A manifest beside it names the hash of every source file, so that `check-ebpf`
//! can tell without a compiler whether the object belongs to the sources.

mod compiler;
pub(crate) mod crate_names;
mod manifest;
mod strip;

use crate::workspace;
use anyhow::{Context as _, Result, bail};
use compiler::Compiler;
use manifest::Manifest;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Binary targets of the kernel workspace and the sources that must exist for them:
/// the programs that trace, those that sample, and empty programs on the hooks of the
/// former for `bench-hooks`.
const OBJECTS: [(&str, &str); 3] = [
    ("remora", "main.rs"),
    ("profile", "profile/main.rs"),
    ("empty", "empty.rs"),
];

/// The object that the agent carries.
const MAIN_OBJECT: &str = "remora.bpf.o";

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
        crate::process::say(&format!(
            "{}: {} bytes",
            workspace::relative(&dir.join(name)),
            bytes.len()
        ));
    }
    let path = dir.join(manifest::NAME);
    fs::write(&path, manifest.to_string())?;
    crate::process::say(&format!(
        "{}: sources {}",
        workspace::relative(&path),
        manifest.sources
    ));
    Ok(())
}

/// Compares the committed objects with the sources, by hash.
///
/// # Errors
/// The difference: which files or objects changed.
pub(crate) fn check() -> Result<()> {
    recorded().map(drop)
}

/// The manifest, if the committed objects belong to the sources.
fn recorded() -> Result<Manifest> {
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
    crate::process::say(&format!(
        "kernel object matches its sources ({})",
        recorded.sources
    ));
    Ok(recorded)
}

/// What [`rebuild`] made, if its bytes are not those of the committed object.
static REBUILT: OnceLock<PathBuf> = OnceLock::new();

/// Also builds the objects. The same compiler must make the same bytes; another one makes
/// other instructions, which [`builds_agent`] then puts into the agent. Returns a remark.
///
/// # Errors
/// As [`check`]; sources that do not compile; an object that does not come out the same.
pub(crate) fn rebuild() -> Result<Option<String>> {
    let recorded = recorded()?;
    let (built, objects) = compile()?;
    let different: Vec<&str> = built
        .objects
        .iter()
        .filter(|object| !recorded.objects.contains(object))
        .map(|(name, _)| name.as_str())
        .collect();
    if different.is_empty() {
        crate::process::say("rebuilt, byte for byte the same");
        return Ok(None);
    }
    if built.compiler == recorded.compiler && built.linker == recorded.linker {
        bail!(
            "built from the same sources with the same compiler, but not the same: {}; \
             run `cargo xtask build-ebpf`",
            different.join(", ")
        );
    }
    let dir = workspace::target().join("ebpf/rebuilt");
    fs::create_dir_all(&dir)?;
    for (name, bytes) in &objects {
        fs::write(dir.join(name), bytes)?;
    }
    // The first one stays if this is called twice: it is the same file.
    let _ = REBUILT.set(dir.join(MAIN_OBJECT));
    Ok(Some(format!(
        "built with {}, {}; the committed object with {}, {}: bytes not compared, \
         the later steps run what was built",
        built.compiler, built.linker, recorded.compiler, recorded.linker
    )))
}

/// Makes cargo build the agent with the object that was rebuilt, if it is another than the
/// committed one.
pub(crate) fn builds_agent(cargo: &mut Command) -> &mut Command {
    if let Some(object) = REBUILT.get() {
        cargo.env("REMORA_BPF_OBJECT", object);
    }
    cargo
}

/// Installs the compiler's packages, ahead of time.
///
/// # Errors
/// apt failed.
pub(crate) fn install() -> Result<()> {
    Compiler::install()
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
