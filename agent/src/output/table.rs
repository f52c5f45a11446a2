//! `-o table`: live requests for people, one line each.
//!
//! ```text
//! TIME          SIDE    PROCESS      METHOD   PATH         STATUS  DURATION    SENT    RECV  PEER
//! 03:04:05.123  server  nginx[4242]  GET      /users/7        200    1.23ms    512B      0B  127.0.0.1:51324
//! ```
//!
//! A call of gRPC has `gRPC` for its method, and the name of its gRPC status. No row is wider
//! than its terminal: paths lose their middle, then whole columns are left out.
//!
//! Every cell that comes from a traced program goes through [`crate::model::text::escape`].

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use super::columns::{Columns, GAP};
use super::screen::{Colour, Screen};
use super::{Report, Why, json};
use crate::capture::ledger::Summary;
use crate::config::query::QueryPolicy;
use crate::model::exchange::{Endpoint, Exchange, Side, Sink};
use crate::model::text::cell::{Cell, text_columns};
use crate::model::text::duration::ShortDuration;
use crate::model::text::escape::Safe;
use crate::model::text::size::ShortSize;
use crate::model::text::time::TimeOfDay;
use crate::pairing::proto::grpc;

/// The heading comes again after this many lines on a terminal.
const HEADING_EVERY: u32 = 40;
/// Buffered bytes that are written out without waiting for [`Report::flush`].
const WRITE_AT: usize = 64 * 1024;

/// The columns, in their order on the line.
const HEADINGS: [&str; 10] = [
    "TIME", "SIDE", "PROCESS", "METHOD", "PATH", "STATUS", "DURATION", "SENT", "RECV", "PEER",
];
const TIME: usize = 0;
const SIDE: usize = 1;
const PROCESS: usize = 2;
const METHOD: usize = 3;
const PATH: usize = 4;
const STATUS: usize = 5;
const DURATION: usize = 6;
const SENT: usize = 7;
const RECV: usize = 8;
const PEER: usize = 9;

/// Least widths.
const LEAST: [usize; 10] = [12, 6, 12, 7, 12, 6, 8, 6, 6, 12];
/// Widths in a file or pipe, where paths, statuses and peers are not cut.
const FILE: [usize; 10] = [12, 6, 20, 7, 32, 12, 8, 7, 7, 0];
/// What a narrow terminal does without, the least important first. At last the path alone is left.
const SPARE: [usize; 9] = [
    PEER, RECV, SENT, TIME, SIDE, PROCESS, DURATION, METHOD, STATUS,
];
/// What becomes wider with the terminal, and how wide: the longest name of a status of gRPC
/// has 19 letters. The rest is the path's.
const GROWING: [(usize, usize); 4] = [(PROCESS, 24), (STATUS, 19), (PEER, 24), (SENT, 7)];

/// Columns before the notes that have a line of their own.
const INDENT: usize = 4;

/// Shares out the columns of a terminal; `None` is a file or pipe.
fn layout(room: Option<usize>) -> Columns<10> {
    match room {
        Some(room) => Columns::fit(room, LEAST, &SPARE, &GROWING, PATH),
        None => Columns {
            widths: FILE.map(Some),
        },
    }
}

/// Writes a live table.
#[derive(Debug)]
pub struct Table<W> {
    out: W,
    screen: Screen,
    query: QueryPolicy,
    lines: Vec<u8>,
    /// Where cells are put together.
    scratch: String,
    columns: Columns<10>,
    since_heading: u32,
    error: Option<io::Error>,
}

impl<W: Write> Table<W> {
    /// A table for `screen`, written to `out` in whole lines.
    pub fn new(out: W, screen: Screen, query: QueryPolicy) -> Self {
        Self {
            out,
            query,
            lines: Vec::with_capacity(WRITE_AT + 4096),
            scratch: String::with_capacity(256),
            columns: layout(screen.columns()),
            screen,
            since_heading: 0,
            error: None,
        }
    }

    fn heading(&mut self) {
        let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
        self.lines.extend_from_slice(dim.as_bytes());
        let mut first = true;
        for (column, heading) in HEADINGS.into_iter().enumerate() {
            let Some(width) = self.columns.widths[column] else {
                continue;
            };
            self.gap(&mut first);
            // Writing to a `Vec` cannot fail, here and below.
            let _ = match column {
                STATUS | DURATION | SENT | RECV => write!(self.lines, "{heading:>width$}"),
                PEER => write!(self.lines, "{heading}"),
                _ => write!(self.lines, "{}", Cell::left(heading, width)),
            };
        }
        let _ = writeln!(self.lines, "{plain}");
    }

    /// Separates a cell from the one before.
    fn gap(&mut self, first: &mut bool) {
        if !std::mem::take(first) {
            self.lines.extend([b' '; GAP]);
        }
    }

    fn line(&mut self, exchange: &Exchange<'_>) {
        let mut first = true;
        for column in TIME..=PEER {
            if let Some(width) = self.columns.widths[column] {
                self.gap(&mut first);
                self.cell(column, width, exchange);
            }
        }
        self.notes(exchange);
        self.lines.push(b'\n');
    }

    /// Writes one cell.
    fn cell(&mut self, column: usize, width: usize, exchange: &Exchange<'_>) {
        let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
        let (sent, received) = match exchange.side {
            Side::Server => (exchange.response_body_bytes, exchange.request_body_bytes),
            Side::Client => (exchange.request_body_bytes, exchange.response_body_bytes),
        };
        let _ = match column {
            TIME => {
                let time = TimeOfDay {
                    unix_ns: exchange.start_unix_ns,
                    offset: self.screen.utc_offset(),
                };
                write!(self.lines, "{dim}{time}{plain}")
            }
            SIDE => write!(self.lines, "{:<width$}", json::side(exchange.side)),
            PROCESS => self.process(width, exchange),
            METHOD => {
                let method = match exchange.rpc {
                    Some(_) => "gRPC",
                    None => exchange.method.unwrap_or("-"),
                };
                write!(self.lines, "{}", Cell::left(method, width))
            }
            PATH => self.path(width, exchange),
            STATUS => self.status(width, exchange),
            DURATION => {
                let duration = ShortDuration(exchange.duration_ns);
                write!(self.lines, "{duration:>width$}")
            }
            SENT => write!(self.lines, "{:>width$}", Known(sent.map(ShortSize))),
            RECV => write!(self.lines, "{:>width$}", Known(received.map(ShortSize))),
            _ => {
                self.scratch.clear();
                let _ = write!(self.scratch, "{}", Peer(exchange));
                let peer = cut(&self.screen, &self.scratch, width).unpadded();
                write!(self.lines, "{dim}{peer}{plain}")
            }
        };
    }

    fn process(&mut self, width: usize, exchange: &Exchange<'_>) -> io::Result<()> {
        self.scratch.clear();
        let pid = exchange.process.tgid;
        let digits = pid.checked_ilog10().unwrap_or(0) as usize + 1;
        let name = Cell::left(&exchange.process.service, width.saturating_sub(digits + 2));
        let _ = write!(self.scratch, "{}[{pid}]", name.unpadded());
        // It is escaped and cut already.
        let pad = width.saturating_sub(text_columns(&self.scratch));
        write!(self.lines, "{}{:pad$}", self.scratch, "")
    }

    fn path(&mut self, width: usize, exchange: &Exchange<'_>) -> io::Result<()> {
        self.scratch.clear();
        self.scratch.push_str(exchange.path.unwrap_or("-"));
        if let Some(query) = exchange.query.filter(|_| self.query.shows_any()) {
            self.scratch.push('?');
            self.query
                .each_part(query, |part| self.scratch.push_str(part));
        }
        let cell = cut(&self.screen, &self.scratch, width);
        write!(self.lines, "{cell}")
    }

    /// The status of HTTP by number, that of a call by name. Names that are cut still differ
    /// within their first five letters.
    fn status(&mut self, width: usize, exchange: &Exchange<'_>) -> io::Result<()> {
        let (colour, plain) = (
            self.screen.paint(status_colour(exchange)),
            self.screen.plain(),
        );
        self.scratch.clear();
        let _ = match (exchange.rpc, exchange.status) {
            (Some(rpc), _) => match rpc.status {
                Some(code) => match grpc::status_name(code) {
                    Some(name) => write!(self.scratch, "{name}"),
                    None => write!(self.scratch, "{code}"),
                },
                None => write!(self.scratch, "-"),
            },
            (None, Some(status)) => write!(self.scratch, "{status}"),
            (None, None) => write!(self.scratch, "-"),
        };
        let cell = match self.screen.columns() {
            Some(_) => Cell::left(&self.scratch, width).unpadded(),
            None => Cell::whole(&self.scratch, width).unpadded(),
        };
        let pad = width.saturating_sub(cell.text_width());
        write!(self.lines, "{:pad$}{colour}{cell}{plain}", "")
    }

    /// What went wrong, and what is not known: behind the last cell, or on a line of its own
    /// where that would be too wide.
    fn notes(&mut self, exchange: &Exchange<'_>) {
        // A status as error is in its own cell already.
        let error = exchange
            .error
            .filter(|error| !error.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(|error| Some(*error) != self.named_status(exchange));
        if error.is_none() && exchange.incomplete.is_empty() {
            return;
        }
        let mut room = match self.screen.columns() {
            Some(columns) => {
                let indent = INDENT.min(columns / 8);
                let _ = write!(self.lines, "\n{:indent$}", "");
                columns - indent
            }
            None => {
                self.lines.extend([b' '; GAP]);
                usize::MAX
            }
        };
        let plain = self.screen.plain();
        if let Some(error) = error {
            let red = self.screen.paint(Colour::Red);
            self.scratch.clear();
            let _ = write!(self.scratch, "error={}", Safe(error));
            let cell = Cell::left(&self.scratch, room).unpadded();
            let _ = write!(self.lines, "{red}{cell}{plain}");
            room = room.saturating_sub(cell.text_width() + GAP);
        }
        if !exchange.incomplete.is_empty() && room > 0 {
            self.scratch.clear();
            let _ = write!(self.scratch, "incomplete=");
            for (at, name) in exchange.incomplete.names().enumerate() {
                let _ = write!(self.scratch, "{}{name}", if at == 0 { "" } else { "," });
            }
            let yellow = self.screen.paint(Colour::Yellow);
            if error.is_some() {
                self.lines.extend([b' '; GAP]);
            }
            let cell = Cell::left(&self.scratch, room).unpadded();
            let _ = write!(self.lines, "{yellow}{cell}{plain}");
        }
    }

    /// The name that stands for the status of a call.
    fn named_status(&self, exchange: &Exchange<'_>) -> Option<&'static str> {
        grpc::status_name(exchange.rpc?.status?)
    }

    fn write_out(&mut self) {
        if self.error.is_none()
            && let Err(error) = self
                .out
                .write_all(&self.lines)
                .and_then(|()| self.out.flush())
        {
            self.error = Some(error);
        }
        self.lines.clear();
    }
}

impl<W: Write> Table<W> {
    fn lines(&mut self, exchange: &Exchange<'_>) {
        let repeat = self.screen.columns().is_some() && self.since_heading >= HEADING_EVERY;
        if self.since_heading == 0 || repeat {
            self.columns = layout(self.screen.columns());
            self.heading();
            self.since_heading = 0;
        }
        self.since_heading = self.since_heading.saturating_add(1);
        self.line(exchange);
    }

    fn write_out_if_full(&mut self) {
        if self.lines.len() >= WRITE_AT {
            self.write_out();
        }
    }
}

impl<W: Write> Sink for Table<W> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.lines(exchange);
        self.write_out_if_full();
    }
}

impl<W: Write> Report for Table<W> {
    fn flush(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.write_out();
        }
        // The terminal may have been resized in the meantime.
        if self.screen.measure() {
            self.columns = layout(self.screen.columns());
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        self.lines.extend_from_slice(text.as_bytes());
        self.flush()
    }

    fn explained(&mut self, exchange: &Exchange<'_>, why: &Why<'_>) {
        self.lines(exchange);
        let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
        let word = if why.kept { "kept" } else { "not kept" };
        self.scratch.clear();
        // Names of rules are letters, digits, '-', '_' and '.'.
        let _ = write!(self.scratch, "{word} by {}", why.by);
        let _ = match why.probability {
            Some(probability) => write!(self.scratch, ", probability {probability:.4}"),
            None => write!(self.scratch, ", probability unknown"),
        };
        let columns = self.screen.columns().unwrap_or(usize::MAX);
        let indent = 14.min(columns / 8);
        let cell = Cell::left(&self.scratch, columns - indent).unpadded();
        let _ = writeln!(self.lines, "{dim}{:indent$}{cell}{plain}", "");
        self.write_out_if_full();
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let _ = writeln!(self.lines, "{}", super::ledger_line(summary, &self.screen));
        self.flush()
    }
}

/// A text without its middle where lines have a width.
fn cut<'a>(screen: &Screen, text: &'a str, width: usize) -> Cell<'a> {
    match screen.columns() {
        Some(_) => Cell::middle(text, width),
        None => Cell::whole(text, width),
    }
}

/// A value, or `-` if it is not known, that honours width and alignment.
struct Known<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for Known<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.pad("-"),
        }
    }
}

/// The other end, for people.
struct Peer<'a>(&'a Exchange<'a>);

impl fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0.conn.peer, &self.0.conn.local) {
            (Endpoint::Tcp(address), _) => address.fmt(f),
            (Endpoint::Unix(path), _) if !path.is_empty() => write!(f, "unix:{path}"),
            // Of a Unix socket usually only the listening end has a name.
            (_, Endpoint::Unix(path)) if !path.is_empty() => write!(f, "unix:{path}"),
            _ => f.write_str("unix"),
        }
    }
}

fn status_colour(exchange: &Exchange<'_>) -> Colour {
    if let Some(rpc) = exchange.rpc {
        return match (rpc.status, exchange.error) {
            (Some(0), None) => Colour::Green,
            (Some(_), None) => Colour::Yellow,
            _ => Colour::Red,
        };
    }
    match exchange.status {
        None => Colour::Red,
        Some(500..) => Colour::Red,
        Some(400..) => Colour::Yellow,
        Some(300..) => Colour::Cyan,
        Some(_) => Colour::Green,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
