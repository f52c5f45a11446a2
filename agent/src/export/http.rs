//! OTLP/HTTP with protobuf bodies.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::body::Parts;
use super::compress::Compression;
use super::connect::{Connector, Speaks};
use super::headers::Headers;
use super::response::{self, MAX_RESPONSE_BYTES, RpcStatus, causes, printable};
use super::retry::{Outcome, retry_after};
use super::tls::TlsError;
use super::{IDLE_TIMEOUT, USER_AGENT};
use crate::config::otel::OtlpSettings;

/// A connection pool to one URL.
#[derive(Debug)]
pub struct HttpExporter {
    client: Client<Connector, Parts>,
    endpoint: Uri,
    headers: Headers,
    compression: Option<Compression>,
}

impl HttpExporter {
    /// A client for the endpoint. Nothing is connected before the first request.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(settings: &OtlpSettings) -> Result<Self, TlsError> {
        let connector = Connector::new(settings, Speaks::Http1)?;
        let authorization = connector.authorization().cloned();
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        let mut ours = vec![(header::CONTENT_TYPE, "application/x-protobuf")];
        if let Some(compression) = settings.compression {
            ours.push((header::CONTENT_ENCODING, compression.name()));
        }
        if !settings
            .headers
            .0
            .iter()
            .any(|(name, _)| *name == header::USER_AGENT)
        {
            ours.push((header::USER_AGENT, USER_AGENT));
        }
        let ours = ours
            .into_iter()
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .chain(authorization.map(|value| (header::PROXY_AUTHORIZATION, value)));
        Ok(Self {
            client,
            endpoint: settings.endpoint.clone(),
            headers: Headers::new(settings, ours),
            compression: settings.compression,
        })
    }

    /// Posts one body.
    pub async fn send(&self, body: Parts) -> Outcome {
        let body = match self.compression.map(|it| it.apply(&body)) {
            None => body,
            Some(Ok(packed)) => packed.into(),
            Some(Err(error)) => {
                return Outcome::Refused {
                    cause: format!("compression: {error}"),
                };
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.endpoint.clone();
        let mut sent = self.headers.next();
        *request.headers_mut() = std::mem::take(&mut sent.headers);
        let outcome = match self.client.request(request).await {
            Ok(response) => answer(response).await,
            Err(error) => Outcome::Retry {
                after: None,
                cause: causes(&error),
            },
        };
        self.headers.judge(&sent, outcome)
    }
}

async fn answer(response: http::Response<Incoming>) -> Outcome {
    let (head, body) = response.into_parts();
    // A body that breaks off, or is too long, does not undo what the status says.
    let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    classify(head.status, &head.headers, &body, SystemTime::now())
}

/// OTLP specification, "OTLP/HTTP Response": what may be sent again.
fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Outcome {
    if status.is_success() {
        return response::delivered(ExportTraceServiceResponse::decode(body).unwrap_or_default());
    }
    let cause = cause(status, headers, body);
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retry {
            after: delay(headers, now),
            cause,
        },
        StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge { cause },
        StatusCode::UNAUTHORIZED => Outcome::Unauthorized { cause },
        _ => Outcome::Refused { cause },
    }
}

fn delay(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    retry_after(headers.get(header::RETRY_AFTER)?.to_str().ok()?, now)
}

fn cause(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let message = match kind {
        Some(kind) if kind.starts_with("application/x-protobuf") => RpcStatus::decode(body)
            .map(|status| status.message)
            .unwrap_or_default(),
        Some(kind) if kind.starts_with("text/plain") || kind.starts_with("application/json") => {
            String::from_utf8_lossy(body).into_owned()
        }
        _ => String::new(),
    };
    let separator = if message.is_empty() { "" } else { ": " };
    format!("HTTP {status}{separator}{}", printable(message.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify_status(status: u16) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        classify(status, &HeaderMap::new(), b"", SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn only_four_statuses_are_retried() {
        for status in 100..600 {
            let outcome = classify_status(status);
            match status {
                200..300 => assert!(matches!(outcome, Outcome::Delivered { rejected: 0, .. })),
                429 | 502 | 503 | 504 => {
                    assert!(matches!(outcome, Outcome::Retry { after: None, .. }))
                }
                413 => assert!(matches!(outcome, Outcome::TooLarge { .. })),
                401 => assert!(matches!(outcome, Outcome::Unauthorized { .. })),
                _ => assert!(matches!(outcome, Outcome::Refused { .. }), "{status}"),
            }
        }
    }

    #[test]
    fn messages_of_gateways_are_quoted() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "application/x-protobuf".parse().unwrap(),
        );
        let body = RpcStatus {
            code: 3,
            message: "bad span".into(),
            details: vec![],
        }
        .encode_to_vec();
        let outcome = classify(
            StatusCode::BAD_REQUEST,
            &headers,
            &body,
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(
            outcome,
            Outcome::Refused {
                cause: "HTTP 400 Bad Request: bad span".into()
            }
        );
    }
}
