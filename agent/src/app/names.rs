//! Service names that the user chose.

use crate::model::exchange::ProcessInfo;
use crate::model::processes::Processes;
use remora_common::record;

/// Describes processes like another resolver, but for the names of their services.
#[derive(Debug)]
pub(super) struct Renamed<P> {
    processes: P,
    /// Name that was found, and name to use.
    names: Vec<(String, String)>,
}

impl<P> Renamed<P> {
    pub(super) const fn new(processes: P, names: Vec<(String, String)>) -> Self {
        Self { processes, names }
    }
}

impl<P: Processes> Processes for Renamed<P> {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        let mut info = self.processes.resolve(record);
        if let Some((_, name)) = self.names.iter().find(|(found, _)| *found == info.service) {
            info.service.clone_from(name);
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::nginx;
    use remora_common::record::{Header, Kind};

    struct Always(ProcessInfo);

    impl Processes for Always {
        fn resolve(&mut self, _: &record::Process) -> ProcessInfo {
            self.0.clone()
        }
    }

    #[test]
    fn the_first_name_that_fits_is_used() {
        let record = record::Process {
            header: Header::new(Kind::PROCESS, 48),
            time: 0,
            cgroup: 0,
            tgid: 1,
            reserved: 0,
            comm: [0; 16],
        };
        for (from, expected) in [("nginx", "edge"), ("apache", "nginx")] {
            let names = vec![
                (from.to_owned(), "edge".to_owned()),
                ("nginx".into(), "nginx".into()),
            ];
            let mut renamed = Renamed::new(Always(nginx()), names);
            assert_eq!(renamed.resolve(&record).service, expected);
        }
    }
}
