//! Capabilities: which are in effect, which are missing, and how to give them.

use std::fs;

use super::Check;

/// A capability (capabilities(7)) that Remora uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Capability {
    name: &'static str,
    bit: u8,
    need: Need,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Need {
    /// Nothing can be captured without it.
    Capture,
    /// Processes of others cannot be described without it.
    Describe,
}

/// In the order in which they are asked for everywhere.
const WANTED: [Capability; 5] = [
    Capability {
        name: "BPF",
        bit: 39,
        need: Need::Capture,
    },
    Capability {
        name: "PERFMON",
        bit: 38,
        need: Need::Capture,
    },
    Capability {
        name: "SYS_PTRACE",
        bit: 19,
        need: Need::Describe,
    },
    Capability {
        name: "DAC_READ_SEARCH",
        bit: 2,
        need: Need::Describe,
    },
    Capability {
        name: "CHECKPOINT_RESTORE",
        bit: 40,
        need: Need::Describe,
    },
];
/// Stands in for `BPF`, `PERFMON` and `CHECKPOINT_RESTORE`.
const SYS_ADMIN: u8 = 21;
const SYS_RESOURCE: u8 = 24;
const SYS_PTRACE: u8 = 19;

/// The privileges of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Privileges {
    /// Effective capabilities, one bit each.
    effective: u64,
    /// In the user namespace of the host: elsewhere capabilities do not count for BPF.
    host_users: bool,
}

impl Privileges {
    pub(super) fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        Self::parse(&status, &users)
    }

    fn parse(status: &str, uid_map: &str) -> Self {
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        let host_users = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
        Self {
            effective,
            host_users,
        }
    }

    /// Whether maps and programs can be created.
    pub(super) fn can_load(&self) -> bool {
        self.host_users
            && WANTED
                .iter()
                .all(|cap| cap.need != Need::Capture || self.has(cap.bit))
    }

    /// Whether processes of others can be looked into.
    pub(super) fn can_trace(&self) -> bool {
        self.has(SYS_PTRACE)
    }

    /// Whether the limit of locked memory does not count.
    pub(super) fn can_lock(&self) -> bool {
        self.has(SYS_RESOURCE)
    }

    fn has(&self, bit: u8) -> bool {
        let admin = matches!(bit, 38..=40) && self.effective >> SYS_ADMIN & 1 == 1;
        self.effective >> bit & 1 == 1 || admin
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = WANTED.iter().filter(|cap| !self.has(cap.bit));
        missing.map(|cap| cap.name).collect()
    }
}

/// Whether everything wanted is in effect.
pub(super) fn check(privileges: &Privileges) -> Check {
    let check = |observed| Check::pass("capabilities", "capabilities", observed);
    if !privileges.host_users {
        return check(
            "this is not the host's user namespace: root here has no rights there".into(),
        )
        .fail(
            "everything",
            "start it outside of the user namespace, not in a rootless container",
        );
    }
    let missing = privileges.missing();
    if missing.is_empty() {
        return check("all that are needed are in effect".into());
    }
    let list: Vec<String> = missing.iter().map(|name| format!("CAP_{name}")).collect();
    let check = check(format!("not root, and without {}", list.join(", ")));
    if privileges.can_load() {
        check.warn("names of services run by other users", fix())
    } else {
        check.fail("everything", fix())
    }
}

fn fix() -> String {
    let names = WANTED.map(|cap| cap.name);
    let lower = names
        .map(|name| format!("cap_{}", name.to_lowercase()))
        .join(",");
    let upper = names.map(|name| format!("CAP_{name}")).join(" ");
    let program = std::env::current_exe();
    let program = program.map_or("remora".into(), |path| path.display().to_string());
    format!(
        "run it with sudo; or once: sudo setcap {lower}+ep {program}; \
         in a systemd unit: AmbientCapabilities={upper}; \
         in Kubernetes: securityContext.capabilities.add: [{}]",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    const HOST: &str = "         0          0 4294967295\n";

    fn with(bits: &[u8]) -> Privileges {
        let effective = bits.iter().fold(0u64, |set, bit| set | 1 << bit);
        Privileges::parse(&format!("Name:\tx\nCapEff:\t{effective:016x}\n"), HOST)
    }

    #[test]
    fn what_is_missing_is_named_with_the_fix() {
        let none = check(&with(&[]));
        assert_eq!(none.status, Status::Fail);
        assert!(
            none.observed
                .contains("CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE")
        );
        let fix = none.fix.unwrap();
        assert!(fix.contains("setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_checkpoint_restore+ep /"));
        assert!(fix.contains("AmbientCapabilities=CAP_BPF CAP_PERFMON "));

        let some = check(&with(&[38, 39]));
        assert_eq!(some.status, Status::Warn);
        assert!(!some.observed.contains("CAP_BPF"));
        for enough in [&[2, 19, 38, 39, 40][..], &[2, 19, 21]] {
            assert_eq!(check(&with(enough)).status, Status::Pass);
        }
        assert!(!with(&[39]).can_load() && with(&[21]).can_load() && with(&[24]).can_lock());
    }

    #[test]
    fn root_of_a_user_namespace_is_not_root() {
        let fake = Privileges::parse("CapEff:\t000001ffffffffff\n", "0 1000 1\n");
        assert!(!fake.can_load());
        assert_eq!(check(&fake).status, Status::Fail);
        assert_eq!(Privileges::parse("", HOST).effective, 0);
    }
}
