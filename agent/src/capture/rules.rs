//! Rules that the kernel programs apply to connections when they first see them.

use aya::Ebpf;
use aya::maps::HashMap;
use remora_common::config::{config_flags, verdict};

use super::CaptureError;

/// What to do with what a rule names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Trace it. As soon as there is one such rule for a kind of thing (process, port,
    /// cgroup), things of that kind that no rule names are not traced.
    Include,
    /// Do not trace it.
    Exclude,
}

impl Verdict {
    const fn value(self) -> u8 {
        match self {
            Self::Include => verdict::INCLUDE,
            Self::Exclude => verdict::EXCLUDE,
        }
    }
}

/// What a rule names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rule {
    /// A process and the children it makes, whatever programs they run.
    Pid(u32),
    /// The file name of an executable. The kernel knows the first 15 bytes of it.
    Executable(String),
    /// A port, at either end of the connection.
    Port(u16),
    /// A cgroup v2, by its id (the inode number of its directory).
    Cgroup(u64),
}

/// A set of rules. Kinds are ANDed: a connection is traced if its process, its port and
/// its cgroup are all allowed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rules {
    list: Vec<(Rule, Verdict)>,
}

impl Rules {
    /// Adds a rule. The last one for the same thing holds.
    pub fn add(&mut self, rule: Rule, verdict: Verdict) {
        self.list.push((rule, verdict));
    }

    /// The bits of [`config_flags`] that switch the checks on.
    pub(super) fn flags(&self) -> u32 {
        self.list.iter().fold(0, |flags, (rule, verdict)| {
            let (on, default_exclude) = match rule {
                Rule::Pid(_) | Rule::Executable(_) => {
                    (config_flags::TASK_RULES, config_flags::TASK_DEFAULT_EXCLUDE)
                }
                Rule::Port(_) => (config_flags::PORT_RULES, config_flags::PORT_DEFAULT_EXCLUDE),
                Rule::Cgroup(_) => (
                    config_flags::CGROUP_RULES,
                    config_flags::CGROUP_DEFAULT_EXCLUDE,
                ),
            };
            let default = if *verdict == Verdict::Include {
                default_exclude
            } else {
                0
            };
            flags | on | default
        })
    }

    /// Writes the rules into the maps. Rules by executable are also applied to the
    /// processes that run already.
    pub(super) fn install(&self, ebpf: &mut Ebpf) -> Result<(), CaptureError> {
        if self.list.is_empty() {
            return Ok(());
        }
        for (rule, verdict) in &self.list {
            let value = verdict.value();
            match rule {
                Rule::Pid(pid) => set(ebpf, "RULES_PID", pid, value | verdict::KEPT),
                Rule::Port(port) => set(ebpf, "RULES_PORT", &u32::from(*port), value),
                Rule::Cgroup(id) => set(ebpf, "RULES_CGROUP", id, value),
                Rule::Executable(name) => {
                    let mut key = [0u8; 16];
                    for (to, from) in key.iter_mut().take(15).zip(name.bytes()) {
                        *to = from;
                    }
                    for pid in processes_running(name) {
                        set(ebpf, "RULES_PID", &pid, value)?;
                    }
                    set(ebpf, "RULES_COMM", &key, value)
                }
            }?;
        }
        Ok(())
    }
}

/// Writes one rule. The map stays with the object, whose programs are yet to be loaded.
fn set<K: aya::Pod>(ebpf: &mut Ebpf, map: &str, key: &K, value: u8) -> Result<(), CaptureError> {
    let missing = || CaptureError::Object {
        what: format!("map `{map}` is missing"),
    };
    let map = ebpf.map_mut(map).ok_or_else(missing)?;
    let mut map: HashMap<_, K, u8> = HashMap::try_from(map).map_err(CaptureError::from_map)?;
    map.insert(key, value, 0).map_err(CaptureError::from_map)
}

/// Process ids of the processes whose executable has this file name.
pub(crate) fn processes_running(name: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let executable = std::fs::read_link(entry.path().join("exe")).ok()?;
            (executable.file_name()?.to_str()? == name).then_some(pid)
        })
        .collect()
}
