//! `deny`: licences, duplicates, sources and advisories of every dependency.

use crate::process::{output, run};
use crate::{deps, workspace};
use anyhow::Result;
use std::process::Command;

const VERSION: &str = "0.20.2";

/// Checks both workspaces against `deny.toml`. Returns a remark if the advisory
/// database cannot be reached: then advisories are not checked, everything else is.
///
/// # Errors
/// What cargo-deny found, which it has printed.
pub(crate) fn check() -> Result<Option<String>> {
    deps::cargo_install("cargo-deny", VERSION)?;
    let manifests = ["Cargo.toml", "ebpf/Cargo.toml"].map(|path| workspace::root().join(path));
    let mut checks = vec!["licenses", "bans", "sources"];
    let remark = match output(deny("error").args(["fetch", "db"])) {
        Ok(_) => {
            checks.push("advisories");
            None
        }
        Err(_) => {
            crate::process::say(
                "\n!!! THE ADVISORY DATABASE CANNOT BE REACHED: ADVISORIES ARE NOT CHECKED !!!\n",
            );
            Some("advisories NOT checked: database out of reach".to_owned())
        }
    };
    for manifest in manifests.iter().filter(|path| path.exists()) {
        run(deny("warn")
            .arg("--manifest-path")
            .arg(manifest)
            .arg("check")
            .args(&checks))?;
    }
    Ok(remark)
}

fn deny(log_level: &str) -> Command {
    let mut command = Command::new("cargo-deny");
    command
        .current_dir(workspace::root())
        .args(["--log-level", log_level, "--config"])
        .arg(workspace::root().join("deny.toml"));
    command
}
