//! Proxies: a real one, that opens tunnels and forwards requests, and resolves names.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use remora::delivery::export::counters::DropReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::front::Front;
use crate::receiver::{Receiver, push, settings, start, wait};
use crate::tls::{Pki, pki};

/// Ends with the value.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

impl Proxy {
    /// All names lead to `gateway`. Without the credentials `wants`, if there are some,
    /// nothing is passed on.
    pub(crate) fn new(gateway: SocketAddr, wants: Option<&'static str>) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let seen = Arc::clone(&heads);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass(stream, gateway, wants, Arc::clone(&seen)));
            }
        });
        Self {
            address,
            heads,
            _runtime: runtime,
        }
    }

    /// Heads of requests to the proxy, in lower case.
    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn pass(
    mut near: TcpStream,
    gateway: SocketAddr,
    wants: Option<&'static str>,
    heads: Arc<Mutex<Vec<String>>>,
) {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break at + 4;
        }
        if near.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    heads.lock().unwrap().push(head.to_lowercase());
    if wants.is_some_and(|wants| !head.contains(wants)) {
        let refusal = format!(
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\n\r\n{head}",
            head.len()
        );
        drop(near.write_all(refusal.as_bytes()).await);
        return;
    }
    let mut far = TcpStream::connect(gateway).await.unwrap();
    if head.starts_with("CONNECT ") {
        let answer = b"HTTP/1.1 200 Connection established\r\n\r\n";
        near.write_all(answer).await.unwrap();
    } else {
        // The receiver takes the absolute form as well.
        far.write_all(&read).await.unwrap();
    }
    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
}

/// A gateway behind a proxy: with and without TLS.
struct Case {
    receiver: Receiver,
    front: Front,
    pki: Pki,
}

fn case(protocol: &str) -> Case {
    let receiver = match protocol {
        "grpc" => Receiver::grpc(vec![]),
        _ => Receiver::http(vec![]),
    };
    let pki = pki();
    let front = Front::new(receiver.address, pki.front(protocol, false));
    Case {
        receiver,
        front,
        pki,
    }
}

#[test]
fn gateways_are_reached_through_a_proxy() {
    for (protocol, tls, head) in [
        ("grpc", false, "connect gateway.test:80 http/1.1\r\n"),
        ("grpc", true, "connect gateway.test:443 http/1.1\r\n"),
        (
            "http/protobuf",
            false,
            "post http://gateway.test/v1/traces http/1.1\r\n",
        ),
        (
            "http/protobuf",
            true,
            "connect gateway.test:443 http/1.1\r\n",
        ),
    ] {
        let (case, directory) = (case(protocol), tempfile::tempdir().unwrap());
        let behind = if tls {
            case.front.address
        } else {
            case.receiver.address
        };
        // name:pass!word
        let proxy = Proxy::new(behind, Some("Basic bmFtZTpwYXNzIXdvcmQ="));
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, case.pki.ca.pem()).unwrap();
        let (variable, endpoint) = if tls {
            ("https_proxy", "https://gateway.test")
        } else {
            ("HTTP_PROXY", "http://gateway.test")
        };
        let url = format!("http://name:pass%21word@{}", proxy.address);
        let settings = settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca.to_str().unwrap()),
            (variable, &url),
        ]);
        let (exporter, mut sink) = start(settings);
        push(&mut sink, 1, 10);
        wait(|| exporter.counters().snapshot().delivered == 10);
        let heads = proxy.heads();
        assert!(heads[0].starts_with(head), "{protocol} {tls}: {heads:?}");
        assert_eq!(case.receiver.spans().len(), 10);
        // What opens a tunnel is not for the gateway.
        let tunnelled = heads[0].starts_with("connect");
        let given = case.receiver.received()[0]
            .headers
            .contains_key("proxy-authorization");
        assert!(!(tunnelled && given), "{protocol} {tls}");
    }
}

#[test]
fn proxies_that_refuse() {
    for protocol in ["grpc", "http/protobuf"] {
        let case = case(protocol);
        let proxy = Proxy::new(case.receiver.address, Some("Basic x"));
        let url = format!("http://{}", proxy.address);
        let (exporter, mut sink) = start(settings(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://gateway.test"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
            ("ALL_PROXY", &url),
        ]));
        push(&mut sink, 1, 1);
        wait(|| {
            let now = exporter.counters().snapshot();
            // A tunnel may come up later; an answer to a request is one.
            now.retries >= 2 || now.dropped_for(DropReason::Rejected) == 1
        });
        assert!(case.receiver.received().is_empty());
    }
}

#[test]
fn some_gateways_are_reached_without() {
    for protocol in ["grpc", "http/protobuf"] {
        let case = case(protocol);
        let proxy = Proxy::new(case.receiver.address, None);
        let proxy_url = format!("http://{}", proxy.address);
        // This host, and a name that no other resolver knows.
        let here = format!("http://localhost:{}", case.receiver.address.port());
        for (endpoint, no, arrives) in [
            (here.as_str(), "", true),
            ("http://gateway.test", "elsewhere.test", true),
            ("http://gateway.test", "elsewhere.test,.test", false),
        ] {
            let (exporter, mut sink) = start(settings(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
                ("all_proxy", &proxy_url),
                ("NO_PROXY", no),
            ]));
            push(&mut sink, 1, 1);
            wait(|| {
                let now = exporter.counters().snapshot();
                if arrives {
                    now.delivered == 1
                } else {
                    now.retries >= 1
                }
            });
            drop(sink);
            exporter.shutdown(Duration::from_millis(10));
        }
        assert_eq!(proxy.heads().len(), 1, "{protocol}");
    }
}
