//! System calls that aya has no words for: perf events whose counts can be read, maps
//! made one by one, and the memory of maps.

#![allow(unsafe_code, reason = "makes system calls that have no wrapper")]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{Ordering, fence};

use remora_common::pod::Pod;

use super::clock::Ticks;

/// `bpf(2)` commands and types, from `linux/bpf.h`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;
const BPF_F_INNER_MAP: u32 = 1 << 12;

/// The beginning of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    zero: u32,
}

/// The beginning of `union bpf_attr` for commands on elements.
#[repr(C)]
struct MapElement {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `struct perf_event_attr` as it was first (`PERF_ATTR_SIZE_VER0`).
#[repr(C)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    bp_type: u32,
    config1: u64,
}

const PERF_TYPE_HARDWARE: u32 = 0;
const PERF_TYPE_SOFTWARE: u32 = 1;
/// Both `PERF_COUNT_SW_CPU_CLOCK` and `PERF_COUNT_HW_CPU_CYCLES`.
const CONFIG: u64 = 0;
/// A bit of `perf_event_attr.flags`.
const DISABLED: u64 = 1;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
/// `_IO('$', n)`, and `_IOW('$', 8, u32)`.
const PERF_EVENT_IOC_ENABLE: libc::c_ulong = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::c_ulong = 0x2401;
const PERF_EVENT_IOC_SET_BPF: libc::c_ulong = 0x4004_2408;

fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<i32> {
    // SAFETY: `attr` is as long as stated; what it points to is given by the callers in
    // this module, who keep it alive.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// Makes an array that can stand in an array of maps, and be mapped.
pub(super) fn inner_array(value_size: u32, entries: u32) -> io::Result<OwnedFd> {
    let fd = bpf(
        BPF_MAP_CREATE,
        &MapCreate {
            map_type: BPF_MAP_TYPE_ARRAY,
            key_size: 4,
            value_size,
            max_entries: entries,
            map_flags: BPF_F_MMAPABLE | BPF_F_INNER_MAP,
            inner_map_fd: 0,
            numa_node: 0,
            name: *b"remora_rows\0\0\0\0\0",
            zero: 0,
        },
    )?;
    // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Puts a map into an array of maps.
pub(super) fn set_inner(
    outer: BorrowedFd<'_>,
    index: u32,
    inner: BorrowedFd<'_>,
) -> io::Result<()> {
    let value = inner.as_raw_fd();
    let attr = MapElement {
        map_fd: outer.as_raw_fd().unsigned_abs(),
        reserved: 0,
        key: (&raw const index).addr() as u64,
        value: (&raw const value).addr() as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &attr).map(drop)
}

/// Takes a map out of an array of maps.
pub(super) fn clear_inner(outer: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let attr = MapElement {
        map_fd: outer.as_raw_fd().unsigned_abs(),
        reserved: 0,
        key: (&raw const index).addr() as u64,
        value: 0,
        flags: 0,
    };
    bpf(BPF_MAP_DELETE_ELEM, &attr).map(drop)
}

/// The memory of an array map, shared with the kernel programs.
pub(super) struct Shared<T: Pod> {
    start: NonNull<T>,
    len: usize,
    bytes: usize,
    _values: PhantomData<T>,
}

// SAFETY: the mapping belongs to this value alone and has no thread affinity; `T` is
// plain data.
unsafe impl<T: Pod> Send for Shared<T> {}

impl<T: Pod> Shared<T> {
    /// Maps `len` values of `T`, whose size is a multiple of 8 as that of array elements.
    pub(super) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8) };
        let bytes = len * size_of::<T>();
        // SAFETY: a new mapping of a descriptor; nothing else is there yet.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast::<T>()).ok_or(io::ErrorKind::Other)?;
        Ok(Self {
            start,
            len,
            bytes,
            _values: PhantomData,
        })
    }

    /// Writes values at `at`. `false`, and nothing written, if they do not fit.
    pub(super) fn write(&mut self, at: usize, values: &[T]) -> bool {
        if at
            .checked_add(values.len())
            .is_none_or(|end| end > self.len)
        {
            return false;
        }
        for (index, value) in values.iter().enumerate() {
            // SAFETY: in bounds, as checked above. Volatile: the kernel reads along. What it
            // sees half written it does not use, because nothing refers to it yet, or is one
            // word.
            unsafe { self.start.add(at + index).write_volatile(*value) };
        }
        fence(Ordering::Release);
        true
    }
}

impl<T: Pod> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; nothing borrows from it.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// A perf event on one CPU, with a program.
pub(super) struct PerfEvent {
    fd: OwnedFd,
}

impl PerfEvent {
    /// Opens an event that fires once per period; it is off.
    pub(super) fn open(ticks: Ticks, cpu: u32) -> io::Result<Self> {
        let (kind, period) = match ticks {
            Ticks::Nanoseconds(period) => (PERF_TYPE_SOFTWARE, period),
            Ticks::Cycles(period) => (PERF_TYPE_HARDWARE, period),
        };
        let attr = PerfEventAttr {
            kind,
            size: size_of::<PerfEventAttr>() as u32,
            config: CONFIG,
            period: period.max(1),
            sample_type: 0,
            read_format: 0,
            flags: DISABLED,
            wakeup: 0,
            bp_type: 0,
            config1: 0,
        };
        // SAFETY: `attr` is as long as it says; the other arguments are plain numbers.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
                -1,
                cpu,
                -1,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        match i32::try_from(fd) {
            Ok(fd) if fd >= 0 => {
                // SAFETY: the call succeeded, so the descriptor is open and nobody else's.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                Ok(Self { fd })
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Makes the event run `program`, and turns it on.
    pub(super) fn start(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_SET_BPF, program.as_raw_fd())?;
        self.control(PERF_EVENT_IOC_ENABLE, 0)
    }

    /// Turns the event off.
    pub(super) fn stop(&self) -> io::Result<()> {
        self.control(PERF_EVENT_IOC_DISABLE, 0)
    }

    fn control(&self, request: libc::c_ulong, argument: i32) -> io::Result<()> {
        // SAFETY: these requests take a number, not an address.
        let result = unsafe { libc::ioctl(self.fd.as_fd().as_raw_fd(), request, argument) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}
