//! Read-only configuration of the kernel programs, patched in before they are loaded.

use crate::pod::Pod;

/// Smallest, default and largest head capture, bytes.
pub const HEAD_BYTES: (u32, u32, u32) = (256, 1024, 8192);

/// Settings of the kernel programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Config {
    /// The agent's own process id, never traced.
    pub self_tgid: u32,
    /// Head bytes captured per message, in the range of [`HEAD_BYTES`].
    pub head_bytes: u32,
    /// Wake the agent when more than this many bytes wait in the ring.
    pub wakeup_bytes: u32,
    /// Bits of [`config_flags`].
    pub flags: u32,
}

/// [`Config::flags`].
pub mod config_flags {
    /// There are rules by process id or executable: look processes up.
    pub const TASK_RULES: u32 = 1;
    /// There are rules by port.
    pub const PORT_RULES: u32 = 1 << 1;
    /// There are rules by cgroup.
    pub const CGROUP_RULES: u32 = 1 << 2;
    /// A process that no rule names is not traced.
    pub const TASK_DEFAULT_EXCLUDE: u32 = 1 << 3;
    /// A port that no rule names is not traced.
    pub const PORT_DEFAULT_EXCLUDE: u32 = 1 << 4;
    /// A cgroup that no rule names is not traced.
    pub const CGROUP_DEFAULT_EXCLUDE: u32 = 1 << 5;
    /// Write diagnostics through aya-log.
    pub const DEBUG: u32 = 1 << 6;
}

/// Value of a rule map: what to do with what the key names.
pub mod verdict {
    /// Trace it.
    pub const INCLUDE: u8 = 1;
    /// Do not trace it.
    pub const EXCLUDE: u8 = 2;
    /// Set beside one of them: it stays when the process runs another program, and goes
    /// over to its children.
    pub const KEPT: u8 = 0x80;
}

// SAFETY: `repr(C)`, four `u32`, no padding.
unsafe impl Pod for Config {}

const _: () = assert!(size_of::<Config>() == 16);
