//! Settings of continuous CPU profiles.

use std::time::Duration;

use super::Mistake;
use super::raw::{Given, Raw};
use crate::model::text::duration::parse_duration;
use crate::profile::session::FREQUENCY;

/// Shortest, default and longest time of a profile, seconds.
pub const INTERVAL: (u64, u64, u64) = (1, 60, 3600);

/// How `remora run` takes profiles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Profiling {
    /// `profile_hz`: samples a second on every busy CPU.
    pub frequency: u32,
    /// `profile_interval`: a profile is exported this often.
    pub interval: Duration,
}

impl Default for Profiling {
    fn default() -> Self {
        Self {
            frequency: FREQUENCY.1,
            interval: Duration::from_secs(INTERVAL.1),
        }
    }
}

/// What was asked for; `None` unless `profile` switches it on. Mistakes count in any case.
pub(super) fn resolve(raw: &Raw, mistakes: &mut Vec<Mistake>) -> Option<Profiling> {
    let mut value = |key: &str, parse: fn(&str) -> Result<u64, String>, default: u64| {
        let Some(given) = raw.get(key) else {
            return default;
        };
        one(given).and_then(parse).unwrap_or_else(|problem| {
            mistakes.push(Mistake::new(&given.origin, problem));
            default
        })
    };
    let on = value("profile", switch, 0) == 1;
    let hz = value("profile_hz", frequency, FREQUENCY.1.into());
    let seconds = value("profile_interval", interval, INTERVAL.1 * 1_000_000_000);
    on.then(|| Profiling {
        frequency: u32::try_from(hz).unwrap_or(FREQUENCY.1),
        interval: Duration::from_nanos(seconds),
    })
}

fn one(given: &Given) -> Result<&str, String> {
    match given.values.as_slice() {
        [value] if !given.list => Ok(value),
        _ => Err("it takes one value, not a list".to_owned()),
    }
}

fn switch(text: &str) -> Result<u64, String> {
    match text {
        "true" | "on" => Ok(1),
        "false" | "off" => Ok(0),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

fn frequency(text: &str) -> Result<u64, String> {
    let (min, .., max) = FREQUENCY;
    let hz: Option<u64> = text.parse().ok();
    hz.filter(|hz| (u64::from(min)..=u64::from(max)).contains(hz))
        .ok_or_else(|| format!("'{text}' is out of range, it goes from {min} to {max} a second"))
}

fn interval(text: &str) -> Result<u64, String> {
    let ns = parse_duration(text).map_err(|problem| format!("'{text}' does not fit: {problem}"))?;
    let (min, _, max) = INTERVAL;
    if (min * 1_000_000_000..=max * 1_000_000_000).contains(&ns) {
        Ok(ns)
    } else {
        Err(format!(
            "{text} is out of range, it goes from {min}s to {max}s"
        ))
    }
}
