//! Settings: from flags, environment and file to values that make sense.
//!
//! [`raw`] collects what was given and where, [`resolved`] says what it means. All
//! mistakes are reported at once.

pub mod compression;
pub mod credentials;
mod list;
pub mod memory;
pub mod otel;
pub mod profiling;
pub mod proxy;
pub mod query;
pub mod raw;
pub mod resolved;
pub mod rule;
pub mod sampling;
pub mod spool;
pub(crate) mod watch;

use std::fmt;

use crate::model::exit::{Exit, Failure};

/// Something wrong with a setting.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mistake {
    /// Where it was given: a variable, a flag, or a key of a file.
    pub origin: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Mistake {
    /// A mistake in what was given at `origin`.
    pub fn new(origin: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self {
            origin: origin.to_string(),
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

/// All mistakes as one failure.
#[must_use]
pub fn failure(mistakes: &[Mistake]) -> Failure {
    let mut message = match mistakes.len() {
        1 => "there is a mistake in the configuration:".to_owned(),
        count => format!("there are {count} mistakes in the configuration:"),
    };
    for mistake in mistakes {
        message.push_str(&format!("\n  {mistake}"));
    }
    Failure::new(Exit::Config, message)
}

/// The known name closest to a mistyped one, if one is close.
#[must_use]
pub fn did_you_mean<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace) that turn one text into the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_close_only() {
        let known = ["ring_bytes", "include", "exclude"];
        assert_eq!(did_you_mean("ring_byte", known), Some("ring_bytes"));
        assert_eq!(did_you_mean("inlcude", known), Some("include"));
        assert_eq!(did_you_mean("colour", known), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
