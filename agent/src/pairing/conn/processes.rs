//! Processes that speak HTTP, by process id.

use crate::model::exchange::ProcessInfo;
use crate::model::processes::unknown;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The processes that are alive, as far as the kernel said.
#[derive(Debug)]
pub(super) struct Table {
    known: FxHashMap<u32, Entry>,
    next_id: u32,
    max: usize,
}

#[derive(Debug)]
struct Entry {
    info: Arc<ProcessInfo>,
    announced: bool,
}

impl Table {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: FxHashMap::default(),
            next_id: 0,
            max: max.max(1),
        }
    }

    /// Takes in a process, or its new program.
    pub(super) fn announce(&mut self, info: ProcessInfo) -> &Arc<ProcessInfo> {
        let tgid = info.tgid;
        self.insert(tgid, info, true)
    }

    /// The process is gone, or its program is. Requests under way keep what they have.
    pub(super) fn exit(&mut self, tgid: u32) {
        self.known.remove(&tgid);
    }

    /// The process, or one of which only the id is known.
    #[inline]
    pub(super) fn get(&mut self, tgid: u32) -> Arc<ProcessInfo> {
        match self.known.get(&tgid) {
            Some(entry) => Arc::clone(&entry.info),
            None => Arc::clone(self.insert(tgid, unknown(tgid), false)),
        }
    }

    /// The process an exchange was given when its request began, or what was
    /// announced since, if nothing was known then. `fallback` stands in for none.
    #[inline]
    pub(super) fn settle(
        &mut self,
        given: Option<Arc<ProcessInfo>>,
        fallback: u32,
    ) -> Arc<ProcessInfo> {
        match given {
            Some(info) if !info.comm.is_empty() => info,
            Some(info) => self.get(info.tgid),
            None => self.get(fallback),
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// A full table first forgets the processes it knows nothing about, which costs
    /// nothing; then all of them, which costs names until they are announced again.
    /// The caps of the kernel's own tables are lower, so only hostile input gets here.
    fn insert(&mut self, tgid: u32, mut info: ProcessInfo, announced: bool) -> &Arc<ProcessInfo> {
        if self.known.len() >= self.max && !self.known.contains_key(&tgid) {
            self.known.retain(|_, entry| entry.announced);
            if self.known.len() >= self.max {
                self.known.clear();
            }
        }
        info.id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        let entry = Entry {
            info: Arc::new(info),
            announced,
        };
        &self.known.entry(tgid).insert_entry(entry).into_mut().info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::processes::from_record;

    fn named(tgid: u32, comm: &str) -> ProcessInfo {
        ProcessInfo {
            comm: comm.to_owned(),
            ..unknown(tgid)
        }
    }

    #[test]
    fn ids_are_dense_and_never_reused() {
        let mut table = Table::new(8);
        assert_eq!(table.announce(named(7, "a")).id, 0);
        assert_eq!(table.announce(named(8, "b")).id, 1);
        table.exit(7);
        assert_eq!(table.announce(named(7, "c")).id, 2);
        assert_eq!((table.get(7).comm.as_str(), table.get(7).id), ("c", 2));
    }

    #[test]
    fn an_unknown_process_has_a_pid_and_no_name_until_it_is_announced() {
        let mut table = Table::new(8);
        let before = table.get(7);
        assert_eq!(
            (before.tgid, before.comm.as_str(), before.service.as_str()),
            (7, "", "")
        );
        assert!(Arc::ptr_eq(&before, &table.get(7)));
        table.announce(named(7, "late"));
        assert_eq!(table.get(7).comm, "late");
        assert_eq!(table.settle(Some(before), 9).comm, "late");
        assert_eq!(table.settle(None, 9).tgid, 9);
    }

    #[test]
    fn a_full_table_forgets_unknown_processes_first() {
        let mut table = Table::new(4);
        table.announce(named(1, "kept"));
        for tgid in 2..100 {
            table.get(tgid);
            assert!(table.len() <= 4);
            assert_eq!(table.get(1).comm, "kept");
        }
        for tgid in 2..100 {
            table.announce(named(tgid, "x"));
            assert!(table.len() <= 4);
        }
    }

    #[test]
    fn a_record_alone_gives_the_command_name() {
        let bytes = crate::stream::process(5, "nginx");
        let Ok(crate::capture::ingest::decode::Record::Process(record)) =
            crate::capture::ingest::decode::decode(&bytes)
        else {
            panic!()
        };
        let info = from_record(&record);
        assert_eq!(
            (info.tgid, info.comm.as_str(), info.service.as_str()),
            (5, "nginx", "nginx")
        );
    }
}
