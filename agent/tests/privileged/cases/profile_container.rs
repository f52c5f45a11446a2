//! `remora profile --container`: what runs in the cgroups of a container.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::profile::{burner, text};
use crate::harness::process::{Spawned, output, remora};
use crate::harness::require_privilege;

/// A cgroup v2 named as a container runtime names it; removed on drop.
struct Container {
    path: PathBuf,
    id: String,
}

impl Container {
    fn new(id: &str) -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::"));
        let mounts = fs::read_to_string("/proc/mounts").unwrap();
        let root = mounts
            .lines()
            .map(|line| line.split(' ').collect::<Vec<_>>())
            .find(|fields| fields[2] == "cgroup2")
            .unwrap_or_else(|| panic!("cgroup v2 is not mounted"))[1];
        let own = own.unwrap().trim_matches('/');
        let path = PathBuf::from(format!("{root}/{own}/docker-{id}.scope"));
        fs::create_dir(&path).unwrap();
        let id = id.to_owned();
        Self { path, id }
    }

    fn take(&self, process: &Spawned) {
        fs::write(self.path.join("cgroup.procs"), process.pid().to_string()).unwrap();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It goes when its processes are gone, which may take a moment.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn profile(id: &str) -> Output {
    output(remora().args([
        "profile",
        "--container",
        id,
        "--duration",
        "2s",
        "-o",
        "json",
    ]))
}

#[test]
fn a_container_is_sampled_and_nothing_else() {
    require_privilege!();
    let dir = tempfile::tempdir().unwrap();
    let program = burner(dir.path());
    // Unlike any other test's, and alike in the first half.
    let id = |last: char| {
        let begin = format!("{:08x}{}", std::process::id(), "cafe".repeat(8));
        format!("{begin}{}", last.to_string().repeat(64 - begin.len()))
    };
    let (one, other) = (Container::new(&id('1')), Container::new(&id('2')));
    let run = || {
        let mut command = Command::new(&program);
        let command = command.args(["60", "0", "/dev/null"]).stdin(Stdio::null());
        Spawned::with_streams(command)
    };
    let (within, outside) = (run(), run());
    let mut idle = Command::new("sleep");
    let beside = Spawned::with_streams(idle.arg("60").stdin(Stdio::null()));
    one.take(&within);
    other.take(&beside);

    let made = profile(&one.id[..one.id.len() - 1].to_uppercase());
    let said = text(&made.stderr);
    assert!(made.status.success(), "{said}");
    let lines = text(&made.stdout).lines();
    let lines: Vec<Value> = lines.map(|it| serde_json::from_str(it).unwrap()).collect();
    let stacks: Vec<&Value> = lines
        .iter()
        .filter(|line| line["kind"] == "profile_stack")
        .collect();
    assert!(!stacks.is_empty(), "{said}");
    for stack in stacks {
        assert_eq!(stack["pid"], within.pid(), "{stack}");
        assert_eq!(stack["container_id"], *one.id, "{stack}");
    }

    // Both begin so.
    let made = profile(&one.id[..20]);
    let said = text(&made.stderr);
    assert_eq!(made.status.code(), Some(2), "{said}");
    assert!(said.contains("2 containers begin with"), "{said}");
    assert!(said.contains("fix: give more of the id"), "{said}");
    drop((within, beside, outside));
}
