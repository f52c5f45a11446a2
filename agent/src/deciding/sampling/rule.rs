//! Rules of adaptive sampling: the first that matches decides.

use super::threshold::Threshold;
use crate::deciding::filter::glob::Glob;
use crate::model::text::duration::parse_duration;

/// Most rules.
pub const MAX_RULES: usize = 64;
/// Longest name, bytes.
const MAX_NAME: usize = 40;
/// Rules unless the settings say otherwise, in their order.
pub const DEFAULTS: [&str; 4] = ["errors", "slow:1s", "rare:6", "upstream"];
/// Names of what decides beside rules: no rule can have them.
pub const RESERVED: [&str; 4] = ["budget", "overload", "hard_cap", "strategy"];

/// A rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Rule {
    /// Its name in output.
    pub name: String,
    /// Which requests it is for.
    pub condition: Condition,
    /// How many of them are kept: all, unless the rule says otherwise.
    pub threshold: Threshold,
}

/// Which requests a rule is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition {
    /// Requests that failed, as the OpenTelemetry conventions define it.
    Errors,
    /// Requests that took at least so long, ns.
    Slow(u64),
    /// Requests that took longer than 99 of 100 of their route lately.
    SlowForRoute,
    /// Requests of a route and status class of which there are at most so many a minute.
    Rare(f64),
    /// Requests whose parent was sampled.
    Upstream,
    /// By path.
    Path(Glob),
    /// By route, or gRPC method.
    Route(Glob),
    /// By service name.
    Service(Glob),
}

impl Rule {
    /// Reads `[name=]condition[@probability]`, such as `errors`, `slow:1s`,
    /// `checkout=path:/checkout/*`, `health=path:/healthz@0.01`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = match text.split_once('=') {
            Some((name, rest)) => (Some(name.trim()), rest.trim()),
            None => (None, text.trim()),
        };
        // From a list of 'name: value' in a file: `slow: 1s`.
        let joined = match name {
            Some(kind @ ("slow" | "rare" | "path" | "route" | "service"))
                if !rest.contains(':') =>
            {
                format!("{kind}:{rest}")
            }
            _ => rest.to_owned(),
        };
        let (condition, probability) = match joined.rsplit_once('@') {
            Some((condition, probability)) => (condition, Some(probability)),
            None => (joined.as_str(), None),
        };
        let (kind, value) = match condition.split_once(':') {
            Some((kind, value)) => (kind, Some(value)),
            None => (condition, None),
        };
        let name = name.unwrap_or(kind);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(format!(
                "'{name}' is not a name of letters, digits, '-', '_' and '.'"
            ));
        }
        if RESERVED.contains(&name) {
            return Err(format!("no rule can have the name '{name}'"));
        }
        Ok(Self {
            name: name.to_owned(),
            condition: Condition::parse(kind, value)?,
            threshold: match probability {
                None => Threshold::ALWAYS,
                Some(text) => Threshold::of(self::probability(text)?),
            },
        })
    }
}

impl Condition {
    fn parse(kind: &str, value: Option<&str>) -> Result<Self, String> {
        let glob = |value: Option<&str>| match value {
            Some(pattern) if !pattern.is_empty() => Glob::parse(pattern).map_err(str::to_owned),
            _ => Err(format!("{kind} needs a pattern: {kind}:PATTERN")),
        };
        Ok(match (kind, value) {
            ("errors", None) => Self::Errors,
            ("upstream", None) => Self::Upstream,
            ("slow", Some("p99")) => Self::SlowForRoute,
            ("slow", Some(time)) => {
                Self::Slow(parse_duration(time).map_err(|problem| format!("'{time}': {problem}"))?)
            }
            ("rare", Some(text)) => match text.parse() {
                Ok(rate) if (0.0..=1e6).contains(&rate) => Self::Rare(rate),
                _ => return Err(format!("'{text}' is not a number of requests a minute")),
            },
            ("path", value) => Self::Path(glob(value)?),
            ("route", value) => Self::Route(glob(value)?),
            ("service", value) => Self::Service(glob(value)?),
            ("errors" | "upstream", Some(_)) => return Err(format!("{kind} takes no value")),
            ("slow" | "rare", None) => {
                return Err(format!("{kind} needs a value: slow:1s, slow:p99, rare:6"));
            }
            _ => {
                return Err(format!(
                    "'{kind}' is not a condition; there are errors, slow, rare, upstream, path, route, service"
                ));
            }
        })
    }
}

/// Reads a probability.
///
/// # Errors
/// If it is not a number from 0 to 1.
pub fn probability(text: &str) -> Result<f64, String> {
    match text.trim().parse() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err(format!("'{text}' is not a probability from 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_every_kind() {
        for (text, name, condition, probability) in [
            ("errors", "errors", Condition::Errors, 1.0),
            ("slow:1s", "slow", Condition::Slow(1_000_000_000), 1.0),
            ("slow=250ms", "slow", Condition::Slow(250_000_000), 1.0),
            ("odd=slow:p99", "odd", Condition::SlowForRoute, 1.0),
            ("rare:0.5", "rare", Condition::Rare(0.5), 1.0),
            ("upstream", "upstream", Condition::Upstream, 1.0),
            (
                "health=path:/healthz@0",
                "health",
                Condition::Path(Glob::parse("/healthz").unwrap()),
                0.0,
            ),
            (
                "pay=service:pay*@0.5",
                "pay",
                Condition::Service(Glob::parse("pay*").unwrap()),
                0.5,
            ),
        ] {
            let rule = Rule::parse(text).unwrap();
            assert_eq!(
                (rule.name.as_str(), rule.condition),
                (name, condition),
                "{text}"
            );
            assert_eq!(rule.threshold, Threshold::of(probability), "{text}");
        }
        for text in DEFAULTS {
            Rule::parse(text).unwrap();
        }
    }

    #[test]
    fn mistakes() {
        for bad in [
            "",
            "error",
            "slow",
            "slow:",
            "slow:fast",
            "rare:-1",
            "rare:nan",
            "path:",
            "path:\\",
            "budget=errors",
            "a b=errors",
            "errors:x",
            "errors@2",
            "errors@",
            "upstream:1",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
    }
}
