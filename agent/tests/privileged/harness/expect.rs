//! Compares spans with what the clients say they did.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::brief;
use super::request::Request;

/// One request to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Planned {
    pub(crate) method: &'static str,
    /// Path, unique among everything the agent sees in the test.
    pub(crate) path: String,
    /// Bytes of body to send.
    pub(crate) body: usize,
}

/// What a client did, in its own words.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// Bytes of body sent.
    pub(crate) sent: u64,
    /// Bytes of body received, transfer coding removed.
    pub(crate) received: u64,
    /// From before the request to after the last byte of the response.
    pub(crate) seconds: f64,
}

/// A client's own clock is read outside of the calls that the agent times, so its
/// measure can only be longer; this allows for rounding.
const CLIENT_SLACK: Duration = Duration::from_millis(1);

/// The server has its last byte accounted when its call returns. By then the client
/// may have read it and stopped its clock, if the server's thread had to wait for a
/// processor.
const SERVER_SLACK: Duration = Duration::from_millis(50);

/// A mix of requests that every server of the suite answers.
pub(crate) fn plan(tag: &str, rounds: usize) -> Vec<Planned> {
    (0..rounds)
        .flat_map(|round| {
            let one = |method, what, body| Planned {
                method,
                path: format!("/{what}/{tag}-{round}"),
                body,
            };
            [
                one("GET", "hello", 0),
                one("GET", "big", 0),
                one("HEAD", "hello/head", 0),
                one("POST", "upload", round * 7919 + 1),
                one("GET", "missing", 0),
            ]
        })
        .collect()
}

/// Reads the lines a client printed, and checks that it did what was planned.
pub(crate) fn read_done(output: &str, plan: &[Planned]) -> Vec<Done> {
    let done: Vec<Done> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let by_path: HashMap<_, _> = done.iter().map(|d| (d.path.as_str(), d)).collect();
    assert_eq!(
        done.len(),
        plan.len(),
        "the client did not make its requests"
    );
    for planned in plan {
        let done = by_path[planned.path.as_str()];
        assert_eq!(
            (done.method.as_str(), done.sent),
            (planned.method, planned.body as u64)
        );
        let status = if planned.path.starts_with("/missing/") {
            404
        } else {
            200
        };
        assert_eq!(done.status, status, "{done:?}");
    }
    done
}

/// Asserts that `spans` are exactly the requests in `done`, in any order.
pub(crate) fn assert_spans(spans: &[&Request], done: &[Done], pids: &HashSet<u32>) {
    let mut by_path: HashMap<&str, &Request> = HashMap::new();
    for span in spans {
        let twice = by_path.insert(span.path(), span);
        assert!(twice.is_none(), "twice: {span:?}");
        assert!(
            pids.is_empty() || pids.contains(&span.pid),
            "{pids:?}: {span:?}"
        );
    }
    for done in done {
        let span = by_path
            .remove(done.path.as_str())
            .unwrap_or_else(|| panic!("not seen: {done:?}"));
        assert_span(span, done);
    }
    assert!(
        by_path.is_empty(),
        "nobody made these: {:#?}",
        brief(by_path.into_values())
    );
}

/// Asserts that `span` is what the client did.
pub(crate) fn assert_span(span: &Request, done: &Done) {
    assert_eq!(
        span.facts(),
        (
            done.method.as_str(),
            done.path.as_str(),
            done.status,
            done.sent,
            done.received
        ),
        "{span:?}"
    );
    assert_eq!(span.incomplete, [""; 0], "{span:?}");
    // Routes are learned: `cases::metrics` holds them against the truth.
    assert_eq!(span.query, None, "{span:?}");
    assert_eq!(
        (&span.rpc_method, &span.grpc_status),
        (&None, &None),
        "{span:?}"
    );
    let error = match (span.side, done.status) {
        (super::request::Side::Server, 500..) | (super::request::Side::Client, 400..) => {
            Some(done.status.to_string())
        }
        _ => None,
    };
    assert_eq!(span.error, error, "{span:?}");
    assert_duration(span, Duration::from_secs_f64(done.seconds));
}

/// Asserts that a span took no longer than what the client measured, and that the
/// response began within it.
pub(crate) fn assert_duration(span: &Request, measured: Duration) {
    let slack = match span.side {
        super::request::Side::Client => CLIENT_SLACK,
        super::request::Side::Server => SERVER_SLACK,
    };
    let limit = (measured + slack).as_nanos();
    assert!(
        u128::from(span.duration_ns) <= limit,
        "the client took {measured:?}: {span:?}"
    );
    let first = span.ttfb_ns.unwrap();
    assert!(first > 0 && first <= span.duration_ns, "{span:?}");
}
