//! Where a description of a process comes from.

use remora_common::record;

use super::exchange::ProcessInfo;

/// Finds out about a process: live from `/proc`, in a replay from the recording.
pub trait Processes {
    /// Describes the process that the kernel announced. It may be gone already, and
    /// then only what the record says is known. [`ProcessInfo::id`] is given later.
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo;
}

/// What is known if only the record is there.
#[must_use]
pub fn from_record(record: &record::Process) -> ProcessInfo {
    let end = record
        .comm
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(record.comm.len());
    let comm = String::from_utf8_lossy(&record.comm[..end]).into_owned();
    ProcessInfo {
        service: comm.clone(),
        comm,
        ..unknown(record.tgid)
    }
}

/// A process of which nothing but its id is known.
#[must_use]
pub fn unknown(tgid: u32) -> ProcessInfo {
    ProcessInfo {
        id: 0,
        tgid,
        comm: String::new(),
        executable: None,
        service: String::new(),
        service_namespace: None,
        resource: Vec::new(),
        container_id: None,
        pod_uid: None,
    }
}
