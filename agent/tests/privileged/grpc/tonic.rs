//! tonic, client and server, in the test's own process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tonic::body::Body;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::{StreamExt, iter};
use tonic::codegen::{BoxFuture, BoxStream, Context, Poll, Service, http};
use tonic::server::{
    ClientStreamingService, Grpc, ServerStreamingService, StreamingService, UnaryService,
};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::{Answered, Call, Command, kind_of};
use crate::harness::process::free_port;

/// Messages as the bytes they are.
#[derive(Clone, Copy, Default)]
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// A running server; connections are cut when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    _runtime: Runtime,
}

impl Server {
    pub(super) fn start() -> Self {
        let runtime = runtime();
        let port = free_port();
        let server = tonic::transport::Server::builder()
            .max_concurrent_streams(2000)
            .serve(SocketAddr::from(([127, 0, 0, 1], port)), Calls);
        runtime.spawn(async move { server.await.unwrap() });
        crate::harness::wait_until("tonic", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            port,
            _runtime: runtime,
        }
    }
}

/// Answers calls of every name.
#[derive(Clone)]
struct Calls;

impl Service<http::Request<Body>> for Calls {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Grpc::new(Plain)
                .max_decoding_message_size(usize::MAX)
                .accept_compressed(CompressionEncoding::Gzip);
            // Replies are compressed as requests are.
            if request.headers().contains_key("grpc-encoding") {
                grpc = grpc.send_compressed(CompressionEncoding::Gzip);
            }
            let kind = kind_of(request.uri().path()).to_owned();
            Ok(match kind.as_str() {
                "Unary" => grpc.unary(Handler, request).await,
                "Server" => grpc.server_streaming(Handler, request).await,
                "Client" => grpc.client_streaming(Handler, request).await,
                "Bidi" => grpc.streaming(Handler, request).await,
                _ => Status::unimplemented("unknown service").into_http(),
            })
        })
    }
}

struct Handler;

/// Replies to a command, sent as the client takes them.
fn replies(command: Command) -> BoxStream<Bytes> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { send_replies(command, &sender).await });
    Box::pin(ReceiverStream::new(receiver))
}

async fn send_replies(command: Command, sender: &mpsc::Sender<Result<Bytes, Status>>) {
    tokio::time::sleep(Duration::from_millis(command.delay)).await;
    if let Some(status) = command.status() {
        let _ = sender.send(Err(status)).await;
        return;
    }
    for (number, size) in command.replies.into_iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(Duration::from_millis(command.every)).await;
        }
        if sender.send(Ok(vec![b'r'; size].into())).await.is_err() {
            return;
        }
    }
}

impl Command {
    fn read(message: &[u8]) -> Self {
        serde_json::from_slice(message).unwrap()
    }

    fn status(&self) -> Option<Status> {
        let code = Code::from_i32(i32::try_from(self.status).unwrap());
        (code != Code::Ok).then(|| Status::new(code, &self.message))
    }

    /// The only reply.
    async fn reply(self) -> Result<Response<Bytes>, Status> {
        tokio::time::sleep(Duration::from_millis(self.delay)).await;
        match self.status() {
            Some(status) => Err(status),
            None => Ok(Response::new(vec![b'r'; self.replies[0]].into())),
        }
    }
}

impl UnaryService<Bytes> for Handler {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(Command::read(request.get_ref()).reply())
    }
}

impl ServerStreamingService<Bytes> for Handler {
    type Response = Bytes;
    type ResponseStream = BoxStream<Bytes>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        Box::pin(async move {
            let command = Command::read(request.get_ref());
            // A status without any message is sent at once, without response headers.
            match command.status() {
                Some(status) => Err(status),
                None => Ok(Response::new(replies(command))),
            }
        })
    }
}

impl ClientStreamingService<Bytes> for Handler {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let mut command = None;
            while let Some(message) = messages.message().await? {
                command.get_or_insert_with(|| Command::read(&message));
            }
            let nothing = Command {
                replies: vec![0],
                ..Command::default()
            };
            command.unwrap_or(nothing).reply().await
        })
    }
}

impl StreamingService<Bytes> for Handler {
    type Response = Bytes;
    type ResponseStream = BoxStream<Bytes>;
    type Future = BoxFuture<Response<Self::ResponseStream>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move {
                let mut command = None;
                while let Ok(Some(message)) = messages.message().await {
                    let command = command.get_or_insert_with(|| Command::read(&message));
                    if command.echo {
                        let _ = sender.send(Ok(message)).await;
                    }
                }
                if let Some(command) = command {
                    send_replies(command, &sender).await;
                }
            });
            let stream: BoxStream<Bytes> = Box::pin(ReceiverStream::new(receiver));
            Ok(Response::new(stream))
        })
    }
}

/// A client, with the calls it is still to make.
pub(crate) struct Client {
    runtime: Runtime,
    channel: Option<Channel>,
    phases: std::vec::IntoIter<Vec<Call>>,
    concurrency: usize,
}

impl Client {
    pub(super) fn new(address: &str, phases: Vec<Vec<Call>>, concurrency: usize) -> Self {
        let runtime = runtime();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(endpoint.connect()).unwrap();
        Self {
            runtime,
            channel: Some(channel),
            phases: phases.into_iter(),
            concurrency,
        }
    }

    pub(super) fn next(&mut self) -> Vec<Answered> {
        let calls = self.phases.next().unwrap();
        let channel = self.channel.clone().unwrap();
        let gate = Arc::new(Semaphore::new(self.concurrency));
        let answered = self.runtime.block_on(async {
            let running: Vec<_> = calls
                .into_iter()
                .map(|call| {
                    let (channel, gate) = (channel.clone(), Arc::clone(&gate));
                    tokio::spawn(async move {
                        let _turn = gate.acquire().await.unwrap();
                        one(channel, call).await
                    })
                })
                .collect();
            let mut answered = Vec::new();
            for call in running {
                answered.push(call.await.unwrap());
            }
            answered
        });
        drop(channel);
        if self.phases.len() == 0 {
            self.channel = None;
        }
        answered
    }
}

async fn one(channel: Channel, call: Call) -> Answered {
    let start = Instant::now();
    let (sender, mut received) = mpsc::channel(10_000);
    let after = call.cancel;
    let cancel = async move {
        match after {
            0 => std::future::pending().await,
            _ => tokio::time::sleep(Duration::from_millis(after)).await,
        }
    };
    let status = tokio::select! {
        result = exchange(channel, &call, sender) => result.err(),
        // The future of the call is dropped, which resets the stream.
        () = cancel => Some(Status::cancelled("by the test")),
    };
    let mut sizes = Vec::new();
    while let Ok(size) = received.try_recv() {
        sizes.push(size);
    }
    let status = status.unwrap_or_else(|| Status::ok(""));
    Answered {
        path: call.path,
        status: u32::try_from(i32::from(status.code())).unwrap(),
        message: status.message().to_owned(),
        received: sizes,
        seconds: start.elapsed().as_secs_f64(),
    }
}

fn request<T>(call: &Call, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if call.deadline > 0 {
        request.set_timeout(Duration::from_millis(call.deadline));
    }
    request
}

/// Makes a call and tells the size of each reply as it comes.
async fn exchange(channel: Channel, call: &Call, sizes: mpsc::Sender<u64>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel)
        .max_decoding_message_size(usize::MAX)
        .accept_compressed(CompressionEncoding::Gzip);
    if call.gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = call.path.parse().unwrap();
    let mut messages: Vec<Bytes> = call.messages().into_iter().map(Bytes::from).collect();
    let tell = |message: Bytes| {
        sizes.try_send(message.len() as u64).unwrap();
    };
    let replies = match call.kind() {
        "Unary" => {
            let request = request(call, messages.remove(0));
            tell(client.unary(request, path, Plain).await?.into_inner());
            return Ok(());
        }
        "Client" => {
            let request = request(call, iter(messages));
            let reply = client.client_streaming(request, path, Plain).await?;
            tell(reply.into_inner());
            return Ok(());
        }
        "Server" => {
            let request = request(call, messages.remove(0));
            client.server_streaming(request, path, Plain).await?
        }
        _ => {
            let request = request(call, iter(messages));
            client.streaming(request, path, Plain).await?
        }
    };
    let mut replies = replies.into_inner();
    while let Some(message) = replies.next().await {
        tell(message?);
    }
    Ok(())
}
