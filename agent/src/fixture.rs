//! Exchanges for tests.

use std::net::SocketAddr;

use crate::model::exchange::{
    ConnInfo, Endpoint, Exchange, Incomplete, ProcessInfo, Protocol, Rpc, Side, TraceContext,
};

/// 2026-01-02T03:04:05.123456789Z.
pub(crate) const START: u64 = 1_767_323_045_123_456_789;

pub(crate) fn nginx() -> ProcessInfo {
    ProcessInfo {
        id: 1,
        tgid: 4242,
        comm: "nginx".into(),
        executable: Some("/usr/sbin/nginx".into()),
        service: "nginx".into(),
        service_namespace: None,
        resource: Vec::new(),
        container_id: None,
        pod_uid: None,
    }
}

pub(crate) fn curl() -> ProcessInfo {
    ProcessInfo {
        id: 2,
        tgid: 77,
        comm: "curl".into(),
        executable: Some("/usr/bin/curl".into()),
        service: "curl".into(),
        container_id: Some(format!("{:0>64}", "c0ffee")),
        pod_uid: Some("6ba7b810-9dad-11d1-80b4-00c04fd430c8".into()),
        ..nginx()
    }
}

fn tcp(text: &str) -> Endpoint {
    Endpoint::Tcp(text.parse::<SocketAddr>().unwrap())
}

pub(crate) fn server_conn() -> ConnInfo {
    ConnInfo {
        id: 1,
        netns: 4_026_531_840,
        local: tcp("127.0.0.1:8080"),
        peer: tcp("127.0.0.1:51324"),
    }
}

pub(crate) fn unix_conn() -> ConnInfo {
    ConnInfo {
        id: 2,
        netns: 4_026_531_840,
        local: Endpoint::Unix("/run/app.sock".into()),
        peer: Endpoint::Unix(String::new()),
    }
}

pub(crate) fn v6_conn() -> ConnInfo {
    ConnInfo {
        id: 3,
        netns: 4_026_531_840,
        local: tcp("[2001:db8::1]:40000"),
        peer: tcp("[2001:db8::2]:80"),
    }
}

/// The exchange of the documentation: a plain 200.
pub(crate) fn ok<'a>(process: &'a ProcessInfo, conn: &'a ConnInfo) -> Exchange<'a> {
    Exchange {
        start_unix_ns: START,
        duration_ns: 1_234_567,
        ttfb_ns: Some(1_200_000),
        side: Side::Server,
        protocol: Protocol::Http11,
        method: Some("GET"),
        path: Some("/users/7"),
        query: Some("token=secret&page=2"),
        authority: Some("localhost:8080"),
        user_agent: Some("curl/7.88.1"),
        route: Some("/users/{id}"),
        status: Some(200),
        rpc: None,
        request_body_bytes: Some(0),
        response_body_bytes: Some(512),
        process,
        tid: 4243,
        request: 0,
        one_thread: true,
        conn,
        trace: TraceContext {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736u128.to_be_bytes(),
            span_id: 0x00f0_67aa_0ba9_02b7u64.to_be_bytes(),
            parent_span_id: None,
            flags: 1,
            state: None,
        },
        error: None,
        incomplete: Incomplete::NONE,
    }
}

/// A call that failed.
pub(crate) fn call<'a>(process: &'a ProcessInfo, conn: &'a ConnInfo) -> Exchange<'a> {
    Exchange {
        protocol: Protocol::Grpc,
        method: Some("POST"),
        path: Some("/shop.v1.Orders/Get"),
        query: None,
        user_agent: Some("grpc-go/1.60.0"),
        route: None,
        rpc: Some(Rpc {
            method: "shop.v1.Orders/Get",
            status: Some(14),
            message: Some("stock is down"),
            request_messages: 1,
            response_messages: 0,
        }),
        error: Some("UNAVAILABLE"),
        ..ok(process, conn)
    }
}

/// A client whose answer never came.
pub(crate) fn unanswered<'a>(process: &'a ProcessInfo, conn: &'a ConnInfo) -> Exchange<'a> {
    let mut incomplete = Incomplete::RESPONSE_NOT_SEEN;
    incomplete.insert(Incomplete::HEAD_TRUNCATED);
    Exchange {
        duration_ns: 30_000_000_000,
        ttfb_ns: None,
        side: Side::Client,
        protocol: Protocol::Http10,
        method: Some("POST"),
        path: Some("/upload"),
        query: None,
        authority: None,
        user_agent: None,
        route: None,
        status: None,
        rpc: None,
        request_body_bytes: Some(50_000_000),
        response_body_bytes: None,
        trace: TraceContext {
            parent_span_id: Some([1, 2, 3, 4, 5, 6, 7, 8]),
            ..ok(process, conn).trace
        },
        error: Some("connection_reset"),
        incomplete,
        ..ok(process, conn)
    }
}
