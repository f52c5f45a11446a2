//! What the user sees: tables for people, JSON lines for programs.

pub mod histogram;
pub mod json;
pub mod query;
pub mod red;
pub mod schema;
pub mod screen;
pub mod table;

use std::io;

use crate::exchange::Sink;
use screen::{Colour, Screen};

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

    /// Writes the last lines, then flushes.
    ///
    /// # Errors
    /// As [`Self::flush`].
    fn finish(&mut self, totals: &Totals) -> io::Result<()>;
}

/// The ledger in figures: every request is in one of them.
/// `seen == emitted + filtered +` the sum of [`Totals::lost`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Requests that ended while the agent was there.
    pub seen: u64,
    /// Requests given to the sinks.
    pub emitted: u64,
    /// Requests kept back by filters.
    pub filtered: u64,
    /// Requests lost because the ring buffer was full.
    pub ring_full: u64,
    /// Requests lost because the connection table was full.
    pub conn_evicted: u64,
    /// Requests lost because their records made no sense.
    pub decode: u64,
}

impl Totals {
    /// Losses by reason.
    #[must_use]
    pub const fn lost(&self) -> [(&'static str, u64); 3] {
        [
            ("ring_full", self.ring_full),
            ("conn_evicted", self.conn_evicted),
            ("decode", self.decode),
        ]
    }
}

/// The ledger as one line for people.
#[must_use]
pub fn ledger_line(totals: &Totals, screen: &Screen) -> String {
    let lost: u64 = totals.lost().iter().map(|(_, count)| count).sum();
    let (bold, plain) = (screen.paint(Colour::Bold), screen.plain());
    let mut line = format!(
        "{bold}{} seen = {} shown + {} filtered + {} lost{plain}",
        totals.seen, totals.emitted, totals.filtered, lost
    );
    if lost > 0 {
        let red = screen.paint(Colour::Red);
        let reasons: Vec<String> = totals
            .lost()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason} {count}"))
            .collect();
        line.push_str(&format!(" ({red}{}{plain})", reasons.join(", ")));
    }
    line
}
