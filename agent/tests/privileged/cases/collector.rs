//! `remora run` exports to the OpenTelemetry Collector: private authorities on both sides, a
//! bearer token, batches, and a file whose spans are counted.

use std::fs;
use std::process::Stdio;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::json;

use super::delivery::says;
use super::itself::text;
use crate::clients::curl;
use crate::collector::{self, Collector, binary, config, process, receive};
use crate::harness::process::{Spawned, remora};
use crate::harness::require_privilege;
use crate::pki::pki;
use crate::servers::nginx::Nginx;

/// Paths of spans of one side, sorted.
fn paths(spans: &[Span], kind: SpanKind) -> Vec<String> {
    let key = match kind {
        SpanKind::Server => "url.path",
        _ => "url.full",
    };
    let of_side = spans.iter().filter(|span| span.kind == kind as i32);
    let mut paths: Vec<_> = of_side
        .map(|span| {
            let text = text(span, key).unwrap_or_default();
            let start = text.find("/hello/").unwrap_or_default();
            text[start..].to_owned()
        })
        .collect();
    paths.sort();
    paths
}

#[test]
fn requests_are_spans_in_the_file_of_the_collector() {
    require_privilege!();
    let Some(binary) = binary() else { return };
    let nginx = Nginx::start();
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let (dir, pki) = (dir.path(), pki());
        let [ca, certificate, key] = pki.write(dir);
        let [server, server_key] = pki.write_server(dir);
        let (token, log) = (dir.join("token"), dir.join("agent.log"));
        fs::write(&token, "t0ken").unwrap();
        let mut config = config(dir);
        config["extensions"]["bearertokenauth"] = json!({"filename": token});
        config["service"]["extensions"] = json!(["bearertokenauth"]);
        let authenticator = json!({"authenticator": "bearertokenauth"});
        receive(&mut config, "auth", &authenticator);
        let tls = json!({"cert_file": server, "key_file": server_key, "client_ca_file": ca});
        receive(&mut config, "tls", &tls);
        process(&mut config, &[("batch", json!({"timeout": "100ms"}))]);
        let gateway = Collector::start(&binary, dir, &config);
        let mut agent = Spawned::logged(
            remora()
                .arg("run")
                .env(
                    "OTEL_EXPORTER_OTLP_ENDPOINT",
                    gateway.url(protocol).replace("http://", "https://"),
                )
                .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
                .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca)
                .env("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate)
                .env("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key)
                .env("REMORA_OTLP_BEARER_TOKEN_FILE", &token)
                .env("OTEL_BSP_SCHEDULE_DELAY", "100")
                .env("OTEL_TRACES_SAMPLER", "always_on")
                // Other tests make requests as well.
                .env("REMORA_INCLUDE", format!("port={}", nginx.port()))
                .stdin(Stdio::null()),
            &log,
        );
        says(&log, "remora: exporting to");
        let mut asked: Vec<_> = (0..50).map(|number| format!("/hello/{number}")).collect();
        for path in &asked {
            curl::one(&[], &format!("http://127.0.0.1:{}{path}", nginx.port()));
        }
        agent.signal(libc::SIGTERM);
        let said = || fs::read_to_string(&log).unwrap();
        assert!(agent.wait().success(), "{}", said());
        gateway.stop();
        let spans = collector::spans(dir);
        asked.sort();
        assert_eq!(paths(&spans, SpanKind::Server), asked, "{}", said());
        assert_eq!(paths(&spans, SpanKind::Client), asked, "{}", said());
    }
}
