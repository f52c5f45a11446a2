//! From a process record of the kernel to a [`ProcessInfo`].

use remora_common::record;
use rustc_hash::FxHashMap;

use super::procfs::{ProcDir, Stat, suspended_ns};
use super::{container, environment, service};
use crate::model::exchange::ProcessInfo;
use crate::model::processes::{Processes, from_record};

/// Bytes read of a file of a process: environments can be megabytes.
const MAX_ENVIRON: u64 = 1 << 20;
const MAX_CMDLINE: u64 = 32 << 10;
const MAX_CGROUP: u64 = 16 << 10;
const MAX_PACKAGE: u64 = 64 << 10;
/// Files looked for, to tell a script from an option's value.
const MAX_LOOKS: u16 = 256;
/// Arguments looked at.
const MAX_ARGS: usize = 256;
/// Parents asked for the name of a worker: with a server that forks there are two.
const MAX_PARENTS: u8 = 4;
/// Processes remembered.
const MAX_CACHED: usize = 4096;
/// `USER_HZ`, the unit of times in `/proc`: part of the kernel's interface.
const TICK_NS: u64 = 10_000_000;

/// Finds out about processes from `/proc`. Nothing but what [`ProcessInfo`] holds is
/// kept of a process; the buffer its environment goes through is wiped.
#[derive(Debug, Default)]
pub struct ProcessResolver {
    cache: FxHashMap<u32, (Stat, ProcessInfo)>,
    buffer: Vec<u8>,
}

impl ProcessResolver {
    /// A resolver that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn live(&mut self, record: &record::Process, comm: &str) -> Option<ProcessInfo> {
        let dir = ProcDir::open(record.tgid).ok()?;
        let stat = dir.stat(&mut self.buffer)?;
        if started_after(stat, record.time, suspended_ns()) {
            self.cache.remove(&record.tgid);
            return None;
        }
        if let Some((known, info)) = self.cache.get(&record.tgid)
            && *known == stat
        {
            return Some(info.clone());
        }
        let info = self.read(&dir, record.tgid, comm);
        // Another program may have been started while this one was read. If it ended instead, what
        // was read is its own: the directory, held open, leads to nobody else.
        let after = dir.stat(&mut self.buffer);
        let exec = |now: &Stat| now.start_stack != 0 && now.start_stack != stat.start_stack;
        if after
            .as_ref()
            .is_some_and(|now| now.start_ticks != stat.start_ticks || exec(now))
        {
            return None;
        }
        // Without the stack's address, an `exec` could not be told.
        if stat.start_stack != 0 && after == Some(stat) {
            if self.cache.len() >= MAX_CACHED {
                self.cache.clear();
            }
            self.cache.insert(record.tgid, (stat, info.clone()));
        }
        Some(info)
    }

    fn read(&mut self, dir: &ProcDir, tgid: u32, comm: &str) -> ProcessInfo {
        let executable = dir.link("exe");
        let declared = self.declared(dir);
        let container = self.text(dir, "cgroup", MAX_CGROUP);
        let container = container::from_cgroup(&container);
        let comm = match self.text(dir, "comm", 64).trim_end_matches('\n') {
            "" => comm.to_owned(),
            comm => comm.to_owned(),
        };
        let service = declared.service.unwrap_or_else(|| {
            let java = declared.java.as_deref();
            self.name(dir, executable.as_deref(), &comm, java, MAX_PARENTS)
        });
        ProcessInfo {
            id: 0,
            tgid,
            comm,
            executable: executable.map(|path| {
                path.strip_suffix(" (deleted)")
                    .map_or(path.clone(), str::to_owned)
            }),
            service,
            service_namespace: declared.namespace,
            resource: declared.attributes,
            container_id: container.id,
            pod_uid: container.pod_uid,
        }
    }

    fn declared(&mut self, dir: &ProcDir) -> environment::Declared {
        // Secrets pass through here: a buffer that had to grow would leave copies behind.
        let mut environ = Vec::with_capacity(MAX_ENVIRON as usize + 64);
        let read = dir.read("environ", MAX_ENVIRON, &mut environ);
        let declared = read
            .map(|()| environment::declared(&environ))
            .unwrap_or_default();
        environ.fill(0);
        std::hint::black_box(&environ);
        declared
    }

    /// The name of a program, or that of the one it works for, at most so many `parents` up.
    fn name(
        &mut self,
        dir: &ProcDir,
        executable: Option<&str>,
        comm: &str,
        java: Option<&str>,
        parents: u8,
    ) -> String {
        let line = self.text(dir, "cmdline", MAX_CMDLINE);
        // A program that writes a title over its arguments leaves NULs or spaces behind.
        let line = line.trim_end_matches(['\0', ' ']);
        let args: Vec<&str> = match line {
            "" => Vec::new(),
            line => line.split('\0').take(MAX_ARGS).collect(),
        };
        if parents > 0
            && service::is_worker(&args)
            && let Some(name) = self.parents_name(dir, executable, parents - 1)
        {
            return name;
        }
        let cwd = dir.link("cwd");
        let package = |directory: &str| {
            let path = format!("{directory}/package.json");
            package_name(&dir.read_inside(&path, MAX_PACKAGE)?)
        };
        let absolute = |path: &str| match cwd.as_deref() {
            _ if path.starts_with('/') => Some(path.to_owned()),
            Some(cwd) => Some(format!("{cwd}/{path}")),
            None => None,
        };
        let looks = std::cell::Cell::new(MAX_LOOKS);
        let look = || looks.get().checked_sub(1).map(|left| looks.set(left));
        let file = |path: &str| {
            look()?;
            dir.has_file(&absolute(path)?)
        };
        let read = |path: &str| {
            look()?;
            dir.read_inside(&absolute(path)?, MAX_PACKAGE)
        };
        service::name(&service::Command {
            args: &args,
            exe: executable,
            comm,
            cwd: cwd.as_deref(),
            package: &package,
            file: &file,
            read: &read,
            declared: java,
            depth: 0,
        })
    }

    /// The name of the parent, if that is the same interpreter: who outlives its parent is
    /// given one that says nothing.
    fn parents_name(
        &mut self,
        dir: &ProcDir,
        executable: Option<&str>,
        parents: u8,
    ) -> Option<String> {
        let parent = dir.parent(&mut self.buffer)?;
        let same = executable?;
        if parent.link("exe")? != same {
            return None;
        }
        let comm = self.text(&parent, "comm", 64);
        Some(self.name(
            &parent,
            Some(same),
            comm.trim_end_matches('\n'),
            None,
            parents,
        ))
    }

    /// A small text file, empty if it cannot be read.
    fn text(&mut self, dir: &ProcDir, name: &str, limit: u64) -> String {
        match dir.read(name, limit, &mut self.buffer) {
            Ok(()) => String::from_utf8_lossy(&self.buffer).into_owned(),
            Err(_) => String::new(),
        }
    }
}

/// Whether the process that has the id now began after the kernel announced it. Two
/// ticks are granted, as `/proc` rounds.
fn started_after(stat: Stat, record_ns: u64, suspended_ns: u64) -> bool {
    let start = stat
        .start_ticks
        .saturating_mul(TICK_NS)
        .saturating_sub(suspended_ns);
    start > record_ns.saturating_add(2 * TICK_NS)
}

/// `name` of a package.json.
fn package_name(json: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Package {
        name: Option<String>,
    }
    let package: Package = serde_json::from_slice(json).ok()?;
    package.name.filter(|name| !name.is_empty())
}

impl Processes for ProcessResolver {
    /// A process that is gone, or whose id belongs to a later process by now, is
    /// described by the record alone.
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        let known = from_record(record);
        self.live(record, &known.comm).unwrap_or(known)
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use remora_common::record::{Header, Kind};

    use super::*;

    fn record(tgid: u32, time: u64) -> record::Process {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"once");
        record::Process {
            header: Header::new(Kind::PROCESS, size_of::<record::Process>() as u32),
            time,
            cgroup: 0,
            tgid,
            reserved: 0,
            comm,
        }
    }

    /// Ends its process when dropped.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Starts `sleep` and waits until it is the program.
    fn sleep(setup: impl FnOnce(&mut Command) -> &mut Command) -> Running {
        let mut command = Command::new("sleep");
        let child = Running(setup(command.arg("60")).spawn().unwrap());
        for _ in 0..1000 {
            let file = |name| std::fs::read_to_string(format!("/proc/{}/{name}", child.0.id()));
            // The kernel sets the name first and the arguments with the environment last.
            if file("comm").unwrap() == "sleep\n" && file("cmdline").unwrap().starts_with("sleep") {
                return child;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("sleep did not start");
    }

    #[test]
    fn a_live_process_is_described_from_proc() {
        let child = sleep(|command| {
            command
                .env("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=bank,team=a")
                .env("DB_PASSWORD", "hunter2")
        });
        let mut resolver = ProcessResolver::new();
        let info = resolver.resolve(&record(child.0.id(), u64::MAX));
        assert_eq!(info.tgid, child.0.id());
        assert_eq!(
            (info.comm.as_str(), info.service.as_str()),
            ("sleep", "sleep")
        );
        assert!(info.executable.as_ref().unwrap().ends_with("/sleep"));
        assert_eq!(info.service_namespace.as_deref(), Some("bank"));
        assert_eq!(info.resource, [("team".to_owned(), "a".to_owned())]);
        // Neither what it found nor what it keeps shows the rest of the environment.
        assert!(!format!("{info:?}{resolver:?}").contains("hunter2"));
        assert!(!resolver.buffer.windows(7).any(|bytes| bytes == b"hunter2"));
        assert_eq!(resolver.resolve(&record(child.0.id(), u64::MAX)), info);
        assert_eq!(resolver.cache.len(), 1);
    }

    #[test]
    fn the_declared_service_name_wins() {
        let child = sleep(|command| command.env("OTEL_SERVICE_NAME", "checkout"));
        let info = ProcessResolver::new().resolve(&record(child.0.id(), u64::MAX));
        assert_eq!(info.service, "checkout");
    }

    #[test]
    fn gone_and_replaced_processes_are_known_by_their_record() {
        let mut resolver = ProcessResolver::new();
        let mut child = sleep(|command| command);
        let pid = child.0.id();
        // Announced at boot: whoever has the id now came later.
        let info = resolver.resolve(&record(pid, 0));
        assert_eq!((info.comm.as_str(), info.executable), ("once", None));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        let info = resolver.resolve(&record(pid, u64::MAX));
        assert_eq!((info.service.as_str(), info.tgid), ("once", pid));
    }

    #[test]
    fn exec_is_noticed() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 0.3; exec sleep 60"]);
        let child = Running(command.spawn().unwrap());
        let mut resolver = ProcessResolver::new();
        std::thread::sleep(Duration::from_millis(100));
        let before = resolver.resolve(&record(child.0.id(), u64::MAX));
        std::thread::sleep(Duration::from_millis(600));
        let after = resolver.resolve(&record(child.0.id(), u64::MAX));
        assert_ne!(before.executable, after.executable);
        assert_eq!(after.comm, "sleep");
    }

    #[test]
    fn package_names_are_read_from_json_only() {
        assert_eq!(
            package_name(br#"{"name":"shop","x":[1]}"#).as_deref(),
            Some("shop")
        );
        for json in [
            &b"{}"[..],
            b"{\"name\":1}",
            b"root:x:0:0",
            b"",
            b"{\"name\":\"\"}",
        ] {
            assert_eq!(package_name(json), None);
        }
    }
}
