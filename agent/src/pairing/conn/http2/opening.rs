//! How streams begin, and where there is no room for them.

use super::session::REQUEST;
use super::{Call, Http2, Lent, Session};
use crate::model::exchange::Sink;
use remora_common::record::Frames;

/// Streams looked at to find one to give up.
const SEARCH: usize = 64;

impl Http2 {
    /// The request of a stream begins.
    pub(super) fn open<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        id: u32,
        lent: &mut Lent<'_, S>,
    ) {
        session.highest = id;
        let known = self.streams.find(call.conn.info.id, id);
        session.waiting -= u32::from(known.is_some());
        if session.waiting > 0 {
            self.drop_passed(session, lent);
        }
        let slot = match known {
            Some(slot) => slot,
            None if self.make_room(session, lent) => {
                let gaps = session.gaps;
                self.streams
                    .insert(&mut session.list, call.conn.info.id, id, gaps)
            }
            None => {
                lent.ledger.evicted += 1;
                lent.ledger.streams += 1;
                return;
            }
        };
        let Frames {
            first, tgid, tid, ..
        } = *call.record;
        let tgid = if tgid == 0 { call.conn.tgid } else { tgid };
        let given_up = session.goaway.is_some_and(|goaway| goaway.last < id);
        let stream = self.streams.open(slot);
        (stream.request.first, stream.tid) = (first, tid);
        stream.process = Some(lent.processes.get(tgid));
        if given_up {
            stream.given_up = Some(call.record.last);
        }
    }

    /// A response is told of before its request: it waits for that.
    pub(super) fn wait<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        call: Call<'_>,
        id: u32,
        lent: &Lent<'_, S>,
    ) {
        let conn = call.conn.info.id;
        if self.streams.find(conn, id).is_none() && self.has_room(session, lent.max) {
            let gaps = session.gaps;
            self.streams.insert(&mut session.list, conn, id, gaps);
            session.waiting += 1;
        }
    }

    /// Responses that wait for requests of streams below the highest wait in vain: those
    /// began before the agent came, or in a record that was lost (RFC 9113, section 5.1.1).
    pub(super) fn drop_passed<S: Sink + ?Sized>(
        &mut self,
        session: &mut Session,
        lent: &mut Lent<'_, S>,
    ) {
        let mut at = self.streams.first(&session.list);
        while let Some(slot) = at {
            at = self.streams.next(slot);
            let stream = self.streams.get(slot);
            if !stream.is_opened() && stream.id < session.highest {
                self.drop_waiting(session, slot, lent);
            }
        }
    }

    pub(super) fn drop_waiting<S: ?Sized>(
        &mut self,
        session: &mut Session,
        slot: u32,
        lent: &mut Lent<'_, S>,
    ) {
        // If a record was lost, the kernel programs have counted its streams as such.
        lent.ledger.orphaned_streams += u64::from(session.gaps[REQUEST] == 0);
        session.waiting -= 1;
        self.streams.remove(&mut session.list, slot);
    }

    /// Whether one more stream may begin on a connection. None may take all the room.
    pub(super) fn has_room(&self, session: &Session, max: usize) -> bool {
        self.streams.has_room(max) && session.list.len() <= max / 4
    }

    /// Gives up a stream whose end was probably lost, if there is no room without that.
    pub(super) fn make_room<S: ?Sized>(
        &mut self,
        session: &mut Session,
        lent: &mut Lent<'_, S>,
    ) -> bool {
        if self.has_room(session, lent.max) {
            return true;
        }
        let first = self.streams.first(&session.list);
        let oldest = std::iter::successors(first, |&slot| self.streams.next(slot)).take(SEARCH);
        let doubtful = oldest.into_iter().find(|&slot| {
            let stream = self.streams.get(slot);
            stream.is_opened() && stream.gaps != session.gaps
        });
        if let Some(slot) = doubtful {
            self.lose(session, slot, lent);
        }
        self.has_room(session, lent.max)
    }
}
