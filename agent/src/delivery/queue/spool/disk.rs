//! The few operations a spool needs of a file system, so that tests can take the place of
//! one that loses what was not synced.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of flat files.
pub trait Disk: Send + std::fmt::Debug {
    /// Names and sizes (bytes) of all files.
    ///
    /// # Errors
    /// The directory cannot be read.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Makes a file that must not exist.
    ///
    /// # Errors
    /// It exists, there is no room, or the file system is read-only.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that must exist; `write` asks for more than reading.
    ///
    /// # Errors
    /// It does not exist, or must not be opened like this.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// It does not exist, or must not be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations and removals durable.
    ///
    /// # Errors
    /// The disk fails.
    fn sync(&self) -> io::Result<()>;

    /// Whether the directory is still the one that was opened.
    fn is_there(&self) -> bool;

    /// A second handle to the same directory, to sync it elsewhere.
    ///
    /// # Errors
    /// No more files can be opened.
    fn handle(&self) -> io::Result<Box<dyn Disk>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + std::fmt::Debug {
    /// Reads at an offset; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// The disk fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at an offset. After an error some of them may be there.
    ///
    /// # Errors
    /// There is no room, the disk fails, or is read-only.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// The disk fails.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes what was written durable.
    ///
    /// # Errors
    /// The disk fails; what was written since the last success may be lost.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the operating system, locked for one process.
#[derive(Debug)]
pub struct OsDisk {
    path: PathBuf,
    dir: File,
    /// Holds the lock as long as it is open.
    _lock: Option<Arc<File>>,
}

/// Name of the file whose lock keeps two agents apart.
pub const LOCK: &str = "lock";

impl OsDisk {
    /// Opens a directory for this process alone, and makes it (for its owner only) if it
    /// does not exist.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process has it, the text names it; else
    /// whatever keeps it from being made, opened and written to.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_dir(path, |parent| {
            // Where it must not be read, there is nothing to be done about that.
            let _ = File::open(parent).and_then(|parent| parent.sync_all());
        })?;
        let dir = File::open(path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) => {
                let owner = fs::read_to_string(path.join(LOCK)).unwrap_or_default();
                let owner: u32 = owner.trim().parse().unwrap_or_default();
                return Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    format!("process {owner} uses it"),
                ));
            }
        }
        // For people; a disk that is full keeps nobody from the lock.
        let _ = lock
            .set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self {
            path: path.into(),
            dir,
            _lock: Some(Arc::new(lock)),
        })
    }

    /// Opens a directory to look at it, without a lock and without making anything.
    ///
    /// # Errors
    /// It does not exist, or must not be read.
    pub fn look(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            dir: File::open(path)?,
            _lock: None,
        })
    }
}

/// Makes a directory for its owner only, and what is missing above it. `sync` gets each
/// directory in which one was made, from the top: unsynced, a new directory may be gone after
/// a power cut, with everything that was synced in it.
fn make_dir(path: &Path, mut sync: impl FnMut(&Path)) -> io::Result<()> {
    let above = path.ancestors().filter(|path| !path.as_os_str().is_empty());
    let missing: Vec<&Path> = above.take_while(|path| !path.is_dir()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    for made in missing.iter().rev() {
        sync(directory_of(made));
    }
    Ok(())
}

/// The directory that a name is in.
fn directory_of(path: &Path) -> &Path {
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A file that vanishes meanwhile is none.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                files.push((name, metadata.len()));
            }
        }
        Ok(files)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            // Not through links that somebody put there.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.path.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.dir.sync_all()
    }

    fn is_there(&self) -> bool {
        let same = |now: fs::Metadata, then: fs::Metadata| {
            (now.dev(), now.ino()) == (then.dev(), then.ino())
        };
        fs::metadata(&self.path).is_ok_and(|now| self.dir.metadata().is_ok_and(|it| same(now, it)))
    }

    fn handle(&self) -> io::Result<Box<dyn Disk>> {
        Ok(Box::new(Self {
            path: self.path.clone(),
            dir: self.dir.try_clone()?,
            _lock: self._lock.clone(),
        }))
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut total = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    offset += read as u64;
                    buffer = buffer.get_mut(read..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_that_is_made_is_synced_where_it_was_made() {
        let root = tempfile::tempdir().unwrap();
        let spool = root.path().join("a/b/spool");
        let mut synced = Vec::new();
        make_dir(&spool, |path| {
            assert!(spool.is_dir(), "nothing is synced before it is made");
            synced.push(path.to_owned());
        })
        .unwrap();
        let parts = ["", "a", "a/b"];
        assert_eq!(synced, parts.map(|part| root.path().join(part)));
        let mode = fs::metadata(&spool).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
        // What is there is left alone.
        make_dir(&spool, |path| panic!("{}", path.display())).unwrap();
    }

    #[test]
    fn a_name_alone_is_in_this_directory() {
        assert_eq!(directory_of(Path::new("spool")), Path::new("."));
        assert_eq!(directory_of(Path::new("a/spool")), Path::new("a"));
    }
}
