//! A service that speaks gRPC, and its client: prices of items. Messages are single
//! numbers, so there is nothing to generate.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use tokio::runtime::{Builder, Runtime};
use tonic::body::Body;
use tonic::client::Grpc as Client;
use tonic::codegen::tokio_stream::{self, Iter};
use tonic::codegen::{Context, Pin, Poll, Service};
use tonic::server::Grpc as Server;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

const QUOTE: &str = "/demo.v1.Prices/Quote";
const WATCH: &str = "/demo.v1.Prices/Watch";
/// Items that have a price.
const KNOWN: std::ops::RangeInclusive<u64> = 1..=20;
/// Prices in an answer to [`WATCH`].
const WATCHED: u64 = 5;
/// Pause between calls.
const PAUSE: Duration = Duration::from_millis(10);

/// Serves on a listening socket for as long as the process lives; counts calls.
pub(super) fn serve(listener: std::net::TcpListener, served: Arc<AtomicU64>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener)?);
            tonic::transport::Server::builder()
                .serve_with_incoming(Prices { served }, incoming.with_nodelay(Some(true)))
                .await
                .map_err(io::Error::other)
        })
    });
    Ok(())
}

/// Makes calls until `end`; returns how many. `connecting` is let go of before the first.
pub(super) fn call(prices: SocketAddr, end: Instant, connecting: Sender<()>) -> io::Result<u64> {
    runtime()?.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{prices}"))
            .and_then(|endpoint| endpoint.user_agent("remora-demo"))
            .map_err(io::Error::other)?;
        let mut client = Client::new(endpoint.connect().await.map_err(io::Error::other)?);
        drop(connecting);
        let mut made = 0;
        while Instant::now() < end {
            made += 1;
            // Some items have no price, which is an answer as well.
            one(&mut client, made).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(made)
    })
}

async fn one(client: &mut Client<Channel>, number: u64) -> io::Result<()> {
    client.ready().await.map_err(io::Error::other)?;
    let codec = ProstCodec::<u64, u64>::default();
    // The first one has no price already: who looks for a moment is to see a status.
    let request = Request::new((number + 20) % 22);
    if number.is_multiple_of(10) {
        let path = PathAndQuery::from_static(WATCH);
        let answer = client.server_streaming(request, path, codec).await;
        let mut prices = answer.map_err(io::Error::other)?.into_inner();
        while prices.message().await.map_err(io::Error::other)?.is_some() {}
        return Ok(());
    }
    let path = PathAndQuery::from_static(QUOTE);
    match client.unary(request, path, codec).await {
        Err(status) if status.code() != tonic::Code::NotFound => Err(io::Error::other(status)),
        _ => Ok(()),
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The service.
#[derive(Clone, Debug)]
struct Prices {
    served: Arc<AtomicU64>,
}

impl Service<http::Request<Body>> for Prices {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future =
        Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send + 'static>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.served.fetch_add(1, Ordering::SeqCst);
        let mut server = Server::new(ProstCodec::<u64, u64>::default());
        Box::pin(async move {
            Ok(match request.uri().path() {
                QUOTE => server.unary(Quote, request).await,
                WATCH => server.server_streaming(Watch, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// The price of an item.
struct Quote;

impl Service<Request<u64>> for Quote {
    type Response = Response<u64>;
    type Error = Status;
    type Future = Ready<Result<Response<u64>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<u64>) -> Self::Future {
        let item = request.into_inner();
        ready(if KNOWN.contains(&item) {
            Ok(Response::new(100 * item))
        } else {
            Err(Status::not_found("no such item"))
        })
    }
}

/// The prices of an item, as they change.
struct Watch;

impl Service<Request<u64>> for Watch {
    type Response = Response<Iter<std::vec::IntoIter<Result<u64, Status>>>>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<u64>) -> Self::Future {
        let item = request.into_inner();
        let prices: Vec<_> = (0..WATCHED).map(|change| Ok(100 * item + change)).collect();
        ready(Ok(Response::new(tokio_stream::iter(prices))))
    }
}
