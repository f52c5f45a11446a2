//! OTLP/gRPC.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::USER_AGENT;
use super::answer::{Answer, Partial};
use super::batch::Signal;
use super::body::Parts;
use super::connect::{Connector, Speaks};
use super::headers::Headers;
use super::response::{self, causes, printable};
use super::retry::{Excess, Outcome};
use super::tls::TlsError;
use crate::config::compression::Compression;
use crate::config::otel::OtlpSettings;

/// Why a gRPC client cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The transport.
    #[error("gRPC endpoint: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// One HTTP/2 connection to a gateway, shared by all requests.
#[derive(Debug)]
pub struct GrpcExporter {
    channel: Channel,
    headers: Headers,
    compression: Option<Compression>,
}

impl GrpcExporter {
    /// A client for the endpoint. Nothing is connected before the first request. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &OtlpSettings) -> Result<Self, GrpcError> {
        let connector = Connector::new(settings, Speaks::Http2)?;
        // Where to connect to, and whether with TLS, is the connector's: only what requests
        // say of it is tonic's.
        let endpoint = Endpoint::from_static("http://gateway.invalid")
            .origin(settings.endpoint.clone())
            .user_agent(USER_AGENT)?
            .http2_keep_alive_interval(settings.keep_alive.interval)
            .keep_alive_timeout(settings.keep_alive.timeout);
        let mut ours = vec![
            (header::CONTENT_TYPE, "application/grpc".to_owned()),
            (header::TE, "trailers".to_owned()),
        ];
        if let Some(compression) = settings.compression {
            let name = HeaderName::from_static("grpc-encoding");
            ours.push((name, compression.name().to_owned()));
        }
        if let Some(timeout) = settings.timeout {
            let name = HeaderName::from_static("grpc-timeout");
            ours.push((name, grpc_timeout(timeout)));
        }
        let ours = ours
            .into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?)));
        Ok(Self {
            channel: endpoint.connect_with_connector_lazy(connector),
            headers: Headers::new(settings, ours),
            compression: settings.compression,
        })
    }

    /// Calls `Export` with one encoded request.
    pub async fn send(&self, signal: Signal, body: Parts) -> Outcome {
        let frame = match Frame::new(body, self.compression) {
            Ok(frame) => frame,
            Err(error) => {
                let cause = format!("compression: {error}");
                return Outcome::Refused { cause };
            }
        };
        let mut request = http::Request::new(Body::new(frame));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = Uri::from_static(signal.grpc_path());
        let mut sent = self.headers.next();
        *request.headers_mut() = std::mem::take(&mut sent.headers);
        let mut channel = self.channel.clone();
        let ready = poll_fn(|context| GrpcService::<Body>::poll_ready(&mut channel, context));
        let response = match ready.await {
            Ok(()) => GrpcService::call(&mut channel, request).await,
            Err(error) => Err(error),
        };
        let outcome = match response {
            Ok(response) => answer(response).await,
            Err(error) => broken(&error),
        };
        self.headers.judge(&sent, outcome)
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn grpc_timeout(timeout: Duration) -> String {
    match timeout.as_millis() {
        milliseconds @ ..=99_999_999 => format!("{milliseconds}m"),
        _ => format!("{}S", timeout.as_secs().min(99_999_999)),
    }
}

/// Reads the answer to the end: the status is in the trailers, or in the headers if there
/// is nothing else. A message that is too long, cut off or nonsense does not undo a success
/// that the status announces.
async fn answer(response: http::Response<Body>) -> Outcome {
    let (head, body) = response.into_parts();
    let early = Status::from_header_map(&head.headers);
    if let Some(status) = early.as_ref().filter(|it| it.code() != Code::Ok) {
        return classify(status);
    }
    if head.status != StatusCode::OK {
        return classify_http(head.status, &head.headers);
    }
    let answer = Answer::read(body, true).await;
    let late = answer.trailers.as_ref().and_then(Status::from_header_map);
    match (late.or(early), &answer.cut) {
        (Some(status), _) if status.code() == Code::Ok => taken(&answer),
        (Some(status), _) => classify(&status),
        (None, Some(cause)) => Outcome::Retry {
            after: None,
            cause: cause.clone(),
        },
        (None, None) => Outcome::Refused {
            cause: "an answer without grpc-status".into(),
        },
    }
}

/// What an answer with status OK says.
fn taken(answer: &Answer) -> Outcome {
    let unread = |cause: &str| Outcome::Unread {
        cause: cause.to_owned(),
    };
    let Some((&[packed, a, b, c, d], message)) = answer.body.split_first_chunk::<FRAME_HEAD>()
    else {
        return unread(answer.cut.as_deref().unwrap_or("it holds no message"));
    };
    // Nothing says that it could be read.
    if packed != 0 {
        return unread("it is compressed");
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    let whole = message.get(..len);
    Partial::of_protobuf(whole.unwrap_or(message), whole.is_some()).map_or_else(
        || {
            let none = if whole.is_some() {
                "it makes no sense"
            } else {
                "its end is missing"
            };
            unread(answer.cut.as_deref().unwrap_or(none))
        },
        Outcome::from,
    )
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Outcome {
    Outcome::Retry {
        after: None,
        cause: causes(error),
    }
}

/// An answer that is not gRPC: from a proxy in between, for instance. Which statuses mean
/// UNAVAILABLE is said in gRPC's "HTTP to gRPC Status Code Mapping".
fn classify_http(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let cause = format!("HTTP {status}{}", response::redirect(status, headers));
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retry { after: None, cause },
        StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge {
            excess: Excess::Size,
            cause,
        },
        StatusCode::UNAUTHORIZED => Outcome::Unauthorized { cause },
        _ => Outcome::Refused { cause },
    }
}

/// OTLP specification, "OTLP/gRPC Response": what may be sent again.
///
/// gRPC has no code of its own for a message that is too large. Go, C++, Java, .NET and Node say
/// RESOURCE_EXHAUSTED, Rust OUT_OF_RANGE, some servers of Java CANCELLED, each in words of its own.
fn classify(status: &Status) -> Outcome {
    let cause = format!("{:?}: {}", status.code(), printable(status.message()));
    let after = response::retry_info(status.details());
    let large = |excess| {
        // Words only spare the question.
        let sure = response::says_too_large(status.message());
        if sure { Excess::Size } else { excess }
    };
    match status.code() {
        Code::ResourceExhausted if after.is_none() => Outcome::TooLarge {
            excess: large(Excess::Perhaps),
            cause,
        },
        Code::OutOfRange | Code::Cancelled if after.is_none() => Outcome::TooLarge {
            excess: large(Excess::Passing),
            cause,
        },
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::ResourceExhausted => Outcome::Retry { after, cause },
        Code::Unauthenticated => Outcome::Unauthorized { cause },
        _ => Outcome::Refused { cause },
    }
}

/// Bytes before a message: whether it is compressed, and its length, big-endian.
const FRAME_HEAD: usize = 5;

/// A request body of one length-prefixed message (gRPC over HTTP/2, "Length-Prefixed
/// Message"). Done here and not by tonic's codec, because that compresses at level 6:
/// five times the time for a sixth fewer bytes.
struct Frame(Parts);

impl Frame {
    fn new(message: Parts, compression: Option<Compression>) -> io::Result<Self> {
        let mut message = match compression {
            None => message,
            Some(compression) => compression.apply(&message)?.into(),
        };
        let len = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut head = [u8::from(compression.is_some()), 0, 0, 0, 0];
        head[1..].copy_from_slice(&len.to_be_bytes());
        message.push_front(Bytes::copy_from_slice(&head));
        Ok(Self(message))
    }
}

/// Without a size: gRPC has no `Content-Length`.
impl hyper::body::Body for Frame {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_codes_of_the_specification_are_retried() {
        for code in 1..=16 {
            let outcome = classify(&Status::new(Code::from_i32(code), "m"));
            let fits = match (code, &outcome) {
                // DEADLINE_EXCEEDED, ABORTED, UNAVAILABLE, DATA_LOSS
                (4 | 10 | 14 | 15, Outcome::Retry { after: None, .. })
                | (16, Outcome::Unauthorized { .. }) => true,
                // CANCELLED, OUT_OF_RANGE
                (1 | 11, Outcome::TooLarge { excess, .. }) => *excess == Excess::Passing,
                // RESOURCE_EXHAUSTED
                (8, Outcome::TooLarge { excess, .. }) => *excess == Excess::Perhaps,
                (1 | 4 | 8 | 10 | 11 | 14..=16, _) => false,
                (_, outcome) => matches!(outcome, Outcome::Refused { .. }),
            };
            assert!(fits, "{code}: {outcome:?}");
        }
    }

    fn ok(body: &[u8], cut: Option<&str>) -> Outcome {
        taken(&Answer {
            body: body.to_vec(),
            cut: cut.map(str::to_owned),
            trailers: None,
        })
    }

    #[test]
    fn what_is_wrong_with_a_message_does_not_undo_the_status() {
        let delivered = |rejected, message: &str| Outcome::Delivered {
            rejected,
            message: message.into(),
        };
        assert_eq!(ok(&[0; 5], None), delivered(0, ""));
        let whole = [0, 0, 0, 0, 7, 0x0a, 5, 8, 3, 0x12, 1, b'x'];
        assert_eq!(ok(&whole, None), delivered(3, "x"));
        // A message of 207 bytes, of which the first seven came.
        let longer = [0, 0, 0, 0, 207, 0x0a, 204, 1, 8, 3, 0x12, 199, 1, b'x'];
        assert_eq!(ok(&longer, Some("reset")), delivered(3, "x"));
        for (body, cut) in [
            (&b""[..], None),
            (b"\0\0", Some("reset")),
            (b"\x01\0\0\0\x02\x1f\x8b", None),
            (b"\0\0\0\0\x03\xff\xff\xff", None),
            (b"\0\xff\xff\xff\xff\x0a", None),
        ] {
            assert!(matches!(ok(body, cut), Outcome::Unread { .. }), "{body:?}");
        }
    }

    #[test]
    fn timeouts_have_eight_digits_at_most() {
        for (milliseconds, expected) in [
            (1, "1m"),
            (10_000, "10000m"),
            (99_999_999, "99999999m"),
            (4_294_967_295, "4294967S"),
        ] {
            assert_eq!(grpc_timeout(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn answers_of_proxies() {
        for status in 400..600 {
            let outcome = classify_http(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            let retried = matches!(outcome, Outcome::Retry { .. });
            assert_eq!(retried, [429, 502, 503, 504].contains(&status), "{status}");
        }
    }

    #[test]
    fn messages_that_mean_too_large() {
        for (code, message) in [
            (
                Code::ResourceExhausted,
                "grpc: received message larger than max (5 vs. 4)",
            ),
            (
                Code::ResourceExhausted,
                "gRPC message exceeds maximum size 4194304: 5000000",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 5 bytes",
            ),
        ] {
            assert!(matches!(
                classify(&Status::new(code, message)),
                Outcome::TooLarge {
                    excess: Excess::Size,
                    ..
                }
            ));
        }
    }
}
