//! From what the user names to what the kernel compares: process ids, names, cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::app::live::cgroup_id;
use crate::cli::profile::Targets as Asked;
use crate::discovery;
use crate::exit::Failure;
use crate::profile::kernel::Targets;

/// Bytes read of a file of a process.
const MAX_FILE: usize = 16 << 10;

/// What to sample. `child` is a process that was started for it.
pub(super) fn resolve(asked: &Asked, child: Option<u32>) -> Result<Targets, Failure> {
    let mut targets = Targets {
        pids: asked.pids.iter().copied().chain(child).collect(),
        ..Targets::default()
    };
    for pattern in &asked.comms {
        let found = processes(|dir| {
            let comm = read(&dir.join("comm"))?;
            pattern.glob.matches(comm.trim_end()).then_some(())
        });
        // A plain name also fits what is started later.
        if let Some(name) = pattern.literal() {
            targets.comms.push(name.to_owned());
        } else if found.is_empty() {
            let problem = format!("no process is called '{}'", pattern.text);
            return Err(Failure::usage(problem).with_fix("see the names with ps -eo pid,comm"));
        }
        targets.pids.extend(found.into_keys());
    }
    for id in &asked.containers {
        targets.cgroups.extend(cgroups(id)?);
    }
    Ok(targets)
}

/// The cgroups of a container whose id begins with `id`.
fn cgroups(id: &str) -> Result<Vec<u64>, Failure> {
    let found = processes(|dir| {
        let text = read(&dir.join("cgroup"))?;
        let container = discovery::container_id(&text)?;
        container.starts_with(id).then_some(())?;
        // Version 2 has one line, with nothing between its colons.
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some((container, path.to_owned()))
    });
    let containers: BTreeSet<&String> = found.values().map(|(container, _)| container).collect();
    if containers.len() > 1 {
        let problem = format!("{} containers begin with '{id}'", containers.len());
        return Err(Failure::usage(problem).with_fix("give more of the id"));
    }
    if containers.is_empty() {
        let problem = format!("no container with processes in a cgroup v2 begins with '{id}'");
        return Err(Failure::usage(problem)
            .with_fix("give the id as docker ps or crictl ps shows it, or use --pid"));
    }
    let paths: BTreeSet<&String> = found.values().map(|(_, path)| path).collect();
    paths
        .into_iter()
        .map(|path| {
            cgroup_id(path)
                .map_err(|error| Failure::failed(format!("cgroup {path} cannot be read: {error}")))
        })
        .collect()
}

/// What `look` finds in the folders of processes, by process id.
fn processes<T>(look: impl Fn(&Path) -> Option<T>) -> std::collections::BTreeMap<u32, T> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, look(&entry.path())?))
        })
        .collect()
}

fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let bytes = bytes.get(..MAX_FILE).unwrap_or(&bytes);
    Some(String::from_utf8_lossy(bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::profile::Pattern;

    fn comms(text: &str) -> Asked {
        Asked {
            comms: vec![Pattern::parse(text).unwrap()],
            ..Asked::default()
        }
    }

    #[test]
    fn names_become_the_processes_that_have_them() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let own = own.trim_end();
        let targets = resolve(&comms(own), None).unwrap();
        assert!(targets.pids.contains(&std::process::id()));
        assert_eq!(targets.comms, [own]);

        let targets = resolve(&comms(&format!("{}*", &own[..3])), Some(7)).unwrap();
        assert!(targets.pids.contains(&std::process::id()) && targets.pids.contains(&7));
        assert!(targets.comms.is_empty());

        let failure = resolve(&comms("no-such-*"), None).unwrap_err();
        assert!(
            failure.to_string().contains("no process is called"),
            "{failure}"
        );
        assert_eq!(resolve(&comms("later"), None).unwrap().comms, ["later"]);
    }

    #[test]
    fn a_container_that_is_not_there_is_named() {
        let asked = Asked {
            containers: vec!["0123456789abcdef".to_owned()],
            ..Asked::default()
        };
        let failure = resolve(&asked, None).unwrap_err();
        assert!(
            failure.to_string().contains("0123456789abcdef"),
            "{failure}"
        );
    }
}
