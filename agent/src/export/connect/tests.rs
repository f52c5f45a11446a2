//! Names that lead elsewhere by the time of the next connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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
async fn server(host: &str, port: u16, says: StatusCode) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind((host, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(move |_: Request<Incoming>| async move {
                let response = Response::builder().status(says);
                response.body(Full::<Bytes>::default())
            });
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    (port, task)
}

#[tokio::test]
async fn names_are_resolved_for_every_connection() {
    let (port, first) = server("127.0.0.1", 0, StatusCode::OK).await;
    let (_, second) = server("127.0.0.2", port, StatusCode::ACCEPTED).await;
    let names = Names::default();
    let lead = |hosts: &[&str]| {
        let addresses = hosts
            .iter()
            .map(|it| SocketAddr::new(it.parse().unwrap(), port));
        *names.addresses.lock().unwrap() = addresses.collect();
    };
    let endpoint = format!("http://gateway.test:{port}");
    let otel = OtelSettings::resolve(|name| {
        (name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").then(|| endpoint.clone())
    });
    let tcp = HttpConnector::new_with_resolver(names.clone());
    let connector = Connector::over(tcp, &otel.unwrap().traces, Speaks::Http1).unwrap();
    let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    let get = async || {
        let response = client.get(endpoint.parse().unwrap()).await;
        response.map(|it| it.status())
    };

    lead(&["127.0.0.1"]);
    assert_eq!(get().await.unwrap(), StatusCode::OK);
    lead(&["127.0.0.2"]);
    assert_eq!(
        get().await.unwrap(),
        StatusCode::OK,
        "an open connection stays"
    );
    assert_eq!(*names.asked.lock().unwrap(), ["gateway.test"]);

    // The first one goes away.
    first.abort();
    drop(first.await);
    let mut answer = get().await;
    if answer.is_err() {
        answer = get().await;
    }
    assert_eq!(answer.unwrap(), StatusCode::ACCEPTED);

    // A dead address beside one that lives is passed over.
    second.abort();
    drop(second.await);
    let (_, _third) = server("127.0.0.3", port, StatusCode::CREATED).await;
    lead(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]);
    let mut answer = get().await;
    if answer.is_err() {
        answer = get().await;
    }
    assert_eq!(answer.unwrap(), StatusCode::CREATED);
}
