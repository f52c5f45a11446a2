//! Which running processes the user means by a name, a container or a pod.
//!
//! What nobody has may be a mistake or may start later: it is said, with the name that is
//! close to it, and waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::deciding::filter::Filter;
use crate::deciding::filter::glob::Glob;
use crate::host::discovery;
use crate::model::text::escape::Safe;
use crate::model::text::nearest::did_you_mean;

/// Bytes read of a file of a process.
const MAX_FILE: usize = 16 << 10;

/// What helps who gave a name that no process has.
pub(super) const NAMES: &str = "see the names with ps -eo pid,comm: they have at most 15 bytes";

/// What `look` finds in the folders of processes, by process id.
pub(super) fn processes<T>(look: impl Fn(&Path) -> Option<T>) -> BTreeMap<u32, T> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            Some((pid, look(&entry.path())?))
        })
        .collect()
}

/// The beginning of a file of a process.
pub(super) fn read(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let bytes = bytes.get(..MAX_FILE).unwrap_or(&bytes);
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// Processes whose command name matches.
pub(super) fn matching(glob: &Glob) -> Vec<u32> {
    let found = processes(|dir| {
        let comm = read(&dir.join("comm"))?;
        glob.matches(comm.trim_end()).then_some(())
    });
    found.into_keys().collect()
}

/// What to say of a name that no process has: `later` is what happens once one has it.
pub(super) fn absent(name: &str, later: &str) -> String {
    let comm = |dir: &Path| Some(read(&dir.join("comm"))?.trim_end().to_owned());
    let comms: BTreeSet<String> = processes(comm).into_values().collect();
    let close = did_you_mean(name, comms.iter().map(String::as_str));
    let close = close.map_or_else(String::new, |close| {
        format!("; did you mean '{}'?", Safe(close))
    });
    format!(
        "no process is called '{}' yet; {later}{close}\n  fix: {NAMES}",
        Safe(name)
    )
}

/// What to say before tracing begins of everything that is asked for and not there.
pub(super) fn missing(filter: &Filter) -> Vec<String> {
    const LATER: &str = "its requests are shown once it starts";
    let comms = filter
        .comms()
        .filter(|glob| matching(glob).is_empty())
        .map(|glob| absent(glob.text(), LATER));
    let cgroup = |dir: &Path| read(&dir.join("cgroup"));
    let starts = |found: Option<String>, id: &str| found.is_some_and(|it| it.starts_with(id));
    let containers = filter
        .containers()
        .filter(|id| {
            let inside =
                |dir: &Path| starts(discovery::container_id(&cgroup(dir)?), id).then_some(());
            processes(inside).is_empty()
        })
        .map(|id| {
            format!(
                "no process is in a container whose id begins with '{id}' yet; {LATER}\n  \
                 fix: give the id as docker ps or crictl ps shows it, or use --pid"
            )
        });
    let pods = filter
        .pods()
        .filter(|uid| {
            let inside = |dir: &Path| starts(discovery::pod_uid(&cgroup(dir)?), uid).then_some(());
            processes(inside).is_empty()
        })
        .map(|uid| {
            format!(
                "no process is in a pod whose UID begins with '{uid}' yet; {LATER}\n  \
                 fix: see UIDs with kubectl get pods -o custom-columns=:.metadata.name,:.metadata.uid"
            )
        });
    comms.chain(containers).chain(pods).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deciding::filter::Property;

    #[test]
    fn what_is_not_there_is_said_and_what_is_there_is_not() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let own = own.trim_end();
        let said = |property, value: &str, negated| {
            let mut filter = Filter::default();
            filter.add(property, value, negated).unwrap();
            missing(&filter)
        };
        assert!(said(Property::Comm, own, false).is_empty());
        assert!(said(Property::Comm, "no-such-*", true).is_empty());
        assert!(said(Property::Path, "/nothing", false).is_empty());
        for (property, value) in [
            (Property::Comm, "no-such-name"),
            (Property::Comm, "no-such-*"),
            (Property::Container, "0123456789abcdef"),
            (Property::Pod, "01234567-89ab"),
        ] {
            let list = if property == Property::Comm {
                format!("{value},{own}")
            } else {
                value.to_owned()
            };
            let said = said(property, &list, false);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(
                said[0].contains(value) && said[0].contains("fix: "),
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_name_that_is_close_is_suggested() {
        let own = fs::read_to_string("/proc/self/comm").unwrap();
        let mistyped = format!("{}~", own.trim_end());
        let said = absent(&mistyped, "later");
        assert!(said.contains("did you mean '"), "{said}");
    }
}
