//! Tables of which a part is unknown.

use super::*;
use std::collections::VecDeque;

/// A peer's encoder that uses every representation, told which by `choices`.
#[derive(Debug)]
struct Peer {
    /// Newest first, with the block that all of it was sent in or after.
    table: VecDeque<(Pair, usize)>,
    limit: usize,
    block: usize,
}

/// A field, and the block since which it is there to be known.
type Since = (Pair, usize);

/// How a field is to be sent.
#[derive(Clone, Debug)]
struct Choice {
    kind: u8,
    index: prop::sample::Index,
    name: u8,
    value: u8,
}

impl Peer {
    fn new() -> Self {
        Self {
            table: VecDeque::new(),
            limit: 4_096,
            block: 0,
        }
    }

    fn integer(out: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
        let mask = (1 << bits) - 1;
        if value < mask {
            out.push(first | value as u8);
            return;
        }
        out.push(first | mask as u8);
        let mut rest = value - mask;
        while rest >= 128 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }

    fn string(out: &mut Vec<u8>, text: &[u8]) {
        Self::integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }

    fn shrink(&mut self, room: usize) {
        let size = |table: &VecDeque<(Pair, usize)>| {
            let sizes = table
                .iter()
                .map(|((name, value), _)| name.len() + value.len());
            sizes.sum::<usize>() + 32 * table.len()
        };
        while size(&self.table) > room {
            self.table.pop_back();
        }
    }

    fn insert(&mut self, field: Pair, since: usize) {
        let size = field.0.len() + field.1.len() + 32;
        match self.limit.checked_sub(size) {
            None => self.table.clear(),
            Some(room) => {
                self.shrink(room);
                self.table.push_front((field, since));
            }
        }
    }

    /// Changes the size of the table.
    fn resize(&mut self, out: &mut Vec<u8>, limit: usize) {
        self.limit = limit;
        self.shrink(limit);
        Self::integer(out, 0x20, 5, limit);
    }

    /// Writes a field; returns it with the block since which it is there to be known.
    fn field(&mut self, out: &mut Vec<u8>, choice: &Choice) -> (Pair, usize) {
        let fresh = (
            vec![b'a' + choice.name % 8; 1 + usize::from(choice.name % 5)],
            vec![b'0' + choice.value % 64; usize::from(choice.value)],
        );
        let known = (!self.table.is_empty()).then(|| choice.index.index(self.table.len()));
        let (first, bits, inserts) =
            [(0x40, 6, true), (0, 4, false), (0x10, 4, false)][usize::from(choice.kind >> 2) % 3];
        let (field, since) = match (choice.kind % 4, known) {
            (0 | 1, Some(at)) => {
                Self::integer(out, 0x80, 7, 62 + at);
                return self.table[at].clone();
            }
            (2, Some(at)) => {
                Self::integer(out, first, bits, 62 + at);
                let ((name, _), since) = self.table[at].clone();
                ((name, fresh.1), since)
            }
            _ => {
                out.push(first);
                Self::string(out, &fresh.0);
                (fresh, self.block)
            }
        };
        Self::string(out, &field.1);
        if inserts {
            self.insert(field.clone(), since);
        }
        (field, since)
    }
}

fn choices() -> impl Strategy<Value = Vec<Vec<Choice>>> {
    let choice = (
        any::<u8>(),
        any::<prop::sample::Index>(),
        any::<u8>(),
        any::<u8>(),
    );
    let choice = choice.prop_map(|(kind, index, name, value)| Choice {
        kind,
        index,
        name,
        value,
    });
    prop::collection::vec(prop::collection::vec(choice, 1..8), 1..30)
}

/// Blocks and what they say, by a peer that now and then changes its table's size.
fn wire(blocks: &[Vec<Choice>], resizes: bool) -> Vec<(Vec<u8>, Vec<Since>)> {
    let mut peer = Peer::new();
    let block = |choices: &Vec<Choice>| {
        let mut out = Vec::new();
        if resizes && choices[0].kind > 230 {
            peer.resize(&mut out, usize::from(choices[0].value) * 20);
        }
        let fields = choices.iter().map(|choice| peer.field(&mut out, choice));
        let fields = fields.collect();
        peer.block += 1;
        (out, fields)
    };
    blocks.iter().map(block).collect()
}

proptest! {
    #[test]
    fn seen_from_the_start_everything_is_known(blocks in choices(), resizes in any::<bool>()) {
        let mut decoder = Decoder::new();
        for (wire, said) in wire(&blocks, resizes) {
            let said = said.into_iter().map(|(field, _)| field).collect();
            prop_assert_eq!(fields(&mut decoder, &wire), Ok(said));
        }
    }

    /// Whenever the agent comes, what it says is right or unknown, and what was inserted
    /// since is known.
    #[test]
    fn joined_in_the_middle_nothing_is_wrong(blocks in choices(), resizes in any::<bool>(), at in any::<prop::sample::Index>(), keep in prop::option::of(0usize..6_000)) {
        let wire = wire(&blocks, resizes);
        let mut decoder = Decoder::new();
        decoder.forget();
        let start = at.index(wire.len());
        for (wire, said) in &wire[start..] {
            let mut seen = Vec::new();
            let done = decoder.decode(wire, keep.unwrap_or(MAX_TABLE), |field| {
                seen.push((field.name.map(<[u8]>::to_vec), field.value.map(<[u8]>::to_vec)));
            });
            prop_assert!(done.is_ok(), "{done:?}");
            prop_assert_eq!(seen.len(), said.len());
            for ((name, value), ((true_name, true_value), since)) in seen.iter().zip(said) {
                prop_assert!(name.is_none() || name.as_ref() == Some(true_name));
                prop_assert!(value.is_none() || value.as_ref() == Some(true_value));
                let known = name.is_some() && value.is_some();
                prop_assert!(known || *since < start || keep.is_some());
            }
        }
    }

    /// Losing a block in the middle makes the table unknown instead of wrong.
    #[test]
    fn a_lost_block_makes_nothing_wrong(blocks in choices(), at in any::<prop::sample::Index>()) {
        let wire = wire(&blocks, false);
        let lost = at.index(wire.len());
        let mut decoder = Decoder::new();
        for (number, (wire, said)) in wire.iter().enumerate() {
            if number == lost {
                decoder.forget();
                continue;
            }
            for ((name, value), ((true_name, true_value), _)) in partly(&mut decoder, wire).unwrap().iter().zip(said) {
                prop_assert!(name.is_none() && number > lost || name.as_ref() == Some(true_name));
                prop_assert!(value.is_none() && number > lost || value.as_ref() == Some(true_value));
            }
        }
    }
}

fn unknown() -> Partly {
    (None, None)
}

fn known(name: &str, value: &str) -> Partly {
    (Some(name.into()), Some(value.into()))
}

#[test]
fn what_was_inserted_before_is_unknown_and_what_is_inserted_later_is_right() {
    let mut decoder = Decoder::new();
    decoder.forget();
    let block = b"\x82\xbe\x40\x01a\x01b\xbe\xbf\x7f\x00\x01c";
    assert_eq!(
        partly(&mut decoder, block),
        Ok(vec![
            known(":method", "GET"),
            unknown(),
            known("a", "b"),
            known("a", "b"),
            unknown(),
            (None, Some(b"c".to_vec())),
        ])
    );
    // The entry with an unknown name counts, and stays what it is.
    assert_eq!(
        partly(&mut decoder, b"\xbe\xbf\xc0"),
        Ok(vec![
            (None, Some(b"c".to_vec())),
            known("a", "b"),
            unknown()
        ])
    );
    assert!(decoder.is_unsure());
}

#[test]
fn a_table_that_was_emptied_or_turned_over_is_known_again() {
    let mut decoder = Decoder::new();
    decoder.forget();
    partly(&mut decoder, b"\x20").unwrap();
    assert!(!decoder.is_unsure());
    decoder.forget();
    // 70 bytes: two entries of 34 fit, so the third evicts everything unknown.
    partly(&mut decoder, b"\x3f\x27\x40\x01a\x01b\x40\x01c\x01d").unwrap();
    assert!(decoder.is_unsure());
    partly(&mut decoder, b"\x40\x01e\x01f").unwrap();
    assert!(!decoder.is_unsure());
    assert_eq!(fields(&mut decoder, b"\xc0"), Err(HpackError::Index(64)));
}

#[test]
fn an_entry_beyond_what_is_kept_holds_its_place() {
    let mut decoder = Decoder::new();
    decoder.decode(b"\x3f\xe1\xff\x03", 0, |_| {}).unwrap();
    let long = [&b"\x40\x01l\x7f\xe9\x06"[..], &[b'x'; 1_000]].concat();
    decoder.decode(&long, 0, |_| {}).unwrap();
    decoder.decode(b"\x40\x01a\x01b", 0, |_| {}).unwrap();
    assert_eq!(
        partly(&mut decoder, b"\xbe\xbf"),
        Ok(vec![known("a", "b"), unknown()])
    );
}
