//! What depends on the processor: the saved registers of a system call and the
//! numbers of system calls. Everything else is the same on every 64-bit machine.

#[cfg(bpf_target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(bpf_target_arch = "x86_64")]
mod x86_64 {
    //! `struct pt_regs` and `entry/syscalls/syscall_64.tbl`; both are kernel ABI.

    use core::mem::offset_of;

    use crate::kernel::member;

    /// The part of `struct pt_regs` that holds arguments, from `r10` to `cs`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    pub struct Args {
        r10: u64,
        r9: u64,
        r8: u64,
        ax: u64,
        cx: u64,
        dx: u64,
        si: u64,
        di: u64,
        orig_ax: u64,
        ip: u64,
        cs: u64,
    }

    /// Offset of [`Args`] in `struct pt_regs`.
    pub const ARGS_OFFSET: usize = 56;
    /// `__USER_CS`: 64-bit callers. 32-bit callers use other call numbers and layouts
    /// and are not traced.
    const USER_CS: u64 = 0x33;

    impl Args {
        /// The arguments in `struct pt_regs` at `registers`.
        ///
        /// # Safety
        /// `registers` is a typed pointer to one.
        #[inline(always)]
        pub unsafe fn of(registers: u64) -> Self {
            // SAFETY: promised by the caller.
            let at = |at: usize| unsafe { member(registers, ARGS_OFFSET + at) };
            // SAFETY: as above. Newer kernels have more in the same eight bytes.
            let cs: u16 = unsafe { member(registers, ARGS_OFFSET + offset_of!(Self, cs)) };
            Self {
                r10: at(offset_of!(Self, r10)),
                r9: 0,
                r8: 0,
                ax: 0,
                cx: 0,
                dx: at(offset_of!(Self, dx)),
                si: at(offset_of!(Self, si)),
                di: at(offset_of!(Self, di)),
                orig_ax: at(offset_of!(Self, orig_ax)),
                ip: 0,
                cs: cs as u64,
            }
        }
        /// The number of the call, `None` for 32-bit callers.
        #[inline(always)]
        pub fn number(&self) -> Option<u64> {
            (self.cs & 0xff == USER_CS).then_some(self.orig_ax)
        }
        #[inline(always)]
        pub fn first(&self) -> u64 {
            self.di
        }
        #[inline(always)]
        pub fn second(&self) -> u64 {
            self.si
        }
        #[inline(always)]
        pub fn third(&self) -> u64 {
            self.dx
        }
        #[inline(always)]
        pub fn fourth(&self) -> u64 {
            self.r10
        }
    }

    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const CLOSE: u64 = 3;
    pub const READV: u64 = 19;
    pub const WRITEV: u64 = 20;
    pub const SENDFILE: u64 = 40;
    pub const SENDTO: u64 = 44;
    pub const RECVFROM: u64 = 45;
    pub const SENDMSG: u64 = 46;
    pub const RECVMSG: u64 = 47;
    pub const SPLICE: u64 = 275;
    pub const RECVMMSG: u64 = 299;
    pub const SENDMMSG: u64 = 307;
}
