//! The servers: how each is configured and started. All listen on a port of their
//! own on the loopback interface and end when dropped.

pub(crate) mod apache;
pub(crate) mod haproxy;
pub(crate) mod http2;
pub(crate) mod nginx;
pub(crate) mod programs;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::process::{Spawned, free_port};

/// A running server.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) process: Spawned,
    /// Its configuration, logs and sockets.
    pub(crate) dir: TempDir,
}

impl Server {
    /// Starts what `command` makes of a free port and an empty directory.
    pub(crate) fn start(command: impl FnOnce(u16, &Path) -> Command) -> Self {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Spawned::logged(&mut command(port, dir.path()), &log);
        process.wait_for_port(port);
        Self { port, process, dir }
    }

    /// Processes of the server.
    pub(crate) fn pids(&self) -> HashSet<u32> {
        self.process.tree()
    }
}
