//! Passes over the rest of a long head, of which no more bytes are asked for.
//!
//! A program of its own: it does nothing but scan header lines, so it can look at several
//! windows in a run. The window in which the head ends is left to the program that moves the
//! connection on.

use aya_ebpf::EbpfContext;
use remora_common::http1::{Event, WINDOW_MAX, phase};
use remora_common::record::role;

use crate::advance::{NOTHING, RUNS, only_passes, stream_of};
use crate::kernel::Caller;
use crate::lines::load_window;
use crate::maps::{self, ADVANCE, CONNS, SKIM, STAGES};
use crate::pieces::{consume, next_piece};
use crate::state::{HTTP1, SEND};

/// Windows looked at in one run. With those that hold the most and shortest lines, 64 KiB take
/// no more runs than there are for a call.
const WINDOWS: u32 = 4;

#[inline(always)]
pub fn skim<C: EbpfContext>(ctx: &C) -> Option<()> {
    let task = maps::task(Caller::current())?;
    // SAFETY: valid map values, for the whole function.
    unsafe {
        let conn = CONNS.get_ptr_mut((*task).sk)?;
        let request = ((*conn).role == role::SERVER) != ((*task).direction == SEND);
        let stream = stream_of(task, conn, request)?;
        let mut windows = 0;
        let mut ends = false;
        while windows < WINDOWS {
            windows += 1;
            if (*conn).protocol != HTTP1
                || (*stream).phase != phase::HEAD
                || (*task).left == 0
                || (*task).pending != NOTHING as u8
                || ((*task).piece_len == 0 && !next_piece(task))
                || !load_window(task, stream)
            {
                break;
            }
            let window = (&raw const (*task).window).cast::<u8>();
            let len = (&raw const (*task).look_len).read_volatile() as usize;
            if len > WINDOW_MAX {
                break;
            }
            let event = (*stream).header_lines(window, len);
            let carried = (&raw const (*task).look_carried).read_volatile();
            if event == Event::HeadEnd {
                // As it was before.
                (*stream).carry_len = carried as u8;
                ends = true;
                break;
            }
            if request {
                (*stream).truncated = 1;
            }
            let consumed = (&raw const (*stream).at).read_volatile();
            consume(task, consumed.wrapping_sub(carried) as u64 & 0x3ff);
        }
        (*task).runs += 1;
        if !ends && only_passes(task, stream) && (*task).runs < RUNS - 1 {
            STAGES.tail_call(ctx, SKIM);
        }
        STAGES.tail_call(ctx, ADVANCE);
    }
    None
}
