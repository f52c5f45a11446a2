//! Samples that are not in the profile: whose they were, and which CPU lost them.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Collector, only_named};
use crate::profile::model::{Builder, Loss, ProcessId};

/// Samples lost in the kernel.
#[derive(Clone, PartialEq, Eq, Default, Debug, serde::Serialize, serde::Deserialize)]
pub struct Lost {
    /// For each processor.
    pub per_cpu: Vec<u64>,
    /// For each process, by its id.
    pub per_process: Vec<(u32, u64)>,
    /// Command names of those processes of which no sample came through, as far as they
    /// still ran when they were looked at.
    #[serde(default)]
    pub comms: Vec<(u32, String)>,
}

impl Collector {
    /// Adds all losses to the profile. `written` are the processes that are in it, by their
    /// place in `seen`.
    pub(super) fn count_losses(
        &self,
        builder: &mut Builder,
        written: &FxHashMap<u32, ProcessId>,
        lost: &Lost,
    ) {
        // Of two processes with one id, the later one counts.
        let known: FxHashMap<u32, usize> = self
            .seen
            .iter()
            .enumerate()
            .map(|(index, seen)| (seen.info.tgid, index))
            .collect();
        let mut named = 0;
        for (tgid, count) in &lost.per_process {
            let process = match known.get(tgid).map(|index| &self.seen[*index]) {
                Some(seen) => builder.process(&seen.info, seen.started_ns),
                None => {
                    let comm = lost.comms.iter().find(|(of, _)| of == tgid);
                    let comm = comm.map_or_else(String::new, |(_, comm)| comm.clone());
                    builder.process(&Arc::new(only_named(*tgid, comm)), 0)
                }
            };
            builder.lose(Loss::RingFull, process.ok(), *count);
            named += count;
        }
        let all: u64 = lost.per_cpu.iter().sum();
        builder.lose(Loss::RingFull, None, all.saturating_sub(named));
        builder.lost_per_cpu(lost.per_cpu.clone());
        builder.lose(Loss::Decode, None, self.decode_errors);
        for (index, count) in &self.full {
            let process = index.and_then(|index| written.get(&index));
            builder.lose(Loss::ProfileFull, process.copied(), *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::clock::Offset;
    use crate::profile::collect::{Mappings, Span};
    use crate::profile::model::{Event, Limits, Profile};
    use crate::profile::symbols::{Source, Symbol, Symbols};
    use remora_common::pod::Pod as _;
    use remora_common::profile::{Sample, stop};
    use remora_common::record::{Header, Kind};

    /// Nothing has a name.
    struct Nameless;

    impl Symbols for Nameless {
        fn resolve(&mut self, _: Source, _: &[u64], _: &mut dyn FnMut(usize, Symbol)) {}
    }

    fn sample(tgid: u32, address: u64) -> Vec<u8> {
        let len = size_of::<Sample>() + 8;
        let sample = Sample {
            header: Header::new(Kind::SAMPLE, u32::try_from(len).unwrap()),
            time: 1,
            conn: 0,
            cgroup: 0,
            request: 0,
            tgid,
            tid: tgid,
            cpu: 0,
            comm: *b"sampled\0\0\0\0\0\0\0\0\0",
            kernel: 0,
            user: 1,
            stop: stop::ROOT,
            flags: 0,
            exact: 1,
        };
        [sample.as_bytes(), &address.to_ne_bytes()].concat()
    }

    fn finish(collector: &mut Collector, lost: &Lost) -> Profile {
        let span = Span {
            start_unix_ns: 1,
            duration_ns: 2,
            period_ns: 3,
            event: Event::CpuClock,
        };
        let profile = collector.finish(span, lost, &mut Nameless);
        assert!(profile.ledger.balanced(), "{:?}", profile.ledger);
        profile
    }

    fn lost_of(profile: &Profile) -> Vec<(u32, &str, u64)> {
        let processes = profile.processes.iter();
        processes
            .map(|it| (it.info.tgid, it.info.comm.as_str(), it.lost))
            .collect()
    }

    #[test]
    fn losses_belong_to_processes_with_and_without_samples() {
        let mut collector = Collector::new(Limits::default(), Offset(0));
        collector.process(Mappings {
            info: only_named(2, "quiet".to_owned()),
            started_ns: 5,
            mapped: Vec::new(),
        });
        collector.sample(&sample(1, 0x1000));
        collector.sample(&sample(3, 0x1000));
        collector.gone(3);
        let lost = Lost {
            per_cpu: vec![10, 0, 20],
            per_process: vec![(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)],
            comms: vec![(4, "late".to_owned())],
        };
        let profile = finish(&mut collector, &lost);
        assert_eq!(
            lost_of(&profile),
            [
                (1, "sampled", 1),
                (3, "sampled", 3),
                (2, "quiet", 2),
                (4, "late", 4),
                (5, "", 5)
            ]
        );
        assert_eq!(profile.ledger.lost[Loss::RingFull as usize], 30);
        assert_eq!(profile.ledger.lost_per_cpu, [10, 0, 20]);
        // The next profile begins with none.
        let profile = finish(&mut collector, &Lost::default());
        assert_eq!((profile.ledger.lost(), profile.processes.len()), (0, 0));
    }

    #[test]
    fn what_a_full_profile_leaves_out_is_counted_by_process() {
        let limits = Limits {
            bytes: 4 << 10,
            times: false,
        };
        let mut collector = Collector::new(limits, Offset(0));
        for address in 0..1_000 {
            collector.sample(&sample(1, address));
        }
        // Of a process that comes when all is full nothing is kept, not even its name.
        collector.sample(&sample(2, 1));
        let profile = finish(&mut collector, &Lost::default());
        assert_eq!(profile.ledger.seen, 1_001);
        let lost = profile.ledger.lost[Loss::ProfileFull as usize];
        assert!(lost > 900, "{lost}");
        assert_eq!(lost_of(&profile), [(1, "sampled", lost - 1)]);
    }
}
