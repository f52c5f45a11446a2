//! Profiles take the way of spans: queue, retry, splitting, accounts.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::profiles::v1development::profiles_service_server::{
    ProfilesService, ProfilesServiceServer,
};
use opentelemetry_proto::tonic::collector::profiles::v1development::{
    ExportProfilesPartialSuccess, ExportProfilesServiceRequest, ExportProfilesServiceResponse,
};
use prost::Message;
use remora::config::otel::OtelSettings;
use remora::delivery::export::counters::DropReason;
use remora::delivery::export::exporter::{Destination, ExportSettings, Exporter};
use remora::delivery::export::profiles::sink::ProfileSink;
use tokio::runtime::Runtime;
use tonic::transport::Server;

use super::receiver::{Answer, Receiver, free_address, push, settings, wait};
use super::rules::problems;
use super::sample_profile::profile;

/// Spans to one address, profiles to another.
fn apart(pairs: &[(&str, &str)]) -> ExportSettings {
    let otel = OtelSettings::resolve(|name| {
        let mut pairs = pairs.iter();
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some((*value).to_owned())
    });
    let mut settings = settings(pairs);
    settings.profiles = Some(Destination::Gateway(otel.unwrap().profiles).into());
    settings
}

fn start(
    settings: ExportSettings,
) -> (
    Exporter,
    remora::delivery::export::sink::OtlpSink,
    ProfileSink,
) {
    let (exporter, sink) = super::receiver::start(settings);
    let profiles = exporter.profiles().expect("there is a destination");
    (exporter, sink, profiles)
}

fn valid(body: &[u8]) -> ExportProfilesServiceRequest {
    let request = ExportProfilesServiceRequest::decode(body).unwrap();
    assert_eq!(problems(&request), Vec::<String>::new());
    request
}

fn ok() -> Answer {
    Answer::Status(200, vec![])
}

#[test]
fn http_has_a_path_of_its_own_and_accounts_of_its_own() {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(ok());
    let endpoint = format!("http://{}", receiver.address);
    let gzip = ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip");
    let (exporter, mut spans, profiles) =
        start(apart(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), gzip]));
    push(&mut spans, 1, 3);
    assert_eq!(profiles.push(&profile(true)), 0);
    wait(|| receiver.received().len() == 2);
    let received = receiver.received();
    let of = |path: &str| received.iter().find(|it| it.path == path).unwrap();
    let request = valid(&of("/v1development/profiles").body);
    assert_eq!(request.resource_profiles.len(), 2);
    assert_eq!(of("/v1/traces").request().resource_spans.len(), 1);
    drop(spans);
    let exported = exporter.shutdown(std::time::Duration::from_secs(5));
    assert_eq!((exported.accepted, exported.delivered), (3, 3));
    let profiled = profiles.snapshot();
    assert_eq!((profiled.accepted, profiled.delivered), (2, 2));
    assert!(profiled.balances());
}

#[test]
fn an_endpoint_for_profiles_is_used_as_it_is() {
    let (traces, own) = (Receiver::http(vec![]), Receiver::http(vec![ok()]));
    let (endpoint, profiles_to) = (
        format!("http://{}", traces.address),
        format!("http://{}/elsewhere", own.address),
    );
    let (exporter, _spans, profiles) = start(apart(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT", &profiles_to),
    ]));
    profiles.push(&profile(false));
    wait(|| profiles.snapshot().delivered == 2);
    assert_eq!(own.received()[0].path, "/elsewhere");
    assert!(traces.received().is_empty());
    drop(exporter);
}

#[test]
fn profiles_are_repeated_cut_and_given_up_as_spans_are() {
    let busy = Answer::Status(503, vec![]);
    let large = Answer::Status(413, vec![]);
    let receiver = Receiver::http(vec![busy, large, ok(), Answer::Status(400, vec![])]);
    let endpoint = format!("http://{}", receiver.address);
    let (exporter, _spans, profiles) = start(apart(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]));
    profiles.push(&profile(true));
    wait(|| profiles.snapshot().queued == 0);
    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert_eq!(received[0].body, received[1].body);
    let services: Vec<usize> = received
        .iter()
        .map(|it| valid(&it.body).resource_profiles.len())
        .collect();
    assert_eq!(services, [2, 2, 1, 1]);
    let snapshot = profiles.snapshot();
    assert!(snapshot.balances());
    assert_eq!((snapshot.delivered, snapshot.retries), (1, 1));
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 1);
    drop(exporter);
}

#[test]
fn files_hold_profiles_between_spans() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let mut settings = settings(&[]);
    settings.destination = Destination::File(path.clone());
    settings.profiles = Some(Destination::File(path.clone()).into());
    let (exporter, mut spans, profiles) = start(settings);
    push(&mut spans, 1, 1);
    profiles.push(&profile(true));
    drop(spans);
    exporter.shutdown(std::time::Duration::from_secs(5));
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    let profiles = lines
        .iter()
        .find(|line| line["resourceProfiles"].is_array());
    let links = &profiles.unwrap()["dictionary"]["linkTable"];
    assert_eq!(links[1]["traceId"], "4b".repeat(16));
    assert_eq!(links[1]["spanId"], "f0".repeat(8));
}

#[derive(Clone, Default)]
struct Service {
    received: Arc<Mutex<Vec<ExportProfilesServiceRequest>>>,
}

#[tonic::async_trait]
impl ProfilesService for Service {
    async fn export(
        &self,
        request: tonic::Request<ExportProfilesServiceRequest>,
    ) -> Result<tonic::Response<ExportProfilesServiceResponse>, tonic::Status> {
        let mut received = self.received.lock().unwrap();
        received.push(request.into_inner());
        if received.len() == 1 {
            return Err(tonic::Status::unavailable("later"));
        }
        Ok(tonic::Response::new(ExportProfilesServiceResponse {
            partial_success: Some(ExportProfilesPartialSuccess {
                rejected_profiles: 1,
                error_message: "one too many".into(),
            }),
        }))
    }
}

fn serve(service: &Service) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().unwrap();
    let address = free_address();
    let server = ProfilesServiceServer::new(service.clone());
    runtime.spawn(async move { Server::builder().serve(address, server).await.unwrap() });
    wait(|| std::net::TcpStream::connect(address).is_ok());
    (runtime, address)
}

#[test]
fn grpc_calls_the_profiles_service() {
    let service = Service::default();
    let (_runtime, address) = serve(&service);
    let endpoint = format!("http://{address}");
    let (exporter, _spans, profiles) = start(apart(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ]));
    profiles.push(&profile(false));
    wait(|| profiles.snapshot().queued == 0);
    let snapshot = profiles.snapshot();
    assert_eq!((snapshot.delivered, snapshot.retries), (1, 1));
    assert_eq!(snapshot.dropped_for(DropReason::Rejected), 1);
    let received = service.received.lock().unwrap();
    assert_eq!(received.len(), 2);
    assert_eq!(problems(&received[1]), Vec::<String>::new());
    drop(exporter);
}
