//! Offsets of the kernel structure members that the programs read, taken from the
//! running kernel's BTF when the programs are loaded. Nothing is baked in: the
//! object carries zeros, and a member that a kernel lacks disables what needs it.

use crate::pod::Pod;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident = $ty:literal . $member:literal),* $(,)?) => {
        /// Byte offsets, one per member read.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(C)]
        pub struct Offsets {
            $($(#[$doc])* pub $field: u32,)*
        }

        impl Offsets {
            /// All zero: what the object file carries before the loader patches it.
            pub const ZERO: Self = Self { $($field: 0,)* };

            /// Structure and member behind every field, in the order of the fields.
            /// A member path may descend into embedded structures with dots.
            pub const MEMBERS: &'static [(&'static str, &'static str)] = &[$(($ty, $member),)*];

            /// Sets the field with the index of [`Self::MEMBERS`].
            pub fn set(&mut self, index: usize, value: u32) {
                let mut at = 0;
                $(if at == index { self.$field = value; } at += 1;)*
                let _ = at;
            }
        }
    };
}

offsets! {
    /// Open files of a task.
    task_files = "task_struct"."files",
    /// Thread group id, the process id of userspace.
    task_tgid = "task_struct"."tgid",
    /// Thread id.
    task_pid = "task_struct"."pid",
    /// Command name.
    task_comm = "task_struct"."comm",
    /// Descriptor table of the open files.
    files_fdt = "files_struct"."fdt",
    /// Size of the descriptor table.
    fdt_max_fds = "fdtable"."max_fds",
    /// The descriptor table's array of files.
    fdt_fd = "fdtable"."fd",
    /// Inode of a file.
    file_inode = "file"."f_inode",
    /// Operations of a file.
    file_op = "file"."f_op",
    /// The socket behind a socket's file.
    file_private = "file"."private_data",
    /// `O_NONBLOCK` and other open flags.
    file_flags = "file"."f_flags",
    /// References to a file, counted from one; gone since Linux 6.13.
    file_count = "file"."f_count",
    /// References to a file, counted from zero; since Linux 6.13.
    file_ref = "file"."f_ref",
    /// Type and permission bits.
    inode_mode = "inode"."i_mode",
    /// Inode number.
    inode_ino = "inode"."i_ino",
    /// Socket kind of a `struct socket`.
    socket_type = "socket"."type",
    /// The protocol's socket.
    socket_sk = "socket"."sk",
    /// Address family.
    sk_family = "sock"."__sk_common.skc_family",
    /// Remote IPv4 address.
    sk_daddr = "sock"."__sk_common.skc_daddr",
    /// Local IPv4 address.
    sk_rcv_saddr = "sock"."__sk_common.skc_rcv_saddr",
    /// Local port, host order.
    sk_num = "sock"."__sk_common.skc_num",
    /// Remote port, network order.
    sk_dport = "sock"."__sk_common.skc_dport",
    /// Remote IPv6 address.
    sk_v6_daddr = "sock"."__sk_common.skc_v6_daddr",
    /// Local IPv6 address.
    sk_v6_rcv_saddr = "sock"."__sk_common.skc_v6_rcv_saddr",
    /// Network namespace.
    sk_net = "sock"."__sk_common.skc_net.net",
    /// Pending error, a positive errno.
    sk_err = "sock"."sk_err",
    /// Directions shut down.
    sk_shutdown = "sock"."sk_shutdown",
    /// IP protocol.
    sk_protocol = "sock"."sk_protocol",
    /// Inode number of a network namespace.
    net_inum = "net"."ns.inum",
    /// Bound address of a Unix socket.
    unix_addr = "unix_sock"."addr",
    /// Other end of a Unix socket.
    unix_peer = "unix_sock"."peer",
    /// Length of a Unix address, family included.
    unix_addr_len = "unix_address"."len",
    /// A Unix address.
    unix_addr_name = "unix_address"."name",
    /// Path of the program being executed.
    binprm_filename = "linux_binprm"."filename",
}

/// Members that only some kernels have; zero where they are missing.
pub const OPTIONAL: &[(&str, &str)] = &[("file", "f_count"), ("file", "f_ref")];

// SAFETY: `repr(C)`, `u32` only, no padding.
unsafe impl Pod for Offsets {}
