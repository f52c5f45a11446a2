//! Trying things out with bpf(2): what is created here is closed at once.

#![allow(unsafe_code, reason = "makes system calls that have no wrapper")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const MAP_TYPE_RINGBUF: u32 = 27;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
/// A power of two that is a multiple of every architecture's page size.
const RING_BYTES: u32 = 1 << 16;

/// Beginning of `union bpf_attr` for `BPF_MAP_CREATE`; the kernel takes the rest as zero.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// The same for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

/// The same for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct RawTracepointOpen {
    name: u64,
    prog_fd: u32,
    reserved: u32,
}

/// Before Linux 5.11 maps count against the limit of locked memory; whoever may load
/// programs there may raise it, and does when tracing starts.
fn raise_memlock() {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: one valid `rlimit`. If it is refused the probe fails and says so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Creates a ring buffer.
pub(super) fn ring_buffer() -> io::Result<()> {
    raise_memlock();
    let attr = MapCreate {
        map_type: MAP_TYPE_RINGBUF,
        key_size: 0,
        value_size: 0,
        max_entries: RING_BYTES,
    };
    // SAFETY: the attribute is one of this command and holds no pointers.
    unsafe { bpf(MAP_CREATE, &attr) }.map(drop)
}

/// Loads a program that does nothing and attaches it to the entry of system calls.
pub(super) fn raw_tracepoint() -> io::Result<()> {
    // mov r0, 0; exit
    let instructions: [u64; 2] = [0xb7, 0x95];
    let license = c"GPL";
    let attr = ProgLoad {
        prog_type: PROG_TYPE_RAW_TRACEPOINT,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr().expose_provenance() as u64,
        license: license.as_ptr().expose_provenance() as u64,
    };
    // SAFETY: the attribute is one of this command; its pointers are to as many
    // instructions as stated and to a NUL-terminated string, alive during the call.
    let program = unsafe { bpf(PROG_LOAD, &attr) }?;
    let attr = RawTracepointOpen {
        name: c"sys_enter".as_ptr().expose_provenance() as u64,
        prog_fd: program.as_raw_fd().unsigned_abs(),
        reserved: 0,
    };
    // SAFETY: as above; the name is static.
    unsafe { bpf(RAW_TRACEPOINT_OPEN, &attr) }.map(drop)
}

/// A bpf(2) command that returns a descriptor.
///
/// # Safety
/// `T` must be a prefix of the command's attributes without padding, and pointers in
/// it must be valid as the command asks.
unsafe fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes of the attribute as stated; the caller
    // vouches for what is in them.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    match i32::try_from(fd) {
        // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
