//! Who is behind a process id, and which host this is.
//!
//! Everything here comes from files that other programs control: sizes are bounded,
//! nothing is taken for granted, and of a process's environment only what
//! OpenTelemetry defines is ever looked at.

mod container;
mod environment;
pub mod host;
pub(crate) mod procfs;
mod resolver;
mod service;

pub use resolver::ProcessResolver;

/// The id of the container of a process, 64 hex digits, from its `/proc/PID/cgroup`.
#[must_use]
pub fn container_id(cgroup: &str) -> Option<String> {
    container::from_cgroup(cgroup).id
}

/// The UID of the pod of a process, from its `/proc/PID/cgroup`.
#[must_use]
pub fn pod_uid(cgroup: &str) -> Option<String> {
    container::from_cgroup(cgroup).pod_uid
}
