//! Names of crates that do not depend on where the checkout lies.
//!
//! Cargo tells crates apart by `-C metadata`, a hash in which the absolute path of every
//! path dependency and of the compiler's sources takes part. The hash is in every mangled
//! name, so that it decides the order of symbols in the object. While the kernel programs
//! are built, cargo calls xtask in place of the compiler, and xtask calls the compiler with
//! package name and version for that hash. `--remap-path-prefix` reaches only the paths
//! within the object, and building at one fixed path would make builds wait for each other.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

/// Environment variable that makes xtask stand in for the compiler.
pub(super) const WRAPS: &str = "REMORA_XTASK_WRAPS_RUSTC";

const METADATA: &str = "metadata=";

/// Whether cargo started this process in place of the compiler.
pub(crate) fn asked() -> bool {
    env::var_os(WRAPS).is_some()
}

/// Becomes the compiler named by the first argument.
pub(crate) fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let Some(rustc) = args.next() else {
        eprintln!("error: {WRAPS} is set, but no compiler was named");
        return ExitCode::FAILURE;
    };
    let package = [env::var("CARGO_PKG_NAME"), env::var("CARGO_PKG_VERSION")];
    let name = package.map(Result::unwrap_or_default).join("-");
    let error = Command::new(&rustc)
        .args(args.map(|arg| renamed(arg, &name)))
        .exec();
    eprintln!("error: cannot start {}: {error}", rustc.display());
    ExitCode::FAILURE
}

/// The argument, with `name` as metadata if it is that option.
fn renamed(arg: OsString, name: &str) -> OsString {
    let text = arg.to_string_lossy();
    // Cargo writes `-C metadata=0123456789abcdef` as two arguments; one is understood too.
    let prefix = if text.starts_with(METADATA) { "" } else { "-C" };
    if text
        .strip_prefix(prefix)
        .is_some_and(|option| option.starts_with(METADATA))
    {
        return format!("{prefix}{METADATA}{name}").into();
    }
    arg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_hash_and_nothing_else() {
        let renamed = |arg: &str| renamed(arg.into(), "remora-common-0.1.0");
        assert_eq!(renamed("metadata=0123"), "metadata=remora-common-0.1.0");
        assert_eq!(renamed("-Cmetadata=0123"), "-Cmetadata=remora-common-0.1.0");
        for other in [
            "-C",
            "extra-filename=-0123",
            "--emit=dep-info,metadata,link",
            "-Copt-level=3",
        ] {
            assert_eq!(renamed(other), other);
        }
    }
}
