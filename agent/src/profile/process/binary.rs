//! The binaries that processes have mapped, each opened once.
//!
//! A file is opened while a process has it mapped and stays open: so it can be read after
//! the process ended or the file was deleted, and its inode is not given to another one.

#![allow(unsafe_code, reason = "calls the C library")]

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::elf::Elf;
use super::maps::Region;

/// Number of a binary, in the order of discovery.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BinaryId(pub u32);

/// A file with code.
#[derive(Debug)]
pub struct Binary {
    /// Path as the first process that mapped it sees it, or `[vdso]`.
    pub path: String,
    /// The open file and its headers.
    pub file: Arc<File>,
    /// Its headers.
    pub elf: Arc<Elf>,
}

/// What code is in a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// That of a binary.
    Binary(BinaryId),
    /// Made at run time: memory without a file, or a file that is no binary.
    Jit,
    /// A file that could not be opened, or one too many.
    Unknown,
}

/// Most binaries. Each costs an open file, its headers and a kernel map.
const MAX_BINARIES: usize = 3072;
/// Open files left for everything else.
const SPARE_FILES: u64 = 256;

/// What tells mappings of one file apart from those of another while it is open.
#[derive(PartialEq, Eq, Hash, Debug)]
struct FileKey {
    device: (u32, u32),
    inode: u64,
}

/// All binaries.
#[derive(Debug)]
pub struct Binaries {
    list: Vec<Binary>,
    by_file: FxHashMap<FileKey, Code>,
    /// Build id and size of the code: containers bring the same binary in other files.
    by_build_id: FxHashMap<(String, u64), BinaryId>,
    vdso: Option<Code>,
    limit: usize,
}

impl Default for Binaries {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            by_file: FxHashMap::default(),
            by_build_id: FxHashMap::default(),
            vdso: None,
            limit: open_files()
                .saturating_sub(SPARE_FILES)
                .min(MAX_BINARIES as u64) as usize,
        }
    }
}

impl Binaries {
    /// A binary.
    #[must_use]
    pub fn get(&self, id: BinaryId) -> Option<&Binary> {
        self.list.get(id.0 as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The code in a mapping of a process, and whether its binary was not known before.
    pub fn code(&mut self, pid: u32, region: &Region) -> (Code, bool) {
        if region.path == "[vdso]" {
            let before = self.list.len();
            let code = match self.vdso {
                Some(code) => code,
                None => vdso(pid, region).map_or(Code::Unknown, |file| self.add(file, "[vdso]")),
            };
            self.vdso = Some(code);
            return (code, self.list.len() > before);
        }
        if region.inode == 0 {
            return (Code::Jit, false);
        }
        let key = FileKey {
            device: region.device,
            inode: region.inode,
        };
        if let Some(code) = self.by_file.get(&key) {
            return (*code, false);
        }
        let before = self.list.len();
        let Ok(file) = open(pid, region) else {
            // The process may have ended; the next one that maps the file is asked again.
            return (Code::Unknown, false);
        };
        let code = self.add(file, &region.path);
        if self.by_file.len() < MAX_BINARIES * 4 {
            self.by_file.insert(key, code);
        }
        (code, self.list.len() > before)
    }

    fn add(&mut self, file: File, path: &str) -> Code {
        let Ok(elf) = Elf::read(&file) else {
            return Code::Jit;
        };
        let key = (elf.build_id.clone(), elf.end());
        if !elf.build_id.is_empty()
            && let Some(id) = self.by_build_id.get(&key)
        {
            return Code::Binary(*id);
        }
        if self.list.len() >= self.limit {
            return Code::Unknown;
        }
        let id = BinaryId(u32::try_from(self.list.len()).unwrap_or(u32::MAX));
        self.list.push(Binary {
            path: path.strip_suffix(" (deleted)").unwrap_or(path).to_owned(),
            file: Arc::new(file),
            elf: Arc::new(elf),
        });
        self.by_build_id.insert(key, id);
        Code::Binary(id)
    }
}

/// Opens the file behind a mapping: the very one through `map_files`, which is there even
/// if it was deleted or lies in another mount namespace; else by its path as the process
/// sees it, if that still is the file.
fn open(pid: u32, region: &Region) -> io::Result<File> {
    let mapped = format!(
        "/proc/{pid}/map_files/{:x}-{:x}",
        region.range.start, region.range.end
    );
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let open = |path: &str| File::options().read(true).custom_flags(flags).open(path);
    if let Ok(file) = open(&mapped) {
        return regular(file);
    }
    let file = regular(open(&format!("/proc/{pid}/root{}", region.path))?)?;
    // Numbers of devices differ between what is mapped and what is open on some file
    // systems; inode numbers do not.
    if file.metadata()?.ino() != region.inode {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(file)
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() && !kind.is_char_device() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// The kernel's own library as a file: what is mapped into every process, copied.
fn vdso(pid: u32, region: &Region) -> Option<File> {
    const MAX: u64 = 64 << 10;
    let len = region.range.end - region.range.start;
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut bytes = vec![0; usize::try_from(len.min(MAX)).ok()?];
    memory.read_exact_at(&mut bytes, region.range.start).ok()?;
    let file = super::memory_file(c"vdso").ok()?;
    file.write_all_at(&bytes, 0).ok()?;
    Some(file)
}

/// How many files this process may have open; raised as far as it may be.
fn open_files() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid structure to write to, and to read from.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let wanted = libc::rlimit {
            rlim_cur: limit.rlim_max,
            ..limit
        };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) == 0 {
            limit = wanted;
        }
    }
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::super::maps;
    use super::*;

    #[test]
    fn this_process_is_made_of_binaries() {
        let pid = std::process::id();
        let text = std::fs::read(format!("/proc/{pid}/maps")).unwrap();
        let mut binaries = Binaries::default();
        let regions = maps::parse(&text, 1000);
        for region in &regions {
            let (code, _) = binaries.code(pid, region);
            assert!(matches!(code, Code::Binary(_)), "{region:?}: {code:?}");
            // A second look finds the same.
            assert_eq!(binaries.code(pid, region), (code, false));
        }
        assert!(binaries.list.iter().any(|b| b.path == "[vdso]"));
        assert!(binaries.list.iter().any(|b| b.path.contains("libc")));
    }

    #[test]
    fn a_deleted_library_is_still_the_one_mapped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("copy");
        std::fs::copy("/bin/sleep", &path).unwrap();
        let mut child = std::process::Command::new(&path).arg("60").spawn().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/true", &path).unwrap();
        let text = std::fs::read(format!("/proc/{}/maps", child.id())).unwrap();
        let regions = maps::parse(&text, 1000);
        let region = regions.iter().find(|r| r.path.contains("copy")).unwrap();
        let mut binaries = Binaries::default();
        let (code, _) = binaries.code(child.id(), region);
        child.kill().unwrap();
        child.wait().unwrap();
        // `map_files` may need more privilege than this test has; then nothing is known,
        // but never the wrong file.
        if let Code::Binary(id) = code {
            let sleep = Elf::read(&File::open("/bin/sleep").unwrap()).unwrap();
            assert_eq!(binaries.get(id).unwrap().elf.build_id, sleep.build_id);
            assert!(!binaries.get(id).unwrap().path.ends_with(')'));
        } else {
            assert_eq!(code, Code::Unknown);
        }
    }
}
