//! Building Dapr's sidecar with the least it needs.

use super::go::{command, toolchain};
use super::{cache, copy, lock};
use crate::process::{output, run};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

const MODULE: &str = "github.com/dapr/dapr@v1.18.0";

/// What the module's files hash to (as in go.sum).
const SUM: &str = "h1:zZ+dCnjq81r+TqTA1nMsfiLoDrNN8gBUZXWYZyixGXI=";

/// The file that says which components belong into a build that has no tag. As released it
/// refuses such a build. The tags bring the clients of every cloud, and take ten times as
/// long to build.
const COMPONENTS: &str = "cmd/daprd/components/zz_notag.go";

/// Sidecars on one host have to find each other: this is the one component that is built in.
const NAMES: &str = r#"package components

import (
	"github.com/dapr/components-contrib/nameresolution/nameformat"
	"github.com/dapr/dapr/pkg/components/nameresolution"
)

func init() {
	nameresolution.DefaultRegistry.RegisterComponent(nameformat.NewResolver, "nameformat")
}
"#;

/// Builds the sidecar, unless it was before. Returns where it is.
///
/// # Errors
/// There is no toolchain, no module proxy, or the build failed.
pub(super) fn build() -> Result<PathBuf> {
    let cache = cache()?;
    let _lock = lock(&cache, "daprd")?;
    let version = MODULE.rsplit('@').next().unwrap_or_default();
    let target = cache.join(format!("daprd-{version}"));
    if target.exists() {
        return Ok(target);
    }
    let go = toolchain()?;
    eprintln!("building {MODULE}: several minutes at first");
    let start = Instant::now();
    // The module is built as its own main module: it pins what it needs, replacements
    // included, which a program that requires it would have to repeat.
    let sources = cache.join("daprd.sources");
    let _ = fs::remove_dir_all(&sources);
    copy(&download(&go, &cache)?, &sources)?;
    fs::write(sources.join(COMPONENTS), NAMES)?;
    let unfinished = target.with_extension("unfinished");
    run(command(&go)
        .current_dir(&sources)
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false"])
        .args(["-ldflags", "-s -w", "-o"])
        .arg(&unfinished)
        .arg("./cmd/daprd"))?;
    fs::remove_dir_all(&sources)?;
    fs::rename(&unfinished, &target)?;
    eprintln!(
        "built daprd in {:.0} s: {} MB in {}",
        start.elapsed().as_secs_f32(),
        fs::metadata(&target)?.len() / 1_000_000,
        target.display()
    );
    Ok(target)
}

/// Fetches the module. Returns the folder it is kept in, which cannot be written to.
fn download(go: &Path, anywhere: &Path) -> Result<PathBuf> {
    let mut fetch = command(go);
    fetch.args(["mod", "download", "-json", MODULE]);
    let said = output(fetch.current_dir(anywhere))?;
    let said: Value = serde_json::from_str(&said).context("go mod download")?;
    ensure!(said["Sum"] == SUM, "{MODULE} is not what it was: {said}");
    Ok(PathBuf::from(said["Dir"].as_str().context("no folder")?))
}
