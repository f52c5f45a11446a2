//! Settings that change while the agent runs: on SIGHUP, or when the file changes.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::cli::run::Source;
use crate::config::resolved::Config;
use crate::config::sampling::Deciding;
use crate::model::signal;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What tells a changed file: a ConfigMap is another file behind the same path.
type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// Reads the settings again when there is reason to.
pub(super) struct Reload {
    source: Source,
    file: Option<PathBuf>,
    stamp: Stamp,
    looked: Instant,
    current: Config,
    /// Settings taken, and refused.
    pub(super) taken: u64,
    pub(super) refused: u64,
}

impl Reload {
    /// Begins with `config`, which came from `source`.
    pub(super) fn new(source: Source, config: Config) -> Self {
        let file = source.file();
        Self {
            stamp: file.as_deref().and_then(stamp),
            file,
            source,
            looked: Instant::now(),
            current: config,
            taken: 0,
            refused: 0,
        }
    }

    /// New settings, if there are some and they are right. What is wrong with them goes to
    /// standard error, all of it, and the old ones stay.
    pub(super) fn poll(&mut self) -> Option<Deciding> {
        let asked = signal::hung_up();
        if !asked && self.looked.elapsed() < LOOK {
            return None;
        }
        self.looked = Instant::now();
        let now = self.file.as_deref().and_then(stamp);
        // A file that is gone may be about to be replaced.
        let changed = now.is_some() && now != self.stamp;
        if !asked && !changed {
            return None;
        }
        self.stamp = now.or(self.stamp);
        match self.source.load() {
            Ok(config) => self.take(config),
            Err(failure) => {
                self.refused += 1;
                eprintln!("remora: the new settings are refused, the old ones stay: {failure}");
                None
            }
        }
    }

    fn take(&mut self, config: Config) -> Option<Deciding> {
        let deciding = config.deciding.clone();
        let others = Config {
            deciding: self.current.deciding.clone(),
            ..config.clone()
        };
        if others != self.current {
            eprintln!(
                "remora: of the new settings only sampling, routes and limits of metrics take \
                 effect now; the others need a restart"
            );
        }
        let same = deciding == self.current.deciding;
        self.current.deciding.clone_from(&deciding);
        self.taken += 1;
        if same {
            return None;
        }
        eprintln!("remora: new settings of sampling, routes and metrics are in force");
        Some(deciding)
    }
}

fn stamp(file: &Path) -> Stamp {
    let meta = std::fs::metadata(file).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.len(),
    ))
}
