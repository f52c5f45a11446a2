use super::*;
use crate::capture::ledger::Lost;
use crate::fixture::{call, curl, nginx, ok, server_conn, unanswered, unix_conn, v6_conn};
use crate::model::exchange::{Incomplete, ProcessInfo};
use proptest::prelude::*;
use serde_json::{Value, json};

fn line(exchange: &Exchange<'_>, query: &QueryPolicy) -> String {
    let mut out = Vec::new();
    request(&mut out, exchange, query);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_documented_line_byte_for_byte() {
    let (nginx, conn) = (nginx(), server_conn());
    assert_eq!(
        line(&ok(&nginx, &conn), &QueryPolicy::Hide),
        concat!(
            r#"{"kind":"request","start":"2026-01-02T03:04:05.123456789Z","duration_ns":1234567,"#,
            r#""ttfb_ns":1200000,"side":"server","protocol":"http/1.1","method":"GET","#,
            r#""path":"/users/7","query":null,"route":"/users/{id}","status":200,"#,
            r#""rpc_method":null,"grpc_status":null,"request_body_bytes":0,"#,
            r#""response_body_bytes":512,"pid":4242,"tid":4243,"comm":"nginx","service":"nginx","#,
            r#""container_id":null,"network":"tcp","local":"127.0.0.1:8080","#,
            r#""peer":"127.0.0.1:51324","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
            r#""span_id":"00f067aa0ba902b7","parent_span_id":null,"user_agent":"curl/7.88.1","#,
            r#""error":null,"incomplete":[]}"#,
            "\n"
        )
    );
}

#[test]
fn a_call_has_its_method_and_status() {
    let (nginx, conn) = (nginx(), server_conn());
    let value = |exchange: &Exchange<'_>| -> Value {
        serde_json::from_str(&line(exchange, &QueryPolicy::Hide)).unwrap()
    };
    let mut call = call(&nginx, &conn);
    let known = value(&call);
    assert_eq!(known["protocol"], "grpc");
    assert_eq!(known["rpc_method"], "shop.v1.Orders/Get");
    assert_eq!(
        (&known["grpc_status"], &known["status"]),
        (&json!(14), &json!(200))
    );
    assert_eq!(
        (&known["method"], &known["error"]),
        (&json!("POST"), &json!("UNAVAILABLE"))
    );
    if let Some(rpc) = &mut call.rpc {
        (rpc.method, rpc.status) = ("", None);
    }
    let unknown = value(&call);
    assert_eq!(
        (&unknown["rpc_method"], &unknown["grpc_status"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn what_is_unknown_is_null() {
    let (curl, conn) = (curl(), v6_conn());
    let value: Value =
        serde_json::from_str(&line(&unanswered(&curl, &conn), &QueryPolicy::Show)).unwrap();
    for key in [
        "ttfb_ns",
        "query",
        "route",
        "status",
        "response_body_bytes",
        "user_agent",
    ] {
        assert_eq!(value[key], Value::Null, "{key}");
    }
    assert_eq!(value["peer"], "[2001:db8::2]:80");
    assert_eq!(value["parent_span_id"], "0102030405060708");
    assert_eq!(value["error"], "connection_reset");
    assert_eq!(
        value["incomplete"],
        json!(["head_truncated", "response_not_seen"])
    );
    let unix = unix_conn();
    let value: Value =
        serde_json::from_str(&line(&unanswered(&curl, &unix), &QueryPolicy::Show)).unwrap();
    assert_eq!(value["network"], "unix");
    assert_eq!(value["local"], "/run/app.sock");
    assert_eq!(value["peer"], Value::Null);
}

#[test]
fn queries_are_shown_only_if_allowed() {
    let (nginx, conn) = (nginx(), server_conn());
    let exchange = ok(&nginx, &conn);
    let shown = |policy| -> Value {
        serde_json::from_str::<Value>(&line(&exchange, &policy)).unwrap()["query"].clone()
    };
    assert_eq!(shown(QueryPolicy::Hide), Value::Null);
    assert_eq!(shown(QueryPolicy::Show), "token=secret&page=2");
    let names = QueryPolicy::Names(vec!["page".into()]);
    assert_eq!(shown(names), "token=REDACTED&page=2");
}

#[test]
fn the_summary_line() {
    let mut out = Vec::new();
    let totals = Summary {
        seen: 1000,
        emitted: 990,
        filtered: 4,
        lost: Lost {
            ring_full: 3,
            conn_evicted: 2,
            decode: 1,
        },
        in_flight: 5,
        orphans: 6,
    };
    summary(&mut out, &totals);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"kind\":\"summary\",\"seen\":1000,\"emitted\":990,\"filtered\":4,\
         \"lost\":{\"ring_full\":3,\"conn_evicted\":2,\"decode\":1}}\n"
    );
}

#[test]
fn lines_are_whole_and_errors_are_reported_once() {
    struct Full(Vec<u8>);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if !self.0.is_empty() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (nginx, conn) = (nginx(), server_conn());
    let mut lines = JsonLines::new(Full(Vec::new()), QueryPolicy::Hide);
    lines.exchange(&ok(&nginx, &conn));
    lines.flush().unwrap();
    assert_eq!(lines.out.0.iter().filter(|b| **b == b'\n').count(), 1);
    lines.exchange(&ok(&nginx, &conn));
    assert_eq!(lines.flush().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

proptest! {
    #[test]
    fn hostile_strings_come_back_as_they_were(
        method in any::<String>(),
        path in any::<String>(),
        query in any::<Option<String>>(),
        agent in any::<Option<String>>(),
        comm in any::<String>(),
        socket in any::<String>(),
        numbers in any::<[u64; 4]>(),
        status in any::<Option<u16>>(),
    ) {
        let process = ProcessInfo { comm: comm.clone(), ..nginx() };
        let mut conn = unix_conn();
        conn.local = Endpoint::Unix(socket.clone());
        let mut exchange = ok(&process, &conn);
        exchange.method = Some(&method);
        exchange.path = Some(&path);
        exchange.query = query.as_deref();
        exchange.user_agent = agent.as_deref();
        exchange.start_unix_ns = numbers[0];
        exchange.duration_ns = numbers[1];
        exchange.ttfb_ns = Some(numbers[2]);
        exchange.request_body_bytes = Some(numbers[3]);
        exchange.status = status;
        exchange.incomplete = Incomplete::FRAMING_LOST;
        let text = line(&exchange, &QueryPolicy::Show);
        prop_assert_eq!(text.matches('\n').count(), 1);
        prop_assert!(!text.trim_end().chars().any(char::is_control));
        let value: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(value.as_object().unwrap().len(), 29);
        prop_assert_eq!(&value["method"], &json!(method));
        prop_assert_eq!(&value["path"], &json!(path));
        prop_assert_eq!(&value["query"], &json!(query));
        prop_assert_eq!(&value["user_agent"], &json!(agent));
        prop_assert_eq!(&value["comm"], &json!(comm));
        prop_assert_eq!(&value["local"], &json!(Some(socket).filter(|s| !s.is_empty())));
        prop_assert_eq!(&value["duration_ns"], &json!(numbers[1]));
        prop_assert_eq!(&value["ttfb_ns"], &json!(numbers[2]));
        prop_assert_eq!(&value["request_body_bytes"], &json!(numbers[3]));
        prop_assert_eq!(&value["status"], &json!(status));
    }
}
