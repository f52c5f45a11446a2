//! Reading kernel and user memory, and the way from a descriptor to its socket.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
    bpf_task_pt_regs,
};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use remora_common::config::{cast, config_flags};

use crate::arch::{self, Args};
use crate::maps::{SOCKET_OPS, config, offset};

/// Reads a `T` from kernel memory at `base + at`.
#[inline(always)]
pub fn read<T: Copy>(base: u64, at: usize) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes or fails; any address
    // may be asked for.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            (base + at as u64) as *const c_void,
        )
    };
    // SAFETY: on success all bytes are written; `T` is plain data in every use here.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Reads a `T` from the current process's memory.
#[inline(always)]
pub fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    let failed = unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: as in `read`.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// `value & mask`, where the compiler must not know that the mask changes nothing: the
/// verifier does not know it, and old ones lose a bound found by comparing another copy
/// of the value.
#[inline(always)]
pub fn bounded(mut value: u64, mask: u64) -> u64 {
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value & mask
}

/// `value`, which must not be 0, as a number of which the verifier knows nothing but that:
/// it tracks constants through registers and whole words of the stack, but not through a
/// byte at an odd address. Otherwise it would follow every constant through all that comes
/// after.
#[inline(always)]
pub fn forget(value: u8) -> u8 {
    #[repr(C, align(8))]
    struct Odd {
        _even: u8,
        odd: u8,
    }
    let mut on_stack = MaybeUninit::<Odd>::uninit();
    // SAFETY: a field of a local variable, written before it is read.
    unsafe {
        let odd = &raw mut (*on_stack.as_mut_ptr()).odd;
        odd.write_volatile(value);
        odd.read_volatile()
    }
}

/// As [`forget`], of any value: a helper copies it onto itself, which takes some 25 ns.
#[inline(always)]
pub fn forget_all<T: Copy>(value: &mut T) -> Option<()> {
    let at = (&raw mut *value).cast::<c_void>();
    // SAFETY: the helper reads and writes what is borrowed; in the same place, because there
    // is no room for another on the stack.
    let failed = unsafe { bpf_probe_read_kernel(at, size_of::<T>() as u32, at) };
    (failed == 0).then_some(())
}

/// Reads `len` bytes of the current process's memory to `to`.
///
/// # Safety
/// `to` is writable for `len` bytes, and the verifier can see that.
#[inline(always)]
pub unsafe fn read_user_bytes(to: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe { bpf_probe_read_user(to.cast::<c_void>(), len, address as *const c_void) == 0 }
}

/// Reads a `T` through a pointer whose type the verifier knows: one instruction, where
/// [`read`] is a call that takes some 25 ns. A bad address reads as zero.
///
/// # Safety
/// `base` comes from a helper that returns a typed pointer, from [`cast`], or from
/// such a read; `at` is the offset of a member of that type and of the size of `T`.
#[inline(always)]
pub unsafe fn member<T: Copy>(base: u64, at: usize) -> T {
    // SAFETY: the verifier checks what the caller promises.
    unsafe { ((base + at as u64) as *const T).read_volatile() }
}

/// `address` as a pointer to the kernel type `id`, for [`member`].
///
/// A call of `bpf_rdonly_cast`, for which aya has no relocation: the agent puts the
/// kernel's number for it in place of [`cast::PLACEHOLDER`].
#[inline(always)]
pub fn typed(address: u64, id: u32) -> u64 {
    let value: u64;
    // SAFETY: the function returns its first argument; like every call it may change
    // the registers r0 to r5.
    unsafe {
        core::arch::asm!(
            "call {call}",
            call = const cast::PLACEHOLDER,
            inlateout("r1") address => _,
            inlateout("r2") id as u64 => _,
            lateout("r0") value,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    value
}

/// Whether the kernel can do what `flag` of [`config_flags`] says. Known to the
/// verifier, which leaves the other way out.
#[inline(always)]
pub fn can(flag: u32) -> bool {
    config!(flags) & flag != 0
}

/// The arguments of the current system call, whose registers are at `registers`.
#[inline(always)]
pub fn args(registers: u64) -> Option<Args> {
    if can(config_flags::CAST) {
        // SAFETY: cast to `struct pt_regs`.
        return Some(unsafe { Args::of(typed(registers, config!(type_registers))) });
    }
    if can(config_flags::TYPED) {
        // SAFETY: a typed pointer to the registers that the current task entered the
        // kernel with.
        return Some(unsafe {
            Args::of(bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as u64)
        });
    }
    read(registers, arch::ARGS_OFFSET)
}

/// The thread that makes the call.
#[derive(Clone, Copy)]
pub struct Caller {
    /// Address of its `struct task_struct`.
    task: u64,
}

impl Caller {
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: the helpers have no conditions.
        let task = unsafe {
            if can(config_flags::TYPED) {
                bpf_get_current_task_btf() as u64
            } else {
                bpf_get_current_task()
            }
        };
        Self { task }
    }

    /// Its process id, in the initial namespace.
    #[inline(always)]
    pub fn tgid(self) -> u32 {
        if can(config_flags::TYPED) {
            // SAFETY: a typed pointer to a `struct task_struct`.
            return unsafe { member(self.task, offset!(task_tgid)) };
        }
        (bpf_get_current_pid_tgid() >> 32) as u32
    }

    /// Its thread id, in the initial namespace.
    #[inline(always)]
    pub fn tid(self) -> u32 {
        if can(config_flags::TYPED) {
            // SAFETY: as above.
            return unsafe { member(self.task, offset!(task_pid)) };
        }
        bpf_get_current_pid_tgid() as u32
    }

    /// Follows `current → files → fdt → fd[n] → file → socket → sk`. `None` if the
    /// descriptor is not a socket.
    #[inline(always)]
    pub fn socket(self, fd: u64) -> Option<Socket> {
        let file = self.file(fd)?;
        if !is_socket(file)? {
            return None;
        }
        let socket: u64 = file_member(file, offset!(file_private))?;
        let sk: u64 = if can(config_flags::CAST) {
            let socket = typed(socket, config!(type_socket));
            // SAFETY: cast to `struct socket`.
            unsafe { member(socket, offset!(socket_sk)) }
        } else {
            read(socket, offset!(socket_sk))?
        };
        (sk != 0).then_some(Socket { sk, socket, file })
    }

    /// The `struct file` of a descriptor.
    #[inline(always)]
    pub fn file(self, fd: u64) -> Option<u64> {
        let fd = fd as u32;
        let (max, array): (u32, u64) = if can(config_flags::TYPED) {
            // SAFETY: every pointer is a member of the one before.
            unsafe {
                let files: u64 = member(self.task, offset!(task_files));
                let table: u64 = member(files, offset!(files_fdt));
                (
                    member(table, offset!(fdt_max_fds)),
                    member(table, offset!(fdt_fd)),
                )
            }
        } else {
            let files: u64 = read(self.task, offset!(task_files))?;
            let table: u64 = read(files, offset!(files_fdt))?;
            // The size and the array lie side by side (the loader checks that).
            let [max, array]: [u64; 2] = read(table, offset!(fdt_max_fds))?;
            (max as u32, array)
        };
        if fd >= max {
            return None;
        }
        let slot = array + fd as u64 * 8;
        let file: u64 = if can(config_flags::CAST) {
            // SAFETY: the slot holds a pointer, as the type cast to does.
            unsafe { member(typed(slot, config!(type_pointer)), 0) }
        } else {
            read(slot, 0)?
        };
        (file != 0).then_some(file)
    }
}

/// A socket behind a descriptor.
#[derive(Clone, Copy)]
pub struct Socket {
    /// Address of the `struct sock`.
    pub sk: u64,
    /// Address of the `struct socket`.
    pub socket: u64,
    /// Address of the `struct file`.
    pub file: u64,
}

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// A member of a `struct file`.
#[inline(always)]
pub fn file_member<T: Copy>(file: u64, at: usize) -> Option<T> {
    if can(config_flags::CAST) {
        // SAFETY: cast to `struct file`.
        return Some(unsafe { member(typed(file, config!(type_file)), at) });
    }
    read(file, at)
}

/// Whether a file is a socket's. All sockets share their operations: the first one is
/// known by the type of its inode, the others by being like it.
#[inline(always)]
pub fn is_socket(file: u64) -> Option<bool> {
    let operations: u64 = file_member(file, offset!(file_op))?;
    let known = SOCKET_OPS.get_ptr_mut(0)?;
    // SAFETY: a valid map value; all CPUs write the same to it.
    let like = unsafe { known.read_volatile() };
    if like != 0 {
        return Some(operations == like);
    }
    let mode: u16 = read(inode_of(file)?, offset!(inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return Some(false);
    }
    // SAFETY: as above.
    unsafe { known.write_volatile(operations) };
    Some(true)
}

#[inline(always)]
fn inode_of(file: u64) -> Option<u64> {
    file_member(file, offset!(file_inode))
}

/// Inode number of a file.
#[inline(always)]
pub fn inode_number(file: u64) -> Option<u64> {
    read(inode_of(file)?, offset!(inode_ino))
}

/// Whether `file` has one reference left, that of the descriptor being closed.
#[inline(always)]
pub fn last_reference(file: u64) -> bool {
    let counted_from_zero = offset!(file_ref);
    if counted_from_zero != 0 {
        return read::<u64>(file, counted_from_zero) == Some(0);
    }
    read::<u64>(file, offset!(file_count)) == Some(1)
}
