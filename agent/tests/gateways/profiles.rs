//! Profiles, which the Collector takes behind a feature gate.

use std::time::Duration;

use remora::config::otel::OtelSettings;
use remora::delivery::export::exporter::Destination;
use serde_json::json;

use crate::collector::{self, Collector, binary, config};
use crate::receiver::{settings, start};
use crate::sample_profile::profile;

#[test]
fn profiles_behind_its_feature_gate() {
    let Some(binary) = binary() else { return };
    for protocol in ["grpc", "http/protobuf"] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        config["service"]["pipelines"]["profiles"] =
            json!({"receivers": ["otlp"], "exporters": ["file"]});
        let gate = "service.profilesSupport";
        let gateway = Collector::with_gates(&binary, dir.path(), &config, gate);
        let url = gateway.url(protocol);
        let pairs = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        let otel = OtelSettings::resolve(|name| {
            let pair = pairs.iter().find(|(key, _)| *key == name)?;
            Some(pair.1.to_owned())
        });
        let mut settings = settings(&pairs);
        settings.profiles = Some(Destination::Gateway(otel.unwrap().profiles).into());
        let (exporter, sink) = start(settings);
        let profiles = exporter.profiles().unwrap();
        assert_eq!(profiles.push(&profile(true)), 0);
        drop(sink);
        exporter.shutdown(Duration::from_secs(10));
        let end = profiles.snapshot();
        assert_eq!((end.accepted, end.delivered), (2, 2), "{end:?}");
        gateway.stop();
        let lines = collector::lines(dir.path());
        let lines = lines.iter().filter(|it| it["resourceProfiles"].is_array());
        let resources: usize = lines
            .clone()
            .map(|it| it["resourceProfiles"].as_array().unwrap().len())
            .sum();
        assert_eq!(resources, 2, "one for each process");
        let links = |line: &serde_json::Value| line["dictionary"]["linkTable"].to_string();
        let link = format!("{}\",\"traceId\":\"{}", "f0".repeat(8), "4b".repeat(16));
        assert!(
            lines.clone().any(|it| {
                let links = links(it);
                links.contains(&"f0".repeat(8)) && links.contains(&"4b".repeat(16))
            }),
            "{link}: {lines:?}"
        );
    }
}
