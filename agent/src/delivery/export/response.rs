//! What gateways answer.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use prost::Message;

/// Characters of a gateway's message that are shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// Text from a gateway, shortened, without control characters.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

/// Whether a gateway says that a request is too large. Its words are nobody's standard: where
/// more depends on it than a request less, the smallest part of the request is asked.
#[must_use]
pub fn says_too_large(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let words = [
        "larger than",
        "too large",
        "exceeds maximum",
        "exceeds the maximum",
    ];
    words.iter().any(|words| message.contains(words))
}

/// Where an answer sends the client, as part of a message; nothing for other answers. The
/// specification knows no redirects: they are not followed, which would bring tokens to others.
#[must_use]
pub fn redirect(status: StatusCode, headers: &HeaderMap) -> String {
    if !status.is_redirection() {
        return String::new();
    }
    let Some(location) = headers.get(header::LOCATION) else {
        return String::new();
    };
    let location = String::from_utf8_lossy(location.as_bytes());
    // A query, a name and a password may be secrets of whoever is sent there.
    let shown = location.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = match shown.find("//") {
        Some(at) => shown.split_at(at + 2),
        None => ("", shown),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match scheme {
        "" => authority,
        _ => authority.rsplit('@').next().unwrap_or_default(),
    };
    let more = if location.contains('?') { "?…" } else { "" };
    let target = printable(&format!("{scheme}{host}{path}{more}"));
    format!(" to {target}; redirects are not followed, set the endpoint to where it leads")
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
    fn redirects_are_shown_without_secrets() {
        for (location, shown) in [
            (
                "https://a:s3cret@b:1/v1/traces?key=s3cret#x",
                "https://b:1/v1/traces?…",
            ),
            ("//u:s3cret@b/x", "//b/x"),
            ("/v1/traces/", "/v1/traces/"),
            ("v2@x", "v2@x"),
            ("https://b", "https://b"),
        ] {
            let headers = HeaderMap::from_iter([(header::LOCATION, location.parse().unwrap())]);
            let text = redirect(StatusCode::TEMPORARY_REDIRECT, &headers);
            assert!(text.starts_with(&format!(" to {shown};")), "{text}");
            assert_eq!(redirect(StatusCode::OK, &headers), "");
        }
        let none = redirect(StatusCode::NOT_MODIFIED, &HeaderMap::new());
        assert_eq!(none, "");
    }

    #[test]
    fn messages_are_made_harmless() {
        assert_eq!(printable("a\x1b[31m\nb"), "a [31m b");
        assert_eq!(printable(&"x".repeat(1000)).len(), MAX_MESSAGE_CHARS);
    }
}
