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
    /// Bytes captured per HTTP/2 header block, in the range of
    /// [`BLOCK_BYTES`](crate::http2::BLOCK_BYTES).
    pub block_bytes: u32,
    /// With [`config_flags::CAST`], the kernel's own BTF type ids of `struct file`,
    /// `struct socket`, `struct list_head` (for any pointer in memory) and `struct pt_regs`.
    pub type_file: u32,
    /// See [`Config::type_file`].
    pub type_socket: u32,
    /// See [`Config::type_file`].
    pub type_pointer: u32,
    /// See [`Config::type_file`].
    pub type_registers: u32,
    /// Zero.
    pub reserved: [u32; 3],
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
    /// The kernel hands out typed pointers to the current task and its registers
    /// (`bpf_get_current_task_btf`, `bpf_task_pt_regs`; Linux 5.15).
    pub const TYPED: u32 = 1 << 7;
    /// Any address can be given a type (`bpf_rdonly_cast`; Linux 6.2). With [`TYPED`] only.
    pub const CAST: u32 = 1 << 8;
    /// Note which thread serves which request, for profiles.
    pub const SERVING: u32 = 1 << 9;
    /// Tracepoints of system calls can be preempted (Linux 7).
    pub const PREEMPTIBLE: u32 = 1 << 10;
    /// The flags that are rules.
    pub const RULES: u32 = 0x3f;
}

/// The call that the agent replaces by one of `bpf_rdonly_cast` before it loads the
/// programs: the immediate of a `call` instruction that no helper has.
pub mod cast {
    /// As a number that inline assembly can be given.
    pub const PLACEHOLDER: i32 = 0x7265_6d72;
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

// SAFETY: `repr(C)`, `u32` only, no padding.
unsafe impl Pod for Config {}

const _: () = assert!(size_of::<Config>() == 48);
