//! Writing families and samples of the Prometheus text format, version 0.0.4.

use std::fmt::Write as _;

/// Text that grows.
pub(super) struct Text(pub(super) String);

impl Text {
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Label values are the agent's own words: nothing in them needs escaping.
    pub(super) fn sample(&mut self, name: &str, label: Option<(&str, &str)>, value: u64) {
        let _ = match label {
            None => writeln!(self.0, "{name} {value}"),
            Some((key, word)) => writeln!(self.0, "{name}{{{key}=\"{word}\"}} {value}"),
        };
    }

    pub(super) fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, None, value);
    }
}
