//! What gateways answer.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;

use super::retry::Outcome;

/// Bytes of an answer that are read.
pub const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Characters of a gateway's message that are shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// A success. The response to metrics has the same fields by other names.
#[must_use]
pub fn delivered(response: ExportTraceServiceResponse) -> Outcome {
    let partial = response.partial_success.unwrap_or_default();
    Outcome::Delivered {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: printable(&partial.error_message),
    }
}

/// Text from a gateway, shortened, without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

/// An error with what caused it: a transport's own text alone says "client error (Connect)".
#[must_use]
pub fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    printable(&text)
}

/// `google.rpc.Status` (google/rpc/status.proto).
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For developers, in English.
    #[prost(string, tag = "2")]
    pub message: String,
    /// More about it.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    /// Which message it is.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo` (google/rpc/error_details.proto).
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// Clients should wait at least this long.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ProtoDuration {
    /// Seconds.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// The delay of the `RetryInfo` in an encoded `google.rpc.Status`, if there is one.
/// A negative or missing delay is none at all: try again at once.
#[must_use]
pub fn retry_info(status: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(status).ok()?;
    let any = status
        .details
        .iter()
        .find(|any| any.type_url.rsplit('/').next() == Some("google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(&any.value[..])
        .ok()?
        .retry_delay
        .unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(details: Vec<Any>) -> Vec<u8> {
        RpcStatus {
            code: 8,
            message: String::new(),
            details,
        }
        .encode_to_vec()
    }

    fn info(seconds: i64, nanos: i32) -> Any {
        let retry_delay = Some(ProtoDuration { seconds, nanos });
        Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: RetryInfo { retry_delay }.encode_to_vec(),
        }
    }

    #[test]
    fn retry_info_is_found_among_other_details() {
        let other = Any {
            type_url: "type.googleapis.com/google.rpc.DebugInfo".into(),
            value: vec![1, 2],
        };
        assert_eq!(retry_info(&status(vec![])), None);
        assert_eq!(retry_info(&status(vec![other.clone()])), None);
        let found = retry_info(&status(vec![other, info(2, 500_000_000)]));
        assert_eq!(found, Some(Duration::from_millis(2500)));
        assert_eq!(
            retry_info(&status(vec![info(-1, i32::MIN)])),
            Some(Duration::ZERO)
        );
        assert_eq!(retry_info(b"\xff\xff"), None);
    }

    #[test]
    fn messages_are_made_harmless() {
        assert_eq!(printable("a\x1b[31m\nb"), "a [31m b");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_MESSAGE_CHARS);
    }
}
