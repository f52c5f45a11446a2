//! Reading kernel and user memory.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};
use core::ffi::c_void;
use core::mem::MaybeUninit;

/// Reads a `T` of kernel memory.
#[inline(always)]
pub fn kernel<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes or fails; any address may
    // be asked for.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: on success all bytes are written; `T` is plain data in every use here.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Reads a `T` of the current process's memory. Memory that is not resident cannot be
/// read: a sample must not fault.
#[inline(always)]
pub fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `kernel`.
    let failed = unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast::<c_void>(),
            size_of::<T>() as u32,
            address as *const c_void,
        )
    };
    // SAFETY: as in `kernel`.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// `value & mask`, where the compiler must not know that the mask changes nothing: the
/// verifier does not know it.
#[inline(always)]
pub fn bounded(value: u64, mask: u64) -> u64 {
    opaque(value) & mask
}

/// `value`, of which the compiler knows nothing: arithmetic on it stays arithmetic, where
/// it would make branches, each of which the verifier walks on its own.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: a register is copied to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}
