//! Envoy as the sidecar of a service: requests to it, requests of it, and what it logs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::collect;
use crate::harness::process::command;
use crate::harness::trace::Trace;
use crate::harness::{require_privilege, wait_until};
use crate::programs::{self, Server, base, require_built};
use crate::truth::{self, Counts, Kind};

/// Rounds of the mix (see `httpclient`).
const ROUNDS: usize = 200;

/// Versions of HTTP that both sides of Envoy speak.
#[derive(Clone, Copy)]
enum Http {
    One,
    Two,
}

#[test]
fn envoy_from_http1_to_http1() {
    require_privilege!(alone);
    require_built!(envoy, gin, httpclient);
    users(envoy, gin, &httpclient, "http1", Http::One);
}

#[test]
fn envoy_from_http1_to_http2() {
    require_privilege!(alone);
    require_built!(envoy, gin, httpclient);
    users(envoy, gin, &httpclient, "http1", Http::Two);
}

#[test]
fn envoy_from_http2_to_http1() {
    require_privilege!(alone);
    require_built!(envoy, gin, httpclient);
    users(envoy, gin, &httpclient, "h2c", Http::One);
}

#[test]
fn envoy_carries_grpc() {
    require_privilege!(alone);
    require_built!(envoy, grpcserver, grpcclient);
    const CALLS: usize = 10_000;
    let server = programs::grpcserver(grpcserver);
    let envoy = start(envoy, server.port, Http::Two);
    let trace = Trace::start(&[]);
    let asked = programs::grpcclient(&grpcclient, envoy.port, CALLS, 100, &[]);
    assert_eq!(truth::total(&asked), CALLS, "{asked:#?}");
    let report = collect(trace, &[envoy.port, server.port], 4 * CALLS).lossless();
    for port in [envoy.port, server.port] {
        let (at_server, at_client) = report.both(port, CALLS);
        assert_eq!(truth::of(&at_server), asked, "servers of {port}");
        assert_eq!(truth::of(&at_client), asked, "clients of {port}");
    }
    assert_eq!(server.counts(), asked, "what the server says");
    // Envoy logs the status of HTTP, which is 200 for every call.
    let logged = logged(&envoy, CALLS);
    assert_eq!(truth::total(&logged), CALLS, "{logged:#?}");
}

/// The mix, through Envoy to Gin.
fn users(envoy: PathBuf, gin: PathBuf, client: &PathBuf, protocol: &str, upstream: Http) {
    let server = programs::gin(gin);
    let envoy = start(envoy, server.port, upstream);
    let trace = Trace::start(&[]);
    let asked = programs::httpclient(client, protocol, &base(envoy.port), ROUNDS, 20);
    let count = truth::total(&asked);
    let report = collect(trace, &[envoy.port, server.port], 4 * count).lossless();
    for port in [envoy.port, server.port] {
        let (at_server, at_client) = report.both(port, count);
        assert_eq!(truth::of(&at_server), asked, "servers of {port}");
        assert_eq!(truth::of(&at_client), asked, "clients of {port}");
    }
    let process = envoy.process.pid();
    let (of_envoy, to_server) = (report.server(envoy.port), report.client(server.port));
    for span in of_envoy.into_iter().chain(to_server) {
        assert_eq!(span.pid, process, "{span:?}");
    }
    let version = match upstream {
        Http::One => "http/1.1",
        Http::Two => "http/2",
    };
    assert!(
        report
            .client(server.port)
            .iter()
            .all(|span| span.protocol == version)
    );
    assert_eq!(logged(&envoy, count), asked, "what Envoy says");
    assert_eq!(server.counts(), asked, "what the server says");
}

/// Starts Envoy in front of a local port.
fn start(program: PathBuf, upstream: u16, version: Http) -> Server {
    Server::start(1, |port, _, dir| {
        let settings = dir.join("envoy.yaml");
        std::fs::write(&settings, bootstrap(port, upstream, version, dir)).unwrap();
        let mut envoy = command(program, &["--disable-hot-restart", "--concurrency", "2"]);
        envoy.args([
            "--file-flush-interval-msec",
            "50",
            "--log-level",
            "warning",
            "-c",
        ]);
        envoy.arg(settings);
        envoy
    })
}

/// What Envoy logged, once it has written `count` lines.
fn logged(envoy: &Server, count: usize) -> Counts {
    let path = envoy.dir.path().join("access.log");
    let text = wait_until("Envoy's log", || {
        let text = std::fs::read_to_string(&path).ok()?;
        (text.lines().count() >= count).then_some(text)
    });
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let mut next = || words.next().unwrap().to_owned();
        let (method, path, status) = (next(), next(), next());
        let kind = Kind {
            protocol: "http".into(),
            method,
            route: route(&path),
            status: status.parse().unwrap(),
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

/// The pattern of a path, as the servers registered it.
fn route(path: &str) -> String {
    match path.strip_prefix("/api/v1/users/") {
        Some(_) => "/api/v1/users/{id}".into(),
        None => path.into(),
    }
}

fn bootstrap(port: u16, upstream: u16, version: Http, dir: &Path) -> String {
    let explicit = match version {
        Http::One => "{http_protocol_options: {}}",
        Http::Two => "{http2_protocol_options: {}}",
    };
    let log = dir.join("access.log");
    let log = log.display();
    format!(
        r#"static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: users
          codec_type: AUTO
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {log}
              log_format: {{text_format_source: {{inline_string: "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%\n"}}}}
          route_config:
            virtual_hosts:
            - {{name: users, domains: ["*"], routes: [{{match: {{prefix: "/"}}, route: {{cluster: users}}}}]}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: users
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {explicit}
    load_assignment:
      cluster_name: users
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}}}]}}]
"#
    )
}
