//! Exchanges to export, owned so that any part can be changed.

use remora::model::exchange::{
    ConnInfo, Endpoint, Exchange, Incomplete, ProcessInfo, Protocol, Rpc, Side, TraceContext,
};

/// Everything an [`Exchange`] borrows.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) start: u64,
    pub(crate) duration: u64,
    pub(crate) side: Side,
    pub(crate) protocol: Protocol,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) query: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) user_agent: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) status: Option<u16>,
    /// Method, status, and messages of both sides.
    pub(crate) rpc: Option<(String, Option<u32>, u64, u64)>,
    pub(crate) request_body: Option<u64>,
    pub(crate) response_body: Option<u64>,
    pub(crate) process: ProcessInfo,
    pub(crate) tid: u32,
    pub(crate) conn: ConnInfo,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) parent: Option<[u8; 8]>,
    pub(crate) flags: u8,
    pub(crate) state: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) incomplete: Incomplete,
}

impl Sample {
    pub(crate) fn exchange(&self) -> Exchange<'_> {
        Exchange {
            start_unix_ns: self.start,
            duration_ns: self.duration,
            ttfb_ns: Some(self.duration / 2),
            side: self.side,
            protocol: self.protocol,
            method: self.method.as_deref(),
            path: self.path.as_deref(),
            query: self.query.as_deref(),
            authority: self.authority.as_deref(),
            user_agent: self.user_agent.as_deref(),
            route: self.route.as_deref(),
            status: self.status,
            rpc: (self.rpc.as_ref()).map(|(method, status, sent, received)| Rpc {
                method,
                status: *status,
                message: Some("a secret, perhaps"),
                request_messages: *sent,
                response_messages: *received,
            }),
            request_body_bytes: self.request_body,
            response_body_bytes: self.response_body,
            process: &self.process,
            tid: self.tid,
            request: 0,
            one_thread: true,
            conn: &self.conn,
            trace: TraceContext {
                trace_id: self.trace_id,
                span_id: self.span_id,
                parent_span_id: self.parent,
                flags: self.flags,
                state: self.state.as_deref(),
            },
            error: self.error.as_deref(),
            incomplete: self.incomplete,
        }
    }
}

/// A request to a server on this host.
pub(crate) fn server() -> Sample {
    Sample {
        start: 1_767_323_045_123_456_789,
        duration: 1_234_567,
        side: Side::Server,
        protocol: Protocol::Http11,
        method: Some("GET".into()),
        path: Some("/users/7".into()),
        query: Some("token=secret".into()),
        authority: Some("api.example.com:8080".into()),
        user_agent: Some("curl/7.88.1".into()),
        route: None,
        status: Some(200),
        rpc: None,
        request_body: Some(0),
        response_body: Some(512),
        process: process(1),
        tid: 4243,
        conn: ConnInfo {
            id: 7,
            netns: 4_026_531_840,
            local: Endpoint::Tcp("10.0.0.5:8080".parse().unwrap()),
            peer: Endpoint::Tcp("192.0.2.10:51324".parse().unwrap()),
        },
        trace_id: *b"0123456789abcdef",
        span_id: *b"spanspan",
        parent: Some(*b"parentpa"),
        flags: 1,
        state: Some("vendor=value,ot=th:8".into()),
        error: None,
        incomplete: Incomplete::NONE,
    }
}

/// A request made by a process on this host.
pub(crate) fn client() -> Sample {
    let mut sample = server();
    sample.side = Side::Client;
    sample.parent = None;
    sample.state = None;
    sample.span_id = *b"clientsp";
    sample.process = process(2);
    sample
}

/// A process; its numbers follow from its id.
pub(crate) fn process(id: u32) -> ProcessInfo {
    ProcessInfo {
        id,
        tgid: 4000 + id,
        comm: "nginx".into(),
        executable: Some("/usr/sbin/nginx".into()),
        service: format!("service-{id}"),
        service_namespace: Some("shop".into()),
        resource: vec![("deployment.environment.name".into(), "test".into())],
        container_id: Some("a".repeat(64)),
        pod_uid: Some("11111111-2222-3333-4444-555555555555".into()),
    }
}
