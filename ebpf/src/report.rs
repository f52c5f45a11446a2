//! Tells the agent of messages, and keeps the ledger.

use remora_common::counters::Counter;
use remora_common::http1::{Stream, phase};
use remora_common::record::{message_flags, role};

use crate::advance::{PART, SWITCHED};
use crate::maps::count;
use crate::state::{Conn, Task};
use crate::{emit, serving};

/// Sends what `action` says and keeps the ledger.
#[inline(always)]
pub unsafe fn report(task: *mut Task, conn: *mut Conn, stream: *mut Stream, action: u32) {
    // SAFETY: valid map values, promised by the caller, for the whole function.
    unsafe {
        let request = (*stream).response == 0;
        let mut end = 0;
        if action != PART {
            end = message_flags::END;
            if action == SWITCHED {
                end |= message_flags::SWITCHED;
            }
        }
        if (*stream).phase == phase::UNTIL_CLOSE {
            end |= message_flags::UNTIL_CLOSE;
        }
        if request && (*conn).response.orphan != 0 {
            // Its request was not seen, so neither was whether a body belongs to it. It is
            // over now that the next request begins. (Not where the beginning is found:
            // the verifier would follow it through all that comes between.)
            (*conn).response.reset_head();
        }
        let index = (*stream).index;
        let bit = 1u64 << (index & 63);
        let mut lost = (*stream).lost != 0;
        // The request's loss is the exchange's: its response need not be sent.
        let finishes = !request && action != PART && (*stream).orphan == 0;
        if !request && (*conn).lost & bit != 0 {
            lost = true;
        }
        let refused = (*task).refused != 0;
        if (*stream).orphan == 0 && !lost && (refused || !emit::message(task, conn, stream, end)) {
            lost = true;
            (*stream).lost = 1;
            if request {
                if (*conn).response.index > index {
                    // Answered before: nobody else will count it.
                    count(Counter::RingFull);
                } else {
                    (*conn).lost |= bit;
                }
            }
        }
        if finishes {
            count(Counter::Finished);
            if lost {
                count(Counter::RingFull);
                (*conn).lost &= !bit;
            }
        }
        if action != PART && (*conn).role == role::SERVER {
            if request {
                serving::begins(conn, (*task).tid, index);
            } else {
                serving::ends(conn);
            }
        }
        if action != PART {
            if request || (*stream).orphan == 0 {
                (*stream).index = index + 1;
            }
            (*stream).reset_head();
        }
    }
}
