//! System calls that send and receive.
//!
//! Sends are recognised when they enter the kernel, so that a request is known before
//! its response can be read by another thread, and accounted when they return, because
//! only then it is known how many bytes were taken. Receives are seen when they return.

use core::num::NonZeroU64;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use remora_common::config::config_flags;
use remora_common::counters::Counter;
use remora_common::http1::phase;
use remora_common::record::{close_reason, family, role};

use crate::advance;
use crate::arch::Args;
use crate::conn::{self, Peek};
use crate::kernel::{
    Caller, Socket, args, bounded, can, file_member, forget, read_user, read_user_bytes,
};
use crate::lines::classify;
use crate::maps::{
    self, ADVANCE, BLANK_TASK, CONNS, FRAMES, LOOK_AGAIN, STAGES, TASKS, config, count, count_call,
    offset,
};
use crate::pieces::{BATCH_LEN, IoVec, MsgHdr};
use crate::sends;
use crate::state::{Conn, HTTP1, RECEIVE, SEND, Send, Task};

const O_NONBLOCK: u32 = 0o4000;
const MSG_PEEK: u64 = 0x2;
const MSG_DONTWAIT: u64 = 0x40;
const MSG_ERRQUEUE: u64 = 0x2000;

/// Calls that move data, for the verifier's sake as numbers that are forgotten (see
/// [`forget`]): it would follow every one of them through all that they have in common.
/// How a call says where its bytes are follows from it.
mod call {
    use crate::arch;

    // One buffer: second and third argument.
    pub const READ: u8 = 1;
    pub const RECVFROM: u8 = 2;
    pub const WRITE: u8 = 3;
    pub const SENDTO: u8 = 4;
    // An array of buffers: second and third argument.
    pub const READV: u8 = 5;
    pub const WRITEV: u8 = 6;
    // A message header: second argument.
    pub const RECVMSG: u8 = 7;
    pub const SENDMSG: u8 = 8;
    // An array of message headers: second and third argument.
    pub const RECVMMSG: u8 = 9;
    pub const SENDMMSG: u8 = 10;
    // In the kernel.
    pub const SENDFILE: u8 = 11;
    pub const SPLICE: u8 = 12;
    pub const CLOSE: u8 = 13;

    pub const LAST_BUFFER: u8 = SENDTO;
    pub const LAST_VECTOR: u8 = WRITEV;
    pub const LAST_MESSAGE: u8 = SENDMSG;
    pub const LAST_BATCH: u8 = SENDMMSG;

    /// A call that sends, or closes.
    #[inline(always)]
    pub fn on_entry(number: u64) -> Option<u8> {
        Some(match number {
            arch::WRITE => WRITE,
            arch::SENDTO => SENDTO,
            arch::WRITEV => WRITEV,
            arch::SENDMSG => SENDMSG,
            arch::SENDMMSG => SENDMMSG,
            arch::SENDFILE => SENDFILE,
            arch::SPLICE => SPLICE,
            arch::CLOSE => CLOSE,
            _ => return None,
        })
    }

    /// A call that sends or receives.
    #[inline(always)]
    pub fn on_return(number: u64) -> Option<u8> {
        Some(match number {
            arch::READ => READ,
            arch::RECVFROM => RECVFROM,
            arch::READV => READV,
            arch::RECVMSG => RECVMSG,
            arch::RECVMMSG => RECVMMSG,
            arch::CLOSE => return None,
            _ => return on_entry(number),
        })
    }

    #[inline(always)]
    pub fn receives(call: u8) -> bool {
        call == READ || call == RECVFROM || call == READV || call == RECVMSG || call == RECVMMSG
    }
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no conditions.
    unsafe { bpf_ktime_get_ns() }
}

/// A call that sends on a socket enters the kernel.
#[inline(always)]
pub fn enter(registers: u64, number: u64) -> Option<()> {
    let found = call::on_entry(number)?;
    let args = args(registers)?;
    if args.number()? != number {
        return None;
    }
    let caller = Caller::current();
    // One that failed is not this one, even if it comes from the same buffer.
    sends::failed(caller.tid());
    let call = forget(found);
    let fd = if call == call::SPLICE {
        args.third()
    } else {
        args.first()
    };
    let socket = caller.socket(fd)?;
    if caller.tgid() == config!(self_tgid) {
        return None;
    }
    if call == call::CLOSE {
        return closing(&socket);
    }
    let sent = if call <= call::LAST_BUFFER {
        args.third()
    } else {
        u64::MAX
    };
    let (conn, _) = conn::follow(&socket, SEND, || {
        let found = peek_two(call, &args, sent);
        if found.is_none() && call <= call::LAST_BATCH {
            unread(caller, fd, &args);
        }
        found
    })?;
    let Some(send) = sends::begins(caller.tid()) else {
        // SAFETY: a valid map value.
        unsafe { conn::close(conn, socket.sk, close_reason::FRAMING_LOST, 0, false) };
        return None;
    };
    // SAFETY: valid map values.
    unsafe {
        let request = &raw const (*conn).request;
        if (*conn).protocol == HTTP1
            && (*conn).role == role::CLIENT
            && (*request).phase == phase::START
            && (*request).carry_len == 0
        {
            if let Some(peek) = peek(call, &args, sent) {
                classify(conn, peek.low);
                (*conn).sending = (*request).index + 1;
            }
        }
        (*send).sk = socket.sk;
        (*send).sending = 1;
        (*send).fd = fd;
        (*send).buffer = args.second();
        (*send).first = now();
        let flags: u32 = file_member(socket.file, offset!(file_flags)).unwrap_or(0);
        let dont_wait = match call {
            call::SENDTO | call::SENDMMSG => args.fourth() & MSG_DONTWAIT != 0,
            call::SENDMSG => args.third() & MSG_DONTWAIT != 0,
            _ => false,
        };
        // A file that is sent may have to be read first, whatever the socket says.
        let unseen = call > call::LAST_BATCH;
        (*send).nonblocking = (!unseen && (flags & O_NONBLOCK != 0 || dont_wait)) as u8;
    }
    None
}

/// The bytes of a send are in memory that nobody has touched yet, such as a constant in a
/// program's file: the kernel will bring it in, these programs cannot. [`look_again`] does
/// when the call returns.
#[inline(always)]
fn unread(caller: Caller, fd: u64, args: &Args) {
    let Some(send) = sends::begins(caller.tid()) else {
        return;
    };
    // SAFETY: a valid map value.
    unsafe {
        (*send).sk = 0;
        (*send).sending = 1;
        (*send).fd = fd;
        (*send).buffer = args.second();
        (*send).first = now();
    }
}

/// A send returns whose bytes could not be read when it entered: see [`unread`]. A program of
/// its own, because there is no room for it on the stack of [`exit`].
#[inline(always)]
pub fn look_again<C: EbpfContext>(ctx: &C, registers: u64, result: u64) -> Option<()> {
    let args = args(registers)?;
    let call = forget(call::on_return(args.number()?)?);
    let caller = Caller::current();
    let socket = caller.socket(args.first())?;
    let len = if call == call::SENDMMSG {
        read_user::<u32>(args.second() + BATCH_LEN)? as u64
    } else {
        result
    };
    let (conn, found) = conn::follow(&socket, SEND, || peek_two(call, &args, len))?;
    // SAFETY: valid map values.
    unsafe {
        let task = task_or_close(caller, conn, socket.sk)?;
        (*task).sk = socket.sk;
        (*task).direction = SEND;
        (*task).first = sends::of(caller.tid()).map_or(0, |send| (*send).first);
        (*task).last = now();
        prepare(task, caller, call, &args, result)?;
        if found || (*conn).protocol == HTTP1 {
            (*task).stage = ADVANCE as u8;
            STAGES.tail_call(ctx, ADVANCE);
        } else {
            (*task).stage = FRAMES as u8;
            STAGES.tail_call(ctx, FRAMES);
        }
    }
    None
}

/// The first of the `limit` bytes of a call, from its first buffer that is not empty.
#[inline(always)]
fn peek(call: u8, args: &Args, limit: u64) -> Option<Peek> {
    let (base, len) = if call <= call::LAST_BUFFER {
        (args.second(), limit)
    } else if call <= call::LAST_BATCH {
        let (mut iov, mut count) = (args.second(), args.third());
        if call > call::LAST_VECTOR {
            // A batch is an array of message headers.
            let header: MsgHdr = read_user(args.second())?;
            (iov, count) = (header.iov, header.iov_len);
        }
        first_buffer(iov, count)?
    } else {
        return None;
    };
    // A receive may have filled only part of the buffer.
    let len = if len < limit { len } else { limit };
    // The compiler must not see that it is zero: it would call `memset`, for whose frame old
    // kernels have no room on the stack.
    let none = bounded(0, u64::MAX);
    let mut found = Peek {
        low: none,
        len,
        base: NonZeroU64::new(base)?,
        next_len: none,
        next: none,
    };
    if len >= 8 {
        found.low = read_user(base)?;
        return Some(found);
    }
    // SAFETY: at most 7 of the 8 bytes of `low`.
    let read = unsafe {
        let to = (&raw mut found.low).cast::<u8>();
        read_user_bytes(to, bounded(len, 7) as u32, base)
    };
    read.then_some(found)
}

/// As [`peek`], with the buffer behind the first one if that is the first of a vector: some
/// keep the header of a frame apart from its payload.
#[inline(always)]
fn peek_two(call: u8, args: &Args, limit: u64) -> Option<Peek> {
    let mut found = peek(call, args, limit)?;
    if call > call::LAST_BUFFER && call <= call::LAST_MESSAGE && found.len < limit {
        let mut iov = args.second();
        let mut count = args.third();
        if call > call::LAST_VECTOR {
            let header: MsgHdr = read_user(args.second())?;
            (iov, count) = (header.iov, header.iov_len);
        }
        if count > 1
            && let Some(buffer) = read_user::<[IoVec; 2]>(iov)
            && buffer[0].base == found.base.get()
        {
            let left = limit - found.len;
            found.next = buffer[1].base;
            found.next_len = if buffer[1].len < left {
                buffer[1].len
            } else {
                left
            };
        }
    }
    Some(found)
}

#[inline(always)]
fn first_buffer(iov: u64, count: u64) -> Option<(u64, u64)> {
    let mut at = 0;
    while at < 4 && at < count {
        let buffer: IoVec = read_user(iov + at * size_of::<IoVec>() as u64)?;
        if buffer.len != 0 {
            return Some((buffer.base, buffer.len));
        }
        at += 1;
    }
    None
}

/// Room for the call to be accounted.
#[inline(always)]
fn task_of(caller: Caller) -> Option<*mut Task> {
    if let Some(task) = maps::task(caller) {
        return Some(task);
    }
    if !can(config_flags::PREEMPTIBLE) {
        return None;
    }
    let tid = caller.tid();
    let blank = BLANK_TASK.get(0)?;
    if TASKS.insert(tid, blank, BPF_NOEXIST as u64).is_err() {
        count(Counter::TaskTableFull);
        return None;
    }
    TASKS.get_ptr_mut(tid)
}

/// As [`task_of`]; without room the bytes of `conn` cannot be followed any more.
///
/// # Safety
/// `conn` is a valid value of [`CONNS`] with the key `sk`.
#[inline(always)]
unsafe fn task_or_close(caller: Caller, conn: *mut Conn, sk: u64) -> Option<*mut Task> {
    let task = task_of(caller);
    if task.is_none() {
        // SAFETY: promised by the caller.
        unsafe { conn::close(conn, sk, close_reason::FRAMING_LOST, 0, false) };
    }
    task
}

/// A call returns `result` > 0 bytes, or messages.
///
/// Where tracepoints can be preempted, a second instance of the program (`AGAIN`) does
/// what the first one was left out of. A send that was accounted is recognised by its
/// cleared `sending`, a receive by the mark that the first instance leaves.
#[inline(always)]
pub fn exit<C: EbpfContext, const AGAIN: bool>(ctx: &C, registers: u64, result: u64) -> Option<()> {
    let args = args(registers)?;
    let call = forget(call::on_return(args.number()?)?);
    let caller = Caller::current();
    // SAFETY: valid map values, for the whole function.
    unsafe {
        let task;
        let conn;
        let mut found = false;
        if !call::receives(call)
            && let Some(send) = sent(caller, call, &args)
        {
            if (*send).sk == 0 {
                STAGES.tail_call(ctx, LOOK_AGAIN);
                return None;
            }
            conn = CONNS.get_ptr_mut((*send).sk)?;
            task = task_or_close(caller, conn, (*send).sk)?;
            (*task).sk = (*send).sk;
            (*task).direction = SEND;
            let first = (*send).first;
            (*task).first = first;
            (*task).last = if (*send).nonblocking != 0 {
                first
            } else {
                now()
            };
        } else {
            // What is spliced may come from a socket and go to a pipe.
            if !call::receives(call) && call != call::SPLICE {
                return None;
            }
            let socket = receiving(caller, call, &args)?;
            (conn, found) = received(&socket, call, &args, result)?;
            task = task_or_close(caller, conn, socket.sk)?;
            if AGAIN && (*task).received != 0 {
                (*task).received = 0;
                return None;
            }
            (*task).received = !AGAIN as u8;
            (*task).sk = socket.sk;
            (*task).direction = RECEIVE;
            let returned = now();
            (*task).first = returned;
            (*task).last = returned;
        }
        prepare(task, caller, call, &args, result)?;
        if found {
            // Once a connection. The verifier would follow every way to find one through all
            // of the first run.
            (*task).stage = ADVANCE as u8;
            STAGES.tail_call(ctx, ADVANCE);
            return None;
        }
        // Constant indices: these jumps are direct.
        if (*conn).protocol == HTTP1 {
            (*task).stage = ADVANCE as u8;
            return advance::run(ctx, task, conn);
        } else {
            (*task).stage = FRAMES as u8;
            STAGES.tail_call(ctx, FRAMES);
        }
    }
    None
}

/// Where the bytes of a call are, of which nothing is known yet.
///
/// # Safety
/// `task` is a valid map value.
#[inline(always)]
unsafe fn prepare(
    task: *mut Task,
    caller: Caller,
    call: u8,
    args: &Args,
    result: u64,
) -> Option<()> {
    // SAFETY: promised by the caller.
    unsafe {
        (*task).tgid = caller.tgid();
        (*task).tid = caller.tid();
        (*task).left = result;
        (*task).piece_len = 0;
        begin(task);
        if call <= call::LAST_BUFFER {
            (*task).piece = args.second();
            (*task).piece_len = result;
        } else if call <= call::LAST_VECTOR {
            (*task).iov = args.second();
            (*task).iov_left = args.third() as u32;
        } else if call <= call::LAST_MESSAGE {
            let header: MsgHdr = read_user(args.second())?;
            (*task).iov = header.iov;
            (*task).iov_left = header.iov_len as u32;
        } else if call <= call::LAST_BATCH {
            (*task).batch = args.second();
            (*task).batch_left = result as u32;
            (*task).left = 0;
        } else {
            (*task).piece_len = result;
        }
    }
    count_call(Counter::Calls);
    Some(())
}

/// What nothing of the call is known of yet.
///
/// Volatile: the compiler would make a call of `memset` of it, a loop over bytes.
#[inline(always)]
unsafe fn begin(task: *mut Task) {
    // SAFETY: a valid map value, promised by the caller.
    unsafe {
        (&raw mut (*task).piece).write_volatile(0);
        (&raw mut (*task).iov_left).write_volatile(0);
        (&raw mut (*task).batch_left).write_volatile(0);
        (&raw mut (*task).staged).write_volatile(0);
        (&raw mut (*task).runs).write_volatile(0);
        (&raw mut (*task).pending).write_volatile(0);
        (&raw mut (*task).refused).write_volatile(0);
        (&raw mut (*task).opens).write_volatile(0);
    }
}

/// The followed send that returns.
#[inline(always)]
fn sent(caller: Caller, call: u8, args: &Args) -> Option<*mut Send> {
    let send = sends::of(caller.tid())?;
    let fd = if call == call::SPLICE {
        args.third()
    } else {
        args.first()
    };
    // SAFETY: a valid map value.
    unsafe {
        if (*send).sending == 0 || (*send).fd != fd || (*send).buffer != args.second() {
            return None;
        }
        (*send).sending = 0;
    }
    Some(send)
}

/// The socket of a receive that returns data.
#[inline(always)]
fn receiving(caller: Caller, call: u8, args: &Args) -> Option<Socket> {
    // What is only looked at will be received later; errors are not data.
    let flags = match call {
        call::RECVFROM | call::RECVMMSG => args.fourth(),
        call::RECVMSG => args.third(),
        _ => 0,
    };
    if flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return None;
    }
    let socket = caller.socket(args.first())?;
    (caller.tgid() != config!(self_tgid)).then_some(socket)
}

/// The connection of a receive that returns, if it is followed.
#[inline(always)]
fn received(socket: &Socket, call: u8, args: &Args, result: u64) -> Option<(*mut Conn, bool)> {
    let len = if call == call::RECVMMSG {
        read_user::<u32>(args.second() + BATCH_LEN)? as u64
    } else {
        result
    };
    conn::follow(socket, RECEIVE, || peek_two(call, args, len))
}

/// A descriptor is closed. Unix sockets have no state tracepoint: theirs are closed
/// here, unless other descriptors or processes share them.
#[inline(always)]
fn closing(socket: &Socket) -> Option<()> {
    let conn = CONNS.get_ptr_mut(socket.sk)?;
    // SAFETY: a valid map value.
    unsafe {
        if (*conn).family == family::UNIX && crate::kernel::last_reference(socket.file) {
            conn::close(conn, socket.sk, close_reason::LOCAL, 0, true);
        }
    }
    None
}
