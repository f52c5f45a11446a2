//! What the agent may do, and what it says if that is not enough.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::clients::curl;
use crate::harness::process::{output, remora, remora_at, without_settings};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::programs;

/// Nobody in particular.
const NOBODY: u32 = 65_534;

/// A copy of the agent that everybody may run, wherever it was built.
fn copy() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("remora");
    fs::copy(remora().get_program(), &copy).unwrap();
    (dir, copy)
}

/// Without privilege there is one message that says what to do, and exit code 3.
#[test]
fn none() {
    require_privilege!();
    let (_dir, copy) = copy();
    for command in [&["trace", "-o", "json"][..], &["run"], &["profile"]] {
        let refused = output(remora_at(&copy).args(command).uid(NOBODY).gid(NOBODY));
        let message = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{message}");
        assert!(refused.stdout.is_empty(), "{refused:?}");
        assert!(message.starts_with("remora: "), "{message}");
        assert!(message.contains("sudo"), "{message}");
        assert!(message.lines().count() <= 6, "one message: {message}");
    }
}

/// The documented capabilities are enough, for another user's processes too.
#[test]
fn least() {
    require_privilege!();
    const CAPABILITIES: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+checkpoint_restore";
    let (_dir, copy) = copy();
    let gunicorn = programs::gunicorn("sync", &[]);
    let nobody = NOBODY.to_string();
    let trace = Trace::of(
        without_settings(Command::new("setpriv"))
            .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
            .args(["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES])
            .arg(copy)
            .args(["trace", "-o", "json"]),
    );
    curl::one(&[], &format!("http://127.0.0.1:{}/hello/x", gunicorn.port));
    let report = trace.collect(gunicorn.port, 2).lossless();
    let (at_server, at_client) = report.pair(gunicorn.port);
    assert_eq!(at_server.facts(), ("GET", "/hello/x", 200, 0, 6));
    assert_eq!(at_client.facts(), ("GET", "/hello/x", 200, 0, 6));
    // Its command line was read: it is root's process.
    assert_eq!(at_server.service, "app");
}
