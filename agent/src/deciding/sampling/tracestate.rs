//! The `ot` member of `tracestate`: what is known of sampling upstream, and what is said
//! about it downstream.
//!
//! The value came with a request, so it is hostile: whatever is malformed counts as absent.

use super::threshold::{Randomness, Threshold};

/// Most members of a `tracestate` (Trace Context, section 3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Longest value of a member, bytes (section 3.3.2.2).
const MAX_VALUE: usize = 256;

/// What the `ot` member says.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Upstream {
    /// `th`: the threshold that was used.
    pub threshold: Option<Threshold>,
    /// `rv`: randomness to use in place of the trace id's.
    pub randomness: Option<Randomness>,
}

impl Upstream {
    /// Reads a `tracestate`.
    #[must_use]
    pub fn parse(state: &str) -> Self {
        let mut found = Self::default();
        for (key, value) in fields(ot(state)) {
            match key {
                "th" if found.threshold.is_none() => found.threshold = Threshold::parse(value),
                "rv" if found.randomness.is_none() => found.randomness = Randomness::parse(value),
                _ => {}
            }
        }
        found
    }
}

/// Appends a `tracestate` with `th` set to `threshold`, or without it. The `ot` member comes
/// first if it changed, as section 3.5 asks; all else stays, as far as limits allow.
pub fn write(out: &mut String, state: Option<&str>, threshold: Option<Threshold>) {
    let state = state.unwrap_or_default();
    let start = out.len();
    out.push_str("ot=");
    let value = out.len();
    if let Some(threshold) = threshold.filter(|threshold| *threshold != Threshold::NEVER) {
        out.push_str("th:");
        threshold.write(out);
    }
    // The randomness has to stay; the rest only if there is room.
    let others = fields(ot(state)).filter(|(key, _)| *key != "th");
    for first in [true, false] {
        for (key, field) in others.clone().filter(|(key, _)| (*key == "rv") == first) {
            if out.len() - value + key.len() + field.len() + 2 > MAX_VALUE {
                continue;
            }
            if out.len() > value {
                out.push(';');
            }
            out.push_str(key);
            out.push(':');
            out.push_str(field);
        }
    }
    let mut count = 1;
    if out.len() == value {
        out.truncate(start);
        count = 0;
    }
    for member in members(state).filter(|member| key(member) != "ot") {
        if count == MAX_MEMBERS {
            break;
        }
        if count > 0 {
            out.push(',');
        }
        out.push_str(member);
        count += 1;
    }
}

fn members(state: &str) -> impl Iterator<Item = &str> + Clone {
    state
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

fn key(member: &str) -> &str {
    member.split('=').next().unwrap_or_default()
}

/// Value of the `ot` member; empty if there is none.
fn ot(state: &str) -> &str {
    members(state)
        .find_map(|member| member.strip_prefix("ot="))
        .unwrap_or_default()
}

fn fields(value: &str) -> impl Iterator<Item = (&str, &str)> + Clone {
    value.split(';').filter_map(|field| field.split_once(':'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairing::context;
    use proptest::prelude::*;

    fn written(state: &str, threshold: Option<Threshold>) -> String {
        let mut out = String::new();
        write(&mut out, Some(state), threshold);
        out
    }

    #[test]
    fn reads_what_is_valid_only() {
        let half = Threshold::of(0.5);
        let random = Randomness::parse("6e6d1a75832a2f");
        for (state, threshold, randomness) in [
            ("ot=th:8", Some(half), None),
            ("a=1, ot=rv:6e6d1a75832a2f;th:8 ,b=2", Some(half), random),
            ("ot=th:8;th:0", Some(half), None),
            ("ot=th:;rv:", None, None),
            ("ot=th:G;rv:6E6D1A75832A2F", None, None),
            ("ot=th:123456789012345;rv:6e6d1a75832a2", None, None),
            ("xot=th:8,ot@x=th:8", None, None),
            ("", None, None),
        ] {
            let expected = Upstream {
                threshold,
                randomness,
            };
            assert_eq!(Upstream::parse(state), expected, "{state}");
        }
    }

    #[test]
    fn writes_the_threshold_and_keeps_the_rest() {
        let half = Some(Threshold::of(0.5));
        for (state, threshold, expected) in [
            ("", half, "ot=th:8"),
            ("a=1,b=2", half, "ot=th:8,a=1,b=2"),
            (
                "a=1,ot=th:4;x:y;rv:6e6d1a75832a2f,b=2",
                half,
                "ot=th:8;rv:6e6d1a75832a2f;x:y,a=1,b=2",
            ),
            (
                "a=1,ot=th:4;rv:6e6d1a75832a2f",
                None,
                "ot=rv:6e6d1a75832a2f,a=1",
            ),
            ("a=1,ot=th:4", None, "a=1"),
            ("", None, ""),
            ("a=1", Some(Threshold::NEVER), "a=1"),
        ] {
            assert_eq!(written(state, threshold), expected, "{state}");
        }
    }

    #[test]
    fn limits_hold() {
        let many: Vec<String> = (0..32).map(|n| format!("k{n}=v")).collect();
        let out = written(&many.join(","), Some(Threshold::ALWAYS));
        assert_eq!(members(&out).count(), MAX_MEMBERS);
        let long = format!("ot=a:{};rv:6e6d1a75832a2f", "x".repeat(230));
        let out = written(&long, Some(Threshold::of(0.3)));
        assert_eq!(
            Upstream::parse(&out).randomness,
            Upstream::parse(&long).randomness
        );
        assert!(context::tracestate(out.as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(
            state in "(ot=[a-z0-9:;.]{1,40},)?([a-z]{1,3}=[!-+]{1,5},){0,30}",
            probability in 0.0001f64..1.0,
        ) {
            let threshold = Threshold::of(probability);
            let out = written(&state, Some(threshold));
            prop_assert!(context::tracestate(out.as_bytes()).is_some(), "{}", out);
            prop_assert_eq!(Upstream::parse(&out).threshold, Some(threshold));
            prop_assert_eq!(Upstream::parse(&out).randomness, Upstream::parse(&state).randomness);
        }

        #[test]
        fn nothing_makes_it_panic(state in any::<String>()) {
            let _ = Upstream::parse(&state);
            written(&state, None);
        }
    }
}
