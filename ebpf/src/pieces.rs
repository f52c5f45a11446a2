//! Where the bytes of a system call lie: its buffers, one behind the other.

use crate::kernel::{read_user, read_user_bytes};
use crate::state::Task;

/// `struct iovec`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct IoVec {
    pub base: u64,
    pub len: u64,
}

/// `struct user_msghdr`, up to the number of buffers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct MsgHdr {
    name: u64,
    name_len: u64,
    pub iov: u64,
    pub iov_len: u64,
}

/// Bytes from one `struct mmsghdr` to the next, and where its length is.
const BATCH_STRIDE: u64 = 64;
pub const BATCH_LEN: u64 = 56;

/// Passes over `n` bytes of the current piece.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn consume(task: *mut Task, n: u64) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).piece != 0 {
            (*task).piece += n;
        }
        (*task).piece_len = (*task).piece_len.wrapping_sub(n);
        (*task).left = (*task).left.wrapping_sub(n);
    }
}

/// Takes up the next buffer of the call.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn next_piece(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        if (*task).iov_left == 0 {
            return false;
        }
        // To the map, not to the stack: a call without several buffers would leave the stack
        // as it is, and the verifier would follow both through all that comes.
        let to = (&raw mut (*task).piece).cast::<u8>();
        if !read_user_bytes(to, size_of::<IoVec>() as u32, (*task).iov) {
            return false;
        }
        (*task).iov += size_of::<IoVec>() as u64;
        (*task).iov_left -= 1;
        let left = (*task).left;
        if (*task).piece_len > left {
            (*task).piece_len = left;
        }
        true
    }
}

/// Takes up the next message of a `recvmmsg` or `sendmmsg`.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn next_batch(task: *mut Task) -> bool {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        let at = (*task).batch;
        let Some(header) = read_user::<MsgHdr>(at) else {
            return false;
        };
        let Some(len) = read_user::<u32>(at + BATCH_LEN) else {
            return false;
        };
        (*task).batch = at + BATCH_STRIDE;
        (*task).batch_left -= 1;
        (*task).iov = header.iov;
        (*task).iov_left = header.iov_len as u32;
        (*task).piece_len = 0;
        (*task).left = len as u64;
        true
    }
}

/// Passes over all that is left of the call, or of its current message if it has several.
///
/// # Safety
/// A valid map value.
#[inline(always)]
pub unsafe fn pass_rest(task: *mut Task) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        (*task).left = 0;
        (*task).piece_len = 0;
    }
}
