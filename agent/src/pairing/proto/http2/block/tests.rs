use super::*;
use proptest::prelude::*;

const FIRST: u8 = frame_part::FIRST;
const LAST: u8 = frame_part::LAST;
const CUT: u8 = frame_part::CUT;

fn entry(kind: u8, flags: u8, part: u8, len: usize) -> Frame {
    Frame {
        stream: 5,
        len: len as u32,
        kind,
        flags,
        part,
        padding: 0,
        captured: len as u16,
        messages: 0,
    }
}

/// The block that pieces give, if they give one.
fn joined(pieces: &[(Frame, &[u8])]) -> Option<(Vec<u8>, bool, bool)> {
    let mut assembler = Assembler::default();
    let (last, before) = pieces.split_last().unwrap();
    for (entry, payload) in before {
        assert_eq!(assembler.push(entry, payload), Pushed::More);
    }
    match assembler.push(&last.0, last.1) {
        Pushed::Block(block) => Some((block.bytes.to_vec(), block.end_stream, block.cut)),
        Pushed::More | Pushed::Lost => None,
    }
}

#[test]
fn padding_and_priority_are_no_part_of_the_block() {
    let end = flag::END_HEADERS;
    for (kind, flags, payload) in [
        (kind::HEADERS, end, &b"block"[..]),
        (kind::HEADERS, end | flag::PADDED, b"\x03block\0\0\0"),
        (kind::HEADERS, end | flag::PRIORITY, b"\0\0\0\x01\x10block"),
        (
            kind::HEADERS,
            end | flag::PADDED | flag::PRIORITY,
            b"\x02\0\0\0\x01\x10block\0\0",
        ),
        (kind::PUSH_PROMISE, end, b"\0\0\0\x02block"),
        (
            kind::PUSH_PROMISE,
            end | flag::PADDED,
            b"\x01\0\0\0\x02block\0",
        ),
    ] {
        let whole = (entry(kind, flags, FIRST | LAST, payload.len()), payload);
        assert_eq!(joined(&[whole]), Some((b"block".to_vec(), false, false)));
        for cut in 0..=payload.len() {
            let (one, two) = payload.split_at(cut);
            let pieces = [
                (entry(kind, flags, FIRST, one.len()), one),
                (entry(kind, flags, LAST, two.len()), two),
            ];
            assert_eq!(
                joined(&pieces),
                Some((b"block".to_vec(), false, false)),
                "{cut}"
            );
        }
    }
}

#[test]
fn continuations_are_joined_and_end_stream_is_that_of_the_headers() {
    let pieces = [
        (
            entry(
                kind::HEADERS,
                flag::END_STREAM | flag::PADDED,
                FIRST | LAST,
                5,
            ),
            &b"\x01one\0"[..],
        ),
        (
            entry(kind::CONTINUATION, flag::PADDED, FIRST | LAST, 3),
            b"two",
        ),
        (
            entry(kind::CONTINUATION, flag::END_HEADERS, FIRST, 2),
            b"th",
        ),
        (
            entry(kind::CONTINUATION, flag::END_HEADERS, LAST, 3),
            b"ree",
        ),
    ];
    assert_eq!(
        joined(&pieces),
        Some((b"onetwothree".to_vec(), true, false))
    );
}

#[test]
fn a_cut_block_holds_what_came_before_the_cut() {
    let pieces = [
        (
            entry(kind::HEADERS, 0, FIRST | LAST | CUT, 9_000),
            &b"start"[..],
        ),
        (
            entry(kind::CONTINUATION, flag::END_HEADERS, FIRST | LAST, 4),
            b"more",
        ),
    ];
    assert_eq!(joined(&pieces), Some((b"start".to_vec(), false, true)));
    // Padding that was not captured.
    let flags = flag::END_HEADERS | flag::PADDED;
    let whole = entry(kind::HEADERS, flags, FIRST | LAST | CUT, 300);
    assert_eq!(
        joined(&[(whole, b"\xc8start")]),
        Some((b"start".to_vec(), false, true))
    );
}

#[test]
fn what_has_no_start_is_lost() {
    let end = flag::END_HEADERS;
    let whole = FIRST | LAST;
    for (before, lost) in [
        (None, entry(kind::CONTINUATION, end, whole, 0)),
        (None, entry(kind::HEADERS, end, LAST, 0)),
        (
            Some(entry(kind::HEADERS, 0, whole, 0)),
            entry(kind::HEADERS, end, whole, 0),
        ),
        (
            Some(entry(kind::HEADERS, 0, FIRST, 0)),
            entry(kind::CONTINUATION, end, whole, 0),
        ),
        (
            Some(entry(kind::HEADERS, 0, whole, 0)),
            Frame {
                stream: 7,
                ..entry(kind::CONTINUATION, end, whole, 0)
            },
        ),
    ] {
        let mut assembler = Assembler::default();
        if let Some(before) = before {
            assert_eq!(assembler.push(&before, b""), Pushed::More);
        }
        assert_eq!(assembler.push(&lost, b""), Pushed::Lost, "{lost:?}");
        assert_eq!(assembler.stream(), None);
    }
}

#[test]
fn a_block_without_end_is_what_came_of_it_in_whole_frames() {
    let mut assembler = Assembler::default();
    assert_eq!(assembler.end(), None);
    let headers = entry(kind::HEADERS, 0, FIRST | LAST, 3);
    assert_eq!(assembler.push(&headers, b"one"), Pushed::More);
    let begun = entry(kind::CONTINUATION, 0, FIRST, 3);
    assert_eq!(assembler.push(&begun, b"two"), Pushed::More);
    let block = assembler.end().expect("a block is under way");
    assert_eq!((block.bytes, block.cut), (b"one".as_slice(), true));
    assert_eq!(assembler.stream(), None);
    // What comes late does not go on with it.
    let late = entry(kind::CONTINUATION, 0, LAST, 3);
    assert_eq!(assembler.push(&late, b"two"), Pushed::Lost);
}

#[test]
fn a_flood_of_continuations_holds_bounded_memory() {
    let mut assembler = Assembler::default();
    let headers = entry(kind::HEADERS, 0, FIRST | LAST, 1_000);
    assert_eq!(assembler.push(&headers, &[b'x'; 1_000]), Pushed::More);
    for _ in 0..10_000 {
        let more = entry(kind::CONTINUATION, 0, FIRST | LAST, 1_000);
        assert_eq!(assembler.push(&more, &[b'x'; 1_000]), Pushed::More);
    }
    assert!(assembler.memory() <= 2 * MAX);
    let end = entry(kind::CONTINUATION, flag::END_HEADERS, FIRST | LAST, 0);
    let Pushed::Block(block) = assembler.push(&end, b"") else {
        panic!()
    };
    assert_eq!((block.bytes.len(), block.cut), (MAX, true));
}

proptest! {
    #[test]
    fn any_entries_are_safe(entries in prop::collection::vec((any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..40), any::<u32>()), 0..20)) {
        let mut assembler = Assembler::default();
        for ([kind, flags, part, stream], payload, len) in entries {
            let kind = [kind::HEADERS, kind::PUSH_PROMISE, kind::CONTINUATION][usize::from(kind % 3)];
            let entry = Frame { stream: u32::from(stream % 2), len, ..entry(kind, flags, part, 0) };
            if let Pushed::Block(block) = assembler.push(&entry, &payload) {
                prop_assert!(block.bytes.len() <= MAX.max(payload.len()));
            }
        }
    }
}
