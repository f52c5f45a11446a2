//! Calls.

use super::*;

/// A call that the server answers so, the last of it at 9 µs.
fn call(role: u8, answer: &[Entry]) -> Seen {
    one(role, |wire| {
        let request = [
            Entry::headers(1, CALL).opens(),
            Entry::data(1, 25, 1).ends(),
        ];
        vec![wire.client(1_000, &request), wire.server(9_000, answer)]
    })
}

#[test]
fn a_unary_call() {
    let seen = call(
        role::SERVER,
        &[
            Entry::headers(1, ANSWER),
            Entry::data(1, 105, 1),
            Entry::headers(1, TRAILERS).ends(),
        ],
    );
    assert_eq!(seen.protocol, Protocol::Grpc);
    assert_eq!((seen.method, seen.status), (text("POST"), Some(200)));
    assert_eq!(seen.bodies, (Some(25), Some(105)));
    let expected = Call {
        method: "shop.v1.Orders/Get".to_owned(),
        status: Some(0),
        message: text(""),
        messages: (1, 1),
    };
    assert_eq!(seen.rpc, Some(expected));
    assert_eq!((seen.error, seen.incomplete), (None, vec![]));
}

#[test]
fn a_stream_of_thirty_seconds_is_one_call_of_thirty_seconds() {
    let second = 1_000_000_000;
    let seen = one(role::CLIENT, |wire| {
        let request = [Entry::headers(1, CALL).opens(), Entry::data(1, 25, 1)];
        let mut records = vec![
            wire.client(second, &request),
            wire.server(second + 7, &[Entry::headers(1, ANSWER)]),
        ];
        for at in 2..31 {
            records.push(wire.client(at * second, &[Entry::data(1, 30, 2)]));
            records.push(wire.server(at * second, &[Entry::data(1, 100, 3)]));
        }
        records.push(wire.client(31 * second, &[Entry::data(1, 0, 0).ends()]));
        records.push(wire.server(31 * second, &[Entry::headers(1, TRAILERS).ends()]));
        records
    });
    assert_eq!((seen.duration, seen.ttfb), (30 * second, Some(7)));
    assert_eq!(seen.rpc.map(|rpc| rpc.messages), Some((59, 87)));
}

#[test]
fn trailers_only_and_errors_by_side() {
    for (status, server, client) in [
        ("1", None, "CANCELLED"),
        ("2", Some("UNKNOWN"), "UNKNOWN"),
        ("4", Some("DEADLINE_EXCEEDED"), "DEADLINE_EXCEEDED"),
        ("5", None, "NOT_FOUND"),
        ("14", Some("UNAVAILABLE"), "UNAVAILABLE"),
    ] {
        let fields = [
            ANSWER,
            &[("grpc-status", status), ("grpc-message", "caf%C3%A9")],
        ]
        .concat();
        let answer = [Entry::headers(1, &fields).ends()];
        let seen = call(role::SERVER, &answer);
        assert_eq!(seen.error.as_deref(), server);
        assert_eq!(call(role::CLIENT, &answer).error.as_deref(), Some(client));
        let rpc = seen.rpc.unwrap();
        assert_eq!(rpc.status, status.parse().ok());
        assert_eq!((rpc.message, rpc.messages), (text("caf\u{e9}"), (1, 0)));
    }
}

#[test]
fn a_cancelled_call_is_not_one_whose_time_was_over() {
    let ended = |timeout: &str, elapsed: u64| {
        let fields = [CALL, &[("grpc-timeout", timeout)]].concat();
        let seen = one(role::SERVER, |wire| {
            let request = Entry::headers(1, &fields).opens();
            vec![
                wire.client(1_000, &[request]),
                wire.client(1_000 + elapsed, &[Entry::reset(1, 8)]),
            ]
        });
        assert_eq!(seen.rpc.unwrap().status, None);
        seen.error.unwrap()
    };
    let ms = 1_000_000;
    assert_eq!(ended("100m", 100 * ms), "DEADLINE_EXCEEDED");
    assert_eq!(ended("100m", 98 * ms), "DEADLINE_EXCEEDED");
    assert_eq!(ended("100m", 90 * ms), "DEADLINE_EXCEEDED");
    assert_eq!(ended("100m", 86 * ms), "CANCELLED");
    assert_eq!(ended("1S", 965 * ms), "DEADLINE_EXCEEDED");
    assert_eq!(ended("1S", 955 * ms), "CANCELLED");
    assert_eq!(ended("100m", 50 * ms), "CANCELLED");
    assert_eq!(ended("1H", 100 * ms), "CANCELLED");
    assert_eq!(ended("nonsense", 100 * ms), "CANCELLED");
}

#[test]
fn an_answer_that_is_none() {
    // A proxy's, in place of the service.
    let proxy = [(":status", "503"), ("content-type", "text/html")];
    let seen = call(role::CLIENT, &[Entry::headers(1, &proxy).ends()]);
    assert_eq!((seen.protocol, seen.error), (Protocol::Grpc, text("503")));
    // Without trailers.
    let cut = [Entry::headers(1, ANSWER), Entry::data(1, 9, 1).ends()];
    assert_eq!(call(role::SERVER, &cut).error, text("UNKNOWN"));
    // With a status that nobody defined.
    let odd = [ANSWER, &[("grpc-status", "99")]].concat();
    let seen = call(role::CLIENT, &[Entry::headers(1, &odd).ends()]);
    assert_eq!(
        (seen.error, seen.rpc.unwrap().status),
        (text("UNKNOWN"), None)
    );
}

#[test]
fn grpc_web_is_plain_http() {
    let fields = [
        (":method", "POST"),
        (":path", "/shop.v1.Orders/Get"),
        ("content-type", "application/grpc-web+proto"),
    ];
    let answer = [
        (":status", "200"),
        ("content-type", "application/grpc-web+proto"),
    ];
    let seen = one(role::SERVER, |wire| {
        vec![
            wire.client(1_000, &[Entry::headers(1, &fields).opens().ends()]),
            wire.server(
                9_000,
                &[Entry::headers(1, &answer), Entry::data(1, 9, 1).ends()],
            ),
        ]
    });
    assert_eq!(
        (seen.protocol, seen.rpc, seen.error),
        (Protocol::Http2, None, None)
    );
}
