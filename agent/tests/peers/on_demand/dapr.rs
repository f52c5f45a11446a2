//! Two applications with a sidecar of Dapr each: a request passes three hops, and all four
//! programs are seen on both sides of each.

use std::path::PathBuf;

use crate::cases::collect;
use crate::harness::process::{Spawned, command, free_port};
use crate::harness::report::Report;
use crate::harness::require_privilege;
use crate::harness::trace::Trace;
use crate::programs::{self, Server, base, require_built};
use crate::truth::{self, Counts, Kind};

/// The application that is called. Sidecars find it as the host of this name, at the port
/// that stands in their settings.
const APP: &str = "localhost";

/// Rounds of the mix (see `httpclient`).
const ROUNDS: usize = 200;

/// How a sidecar hands a request of HTTP on to another.
const HANDED_ON: &str = "/dapr.proto.internals.v1.ServiceInvocation/CallLocalStream";

#[test]
fn dapr_invokes_by_path() {
    require_privilege!(alone);
    require_built!(daprd, gin, httpclient);
    let prefix = format!("/v1.0/invoke/{APP}/method");
    over_http(daprd, gin, &httpclient, &prefix, &[]);
}

#[test]
fn dapr_invokes_by_header() {
    require_privilege!(alone);
    require_built!(daprd, gin, httpclient);
    over_http(daprd, gin, &httpclient, "", &[APP]);
}

#[test]
fn dapr_invokes_over_grpc() {
    require_privilege!(alone);
    require_built!(daprd, grpcserver, grpcclient);
    const CALLS: usize = 10_000;
    let server = programs::grpcserver(grpcserver);
    let sidecars = Sidecars::start(daprd, server.port, "grpc");
    let trace = Trace::start(&[]);
    let asked = programs::grpcclient(&grpcclient, sidecars.grpc, CALLS, 100, &[APP]);
    assert_eq!(truth::total(&asked), CALLS, "{asked:#?}");
    let hops = [sidecars.grpc, sidecars.internal, server.port];
    let report = collect(trace, &hops, 6 * CALLS).lossless();
    for port in hops {
        check(&report, port, &asked);
    }
    sidecars.check_processes(&report);
    assert_eq!(server.counts(), asked, "what the application says");
}

/// The mix, from an application through both sidecars to Gin.
fn over_http(daprd: PathBuf, gin: PathBuf, client: &PathBuf, prefix: &str, more: &[&str]) {
    let server = programs::gin(gin);
    let sidecars = Sidecars::start(daprd, server.port, "http");
    // What a sidecar asks its application for at its start is counted by it, too.
    let trace = Trace::start(&[]);
    let url = format!("{}{prefix}", base(sidecars.http));
    let asked = programs::httpclient_with(client, "http1", &url, ROUNDS, 20, more);
    let count = truth::total(&asked);
    let hops = [sidecars.http, sidecars.internal, server.port];
    let report = collect(trace, &hops, 6 * count).lossless();
    check(&report, sidecars.http, &asked);
    let handed_on = Kind {
        protocol: "grpc".into(),
        method: "POST".into(),
        route: HANDED_ON.into(),
        status: 0,
    };
    check(
        &report,
        sidecars.internal,
        &Counts::from([(handed_on, count)]),
    );
    let plain: Counts = asked
        .into_iter()
        .map(|(mut kind, count)| {
            kind.route = kind.route.strip_prefix(prefix).unwrap().to_owned();
            (kind, count)
        })
        .collect();
    check(&report, server.port, &plain);
    sidecars.check_processes(&report);
    let mut counted = server.counts();
    counted.retain(|kind, _| !kind.route.starts_with("/dapr/"));
    assert_eq!(counted, plain, "what the application says");
}

/// Both sides of a hop.
fn check(report: &Report, port: u16, asked: &Counts) {
    let (at_server, at_client) = report.both(port, truth::total(asked));
    assert_eq!(&truth::of(&at_server), asked, "servers of {port}");
    assert_eq!(&truth::of(&at_client), asked, "clients of {port}");
}

/// The sidecar of an application that calls, and that of the one that is called.
struct Sidecars {
    /// Ports for the application that calls.
    http: u16,
    grpc: u16,
    /// Port of the other sidecar for its like.
    internal: u16,
    app: u16,
    caller: Server,
    called: Spawned,
}

impl Sidecars {
    fn start(daprd: PathBuf, app: u16, protocol: &str) -> Self {
        let (internal, other_http) = (free_port(), free_port());
        let other_grpc = free_port();
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("called.log");
        let mut called = sidecar(&daprd, APP, other_http, other_grpc, internal);
        called.args(["--app-port", &app.to_string(), "--app-protocol", protocol]);
        let mut called = Spawned::logged(&mut called, &log);
        called.wait_for_port(internal);
        called.wait_for_port(other_http);
        let own = free_port();
        let caller = Server::start(2, |http, grpc, dir| {
            let settings = dir.join("config.yaml");
            std::fs::write(&settings, configuration(internal)).unwrap();
            let mut command = sidecar(&daprd, "shop", http, grpc, own);
            command.arg("--config").arg(settings);
            command
        });
        Self {
            http: caller.port,
            grpc: caller.second,
            internal,
            app,
            caller,
            called,
        }
    }

    /// Every hop has the processes at its ends that it should.
    fn check_processes(&self, report: &Report) {
        let (caller, called) = (self.caller.process.pid(), self.called.pid());
        let is = |pid| move |span: &&crate::harness::request::Request| span.pid == pid;
        assert!(report.client(self.internal).iter().all(is(caller)));
        assert!(report.server(self.internal).iter().all(is(called)));
        assert!(report.client(self.app).iter().all(is(called)));
        let entered = [self.http, self.grpc].map(|port| report.server(port));
        assert!(entered.iter().flatten().all(is(caller)));
    }
}

/// A sidecar without control plane, on loopback alone.
fn sidecar(
    daprd: &PathBuf,
    app: &str,
    http: u16,
    grpc: u16,
    internal: u16,
) -> std::process::Command {
    let mut command = command(daprd, &["--mode", "standalone", "--app-id", app]);
    command
        .args(["--dapr-http-port", &http.to_string()])
        .args(["--dapr-grpc-port", &grpc.to_string()])
        .args(["--dapr-internal-grpc-port", &internal.to_string()])
        .args(["--dapr-listen-addresses", "127.0.0.1"])
        .args(["--dapr-internal-grpc-listen-address", "127.0.0.1"])
        .args(["--enable-metrics=false", "--log-level", "warn"])
        .env("DAPR_HOST_IP", "127.0.0.1");
    command
}

/// Names of applications are hosts, and all of them are at this port.
fn configuration(port: u16) -> String {
    format!(
        "apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {{name: names}}
spec:
  nameResolution:
    component: nameformat
    version: v1
    configuration: {{format: '{{appid}}:{port}'}}
"
    )
}
