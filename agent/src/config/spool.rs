//! Settings of the spool.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::telemetry::Signal;

/// Smallest, default and largest cap, bytes.
pub const SPOOL_BYTES: (u64, u64, u64) = (8 << 20, 1 << 30, 1 << 40);
/// Shortest, default and longest time until what the gateway has not taken is durable.
pub const SPOOL_SYNC: (Duration, Duration, Duration) = (
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(60),
);
/// Smallest, default and largest rate at which it is read back, bytes a second.
pub const SPOOL_DRAIN_BYTES: (u64, u64, u64) = (64 << 10, 64 << 20, 1 << 40);

/// `spool_dir` and what goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpoolSettings {
    /// `spool_dir`: its directory, for this agent alone.
    pub dir: PathBuf,
    /// `spool_bytes`: most bytes of all its files.
    pub bytes: u64,
    /// `spool_sync`: time until a batch that the gateway has not taken is durable. Zero sends
    /// nothing that is not on disk, and syncs without a pause.
    pub sync: Duration,
    /// `spool_compression`: whether it is compressed, with zstd. On unless switched off: it
    /// costs a third of a microsecond a span and makes room for fifteen times as many.
    pub compress: bool,
    /// `spool_drain_bytes`: most bytes read back a second.
    pub drain_bytes: u64,
}

impl SpoolSettings {
    /// A spool with all defaults.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            bytes: SPOOL_BYTES.1,
            sync: SPOOL_SYNC.1,
            compress: true,
            drain_bytes: SPOOL_DRAIN_BYTES.1,
        }
    }

    /// The directory of a signal: spans have the spool's own, others one of their name in it.
    #[must_use]
    pub fn dir_of(&self, signal: Signal) -> PathBuf {
        match signal {
            Signal::Traces => self.dir.clone(),
            other => self.dir.join(other.name()),
        }
    }

    /// Whether there is something of a signal in it: whoever left it may not export that any
    /// more.
    #[must_use]
    pub fn holds(&self, signal: Signal) -> bool {
        let files = std::fs::read_dir(self.dir_of(signal)).into_iter().flatten();
        files
            .flatten()
            .any(|file| file.path().extension().is_some_and(|it| it == "spool"))
    }
}
