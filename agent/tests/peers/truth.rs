//! What programs say they did, and spans counted the same way.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::harness::request::Request;

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Kind {
    /// `http` or `grpc`.
    pub(crate) protocol: String,
    pub(crate) method: String,
    /// Pattern of the path, or full name of the gRPC method with its slash.
    pub(crate) route: String,
    /// HTTP status, or that of gRPC.
    pub(crate) status: u32,
}

/// How many of each kind.
pub(crate) type Counts = BTreeMap<Kind, usize>;

/// A line that programs print.
#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    kind: Kind,
    count: usize,
}

/// Reads the counts out of what a program printed; what else it said is not read.
pub(crate) fn read(output: &str) -> Counts {
    let lines = output
        .lines()
        .filter(|line| line.starts_with("{\"protocol\""));
    lines
        .map(|line| {
            let line: Line = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            (line.kind, line.count)
        })
        .collect()
}

/// Counts spans, all of which must be whole.
pub(crate) fn of(spans: &[&Request]) -> Counts {
    let mut counts = Counts::new();
    for span in spans {
        assert_eq!(span.incomplete, [""; 0], "{span:?}");
        *counts.entry(kind(span)).or_default() += 1;
    }
    counts
}

fn kind(span: &Request) -> Kind {
    let grpc = span.protocol == "grpc";
    let status = if grpc {
        assert_eq!(span.status, Some(200), "{span:?}");
        span.grpc_status
    } else {
        span.status.map(u32::from)
    };
    let route = if grpc {
        span.rpc_method.as_ref().map(|method| format!("/{method}"))
    } else {
        span.route.clone()
    };
    Kind {
        protocol: if grpc { "grpc" } else { "http" }.to_owned(),
        method: span.method.clone().unwrap_or_default(),
        // A path that no server has registered has no route; the programs count it as it is.
        route: route.unwrap_or_else(|| span.path().to_owned()),
        status: status.unwrap_or_else(|| panic!("no status: {span:?}")),
    }
}

/// All of them.
pub(crate) fn total(counts: &Counts) -> usize {
    counts.values().sum()
}
