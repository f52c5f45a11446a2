//! Compares spans with what the clients say came of their calls.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::{Answered, Call};
use crate::harness::expect::assert_duration;
use crate::harness::report::brief;
use crate::harness::request::{Request, Side};
use remora::pairing::proto::grpc::status_name;

/// What gRPC puts in front of each message: whether it is compressed, and its length.
const PREFIX: u64 = 5;

/// gRPC statuses that are the server's fault (OpenTelemetry semantic conventions).
const SERVER_ERRORS: [u32; 6] = [2, 4, 12, 13, 14, 15];

/// Checks that a client got what it asked for, so that spans can be compared with it.
pub(crate) fn check_answers(calls: &[Call], answered: &[Answered]) {
    assert_eq!(calls.len(), answered.len(), "{answered:#?}");
    let by_path: HashMap<_, _> = answered.iter().map(|a| (a.path.as_str(), a)).collect();
    for call in calls {
        let answered = by_path[call.path.as_str()];
        let replies = if call.sizes.is_empty() {
            vec![0]
        } else if call.command.echo {
            call.sizes.clone()
        } else {
            call.command.replies.clone()
        };
        let replies: Vec<u64> = replies.iter().map(|size| *size as u64).collect();
        assert_eq!(answered.received, replies, "{call:?}: {answered:?}");
        assert_eq!(answered.status, call.command.status, "{answered:?}");
        if call.command.status != 0 {
            assert_eq!(answered.message, call.command.message, "{call:?}");
        }
    }
}

/// Asserts that `spans` are exactly the calls, in any order.
pub(crate) fn assert_calls(
    spans: &[&Request],
    calls: &[Call],
    answered: &[Answered],
    pids: &HashSet<u32>,
) {
    let answers: HashMap<_, _> = answered.iter().map(|a| (a.path.as_str(), a)).collect();
    let mut by_path: HashMap<&str, &Request> = HashMap::new();
    for span in spans {
        let twice = by_path.insert(span.path(), span);
        assert!(twice.is_none(), "twice: {span:?}");
        assert!(pids.contains(&span.pid), "{pids:?}: {span:?}");
    }
    for call in calls {
        let span = by_path
            .remove(call.path.as_str())
            .unwrap_or_else(|| panic!("not seen: {call:?}"));
        assert_call(span, call, answers[call.path.as_str()]);
    }
    assert!(
        by_path.is_empty(),
        "nobody made these: {:#?}",
        brief(by_path.into_values())
    );
}

/// Asserts that a span is a call that went to its end, with or without an error status.
pub(crate) fn assert_call(span: &Request, call: &Call, answered: &Answered) {
    assert_named(span, call);
    assert_eq!(
        (span.status, span.grpc_status),
        (Some(200), Some(answered.status)),
        "{span:?}"
    );
    if !call.gzip {
        let of = |sizes: &[u64]| sizes.iter().map(|size| size + PREFIX).sum();
        let sent: Vec<u64> = call.sizes.iter().map(|size| *size as u64).collect();
        assert_eq!(
            (span.request_body_bytes, span.response_body_bytes),
            (Some(of(&sent)), Some(of(&answered.received))),
            "{span:?}"
        );
    }
    // A server of gRPC's C core does not wait for the end of a request of which it has the
    // one message: it answers and resets the stream, see `cases::grpc_ends::c_core_is_early`.
    let early =
        ["Unary", "Server"].contains(&call.kind()) && span.incomplete == ["request_incomplete"];
    assert!(span.incomplete.is_empty() || early, "{span:?}");
    assert_eq!(span.error, error_of(span.side, answered.status), "{span:?}");
    let least = call.command.delay
        + call.command.every * call.command.replies.len().saturating_sub(1) as u64;
    assert!(
        span.duration_ns >= least * 1_000_000,
        "the server waited {least} ms: {span:?}"
    );
    assert_duration(span, Duration::from_secs_f64(answered.seconds));
}

/// Asserts that a span has the call's name, and is of gRPC.
pub(crate) fn assert_named(span: &Request, call: &Call) {
    assert_eq!(
        (
            span.protocol.as_str(),
            span.method.as_deref(),
            span.path(),
            span.rpc_method.as_deref(),
        ),
        (
            "grpc",
            Some("POST"),
            call.path.as_str(),
            call.path.strip_prefix('/'),
        ),
        "{span:?}"
    );
    assert_eq!(span.query, None, "{span:?}");
}

/// `error.type` of a status: its name, if it is an error to this side.
fn error_of(side: Side, status: u32) -> Option<String> {
    let is_error = match side {
        Side::Server => SERVER_ERRORS.contains(&status),
        Side::Client => status != 0,
    };
    is_error.then(|| status_name(status).unwrap().to_owned())
}
