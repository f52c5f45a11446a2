//! Kernel programs: which are loaded, how often they ran, and for how long.

use anyhow::{Context as _, Result, bail, ensure};
use aya::Ebpf;
use aya::programs::{Program, loaded_programs};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Runs and their time, of one program.
#[derive(Clone, Default, Debug, PartialEq)]
pub(super) struct Usage {
    /// Name, at most 15 bytes.
    pub(super) name: String,
    /// Times run.
    pub(super) runs: u64,
    /// Time spent, ns. It includes the kernel's own cost of measuring, some tens of ns
    /// a run.
    pub(super) ns: u64,
}

impl Usage {
    /// Mean time of a run, ns.
    pub(super) fn mean(&self) -> f64 {
        if self.runs == 0 {
            0.0
        } else {
            self.ns as f64 / self.runs as f64
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            name: self.name.clone(),
            runs: self.runs - before.runs,
            ns: self.ns - before.ns,
        }
    }
}

/// Ids of the programs that a process holds, from its descriptors
/// (`prog_id:` in proc_pid_fdinfo(5)). Other tracers on the host do not count.
pub(super) fn of_process(pid: u32) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed between its name and its description.
        let Ok(info) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let lines = info
            .lines()
            .filter_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(lines.filter_map(|id| id.trim().parse::<u32>().ok()));
    }
    Ok(ids)
}

/// Usage of all loaded programs, by id.
pub(super) fn usage() -> Result<BTreeMap<u32, Usage>> {
    let mut all = BTreeMap::new();
    for program in loaded_programs() {
        // A program may go away between its id and its description.
        let Ok(info) = program else { continue };
        let usage = Usage {
            name: info.name_as_str().unwrap_or("?").to_owned(),
            runs: info.run_count(),
            ns: info.run_time().as_nanos() as u64,
        };
        all.insert(info.id(), usage);
    }
    Ok(all)
}

/// What the programs in `ours` did between two measurements, busiest first.
pub(super) fn between(
    ours: &BTreeSet<u32>,
    before: &BTreeMap<u32, Usage>,
    after: &BTreeMap<u32, Usage>,
) -> Vec<Usage> {
    let mut used: Vec<Usage> = after
        .iter()
        .filter(|(id, _)| ours.contains(id))
        .map(|(id, usage)| usage.since(before.get(id).unwrap_or(&Usage::default())))
        .filter(|usage| usage.runs > 0)
        .collect();
    used.sort_by_key(|usage| std::cmp::Reverse(usage.ns));
    used
}

/// Empty programs on the hooks of the agent, attached until dropped: what the hooks
/// themselves cost.
///
/// # Errors
/// The object is missing, or the kernel refuses it.
pub(super) fn attach_empty(object: &Path) -> Result<Ebpf> {
    let bytes = fs::read(object).with_context(|| format!("{}", object.display()))?;
    let mut ebpf = Ebpf::load(&bytes)?;
    let mut attached = 0;
    for (name, program) in ebpf.programs_mut() {
        // Every program is named like the tracepoint it belongs to.
        let Program::RawTracePoint(program) = program else {
            bail!("{name} is not a raw tracepoint program");
        };
        program.load()?;
        program
            .attach(name)
            .with_context(|| format!("cannot attach to {name}"))?;
        attached += 1;
    }
    ensure!(attached > 0, "{} has no programs", object.display());
    Ok(ebpf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_programs_and_only_the_difference_count() {
        let usage = |name: &str, runs, ns| Usage {
            name: name.to_owned(),
            runs,
            ns,
        };
        let before = [(1, usage("a", 10, 1000)), (2, usage("other", 5, 50))].into();
        let after = [
            (1, usage("a", 30, 5000)),
            (2, usage("other", 9, 90)),
            (3, usage("b", 2, 8)),
        ];
        let used = between(&[1, 3].into(), &before, &after.into());
        assert_eq!(used, [usage("a", 20, 4000), usage("b", 2, 8)]);
        assert_eq!(used[0].mean(), 200.0);
    }
}
