use super::*;
use crate::fixture::{call, curl, nginx, ok, server_conn, unanswered, unix_conn, v6_conn};
use crate::model::exchange::Protocol;

/// Builds a filter from `flag=value`, or `!flag=value` for a negated one.
fn filter(conditions: &[&str]) -> Filter {
    let mut filter = Filter::default();
    for condition in conditions {
        let (negated, condition) = match condition.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, *condition),
        };
        let (flag, value) = condition.split_once('=').unwrap();
        let property = Property::ALL
            .into_iter()
            .find(|p| p.flag() == flag)
            .unwrap();
        filter.add(property, value, negated).unwrap();
    }
    filter
}

#[test]
fn every_property_matches_and_rejects() {
    let (nginx, curl, tcp, unix, v6) = (nginx(), curl(), server_conn(), unix_conn(), v6_conn());
    let served = ok(&nginx, &tcp);
    let asked = unanswered(&curl, &v6);
    for (condition, by_served, by_asked) in [
        ("pid=4242", true, false),
        ("comm=nginx", true, false),
        ("comm=c*", false, true),
        ("port=8080", true, false),
        ("port=51324", true, false),
        ("port=80", false, true),
        ("side=server", true, false),
        ("side=client", false, true),
        ("protocol=http", true, true),
        ("protocol=http/1.1", true, false),
        ("protocol=HTTP/1.0", false, true),
        ("method=get", true, false),
        ("method=POST", false, true),
        ("path=/users/*", true, false),
        ("status=200", true, false),
        ("status=2xx", true, false),
        ("status=100-599", true, false),
        ("min-duration=1s", false, true),
        ("min-duration=1ms", true, true),
        ("container=0000", false, true),
        ("container=00ff", false, false),
        ("pod=6BA7B810-9dad", false, true),
    ] {
        assert_eq!(
            filter(&[condition]).passes(&served),
            by_served,
            "{condition}, server"
        );
        assert_eq!(
            filter(&[condition]).passes(&asked),
            by_asked,
            "{condition}, client"
        );
        // What does not match, `--not` keeps, also where the property is unknown.
        let not = format!("!{condition}");
        assert_eq!(filter(&[&not]).passes(&served), !by_served, "{not}, server");
        assert_eq!(filter(&[&not]).passes(&asked), !by_asked, "{not}, client");
    }
    assert!(!filter(&["port=80"]).passes(&ok(&nginx, &unix)));
}

#[test]
fn calls_are_told_from_other_http2() {
    let (nginx, tcp) = (nginx(), server_conn());
    let failed = call(&nginx, &tcp);
    let mut plain = ok(&nginx, &tcp);
    plain.protocol = Protocol::Http2;
    for (condition, by_call, by_plain) in [
        ("protocol=grpc", true, false),
        ("protocol=http/2", false, true),
        ("protocol=h2", false, true),
        ("protocol=http", false, true),
        ("protocol=http/1", false, false),
        ("grpc-status=14", true, false),
        ("grpc-status=unavailable", true, false),
        ("grpc-status=OK", false, false),
        ("status=200", true, true),
    ] {
        assert_eq!(filter(&[condition]).passes(&failed), by_call, "{condition}");
        assert_eq!(filter(&[condition]).passes(&plain), by_plain, "{condition}");
    }
}

#[test]
fn same_is_or_different_is_and_not_excludes() {
    let (nginx, conn) = (nginx(), server_conn());
    let mut exchange = ok(&nginx, &conn);
    assert!(Filter::default().passes(&exchange));
    assert!(filter(&["status=404", "status=200"]).passes(&exchange));
    assert!(!filter(&["status=404", "side=server"]).passes(&exchange));
    assert!(!filter(&["status=200", "side=client"]).passes(&exchange));
    assert!(!filter(&["!status=404", "!status=2xx"]).passes(&exchange));
    assert!(!filter(&["method=GET", "!path=/users/*"]).passes(&exchange));
    exchange.path = Some("/orders");
    assert!(filter(&["method=GET", "!path=/users/*"]).passes(&exchange));
    exchange.protocol = Protocol::Http10;
    assert!(filter(&["protocol=http/1.0", "protocol=http/1.1"]).passes(&exchange));
}

#[test]
fn what_cannot_be_applied_is_refused() {
    for (property, value, part) in [
        (Property::Pid, "0", "from 1 to 4194304"),
        (Property::Pid, "nginx", "--comm nginx"),
        (Property::Pid, "-1", "from 1 to"),
        (Property::Comm, "", "such as nginx"),
        (
            Property::Comm,
            "a-name-longer-than-the-kernel-keeps",
            "'a-name-longer-t'",
        ),
        (Property::Comm, "a-name-longer-than-*", "'a-name-longer-t'"),
        (Property::Comm, "ééééééééé", "'ééééééé'"),
        (Property::Port, "0", "1 to 65535"),
        (Property::Port, "65536", "1 to 65535"),
        (Property::Port, ":8080", ": 8080"),
        (Property::Port, "80-443", "80,443"),
        (Property::Port, "80,,443", "such as 8080"),
        (Property::Side, "Server", "did you mean server?"),
        (Property::Side, "both", "server (requests served)"),
        (Property::Protocol, "http/3", "HTTP/3 is not seen"),
        (Property::Protocol, "https", "TLS is not seen"),
        (Property::Protocol, "http1.1", "did you mean http/1.1?"),
        (Property::Protocol, "gopher", "it takes http/1.0"),
        (Property::Method, "", "such as GET"),
        (Property::Method, "GET POST", "GET,POST"),
        (Property::Method, "GET /a", "--method GET --path /a"),
        (Property::Method, "P*", "no pattern"),
        (Property::Path, "", "'/api/*'"),
        (Property::Path, "\\", "backslash"),
        (Property::Path, "api", "use '/api', or '*api*'"),
        (Property::Path, "api/*", "use '/api/*'"),
        (
            Property::Path,
            "shop.v1.Orders/Get",
            "'/shop.v1.Orders/Get'",
        ),
        (Property::Path, "/a,b", "\\,"),
        (Property::Path, "http://host:80/api?x", "use '/api'"),
        (Property::Path, "/search?q=x", "use '/search'"),
        (Property::Path, "/search\\?*", "use '/search'"),
        (Property::Status, "4x", "it takes a status"),
        (Property::Status, "0xx", "100 to 599"),
        (Property::Status, "9xx", "100 to 599"),
        (Property::Status, "99", "100 to 599"),
        (Property::Status, "600", "100 to 599"),
        (Property::Status, "1000", "100 to 599"),
        (Property::Status, "500-999", "use 500-599"),
        (Property::Status, "100", "only announce"),
        (Property::Status, "103-199", "only announce"),
        (Property::Status, "+40", "it takes a status"),
        (Property::Status, "OK", "--grpc-status OK"),
        (Property::Status, "500-400", "use 400-500"),
        (Property::MinDuration, "50", "50ms"),
        (Property::Container, "nginx", "docker ps"),
        (Property::Container, "abc", "4 to 64"),
        (Property::Pod, "my-pod", "kubectl"),
        (Property::Pod, "----", "kubectl"),
        (Property::Pod, "0a1b2c3d1111-", "kubectl"),
        (Property::GrpcStatus, "17", "0 to 16"),
        (Property::GrpcStatus, "FINE", "14 or UNAVAILABLE"),
        (Property::GrpcStatus, "NotFound", "did you mean NOT_FOUND?"),
        (
            Property::GrpcStatus,
            "StatusCode.CANCELED",
            "did you mean CANCELLED?",
        ),
    ] {
        let error = Filter::default().add(property, value, false).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(property.flag()) && text.contains(part),
            "{text}"
        );
    }
}

#[test]
fn lists_are_alternatives() {
    let (nginx, conn) = (nginx(), server_conn());
    let exchange = ok(&nginx, &conn);
    for (list, passes) in [
        (&["status=404,2xx"][..], true),
        (&["status=404,500-599"], false),
        (&["!status=404,2xx"], false),
        (&["port=80,8080", "method=POST,GET"], true),
        (&["path=/orders,/users/*"], true),
        (&["path=/users/7\\,8"], false),
        (&["status=101"], false),
        (&["path=example.com:443,?users*,\\*"], true),
    ] {
        assert_eq!(filter(list).passes(&exchange), passes, "{list:?}");
    }
    let mut comma = exchange.clone();
    comma.path = Some("/users/7,8");
    assert!(filter(&["path=/users/7\\,8"]).passes(&comma));
}

#[test]
fn what_excludes_itself_is_found() {
    for (conditions, possible) in [
        (&["status=404", "!status=404"][..], false),
        (&["status=404,500", "!status=404"], true),
        (&["port=80", "!port=80,443"], false),
        (&["protocol=http", "grpc-status=OK"], false),
        (&["protocol=http,grpc", "grpc-status=OK"], true),
        (&["grpc-status=OK", "!protocol=http"], true),
        (&[], true),
    ] {
        assert_eq!(
            filter(conditions).check().is_ok(),
            possible,
            "{conditions:?}"
        );
    }
}

#[test]
fn tells_which_processes_are_asked_for() {
    let filter = filter(&["pid=1", "!pid=2", "pid=3", "side=server"]);
    assert_eq!(filter.pids().collect::<Vec<_>>(), [1, 3]);
}
