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
    for (property, value) in [
        (Property::Pid, "0"),
        (Property::Pid, "nginx"),
        (Property::Pid, "-1"),
        (Property::Comm, ""),
        (Property::Comm, "a-name-longer-than-the-kernel-keeps"),
        (Property::Port, "0"),
        (Property::Port, "65536"),
        (Property::Side, "Server"),
        (Property::Protocol, "http/3"),
        (Property::Protocol, "gopher"),
        (Property::Method, ""),
        (Property::Method, "GET POST"),
        (Property::Path, ""),
        (Property::Path, "\\"),
        (Property::Status, "4x"),
        (Property::Status, "0xx"),
        (Property::Status, "99"),
        (Property::Status, "1000"),
        (Property::Status, "+40"),
        (Property::Status, "500-400"),
        (Property::MinDuration, "50"),
        (Property::Container, "nginx"),
        (Property::Container, "abc"),
        (Property::Pod, "my-pod"),
        (Property::GrpcStatus, "17"),
        (Property::GrpcStatus, "FINE"),
    ] {
        let error = Filter::default().add(property, value, false).unwrap_err();
        assert!(error.to_string().contains(property.flag()), "{error}");
    }
}

#[test]
fn tells_which_processes_are_asked_for() {
    let filter = filter(&["pid=1", "!pid=2", "pid=3", "side=server"]);
    assert_eq!(filter.pids().collect::<Vec<_>>(), [1, 3]);
}
