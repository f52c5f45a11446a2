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
    /// What the file looked like at the last look, if that is news.
    fresh: Stamp,
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
            fresh: None,
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
        if !self.is_settled(now, asked) {
            return None;
        }
        if self.file.as_deref().is_some_and(is_blank) {
            if asked {
                eprintln!(
                    "remora: the settings file is empty, the old settings stay; {{}} in it are the \
                     defaults"
                );
            }
            return None;
        }
        let loaded = self.source.load();
        // What was read while somebody wrote is nothing to go by.
        if self.file.as_deref().and_then(stamp) != now {
            self.fresh = None;
            return None;
        }
        self.stamp = now.or(self.stamp);
        match loaded {
            Ok(config) => self.take(config),
            Err(failure) => {
                self.refused += 1;
                eprintln!("remora: the new settings are refused, the old ones stay: {failure}");
                None
            }
        }
    }

    /// Whether the file is to be read: it is another one than the last that was read, and looked
    /// the same at the look before, or somebody `asked`. A file that is rewritten in place is
    /// empty, and then a part of itself, for a moment; one that is gone may be about to be replaced.
    fn is_settled(&mut self, now: Stamp, asked: bool) -> bool {
        if asked {
            return true;
        }
        let news = now.filter(|_| now != self.stamp);
        let settled = news.is_some() && news == self.fresh;
        self.fresh = news;
        settled
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

/// Whether there is nothing in a file: no wish for the defaults, but a file about to be written.
fn is_blank(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| bytes.trim_ascii().is_empty())
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
