//! What the kernel can do.

use std::fs;

use remora_common::offsets::OPTIONAL;

use super::btf::{self, Btf};
use super::{Check, probe};

const EVERYTHING: &str = "everything";
/// The oldest kernel that is tested, and the oldest that has what is used.
const TESTED: (u32, u32) = (5, 10);
const OLDEST: (u32, u32) = (5, 8);

/// Major and minor version of the running kernel.
pub(super) fn version() -> Option<(u32, u32)> {
    parse_version(&fs::read_to_string("/proc/sys/kernel/osrelease").ok()?)
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.trim().split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

pub(super) fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    kernel_is(release.trim())
}

fn kernel_is(release: &str) -> Check {
    let check = Check::pass("kernel", "kernel version", format!("Linux {release}"));
    match parse_version(release) {
        Some(version) if version >= TESTED => check,
        Some(version) if version >= OLDEST => check.warn(
            "assurance: this version is not tested",
            "use Linux 5.10 or later",
        ),
        _ => check.fail(EVERYTHING, "use Linux 5.10 or later"),
    }
}

/// Type information, and in it every member that is read.
pub(super) fn types() -> Check {
    let check = |observed| Check::pass("btf", "kernel type information", observed);
    let bytes = match fs::read(btf::KERNEL) {
        Ok(bytes) => bytes,
        Err(error) => {
            return check(format!("{}: {error}", btf::KERNEL)).fail(
                EVERYTHING,
                "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as those of all current \
                 distributions are; in a container, mount /sys/kernel/btf",
            );
        }
    };
    let btf = match Btf::parse(&bytes) {
        Ok(btf) => btf,
        Err(error) => {
            return check(error.to_string()).fail(
                EVERYTHING,
                "please report this with the kernel's version and distribution",
            );
        }
    };
    let (_, mut missing) = btf::offsets(&btf);
    missing.retain(|m| !OPTIONAL.contains(&(m.structure, m.member)));
    if missing.is_empty() {
        return check(format!("{} types, all members found", btf.len()));
    }
    let reasons: Vec<String> = missing
        .iter()
        .map(|member| member.reason.to_string())
        .collect();
    check(reasons.join("; ")).fail(
        EVERYTHING,
        "please report this with the kernel's version and distribution",
    )
}

pub(super) fn ring_buffer() -> Check {
    let check = |observed| Check::pass("ring_buffer", "BPF ring buffer", observed);
    match probe::ring_buffer() {
        Ok(()) => check("created one".to_owned()),
        Err(error) => check(format!("creating one: {error}")).fail(EVERYTHING, refused(&error)),
    }
}

pub(super) fn raw_tracepoint() -> Check {
    let check = |observed| Check::pass("raw_tracepoint", "raw tracepoints", observed);
    match probe::raw_tracepoint() {
        Ok(()) => check("loaded and attached a program to sys_enter".to_owned()),
        Err(error) => {
            check(format!("attaching to sys_enter: {error}")).fail(EVERYTHING, refused(&error))
        }
    }
}

fn refused(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "allow bpf(2): in a container the seccomp profile must not block it, and no \
             security module may"
        }
        Some(libc::ENOSYS) => "use a kernel with CONFIG_BPF_SYSCALL=y",
        Some(libc::ENOENT) => {
            "use a kernel with CONFIG_HAVE_SYSCALL_TRACEPOINTS=y and CONFIG_FTRACE_SYSCALLS=y"
        }
        Some(libc::ENOMEM) => "raise the limit of locked memory: ulimit -l unlimited",
        _ => "use Linux 5.10 or later with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y",
    }
}

pub(super) fn lockdown() -> Check {
    let state = fs::read_to_string("/sys/kernel/security/lockdown");
    locked_down(state.as_deref().unwrap_or_default())
}

fn locked_down(state: &str) -> Check {
    // `none [integrity] confidentiality`
    let active = state
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    let active = active.map_or(
        "no security filesystem in sight: not known to be on",
        |pair| pair.0,
    );
    let check = Check::pass("lockdown", "kernel lockdown", active);
    match active {
        "confidentiality" => check.fail(
            EVERYTHING,
            "boot with lockdown=integrity: confidentiality keeps BPF programs from reading \
             kernel memory",
        ),
        _ => check,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        assert_eq!(parse_version("6.12.107+deb13-cloud-amd64\n"), Some((6, 12)));
        assert_eq!(parse_version("7.2-rc1"), Some((7, 2)));
        assert_eq!(parse_version("x"), None);
        for (release, status) in [
            ("5.10.0-32-cloud-amd64", Status::Pass),
            ("5.8.1", Status::Warn),
            ("4.19.0", Status::Fail),
            ("", Status::Fail),
        ] {
            assert_eq!(kernel_is(release).status, status, "{release}");
        }
    }

    #[test]
    fn lockdown_matters_from_confidentiality_on() {
        assert_eq!(
            locked_down("none [integrity] confidentiality").observed,
            "integrity"
        );
        assert_eq!(
            locked_down("none integrity [confidentiality]").status,
            Status::Fail
        );
        assert_eq!(locked_down("").status, Status::Pass);
    }
}
