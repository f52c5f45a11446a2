//! Reading kernel and user memory, and the way from a descriptor to its socket.

use aya_ebpf::helpers::{
    bpf_get_current_task, generated::bpf_probe_read_kernel, generated::bpf_probe_read_user,
};
use core::ffi::c_void;

use crate::maps::offset;

/// Reads a `T` from kernel memory at `base + at`.
#[inline(always)]
pub fn read<T: Copy>(base: u64, at: usize) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
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
    let mut value = core::mem::MaybeUninit::<T>::uninit();
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

/// Reads `len` bytes of the current process's memory to `to`.
///
/// # Safety
/// `to` is writable for `len` bytes, and the verifier can see that.
#[inline(always)]
pub unsafe fn read_user_bytes(to: *mut u8, len: u32, address: u64) -> bool {
    // SAFETY: promised by the caller.
    unsafe { bpf_probe_read_user(to.cast::<c_void>(), len, address as *const c_void) == 0 }
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
    /// Address of the file's inode.
    pub inode: u64,
}

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// Follows `current → files → fdt → fd[n] → file → socket → sk`. `None` if the
/// descriptor is not a socket.
#[inline(always)]
pub fn socket_of(fd: u64) -> Option<Socket> {
    let fd = fd as u32;
    // SAFETY: the helper has no conditions.
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, offset!(task_files))?;
    let table: u64 = read(files, offset!(files_fdt))?;
    // The size and the array lie side by side (the loader checks that): one read less.
    let [max, array]: [u64; 2] = read(table, offset!(fdt_max_fds))?;
    if fd as u64 >= max & 0xffff_ffff {
        return None;
    }
    let file: u64 = read(array, fd as usize * 8)?;
    if file == 0 {
        return None;
    }
    let inode: u64 = read(file, offset!(file_inode))?;
    let mode: u16 = read(inode, offset!(inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let socket: u64 = read(file, offset!(file_private))?;
    let sk: u64 = read(socket, offset!(socket_sk))?;
    (sk != 0).then_some(Socket {
        sk,
        socket,
        file,
        inode,
    })
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
