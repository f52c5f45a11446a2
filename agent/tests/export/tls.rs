//! TLS with an authority of our own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use remora::delivery::export::exporter::{ExportSettings, Exporter};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::front::Front;
pub(crate) use crate::pki::{Pki, pki};
use crate::receiver::{Receiver, push, settings, start, wait};

impl Pki {
    fn rustls(&self, client_auth: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.der().clone()).unwrap();
        let builder = if client_auth {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(self.server.1.serialize_pem().as_bytes()).unwrap();
        Arc::new(
            builder
                .with_single_cert(vec![self.server.0.der().clone()], key)
                .unwrap(),
        )
    }

    /// What a server in front of a receiver needs.
    pub(crate) fn front(&self, protocol: &str, client_auth: bool) -> Arc<ServerConfig> {
        let mut config = (*self.rustls(client_auth)).clone();
        if protocol == "grpc" {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        Arc::new(config)
    }

    fn tonic(&self, client_auth: bool) -> ServerTlsConfig {
        let identity = Identity::from_pem(self.server.0.pem(), self.server.1.serialize_pem());
        let config = ServerTlsConfig::new().identity(identity);
        if client_auth {
            config.client_ca_root(Certificate::from_pem(self.ca.pem()))
        } else {
            config
        }
    }

    /// Writes the files and returns settings that name them.
    fn settings(
        &self,
        receiver: &Receiver,
        protocol: &str,
        directory: &Path,
        ca: bool,
        client: bool,
    ) -> ExportSettings {
        let endpoint = format!("https://{}", receiver.address);
        self.at(&endpoint, protocol, directory, ca, client)
    }

    fn at(
        &self,
        endpoint: &str,
        protocol: &str,
        directory: &Path,
        ca: bool,
        client: bool,
    ) -> ExportSettings {
        let [ca_path, certificate, key] = self.write(directory);
        let mut pairs = vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ];
        if ca {
            pairs.push(("OTEL_EXPORTER_OTLP_CERTIFICATE", &ca_path));
        }
        if client {
            pairs.push(("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", &certificate));
            pairs.push(("OTEL_EXPORTER_OTLP_CLIENT_KEY", &key));
        }
        settings(&pairs)
    }
}

fn receiver(pki: &Pki, protocol: &str, client_auth: bool) -> Receiver {
    match protocol {
        "grpc" => Receiver::grpc_with(vec![], Some(pki.tonic(client_auth))),
        _ => Receiver::http_with(vec![], Some(pki.rustls(client_auth))),
    }
}

/// One that does not speak TLS itself.
fn plain(protocol: &str) -> Receiver {
    match protocol {
        "grpc" => Receiver::grpc(vec![]),
        _ => Receiver::http(vec![]),
    }
}

const PROTOCOLS: [&str; 2] = ["grpc", "http/protobuf"];

#[test]
fn a_known_authority_is_trusted() {
    for protocol in PROTOCOLS {
        for client_auth in [false, true] {
            let (pki, directory) = (pki(), tempfile::tempdir().unwrap());
            let receiver = receiver(&pki, protocol, client_auth);
            let (exporter, mut sink) =
                start(pki.settings(&receiver, protocol, directory.path(), true, client_auth));
            push(&mut sink, 1, 10);
            drop(sink);
            let snapshot = exporter.shutdown(Duration::from_secs(5));
            assert_eq!(
                snapshot.delivered, 10,
                "{protocol} {client_auth} {snapshot:?}"
            );
            assert_eq!(receiver.spans().len(), 10);
        }
    }
}

#[test]
fn strangers_get_nothing() {
    // An authority the agent does not know, and an agent the gateway does not know.
    for protocol in PROTOCOLS {
        for (own_ca, client_auth) in [(false, false), (true, true)] {
            let (pki, stranger, directory) = (pki(), pki(), tempfile::tempdir().unwrap());
            let receiver = receiver(&pki, protocol, client_auth);
            let trusted = if own_ca { &pki } else { &stranger };
            let (exporter, mut sink) =
                start(trusted.settings(&receiver, protocol, directory.path(), true, false));
            push(&mut sink, 1, 10);
            wait(|| exporter.counters().snapshot().retries >= 2);
            drop(sink);
            let snapshot = exporter.shutdown(Duration::from_millis(10));
            assert_eq!(
                (snapshot.delivered, receiver.received().len()),
                (0, 0),
                "{protocol}"
            );
        }
    }
}

#[test]
fn useless_files_are_found_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    std::fs::write(&path, "not a certificate").unwrap();
    for protocol in PROTOCOLS {
        let error = Exporter::start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://127.0.0.1:1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", path.to_str().unwrap()),
        ]));
        let message = error.map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("ca.pem holds no certificate"), "{message}");
    }
}

#[test]
fn new_files_are_used_by_new_connections() {
    for protocol in PROTOCOLS {
        let (old, new, directory) = (pki(), pki(), tempfile::tempdir().unwrap());
        let receiver = plain(protocol);
        let front = Front::new(receiver.address, old.front(protocol, false));
        let settings = old.at(
            &front.url("127.0.0.1"),
            protocol,
            directory.path(),
            true,
            true,
        );
        let (exporter, mut sink) = start(settings);
        let delivered = || exporter.counters().snapshot().delivered;
        push(&mut sink, 1, 1);
        wait(|| delivered() == 1);

        // Another authority on both sides, and the agent must show who it is.
        front.change(new.front(protocol, true));
        push(&mut sink, 2, 1);
        let retries = exporter.counters().snapshot().retries;
        wait(|| exporter.counters().snapshot().retries >= retries + 2);
        assert_eq!(delivered(), 1, "{protocol}: the agent trusts a stranger");
        new.write(directory.path());
        wait(|| delivered() == 2);

        // A connection that is open stays as it is; files that make no sense change nothing.
        std::fs::write(directory.path().join("ca.pem"), "cut off").unwrap();
        push(&mut sink, 3, 1);
        wait(|| delivered() == 3);
        front.change(new.front(protocol, true));
        push(&mut sink, 4, 1);
        wait(|| delivered() == 4);
        // A certificate whose key has not come yet.
        new.write(directory.path());
        std::fs::write(directory.path().join("client.pem"), old.client.0.pem()).unwrap();
        front.change(new.front(protocol, true));
        push(&mut sink, 5, 1);
        wait(|| delivered() == 5);
        assert_eq!(receiver.spans().len(), 5);
    }
}

#[test]
fn grpc_needs_a_gateway_that_speaks_http2() {
    let (pki, directory) = (pki(), tempfile::tempdir().unwrap());
    let receiver = plain("grpc");
    let front = Front::new(receiver.address, pki.front("http/protobuf", false));
    let settings = pki.at(
        &front.url("127.0.0.1"),
        "grpc",
        directory.path(),
        true,
        false,
    );
    let (exporter, mut sink) = start(settings);
    push(&mut sink, 1, 1);
    wait(|| exporter.counters().snapshot().retries >= 2);
    assert!(receiver.received().is_empty());
}
