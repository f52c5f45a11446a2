//! W3C Trace Context (level 1, with the rules for later versions): what a request
//! carried. Anything invalid is treated as absent, as the recommendation demands.

/// A valid `traceparent` (section 3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traceparent {
    /// Trace id; not zero.
    pub trace_id: [u8; 16],
    /// Id of the span that made the request; not zero.
    pub parent_id: [u8; 8],
    /// Trace flags.
    pub flags: u8,
}

/// Length of a version 00 header.
const LEN: usize = 55;
/// Most list members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;

impl Traceparent {
    /// Reads a header value without surrounding white space.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(LEN)?;
        let [version] = hex(&known[..2])?;
        // Later versions may add fields behind a dash (section 3.2.4); ff is forbidden.
        let whole = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        let dashes = known[2] == b'-' && known[35] == b'-' && known[52] == b'-';
        if !whole || !dashes {
            return None;
        }
        let trace_id: [u8; 16] = hex(&known[3..35])?;
        let parent_id: [u8; 8] = hex(&known[36..52])?;
        let [flags] = hex(&known[53..])?;
        let valid = trace_id != [0; 16] && parent_id != [0; 8];
        valid.then_some(Self {
            trace_id,
            parent_id,
            flags,
        })
    }
}

/// Decodes lower-case hexadecimal, the only kind allowed.
fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

/// The text of a `tracestate` if it is valid (section 3.3) and says something.
#[must_use]
pub fn tracestate(value: &[u8]) -> Option<&str> {
    let mut members = 0;
    for member in value.split(|&byte| byte == b',') {
        let member = member.trim_ascii();
        if member.is_empty() {
            continue;
        }
        members += 1;
        let equals = member.iter().position(|&byte| byte == b'=')?;
        if members > MAX_MEMBERS
            || !valid_key(&member[..equals])
            || !valid_value(&member[equals + 1..])
        {
            return None;
        }
    }
    if members == 0 {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// `key` or `tenant@system`. Level 2 lets keys begin with a digit; so do we.
fn valid_key(key: &[u8]) -> bool {
    let allowed =
        |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    let starts = matches!(key.first(), Some(b'a'..=b'z' | b'0'..=b'9'));
    let at = key.iter().filter(|&&byte| byte == b'@').count();
    starts && key.len() <= 256 && at <= 1 && key.last() != Some(&b'@') && key.iter().all(allowed)
}

fn valid_value(value: &[u8]) -> bool {
    let allowed = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b',' | b'=');
    !value.is_empty() && value.len() <= 256 && value.iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent() {
        let parent = Traceparent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(
            u128::from_be_bytes(parent.trace_id),
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736
        );
        assert_eq!(u64::from_be_bytes(parent.parent_id), 0x00f0_67aa_0ba9_02b7);
        assert_eq!(parent.flags, 1);
    }

    #[test]
    fn later_versions_may_carry_more() {
        let later = GOOD.replacen("00", "cc", 1);
        assert!(Traceparent::parse(later.as_bytes()).is_some());
        assert!(Traceparent::parse(format!("{later}-what").as_bytes()).is_some());
        assert!(Traceparent::parse(format!("{later}-").as_bytes()).is_some());
        assert!(Traceparent::parse(format!("{later}.what").as_bytes()).is_none());
    }

    #[test]
    fn invalid_traceparents_are_ignored() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn tracestates() {
        for good in [
            "a=1",
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
            "a@b=1 2 , c=3",
            ",a=1,,",
            "0a-_*/=!",
        ] {
            assert_eq!(tracestate(good.as_bytes()), Some(good));
        }
        let many = |count: usize| {
            (0..count)
                .map(|at| format!("k{at}=v"))
                .collect::<Vec<_>>()
                .join(",")
        };
        assert!(tracestate(many(32).as_bytes()).is_some());
        assert!(tracestate(many(33).as_bytes()).is_none());
        let long = format!("a={}", "v".repeat(257));
        for bad in [
            "", " ", ",", "a", "a=", "=1", "A=1", "a=b=c", "a@=1", "@a=1", "a@b@c=1", "a=\u{e4}",
            "a=\t1", &long,
        ] {
            assert_eq!(tracestate(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe_and_nothing_invalid_passes(value in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(parent) = Traceparent::parse(&value) {
                prop_assert!(parent.trace_id != [0; 16] && parent.parent_id != [0; 8]);
            }
            if let Some(state) = tracestate(&value) {
                prop_assert!(state.is_ascii());
            }
        }
    }
}
