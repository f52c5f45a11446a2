//! Rules that the kernel programs apply: what they leave out is not even counted.

use std::fs;
use std::path::PathBuf;

use crate::clients::curl;
use crate::harness::report::Report;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::servers::Server;
use crate::servers::nginx::Nginx;
use crate::servers::programs;

/// Requests made to each of the two servers.
const COUNT: usize = 5;

/// Traces requests of curl to nginx and to Node under the given rules. Returns the
/// numbers of server and client spans of nginx, then of Node.
fn spans(nginx: &Nginx, node: &Server, rules: &[(&str, &str)]) -> ([usize; 4], Report) {
    let trace = Trace::start_with(&[], rules);
    for number in 0..COUNT {
        for port in [nginx.port(), node.port] {
            curl::one(&[], &format!("http://127.0.0.1:{port}/hello/{number}"));
        }
    }
    // Under the loosest rule here, three of the four are traced.
    let ports = [nginx.port(), node.port];
    trace.wait_for(COUNT, |request| {
        ports.iter().any(|port| request.to_port(*port))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    let report = trace.stop().lossless();
    let counts = [
        report.server(nginx.port()).len(),
        report.client(nginx.port()).len(),
        report.server(node.port).len(),
        report.client(node.port).len(),
    ];
    (counts, report)
}

#[test]
fn by_port() {
    require_privilege!();
    let (nginx, node) = (Nginx::start(), programs::node());
    let rule = format!("port={}", nginx.port());
    let (counts, report) = spans(&nginx, &node, &[("REMORA_INCLUDE", &rule)]);
    assert_eq!(counts, [COUNT, COUNT, 0, 0]);
    assert_eq!(report.summary.seen, 2 * COUNT as u64);
    let (counts, _) = spans(&nginx, &node, &[("REMORA_EXCLUDE", &rule)]);
    assert_eq!(counts, [0, 0, COUNT, COUNT]);
}

/// nginx and Node run when the agent starts, every curl starts later.
#[test]
fn by_executable() {
    require_privilege!();
    let (nginx, node) = (Nginx::start(), programs::node());
    for (variable, rule, wanted) in [
        ("REMORA_INCLUDE", "executable=nginx", [COUNT, 0, 0, 0]),
        ("REMORA_INCLUDE", "executable=curl", [0, COUNT, 0, COUNT]),
        ("REMORA_EXCLUDE", "executable=curl", [COUNT, 0, COUNT, 0]),
        (
            "REMORA_EXCLUDE",
            "executable=node",
            [COUNT, COUNT, 0, COUNT],
        ),
    ] {
        let (counts, _) = spans(&nginx, &node, &[(variable, rule)]);
        assert_eq!(counts, wanted, "{variable} {rule}");
    }
    let (counts, _) = spans(
        &nginx,
        &node,
        &[
            ("REMORA_INCLUDE", "executable=curl,executable=node"),
            ("REMORA_EXCLUDE", "executable=node"),
        ],
    );
    assert_eq!(counts, [0, COUNT, 0, COUNT]);
}

#[test]
fn by_process() {
    require_privilege!();
    let (nginx, node) = (Nginx::start(), programs::node());
    let rule = format!("pid={}", node.process.pid());
    let (counts, _) = spans(&nginx, &node, &[("REMORA_INCLUDE", &rule)]);
    assert_eq!(counts, [0, 0, COUNT, 0]);
    let (counts, _) = spans(&nginx, &node, &[("REMORA_EXCLUDE", &rule)]);
    assert_eq!(counts, [COUNT, COUNT, 0, COUNT]);
}

/// A cgroup that is removed on drop.
struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn by_cgroup() {
    require_privilege!();
    // Version 2 has one hierarchy, whose line begins with `0::`.
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = own
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap();
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let root = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|fields| fields[2] == "cgroup2")
        .unwrap_or_else(|| panic!("cgroup v2 is not mounted"))[1];
    let name = format!(
        "{}/remora-test-{}",
        own.trim_end_matches('/'),
        std::process::id()
    );
    let cgroup = Cgroup(PathBuf::from(format!("{root}{name}")));
    fs::create_dir(&cgroup.0).unwrap();

    let (nginx, node) = (Nginx::start(), programs::node());
    fs::write(
        cgroup.0.join("cgroup.procs"),
        node.process.pid().to_string(),
    )
    .unwrap();
    let rule = format!("cgroup={name}");
    let (counts, _) = spans(&nginx, &node, &[("REMORA_INCLUDE", &rule)]);
    assert_eq!(counts, [0, 0, COUNT, 0]);
    let (counts, _) = spans(&nginx, &node, &[("REMORA_EXCLUDE", &rule)]);
    assert_eq!(counts, [COUNT, COUNT, 0, COUNT]);
    // A cgroup goes when its processes are gone.
    drop(node);
}
