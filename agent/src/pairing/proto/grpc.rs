//! gRPC over HTTP/2: what its headers and trailers say.

/// Names of the status codes, by number.
const STATUS_NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The call was cancelled by the client.
pub const CANCELLED: u32 = 1;
/// Also what a client makes of a status that it does not know, or of none.
pub const UNKNOWN: u32 = 2;
/// The time that the client gave was over.
pub const DEADLINE_EXCEEDED: u32 = 4;

/// The name of a status code, as the conventions want it in
/// `rpc.response.status_code`; `None` beyond 16.
#[must_use]
pub fn status_name(code: u32) -> Option<&'static str> {
    STATUS_NAMES.get(usize::try_from(code).ok()?).copied()
}

/// The status code that a name or a number means.
#[must_use]
pub fn status_code(text: &str) -> Option<u32> {
    match text.parse() {
        Ok(code) => status_name(code).map(|_| code),
        Err(_) => STATUS_NAMES
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text))
            .map(|code| code as u32),
    }
}

/// The value of `grpc-status`, if it is one.
#[must_use]
pub fn parse_status(value: &[u8]) -> Option<u32> {
    let code = match value {
        [o @ b'0'..=b'9'] => u32::from(o - b'0'),
        [b'1', o @ b'0'..=b'6'] => 10 + u32::from(o - b'0'),
        _ => return None,
    };
    Some(code)
}

/// Whether a `content-type` is that of gRPC over HTTP/2. `application/grpc-web` is not:
/// it is a protocol of its own over plain HTTP.
#[must_use]
pub fn is_content_type(value: &[u8]) -> bool {
    const PREFIX: &[u8] = b"application/grpc";
    value
        .split_at_checked(PREFIX.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(PREFIX)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
}

/// The value of `grpc-timeout`, ns: at most eight digits and a unit.
#[must_use]
pub fn parse_timeout(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    let unit: u64 = match unit {
        b'H' => 3_600_000_000_000,
        b'M' => 60_000_000_000,
        b'S' => 1_000_000_000,
        b'm' => 1_000_000,
        b'u' => 1_000,
        b'n' => 1,
        _ => return None,
    };
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(number.saturating_mul(unit))
}

/// Appends what a percent-encoded `grpc-message` says. What is wrongly encoded stays as
/// it is, and what is not UTF-8 becomes U+FFFD, for a message must not be lost.
pub fn decode_message(value: &[u8], bytes: &mut Vec<u8>, out: &mut String) {
    bytes.clear();
    let mut rest = value;
    while let Some((&byte, more)) = rest.split_first() {
        let hex = |at: usize| {
            more.get(at)
                .and_then(|&digit| char::from(digit).to_digit(16))
        };
        match (byte, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &more[2..];
            }
            _ => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types() {
        for good in [
            "application/grpc",
            "application/grpc+proto",
            "Application/gRPC;x",
        ] {
            assert!(is_content_type(good.as_bytes()), "{good}");
        }
        for bad in [
            "application/grpc-web",
            "application/grpc-web+proto",
            "application/grp",
            "text/html",
            "",
        ] {
            assert!(!is_content_type(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn statuses() {
        assert_eq!(parse_status(b"0"), Some(0));
        assert_eq!(parse_status(b"16"), Some(16));
        for bad in ["", "17", "-1", "00", "4 ", "OK"] {
            assert_eq!(parse_status(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(status_name(4), Some("DEADLINE_EXCEEDED"));
        assert_eq!(status_name(17), None);
        // As another implementation spells them.
        for code in 0..17 {
            let other = format!("{:?}", tonic::Code::from_i32(code.try_into().unwrap()));
            let own = status_name(code).unwrap().replace('_', "");
            let other = other.replace("Ok", "OK").to_uppercase();
            assert_eq!(own, other);
        }
        for (text, code) in [
            ("4", Some(4)),
            ("unavailable", Some(14)),
            ("17", None),
            ("", None),
        ] {
            assert_eq!(status_code(text), code, "{text}");
        }
    }

    #[test]
    fn timeouts() {
        for (text, ns) in [
            ("1H", Some(3_600_000_000_000)),
            ("2M", Some(120_000_000_000)),
            ("3S", Some(3_000_000_000)),
            ("99999999m", Some(99_999_999_000_000)),
            ("5u", Some(5_000)),
            ("0n", Some(0)),
            ("99999999H", Some(u64::MAX)),
            ("999999999n", None),
            ("n", None),
            ("1", None),
            ("1 m", None),
            ("-1m", None),
            ("", None),
        ] {
            let expected = if text == "99999999H" {
                Some(99_999_999u64.saturating_mul(3_600_000_000_000))
            } else {
                ns
            };
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn messages() {
        for (value, text) in [
            ("plain", "plain"),
            ("100%25 sure %e2%82%AC", "100% sure \u{20ac}"),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%ff!", "\u{fffd}!"),
        ] {
            let mut out = String::new();
            decode_message(value.as_bytes(), &mut Vec::new(), &mut out);
            assert_eq!(out, text, "{value}");
        }
    }
}
