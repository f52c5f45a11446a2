//! Streams: how they begin, end and are lost.

use super::*;
use crate::capture::ledger::Summary;
use crate::frames::{
    self, ANSWER, CALL, Entry, GET as GET_FIELDS, OK as OK_FIELDS, TRAILERS, Wire,
};
use remora_common::record::{frame_part, side};

mod ends;
mod grpc;
mod joined;
mod loss;
mod upgrade;

/// What a stream of records gives, and the totals if the kernel counted nothing.
fn told<R: AsRef<[u8]>>(records: impl IntoIterator<Item = R>) -> (Vec<Seen>, Summary) {
    let (seen, mut pipeline) = run(records);
    pipeline.set_kernel_counters(Default::default());
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced(), "{summary:?}");
    assert_eq!(pipeline.http2.len() as u64, summary.in_flight);
    (seen, summary)
}

/// The only exchange of a connection that is seen from its start.
fn one(role: u8, records: impl FnOnce(&mut Wire) -> Vec<Vec<u8>>) -> Seen {
    let mut wire = Wire::new(7);
    let mut all = vec![stream::process(42, "app"), wire.conn(role, false)];
    all.extend(records(&mut wire));
    let (mut seen, summary) = told(all);
    assert_eq!((summary.emitted, summary.lost.total()), (1, 0), "{seen:?}");
    seen.remove(0)
}

#[test]
fn a_request_and_its_response_make_an_exchange() {
    let seen = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
            wire.server(5_000, &[Entry::headers(1, OK_FIELDS), Entry::data(1, 7, 0)]),
            wire.server(9_000, &[Entry::data(1, 5, 0).ends()]),
        ]
    });
    let seed = Seed([1, 2]);
    let index = 1 | 1 << 31;
    let expected = Seen {
        start: 1_000 + OFFSET as u64,
        duration: 8_000,
        ttfb: Some(4_000),
        side: Side::Server,
        protocol: Protocol::Http2,
        method: text("GET"),
        path: text("/users/7"),
        query: text("fields=name"),
        authority: text("api.example:8080"),
        user_agent: text("curl/7.88.1"),
        status: Some(200),
        rpc: None,
        bodies: (Some(0), Some(12)),
        comm: "app".to_owned(),
        tgid: 42,
        tid: 43,
        conn: 7,
        trace_id: seed.trace_id(7, index),
        span_id: seed.span_id(7, index),
        parent: None,
        flags: 3,
        state: None,
        error: None,
        incomplete: vec![],
    };
    assert_eq!(seen, expected);
}

#[test]
fn the_order_of_the_two_directions_does_not_matter() {
    let entries = [
        Entry::headers(1, CALL).opens(),
        Entry::data(1, 25, 1).ends(),
    ];
    let answer = [
        Entry::headers(1, ANSWER),
        Entry::data(1, 105, 1),
        Entry::headers(1, TRAILERS).ends(),
    ];
    let first = one(role::CLIENT, |wire| {
        vec![wire.client(1_000, &entries), wire.server(9_000, &answer)]
    });
    let last = one(role::CLIENT, |wire| {
        vec![wire.server(9_000, &answer), wire.client(1_000, &entries)]
    });
    assert_eq!(first, last);
    // The response is over before the end of the request is told of.
    let between = one(role::CLIENT, |wire| {
        vec![
            wire.client(1_000, &entries[..1]),
            wire.server(9_000, &answer),
            wire.client(1_000, &entries[1..]),
        ]
    });
    assert_eq!(first, between);
    assert_eq!(first.duration, 8_000);
}

#[test]
fn two_thousand_streams_finish_out_of_order_each_with_its_own_duration() {
    let mut wire = Wire::new(7);
    let mut records = vec![wire.conn(role::SERVER, false)];
    let streams = 2_000u32;
    for number in 0..streams {
        let path = format!("/{number}");
        let fields = [(":method", "GET"), (":path", path.as_str())];
        let block = frames::literals(0x40, &fields);
        let request = Entry::block(2 * number + 1, &block).opens().ends();
        records.push(wire.client(1_000 + u64::from(number), &[request]));
    }
    let order = |number: u32| number * 7 % streams;
    for number in 0..streams {
        let stream = 2 * order(number) + 1;
        records.push(wire.server(10_000, &[Entry::headers(stream, OK_FIELDS)]));
    }
    for number in 0..streams {
        let stream = 2 * order(number) + 1;
        let end = Entry::data(stream, stream, 0).ends();
        records.push(wire.server(100_000 + u64::from(number), &[end]));
    }
    let (seen, summary) = told(records);
    assert_eq!((summary.emitted, summary.in_flight), (2_000, 0));
    for (seen, number) in seen.iter().zip(0..) {
        let own = order(number);
        assert_eq!(seen.path, Some(format!("/{own}")));
        assert_eq!(seen.duration, 99_000 + u64::from(number) - u64::from(own));
        assert_eq!(seen.bodies, (Some(0), Some(u64::from(2 * own + 1))));
    }
}

#[test]
fn header_blocks_in_any_pieces_say_the_same() {
    let block = frames::literals(0x40, GET_FIELDS);
    let answer = |wire: &mut Wire| wire.server(9_000, &[Entry::headers(1, OK_FIELDS).ends()]);
    let whole = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::block(1, &block).opens().ends()]),
            answer(wire),
        ]
    });
    for at in 0..=block.len() {
        let pieces = Entry::block(1, &block).opens().ends().split(at);
        let split = one(role::SERVER, |wire| {
            let [one, two] = pieces;
            vec![
                wire.client(1_000, &[one]),
                wire.client(1_200, &[two]),
                answer(wire),
            ]
        });
        assert_eq!(split, whole, "{at}");
        let (one_part, rest) = block.split_at(at);
        let continued = one(role::SERVER, |wire| {
            let first = Entry::block(1, one_part).flags(frames::END_STREAM).opens();
            let end = Entry::continuation(1, frames::END_HEADERS, rest);
            vec![
                wire.client(1_000, &[first]),
                wire.client(1_200, &[end]),
                answer(wire),
            ]
        });
        assert_eq!(continued, whole, "{at}");
    }
}

#[test]
fn padding_is_no_body() {
    let seen = one(role::SERVER, |wire| {
        let mut padded = Entry::data(1, 50, 0).flags(frames::PADDED);
        padded.frame.padding = 9;
        let mut more = Entry::data(1, 10, 0).flags(frames::PADDED | frames::END_STREAM);
        more.frame.part = frame_part::LAST;
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
            wire.server(
                2_000,
                &[
                    Entry::headers(1, OK_FIELDS),
                    padded.clone().part(frame_part::FIRST),
                    more,
                ],
            ),
        ]
    });
    assert_eq!(seen.bodies, (Some(0), Some(50)));
}

#[test]
fn interim_responses_are_not_the_response() {
    let seen = one(role::CLIENT, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
            wire.server(2_000, &[Entry::headers(1, &[(":status", "103")])]),
            wire.server(5_000, &[Entry::headers(1, &[(":status", "404")]).ends()]),
        ]
    });
    assert_eq!((seen.status, seen.ttfb), (Some(404), Some(4_000)));
    assert_eq!(seen.error, text("404"));
}

#[test]
fn pushed_streams_keep_the_table_right_and_show_nothing() {
    let seen = one(role::CLIENT, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, GET_FIELDS).opens().ends()]),
            wire.server(
                2_000,
                &[
                    Entry::promise(1, 2, &[(":method", "GET"), (":path", "/pushed")]),
                    Entry::block(2, &frames::literals(0x40, &[(":status", "203")])).ends(),
                    // The status of the pushed response, by index.
                    Entry::block(1, b"\xbe").ends(),
                ],
            ),
        ]
    });
    assert_eq!((seen.path, seen.status), (text("/users/7"), Some(203)));
}

#[test]
fn a_connect_request_has_its_authority_for_a_path() {
    let fields = [
        (":method", "CONNECT"),
        (":authority", "user:secret@db:5432"),
    ];
    let seen = one(role::CLIENT, |wire| {
        vec![
            wire.client(
                1_000,
                &[
                    Entry::headers(1, &fields).opens(),
                    Entry::data(1, 9, 0).ends(),
                ],
            ),
            wire.server(
                2_000,
                &[Entry::headers(1, OK_FIELDS), Entry::data(1, 5, 0).ends()],
            ),
        ]
    });
    assert_eq!(
        (seen.path, seen.authority),
        (text("db:5432"), text("db:5432"))
    );
    assert_eq!(seen.bodies, (Some(9), Some(5)));
}

#[test]
fn a_received_context_is_honoured() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{id}-00f067aa0ba902b7-01");
    let fields = [
        CALL,
        &[
            ("traceparent", parent.as_str()),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ],
    ]
    .concat();
    let seen = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, &fields).opens().ends()]),
            wire.server(2_000, &[Entry::headers(1, OK_FIELDS).ends()]),
        ]
    });
    assert_eq!(
        u128::from_be_bytes(seen.trace_id),
        u128::from_str_radix(id, 16).unwrap()
    );
    assert_eq!(
        seen.parent,
        Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
    );
    assert_eq!(seen.state, text("a=1,b=2"));
}
