//! OTLP/HTTP with protobuf bodies.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::answer::{Answer, Partial};
use super::body::Parts;
use super::connect::{Connector, Speaks};
use super::headers::Headers;
use super::response::{self, RpcStatus, causes, printable};
use super::retry::{Excess, Outcome, retry_after};
use super::tls::TlsError;
use super::{IDLE_TIMEOUT, USER_AGENT};
use crate::config::compression::Compression;
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
        self.post(body, classify).await
    }

    /// Posts nothing, to see whether there is a gateway: whatever else answers with success is
    /// refused. Spans that such an answer is for are not sent again, hence are delivered.
    pub async fn probe(&self) -> Outcome {
        let judge = |status: StatusCode, headers: &HeaderMap, answer: &Answer, now| match classify(
            status, headers, answer, now,
        ) {
            Outcome::Delivered { .. } | Outcome::Unread { .. }
                if !is_otlp(headers, &answer.body) =>
            {
                Outcome::Refused {
                    cause: format!(
                        "{}: not the answer of an OTLP gateway",
                        cause(status, headers, &answer.body)
                    ),
                }
            }
            outcome => outcome,
        };
        self.post(Parts::default(), judge).await
    }

    async fn post(
        &self,
        body: Parts,
        judge: impl Fn(StatusCode, &HeaderMap, &Answer, SystemTime) -> Outcome,
    ) -> Outcome {
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
            Ok(response) => {
                let (head, body) = response.into_parts();
                // A body that breaks off, or is too long, does not undo what the status says.
                let answer = Answer::read(body, false).await;
                judge(head.status, &head.headers, &answer, SystemTime::now())
            }
            Err(error) => Outcome::Retry {
                after: None,
                cause: causes(&error),
            },
        };
        self.headers.judge(&sent, outcome)
    }
}

/// Whether a success is one of OTLP: protobuf, as the request was, that can be decoded. Nothing
/// at all is an `ExportTraceServiceResponse` without fields, and some gateways speak JSON.
fn is_otlp(headers: &HeaderMap, body: &[u8]) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map(|kind| kind.to_str().unwrap_or("?"));
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    match kind {
        None | Some("application/x-protobuf" | "application/protobuf") => {
            ExportTraceServiceResponse::decode(body).is_ok()
        }
        Some("application/json") => {
            let fields = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
            fields.is_ok_and(|fields| fields.keys().all(|key| key == "partialSuccess"))
        }
        // Said of nothing, it says nothing.
        Some(_) => body.is_empty(),
    }
}

/// OTLP specification, "OTLP/HTTP Response": what may be sent again.
fn classify(status: StatusCode, headers: &HeaderMap, answer: &Answer, now: SystemTime) -> Outcome {
    if status.is_success() {
        return taken(headers, answer);
    }
    let cause = cause(status, headers, &answer.body);
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retry {
            after: delay(headers, now),
            cause,
        },
        StatusCode::PAYLOAD_TOO_LARGE => Outcome::TooLarge {
            excess: Excess::Size,
            cause,
        },
        // The Collector's answer to a body above its `max_request_body_size`.
        StatusCode::BAD_REQUEST if response::says_too_large(&cause) => Outcome::TooLarge {
            excess: Excess::Perhaps,
            cause,
        },
        StatusCode::UNAUTHORIZED => Outcome::Unauthorized { cause },
        _ => Outcome::Refused { cause },
    }
}

/// What a success says: protobuf, as the request was, or JSON, whatever it calls itself. No
/// message of protobuf begins like an object of JSON, which would be a group.
fn taken(headers: &HeaderMap, answer: &Answer) -> Outcome {
    let unread = |cause: &str| Outcome::Unread {
        cause: cause.to_owned(),
    };
    // Nothing says that it could be read.
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|it| it != "identity")
    {
        return unread("it is compressed");
    }
    let body = answer.body.trim_ascii_start();
    let partial = if body.starts_with(b"{") {
        Partial::of_json(body)
    } else {
        Partial::of_protobuf(&answer.body, answer.cut.is_none())
    };
    let cause = answer.cut.as_deref();
    partial.map_or_else(
        || unread(cause.unwrap_or("it is not one of OTLP")),
        Outcome::from,
    )
}

/// How long the gateway wants to be left alone. A date is held against its own clock if it tells
/// what that says, so that it does not matter whether this host's is right, or is set meanwhile.
fn delay(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let date = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    retry_after(text(header::RETRY_AFTER)?, date.unwrap_or(now))
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
    let to = response::redirect(status, headers);
    format!("HTTP {status}{to}{separator}{}", printable(message.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    fn classify_status(status: u16) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        classify(
            status,
            &HeaderMap::new(),
            &Answer::default(),
            SystemTime::UNIX_EPOCH,
        )
    }

    fn answered(body: Vec<u8>) -> Answer {
        Answer {
            body,
            ..Answer::default()
        }
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

    /// What was refused of a request is refused for good; a pause asked for with it is none.
    #[test]
    fn a_success_in_part_is_never_sent_again_whatever_comes_with_it() {
        let partial = ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "slow down".into(),
        };
        let response = ExportTraceServiceResponse {
            partial_success: Some(partial),
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "5".parse().unwrap());
        let answer = answered(response.encode_to_vec());
        let outcome = classify(StatusCode::OK, &headers, &answer, SystemTime::UNIX_EPOCH);
        let expected = Outcome::Delivered {
            rejected: 3,
            message: "slow down".into(),
        };
        assert_eq!(outcome, expected);
    }

    #[test]
    fn a_clock_that_is_wrong_does_not_change_the_pause() {
        let asks = |pairs: &[(header::HeaderName, &str)], now| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(name, value.parse().unwrap());
            }
            match classify(
                StatusCode::SERVICE_UNAVAILABLE,
                &headers,
                &Answer::default(),
                now,
            ) {
                Outcome::Retry { after, .. } => after.map(|it| it.as_secs()),
                other => panic!("{other:?}"),
            }
        };
        let until = (header::RETRY_AFTER, "Sun, 06 Nov 1994 08:49:47 GMT");
        let date = (header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let right = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for hours in [-24i64, 0, 24] {
            let off = Duration::from_secs(hours.unsigned_abs() * 3600);
            let now = if hours < 0 { right - off } else { right + off };
            assert_eq!(asks(&[until.clone(), date.clone()], now), Some(10));
        }
        // Without its date there is only this host's clock.
        assert_eq!(asks(&[until], right), Some(10));
        assert_eq!(asks(&[(header::RETRY_AFTER, "7"), date], right), Some(7));
    }

    #[test]
    fn what_a_body_that_is_no_protobuf_says() {
        let outcome = |kind: &str, body: &[u8]| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind.parse().unwrap())]);
            let answer = answered(body.to_vec());
            classify(StatusCode::OK, &headers, &answer, SystemTime::UNIX_EPOCH)
        };
        let json = br#" {"partialSuccess":{"rejectedSpans":"20","errorMessage":"no"}}"#;
        for kind in [
            "application/json; charset=utf-8",
            "application/x-protobuf",
            "text/plain",
        ] {
            let expected = Outcome::Delivered {
                rejected: 20,
                message: "no".into(),
            };
            assert_eq!(outcome(kind, json), expected);
        }
        for body in [&b"<html>"[..], b"ok", b"{\"partialSuccess\":{"] {
            let outcome = outcome("text/html", body);
            assert!(matches!(outcome, Outcome::Unread { .. }), "{outcome:?}");
        }
    }

    #[test]
    fn the_collector_finds_bodies_too_large_in_its_own_way() {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/plain".parse().unwrap())]);
        let answer = answered(b"http: request body too large".to_vec());
        let outcome = classify(
            StatusCode::BAD_REQUEST,
            &headers,
            &answer,
            SystemTime::UNIX_EPOCH,
        );
        let perhaps = Excess::Perhaps;
        assert!(
            matches!(outcome, Outcome::TooLarge { excess, .. } if excess == perhaps),
            "{outcome:?}"
        );
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
            &answered(body),
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
