//! Building the Spring Boot applications with Maven, from the repository its settings name.

use super::{cache, copy, fingerprint, lock};
use crate::process::run;
use crate::{deps, workspace};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// A parent with one module for each application. It pins the version of Spring Boot, which
/// pins all others.
const SOURCES: &str = "agent/tests/peers/programs/spring";

/// The application of Spring MVC on Tomcat.
///
/// # Errors
/// As [`build`].
pub(super) fn tomcat() -> Result<PathBuf> {
    build("tomcat")
}

/// The application of Spring WebFlux on Netty.
///
/// # Errors
/// As [`build`].
pub(super) fn webflux() -> Result<PathBuf> {
    build("webflux")
}

/// Builds all applications, unless they were before. Returns the file of one.
///
/// # Errors
/// There is no Maven, no repository, or the build failed.
fn build(module: &str) -> Result<PathBuf> {
    let sources = workspace::root().join(SOURCES);
    let cache = cache()?;
    let _lock = lock(&cache, "spring")?;
    let target = cache.join(format!("spring-{}", fingerprint(&sources, &[])?));
    let jar = target.join(format!("{module}/target/{module}-1.jar"));
    if jar.exists() {
        return Ok(jar);
    }
    // What is on the path may be newer than Debian's, and must not be replaced.
    let needed = [("mvn", "maven"), ("javac", "openjdk-17-jdk-headless")];
    let missing = needed
        .iter()
        .filter(|(program, _)| deps::which(program).is_none());
    deps::apt(&missing.map(|(_, package)| *package).collect::<Vec<_>>())?;
    eprintln!("building Spring Boot applications with Maven: a minute at first");
    let start = Instant::now();
    // Not in place: Maven writes beside the sources.
    let unfinished = target.with_extension("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    copy(&sources, &unfinished)?;
    run(Command::new("mvn").current_dir(&unfinished).args([
        "--batch-mode",
        "--quiet",
        "--no-transfer-progress",
        "package",
    ]))?;
    fs::rename(&unfinished, &target)?;
    eprintln!(
        "built them in {:.0} s: {}",
        start.elapsed().as_secs_f32(),
        target.display()
    );
    let size = fs::metadata(&jar).with_context(|| format!("no {}", jar.display()))?;
    eprintln!("{module}: {} MB", size.len() / 1_000_000);
    Ok(jar)
}
