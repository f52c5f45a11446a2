//! What a connection's end means for the requests that were in flight on it.

use super::build::End;
use super::exchanges::{Pending, Progress};
use crate::model::exchange::Incomplete;
use remora_common::record::{Close, RESPONSE_COMPLETE_AT_CLOSE, close_reason};

/// `error.type` of requests that a reset ended.
pub const RESET: &str = "connection_reset";
/// `error.type` of requests whose connection the kernel gave up waiting.
pub const TIMEOUT: &str = "timeout";
/// `error.type` of requests whose connection was closed before the answer was whole.
pub const CLOSED: &str = "connection_closed";

/// How the exchange ends with its connection. `None` if it cannot be told, and need
/// not be: one of its records was lost, and the kernel counted it as lost then.
/// `last` is true for the connection's highest request.
///
/// May complete the body sizes in `pending`.
pub(super) fn resolve(pending: &mut Pending, close: &Close, last: bool) -> Option<End> {
    if close.lost & 1 << (pending.index % 64) != 0 || close.reason == close_reason::UNTOLD {
        return None;
    }
    let mut incomplete = Incomplete::NONE;
    if close.reason == close_reason::FRAMING_LOST {
        incomplete.insert(Incomplete::FRAMING_LOST);
    }
    match pending.request {
        Progress::Unseen => return None,
        Progress::Begun => {
            let open = close.request_open != 0
                && last
                && pending.index >= close.request_index.saturating_sub(1);
            if !open {
                return None;
            }
            pending.request_body = close.request_body;
            incomplete.insert(Incomplete::REQUEST_INCOMPLETE);
        }
        Progress::Ended => {}
    }
    let under_way = close.response_open != 0 && pending.index == close.response_index;
    match pending.response {
        // The answer was whole before the request was, which is no error.
        Progress::Ended => Some(End {
            last: pending.response_last,
            error: None,
            incomplete,
        }),
        Progress::Begun if under_way => {
            pending.response_body = close.response_body;
            let last = close.response_last.max(pending.response_last);
            if close.response_open == RESPONSE_COMPLETE_AT_CLOSE {
                return Some(End {
                    last,
                    error: None,
                    incomplete,
                });
            }
            incomplete.insert(Incomplete::RESPONSE_INCOMPLETE);
            Some(End {
                last,
                error: error(close),
                incomplete,
            })
        }
        Progress::Unseen if !under_way && pending.index >= close.response_index => {
            incomplete.insert(Incomplete::RESPONSE_NOT_SEEN);
            Some(End {
                last: close.time,
                error: error(close),
                incomplete,
            })
        }
        Progress::Begun | Progress::Unseen => None,
    }
}

/// Requests that were in flight and that the kernel did not count as lost.
pub(super) fn in_flight(close: &Close) -> u64 {
    let begun = u64::from(close.request_index.saturating_sub(close.response_index));
    begun.saturating_sub(u64::from(close.lost.count_ones()))
}

/// If the connection lives on, but can no longer be followed, then whether its
/// requests failed is not known, and no error is made up.
pub(super) fn error(close: &Close) -> Option<&'static str> {
    const ECONNRESET: u32 = libc::ECONNRESET as u32;
    const ETIMEDOUT: u32 = libc::ETIMEDOUT as u32;
    match (close.reason, close.errno) {
        (close_reason::FRAMING_LOST | close_reason::SWITCHED, _) => None,
        (close_reason::RESET, _) | (_, ECONNRESET) => Some(RESET),
        (_, ETIMEDOUT) => Some(TIMEOUT),
        _ => Some(CLOSED),
    }
}
