//! Where a profile is written: made sure of before sampling, not after it.

use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::model::exit::Failure;

/// A file that can be written. What it holds stays until there is something new; one that
/// was made for this goes again if there never is.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    file: File,
    made: bool,
}

impl Destination {
    /// Opens a file for writing.
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let mut options = File::options();
        options.write(true);
        let opened = match options.clone().create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                options.open(path).map(|file| (file, false))
            }
            made => made.map(|file| (file, true)),
        };
        let (file, made) = opened.map_err(|error| unwritable(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            made,
        })
    }

    /// Writes the file.
    pub(super) fn write(
        mut self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        self.fill(write)
            .map_err(|error| unwritable(&self.path, &error))?;
        self.made = false;
        Ok(())
    }

    fn fill(&self, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
        // Pipes and devices have no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        let mut out = BufWriter::new(&self.file);
        write(&mut out)?;
        out.flush()
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.made {
            // An empty file would look like a profile.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let failure = Failure::failed(format!("{} cannot be written: {error}", path.display()));
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            failure.with_fix("make room there, or give another file to -w")
        }
        _ => failure.with_fix("give a file that may be written to -w"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_a_profile() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        fs::write(&old, "a longer profile").unwrap();
        for path in [&old, &new] {
            drop(Destination::open(path).unwrap());
        }
        assert_eq!(fs::read_to_string(&old).unwrap(), "a longer profile");
        assert!(!new.exists());
        for path in [&old, &new] {
            let destination = Destination::open(path).unwrap();
            destination.write(|out| out.write_all(b"profile")).unwrap();
            assert_eq!(fs::read_to_string(path).unwrap(), "profile");
        }
    }

    #[test]
    fn a_full_disk_is_told_and_no_half_profile_stays() {
        let full = Destination::open(Path::new("/dev/full")).unwrap();
        let failure = full.write(|out| out.write_all(b"x")).unwrap_err();
        assert!(failure.to_string().contains("make room"), "{failure}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("half");
        let half = Destination::open(&path).unwrap();
        let failure = half.write(|out| {
            out.write_all(b"half")?;
            Err(ErrorKind::StorageFull.into())
        });
        failure.unwrap_err();
        assert!(!path.exists());
    }
}
