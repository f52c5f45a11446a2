//! gRPC at a thousand streams of one connection.

use std::path::PathBuf;

use super::collect;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::programs::{self, Server, require_built};
use crate::truth;

#[test]
fn grpc_go_with_a_thousand_streams() {
    require_privilege!(alone);
    require_built!(grpcserver, grpcclient);
    let server = programs::grpcserver(grpcserver);
    let port = server.port;
    calls(server, port, &grpcclient, 100_000, 1000);
}

#[test]
fn kratos_serves_grpc() {
    require_privilege!(alone);
    require_built!(kratos, grpcclient);
    let server = programs::kratos(kratos);
    let port = server.second;
    calls(server, port, &grpcclient, 10_000, 100);
}

#[test]
fn gozero_serves_grpc() {
    require_privilege!(alone);
    require_built!(gozero, grpcclient);
    let server = programs::gozero(gozero);
    let port = server.second;
    calls(server, port, &grpcclient, 10_000, 100);
}

/// The counts of both programs, and those of the spans, are the same.
fn calls(server: Server, port: u16, client: &PathBuf, calls: usize, streams: usize) {
    let trace = Trace::start(&[]);
    let asked = programs::grpcclient(client, port, calls, streams, &[]);
    assert_eq!(truth::total(&asked), calls, "{asked:#?}");
    let report = collect(trace, &[port], 2 * calls).lossless();
    let (at_server, at_client) = report.both(port, calls);
    assert_eq!(truth::of(&at_server), asked, "spans of the server");
    assert_eq!(truth::of(&at_client), asked, "spans of the client");
    assert_eq!(server.counts(), asked, "what the server says");
}
