use super::*;

#[test]
fn a_request_and_its_response_make_an_exchange() {
    let seen = only([
        stream::process(42, "nginx"),
        stream::server(7),
        stream::message(7, 0, Part::request(GET).body(3)),
        stream::message(7, 0, Part::response(OK).body(12)),
        stream::close(7, 1, 1),
    ]);
    let seed = Seed([1, 2]);
    let expected = Seen {
        start: 1_000 + OFFSET as u64,
        duration: 8_000,
        ttfb: Some(4_000),
        side: Side::Server,
        protocol: Protocol::Http11,
        method: text("GET"),
        path: text("/users/7"),
        query: text("fields=name"),
        authority: text("api.example:8080"),
        user_agent: text("curl/7.88.1"),
        status: Some(200),
        rpc: None,
        bodies: (Some(3), Some(12)),
        comm: "nginx".to_owned(),
        tgid: 42,
        tid: 43,
        conn: 7,
        trace_id: seed.trace_id(7, 0),
        span_id: seed.span_id(7, 0),
        parent: None,
        flags: 3,
        state: None,
        error: None,
        incomplete: vec![],
    };
    assert_eq!(seen, expected);
}

#[test]
fn the_order_of_the_records_does_not_matter() {
    let (request, response) = (
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK).body(12)),
    );
    let one = only([&stream::client(7), &request, &response]);
    let other = only([&stream::client(7), &response, &request]);
    assert_eq!(one, other);
    assert_eq!(one.side, Side::Client);
}

#[test]
fn ten_pipelined_requests_get_their_own_answers() {
    let heads: Vec<_> = (0..10)
        .map(|at| format!("GET /{at} HTTP/1.1\r\n\r\n"))
        .collect();
    let answers: Vec<_> = (0..10)
        .map(|at| format!("HTTP/1.1 {} x\r\n\r\n", 200 + at))
        .collect();
    let mut records = vec![stream::server(7)];
    for (head, index) in heads.iter().zip(0..) {
        records.push(stream::message(
            7,
            index,
            Part::request(head.as_bytes()).at(u64::from(index), 90),
        ));
    }
    for (head, index) in answers.iter().zip(0..) {
        records.push(stream::message(
            7,
            index,
            Part::response(head.as_bytes()).at(100, 200),
        ));
    }
    let (seen, pipeline) = run(&records);
    for (at, seen) in seen.iter().enumerate() {
        assert_eq!(seen.path, Some(format!("/{at}")));
        assert_eq!(seen.status, Some(200 + at as u16));
        assert_eq!(seen.duration, 200 - at as u64);
    }
    assert_eq!((seen.len(), pipeline.occupancy().exchanges), (10, 0));
    // And if all the requests are told of after the responses, last one first.
    records[1..].reverse();
    let (mut reversed, _) = run(&records);
    reversed.sort_by_key(|seen| seen.start);
    assert_eq!(reversed, seen);
}

#[test]
fn a_head_in_many_parts_is_put_together() {
    for cut in 1..GET.len() {
        let seen = only([
            stream::server(7),
            stream::message(7, 0, Part::request(&GET[..cut]).flags(START)),
            stream::message(
                7,
                0,
                Part::request(&GET[cut..]).flags(HEAD_END).at(9, 1_400),
            ),
            stream::message(7, 0, Part::request(b"").flags(END).at(9, 1_500).body(77)),
            stream::message(7, 0, Part::response(&OK[..cut.min(OK.len())]).flags(START)),
            stream::message(
                7,
                0,
                Part::response(&OK[cut.min(OK.len())..]).flags(HEAD_END),
            ),
            stream::message(7, 0, Part::response(b"").flags(END).at(9, 9_999).body(1)),
        ]);
        assert_eq!(seen.user_agent, text("curl/7.88.1"), "{cut}");
        assert_eq!(
            (seen.status, seen.bodies),
            (Some(200), (Some(77), Some(1))),
            "{cut}"
        );
        assert_eq!((seen.duration, seen.ttfb), (8_999, Some(4_000)), "{cut}");
        assert!(seen.incomplete.is_empty());
    }
}

#[test]
fn skipped_bytes_are_not_taken_twice() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(b"GET /abc").flags(START)),
        stream::message(
            7,
            0,
            Part::request(b"/abcdef HTTP/1.1\r\n\r\n")
                .flags(HEAD_END | END)
                .skip(4),
        ),
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!(seen.path, text("/abcdef"));
}

#[test]
fn a_truncated_head_gives_what_is_there_and_says_so() {
    let flags = stream::WHOLE | flags::HEAD_TRUNCATED;
    let cut = |len: usize| {
        only([
            stream::server(7),
            stream::message(7, 0, Part::request(&GET[..len]).flags(flags)),
            stream::message(7, 0, Part::response(OK).flags(flags)),
        ])
    };
    let in_target = cut(10);
    assert_eq!(
        (in_target.path, in_target.authority),
        (text("/users"), None)
    );
    assert_eq!(in_target.protocol, Protocol::Http11);
    assert_eq!(in_target.incomplete, ["head_truncated"]);
    let in_header = cut(GET.len() - 20);
    assert_eq!(
        (in_header.authority, in_header.user_agent),
        (text("api.example:8080"), None)
    );
    // Of a response only the first line is used: nothing is missing if the rest is cut.
    let response = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK).flags(flags)),
    ]);
    assert!(response.incomplete.is_empty());
}

#[test]
fn a_head_beyond_all_limits_is_cut_here_too() {
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(20_000));
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(long.as_bytes())),
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!(seen.path.map(|path| path.len()), Some(8_192 - "GET ".len()));
    assert_eq!(seen.incomplete, ["head_truncated"]);
}

#[test]
fn a_switch_of_protocols_ends_the_exchange_at_the_response_head() {
    let switched = START | HEAD_END | flags::SWITCHED;
    let connect = b"CONNECT db:5432 HTTP/1.1\r\nHost: db:5432\r\n\r\n";
    for request_flags in [stream::WHOLE, START | HEAD_END] {
        let seen = only([
            stream::client(7),
            stream::message(7, 0, Part::request(connect).flags(request_flags)),
            stream::message(
                7,
                0,
                Part::response(b"HTTP/1.1 200 OK\r\n\r\n").flags(switched),
            ),
            stream::close(7, 1, 1),
        ]);
        assert_eq!(
            (seen.path, seen.authority),
            (text("db:5432"), text("db:5432"))
        );
        assert_eq!((seen.error, seen.duration), (None, 8_000));
    }
}

#[test]
fn an_answer_that_comes_before_the_request_is_over_waits_for_it() {
    let (seen, _) = run([
        stream::server(7),
        stream::message(7, 0, Part::request(GET).flags(START | HEAD_END)),
        stream::message(7, 0, Part::response(b"HTTP/1.1 413 x\r\n\r\n")),
    ]);
    assert!(seen.is_empty());
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(GET).flags(START | HEAD_END)),
        stream::message(7, 0, Part::response(b"HTTP/1.1 413 x\r\n\r\n")),
        stream::message(
            7,
            0,
            Part::request(b"")
                .flags(END)
                .body(1 << 40)
                .at(1_000, 99_000),
        ),
    ]);
    assert_eq!(
        (seen.status, seen.error, seen.duration),
        (Some(413), None, 8_000)
    );
    assert_eq!(seen.bodies.0, Some(1 << 40));
}

#[test]
fn errors_by_status_depend_on_the_side() {
    for (status, server, client) in [
        (204, None, None),
        (304, None, None),
        (404, None, text("404")),
        (500, text("500"), text("500")),
        (599, text("599"), text("599")),
        (700, None, None),
    ] {
        let head = format!("HTTP/1.1 {status} x\r\n\r\n");
        let by = |conn: Vec<u8>| {
            let seen = only([
                conn,
                stream::message(7, 0, Part::request(GET)),
                stream::message(7, 0, Part::response(head.as_bytes())),
            ]);
            assert_eq!(seen.status, Some(status));
            seen.error
        };
        assert_eq!(by(stream::server(7)), server, "{status}");
        assert_eq!(by(stream::client(7)), client, "{status}");
    }
}

#[test]
fn a_received_context_is_honoured() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let with = |headers: &str| {
        let head = format!("GET / HTTP/1.0\r\n{headers}\r\n");
        only([
            stream::server(7),
            stream::message(7, 0, Part::request(head.as_bytes())),
            stream::message(7, 0, Part::response(OK)),
        ])
    };
    let parent = format!("traceparent: 00-{id}-00f067aa0ba902b7-00\r\n");
    let seen = with(&format!(
        "{parent}tracestate: a=1\r\nx: y\r\ntracestate: b=2, c=3\r\n"
    ));
    assert_eq!(
        u128::from_be_bytes(seen.trace_id),
        u128::from_str_radix(id, 16).unwrap()
    );
    assert_eq!(
        seen.parent,
        Some([0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7])
    );
    assert_eq!((seen.flags, seen.state), (0, text("a=1,b=2, c=3")));
    assert_eq!(seen.span_id, Seed([1, 2]).span_id(7, 0));
    assert_eq!(seen.protocol, Protocol::Http10);
    assert_eq!(
        with(&format!("{parent}tracestate: a=1\r\n")).state,
        text("a=1")
    );
    assert_eq!(with(&format!("{parent}tracestate: A=1\r\n")).state, None);
    let orphan = with("tracestate: a=1\r\n");
    // Sampled, and its id is random.
    assert_eq!((orphan.parent, orphan.state, orphan.flags), (None, None, 3));
    assert_eq!(with(&format!("{parent}{parent}")).parent, None);
}

#[test]
fn bytes_that_are_no_text_are_shown_as_well_as_can_be() {
    let seen = only([
        stream::server(7),
        stream::message(7, 0, Part::request(b"PURGE /\xe4\xff/\xc3\xa4?q=\xfe HTTP/1.1\r\nHost: \xe4\r\nUser-Agent: m\xfcller\r\n\r\n")),
        stream::message(7, 0, Part::response(OK)),
    ]);
    assert_eq!(seen.method, text("PURGE"));
    assert_eq!(
        (seen.path, seen.query),
        (text("/%E4%FF/\u{e4}"), text("q=%FE"))
    );
    assert_eq!(
        (seen.authority, seen.user_agent),
        (None, text("m\u{fffd}ller"))
    );
}

#[test]
fn the_process_is_the_one_that_handled_the_request() {
    let (seen, _) = run([
        stream::process(42, "master"),
        stream::process(50, "worker"),
        stream::server(7),
        // A descriptor passed on; the answer is sent by yet another process.
        stream::message(7, 0, Part::request(GET).by(50, 51)),
        stream::message(7, 0, Part::response(OK).by(42, 42)),
        // No process given: the connection's.
        stream::message(7, 1, Part::request(GET).by(0, 0)),
        stream::message(7, 1, Part::response(OK)),
        // A process of which nothing is known has no name.
        stream::message(7, 2, Part::request(GET).by(60, 61)),
        stream::message(7, 2, Part::response(OK)),
        // It is announced while a request is under way.
        stream::message(7, 3, Part::request(GET).by(60, 61)),
        stream::process(60, "late"),
        stream::message(7, 3, Part::response(OK)),
        // exec: the request under way belongs to the old program.
        stream::message(7, 4, Part::request(GET).by(50, 51)),
        stream::process_exit(50, true),
        stream::process(50, "new"),
        stream::message(7, 4, Part::response(OK)),
        stream::message(7, 5, Part::request(GET).by(50, 51)),
        stream::message(7, 5, Part::response(OK)),
    ]);
    let names: Vec<_> = seen
        .iter()
        .map(|seen| (seen.tgid, seen.comm.as_str()))
        .collect();
    assert_eq!(
        names,
        [
            (50, "worker"),
            (42, "master"),
            (60, ""),
            (60, "late"),
            (50, "worker"),
            (50, "new")
        ]
    );
    assert_eq!((seen[0].tid, seen[1].tid), (51, 0));
}

#[test]
fn an_announced_process_is_given_back_for_the_recording() {
    let mut pipeline = pipeline(Limits::default());
    let mut sink = Collect::default();
    let named = pipeline
        .record(&stream::process(9, "app"), &mut sink)
        .cloned();
    assert_eq!(
        named.map(|info| (info.tgid, info.comm)),
        Some((9, "app".to_owned()))
    );
    assert_eq!(pipeline.record(&stream::server(7), &mut sink), None);
}

#[test]
fn unix_sockets() {
    struct Peer(Vec<(Endpoint, Endpoint)>);
    impl Sink for Peer {
        fn exchange(&mut self, e: &Exchange<'_>) {
            self.0.push((e.conn.local.clone(), e.conn.peer.clone()));
        }
    }
    let mut sink = Peer(Vec::new());
    let mut pipeline = pipeline(Limits::default());
    for record in [
        stream::unix(7, role::CLIENT, b"/run/docker.sock"),
        stream::message(7, 0, Part::request(GET)),
        stream::message(7, 0, Part::response(OK)),
    ] {
        pipeline.record(&record, &mut sink);
    }
    let unix = |name: &str| Endpoint::Unix(name.to_owned());
    assert_eq!(sink.0, [(unix(""), unix("/run/docker.sock"))]);
}

#[test]
fn a_new_clock_offset_holds_for_what_comes_after() {
    let mut pipeline = pipeline(Limits::default());
    let mut sink = Collect::default();
    pipeline.record(&stream::server(7), &mut sink);
    for index in 0..2 {
        pipeline.record(&stream::message(7, index, Part::request(GET)), &mut sink);
        pipeline.record(&stream::message(7, index, Part::response(OK)), &mut sink);
        pipeline.set_clock(Offset(5_000));
    }
    let starts: Vec<_> = sink.0.iter().map(|seen| seen.start).collect();
    assert_eq!(starts, [1_000 + OFFSET as u64, 6_000]);
}
