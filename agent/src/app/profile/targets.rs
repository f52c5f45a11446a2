//! From what the user names to what the kernel compares: process ids, names, cgroups.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::app::live::cgroup_id;
use crate::app::named::{NAMES, matching, processes, read};
use crate::cli::profile::Targets as Asked;
use crate::host::discovery;
use crate::model::exit::Failure;
use crate::profile::kernel::Targets;
use crate::profile::model::Profile;

/// Bytes of a command name that the kernel keeps.
const MAX_COMM: usize = 15;

/// What was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) targets: Targets,
    /// Names that no process has. One that starts later may: build steps, say.
    pub(super) absent: Vec<String>,
}

/// What to sample. `child` is a process that was started for it.
pub(super) fn resolve(asked: &Asked, child: Option<u32>) -> Result<Chosen, Failure> {
    let mut absent = Vec::new();
    let mut targets = Targets {
        pids: asked.pids.iter().copied().chain(child).collect(),
        ..Targets::default()
    };
    for pattern in &asked.comms {
        // A plain name also fits what is started later.
        let found = if let Some(name) = pattern.literal() {
            let found = called(&name);
            if found.is_empty() {
                absent.push(name.clone());
            }
            targets.comms.push(name);
            found
        } else {
            let found = matching(pattern);
            if found.is_empty() {
                let problem = format!("no process is called '{}'", pattern.text());
                return Err(Failure::usage(problem).with_fix(NAMES));
            }
            found
        };
        targets.pids.extend(found);
    }
    for id in &asked.containers {
        targets.cgroups.extend(cgroups(id)?);
    }
    Ok(Chosen { targets, absent })
}

/// Processes with this name, or with a program of this name.
fn called(name: &str) -> Vec<u32> {
    let cut = &name.as_bytes()[..name.len().min(MAX_COMM)];
    let found = processes(|dir| {
        let comm = read(&dir.join("comm"))?;
        let program = fs::read_link(dir.join("exe")).ok();
        let program = program.as_deref().and_then(Path::file_name);
        (comm.trim_end().as_bytes() == cut || program.is_some_and(|it| it == name)).then_some(())
    });
    found.into_keys().collect()
}

/// Whether processes of all names that were `absent` were there in the end.
pub(super) fn seen(absent: &[String], profile: &Profile) -> Result<(), Failure> {
    // Any sample is of one of them, if only they were asked for.
    let came = |name: &String| profile.ledger.seen > 0 || !called(name).is_empty();
    match absent.iter().find(|name| !came(name)) {
        None => Ok(()),
        Some(name) => {
            let problem = format!("no process called '{name}' used a CPU in this time");
            Err(Failure::failed(problem).with_fix(NAMES))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deciding::filter::glob::Glob;

    fn comms(text: &str) -> Asked {
        Asked {
            comms: vec![Glob::parse(text).unwrap()],
            ..Asked::default()
        }
    }

    #[test]
    fn names_become_the_processes_that_have_them() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let own = own.trim_end();
        let chosen = resolve(&comms(own), None).unwrap();
        assert!(chosen.targets.pids.contains(&std::process::id()));
        assert_eq!(chosen.targets.comms, [own]);
        assert!(chosen.absent.is_empty());

        let targets = resolve(&comms(&format!("{}*", &own[..3])), Some(7));
        let targets = targets.unwrap().targets;
        assert!(targets.pids.contains(&std::process::id()) && targets.pids.contains(&7));
        assert!(targets.comms.is_empty());

        let failure = resolve(&comms("no-such-*"), None).unwrap_err();
        assert!(
            failure.to_string().contains("no process is called"),
            "{failure}"
        );
    }

    #[test]
    fn names_of_what_is_not_there_may_come_later_or_be_mistakes() {
        let chosen = resolve(&comms("no-such-later"), None).unwrap();
        assert_eq!(chosen.targets.comms, ["no-such-later"]);
        assert_eq!(chosen.absent, ["no-such-later"]);
        let some = crate::sample_profile::profile(false);
        assert!(seen(&chosen.absent, &some).is_ok());
        let mut none = some;
        none.ledger.seen = 0;
        let failure = seen(&chosen.absent, &none).unwrap_err();
        assert_eq!(failure.exit.code(), 1);
        assert!(failure.to_string().contains("ps -eo"), "{failure}");
        assert!(seen(&[], &none).is_ok());
    }

    #[test]
    fn a_name_longer_than_the_kernel_keeps_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("sleeps-a-good-while");
        fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program);
        let mut child = child.arg("60").spawn().unwrap();
        for name in ["sleeps-a-good-while", "sleeps-a-good-w"] {
            let begin = std::time::Instant::now();
            while !called(name).contains(&child.id()) && begin.elapsed().as_secs() < 5 {
                std::thread::yield_now();
            }
            let chosen = resolve(&comms(name), None).unwrap();
            assert!(chosen.targets.pids.contains(&child.id()), "{name}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
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
