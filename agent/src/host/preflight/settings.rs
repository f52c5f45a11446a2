//! How the host is set up.

use std::fs;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::caps::Privileges;
use super::{Check, features};

/// `PROC_PID_INIT_INO`: the initial process namespace, on every kernel.
const INITIAL_PIDS: &str = "pid:[4026531836]";
/// What is enough locked memory for the maps of a default configuration, bytes.
const MEMLOCK: u64 = 256 << 20;
/// How long a connection to the gateway may take.
const CONNECT: Duration = Duration::from_secs(3);

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Before 5.11 maps count as locked memory.
pub(super) fn memlock(privileges: &Privileges) -> Check {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let old = features::version().is_some_and(|version| version < (5, 11));
    memlock_is(soft_limit(&limits), old, privileges.can_lock())
}

/// `None` is unlimited.
fn soft_limit(limits: &str) -> Option<u64> {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn memlock_is(limit: Option<u64>, old: bool, can_lock: bool) -> Check {
    let observed = limit.map_or("unlimited".to_owned(), |limit| format!("{limit} bytes"));
    let check = Check::pass("memlock", "limit of locked memory", observed);
    match limit {
        Some(limit) if old && !can_lock && limit < MEMLOCK => check.fail(
            "everything: before Linux 5.11 maps count as locked memory",
            "ulimit -l unlimited; in a systemd unit: LimitMEMLOCK=infinity; or add \
             CAP_SYS_RESOURCE, with which Remora raises the limit itself",
        ),
        _ => check,
    }
}

/// Settings of BPF and perf that explain why something is refused or slow.
pub(super) fn bpf() -> Check {
    let get = |path| line(path).unwrap_or_else(|| "?".to_owned());
    let jit = get("/proc/sys/net/core/bpf_jit_enable");
    let observed = format!(
        "bpf_jit_enable={jit}, unprivileged_bpf_disabled={}, perf_event_paranoid={}",
        get("/proc/sys/kernel/unprivileged_bpf_disabled"),
        get("/proc/sys/kernel/perf_event_paranoid"),
    );
    let check = Check::pass("bpf_settings", "BPF and perf settings", observed);
    if jit == "0" {
        return check.warn(
            "speed: programs are interpreted, several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        );
    }
    check
}

/// The kernel reports process ids of the initial namespace.
pub(super) fn pid_namespace() -> Check {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    pids_are(&link.to_string_lossy())
}

fn pids_are(link: &str) -> Check {
    if link == INITIAL_PIDS {
        return Check::pass("pid_namespace", "process namespace", "the host's");
    }
    Check::pass(
        "pid_namespace",
        "process namespace",
        format!("a container's ({link})"),
    )
    .warn(
        "names of services: processes cannot be looked up, only their command names are known",
        "in Kubernetes: hostPID: true; with Docker or Podman: --pid=host",
    )
}

/// Whether `/proc` shows processes of others.
pub(super) fn proc(privileges: &Privileges) -> Check {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    proc_is(&mounts, privileges.can_trace())
}

fn proc_is(mounts: &str, can_trace: bool) -> Check {
    let options = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ');
        let at = fields.nth(1)? == "/proc" && fields.next()? == "proc";
        at.then(|| fields.next())?
    });
    let hides = options.and_then(|options| {
        options
            .split(',')
            .find_map(|option| option.strip_prefix("hidepid="))
            .filter(|value| !matches!(*value, "0" | "off"))
    });
    match (options, hides) {
        (None, _) => Check::pass("proc", "/proc", "not mounted")
            .warn("names of services", "mount -t proc proc /proc"),
        (_, Some(value)) if !can_trace => Check::pass("proc", "/proc", format!("hidepid={value}"))
            .warn(
                "names of services run by other users",
                "add CAP_SYS_PTRACE, or mount -o remount,hidepid=0 /proc",
            ),
        (_, hides) => {
            let hides = hides.map(|value| format!("hidepid={value}, which does not bind Remora"));
            Check::pass(
                "proc",
                "/proc",
                hides.unwrap_or_else(|| "shows all processes".to_owned()),
            )
        }
    }
}

/// Filters by cgroup use the ids of version 2.
pub(super) fn cgroup() -> Check {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    cgroup_is(&mounts)
}

fn cgroup_is(mounts: &str) -> Check {
    let at = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let at = fields.next()?;
        (fields.next()? == "cgroup2").then_some(at)
    });
    match at {
        Some(at) => Check::pass("cgroup", "cgroup version 2", format!("mounted at {at}")),
        None => Check::pass("cgroup", "cgroup version 2", "not mounted").warn(
            "include and exclude rules by cgroup",
            "mount -t cgroup2 none /sys/fs/cgroup/unified, or boot with \
             systemd.unified_cgroup_hierarchy=1",
        ),
    }
}

/// Every record carries the time: a slow clock is paid for twice a request.
pub(super) fn clock() -> Check {
    clock_is(line("/sys/devices/system/clocksource/clocksource0/current_clocksource").as_deref())
}

fn clock_is(source: Option<&str>) -> Check {
    let check = Check::pass("clock", "clock source", source.unwrap_or("not known"));
    match source {
        Some("acpi_pm" | "hpet" | "jiffies" | "refined-jiffies" | "pit") => check.warn(
            "speed: reading this clock takes about a microsecond",
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource, \
             if available_clocksource lists it (in a VM: kvm-clock or hyperv_clocksource_tsc_page)",
        ),
        _ => check,
    }
}

/// Only told: scratch space in the kernel is per processor.
pub(super) fn cpus() -> Check {
    let get = |name| line(&format!("/sys/devices/system/cpu/{name}")).unwrap_or_else(|| "?".into());
    let observed = format!("online {}, possible {}", get("online"), get("possible"));
    Check::pass("cpus", "processors", observed)
}

fn connect(address: &str) -> std::io::Result<SocketAddr> {
    let mut last = std::io::Error::other("no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT) {
            Ok(_) => return Ok(address),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether somebody listens where spans are to be sent, according to the setting `origin`.
pub(super) fn endpoint(address: &str, origin: &str) -> Check {
    let connected = match address.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).map(|_| address.to_owned()),
        None => connect(address).map(|peer| peer.to_string()),
    };
    let check = |observed| {
        let observed = format!("{observed} ({origin})");
        Check::pass("endpoint", "OTLP endpoint", observed)
    };
    match connected {
        Ok(peer) if peer == address => check(format!("{address} answers")),
        Ok(peer) => check(format!("{address} answers at {peer}")),
        Err(error) => check(format!("{address}: {error}")).warn(
            "export",
            "start a collector there, or set OTEL_EXPORTER_OTLP_ENDPOINT to where one listens",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Status;
    use super::*;

    #[test]
    fn locked_memory_matters_on_old_kernels_only() {
        let limits = "Limit Soft Hard Units\nMax locked memory         65536  65536 bytes\n";
        assert_eq!(soft_limit(limits), Some(65536));
        assert_eq!(
            soft_limit("Max locked memory unlimited unlimited bytes"),
            None
        );
        assert_eq!(memlock_is(Some(65536), true, false).status, Status::Fail);
        for (limit, old, can_lock) in [
            (Some(65536), false, false),
            (Some(65536), true, true),
            (None, true, false),
        ] {
            assert_eq!(memlock_is(limit, old, can_lock).status, Status::Pass);
        }
    }

    #[test]
    fn namespaces_and_mounts_are_judged() {
        assert_eq!(pids_are(INITIAL_PIDS).status, Status::Pass);
        assert_eq!(pids_are("pid:[4026532000]").status, Status::Warn);
        let hidden = "proc /proc proc rw,hidepid=invisible 0 0\n";
        assert_eq!(proc_is(hidden, false).status, Status::Warn);
        assert_eq!(proc_is(hidden, true).status, Status::Pass);
        assert_eq!(
            proc_is("proc /proc proc rw,relatime 0 0\n", false).status,
            Status::Pass
        );
        assert_eq!(proc_is("", true).status, Status::Warn);
        assert_eq!(
            cgroup_is("none /sys/fs/cgroup cgroup2 rw 0 0").status,
            Status::Pass
        );
        assert_eq!(
            cgroup_is("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0").status,
            Status::Warn
        );
        assert_eq!(clock_is(Some("hpet")).status, Status::Warn);
        assert_eq!(clock_is(Some("tsc")).status, Status::Pass);
    }

    #[test]
    fn an_endpoint_is_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        assert_eq!(endpoint(&address, "default").status, Status::Pass);
        drop(listener);
        let gone = endpoint(&address, "OTEL_EXPORTER_OTLP_ENDPOINT");
        assert_eq!((gone.status, gone.lost), (Status::Warn, Some("export")));
        let origin = " (OTEL_EXPORTER_OTLP_ENDPOINT)";
        assert!(gone.observed.ends_with(origin), "{}", gone.observed);
        assert_eq!(endpoint("no port", "default").status, Status::Warn);
        let directory = tempfile::tempdir().unwrap();
        let address = format!("unix:{}", directory.path().join("gateway").display());
        assert_eq!(endpoint(&address, "default").status, Status::Warn);
        let path = address.strip_prefix("unix:").unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        assert_eq!(endpoint(&address, "default").status, Status::Pass);
    }
}
