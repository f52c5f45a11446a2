//! The framing machine against messages built from parts of known sizes, split
//! everywhere, and against any bytes.

use super::{Event, SLACK, Settled, Stream, WINDOW, WINDOW_MAX, class};
use proptest::prelude::*;

/// A message as the machine saw it.
#[derive(Debug, PartialEq, Eq, Clone)]
pub(crate) struct Seen {
    pub status: u16,
    pub body: u64,
    pub head: Vec<u8>,
}

/// Drives a stream over `pieces` as the kernel programs do.
pub(crate) fn drive(
    pieces: &[&[u8]],
    response: bool,
    class: u8,
) -> Result<(Vec<Seen>, Stream), ()> {
    let mut stream = Stream {
        response: u8::from(response),
        ..Stream::REQUESTS
    };
    let mut buffer = [0xaaaa_aaaa_aaaa_aaaau64; (WINDOW + SLACK) / 8];
    let window = bytes_of(&mut buffer);
    let mut seen = Vec::new();
    let mut head = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        let mut steps = 0;
        while !rest.is_empty() {
            steps += 1;
            assert!(steps < 2 * piece.len() + 64, "no progress");
            let mut complete = false;
            let mut words = [0u8; 16];
            let len = rest.len().min(16);
            words[..len].copy_from_slice(&rest[..len]);
            let (low, high) = words.split_at(8);
            let word = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("eight bytes"));
            let (short, end) = stream.short_line(word(low), word(high), len as u64);
            if short != 0 {
                rest = &rest[short as usize..];
                complete = end;
            } else if stream.reads_lines() {
                // SAFETY: the window is large enough and aligned to words.
                let carried = unsafe { stream.restore_carry(window.as_mut_ptr()) };
                let new = rest.len().min(WINDOW_MAX - carried);
                window[carried..carried + new].copy_from_slice(&rest[..new]);
                let in_head = stream.phase <= super::phase::HEAD;
                // SAFETY: the window has its slack, and `new` keeps the length in bounds.
                let event = unsafe { stream.lines(window.as_ptr(), carried + new) };
                let consumed = stream.at as usize;
                let before = rest;
                assert!(consumed >= carried && consumed <= carried + new);
                if in_head {
                    head.extend_from_slice(&rest[..consumed - carried]);
                }
                rest = &rest[consumed - carried..];
                match event {
                    Event::Bad => return Err(()),
                    Event::Stray if seen.is_empty() => return Err(()),
                    Event::Stray => {
                        rest = before;
                        match stream.stray(carried as u64, rest.len() as u64) {
                            0 => rest = &[],
                            taken => rest = &rest[taken as usize..],
                        }
                        head.clear();
                    }
                    Event::More | Event::Chunk => {}
                    Event::TrailersEnd => complete = true,
                    Event::HeadEnd => match stream.settle(class) {
                        Settled::Body => {}
                        Settled::Complete => complete = true,
                        Settled::Switched => {
                            seen.push(Seen {
                                status: stream.status,
                                body: 0,
                                head: head.clone(),
                            });
                            return Ok((seen, stream));
                        }
                        Settled::Unframed => {
                            complete = true;
                            rest = &[];
                        }
                        Settled::Interim => {
                            stream.reset_head();
                            head.clear();
                        }
                    },
                }
            } else {
                let (taken, end) = stream.skip(rest.len() as u64);
                rest = &rest[taken as usize..];
                complete = end;
            }
            if complete {
                seen.push(Seen {
                    status: stream.status,
                    body: stream.body,
                    head: std::mem::take(&mut head),
                });
                stream.reset_head();
            }
        }
    }
    Ok((seen, stream))
}

fn bytes_of(buffer: &mut [u64]) -> &mut [u8] {
    // SAFETY: the bytes of the words, borrowed as long.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), buffer.len() * 8) }
}

fn split<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

#[derive(Debug, Clone)]
struct Part {
    head: Vec<u8>,
    wire: Vec<u8>,
    body: u64,
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(("[A-Za-z-]{1,20}", "[ -~]{0,300}"), 0..8).prop_map(|list| {
        let mut out = Vec::new();
        for (name, value) in list {
            out.extend_from_slice(format!("X{name}: {value}\r\n").as_bytes());
        }
        out
    })
}

fn body() -> impl Strategy<Value = (Vec<u8>, Vec<u8>, u64)> {
    let text = prop::collection::vec(any::<u8>(), 0..2000);
    let chunks = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..6);
    prop_oneof![
        text.prop_map(|body| {
            let length = body.len() as u64;
            (
                format!("Content-Length: {length}\r\n").into_bytes(),
                body,
                length,
            )
        }),
        chunks.prop_map(|chunks| {
            let mut wire = Vec::new();
            let mut total = 0;
            for chunk in chunks {
                wire.extend_from_slice(format!("{:x};ext=1\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(&chunk);
                wire.extend_from_slice(b"\r\n");
                total += chunk.len() as u64;
            }
            wire.extend_from_slice(b"0\r\nTrailer: yes\r\n\r\n");
            (
                b"transfer-encoding: gzip, Chunked\r\n".to_vec(),
                wire,
                total,
            )
        }),
    ]
}

fn message(start: impl Strategy<Value = String>) -> impl Strategy<Value = Part> {
    (start, headers(), headers(), body()).prop_map(
        |(start, before, after, (framing, wire, body))| {
            let mut head = start.into_bytes();
            head.extend_from_slice(&before);
            head.extend_from_slice(&framing);
            head.extend_from_slice(&after);
            head.extend_from_slice(b"\r\n");
            Part { head, wire, body }
        },
    )
}

fn request() -> impl Strategy<Value = Part> {
    message("[A-Z]{3,10} /[!-~]{0,1500} HTTP/1\\.[01]\r\n".prop_map(|line| line))
}

fn response() -> impl Strategy<Value = Part> {
    message("HTTP/1\\.1 [2-5][1-9][1-36-9] [ -~]{0,200}\r\n".prop_map(|line| line))
}

fn check(parts: &[Part], cuts: &[usize], is_response: bool) {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.head);
        bytes.extend_from_slice(&part.wire);
    }
    let (seen, _) = drive(&split(&bytes, cuts), is_response, class::PLAIN).expect("well-formed");
    assert_eq!(seen.len(), parts.len());
    for (seen, part) in seen.iter().zip(parts) {
        assert_eq!(seen.body, part.body);
        assert_eq!(
            String::from_utf8_lossy(&seen.head),
            String::from_utf8_lossy(&part.head)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn requests_are_found_wherever_they_are_split(
        parts in prop::collection::vec(request(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        check(&parts, &cuts, false);
    }

    #[test]
    fn responses_are_found_wherever_they_are_split(
        parts in prop::collection::vec(response(), 1..4),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        check(&parts, &cuts, true);
    }

    #[test]
    fn any_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        is_response: bool,
    ) {
        let _ = drive(&split(&bytes, &cuts), is_response, class::PLAIN);
    }

    #[test]
    fn bytes_like_http_are_survived(
        lines in prop::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n".to_owned()), Just("HTTP/1.1 200 OK\r\n".to_owned()),
            Just("\r\n".to_owned()), Just("\n".to_owned()), Just("Content-Length: 5\r\n".to_owned()),
            Just("Content-Length: 99999999999999999999999\r\n".to_owned()),
            Just("Transfer-Encoding: chunked\r\n".to_owned()), Just("ffffffffffffffff\r\n".to_owned()),
            Just("0\r\n".to_owned()), Just("5\r\nhello\r\n".to_owned()), "[ -~]{0,1200}",
        ], 0..30),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
        is_response: bool,
    ) {
        let bytes = lines.concat();
        let _ = drive(&split(bytes.as_bytes(), &cuts), is_response, class::PLAIN);
    }
}

#[test]
fn one_byte_at_a_time() {
    let bytes =
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.0\r\n\r\n";
    let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
    let (seen, _) = drive(&pieces, false, class::PLAIN).expect("well-formed");
    assert_eq!(
        seen.iter().map(|message| message.body).collect::<Vec<_>>(),
        [3, 0]
    );
}

#[test]
fn framing_of_responses_without_body() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    let (seen, _) = drive(&[head], true, class::HEAD).expect("well-formed");
    assert_eq!(seen.len(), 1);
    for status in ["204 No Content", "304 Not Modified"] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 10\r\n\r\n");
        let (seen, _) = drive(&[head.as_bytes()], true, class::PLAIN).expect("well-formed");
        assert_eq!((seen.len(), seen[0].body), (1, 0));
    }
    let (seen, _) =
        drive(&[b"HTTP/1.1 200 OK\r\n\r\n"], true, class::CONNECT).expect("well-formed");
    assert_eq!(seen.len(), 1);
}

#[test]
fn interim_responses_are_passed_over() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
        HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok";
    let (seen, _) = drive(&[bytes], true, class::PLAIN).expect("well-formed");
    assert_eq!(
        seen.iter().map(|m| (m.status, m.body)).collect::<Vec<_>>(),
        [(201, 2)]
    );
}

#[test]
fn chunk_size_lines_in_pieces_need_no_window() {
    use super::phase;
    let line = |pieces: &[&[u8]]| {
        let mut stream = Stream {
            phase: phase::CHUNK_LINE,
            ..Stream::REQUESTS
        };
        for piece in pieces {
            let mut words = [0; 16];
            words[..piece.len()].copy_from_slice(piece);
            let words = u128::from_le_bytes(words);
            let (low, high) = (words as u64, (words >> 64) as u64);
            if stream.short_line(low, high, piece.len() as u64) != (piece.len() as u64, false) {
                return None;
            }
        }
        assert_eq!(stream.carry_len, 0, "{pieces:?}");
        Some((stream.phase, stream.remaining))
    };
    for pieces in [
        &[&b"1aF"[..], b"\r\n"][..],
        &[b"1", b"a", b"F", b"\r", b"\n"],
        &[b"1aF\r", b"\n"],
        &[b"0001aF", b"\r", b"\n"],
    ] {
        assert_eq!(line(pieces), Some((phase::CHUNK, 0x1af + 2)), "{pieces:?}");
    }
    assert_eq!(line(&[b"0", b"\r\n"]), Some((phase::TRAILERS, 0)));
    // Those that are not plain do.
    for pieces in [
        &[&b"1aF"[..], b";name=value\r\n"][..],
        &[b"1", b"\n"],
        &[b"00001aF", b"\r", b"\n"],
    ] {
        assert_eq!(line(pieces), None, "{pieces:?}");
    }
}

#[test]
fn other_protocols_are_refused() {
    for bytes in [
        &b"QUIT\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"EHLO example.org\r\n",
    ] {
        assert!(drive(&[bytes], false, class::PLAIN).is_err(), "{bytes:?}");
    }
    assert!(drive(&[b"HTTP/1.1 abc\r\n"], true, class::PLAIN).is_err());
}

#[test]
fn a_long_line_is_judged_by_all_its_first_bytes() {
    // PostgreSQL's `N` (no TLS) comes alone, and what follows has spaces, but no line.
    let answer = [
        &b"R\0\0\0\x08\0\0\0\0S\0\0\0\x1aapplication_name\0psql\0"[..],
        &[b' '; 400],
    ];
    let answer = answer.concat();
    assert!(drive(&[b"N", &answer], false, class::PLAIN).is_err());
    // A request that comes in the same two calls is one.
    let path = "x".repeat(400);
    let rest = format!("ET /{path} HTTP/1.1\r\n\r\n");
    assert!(drive(&[b"G", rest.as_bytes()], false, class::PLAIN).is_ok());
    let rest = format!("ROPFIND /{path} HTTP/1.1\r\n\r\n");
    assert!(drive(&[b"P", rest.as_bytes()], false, class::PLAIN).is_ok());
}

#[test]
fn likeness_of_first_bytes() {
    use super::likeness::{NEITHER, NEVER, REQUEST, RESPONSE, class_of, of};
    let judge = |bytes: &[u8]| {
        let mut word = [0; 8];
        let len = bytes.len().min(8);
        word[..len].copy_from_slice(&bytes[..len]);
        (
            of(u64::from_le_bytes(word), bytes.len() as u64),
            class_of(u64::from_le_bytes(word)),
        )
    };
    assert_eq!(judge(b"GET / HTTP/1.1"), (REQUEST, class::PLAIN));
    assert_eq!(judge(b"HEAD / HTTP/1.1"), (REQUEST, class::HEAD));
    assert_eq!(judge(b"CONNECT a:1 HTTP/1.1"), (REQUEST, class::CONNECT));
    assert_eq!(judge(b"M-SEARCH * HTTP/1.1").0, REQUEST);
    assert_eq!(judge(b"G").0, REQUEST);
    assert_eq!(judge(b"HTTP/1.1 200").0, RESPONSE);
    assert_eq!(judge(b"\x16\x03\x01").0, NEVER);
    assert_eq!(judge(b"*1\r\n$4\r\nPING").0, NEITHER);
    // Eight bytes of a token are not enough to tell; the line is, once it is whole.
    assert_eq!(judge(b"SSH-2.0 x").0, REQUEST);
    for banner in [&b"SSH-2.0 x\r\n"[..], b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"] {
        assert!(drive(&[banner], false, class::PLAIN).is_err());
    }
    assert_eq!(judge(b"\0\0\0\x08\x04").0, NEITHER);
    assert_eq!(judge(b"").0, NEITHER);
    assert_eq!(judge(b"SET x HTTP/1.1\r\n").0, NEITHER);
    assert_eq!(judge(b"GET http://a/").0, REQUEST);
    assert_eq!(judge(b"OPTIONS *").0, REQUEST);
    assert_eq!(judge(b"PROXY TCP4 10.0.0.1").0, NEITHER);
    // A method is a token of any case; ends of lines may come before it.
    for bytes in [
        &b"patch /a"[..],
        b"x-1_b /",
        b"\r\nGET / H",
        b"\r\n\r\nGET / H",
        b"\nHEAD /",
    ] {
        assert_eq!(judge(bytes).0, REQUEST, "{bytes:?}");
    }
    assert_eq!(judge(b"\r\nHEAD / HTTP/1.1").1, class::HEAD);
    assert_eq!(judge(b"\r\n").0, super::likeness::BLANK);
    for bytes in [
        &b" GET / H"[..],
        b"get hello",
        b"a(b /cde",
        b"\r\n{\"a\":",
        b"+OK\r\n",
    ] {
        assert_eq!(judge(bytes).0, NEITHER, "{bytes:?}");
    }
}

/// Whether the bytes of one call are a request, as the first of a connection.
fn begins(bytes: &[u8]) -> bool {
    drive(&[bytes], false, class::PLAIN).is_ok_and(|(seen, stream)| {
        !seen.is_empty() || (stream.phase != super::phase::START && stream.candidate == 0)
    })
}

#[test]
fn a_request_has_method_space_target_and_version() {
    for line in [
        "GET / HTTP/1.1",
        "patch /a HTTP/1.1",
        "x-Reload_2 /a HTTP/1.0",
        "AVERYLONGMETHODOFMANYMORETHANTHIRTYTWOLETTERS /a HTTP/1.1",
        "CONNECT example.org:443 HTTP/1.1",
        "GET http://h/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/9.9",
        "GET / HTTP/1.1 ",
        "GET / HTTP/1.10",
        "GET / http/1.1",
        "\r\n\r\nGET / HTTP/1.1",
    ] {
        for end in ["\r\n\r\n", "\n\n"] {
            assert!(begins(format!("{line}{end}").as_bytes()), "{line:?}");
        }
    }
    for text in [
        "GET /",
        "OPTIONS sip:a@b SIP/2.0",
        "OPTIONS rtsp://h/ RTSP/1.0",
        "REQMOD icap://h/ ICAP/1.0",
        "PRI * HTTP/2.0",
        "SELECT * FROM t",
        "RETR /a",
        "message GET / HTTP/1.1",
        " GET / HTTP/1.1",
        "G@T / HTTP/1.1",
        "GET /HTTP/1.1",
        "SSH-2.0-OpenSSH_9.2",
    ] {
        assert!(!begins(format!("{text}\r\n\r\n").as_bytes()), "{text:?}");
    }
}

#[test]
fn bytes_without_lines_are_no_request_however_many() {
    for unit in ["A", "ACGT", "DEADBEEF", "abcdef0123", "a-b", "AAAA/+"] {
        for len in [1, 7, 8, 9, 63, 64, 65, 66, 1_000, 1_016, 5_000] {
            let bytes: Vec<u8> = unit.bytes().cycle().take(len).collect();
            assert!(!begins(&bytes), "{len} bytes of {unit}");
        }
    }
    // A long target is one when its line ends in a version, and not before.
    let mut bytes = format!("GET /{}", "x".repeat(5_000)).into_bytes();
    assert!(!begins(&bytes));
    bytes.extend_from_slice(b" HTTP/1.1\r\n\r\n");
    assert!(begins(&bytes));
}

#[test]
fn what_follows_an_answer_to_head_is_passed_over() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
    let next = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    let both = [&head[..], b"small!"].concat();
    let joined = [&both[..], next].concat();
    for pieces in [
        &[&head[..], b"small!", next][..],
        &[&both, next],
        &[&joined],
        &[head, b"sma", b"ll!", next],
        &[head, next],
    ] {
        let (seen, _) = drive(pieces, true, class::HEAD).expect("well-formed");
        let status: Vec<_> = seen.iter().map(|message| message.status).collect();
        assert_eq!(status, [200, 404], "{pieces:?}");
    }
    // Of a length that nobody told: what comes next is known by standing at the beginning.
    let unknown = b"HTTP/1.1 200 OK\r\n\r\nabc";
    let (seen, _) = drive(&[unknown, b"def", next], true, class::HEAD).expect("well-formed");
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_length_that_is_none_ends_the_message_with_its_head() {
    for field in [
        "Content-Length: +3",
        "Content-Length: -1",
        "Content-Length: abc",
        "Content-Length: ",
        "Content-Length:",
        "Content-Length: 3abc",
        "Content-Length: 0x3",
        "Content-Length: 3, 4",
        "Content-Length: 99999999999999999999",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3\r\nX: y\r\nContent-Length: 30",
        "Transfer-Encoding: gzip",
    ] {
        let head = format!("POST /a HTTP/1.1\r\n{field}\r\n\r\nabc");
        let next = b"GET /b HTTP/1.1\r\n\r\n";
        let (seen, stream) = drive(&[head.as_bytes()], false, class::PLAIN).expect("a request");
        assert_eq!((seen.len(), stream.astray), (1, 1), "{field}");
        let pieces = [head.as_bytes(), b"GET / is no line of a request", next];
        let (seen, stream) = drive(&pieces, false, class::PLAIN).expect("requests");
        assert_eq!((seen.len(), stream.astray), (2, 0), "{field}");
    }
    for field in [
        "Content-Length:3",
        "Content-Length: \t3 ",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 03",
    ] {
        let whole = format!("POST /a HTTP/1.1\r\n{field}\r\n\r\nabc");
        let (seen, stream) = drive(&[whole.as_bytes()], false, class::PLAIN).expect("a request");
        assert_eq!((seen[0].body, stream.astray), (3, 0), "{field}");
    }
}

#[test]
fn a_request_in_place_of_a_body_is_found() {
    let finds = |bytes: &[u8]| {
        let mut buffer = [0u64; (WINDOW + SLACK) / 8];
        let window = bytes_of(&mut buffer);
        let len = bytes.len().min(WINDOW_MAX);
        window[..len].copy_from_slice(&bytes[..len]);
        let mut stream = Stream::REQUESTS;
        // SAFETY: the window has its slack.
        unsafe { stream.finds_request(window.as_ptr(), len) }
    };
    assert!(finds(b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(finds(b"patch /next HTTP/1.1\r\n"));
    for body in [
        &b"abc"[..],
        b"GET /next",
        b"{\"a\": 1}\r\n",
        b"a=b HTTP/1.1\r\n",
        &[b'A'; 2_000],
    ] {
        assert!(!finds(body), "{body:?}");
    }
}
