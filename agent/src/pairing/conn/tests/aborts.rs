use super::*;
use remora_common::pod::Pod;
use remora_common::record::RESPONSE_COMPLETE_AT_CLOSE;

fn closed(change: impl FnOnce(&mut Close)) -> Vec<u8> {
    let mut close = stream::close_record(7, 1, 0);
    change(&mut close);
    close.as_bytes().to_vec()
}

#[test]
fn an_idle_connection_closes_in_silence() {
    let (seen, pipeline) = run([stream::server(7), stream::close(7, 0, 0)]);
    assert!(seen.is_empty());
    assert_eq!(pipeline.occupancy().conns, 0);
    let after = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK)),
        closed(|close| (close.response_index, close.reason) = (1, close_reason::RESET)),
    ]);
    assert_eq!(after.error, None);
}

#[test]
fn a_request_without_response_ends_with_the_connection_and_its_reason() {
    for (reason, errno, error) in [
        (close_reason::LOCAL, 0, text("connection_closed")),
        (close_reason::RESET, 0, text("connection_reset")),
        (close_reason::ERROR, 104, text("connection_reset")),
        (close_reason::ERROR, 110, text("timeout")),
        (close_reason::ERROR, 113, text("connection_closed")),
        (close_reason::REPLACED, 0, text("connection_closed")),
        (close_reason::SWITCHED, 0, None),
    ] {
        let seen = only([
            stream::client(7),
            stream::message(7, 0, Part::request(GET).body(5)),
            closed(|close| (close.reason, close.errno) = (reason, errno)),
        ]);
        assert_eq!(seen.error, error, "{reason} {errno}");
        assert_eq!(
            (seen.status, seen.ttfb, seen.duration),
            (None, None, 19_000)
        );
        assert_eq!(seen.bodies, (Some(5), None));
        assert_eq!(seen.incomplete, ["response_not_seen"]);
    }
}

#[test]
fn lost_framing_is_no_error_but_is_marked() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        closed(|close| close.reason = close_reason::FRAMING_LOST),
    ]);
    assert_eq!(
        (seen.error, seen.incomplete),
        (None, vec!["response_not_seen", "framing_lost"])
    );
    let lost = stream::WHOLE | flags::FRAMING_LOST;
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK).flags(lost)),
    ]);
    assert_eq!(
        (seen.status, seen.incomplete),
        (Some(200), vec!["framing_lost"])
    );
}

#[test]
fn a_response_that_breaks_off_keeps_its_status() {
    let broken = |status: &str, reason| {
        let head = format!("HTTP/1.1 {status}\r\n\r\n");
        only([
            stream::client(7),
            stream::message(7, 0, Part::request(GET)),
            stream::message(
                7,
                0,
                Part::response(head.as_bytes())
                    .flags(START | HEAD_END)
                    .body(10),
            ),
            closed(|close| {
                (close.reason, close.response_open) = (reason, 1);
                (close.response_body, close.response_last) = (4_000, 15_000);
            }),
        ])
    };
    let seen = broken("200 OK", close_reason::RESET);
    assert_eq!(
        (seen.status, seen.error),
        (Some(200), text("connection_reset"))
    );
    assert_eq!((seen.duration, seen.ttfb), (14_000, Some(4_000)));
    assert_eq!(seen.bodies, (Some(0), Some(4_000)));
    assert_eq!(seen.incomplete, ["response_incomplete"]);
    // A status that is an error by itself says more than the break.
    assert_eq!(broken("503 x", close_reason::RESET).error, text("503"));
}

#[test]
fn a_response_that_ends_with_the_connection_is_whole() {
    let seen = only([
        stream::client(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(
            7,
            0,
            Part::response(OK).flags(START | HEAD_END | flags::UNTIL_CLOSE),
        ),
        closed(|close| {
            close.response_open = RESPONSE_COMPLETE_AT_CLOSE;
            (close.response_body, close.response_last) = (1 << 33, 15_000);
        }),
    ]);
    assert_eq!(
        (seen.error, seen.incomplete.len(), seen.duration),
        (None, 0, 14_000)
    );
    assert_eq!(seen.bodies.1, Some(1 << 33));
}

#[test]
fn a_request_that_breaks_off_is_marked() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(b"POST /up HTT").flags(START)),
        closed(|close| (close.request_open, close.request_body) = (1, 0)),
    ]);
    assert_eq!((seen.method, seen.path), (text("POST"), text("/up")));
    assert_eq!(seen.error, text("connection_closed"));
    assert_eq!(seen.incomplete, ["response_not_seen", "request_incomplete"]);
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET).flags(START | HEAD_END)),
        closed(|close| (close.request_open, close.request_body) = (1, 1_234)),
    ]);
    assert_eq!(seen.bodies, (Some(1_234), None));
}

#[test]
fn an_early_answer_counts_even_if_the_request_never_ends() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET).flags(START | HEAD_END)),
        stream::message(7, 0, Part::response(b"HTTP/1.1 200 OK\r\n\r\n")),
        closed(|close| (close.response_index, close.request_open) = (1, 1)),
    ]);
    assert_eq!((seen.status, seen.error), (Some(200), None));
    assert_eq!(seen.incomplete, ["request_incomplete"]);
}

#[test]
fn all_of_a_broken_pipeline_is_resolved_in_order() {
    let mut records = vec![stream::client(7)];
    for index in 0..5 {
        let head = format!("GET /{index} HTTP/1.1\r\n\r\n");
        let flags = if index == 4 { START } else { stream::WHOLE };
        records.push(stream::message(
            7,
            index,
            Part::request(head.as_bytes()).flags(flags),
        ));
    }
    records.push(stream::message(7, 0, Part::response(OK)));
    records.push(stream::message(
        7,
        1,
        Part::response(OK).flags(START | HEAD_END),
    ));
    records.push(closed(|close| {
        (close.request_index, close.response_index) = (5, 1);
        (close.request_open, close.response_open) = (1, 1);
        close.response_last = 12_000;
    }));
    let (seen, pipeline) = run(&records);
    let paths: Vec<_> = seen
        .iter()
        .filter_map(|seen| seen.path.as_deref())
        .collect();
    assert_eq!(paths, ["/0", "/1", "/2", "/3", "/4"]);
    let marks: Vec<_> = seen.iter().map(|seen| seen.incomplete.join("+")).collect();
    assert_eq!(
        marks,
        [
            "",
            "response_incomplete",
            "response_not_seen",
            "response_not_seen",
            "response_not_seen+request_incomplete"
        ]
    );
    assert_eq!(pipeline.occupancy().exchanges, 0);
}

#[test]
fn the_process_of_an_aborted_request_may_be_gone_already() {
    let seen = only([
        stream::process(42, "gone"),
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::process_exit(42, false),
        stream::close(7, 1, 0),
    ]);
    assert_eq!(seen.comm, "gone");
}
