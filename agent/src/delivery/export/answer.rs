//! What a gateway says of a request that it took.
//!
//! The status alone says that it was taken. `partial_success` says how much of it was refused
//! for good; a message that is cut off, too long, of another format or nonsense makes that
//! unknown, and undoes nothing.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Body;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, skip_field, uint64::merge as merge_number,
};
use serde_json::Value;

use super::response::printable;
use super::retry::Outcome;

/// Bytes of an answer that are kept. The specification lets clients refuse more (OTLP 1.11).
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The body of an answer, as far as it was kept.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// Why it is not all of it.
    pub(super) cut: Option<String>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    /// Reads a body: to the end if `trailers` are wanted, else to what is kept of it.
    pub(super) async fn read<B>(mut body: B, trailers: bool) -> Self
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: std::fmt::Display,
    {
        let mut answer = Self::default();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    answer.cut = Some(printable(&error.to_string()));
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) => {
                    let room = MAX_BYTES - answer.body.len();
                    let kept = data.get(..room).unwrap_or(&data);
                    answer.body.extend_from_slice(kept);
                    if kept.len() < data.len() {
                        answer.cut = Some(format!("it has more than {} MiB", MAX_BYTES >> 20));
                        if !trailers {
                            break;
                        }
                    }
                }
                Err(frame) => answer.trailers = frame.into_trailers().ok(),
            }
        }
        answer
    }
}

/// What was refused of a request that was taken. The responses of all signals have the same fields.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Partial {
    rejected: u64,
    message: String,
}

impl Partial {
    /// Of an `Export…ServiceResponse` of which the end may be missing, which does not matter
    /// once the number was read. `None` if it is none.
    pub(super) fn of_protobuf(message: &[u8], whole: bool) -> Option<Self> {
        let mut partial = Self::default();
        let complete = partial.response(message, whole).is_some();
        let known = if whole {
            complete
        } else {
            partial != Self::default()
        };
        known.then_some(partial)
    }

    fn response(&mut self, mut message: &[u8], whole: bool) -> Option<()> {
        while !message.is_empty() {
            let (number, kind) = decode_key(&mut message).ok()?;
            if (number, kind) == (1, WireType::LengthDelimited) {
                let inner = length(&mut message, whole)?;
                self.merge(inner, whole)?;
            } else {
                skip_field(kind, number, &mut message, DecodeContext::default()).ok()?;
            }
        }
        Some(())
    }

    fn merge(&mut self, mut inner: &[u8], whole: bool) -> Option<()> {
        while !inner.is_empty() {
            let (number, kind) = decode_key(&mut inner).ok()?;
            match (number, kind) {
                (1, WireType::Varint) => {
                    let mut rejected = 0;
                    merge_number(kind, &mut rejected, &mut inner, DecodeContext::default()).ok()?;
                    // An int64: no number below zero is one of spans.
                    self.rejected = i64::try_from(rejected).map_or(0, i64::cast_unsigned);
                }
                (2, WireType::LengthDelimited) => {
                    let text = length(&mut inner, whole)?;
                    self.message = printable(&String::from_utf8_lossy(text));
                }
                _ => skip_field(kind, number, &mut inner, DecodeContext::default()).ok()?,
            }
        }
        Some(())
    }

    /// Of the same as JSON: names as protobuf's mapping has them, or as in the schema; numbers of
    /// 64 bits as text, or as numbers.
    pub(super) fn of_json(text: &[u8]) -> Option<Self> {
        let all = serde_json::from_slice::<Value>(text).ok()?;
        let all = all.as_object()?;
        let found = ["partialSuccess", "partial_success"]
            .iter()
            .find_map(|name| all.get(*name));
        let partial = match found {
            // Protobuf's mapping: null is as good as nothing.
            None | Some(Value::Null) => return Some(Self::default()),
            Some(partial) => partial.as_object()?,
        };
        let rejected = partial
            .iter()
            .find(|(name, _)| name.starts_with("rejected"))
            .map_or(Some(0), |(_, value)| number(value))?;
        let message = ["errorMessage", "error_message"]
            .iter()
            .find_map(|name| partial.get(*name))
            .and_then(Value::as_str)
            .unwrap_or_default();
        Some(Self {
            rejected,
            message: printable(message),
        })
    }
}

impl From<Partial> for Outcome {
    fn from(Partial { rejected, message }: Partial) -> Self {
        Self::Delivered { rejected, message }
    }
}

/// An int64 of JSON.
fn number(value: &Value) -> Option<u64> {
    let signed = match value {
        Value::Null => 0,
        Value::String(text) => text.trim().parse::<i64>().ok()?,
        Value::Number(number) => number.as_i64().or_else(|| {
            // Exponents are allowed, fractions are not.
            let number = number.as_f64().filter(|number| number.fract() == 0.0)?;
            Some(number as i64)
        })?,
        _ => return None,
    };
    Some(u64::try_from(signed).unwrap_or(0))
}

/// The bytes of a field with a length; fewer if the end is missing and may be.
fn length<'a>(message: &mut &'a [u8], whole: bool) -> Option<&'a [u8]> {
    let len = usize::try_from(decode_varint(message).ok()?).ok()?;
    if len > message.len() && whole {
        return None;
    }
    let (inner, rest) = message.split_at(len.min(message.len()));
    *message = rest;
    Some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };
    use prost::Message as _;

    fn encoded(rejected_spans: i64, error_message: &str) -> Vec<u8> {
        let partial_success = Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.into(),
        });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    }

    fn partial(rejected: u64, message: &str) -> Option<Partial> {
        let message = message.into();
        Some(Partial { rejected, message })
    }

    #[test]
    fn protobuf_whole_or_cut() {
        assert_eq!(Partial::of_protobuf(b"", true), partial(0, ""));
        let answer = encoded(7, "over quota");
        assert_eq!(
            Partial::of_protobuf(&answer, true),
            partial(7, "over quota")
        );
        assert_eq!(Partial::of_protobuf(&encoded(-1, ""), true), partial(0, ""));
        let cut = |end: usize| Partial::of_protobuf(&answer[..end], false);
        assert_eq!(cut(answer.len() - 3), partial(7, "over qu"));
        assert_eq!(cut(4), partial(7, ""));
        assert_eq!((cut(0), cut(1), cut(2), cut(3)), (None, None, None, None));
        // What says that it is whole and is not makes no sense.
        assert_eq!(Partial::of_protobuf(&answer[..6], true), None);
        let mut hostile = encoded(7, "ab");
        hostile.truncate(hostile.len() - 1);
        hostile.push(0xff);
        assert_eq!(
            Partial::of_protobuf(&hostile, true),
            partial(7, "a\u{fffd}"),
            "text that is none is still a number's neighbour"
        );
        assert_eq!(Partial::of_protobuf(b"\xff\xff\xff<html>", true), None);
        let more = [&encoded(7, "")[..], &[0x18, 5]].concat();
        assert_eq!(Partial::of_protobuf(&more, true), partial(7, ""));
    }

    #[test]
    fn json_in_all_its_spellings() {
        for (text, expected) in [
            ("{}", partial(0, "")),
            (r#"{"partialSuccess":{}}"#, partial(0, "")),
            (r#"{"partialSuccess":null}"#, partial(0, "")),
            (
                r#"{"partialSuccess":{"rejectedSpans":"20","errorMessage":"no"}}"#,
                partial(20, "no"),
            ),
            (
                r#"{"partialSuccess":{"rejectedDataPoints":3}}"#,
                partial(3, ""),
            ),
            (
                r#"{"partial_success":{"rejected_profiles":"1","error_message":"x"}}"#,
                partial(1, "x"),
            ),
            (
                r#"{"partialSuccess":{"rejectedSpans":"-5"}}"#,
                partial(0, ""),
            ),
            (
                r#"{"partialSuccess":{"rejectedSpans":1e2}}"#,
                partial(100, ""),
            ),
            (r#"{"partialSuccess":{"rejectedSpans":"many"}}"#, None),
            (r#"{"partialSuccess":{"rejectedSpans":1.5}}"#, None),
            (r#"{"partialSuccess":[]}"#, None),
            (r#"{"partialSuccess":{"rejectedSp"#, None),
            ("[]", None),
        ] {
            assert_eq!(Partial::of_json(text.as_bytes()), expected, "{text}");
        }
    }
}
