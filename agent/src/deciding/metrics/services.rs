//! Who metrics are about: a service in a container, whatever its number of processes.

use rustc_hash::FxHashMap;

use crate::model::exchange::ProcessInfo;

/// Services at a time; more share one without a name.
pub const MAX_SERVICES: usize = 512;
/// Processes remembered.
const MAX_PROCESSES: usize = 8192;

/// The service of those that found no room.
pub(super) const SHARED: u32 = 0;

/// Services by number. Numbers are never given again.
#[derive(Debug)]
pub(super) struct Services {
    known: FxHashMap<u32, ProcessInfo>,
    processes: FxHashMap<u32, u32>,
    last: Option<(u32, u32)>,
    next: u32,
}

impl Services {
    pub(super) fn new() -> Self {
        let shared = ProcessInfo {
            id: 0,
            tgid: 0,
            comm: String::new(),
            executable: None,
            service: String::new(),
            service_namespace: None,
            resource: Vec::new(),
            container_id: None,
            pod_uid: None,
        };
        Self {
            known: std::iter::once((SHARED, shared)).collect(),
            processes: FxHashMap::default(),
            last: None,
            next: SHARED + 1,
        }
    }

    /// The service of a process.
    #[inline]
    pub(super) fn of(&mut self, process: &ProcessInfo) -> u32 {
        match self.last {
            Some((last, service)) if last == process.id => service,
            _ => {
                let service = match self.processes.get(&process.id) {
                    Some(service) => *service,
                    None => self.add(process),
                };
                self.last = Some((process.id, service));
                service
            }
        }
    }

    #[cold]
    fn add(&mut self, process: &ProcessInfo) -> u32 {
        let same = |(number, known): (&u32, &ProcessInfo)| {
            let same = *number != SHARED
                && known.service == process.service
                && known.service_namespace == process.service_namespace
                && known.container_id == process.container_id
                && known.pod_uid == process.pod_uid
                && known.resource == process.resource;
            same.then_some(*number)
        };
        let found = self.known.iter().find_map(same);
        let service = match found {
            Some(service) => service,
            None if self.known.len() >= MAX_SERVICES => SHARED,
            None => {
                let service = self.next;
                self.next = self.next.wrapping_add(1).max(1);
                self.known.insert(service, process.clone());
                service
            }
        };
        if self.processes.len() >= MAX_PROCESSES {
            self.processes.clear();
        }
        self.processes.insert(process.id, service);
        service
    }

    /// A process of the service: what it says of itself is the same for all.
    pub(super) fn get(&self, service: u32) -> Option<&ProcessInfo> {
        self.known.get(&service)
    }

    /// Forgets services that are not in use.
    pub(super) fn retain(&mut self, used: impl Fn(u32) -> bool) {
        let before = self.known.len();
        self.known
            .retain(|service, _| *service == SHARED || used(*service));
        if self.known.len() < before {
            self.processes.clear();
            self.last = None;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
