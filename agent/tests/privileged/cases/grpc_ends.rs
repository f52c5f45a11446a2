//! How calls end: late, cancelled, past their deadline, without a server.

use std::collections::HashMap;
use std::time::Duration;

use crate::grpc::expect::{assert_call, assert_calls, assert_named, check_answers};
use crate::grpc::{Answered, Call, Peer, Serving};
use crate::harness::http2::{Block, flag, frame, kind, opening, receive};
use crate::harness::raw::Raw;
use crate::harness::report::Report;
use crate::harness::request::{Request, Side};
use crate::harness::require_privilege;
use crate::harness::trace::Trace;

/// A call and what the client says came of it.
type Made = (Call, Answered);

/// Makes calls, traced, and returns what the client and the agent say about them.
fn make(server: &Serving, client: Peer, calls: Vec<Call>) -> (Report, Vec<Made>) {
    let port = server.port();
    let concurrency = calls.len();
    client.call(port, &[Call::unary("warm")], 1);
    let trace = Trace::start(&[]);
    let (answered, _) = client.call(port, &calls, concurrency);
    let mut answers: HashMap<_, _> = answered.into_iter().map(|a| (a.path.clone(), a)).collect();
    let made: Vec<_> = calls
        .into_iter()
        .map(|call| {
            let answered = answers.remove(&call.path).unwrap();
            (call, answered)
        })
        .collect();
    let report = trace.collect(port, 2 * made.len()).lossless();
    report.both(port, made.len());
    (report, made)
}

/// The span of a call on each side.
fn sides<'a>(report: &'a Report, port: u16, path: &str) -> [&'a Request; 2] {
    [report.server(port), report.client(port)].map(|spans| {
        let mut spans = spans.into_iter().filter(|span| span.path() == path);
        let span = spans.next().unwrap_or_else(|| panic!("no span of {path}"));
        assert_eq!(spans.next(), None, "twice");
        span
    })
}

/// A hundred calls at a time on one connection, the last one answered first.
fn out_of_order(server: Peer, client: Peer) {
    let serving = server.serve();
    let delay = |number: u64| Duration::from_millis(1500 - 10 * number);
    let calls = (0..100)
        .map(|number| Call::unary(&format!("slow-{number}")).after(delay(number)))
        .collect();
    let (report, made) = make(&serving, client, calls);
    for (number, (call, answered)) in (0..).zip(&made) {
        for span in sides(&report, serving.port(), &call.path) {
            assert_call(span, call, answered);
            let took = Duration::from_nanos(span.duration_ns);
            assert!(
                took < delay(number) + Duration::from_millis(500),
                "{span:?}"
            );
        }
    }
}

#[test]
fn slow_calls_finish_out_of_order_in_python_and_node() {
    require_privilege!();
    out_of_order(Peer::Python, Peer::Node);
}

#[test]
fn slow_calls_finish_out_of_order_in_tonic_and_go() {
    require_privilege!();
    out_of_order(Peer::Tonic, Peer::Go);
}

/// A stream of half a minute is one span of half a minute.
#[test]
fn half_a_minute() {
    require_privilege!();
    let serving = Peer::Asyncio.serve();
    let mut call = Call::new("Server", "long", &[300], &[100; 31]);
    call.command.every = 1000;
    let port = serving.port();
    let trace = Trace::start(&[]);
    let (answered, pids) = Peer::Go.call(port, std::slice::from_ref(&call), 1);
    check_answers(std::slice::from_ref(&call), &answered);
    let report = trace.collect(port, 2).lossless();
    let (at_server, at_client) = report.pair(port);
    assert_call(at_server, &call, &answered[0]);
    assert_call(at_client, &call, &answered[0]);
    assert!(pids.contains(&at_client.pid));
    for span in [at_server, at_client] {
        let seconds = Duration::from_nanos(span.duration_ns).as_secs_f64();
        assert!((30.0..31.0).contains(&seconds), "{span:?}");
        assert!(span.ttfb_ns.unwrap() < 500_000_000, "{span:?}");
    }
}

/// Calls that the client ends before the server does: which of its reasons it was is told
/// by the deadline that the request names.
fn given_up(server: Peer, client: Peer) {
    let serving = server.serve();
    let waiting = |name: &str| Call::unary(name).after(Duration::from_secs(3));
    let mut late = waiting("late");
    late.deadline = 300;
    let mut cancelled = waiting("cancelled");
    cancelled.cancel = 300;
    let mut in_time = Call::unary("in-time").after(Duration::from_millis(300));
    in_time.deadline = 5000;
    let mut stream = Call::new("Server", "stream", &[1], &[50; 20]);
    stream.command.every = 200;
    stream.cancel = 500;
    let mut late_stream = Call::new("Server", "late-stream", &[1], &[50; 20]);
    late_stream.command.every = 200;
    late_stream.deadline = 500;
    let calls = vec![late, cancelled, in_time, stream, late_stream];
    let (report, made) = make(&serving, client, calls);
    for (call, answered) in &made {
        for span in sides(&report, serving.port(), &call.path) {
            assert_named(span, call);
            let took = span.duration_ns / 1_000_000;
            // Deadlines begin before the client has connected, which takes its time on a
            // busy machine.
            let least = call.deadline.max(call.cancel).min(500) - 200;
            if call.path == "/peers.Unary/in-time" {
                assert_call(span, call, answered);
            } else {
                assert!((least..least + 800).contains(&took), "{call:?}: {span:?}");
                let wanted = if call.cancel > 0 {
                    "CANCELLED"
                } else {
                    "DEADLINE_EXCEEDED"
                };
                assert_eq!(
                    span.error.as_deref(),
                    Some(wanted),
                    "{answered:?}: {span:?}"
                );
                // The server may have said so itself.
                let code = if call.cancel > 0 { 1 } else { 4 };
                assert!(
                    span.grpc_status.is_none_or(|status| status == code),
                    "{span:?}"
                );
                let received = call.path.contains("Server");
                assert_eq!(
                    span.response_body_bytes
                        .is_some_and(|bytes| bytes >= 2 * 55),
                    received,
                    "{span:?}"
                );
            }
        }
    }
}

#[test]
fn given_up_by_python() {
    require_privilege!();
    given_up(Peer::Asyncio, Peer::Python);
}

#[test]
fn given_up_by_asyncio() {
    require_privilege!();
    given_up(Peer::Go, Peer::Asyncio);
}

#[test]
fn given_up_by_node() {
    require_privilege!();
    given_up(Peer::Python, Peer::Node);
}

#[test]
fn given_up_by_go() {
    require_privilege!();
    given_up(Peer::Node, Peer::Go);
}

#[test]
fn given_up_by_tonic() {
    require_privilege!();
    given_up(Peer::Asyncio, Peer::Tonic);
}

/// Compressed messages are counted as they are on the wire.
#[test]
fn compressed() {
    require_privilege!();
    for (server, client) in [
        (Peer::Python, Peer::Go),
        (Peer::Go, Peer::Python),
        (Peer::Node, Peer::Tonic),
        (Peer::Tonic, Peer::Node),
    ] {
        let serving = server.serve();
        let mut call = Call::new("Unary", "zipped", &[100_000], &[200_000]);
        call.gzip = true;
        call.command.gzip = true;
        let (report, made) = make(&serving, client, vec![call]);
        let (call, answered) = &made[0];
        check_answers(std::slice::from_ref(call), std::slice::from_ref(answered));
        let sides = sides(&report, serving.port(), &call.path);
        for span in sides {
            assert_call(span, call, answered);
            let sent = span.request_body_bytes.unwrap();
            assert!(
                (50..10_000).contains(&sent),
                "{server:?} {client:?}: {span:?}"
            );
        }
        let sizes = sides.map(|span| (span.request_body_bytes, span.response_body_bytes));
        assert_eq!(sizes[0], sizes[1]);
    }
}

/// The server is killed in mid-call.
#[test]
fn server_is_killed() {
    require_privilege!();
    let Serving::Program(server) = Peer::Go.serve() else {
        unreachable!("a program");
    };
    let port = server.port;
    let call = Call::unary("killed").after(Duration::from_secs(20));
    let trace = Trace::start(&[]);
    let answered = std::thread::scope(|scope| {
        let calling = scope.spawn(|| Peer::Python.call(port, std::slice::from_ref(&call), 1).0);
        std::thread::sleep(Duration::from_millis(1000));
        server.process.signal(libc::SIGKILL);
        calling.join().unwrap()
    });
    assert_eq!(answered[0].status, 14, "{answered:?}");
    let report = trace.collect(port, 2).lossless();
    let (at_server, at_client) = report.pair(port);
    for span in [at_server, at_client] {
        assert_named(span, &call);
        assert_eq!((span.status, span.grpc_status), (None, None), "{span:?}");
        assert!(span.error.is_some(), "{span:?}");
        assert_eq!(span.incomplete, ["response_not_seen"], "{span:?}");
        assert!(span.duration_ns < 5_000_000_000, "{span:?}");
    }
}

/// A method that the server does not know.
#[test]
fn unimplemented() {
    require_privilege!();
    for server in Peer::ALL {
        let serving = server.serve();
        let mut call = Call::unary("nothing");
        call.path = "/peers.Nothing/here".into();
        // No kind of call is known by that name: Go makes it a bidirectional one.
        let (report, made) = make(&serving, Peer::Go, vec![call]);
        let (call, answered) = &made[0];
        assert_eq!(answered.status, 12, "{server:?}: {answered:?}");
        for span in sides(&report, serving.port(), &call.path) {
            assert_named(span, call);
            assert_eq!(span.grpc_status, Some(12), "{server:?}: {span:?}");
            assert_eq!(span.error.as_deref(), Some("UNIMPLEMENTED"), "{span:?}");
        }
    }
}

/// A server of the C core does not wait for the end of a unary call's request: it answers
/// when it has the message, and resets the stream without an error. The request is marked as
/// not whole, for the server never had its end, and nothing is wrong with the call.
#[test]
fn c_core_is_early() {
    require_privilege!();
    for peer in [Peer::Python, Peer::Asyncio] {
        let serving = peer.serve();
        let port = serving.port();
        let call = Call::unary("early");
        let messages = call.messages();
        let mut body = vec![0];
        body.extend(u32::try_from(messages[0].len()).unwrap().to_be_bytes());
        body.extend(&messages[0]);
        let head = Block::request("POST", &call.path)
            .field("content-type", "application/grpc")
            .field("te", "trailers");
        let trace = Trace::start(&[]);
        let mut client = Raw::connect(port);
        client.send(opening());
        client.send(frame(kind::HEADERS, flag::END_HEADERS, 1, &head.0));
        client.send(frame(kind::DATA, 0, 1, &body));
        let mut answer = Vec::new();
        loop {
            let (kind, flags, stream, payload) = receive(&mut client);
            if kind == kind::RST_STREAM {
                assert_eq!((stream, payload), (1, vec![0; 4]), "no error");
                break;
            }
            if stream == 1 && [kind::HEADERS, kind::DATA].contains(&kind) {
                answer.push((kind, flags & flag::END_STREAM != 0));
            }
        }
        let whole = [
            (kind::HEADERS, false),
            (kind::DATA, false),
            (kind::HEADERS, true),
        ];
        assert_eq!(answer, whole, "{peer:?}");
        // Too late, and without effect.
        client.send(frame(kind::DATA, flag::END_STREAM, 1, b""));
        let report = trace.collect(port, 2).lossless();
        report.both(port, 1);
        for span in sides(&report, port, &call.path) {
            assert_named(span, &call);
            assert_eq!((span.status, span.grpc_status), (Some(200), Some(0)));
            assert_eq!(span.error, None, "{peer:?}: {span:?}");
            assert_eq!(span.incomplete, ["request_incomplete"], "{peer:?}");
        }
    }
}

/// nginx in between speaks HTTP/2 to both: each call is seen four times.
#[test]
fn through_nginx() {
    require_privilege!();
    let serving = Peer::Python.serve();
    let nginx = crate::grpc::programs::nginx_proxy(serving.port());
    let calls = super::grpc::plan("proxied");
    let trace = Trace::start(&[]);
    let (answered, pids) = Peer::Tonic.call(nginx.port, &calls, 4);
    check_answers(&calls, &answered);
    let all = [nginx.port, serving.port()];
    let proxies = nginx.pids();
    let report = trace.collect_all(&all, 4 * calls.len()).lossless();
    let (at_proxy, at_client) = report.both(nginx.port, calls.len());
    let (at_server, from_proxy) = report.both(serving.port(), calls.len());
    assert_calls(&at_client, &calls, &answered, &pids);
    assert_calls(&at_proxy, &calls, &answered, &proxies);
    assert_calls(&from_proxy, &calls, &answered, &proxies);
    assert_calls(&at_server, &calls, &answered, &serving.pids());
}

/// `--grpc-status` and `--protocol grpc` leave out the rest.
#[test]
fn filters() {
    require_privilege!();
    let serving = Peer::Go.serve();
    let port = serving.port();
    let calls: Vec<_> = (0..10)
        .map(|number| {
            let call = Call::unary(&format!("filtered-{number}"));
            match number % 5 {
                0 => call.failing(5, "none"),
                1 => call.failing(7, "denied"),
                _ => call,
            }
        })
        .collect();
    for (filter, wanted) in [
        (vec!["--protocol", "grpc"], 20),
        (vec!["--protocol", "http/2"], 0),
        (vec!["--grpc-status", "5"], 4),
        (vec!["--grpc-status", "5", "--grpc-status", "7"], 8),
        (vec!["--not", "--grpc-status", "0"], 8),
    ] {
        let port_text = port.to_string();
        let arguments = [&["--port", &port_text], &filter[..]].concat();
        let trace = Trace::start(&arguments);
        Peer::Go.call(port, &calls, 1);
        let report = trace.collect(port, wanted).lossless();
        assert_eq!(
            report.requests.len(),
            wanted,
            "{filter:?}: {:#?}",
            report.requests
        );
        for span in &report.requests {
            assert_eq!(span.protocol, "grpc", "{span:?}");
            assert!(matches!(span.side, Side::Server | Side::Client));
        }
    }
}
