//! Connections that were there before the agent.

use super::*;

#[test]
fn what_is_not_known_is_named_and_what_is_new_is_right() {
    let mut wire = Wire::new(7);
    let path = frames::literals(0x40, &[(":path", "/new.Service/Call")]);
    // POST http, and five entries from before.
    let old = [&b"\x83\x86"[..], b"\xbe\xbf\xc0\xc1\xc2"].concat();
    let records = [
        wire.conn(role::CLIENT, true),
        wire.client(1_000, &[Entry::block(2_001, &old).opens().ends()]),
        wire.server(
            2_000,
            &[
                Entry::block(2_001, b"\x88\xbe"),
                Entry::block(2_001, b"\xbf").ends(),
            ],
        ),
        wire.client(
            3_000,
            &[Entry::block(2_003, &[&b"\x83\x86"[..], &path].concat())
                .opens()
                .ends()],
        ),
        wire.server(
            4_000,
            &[Entry::headers(2_003, &[ANSWER, TRAILERS].concat()).ends()],
        ),
        wire.client(
            5_000,
            &[Entry::block(2_005, b"\x83\x86\xbe").opens().ends()],
        ),
        wire.server(
            6_000,
            &[Entry::headers(2_005, &[ANSWER, TRAILERS].concat()).ends()],
        ),
    ];
    let (seen, summary) = told(records);
    assert_eq!((summary.emitted, summary.orphans), (3, 0));
    assert_eq!((&seen[0].method, &seen[0].path), (&text("POST"), &None));
    assert_eq!((seen[0].status, seen[0].duration), (Some(200), 1_000));
    assert_eq!(seen[0].incomplete, ["hpack_table_unknown"]);
    for seen in &seen[1..] {
        assert_eq!(seen.path, text("/new.Service/Call"));
        let rpc = seen.rpc.as_ref().unwrap();
        assert_eq!(
            (rpc.method.as_str(), rpc.status),
            ("new.Service/Call", Some(0))
        );
        assert!(seen.incomplete.is_empty());
    }
}

#[test]
fn streams_from_before_are_ignored() {
    let mut wire = Wire::new(7);
    let records = [
        wire.conn(role::SERVER, true),
        // The rest of a response, the trailers of a request, and a response that had not begun.
        wire.server(
            1_000,
            &[
                Entry::data(1_999, 10, 1),
                Entry::block(1_999, b"\xbe").ends(),
            ],
        ),
        wire.client(
            1_100,
            &[Entry::headers(1_997, &[("x-checksum", "1")]).opens().ends()],
        ),
        wire.server(1_200, &[Entry::headers(1_997, ANSWER)]),
        wire.server(1_300, &[Entry::headers(1_995, OK_FIELDS).ends()]),
        wire.server(1_400, &[Entry::reset(1_993, 8)]),
        wire.client(2_000, &[Entry::headers(2_001, GET_FIELDS).opens().ends()]),
        wire.server(3_000, &[Entry::headers(2_001, OK_FIELDS).ends()]),
        wire.server(3_100, &[Entry::headers(1_997, TRAILERS).ends()]),
    ];
    let (seen, summary) = told(records);
    assert_eq!((seen.len(), summary.emitted, summary.in_flight), (1, 1, 0));
    assert_eq!(
        (&seen[0].path, seen[0].duration),
        (&text("/users/7"), 1_000)
    );
    assert!(summary.orphans > 0);
}
