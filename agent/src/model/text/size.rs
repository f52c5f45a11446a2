//! Sizes as people read and write them.

use std::fmt;

use super::pad::Short;

/// Bytes, at most five characters wide below 1000 TB: `0B`, `512B`, `1.2kB`, `50MB`.
/// Units are decimal, as in `curl` and the network's own figures. Honours the width and
/// alignment of the format.
#[derive(Clone, Copy, Debug)]
pub struct ShortSize(pub u64);

impl fmt::Display for ShortSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        let bytes = self.0;
        let mut unit = 1000u64;
        let mut name = 0;
        while bytes / unit >= 1000 && name + 1 < UNITS.len() {
            unit *= 1000;
            name += 1;
        }
        let (whole, tenths, name) = (bytes / unit, bytes % unit / (unit / 10), UNITS[name]);
        let text: Short<24> = match whole {
            0 => Short::of(format_args!("{bytes}B")),
            1..10 => Short::of(format_args!("{whole}.{tenths}{name}")),
            _ => Short::of(format_args!("{whole}{name}")),
        };
        f.pad(text.as_str())
    }
}

/// Bytes of a setting: a number, with `k`, `m` or `g` (powers of 1024) if wanted,
/// which may be followed by `b` or `ib`.
///
/// # Errors
/// A sentence that says what a size looks like.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let explain =
        || "a size is a number of bytes, or one with k, m or g: 65536, 64k, 8m".to_owned();
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(explain()),
    };
    let number: u64 = number.parse().map_err(|_| explain())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_sizes() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_000, "1.0kB"),
            (1_999, "1.9kB"),
            (50_000_000, "50MB"),
            (999_999_999, "999MB"),
            (1_200_000_000, "1.2GB"),
            (u64::MAX, "18EB"),
        ] {
            assert_eq!(ShortSize(bytes).to_string(), text);
        }
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(parse_size("65536"), Ok(65_536));
        assert_eq!(parse_size("64k"), Ok(65_536));
        assert_eq!(parse_size("8MiB"), Ok(8 << 20));
        for text in ["", "k", "8x", "-1", "1.5m", "99999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
