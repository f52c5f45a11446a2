//! System calls that send and receive.
//!
//! Sends are recognised when they enter the kernel, so that a request is known before
//! its response can be read by another thread, and accounted when they return, because
//! only then it is known how many bytes were taken. Receives are seen when they return.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use remora_common::counters::Counter;
use remora_common::http1::phase;
use remora_common::record::{close_reason, family, role};

use crate::advance::{BATCH_LEN, IoVec, MsgHdr, classify};
use crate::arch::{self, Args};
use crate::conn::{self, Peek};
use crate::kernel::{Socket, bounded, read, read_user, read_user_bytes, socket_of};
use crate::maps::{ADVANCE, BLANK_TASK, CONNS, STAGES, TASKS, config, count, offset};
use crate::state::{RECEIVE, SEND, Task};

const O_NONBLOCK: u32 = 0o4000;
const MSG_PEEK: u64 = 0x2;
const MSG_DONTWAIT: u64 = 0x40;
const MSG_ERRQUEUE: u64 = 0x2000;

/// Where a call's bytes are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One buffer: second and third argument.
    Buffer,
    /// An array of buffers: second and third argument.
    Vector,
    /// A message header: second argument.
    Message,
    /// An array of message headers: second and third argument.
    Batch,
    /// In the kernel.
    Unseen,
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no conditions.
    unsafe { bpf_ktime_get_ns() }
}

/// A call that sends on a socket enters the kernel.
#[inline(always)]
pub fn enter(registers: u64, number: u64) -> Option<()> {
    let shape = match number {
        arch::WRITE | arch::SENDTO => Shape::Buffer,
        arch::WRITEV => Shape::Vector,
        arch::SENDMSG => Shape::Message,
        arch::SENDMMSG => Shape::Batch,
        arch::SENDFILE | arch::SPLICE => Shape::Unseen,
        arch::CLOSE => Shape::Unseen,
        _ => return None,
    };
    let ids = bpf_get_current_pid_tgid();
    if (ids >> 32) as u32 == config!(self_tgid) {
        return None;
    }
    let args: Args = read(registers, arch::ARGS_OFFSET)?;
    if args.number()? != number {
        return None;
    }
    let fd = if number == arch::SPLICE {
        args.third()
    } else {
        args.first()
    };
    let socket = socket_of(fd)?;
    if number == arch::CLOSE {
        return closing(&socket);
    }
    let sent = if shape == Shape::Buffer {
        args.third()
    } else {
        u64::MAX
    };
    let conn = conn::follow(&socket, SEND, || peek(shape, &args, sent))?;
    let Some(task) = task_of(ids as u32) else {
        // SAFETY: a valid map value.
        unsafe { conn::close(conn, socket.sk, close_reason::FRAMING_LOST, 0, false) };
        return None;
    };
    // SAFETY: valid map values.
    unsafe {
        let request = &raw const (*conn).request;
        if (*conn).role == role::CLIENT
            && (*request).phase == phase::START
            && (*request).carry_len == 0
        {
            if let Some((low, _)) = peek(shape, &args, sent) {
                classify(conn, low);
                (*conn).sending = (*request).index + 1;
            }
        }
        (*task).sk = socket.sk;
        (*task).sending = 1;
        (*task).send_fd = fd;
        (*task).send_buffer = args.second();
        (*task).first = now();
        let flags: u32 = read(socket.file, offset!(file_flags)).unwrap_or(0);
        let dont_wait = match number {
            arch::SENDTO | arch::SENDMMSG => args.fourth() & MSG_DONTWAIT != 0,
            arch::SENDMSG => args.third() & MSG_DONTWAIT != 0,
            _ => false,
        };
        // A file that is sent may have to be read first, whatever the socket says.
        (*task).nonblocking =
            (shape != Shape::Unseen && (flags & O_NONBLOCK != 0 || dont_wait)) as u8;
    }
    None
}

/// The first of the `limit` bytes of a call, from its first buffer that is not empty.
#[inline(always)]
fn peek(shape: Shape, args: &Args, limit: u64) -> Option<Peek> {
    let (base, len) = match shape {
        Shape::Buffer => (args.second(), limit),
        Shape::Unseen => return None,
        Shape::Vector => first_buffer(args.second(), args.third())?,
        // A batch is an array of message headers.
        Shape::Message | Shape::Batch => {
            let header: MsgHdr = read_user(args.second())?;
            first_buffer(header.iov, header.iov_len)?
        }
    };
    // A receive may have filled only part of the buffer.
    let len = if len < limit { len } else { limit };
    if len >= 8 {
        return Some((read_user(base)?, len));
    }
    let mut low = 0u64;
    // SAFETY: at most 7 of the 8 bytes of `low`.
    let read =
        unsafe { read_user_bytes((&raw mut low).cast::<u8>(), bounded(len, 7) as u32, base) };
    read.then_some((low, len))
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

/// The state of this thread, made if need be.
#[inline(always)]
fn task_of(tid: u32) -> Option<*mut Task> {
    if let Some(task) = TASKS.get_ptr_mut(tid) {
        return Some(task);
    }
    let blank = BLANK_TASK.get(0)?;
    if TASKS.insert(tid, blank, BPF_NOEXIST as u64).is_err() {
        count(Counter::TaskTableFull);
        return None;
    }
    TASKS.get_ptr_mut(tid)
}

/// A call returns `result` > 0 bytes, or messages.
///
/// Where tracepoints can be preempted, a second instance of the program (`AGAIN`) does
/// what the first one was left out of. A send that was accounted is recognised by its
/// cleared `sending`, a receive by the mark that the first instance leaves.
#[inline(always)]
pub fn exit<C: EbpfContext, const AGAIN: bool>(ctx: &C, registers: u64, result: u64) -> Option<()> {
    let args: Args = read(registers, arch::ARGS_OFFSET)?;
    let number = args.number()?;
    let (shape, direction) = match number {
        arch::READ | arch::RECVFROM => (Shape::Buffer, RECEIVE),
        arch::READV => (Shape::Vector, RECEIVE),
        arch::RECVMSG => (Shape::Message, RECEIVE),
        arch::RECVMMSG => (Shape::Batch, RECEIVE),
        arch::WRITE | arch::SENDTO => (Shape::Buffer, SEND),
        arch::WRITEV => (Shape::Vector, SEND),
        arch::SENDMSG => (Shape::Message, SEND),
        arch::SENDMMSG => (Shape::Batch, SEND),
        arch::SENDFILE => (Shape::Unseen, SEND),
        arch::SPLICE => (Shape::Unseen, SEND),
        _ => return None,
    };
    let ids = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((ids >> 32) as u32, ids as u32);
    let mut direction = direction;
    let task = if direction == SEND
        && let Some(task) = sent(tid, number, &args)
    {
        task
    } else {
        if direction == SEND {
            if number != arch::SPLICE {
                return None;
            }
            // From a socket to a pipe.
            direction = RECEIVE;
        }
        let task = received(tgid, tid, number, shape, &args, result)?;
        // SAFETY: a valid map value.
        unsafe {
            if AGAIN && (*task).received != 0 {
                (*task).received = 0;
                return None;
            }
            (*task).received = !AGAIN as u8;
        }
        task
    };
    // SAFETY: a valid map value.
    unsafe {
        let returned = now();
        if direction == RECEIVE {
            (*task).first = returned;
            (*task).last = returned;
        } else {
            (*task).last = if (*task).nonblocking != 0 {
                (*task).first
            } else {
                returned
            };
        }
        (*task).tgid = tgid;
        (*task).tid = tid;
        (*task).direction = direction;
        (*task).staged = 0;
        (*task).pending = 0;
        (*task).runs = 0;
        (*task).refused = 0;
        (*task).batch_left = 0;
        (*task).left = result;
        (*task).iov_left = 0;
        (*task).piece = 0;
        (*task).piece_len = 0;
        match shape {
            Shape::Buffer => {
                (*task).piece = args.second();
                (*task).piece_len = result;
            }
            Shape::Unseen => (*task).piece_len = result,
            Shape::Vector => {
                (*task).iov = args.second();
                (*task).iov_left = args.third() as u32;
            }
            Shape::Message => {
                let header: MsgHdr = read_user(args.second())?;
                (*task).iov = header.iov;
                (*task).iov_left = header.iov_len as u32;
            }
            Shape::Batch => {
                (*task).batch = args.second();
                (*task).batch_left = result as u32;
                (*task).left = 0;
            }
        }
        count(Counter::Calls);
        STAGES.tail_call(ctx, ADVANCE);
    }
    None
}

/// The state of a followed send that returns.
#[inline(always)]
fn sent(tid: u32, number: u64, args: &Args) -> Option<*mut Task> {
    let task = TASKS.get_ptr_mut(tid)?;
    let fd = if number == arch::SPLICE {
        args.third()
    } else {
        args.first()
    };
    // SAFETY: a valid map value.
    unsafe {
        if (*task).sending == 0 || (*task).send_fd != fd || (*task).send_buffer != args.second() {
            return None;
        }
        (*task).sending = 0;
    }
    Some(task)
}

/// The state for a receive that returns, if the connection is followed.
#[inline(always)]
fn received(
    tgid: u32,
    tid: u32,
    number: u64,
    shape: Shape,
    args: &Args,
    result: u64,
) -> Option<*mut Task> {
    if tgid == config!(self_tgid) {
        return None;
    }
    // What is only looked at will be received later; errors are not data.
    let flags = match number {
        arch::RECVFROM | arch::RECVMMSG => args.fourth(),
        arch::RECVMSG => args.third(),
        _ => 0,
    };
    if flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return None;
    }
    let socket = socket_of(args.first())?;
    let len = if shape == Shape::Batch {
        read_user::<u32>(args.second() + BATCH_LEN)? as u64
    } else {
        result
    };
    let conn = conn::follow(&socket, RECEIVE, || peek(shape, args, len))?;
    let Some(task) = task_of(tid) else {
        // SAFETY: a valid map value.
        unsafe { conn::close(conn, socket.sk, close_reason::FRAMING_LOST, 0, false) };
        return None;
    };
    // SAFETY: a valid map value.
    unsafe { (*task).sk = socket.sk };
    Some(task)
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
