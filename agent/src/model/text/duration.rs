//! Durations as people write them: `50ms`, `1.5s`, `2m`.

use std::fmt;

use super::pad::Short;

/// Units, longest suffix first where one is the end of another, with nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds of a duration: a number, a decimal fraction if wanted, and a unit.
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let explain = || "a duration is a number with a unit: 250us, 50ms, 1.5s, 2m, 1h".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(explain)?;
    let (number, unit) = text.split_at(split);
    let unit = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, ns)| *ns)
        .ok_or_else(explain)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return Err(explain());
    }
    let whole: u64 = whole.parse().map_err(|_| explain())?;
    let mut ns = whole.checked_mul(unit).ok_or("the duration is too long")?;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| explain())?;
        let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap_or(9));
        let part = u128::from(digits) * u128::from(unit) / scale;
        let part = u64::try_from(part).map_err(|_| explain())?;
        ns = ns.checked_add(part).ok_or("the duration is too long")?;
    }
    Ok(ns)
}

/// Nanoseconds, shown with three significant digits and a fitting unit, at most
/// six characters wide up to 100 hours: `950ns`, `1.23ms`, `12.3s`, `2m05s`. Honours
/// the width and alignment of the format.
#[derive(Clone, Copy, Debug)]
pub struct ShortDuration(pub u64);

impl fmt::Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0;
        let scaled = |unit: u64, name: &str| {
            let (whole, rest) = (ns / unit, ns % unit);
            match whole {
                0..10 => Short::of(format_args!("{whole}.{:02}{name}", rest * 100 / unit)),
                10..100 => Short::of(format_args!("{whole}.{}{name}", rest * 10 / unit)),
                _ => Short::of(format_args!("{whole}{name}")),
            }
        };
        let sixties = |unit: u64, big: char, small: char| {
            let count = ns / unit;
            Short::of(format_args!("{}{big}{:02}{small}", count / 60, count % 60))
        };
        let text: Short<24> = match ns {
            0..1_000 => Short::of(format_args!("{ns}ns")),
            1_000..1_000_000 => scaled(1_000, "µs"),
            1_000_000..1_000_000_000 => scaled(1_000_000, "ms"),
            1_000_000_000..60_000_000_000 => scaled(1_000_000_000, "s"),
            60_000_000_000..3_600_000_000_000 => sixties(1_000_000_000, 'm', 's'),
            _ => sixties(60_000_000_000, 'h', 'm'),
        };
        f.pad(text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_people_write() {
        for (text, ns) in [
            ("50ms", 50_000_000),
            ("1.5s", 1_500_000_000),
            ("250us", 250_000),
            ("250µs", 250_000),
            ("7ns", 7),
            ("0s", 0),
            ("2m", 120_000_000_000),
            ("0.25h", 900_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
        }
        for text in [
            "",
            "5",
            "ms",
            "5 ms",
            "-5ms",
            "1.s",
            ".5s",
            "1.2.3s",
            "5min",
            "99999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_three_digits() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (1_239, "1.23µs"),
            (12_390, "12.3µs"),
            (999_999, "999µs"),
            (1_234_567, "1.23ms"),
            (59_990_000_000, "59.9s"),
            (125_000_000_000, "2m05s"),
            (3_600_000_000_000, "1h00m"),
        ] {
            assert_eq!(ShortDuration(ns).to_string(), text);
        }
    }
}
