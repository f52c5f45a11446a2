//! Resets, GOAWAY and the end of the connection.

use super::*;

const CANCEL: u32 = 8;
const REFUSED_STREAM: u32 = 7;

fn opened(wire: &mut Wire) -> Vec<u8> {
    wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()])
}

fn close(wire: &Wire, reason: u8) -> Vec<u8> {
    wire.close(20_000, reason)
}

#[test]
fn a_reset_ends_a_stream_with_its_name() {
    for (by_client, code, name) in [
        (true, CANCEL, "CANCEL"),
        (false, REFUSED_STREAM, "REFUSED_STREAM"),
        (false, 99, "INTERNAL_ERROR"),
    ] {
        let seen = one(role::SERVER, |wire| {
            let reset = [Entry::reset(1, code)];
            let first = opened(wire);
            let last = if by_client {
                wire.client(4_000, &reset)
            } else {
                wire.server(4_000, &reset)
            };
            vec![first, last]
        });
        assert_eq!((seen.error, seen.duration), (text(name), 3_000));
        assert_eq!(seen.incomplete, ["response_not_seen"]);
        assert_eq!((seen.ttfb, seen.bodies), (None, (Some(0), None)));
    }
}

#[test]
fn a_reset_in_pieces_before_its_request_is_told_of() {
    let seen = one(role::CLIENT, |wire| {
        let [one, two] = Entry::reset(1, CANCEL).split(1);
        vec![
            wire.server(4_000, &[one]),
            wire.server(4_100, &[two]),
            opened(wire),
        ]
    });
    assert_eq!((seen.error, seen.duration), (text("CANCEL"), 3_100));
}

#[test]
fn a_reset_after_the_response_is_no_error() {
    let upload = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens()]),
            wire.server(3_000, &[Entry::headers(1, OK_FIELDS).ends()]),
            wire.server(4_000, &[Entry::reset(1, 0)]),
        ]
    });
    assert_eq!((upload.error, upload.duration), (None, 2_000));
    assert_eq!(upload.incomplete, ["request_incomplete"]);
}

#[test]
fn a_reset_within_the_response() {
    let seen = one(role::CLIENT, |wire| {
        vec![
            opened(wire),
            wire.server(3_000, &[Entry::headers(1, OK_FIELDS), Entry::data(1, 9, 0)]),
            wire.client(5_000, &[Entry::reset(1, CANCEL)]),
            // What was on its way is ignored.
            wire.server(6_000, &[Entry::data(1, 9, 0).ends()]),
        ]
    });
    assert_eq!((seen.error, seen.duration), (text("CANCEL"), 4_000));
    assert_eq!((seen.status, seen.bodies.1), (Some(200), Some(9)));
    assert_eq!(seen.incomplete, ["response_incomplete"]);
}

/// Curl closes the connection without reading the empty frame that ends the stream.
#[test]
fn all_content_and_no_end_of_the_stream() {
    let fields = [OK_FIELDS, &[("content-length", "9")]].concat();
    let ended = |content| {
        one(role::CLIENT, |wire| {
            let response = [Entry::headers(1, &fields), Entry::data(1, content, 0)];
            vec![
                opened(wire),
                wire.server(3_000, &response),
                close(wire, close_reason::LOCAL),
            ]
        })
    };
    let seen = ended(9);
    assert_eq!((seen.error, seen.duration), (None, 2_000));
    assert_eq!((seen.bodies.1, seen.incomplete.len()), (Some(9), 0));
    let seen = ended(8);
    assert_eq!((seen.error, seen.duration), (text(CLOSED), 2_000));
    assert_eq!(seen.incomplete, ["response_incomplete"]);
}

/// A response that has no content is whole with its head (RFC 9110, section 6.4.1).
#[test]
fn a_head_without_content_and_no_end_of_the_stream() {
    let ended = |method: &'static str, status: &'static str| {
        let request = [&GET_FIELDS[1..], &[(":method", method)]].concat();
        let response = [(":status", status), ("content-length", "9")];
        one(role::CLIENT, |wire| {
            vec![
                wire.client(1_000, &[Entry::headers(1, &request).opens().ends()]),
                wire.server(3_000, &[Entry::headers(1, &response)]),
                close(wire, close_reason::LOCAL),
            ]
        })
    };
    for (method, status) in [
        ("HEAD", "200"),
        ("HEAD", "301"),
        ("GET", "304"),
        ("GET", "204"),
    ] {
        let seen = ended(method, status);
        assert_eq!(
            (seen.error, seen.duration),
            (None, 2_000),
            "{method} {status}"
        );
        assert_eq!((seen.bodies.1, seen.incomplete.len()), (Some(0), 0));
    }
    for (method, status, incomplete) in [
        ("GET", "200", "response_incomplete"),
        ("HEAD", "103", "response_not_seen"),
    ] {
        let seen = ended(method, status);
        assert_eq!(seen.error, text(CLOSED), "{method} {status}");
        assert_eq!(seen.incomplete, [incomplete]);
    }
}

#[test]
fn a_goaway_gives_up_the_streams_above_its_last() {
    for (code, name) in [(0, "GOAWAY"), (11, "ENHANCE_YOUR_CALM")] {
        let mut wire = Wire::new(7);
        let open = |id| Entry::headers(id, GET_FIELDS).opens().ends();
        let records = [
            wire.conn(role::CLIENT, false),
            wire.client(1_000, &[open(1), open(3)]),
            wire.server(2_000, &[Entry::goaway((1 << 31) - 1, 0)]),
            wire.server(3_000, &[Entry::goaway(1, code)]),
            // Sent before the GOAWAY was read.
            wire.client(2_500, &[open(5)]),
            wire.server(4_000, &[Entry::headers(1, OK_FIELDS).ends()]),
        ];
        let (seen, summary) = told(records);
        assert_eq!((summary.emitted, summary.in_flight), (3, 0));
        let errors: Vec<_> = seen.iter().map(|seen| seen.error.as_deref()).collect();
        assert_eq!(errors, [Some(name), Some(name), None]);
        assert_eq!(seen[0].duration, 2_000);
    }
}

#[test]
fn the_end_of_the_connection_ends_its_streams() {
    let ended = |reason, response: &[Entry]| {
        one(role::CLIENT, |wire| {
            let mut records = vec![opened(wire)];
            if !response.is_empty() {
                records.push(wire.server(5_000, response));
            }
            records.push(close(wire, reason));
            records
        })
    };
    let seen = ended(close_reason::RESET, &[]);
    assert_eq!((seen.error, seen.duration), (text(RESET), 19_000));
    assert_eq!(seen.incomplete, ["response_not_seen"]);
    let seen = ended(close_reason::LOCAL, &[Entry::headers(1, OK_FIELDS)]);
    assert_eq!((seen.error, seen.duration), (text(CLOSED), 4_000));
    assert_eq!(seen.incomplete, ["response_incomplete"]);
    let seen = ended(close_reason::LOCAL, &[Entry::goaway(1, 2)]);
    assert_eq!(seen.error, text("INTERNAL_ERROR"));
    let seen = ended(close_reason::FRAMING_LOST, &[]);
    assert_eq!(seen.error, None);
    assert_eq!(seen.incomplete, ["response_not_seen", "framing_lost"]);
}

#[test]
fn a_connection_without_streams_is_silence() {
    let mut wire = Wire::new(7);
    let (seen, summary) = told([
        wire.conn(role::CLIENT, false),
        wire.server(2_000, &[Entry::goaway(0, 0)]),
        close(&wire, close_reason::LOCAL),
    ]);
    assert_eq!((seen.len(), summary.seen, summary.orphans), (0, 0, 0));
}

#[test]
fn a_request_that_never_ends_waits_for_the_connection() {
    let seen = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens()]),
            wire.server(3_000, &[Entry::headers(1, OK_FIELDS).ends()]),
            close(wire, close_reason::LOCAL),
        ]
    });
    assert_eq!((seen.error, seen.duration), (None, 2_000));
    assert_eq!(seen.incomplete, ["request_incomplete"]);
}
