//! The binary as its users meet it.

#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests: a failure is the result"
)]

#[path = "cli/demo_processes.rs"]
mod demo_processes;
#[path = "cli/picture.rs"]
mod picture;
#[path = "cli/replay.rs"]
mod replay;
#[path = "cli/spool.rs"]
mod spool;
#[path = "support/stream.rs"]
mod stream;
#[path = "cli/usage.rs"]
mod usage;

use std::process::Command;

/// The binary, in an environment without settings.
fn remora() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora"));
    for (name, _) in std::env::vars() {
        if name.starts_with("REMORA_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}
