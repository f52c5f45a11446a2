//! How streams end: with both directions, a reset, a GOAWAY, or their connection.

use super::build::{Ending, GOAWAY};
use super::session::{REQUEST, RESPONSE};
use super::streams::{Half, Reset};
use super::{Call, Http2, Lent, Session};
use crate::capture::ledger::Ledger;
use crate::model::exchange::{Incomplete, Sink};
use crate::pairing::conn::build::End;
use crate::pairing::conn::close;
use crate::pairing::conn::exchanges::Progress;
use crate::pairing::conn::table::Conn;
use crate::pairing::proto::http2::{GoAway, NO_ERROR, error_name};
use remora_common::record::{Close, Frame, close_reason, frame_part};

impl Http2 {
    /// The connection ended.
    pub(in crate::pairing::conn) fn close<S: Sink + ?Sized>(
        &mut self,
        conn: &Conn,
        mut session: Box<Session>,
        close: &Close,
        lent: &mut Lent<'_, S>,
    ) {
        self.end_block(&mut session, conn);
        let untold = close.reason == close_reason::UNTOLD;
        for (side, sent) in [close.request_body, close.response_body]
            .into_iter()
            .enumerate()
        {
            // The last records of the connection were lost.
            if untold || u64::from(session.directions[side].next) != sent {
                session.gaps[side] = session.gaps[side].wrapping_add(1);
            }
        }
        while let Some(slot) = self.streams.first(&session.list) {
            let begun = session.begun;
            let stream = self.streams.get_mut(slot);
            if !stream.is_opened() {
                self.drop_waiting(&mut session, slot, lent);
                continue;
            }
            let missed = stream.gaps != session.gaps;
            let mut ending = Ending {
                end: End {
                    last: stream.response.last,
                    error: None,
                    incomplete: Incomplete::NONE,
                },
                reset: None,
                not_upgraded: false,
            };
            if close.reason == close_reason::FRAMING_LOST {
                ending.end.incomplete.insert(Incomplete::FRAMING_LOST);
            }
            match (stream.switched, stream.response.progress) {
                (Some((first, last)), _) if !begun && !missed => {
                    ending.not_upgraded = true;
                    ending.end.last = last;
                    stream.response = Half {
                        progress: Progress::Ended,
                        first,
                        last,
                        ..Half::default()
                    };
                }
                (_, Progress::Ended) => {}
                // Curl leaves when it has what was announced, be there an empty frame behind
                // it that ends the stream or not.
                _ if stream.is_answered() => stream.response.progress = Progress::Ended,
                // Its end may have been in a record that was lost.
                _ if missed => {
                    self.lose(&mut session, slot, lent);
                    continue;
                }
                (_, progress) => {
                    ending.end.error = match session.goaway {
                        Some(GoAway { code, .. }) if code != NO_ERROR => Some(error_name(code)),
                        _ => close::error(close),
                    };
                    if progress == Progress::Unseen {
                        ending.end.last = close.time;
                    }
                }
            }
            self.finish(&mut session, conn, slot, ending, lent);
        }
        self.put_back(session);
    }

    /// A request whose header block never ended is known by what came of it.
    pub(super) fn end_block(&mut self, session: &mut Session, conn: &Conn) {
        let keep = self.table_limit(session, REQUEST);
        let direction = &mut session.directions[REQUEST];
        let Some(block) = direction.assembler.end() else {
            return;
        };
        if !block.opens || block.promise {
            return;
        }
        let Some(slot) = self.streams.find(conn.info.id, block.stream) else {
            return;
        };
        let decoder = &mut direction.decoder;
        self.streams.with_fields(slot, |fields| {
            // An error is where the block was cut.
            let _ = decoder.decode(block.bytes, keep, |field| fields.request(field));
        });
    }

    /// The connection is given up, because there is no room for it.
    pub(in crate::pairing::conn) fn give_up(
        &mut self,
        mut session: Box<Session>,
        ledger: &mut Ledger,
    ) {
        while let Some(slot) = self.streams.first(&session.list) {
            if self.streams.get(slot).is_opened() {
                ledger.evicted += 1;
                self.count(slot, ledger);
            }
            self.streams.remove(&mut session.list, slot);
        }
        self.put_back(session);
    }

    pub(super) fn reset<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        frame: &Frame,
        payload: &[u8],
        lent: &mut Lent<'_, S>,
    ) {
        let small = &mut session.directions[call.side].small;
        small.push(frame.part & frame_part::FIRST != 0, payload);
        if frame.part & frame_part::LAST == 0 {
            return;
        }
        let Some(code) = small.reset_code() else {
            return;
        };
        let id = frame.stream;
        if call.side == RESPONSE && id % 2 == 1 && id > session.highest {
            self.wait(session, call, id, lent);
        }
        if let Some(slot) = self.streams.find(call.conn.info.id, id) {
            let time = call.record.last;
            self.streams.get_mut(slot).reset = Some(Reset { code, time });
            self.settle(session, call.conn, slot, lent);
        }
    }

    pub(super) fn goaway<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        frame: &Frame,
        payload: &[u8],
        lent: &mut Lent<'_, S>,
    ) {
        let small = &mut session.directions[call.side].small;
        small.push(frame.part & frame_part::FIRST != 0, payload);
        // A client's speaks of pushed streams.
        if frame.part & frame_part::LAST == 0 || call.side == REQUEST {
            return;
        }
        let Some(goaway) = GoAway::parse(small.bytes()) else {
            return;
        };
        session.goaway = Some(goaway);
        let mut at = self.streams.first(&session.list);
        while let Some(slot) = at {
            at = self.streams.next(slot);
            let stream = self.streams.get_mut(slot);
            if stream.id > goaway.last {
                stream.given_up = Some(call.record.last);
                self.settle(session, call.conn, slot, lent);
            }
        }
    }

    /// Ends a stream if it is over.
    pub(super) fn settle<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        conn: &Conn,
        slot: u32,
        lent: &mut Lent<'_, S>,
    ) {
        let stream = self.streams.get(slot);
        // A reset or a GOAWAY must not hide the header block that is on its way.
        if !stream.is_opened() || !stream.headed {
            return;
        }
        let mut ending = Ending {
            end: End {
                last: stream.response.last,
                error: None,
                incomplete: Incomplete::NONE,
            },
            reset: None,
            not_upgraded: false,
        };
        if stream.response.is_ended() {
            let over = stream.request.is_ended()
                || stream.reset.is_some()
                || stream.given_up.is_some()
                || stream.gaps[REQUEST] != session.gaps[REQUEST];
            if !over {
                return;
            }
        } else if let Some(Reset { code, time }) = stream.reset {
            (ending.reset, ending.end.last) = (Some(code), time);
        } else if let Some(time) = stream.given_up {
            let code = session.goaway.map_or(NO_ERROR, |goaway| goaway.code);
            let named = Some(error_name(code)).filter(|_| code != NO_ERROR);
            (ending.end.error, ending.end.last) = (named.or(Some(GOAWAY)), time);
        } else {
            return;
        }
        self.finish(session, conn, slot, ending, lent);
    }

    /// Shows a stream that is over.
    pub(super) fn finish<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        conn: &Conn,
        slot: u32,
        mut ending: Ending,
        lent: &mut Lent<'_, S>,
    ) {
        self.count(slot, lent.ledger);
        let stream = self.streams.get_mut(slot);
        let incomplete = &mut ending.end.incomplete;
        if !stream.request.is_ended() {
            incomplete.insert(Incomplete::REQUEST_INCOMPLETE);
        }
        if stream.gaps != session.gaps {
            incomplete.insert(Incomplete::FRAMING_LOST);
        }
        stream.fields.truncated |= !stream.headed;
        match stream.response.progress {
            Progress::Unseen => incomplete.insert(Incomplete::RESPONSE_NOT_SEEN),
            Progress::Begun => incomplete.insert(Incomplete::RESPONSE_INCOMPLETE),
            Progress::Ended => {}
        }
        lent.emitter
            .emit_stream(stream, conn, lent.processes, ending, lent.sink);
        self.streams.remove(&mut session.list, slot);
    }

    /// Gives up a stream whose end was in a record that was lost.
    pub(super) fn lose<S: ?Sized>(
        &mut self,
        session: &mut Session,
        slot: u32,
        lent: &mut Lent<'_, S>,
    ) {
        self.count(slot, lent.ledger);
        lent.ledger.ring_full += 1;
        self.streams.remove(&mut session.list, slot);
    }

    /// Counts a stream as resolved, unless the kernel programs have.
    pub(super) fn count(&mut self, slot: u32, ledger: &mut Ledger) {
        if self.streams.get(slot).switched.is_some() {
            self.upgraded -= 1;
        } else {
            ledger.streams += 1;
        }
    }
}
