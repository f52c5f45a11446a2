//! What a path segment looks like: a word that names something in the program, or a
//! value that names something in its data.
//!
//! One look at each byte, no tables, no dictionary. Where the shape says nothing, the
//! segment is a word, and [`tree`](super::tree) finds out from its variety.

/// Longest word, bytes. Anything longer is a value.
pub const MAX_WORD: usize = 40;

/// Digits in a row that make a value: `order1234`, but not `oauth2`, `ipv4`, `h264`.
const DIGIT_RUN: u32 = 4;

/// What is before the first such byte, which is ASCII, and what is behind it. Segments are short:
/// a search that is made for long texts (`str::split`) takes twice as long.
#[inline]
pub(super) fn cut(text: &str, at: u8) -> (&str, Option<&str>) {
    match text.bytes().position(|byte| byte == at) {
        Some(place) => (&text[..place], Some(&text[place + 1..])),
        None => (text, None),
    }
}

/// Whether the segment is a value by its shape: a number, UUID, hash, date, token, address,
/// or text that needed escapes.
#[must_use]
pub fn is_value(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    if bytes.len() > MAX_WORD {
        return true;
    }
    let seen = Seen::of(bytes);
    if seen.foreign {
        return true;
    }
    if seen.digits == 0 {
        return seen.mixes_case(bytes.len())
            || seen.words >= 5
            || seen.hex_only && bytes.len() >= 16;
    }
    if seen.letters == 0 {
        // `1.1` and `2.0` are versions, `7` and `2026-01-02` are not.
        return !(seen.dots > 0 && bytes.len() <= 4);
    }
    if is_version(bytes) {
        return false;
    }
    // Before a file ending: `report-17.pdf`, `3.json`.
    let stem = segment
        .rsplit_once('.')
        .map_or(bytes, |(stem, _)| stem.as_bytes());
    seen.longest_digits >= DIGIT_RUN
        || seen.hex_only && bytes.len() >= 8
        || seen.mixed
        || bytes.len() >= 10 && seen.upper > 0 && seen.lower > 0 && seen.mixes_case(bytes.len())
        || bytes.len() >= 12 && seen.upper > 0 && seen.lower > 0 && seen.digits >= 2
        || ends_in_number(stem)
        || seen.words >= 5
}

/// What is counted in one pass.
#[derive(Default)]
struct Seen {
    digits: u32,
    letters: u32,
    upper: u32,
    lower: u32,
    dots: u32,
    /// Runs of letters and digits between `-`, `_` and `.`.
    words: u32,
    longest_digits: u32,
    /// A word of six or more that changes between letters and digits twice: `a1b2c3`, but
    /// not the `k8s` of `networking.k8s.io`.
    mixed: bool,
    /// From a lower-case letter to an upper-case one.
    humps: u32,
    /// Nothing but hexadecimal digits and dashes.
    hex_only: bool,
    /// A byte that names in programs do not have.
    foreign: bool,
}

impl Seen {
    fn of(bytes: &[u8]) -> Self {
        #[derive(Clone, Copy, PartialEq)]
        enum Kind {
            Digit,
            Upper,
            Lower,
            Other,
        }
        let mut seen = Self {
            hex_only: true,
            ..Self::default()
        };
        let (mut last, mut run) = (Kind::Other, 0);
        let (mut len, mut changes) = (0, 0);
        for &byte in bytes {
            let kind = match byte {
                b'0'..=b'9' => Kind::Digit,
                b'A'..=b'Z' => Kind::Upper,
                b'a'..=b'z' => Kind::Lower,
                _ => Kind::Other,
            };
            run = if kind == Kind::Digit { run + 1 } else { 0 };
            seen.longest_digits = seen.longest_digits.max(run);
            match kind {
                Kind::Digit => seen.digits += 1,
                Kind::Upper => seen.upper += 1,
                Kind::Lower => seen.lower += 1,
                Kind::Other => {
                    seen.dots += u32::from(byte == b'.');
                    // `:` is for custom verbs, `$` and brackets for OData, `*` for globs.
                    seen.foreign |= !matches!(
                        byte,
                        b'-' | b'_' | b'.' | b'~' | b':' | b'$' | b'*' | b'(' | b')' | b'!'
                    );
                }
            }
            seen.hex_only &= byte.is_ascii_hexdigit() || byte == b'-';
            seen.words += u32::from(last == Kind::Other && kind != Kind::Other);
            if kind == Kind::Other {
                (len, changes) = (0, 0);
            } else {
                len += 1;
                let digit = |kind| kind == Kind::Digit;
                changes += u32::from(len > 1 && digit(last) != digit(kind));
                seen.mixed |= changes >= 2 && len >= 6;
            }
            seen.humps += u32::from(last == Kind::Lower && kind == Kind::Upper);
            last = kind;
        }
        seen.letters = seen.upper + seen.lower;
        seen
    }

    /// Whether case changes more often than in `camelCase`: as in random letters.
    fn mixes_case(&self, len: usize) -> bool {
        len >= 10 && self.humps as usize * 4 > len
    }
}

/// `v1`, `v12`, `v1.2`, `v2beta1`: a `v`, a short number, and perhaps a stage.
fn is_version(bytes: &[u8]) -> bool {
    let Some((b'v' | b'V', rest)) = bytes.split_first() else {
        return false;
    };
    let rest = rest.strip_suffix(b".json").unwrap_or(rest);
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let tail = rest.get(digits..).unwrap_or_default();
    let stage = [&b"alpha"[..], b"beta", b"rc", b".", b"p"]
        .iter()
        .find_map(|stage| tail.strip_prefix(*stage));
    let short = |rest: &[u8]| {
        rest.len() <= 3
            && rest
                .iter()
                .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    };
    (1..=3).contains(&digits) && (tail.is_empty() || stage.is_some_and(short))
}

/// `page-2`, `item_15`: the last word is a number.
fn ends_in_number(stem: &[u8]) -> bool {
    let digits = stem
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let before = stem.len() - digits;
    digits > 0 && (before == 0 || matches!(stem.get(before - 1), Some(b'-' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        for value in [
            "7",
            "007",
            "1234567890",
            "-5",
            "2026-01-02",
            "20260102T030405Z",
            "3.14159",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
            "6BA7B8109DAD11D180B400C04FD430C8",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "cafebabe1",
            "507f1f77bcf86cd799439011",
            "order-12345",
            "user_42",
            "page-2",
            "i-0abcd1234ef",
            "pod-7d9f8b6c5-x2x4z",
            "cus_NffrFeUfNV2Hib",
            "ch_3MmlLrLkdIwHu7ix0snN0B15",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "dGhpc0lzQVRlc3RPZkI2NA",
            "dQw4w9WgXcQ",
            "alice@example.com",
            "@alice",
            "a%20b",
            "münchen",
            "how-to-bake-bread-at-home",
            "report-17.pdf",
            "9.json",
            "app.4f3c2a1b.js",
            "a,b",
            "x=1",
        ] {
            assert!(is_value(value), "{value}");
        }
        assert!(is_value(&"x".repeat(MAX_WORD + 1)));
    }

    #[test]
    fn words() {
        for word in [
            "users",
            "api",
            "v1",
            "v2",
            "v10",
            "v1.1",
            "v2beta1",
            "v1alpha",
            "1.1",
            "2.0",
            "oauth2",
            "networking.k8s.io",
            "ipv4",
            "s3",
            "k8s",
            "utf8",
            "base64",
            "sha256",
            "h264",
            "favicon.ico",
            "robots.txt",
            "index.html",
            "user-profile",
            "getUserInformation",
            "well-known",
            ".well-known",
            "_search",
            "things:batchGet",
            "wp-admin",
            "reset-password",
            "deadbeef",
            "OData",
            "$metadata",
            "WEB-INF",
            "a",
            "~",
            "main.js",
            "JSON",
            "my_account_settings",
        ] {
            assert!(!is_value(word), "{word}");
        }
    }
}
