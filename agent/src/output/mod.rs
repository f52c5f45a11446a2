//! What the user sees: tables for people, JSON lines for programs.

mod columns;
pub mod histogram;
pub mod json;
pub mod profile;
pub mod red;
pub mod schema;
pub mod screen;
pub mod table;

use std::io;

use clap::ValueEnum;

use crate::capture::ledger::{Lost, Summary};
use crate::config::query::QueryPolicy;
use crate::model::exchange::{Exchange, Sink};
use screen::{Colour, Screen};

/// Shape of the output.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON, one object a line (see remora schema)
    Json,
}

/// Why a span is kept or not.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Why<'a> {
    /// Whether it is kept.
    pub kept: bool,
    /// The rule that decided, or what else did.
    pub by: &'a str,
    /// With which probability spans like it are kept, if that is known.
    pub probability: Option<f64>,
}

/// A sink that writes to a file or terminal.
///
/// [`Sink::exchange`] cannot fail, so errors are kept until the next call of one of
/// these; after an error nothing more is written.
pub trait Report: Sink {
    /// Writes out what is buffered. Called when no further exchange is at hand.
    ///
    /// # Errors
    /// Writing failed, now or since the last call.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes text for people, where the output is for people.
    ///
    /// # Errors
    /// As [`Self::flush`].
    fn note(&mut self, text: &str) -> io::Result<()>;

    /// Writes an exchange like [`Sink::exchange`], and why its span is kept or not.
    fn explained(&mut self, exchange: &Exchange<'_>, why: &Why<'_>);

    /// Writes the last lines, then flushes.
    ///
    /// # Errors
    /// As [`Self::flush`].
    fn finish(&mut self, summary: &Summary) -> io::Result<()>;
}

/// Losses by reason, with the names they have in all output.
#[must_use]
pub const fn losses(lost: &Lost) -> [(&'static str, u64); 3] {
    [
        ("ring_full", lost.ring_full),
        ("conn_evicted", lost.conn_evicted),
        ("decode", lost.decode),
    ]
}

/// The ledger as one line for people.
#[must_use]
pub fn ledger_line(summary: &Summary, screen: &Screen) -> String {
    let (bold, red, plain) = (
        screen.paint(Colour::Bold),
        screen.paint(Colour::Red),
        screen.plain(),
    );
    let Summary {
        seen,
        emitted,
        filtered,
        ..
    } = summary;
    let lost = summary.lost.total();
    let mut line = format!(
        "{bold}{seen} seen = {emitted} reported + {filtered} filtered + {lost} lost{plain}"
    );
    if lost > 0 {
        let reasons: Vec<String> = losses(&summary.lost)
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        line.push_str(&format!(" ({red}{}{plain})", reasons.join(", ")));
    }
    if !summary.balanced() {
        line.push_str(&format!(
            ", {red}which does not add up: please report this{plain}"
        ));
    }
    for (count, what) in [
        (summary.in_flight, "still under way"),
        (summary.orphans, "answers to requests from before"),
    ] {
        if count > 0 {
            line.push_str(&format!("; {count} {what}"));
        }
    }
    line
}

/// Opens standard output for requests.
#[must_use]
pub fn stdout(format: Format, query: QueryPolicy, screen: Screen) -> Box<dyn Report> {
    match format {
        Format::Table => Box::new(table::Table::new(io::stdout(), screen, query)),
        Format::Json => Box::new(json::JsonLines::new(io::stdout(), query)),
    }
}
