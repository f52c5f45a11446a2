//! Files that change while the agent runs: certificates, tokens.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What tells a changed file: a mounted secret is another file behind the same path, and
/// one written in place may keep its length and, within a tick of the clock, its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp {
    file: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (meta.dev(), meta.ino()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            bytes: meta.len(),
        })
    }
}

/// A set of files, and what they looked like last.
#[derive(Debug)]
pub(crate) struct Watched {
    files: Vec<(PathBuf, Option<Stamp>)>,
    /// What they looked like at the last look, if that is news.
    fresh: Option<Vec<Option<Stamp>>>,
    looked: Instant,
}

impl Watched {
    /// Looks at the files. To be called before they are read, so that a change in between
    /// is found the next time.
    pub(crate) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let stamp = Stamp::of(&path);
            (path, stamp)
        });
        Self {
            files: files.collect(),
            fresh: None,
            looked: Instant::now(),
        }
    }

    /// Whether a file is another one than at the last look, or is gone. Each change is told
    /// once.
    pub(crate) fn changed(&mut self) -> bool {
        self.looked = Instant::now();
        let mut changed = false;
        for (path, stamp) in &mut self.files {
            let now = Stamp::of(path);
            changed |= now != *stamp;
            *stamp = now;
        }
        changed
    }

    /// The same, but the files are not looked at more often than every `pause`, and a change
    /// is told when it looked the same at the look before: a file that is rewritten in place is
    /// empty, and then a part of itself, for a moment.
    pub(crate) fn settled_after(&mut self, pause: Duration) -> bool {
        if self.looked.elapsed() < pause {
            return false;
        }
        let now: Vec<Option<Stamp>> = self.files.iter().map(|(path, _)| Stamp::of(path)).collect();
        let known = self.files.iter().map(|(_, stamp)| stamp);
        if known.eq(&now) {
            self.fresh = None;
        } else if self.fresh.as_ref() == Some(&now) {
            self.fresh = None;
            return self.changed();
        } else {
            self.fresh = Some(now);
        }
        self.looked = Instant::now();
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "a").unwrap();
        let mut watched = Watched::new([path.clone()]);
        assert!(!watched.changed());
        std::fs::write(&path, "longer").unwrap();
        assert!(watched.changed() && !watched.changed());
        let new = directory.path().join("new");
        std::fs::write(&new, "longer").unwrap();
        std::fs::rename(&new, &path).unwrap();
        assert!(!watched.settled_after(Duration::from_secs(3600)));
        assert!(!watched.settled_after(Duration::ZERO), "seen once");
        std::fs::write(&path, "longer, and not yet at its end").unwrap();
        assert!(!watched.settled_after(Duration::ZERO), "another one");
        assert!(watched.settled_after(Duration::ZERO), "the same again");
        assert!(!watched.settled_after(Duration::ZERO), "told");
        std::fs::remove_file(&path).unwrap();
        assert!(watched.changed() && !watched.changed());
    }
}
