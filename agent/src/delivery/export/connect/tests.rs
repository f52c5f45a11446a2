//! Names that lead elsewhere by the time of the next connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::config::otel::OtelSettings;

/// Answers as told, and counts.
#[derive(Clone, Default)]
struct Names {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<Mutex<VecDeque<String>>>,
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        self.asked.lock().unwrap().push_back(name.to_string());
        ready(Ok(self.addresses.lock().unwrap().clone().into_iter()))
    }
}

/// A server that says which one it is, and ends all connections with its task.
async fn server(speaks: Speaks, host: &str, port: u16, says: StatusCode) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((host, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |_: Request<Incoming>| async move {
                let response = Response::builder().status(says);
                response.body(Full::<Bytes>::default())
            });
            let stream = TokioIo::new(stream);
            connections.spawn(async move {
                match speaks {
                    Speaks::Http1 => {
                        let server = http1::Builder::new();
                        drop(server.serve_connection(stream, service).await);
                    }
                    Speaks::Http2 => {
                        let server = http2::Builder::new(TokioExecutor::new());
                        drop(server.serve_connection(stream, service).await);
                    }
                }
            });
        }
    });
    (port, task)
}

/// The clients that the exporters use.
enum Requests {
    Http(
        Box<Client<Connector<HttpConnector<Names>>, Full<Bytes>>>,
        Uri,
    ),
    Grpc(Channel),
}

impl Requests {
    fn new(names: &Names, endpoint: &str, speaks: Speaks) -> Self {
        let otel = OtelSettings::resolve(|name| {
            (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| endpoint.to_owned())
        });
        let tcp = HttpConnector::new_with_resolver(names.clone());
        let connector = Connector::over(tcp, &otel.unwrap().traces, speaks).unwrap();
        match speaks {
            Speaks::Http1 => {
                let client = Client::builder(TokioExecutor::new()).build(connector);
                Self::Http(Box::new(client), endpoint.parse().unwrap())
            }
            Speaks::Http2 => {
                let endpoint = Endpoint::from_static("http://gateway.invalid");
                Self::Grpc(endpoint.connect_with_connector_lazy(connector))
            }
        }
    }

    /// The answer of whoever is there. The first request after the end of a connection may
    /// still be sent on it.
    async fn send(&mut self) -> StatusCode {
        for _ in 0..2 {
            let answer = match self {
                Self::Http(client, uri) => client.get(uri.clone()).await.map(|it| it.status()).ok(),
                Self::Grpc(channel) => {
                    poll_fn(|context| channel.poll_ready(context))
                        .await
                        .unwrap();
                    let request = Request::new(Body::empty());
                    channel.call(request).await.map(|it| it.status()).ok()
                }
            };
            // Until the connection is back in the pool, or known to be at its end.
            tokio::time::sleep(Duration::from_millis(100)).await;
            if let Some(answer) = answer {
                return answer;
            }
        }
        panic!("no answer")
    }
}

#[tokio::test]
async fn names_are_resolved_for_every_connection() {
    for speaks in [Speaks::Http1, Speaks::Http2] {
        let (port, first) = server(speaks, "127.0.0.1", 0, StatusCode::OK).await;
        let (_, second) = server(speaks, "127.0.0.2", port, StatusCode::ACCEPTED).await;
        let names = Names::default();
        let lead = |hosts: &[&str]| {
            let addresses = hosts
                .iter()
                .map(|it| SocketAddr::new(it.parse().unwrap(), port));
            *names.addresses.lock().unwrap() = addresses.collect();
        };
        let endpoint = format!("http://gateway.test:{port}");
        let mut requests = Requests::new(&names, &endpoint, speaks);

        lead(&["127.0.0.1"]);
        assert_eq!(requests.send().await, StatusCode::OK);
        lead(&["127.0.0.2"]);
        let open = requests.send().await;
        assert_eq!(open, StatusCode::OK, "an open connection stays");
        assert_eq!(*names.asked.lock().unwrap(), ["gateway.test"]);

        // The first one goes away.
        first.abort();
        drop(first.await);
        assert_eq!(requests.send().await, StatusCode::ACCEPTED);

        // Dead addresses before one that lives are passed over.
        second.abort();
        drop(second.await);
        let (_, _third) = server(speaks, "127.0.0.3", port, StatusCode::CREATED).await;
        lead(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
        assert_eq!(requests.send().await, StatusCode::CREATED);
    }
}
