//! Writing OTLP protobuf by hand.
//!
//! A span is some twenty small fields. Building an `opentelemetry_proto` `Span` for each
//! costs about forty allocations before the first byte is encoded; here the bytes are
//! appended straight to a buffer that lives as long as the agent. Lengths are minimal
//! varints and fields come in order of their numbers, so that the bytes equal what
//! `prost` would have written.

use prost::encoding::{encode_varint, encoded_len_varint};

/// Field 9 of `Span`: `repeated KeyValue attributes`, length-delimited.
const SPAN_ATTRIBUTES: u8 = 9 << 3 | 2;
/// Field 1 of `Resource`: `repeated KeyValue attributes`, length-delimited.
const RESOURCE_ATTRIBUTES: u8 = 1 << 3 | 2;
/// Fields of `AnyValue`.
const STRING_VALUE: u8 = 1 << 3 | 2;
const INT_VALUE: u8 = 3 << 3;
const ARRAY_VALUE: u8 = 5 << 3 | 2;

/// An attribute key, with the protobuf bytes of a `KeyValue` up to the length of its value.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    prefix: &'static [u8],
}

impl Key {
    /// A key from the bytes made by [`prefix`]. Use the [`key!`](crate::span::wire::key) macro.
    #[must_use]
    pub const fn new(prefix: &'static [u8]) -> Self {
        Self { prefix }
    }

    /// The attribute's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let end = self.prefix.len().saturating_sub(1);
        self.prefix
            .get(2..end)
            .and_then(|name| core::str::from_utf8(name).ok())
            .unwrap_or_default()
    }
}

/// Bytes of a `KeyValue` before the length of its value: key field, value field's tag.
/// Evaluated by the compiler only; a key of 128 bytes or more does not compile.
#[must_use]
pub const fn prefix<const N: usize>(key: &str) -> [u8; N] {
    let key = key.as_bytes();
    assert!(key.len() < 128 && N == key.len() + 3);
    let mut bytes = [0; N];
    bytes[0] = 1 << 3 | 2;
    bytes[1] = key.len() as u8;
    let mut i = 0;
    while i < key.len() {
        bytes[2 + i] = key[i];
        i += 1;
    }
    bytes[N - 1] = 2 << 3 | 2;
    bytes
}

/// Declares constants of type [`Key`].
macro_rules! key {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $name: $crate::span::wire::Key = {
                const BYTES: [u8; $text.len() + 3] = $crate::span::wire::prefix($text);
                $crate::span::wire::Key::new(&BYTES)
            };
        )*
    };
}
pub(crate) use key;

/// Appends a span attribute that is a string.
#[inline]
pub fn string(out: &mut Vec<u8>, key: Key, value: &str) {
    string_parts(out, key, &[value]);
}

/// Appends a span attribute that is the concatenation of `parts`.
#[inline]
pub fn string_parts(out: &mut Vec<u8>, key: Key, parts: &[&str]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let value = 1 + varint_len(len) + len;
    let pair = key.prefix.len() + varint_len(value) + value;
    out.push(SPAN_ATTRIBUTES);
    varint(out, pair);
    out.extend_from_slice(key.prefix);
    varint(out, value);
    out.push(STRING_VALUE);
    varint(out, len);
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a span attribute that is an integer. OTLP integers are signed: larger values
/// than `i64::MAX` are written as that.
#[inline]
pub fn int(out: &mut Vec<u8>, key: Key, number: u64) {
    let number = number.min(i64::MAX as u64);
    let value = 1 + encoded_len_varint(number);
    out.push(SPAN_ATTRIBUTES);
    varint(out, key.prefix.len() + 1 + value);
    out.extend_from_slice(key.prefix);
    varint(out, value);
    out.push(INT_VALUE);
    encode_varint(number, out);
}

/// Appends a span attribute that is an array of strings.
pub fn strings(out: &mut Vec<u8>, key: Key, values: impl Iterator<Item = &'static str> + Clone) {
    let element = |len: usize| 1 + varint_len(len) + len;
    let array: usize = values
        .clone()
        .map(|value| {
            let any = element(value.len());
            1 + varint_len(any) + any
        })
        .sum();
    let value = 1 + varint_len(array) + array;
    out.push(SPAN_ATTRIBUTES);
    varint(out, key.prefix.len() + varint_len(value) + value);
    out.extend_from_slice(key.prefix);
    varint(out, value);
    out.push(ARRAY_VALUE);
    varint(out, array);
    for text in values {
        out.push(1 << 3 | 2);
        varint(out, element(text.len()));
        out.push(STRING_VALUE);
        varint(out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
}

/// Appends a string attribute of a `Resource`; its key is known at run time only.
pub fn resource_string(out: &mut Vec<u8>, key: &str, text: &str) {
    let value = 1 + varint_len(text.len()) + text.len();
    resource_head(out, key, value);
    out.push(STRING_VALUE);
    varint(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends an integer attribute of a `Resource`.
pub fn resource_int(out: &mut Vec<u8>, key: &str, number: u64) {
    let number = number.min(i64::MAX as u64);
    resource_head(out, key, 1 + encoded_len_varint(number));
    out.push(INT_VALUE);
    encode_varint(number, out);
}

fn resource_head(out: &mut Vec<u8>, key: &str, value: usize) {
    let key_field = 1 + varint_len(key.len()) + key.len();
    out.push(RESOURCE_ATTRIBUTES);
    varint(out, key_field + 1 + varint_len(value) + value);
    bytes(out, 1, key.as_bytes());
    out.push(2 << 3 | 2);
    varint(out, value);
}

/// Appends a length-delimited field with a number below 16.
#[inline]
pub fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    debug_assert!(field < 16);
    out.push(field << 3 | 2);
    varint(out, value.len());
    out.extend_from_slice(value);
}

/// Appends a varint.
#[inline]
pub fn varint(out: &mut Vec<u8>, value: usize) {
    if value < 128 {
        out.push(value as u8);
    } else {
        encode_varint(value as u64, out);
    }
}

/// Bytes a varint takes.
#[inline]
#[must_use]
pub fn varint_len(value: usize) -> usize {
    if value < 128 {
        1
    } else {
        encoded_len_varint(value as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue, ArrayValue, KeyValue, any_value::Value,
    };
    use opentelemetry_proto::tonic::{resource::v1::Resource, trace::v1::Span};
    use prost::Message;

    const TEST: Key = Key::new(&prefix::<11>("some.key"));

    fn attribute(value: Value) -> KeyValue {
        KeyValue {
            key: "some.key".into(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        }
    }

    fn expect(written: &[u8], value: Value) {
        let span = Span {
            attributes: vec![attribute(value)],
            ..Span::default()
        };
        assert_eq!(written, span.encode_to_vec());
    }

    #[test]
    fn strings_of_every_length_class_equal_prost() {
        for len in [
            0, 1, 100, 111, 112, 113, 114, 115, 116, 127, 128, 129, 16_383, 16_384, 70_000,
        ] {
            let text = "x".repeat(len);
            let mut out = Vec::new();
            string(&mut out, TEST, &text);
            expect(&out, Value::StringValue(text));
        }
    }

    #[test]
    fn parts_are_joined() {
        let mut out = Vec::new();
        string_parts(&mut out, TEST, &["a", "", "bc"]);
        expect(&out, Value::StringValue("abc".into()));
    }

    #[test]
    fn integers_equal_prost_and_saturate() {
        for number in [
            0,
            1,
            127,
            128,
            80,
            65_535,
            u64::from(u32::MAX),
            i64::MAX as u64,
            u64::MAX,
        ] {
            let mut out = Vec::new();
            int(&mut out, TEST, number);
            expect(
                &out,
                Value::IntValue(i64::try_from(number).unwrap_or(i64::MAX)),
            );
        }
    }

    #[test]
    fn arrays_equal_prost() {
        const NAMES: [&str; 3] = [
            "head_truncated",
            "",
            "a_name_that_makes_the_array_longer_than_one_hundred_and_twenty_seven_bytes_together_with_all_the_others_here",
        ];
        for count in 0..=NAMES.len() {
            let mut out = Vec::new();
            strings(&mut out, TEST, NAMES.iter().take(count).copied());
            let values = NAMES[..count]
                .iter()
                .map(|text| AnyValue {
                    value: Some(Value::StringValue((*text).into())),
                })
                .collect();
            expect(&out, Value::ArrayValue(ArrayValue { values }));
        }
    }

    #[test]
    fn resource_attributes_equal_prost() {
        let long = "k".repeat(200);
        let mut out = Vec::new();
        resource_string(&mut out, "some.key", "text");
        resource_int(&mut out, &long, 4242);
        let mut second = attribute(Value::IntValue(4242));
        second.key = long;
        let resource = Resource {
            attributes: vec![attribute(Value::StringValue("text".into())), second],
            ..Resource::default()
        };
        assert_eq!(out, resource.encode_to_vec());
    }

    #[test]
    fn a_key_knows_its_name() {
        assert_eq!(TEST.name(), "some.key");
    }
}
