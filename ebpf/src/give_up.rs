//! Stops following a connection as what it was.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use remora_common::config::config_flags;
use remora_common::counters::Counter;
use remora_common::http2::{PREFACE, PREFACE_START};
use remora_common::record::close_reason;

use crate::advance::{NOTHING, SWITCHED};
use crate::kernel::{Caller, can};
use crate::maps::{CONNS, FRAMES, STAGES, count};
use crate::state::HTTP1;
use crate::{conn, frames, maps};

/// Stops following the connection of a call as what it was: it switched to another
/// protocol, which may be HTTP/2, or its framing was lost.
#[inline(always)]
pub fn give_up<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values.
    unsafe {
        let sk = (*task).sk;
        let conn = CONNS.get_ptr_mut(sk)?;
        let switched = (*task).pending as u32 == SWITCHED;
        (*task).pending = NOTHING as u8;
        (*task).staged = 0;
        if (*conn).protocol == HTTP1 {
            let mut goes_on = false;
            if switched && (*task).upgraded != 0 {
                // What comes next tells whether it is HTTP/2.
                frames::upgrade(conn);
                if (*task).left == 0 {
                    return None;
                }
                goes_on = true;
            }
            let request = &raw const (*conn).request;
            if !switched
                && (*request).index == 0
                && (*request).started == 0
                && (*task).look_first == PREFACE_START
            {
                // HTTP/2's preface, which is made to look like a request, in pieces: the
                // bytes of earlier calls are gone, those of this one are still to come.
                frames::preface(conn, PREFACE - (*task).look_carried as u8);
                goes_on = true;
            }
            if goes_on {
                (*task).stage = FRAMES as u8;
                STAGES.tail_call(ctx, FRAMES);
                return None;
            }
        }
        let ino = (*conn).ino;
        if !switched && (*conn).is_guess() && (*conn).protocol == HTTP1 {
            conn::close(conn, sk, close_reason::FRAMING_LOST, 0, false);
            conn::unfounded(sk, ino, (*task).direction);
            return None;
        }
        let reason = if switched {
            close_reason::SWITCHED
        } else {
            close_reason::FRAMING_LOST
        };
        if !switched {
            count(Counter::FramingLost);
            if can(config_flags::DEBUG) {
                let phase = if (*conn).protocol == HTTP1 {
                    [(*conn).request.phase, (*conn).response.phase]
                } else {
                    [(*conn).frames[0].kind, (*conn).frames[1].kind]
                };
                debug!(
                    ctx,
                    "process {} connection {}: framing lost on HTTP/{}, direction {}, within {} and {}, {} bytes of the call left",
                    (*task).tgid,
                    (*conn).id,
                    if (*conn).protocol == HTTP1 { 1u8 } else { 2 },
                    (*task).direction,
                    phase[0],
                    phase[1],
                    (*task).left
                );
            }
        }
        conn::close(conn, sk, reason, 0, false);
        conn::other(sk, ino, switched);
    }
    None
}
