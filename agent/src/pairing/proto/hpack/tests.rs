//! The vectors of RFC 7541, another implementation's opinion, and tables that are known
//! in part.

use super::*;
use proptest::prelude::*;

mod joined;

type Pair = (Vec<u8>, Vec<u8>);
/// A field of which name or value may be unknown.
type Partly = (Option<Vec<u8>>, Option<Vec<u8>>);

/// All fields of a block, with `None` for what is unknown.
fn partly(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Partly>, HpackError> {
    let mut fields = Vec::new();
    decoder.decode(block, MAX_TABLE, |field| {
        if let Some(name) = field.name {
            assert_eq!(field.meaning, Some(Name::of(name)));
        }
        fields.push((
            field.name.map(<[u8]>::to_vec),
            field.value.map(<[u8]>::to_vec),
        ));
    })?;
    Ok(fields)
}

/// All fields of a block, all of them known.
fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Pair>, HpackError> {
    let known = |(name, value): (Option<_>, Option<_>)| (name.unwrap(), value.unwrap());
    Ok(partly(decoder, block)?.into_iter().map(known).collect())
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Blocks of one decoder in order: bytes, fields, size of the table behind them.
fn story(start: &str, blocks: &[(&str, &str, usize)]) {
    let mut decoder = Decoder::new();
    assert_eq!(fields(&mut decoder, &unhex(start)), Ok(vec![]));
    for (hex, expected, size) in blocks {
        let fields = fields(&mut decoder, &unhex(hex)).unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let lines: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", text(name), text(value)))
            .collect();
        assert_eq!(lines.join("\n"), *expected);
        assert_eq!(decoder.table.size(), *size);
        assert!(!decoder.is_unsure());
    }
}

#[test]
fn appendix_c_2_representations() {
    for (hex, field, size) in [
        (
            "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
            "custom-key=custom-header",
            55,
        ),
        (
            "040c 2f73 616d 706c 652f 7061 7468",
            ":path=/sample/path",
            0,
        ),
        (
            "1008 7061 7373 776f 7264 0673 6563 7265 74",
            "password=secret",
            0,
        ),
        ("82", ":method=GET", 0),
    ] {
        story("", &[(hex, field, size)]);
    }
}

const REQUESTS: [&str; 3] = [
    ":method=GET\n:scheme=http\n:path=/\n:authority=www.example.com",
    ":method=GET\n:scheme=http\n:path=/\n:authority=www.example.com\ncache-control=no-cache",
    ":method=GET\n:scheme=https\n:path=/index.html\n:authority=www.example.com\ncustom-key=custom-value",
];

#[test]
fn appendix_c_3_requests() {
    story(
        "",
        &[
            (
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                REQUESTS[0],
                57,
            ),
            ("8286 84be 5808 6e6f 2d63 6163 6865", REQUESTS[1], 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                REQUESTS[2],
                164,
            ),
        ],
    );
}

#[test]
fn appendix_c_4_requests_with_huffman() {
    story(
        "",
        &[
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                REQUESTS[0],
                57,
            ),
            ("8286 84be 5886 a8eb 1064 9cbf", REQUESTS[1], 110),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                REQUESTS[2],
                164,
            ),
        ],
    );
}

const RESPONSES: [&str; 3] = [
    ":status=302\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\nlocation=https://www.example.com",
    ":status=307\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:21 GMT\nlocation=https://www.example.com",
    ":status=200\ncache-control=private\ndate=Mon, 21 Oct 2013 20:13:22 GMT\nlocation=https://www.example.com\n\
     content-encoding=gzip\nset-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

/// A table of 256 bytes, as in the appendix: an update to that size.
const SIZE_256: &str = "3fe1 01";

#[test]
fn appendix_c_5_responses_with_eviction() {
    story(
        SIZE_256,
        &[
            (
                "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
                 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 \
                 6c65 2e63 6f6d",
                RESPONSES[0],
                222,
            ),
            ("4803 3330 37c1 c0bf", RESPONSES[1], 222),
            (
                "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d \
                 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 \
                 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e \
                 3d31",
                RESPONSES[2],
                215,
            ),
        ],
    );
}

#[test]
fn appendix_c_6_responses_with_huffman_and_eviction() {
    story(
        SIZE_256,
        &[
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 \
                 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                RESPONSES[0],
                222,
            ),
            ("4883 640e ffc1 c0bf", RESPONSES[1], 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab \
                 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f \
                 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
                RESPONSES[2],
                215,
            ),
        ],
    );
}

#[derive(serde::Deserialize)]
struct Told {
    wire: String,
    /// Characters are bytes (Latin-1); nothing if the block is malformed.
    fields: Option<Vec<(String, String)>>,
}

fn stories() -> Vec<Vec<Told>> {
    serde_json::from_str(include_str!("../../../../tests/data/hpack/vectors.json")).unwrap()
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|letter| letter as u8).collect()
}

#[test]
fn an_independent_implementation_agrees() {
    let (mut good, mut bad) = (0, 0);
    for blocks in stories() {
        let mut decoder = Decoder::new();
        for Told { wire, fields: told } in &blocks {
            let told = told.as_ref().map(|fields| {
                let pair = |(name, value): &(String, String)| (bytes(name), bytes(value));
                fields.iter().map(pair).collect::<Vec<_>>()
            });
            let ours = fields(&mut decoder, &unhex(wire)).ok();
            assert_eq!(ours, told, "{wire}");
            *(if told.is_some() { &mut good } else { &mut bad }) += 1;
        }
    }
    assert!(good > 250 && bad > 5, "{good} {bad}");
}

#[test]
fn each_defect_is_named() {
    for (hex, error) in [
        ("80", HpackError::Index(0)),
        ("be", HpackError::Index(62)),
        ("7e 00", HpackError::Index(62)),
        ("0f2f 00", HpackError::Index(62)),
        ("ff", HpackError::Short),
        ("40", HpackError::Short),
        ("4001", HpackError::Short),
        ("0401", HpackError::Short),
        ("ffff ffff ffff", HpackError::Integer),
        ("4081 ff 00", HpackError::Huffman),
        ("8220", HpackError::SizeUpdate),
    ] {
        let mut decoder = Decoder::new();
        assert_eq!(fields(&mut decoder, &unhex(hex)), Err(error), "{hex}");
        assert!(decoder.is_unsure(), "{hex}");
    }
}

#[test]
fn size_updates_at_the_start_may_be_several() {
    let mut decoder = Decoder::new();
    fields(&mut decoder, b"\x40\x01a\x01b").unwrap();
    let seen = fields(&mut decoder, b"\x20\x3f\x45\x40\x01c\x01d\xbe").unwrap();
    assert_eq!(seen, vec![(b"c".to_vec(), b"d".to_vec()); 2]);
    assert_eq!(fields(&mut decoder, b"\xbf"), Err(HpackError::Index(63)));
}

#[test]
fn fields_beyond_the_limits_are_not_reported_but_followed() {
    let mut decoder = Decoder::new();
    fields(&mut decoder, b"\x40\x01a\x01b").unwrap();
    let many = [&[0xbe; 2_000][..], b"\x40\x01c\x01d"].concat();
    let mut reported = 0;
    let block = decoder.decode(&many, MAX_TABLE, |_| reported += 1).unwrap();
    assert_eq!((reported, block.truncated), (MAX_FIELDS, true));
    assert_eq!(
        fields(&mut decoder, b"\xbe"),
        Ok(vec![(b"c".to_vec(), b"d".to_vec())])
    );
    // A field of 4 KiB, referred to again and again.
    let long = [&b"\x40\x01e\x7f\xa1\x1e"[..], &[b'x'; 4_000]].concat();
    let bomb = [&long[..], &[0xbe; 100]].concat();
    let mut reported = 0;
    let block = decoder
        .decode(&bomb, MAX_TABLE, |field| {
            reported += field.value.map_or(0, <[u8]>::len);
        })
        .unwrap();
    assert!(reported <= MAX_LIST && block.truncated);
}

#[test]
fn memory_is_bounded() {
    for (size, keep) in [
        (&b"\x3f\xe1\xff\xff\x03"[..], MAX_TABLE),
        (b"\x3f\xe1\xff\xff\x03", 1_000),
        (b"", MAX_TABLE),
    ] {
        let mut decoder = Decoder::new();
        decoder.decode(size, keep, |_| {}).unwrap();
        for at in 0..5_000u32 {
            let name = format!("{at:08}");
            let literal = [
                &b"\x40\x08"[..],
                name.as_bytes(),
                &[(at % 100) as u8],
                &[b'v'; 100][..at as usize % 100],
            ]
            .concat();
            decoder.decode(&literal, keep, |_| {}).unwrap();
        }
        // Text twice over, and the entries.
        assert!(
            decoder.memory() <= 3 * keep.max(4_096) + 2_000,
            "{}",
            decoder.memory()
        );
        decoder.reset();
        assert!(decoder.memory() <= 2 * KEPT);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_safe(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8), forget in any::<bool>()) {
        let mut decoder = Decoder::new();
        if forget {
            decoder.forget();
        }
        for block in blocks {
            let _ = partly(&mut decoder, &block);
        }
    }
}
