//! Gateways to send to: a real HTTP/1.1 server and a real gRPC server that answer as told.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use remora::config::otel::OtelSettings;
use remora::delivery::export::exporter::{ExportSettings, Exporter};
use remora::delivery::export::retry::RetryPolicy;
use remora::delivery::export::sink::OtlpSink;
use remora::model::exchange::Sink;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::{Server, ServerTlsConfig};

use crate::ports::free_port;

/// How the next request is answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Success.
    Ok,
    /// Success, with this `partial_success`.
    Partial(i64, &'static str),
    /// Success if the request is authorized like this; else a refusal that quotes all of
    /// its headers.
    Wants(String),
    /// HTTP: this status and headers.
    Status(u16, Vec<(&'static str, &'static str)>),
    /// gRPC: this status.
    Grpc(tonic::Status),
    /// HTTP: 413 (gRPC: its equivalent) if the body has more bytes, else success.
    Limit(usize),
    /// Success, with a body that is none.
    Garbage,
    /// Success, that much later.
    Late(Duration),
    /// No answer for a minute.
    Hang,
    /// The connection is closed without an answer.
    Close,
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// Decompressed.
    pub(crate) body: Bytes,
    pub(crate) at: Instant,
    /// Of the requests of this receiver.
    number: usize,
}

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) number: usize,
    pub(crate) at: Instant,
    /// `x-life`: of which life of the agent it is.
    pub(crate) life: usize,
    body: Bytes,
    /// 200 for success, 400 for a refusal for good, 503 for what may be sent again, 413 for too
    /// large; 0 if nobody waited for the answer.
    pub(crate) status: u16,
    /// Spans of it that were refused.
    pub(crate) rejected: u64,
    /// Whether the gateway took it, also if nobody waited for the answer.
    pub(crate) taken: bool,
}

impl Seen {
    pub(crate) fn ids(&self) -> Vec<u64> {
        let request = ExportTraceServiceRequest::decode(self.body.clone()).unwrap();
        let groups = request.resource_spans.into_iter();
        let scopes = groups.flat_map(|group| group.scope_spans);
        ids(&scopes.flat_map(|scope| scope.spans).collect::<Vec<_>>())
    }
}

impl Received {
    pub(crate) fn request(&self) -> ExportTraceServiceRequest {
        ExportTraceServiceRequest::decode(self.body.clone()).expect("a trace request")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    script: Mutex<VecDeque<Answer>>,
    otherwise: Mutex<Option<Answer>>,
    received: Mutex<Vec<Received>>,
    accepted: Mutex<Vec<ExportTraceServiceRequest>>,
    /// Requests that were taken.
    taken: Mutex<HashSet<usize>>,
    /// Requests that were answered, and how: status, spans refused.
    answered: Mutex<HashMap<usize, (u16, u64)>>,
    numbers: AtomicUsize,
    pub(crate) connections: Mutex<usize>,
}

impl Shared {
    fn next(&self) -> Answer {
        let scripted = self.script.lock().unwrap().pop_front();
        scripted
            .or_else(|| self.otherwise.lock().unwrap().clone())
            .unwrap_or(Answer::Ok)
    }
}

/// A running server; ends with the value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    _runtime: Runtime,
}

impl Receiver {
    pub(crate) fn http(script: Vec<Answer>) -> Self {
        Self::http_with(script, None)
    }

    pub(crate) fn http_with(script: Vec<Answer>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let (runtime, shared) = prepare(script);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = tls.map(TlsAcceptor::from);
        let state = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *state.connections.lock().unwrap() += 1;
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(state, stream).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(state, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    pub(crate) fn http_unix(path: &Path) -> Self {
        let (runtime, shared) = prepare(vec![]);
        let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
        let state = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&state), stream));
            }
        });
        Self {
            address: NOWHERE,
            shared,
            _runtime: runtime,
        }
    }

    pub(crate) fn grpc_unix(path: &Path) -> Self {
        let (runtime, shared) = prepare(vec![]);
        let listener = runtime.block_on(async { UnixListener::bind(path).unwrap() });
        let service = service(&shared);
        runtime.spawn(async move {
            let connections = UnixListenerStream::new(listener);
            let server = Server::builder();
            server
                .serve_with_incoming(service, connections)
                .await
                .unwrap();
        });
        Self {
            address: NOWHERE,
            shared,
            _runtime: runtime,
        }
    }

    pub(crate) fn grpc(script: Vec<Answer>) -> Self {
        Self::grpc_with(script, None)
    }

    pub(crate) fn grpc_with(script: Vec<Answer>, tls: Option<ServerTlsConfig>) -> Self {
        Self::grpc_bound(script, tls, free_address())
    }

    pub(crate) fn grpc_at(address: SocketAddr) -> Self {
        Self::grpc_bound(vec![], None, address)
    }

    fn grpc_bound(script: Vec<Answer>, tls: Option<ServerTlsConfig>, address: SocketAddr) -> Self {
        let (runtime, shared) = prepare(script);
        let service = service(&shared);
        let mut server = Server::builder();
        if let Some(tls) = tls {
            let _context = runtime.enter();
            server = server.tls_config(tls).unwrap();
        }
        runtime.spawn(async move { server.serve(address, service).await.unwrap() });
        wait(|| std::net::TcpStream::connect(address).is_ok());
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    /// Answers requests beyond the script like this.
    pub(crate) fn otherwise(&self, answer: Answer) {
        *self.shared.otherwise.lock().unwrap() = Some(answer);
    }

    /// Begins anew, with another script.
    pub(crate) fn reset(&self, script: Vec<Answer>) {
        *self.shared.script.lock().unwrap() = script.into();
        self.shared.received.lock().unwrap().clear();
        self.shared.accepted.lock().unwrap().clear();
        self.shared.answered.lock().unwrap().clear();
        self.shared.taken.lock().unwrap().clear();
        *self.shared.otherwise.lock().unwrap() = None;
    }

    /// Answers everything with success from now on.
    pub(crate) fn calm(&self) {
        self.shared.script.lock().unwrap().clear();
        *self.shared.otherwise.lock().unwrap() = None;
    }

    /// Requests in order, and what became of them.
    pub(crate) fn history(&self) -> Vec<Seen> {
        let answered = self.shared.answered.lock().unwrap();
        let taken = self.shared.taken.lock().unwrap();
        let seen = |it: Received| {
            let (status, rejected) = answered.get(&it.number).copied().unwrap_or((0, 0));
            let life = it.headers.get("x-life").and_then(|life| life.to_str().ok());
            Seen {
                number: it.number,
                at: it.at,
                life: life.and_then(|life| life.parse().ok()).unwrap_or(0),
                body: it.body,
                status: match status {
                    429 | 502 => 503,
                    other => other,
                },
                rejected,
                taken: taken.contains(&it.number),
            }
        };
        self.received().into_iter().map(seen).collect()
    }

    /// Requests in order, with the status of the answer; 0 if nobody waited for it.
    pub(crate) fn answered(&self) -> Vec<(Received, u16)> {
        let answered = self.shared.answered.lock().unwrap();
        let status = |number| answered.get(&number).map_or(0, |it| it.0);
        let received = self.received().into_iter();
        received.map(|it| (it.clone(), status(it.number))).collect()
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Spans in requests that were answered with success.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let accepted = self.shared.accepted.lock().unwrap();
        let groups = accepted.iter().flat_map(|request| &request.resource_spans);
        let scopes = groups.flat_map(|group| &group.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }
}

/// The address of a receiver that has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn service(shared: &Arc<Shared>) -> TraceServiceServer<Grpc> {
    TraceServiceServer::new(Grpc(Arc::clone(shared)))
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(64 << 20)
}

async fn serve(state: Arc<Shared>, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = service_fn(move |request| answer(Arc::clone(&state), request));
    let server = hyper::server::conn::http1::Builder::new();
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}

/// An address nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

fn prepare(script: Vec<Answer>) -> (Runtime, Arc<Shared>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let shared = Arc::new(Shared {
        script: Mutex::new(script.into()),
        ..Shared::default()
    });
    (runtime, shared)
}

async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let raw = body.collect().await?.to_bytes();
    let coding = head.headers.get("content-encoding");
    let body = match coding.map(|coding| coding.as_bytes()) {
        None => raw,
        Some(b"zstd") => Bytes::from(zstd::decode_all(&raw[..])?),
        Some(coding) => {
            assert_eq!(coding, b"gzip");
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(&raw[..]).read_to_end(&mut plain)?;
            Bytes::from(plain)
        }
    };
    let number = shared.numbers.fetch_add(1, Ordering::Relaxed);
    let headers = head.headers.clone();
    shared.received.lock().unwrap().push(Received {
        path: head.uri.to_string(),
        headers: head.headers,
        body: body.clone(),
        at: Instant::now(),
        number,
    });
    let accept = |partial: Option<ExportTracePartialSuccess>| {
        let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
        shared.accepted.lock().unwrap().push(request);
        shared.taken.lock().unwrap().insert(number);
        let response = ExportTraceServiceResponse {
            partial_success: partial,
        };
        Response::new(Full::new(Bytes::from(response.encode_to_vec())))
    };
    let next = shared.next();
    let rejected = match next {
        Answer::Partial(rejected, _) => rejected as u64,
        _ => 0,
    };
    let response = match next {
        Answer::Ok => accept(None),
        Answer::Wants(authorization) => match refusal(&headers, &authorization) {
            None => accept(None),
            Some(quote) => Response::builder()
                .status(401)
                .header("content-type", "text/plain")
                .body(Full::new(Bytes::from(quote)))?,
        },
        Answer::Late(time) => {
            let response = accept(None);
            tokio::time::sleep(time).await;
            response
        }
        Answer::Partial(rejected_spans, message) => accept(Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: message.into(),
        })),
        Answer::Status(status, headers) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Full::default())?
        }
        Answer::Limit(limit) if body.len() > limit => {
            Response::builder().status(413).body(Full::default())?
        }
        Answer::Limit(_) => accept(None),
        Answer::Garbage => {
            accept(None);
            Response::new(Full::new(Bytes::from_static(b"\xff\xff\xff<html>")))
        }
        Answer::Hang => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            accept(None)
        }
        Answer::Close => return Err("closing".into()),
        Answer::Grpc(_) => unreachable!("not for HTTP"),
    };
    let status = response.status().as_u16();
    let answer = (status, rejected);
    shared.answered.lock().unwrap().insert(number, answer);
    Ok(response)
}

/// What a gateway says that wants other credentials, and should not say.
fn refusal(headers: &HeaderMap, authorization: &str) -> Option<String> {
    let given = headers.get("authorization");
    if given.is_some_and(|given| given == authorization) {
        return None;
    }
    let values: Vec<&str> = headers.values().filter_map(|it| it.to_str().ok()).collect();
    Some(format!("refused: {}", values.join(" ")))
}

struct Grpc(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let (metadata, _, message) = request.into_parts();
        let body = Bytes::from(message.encode_to_vec());
        let (len, headers) = (body.len(), metadata.into_headers());
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        self.0.received.lock().unwrap().push(Received {
            path: String::new(),
            headers: headers.clone(),
            body,
            at: Instant::now(),
            number,
        });
        let answer = self.0.next();
        let refused = match &answer {
            Answer::Grpc(status) => Some(status.clone()),
            Answer::Wants(authorization) => {
                refusal(&headers, authorization).map(tonic::Status::unauthenticated)
            }
            Answer::Limit(limit) if len > *limit => {
                let message = format!("grpc: received message larger than max ({len} vs. {limit})");
                Some(tonic::Status::resource_exhausted(message))
            }
            Answer::Status(..) | Answer::Garbage | Answer::Close => unreachable!("not for gRPC"),
            _ => None,
        };
        if refused.is_none() {
            if matches!(answer, Answer::Hang) {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            self.0.accepted.lock().unwrap().push(message);
            self.0.taken.lock().unwrap().insert(number);
        }
        if let Answer::Late(time) = answer {
            tokio::time::sleep(time).await;
        }
        let (rejected, partial_success) = match answer {
            Answer::Partial(rejected_spans, message) => {
                let partial = ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: message.into(),
                };
                (rejected_spans as u64, Some(partial))
            }
            _ => (0, None),
        };
        let status = refused.as_ref().map_or(200, http_status);
        let answered = (status, rejected);
        self.0.answered.lock().unwrap().insert(number, answered);
        match refused {
            Some(status) => Err(status),
            None => Ok(tonic::Response::new(ExportTraceServiceResponse {
                partial_success,
            })),
        }
    }
}

/// What a status of gRPC would be in HTTP, as far as sending again goes.
fn http_status(status: &tonic::Status) -> u16 {
    use tonic::Code;
    match status.code() {
        Code::ResourceExhausted if status.message().contains("larger than max") => 413,
        Code::ResourceExhausted if !status.details().is_empty() => 503,
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => 503,
        _ => 400,
    }
}

/// Settings from variables; retries are quick.
pub(crate) fn settings(pairs: &[(&str, &str)]) -> ExportSettings {
    let otel = OtelSettings::resolve(|name| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| (*value).to_owned())
    });
    let mut settings = ExportSettings::from_otel(&otel.unwrap()).unwrap();
    settings.retry = RetryPolicy {
        initial: Duration::from_millis(20),
        max: Duration::from_millis(50),
        ..settings.retry
    };
    settings
}

/// Variables for a receiver: HTTP or gRPC.
pub(crate) fn to(receiver: &Receiver, protocol: &str, extra: &[(&str, &str)]) -> ExportSettings {
    let endpoint = format!("http://{}", receiver.address);
    let mut pairs = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
    ];
    pairs.extend(extra);
    settings(&pairs)
}

pub(crate) fn start(settings: ExportSettings) -> (Exporter, OtlpSink) {
    Exporter::start(settings).expect("the exporter starts")
}

/// Puts spans in whose ids count from `first`, and queues them.
pub(crate) fn push(sink: &mut OtlpSink, first: u64, count: u64) {
    let mut sample = crate::sample::server();
    for id in first..first + count {
        sample.span_id = id.to_be_bytes();
        sink.exchange(&sample.exchange());
    }
    sink.flush();
}

/// The ids [`push`] gave, sorted.
pub(crate) fn ids(spans: &[Span]) -> Vec<u64> {
    let mut ids: Vec<u64> = spans
        .iter()
        .map(|span| u64::from_be_bytes(span.span_id.clone().try_into().unwrap()))
        .collect();
    ids.sort_unstable();
    ids
}

/// Waits, ten seconds at most, until something holds.
#[track_caller]
pub(crate) fn wait(mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}
