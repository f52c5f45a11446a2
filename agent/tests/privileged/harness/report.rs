//! Everything one run of the agent printed.

use std::collections::HashSet;

use super::request::{Line, Request, Side, Summary};

/// The requests of a run in order of output, and its summary.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) requests: Vec<Request>,
    pub(crate) summary: Summary,
}

impl Report {
    /// Takes the lines of a run, and checks what holds for every run: the summary is
    /// last and there once, the ledger balances, and no span id comes twice.
    pub(crate) fn new(lines: impl Iterator<Item = Line>, errors: &str) -> Self {
        let mut requests = Vec::new();
        let mut summary = None;
        for line in lines {
            assert!(summary.is_none(), "a line behind the summary: {line:?}");
            match line {
                Line::Request(request) => requests.push(request),
                Line::Summary(last) => summary = Some(last),
            }
        }
        let summary = summary.unwrap_or_else(|| panic!("no summary; standard error: {errors}"));
        let report = Self { requests, summary };
        report.check_ledger();
        report.check_ids();
        report
    }

    fn check_ledger(&self) {
        let summary = &self.summary;
        assert_eq!(
            summary.seen,
            summary.emitted + summary.filtered + summary.lost(),
            "the ledger does not balance: {summary:?}"
        );
        assert_eq!(
            summary.emitted,
            self.requests.len() as u64,
            "emitted is not what was printed: {summary:?}"
        );
    }

    fn check_ids(&self) {
        let mut spans = HashSet::new();
        for request in &self.requests {
            assert!(is_id(&request.trace_id, 32), "trace id of {request:?}");
            assert!(is_id(&request.span_id, 16), "span id of {request:?}");
            assert!(
                spans.insert(request.span_id.as_str()),
                "span id twice: {request:?}"
            );
        }
    }

    /// Asserts that nothing was lost.
    pub(crate) fn lossless(self) -> Self {
        assert_eq!(self.summary.lost(), 0, "{:?}", self.summary);
        self
    }

    /// Spans of the servers that listen on `port`.
    pub(crate) fn server(&self, port: u16) -> Vec<&Request> {
        self.side(Side::Server, port)
    }

    /// Spans of the clients that talk to `port`.
    pub(crate) fn client(&self, port: u16) -> Vec<&Request> {
        self.side(Side::Client, port)
    }

    /// Asserts that there are `count` server spans and as many client spans for
    /// `port`, and returns them.
    pub(crate) fn both(&self, port: u16, count: usize) -> (Vec<&Request>, Vec<&Request>) {
        let (server, client) = (self.server(port), self.client(port));
        assert_eq!(
            (server.len(), client.len()),
            (count, count),
            "server and client spans of port {port}: {:#?}",
            brief(server.iter().chain(&client).copied())
        );
        (server, client)
    }

    /// The one server span and the one client span of `port`.
    pub(crate) fn pair(&self, port: u16) -> (&Request, &Request) {
        let (server, client) = self.both(port, 1);
        (server[0], client[0])
    }

    /// Asserts that nothing about `port` was reported.
    pub(crate) fn silent(&self, port: u16) {
        let ends = format!(":{port}");
        let spans: Vec<_> = self
            .requests
            .iter()
            .filter(|request| request.local().ends_with(&ends) || request.peer().ends_with(&ends))
            .collect();
        assert!(spans.is_empty(), "should be silent: {spans:#?}");
    }

    fn side(&self, side: Side, port: u16) -> Vec<&Request> {
        self.requests
            .iter()
            .inspect(|request| self.check_role(request, port))
            .filter(|request| request.side == side && request.to_port(port))
            .collect()
    }

    /// A server listens on `port`: nobody can be a client from it.
    fn check_role(&self, request: &Request, port: u16) {
        let ends = format!(":{port}");
        assert!(
            match request.side {
                Side::Server => !request.peer().ends_with(&ends),
                Side::Client => !request.local().ends_with(&ends),
            },
            "server and client are mixed up: {request:?}"
        );
    }
}

/// What tells spans apart, for messages.
pub(crate) fn brief<'a>(requests: impl Iterator<Item = &'a Request>) -> Vec<String> {
    requests
        .take(40)
        .map(|r| {
            format!(
                "{:?} {} {} {:?} -> {:?} {:?}/{:?} bytes {} {} {:?} {:?}",
                r.side,
                r.method.as_deref().unwrap_or("-"),
                r.path(),
                r.comm,
                r.status,
                r.request_body_bytes,
                r.response_body_bytes,
                r.local(),
                r.peer(),
                r.error,
                r.incomplete
            )
        })
        .collect()
}

fn is_id(id: &str, digits: usize) -> bool {
    id.len() == digits
        && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && id.bytes().any(|b| b != b'0')
}
