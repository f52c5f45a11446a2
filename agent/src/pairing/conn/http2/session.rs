//! What is known of one HTTP/2 connection.

use super::streams::List;
use crate::pairing::proto::hpack::Decoder;
use crate::pairing::proto::http2::{Assembler, GoAway, Small};

/// Sides of a connection, as [`remora_common::record::side`] numbers them.
pub(super) const REQUEST: usize = 0;
/// What the server sends.
pub(super) const RESPONSE: usize = 1;

/// The frames of one direction.
#[derive(Default, Debug)]
pub(super) struct Direction {
    pub(super) decoder: Decoder,
    pub(super) assembler: Assembler,
    /// RST_STREAM or GOAWAY under way.
    pub(super) small: Small,
    /// The next record's number.
    pub(super) next: u32,
    /// When the header block under way began, monotonic ns.
    pub(super) block_first: u64,
}

/// One HTTP/2 connection.
#[derive(Default, Debug)]
pub(in crate::pairing::conn) struct Session {
    pub(super) list: List,
    /// By side.
    pub(super) directions: [Direction; 2],
    /// Records lost, by side.
    pub(super) gaps: [u32; 2],
    /// Highest stream that the client opened.
    pub(super) highest: u32,
    /// Streams in the list whose request has not been seen.
    pub(super) waiting: u32,
    /// The lowest GOAWAY of the server.
    pub(super) goaway: Option<GoAway>,
    /// Whether frames passed before the agent came.
    pub(super) joined: bool,
    /// Whether any frame was seen.
    pub(super) begun: bool,
    /// Memory that is accounted for, bytes.
    pub(super) accounted: usize,
}

impl Session {
    /// For another connection, using memory again.
    pub(super) fn reset(&mut self) {
        let directions = std::mem::take(&mut self.directions).map(|old| {
            let (mut decoder, mut assembler) = (old.decoder, old.assembler);
            decoder.reset();
            assembler.reset();
            Direction {
                decoder,
                assembler,
                ..Direction::default()
            }
        });
        *self = Self {
            directions,
            accounted: self.accounted,
            ..Self::default()
        };
    }

    /// Frames passed that were not seen.
    pub(super) fn join(&mut self) {
        self.joined = true;
        for direction in &mut self.directions {
            direction.decoder.forget();
        }
    }

    /// Whether no stream is under way.
    pub(in crate::pairing::conn) fn is_idle(&self) -> bool {
        self.list.len() == 0
    }

    /// Memory held for header blocks and tables, bytes.
    pub(super) fn memory(&self) -> usize {
        let of = |direction: &Direction| direction.decoder.memory() + direction.assembler.memory();
        self.directions.iter().map(of).sum()
    }
}
