//! `Upgrade: h2c`: stream 1 is the HTTP/1 request that asked for it.

use super::*;

const UPGRADE: &[u8] = b"GET /users/7?fields=name HTTP/1.1\r\nHost: api.example:8080\r\n\
    User-Agent: curl/7.88.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
    HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n";
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n";

fn request() -> Vec<u8> {
    stream::message(7, 0, Part::request(UPGRADE))
}

fn switching() -> Vec<u8> {
    let part = Part::response(SWITCHING).flags(START | HEAD_END | flags::SWITCHED);
    stream::message(7, 0, part.at(2_000, 2_100))
}

/// The kernel programs have counted the request when the 101 ended.
fn told_by_kernel(records: Vec<Vec<u8>>) -> (Vec<Seen>, Summary) {
    let (seen, mut pipeline) = run(records);
    let mut counters = Counters::default();
    counters[remora_common::counters::Counter::Started as usize] = 1;
    counters[remora_common::counters::Counter::Finished as usize] = 1;
    pipeline.set_kernel_counters(counters);
    let summary = pipeline.ledger().summary();
    assert!(summary.balanced(), "{summary:?}");
    (seen, summary)
}

#[test]
fn one_exchange_comes_of_it_and_streams_follow() {
    let mut wire = Wire::new(7);
    let answer = wire.server(
        9_000,
        &[Entry::headers(1, OK_FIELDS), Entry::data(1, 12, 0).ends()],
    );
    let more = [
        wire.client(10_000, &[Entry::headers(3, CALL).opens().ends()]),
        wire.server(
            11_000,
            &[Entry::headers(3, &[ANSWER, TRAILERS].concat()).ends()],
        ),
    ];
    // The answer may be told of before the request is.
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        let parts = [request(), switching(), answer.clone()];
        let mut records = vec![stream::client(7)];
        records.extend(order.map(|at| parts[at].clone()));
        records.extend(more.clone());
        records.push(stream::close(7, 1, 1));
        let (seen, summary) = told_by_kernel(records);
        assert_eq!((seen.len(), summary.seen, summary.in_flight), (2, 2, 0));
        let upgraded = &seen[0];
        assert_eq!(
            (upgraded.protocol, upgraded.status),
            (Protocol::Http2, Some(200))
        );
        assert_eq!(
            (&upgraded.method, &upgraded.path),
            (&text("GET"), &text("/users/7"))
        );
        assert_eq!(
            (&upgraded.query, &upgraded.authority),
            (&text("fields=name"), &text("api.example:8080"))
        );
        assert_eq!((upgraded.duration, upgraded.ttfb), (8_000, Some(8_000)));
        assert_eq!(upgraded.bodies, (Some(0), Some(12)));
        assert_eq!(upgraded.user_agent, text("curl/7.88.1"));
        assert!(upgraded.incomplete.is_empty());
        assert_eq!(seen[1].protocol, Protocol::Grpc);
    }
}

#[test]
fn it_is_not_counted_while_it_is_under_way() {
    let (seen, summary) = told_by_kernel(vec![stream::server(7), request(), switching()]);
    assert_eq!((seen.len(), summary.seen, summary.in_flight), (0, 0, 1));
}

#[test]
fn without_frames_it_was_an_http1_exchange() {
    let (seen, summary) = told_by_kernel(vec![
        stream::server(7),
        request(),
        switching(),
        stream::close(7, 1, 1),
    ]);
    assert_eq!((seen.len(), summary.seen), (1, 1));
    assert_eq!(
        (seen[0].protocol, seen[0].status),
        (Protocol::Http11, Some(101))
    );
    assert_eq!((seen[0].duration, seen[0].ttfb), (1_100, Some(1_000)));
    assert_eq!((&seen[0].error, seen[0].incomplete.len()), (&None, 0));
}

#[test]
fn other_changes_of_protocol_end_the_exchange() {
    let websocket = b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n";
    let (seen, _) = told_by_kernel(vec![
        stream::server(7),
        stream::message(7, 0, Part::request(websocket)),
        switching(),
    ]);
    assert_eq!(
        (seen[0].protocol, seen[0].status),
        (Protocol::Http11, Some(101))
    );
}
