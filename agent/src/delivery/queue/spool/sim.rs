//! A file system in memory that loses what was not synced: at a crash each sector written
//! since the last sync may be there or not, and so may each name in the directory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// What disks write at once.
const SECTOR: usize = 512;

#[derive(Clone, Default, Debug)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Default, Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    faults: Faults,
}

/// What goes wrong.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Faults {
    /// Bytes that can still be written before the disk is full.
    pub(super) room: Option<usize>,
    /// Every sync fails.
    pub(super) sync: bool,
    /// Every read fails.
    pub(super) read: bool,
    /// Nothing can be made, written or removed.
    pub(super) read_only: bool,
}

#[derive(Default, Debug)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl SimDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn boxed(&self) -> Box<dyn Disk> {
        Box::new(self.clone())
    }

    pub(super) fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The power goes. `random` decides what reached the disk.
    pub(super) fn crash(&self, random: &mut dyn FnMut() -> u64) {
        let state = &mut *self.state();
        state.faults = Faults::default();
        let mut names = state.durable_names.clone();
        let all: Vec<String> = state.names.keys().chain(names.keys()).cloned().collect();
        for name in all {
            if random().is_multiple_of(2) {
                match state.names.get(&name) {
                    Some(inode) => drop(names.insert(name, *inode)),
                    None => drop(names.remove(&name)),
                }
            }
        }
        for inode in &mut state.inodes {
            let mut disk = inode.durable.clone();
            for (number, sector) in inode.now.chunks(SECTOR).enumerate() {
                let at = number * SECTOR;
                let durable = inode.durable.get(at..).unwrap_or_default();
                let same = durable.len() >= sector.len() && durable[..sector.len()] == *sector;
                if !same && !random().is_multiple_of(3) {
                    disk.resize(disk.len().max(at + sector.len()), 0);
                    disk[at..at + sector.len()].copy_from_slice(sector);
                }
            }
            inode.now.clone_from(&disk);
            inode.durable = disk;
        }
        state.names.clone_from(&names);
        state.durable_names = names;
    }

    /// Names of all files.
    pub(super) fn names(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }

    /// Changes the bytes of a file behind the spool's back.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let state = &mut *self.state();
        let inode = &mut state.inodes[state.names[name]];
        edit(&mut inode.now);
        inode.durable.clone_from(&inode.now);
    }

    pub(super) fn bytes(&self) -> u64 {
        let state = self.state();
        let files = state.names.values();
        files
            .map(|inode| state.inodes[*inode].now.len() as u64)
            .sum()
    }

    /// An independent copy.
    pub(super) fn copy(&self) -> Self {
        let state = self.state();
        let inodes = state.inodes.iter().map(|inode| Inode {
            now: inode.now.clone(),
            durable: inode.durable.clone(),
        });
        Self(Arc::new(Mutex::new(State {
            inodes: inodes.collect(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            faults: state.faults,
        })))
    }
}

impl State {
    fn writable(&self) -> io::Result<()> {
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        let sizes = state.names.iter();
        Ok(sizes
            .map(|(name, inode)| (name.clone(), state.inodes[*inode].now.len() as u64))
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.writable()?;
        if state.faults.room == Some(0) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(name.into(), inode);
        Ok(Arc::new(SimFile(self.clone(), inode)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let state = self.state();
        if write {
            state.writable()?;
        }
        let inode = *state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile(self.clone(), inode)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.writable()?;
        let removed = state.names.remove(name);
        removed.map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.state();
        if state.faults.sync {
            return Err(io::Error::other("I/O error"));
        }
        state.durable_names.clone_from(&state.names);
        Ok(())
    }

    fn is_there(&self) -> bool {
        true
    }

    fn handle(&self) -> io::Result<Box<dyn Disk>> {
        Ok(self.boxed())
    }
}

#[derive(Debug)]
struct SimFile(SimDisk, usize);

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.state();
        if state.faults.read {
            return Err(io::Error::other("I/O error"));
        }
        let bytes = state.inodes[self.1].now.get(offset as usize..);
        let bytes = bytes.unwrap_or_default();
        let len = bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let state = &mut *self.0.state();
        state.writable()?;
        let now = &mut state.inodes[self.1].now;
        let (offset, end) = (offset as usize, offset as usize + bytes.len());
        // Room is taken by what is written beyond the end; a full disk takes a part.
        let more = end.saturating_sub(now.len());
        let taken = state.faults.room.map_or(more, |room| room.min(more));
        state.faults.room = state.faults.room.map(|room| room - taken);
        let kept = (end - (more - taken)).saturating_sub(offset);
        now.resize(now.len().max(offset + kept), 0);
        now[offset..offset + kept].copy_from_slice(&bytes[..kept]);
        if kept < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.state();
        state.writable()?;
        state.inodes[self.1].now.truncate(len as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let state = &mut *self.0.state();
        if state.faults.sync {
            return Err(io::Error::other("I/O error"));
        }
        let inode = &mut state.inodes[self.1];
        inode.durable.clone_from(&inode.now);
        Ok(())
    }
}
