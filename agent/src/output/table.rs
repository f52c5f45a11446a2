//! `-o table`: live requests for people, one line each.
//!
//! ```text
//! TIME          SIDE    PROCESS           METHOD  PATH             STATUS  DURATION    SENT    RECV  PEER
//! 03:04:05.123  server  nginx[4242]       GET     /users/7            200    1.23ms    512B      0B  127.0.0.1:51324
//! ```
//!
//! A call of gRPC has `gRPC` for its method, and its gRPC status.
//!
//! Every cell that comes from a traced program goes through [`crate::model::text::escape`].

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use super::screen::{Colour, Screen};
use super::{Report, Why, json};
use crate::capture::ledger::Summary;
use crate::config::query::QueryPolicy;
use crate::model::exchange::{Endpoint, Exchange, Side, Sink};
use crate::model::text::cell::Cell;
use crate::model::text::duration::ShortDuration;
use crate::model::text::size::ShortSize;
use crate::model::text::time::TimeOfDay;

/// The heading comes again after this many lines on a terminal.
const HEADING_EVERY: u32 = 40;
/// Buffered bytes that are written out without waiting for [`Report::flush`].
const WRITE_AT: usize = 64 * 1024;

/// Widths of the cells in columns, in their order on the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Widths {
    process: usize,
    path: usize,
    peer: Width,
}

/// How much of the last cells is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Width {
    /// The terminal is too narrow for sizes and peer.
    None,
    /// Cut to this many columns.
    Columns(usize),
    /// As wide as it gets, for files and pipes; paths are not cut either.
    Any,
}

impl Widths {
    /// Cells of fixed width with the gaps behind them: time, side, method, status,
    /// duration.
    const NARROW: usize = 12 + 6 + 7 + 6 + 8 + 2 * 6;
    /// The same with sent and received.
    const WIDE: usize = Self::NARROW + 7 + 7 + 2 * 3;

    /// Shares out the columns of a terminal; `None` is a file or pipe.
    fn of(columns: Option<usize>) -> Self {
        let Some(columns) = columns else {
            return Self {
                process: 20,
                path: 32,
                peer: Width::Any,
            };
        };
        if columns < Self::WIDE + 34 {
            let free = columns.saturating_sub(Self::NARROW);
            let process = (free / 3).clamp(10, 16);
            let path = free.saturating_sub(process).max(10);
            return Self {
                process,
                path,
                peer: Width::None,
            };
        }
        let free = columns - Self::WIDE;
        let (process, peer) = ((free / 4).clamp(10, 24), (free / 4).clamp(9, 24));
        Self {
            process,
            path: free - process - peer,
            peer: Width::Columns(peer),
        }
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
    widths: Widths,
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
            widths: Widths::of(screen.columns()),
            screen,
            since_heading: 0,
            error: None,
        }
    }

    fn heading(&mut self) {
        let Widths { process, path, .. } = self.widths;
        let dim = self.screen.paint(Colour::Dim);
        let plain = self.screen.plain();
        // Writing to a `Vec` cannot fail, here and below.
        let _ = write!(
            self.lines,
            "{dim}{:<12}  {:<6}  {:<process$}  {:<7}  {:<path$}  {:>6}  {:>8}",
            "TIME", "SIDE", "PROCESS", "METHOD", "PATH", "STATUS", "DURATION",
        );
        if self.widths.peer != Width::None {
            let _ = write!(self.lines, "  {:>7}  {:>7}  PEER", "SENT", "RECV");
        }
        let _ = writeln!(self.lines, "{plain}");
    }

    fn line(&mut self, exchange: &Exchange<'_>) {
        let Widths {
            process,
            path,
            peer,
        } = self.widths;
        let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
        let time = TimeOfDay {
            unix_ns: exchange.start_unix_ns,
            offset: self.screen.utc_offset(),
        };
        let side = json::side(exchange.side);
        let _ = write!(self.lines, "{dim}{time}{plain}  {side:<6}  ");

        self.scratch.clear();
        let pid = exchange.process.tgid;
        let digits = pid.checked_ilog10().unwrap_or(0) as usize + 1;
        let name = Cell::left(
            &exchange.process.service,
            process.saturating_sub(digits + 2),
        );
        let _ = write!(self.scratch, "{}[{pid}]", name.unpadded());
        let _ = write!(self.lines, "{:<process$}  ", self.scratch);

        let method = match exchange.rpc {
            Some(_) => "gRPC",
            None => exchange.method.unwrap_or("-"),
        };
        let _ = write!(self.lines, "{}  ", Cell::left(method, 7));

        self.scratch.clear();
        self.scratch.push_str(exchange.path.unwrap_or("-"));
        if let Some(query) = exchange.query.filter(|_| self.query.shows_any()) {
            self.scratch.push('?');
            self.query
                .each_part(query, |part| self.scratch.push_str(part));
        }
        let cell = match peer {
            Width::Any => Cell::whole(&self.scratch, path),
            _ => Cell::middle(&self.scratch, path),
        };
        let _ = write!(self.lines, "{cell}  ");

        let colour = self.screen.paint(status_colour(exchange));
        let status = Known(match exchange.rpc {
            Some(rpc) => rpc.status,
            None => exchange.status.map(u32::from),
        });
        let duration = ShortDuration(exchange.duration_ns);
        let _ = write!(self.lines, "{colour}{status:>6}{plain}  {duration:>8}");
        self.sizes_and_peer(exchange);
        self.notes(exchange);
        self.lines.push(b'\n');
    }

    fn sizes_and_peer(&mut self, exchange: &Exchange<'_>) {
        let (sent, received) = match exchange.side {
            Side::Server => (exchange.response_body_bytes, exchange.request_body_bytes),
            Side::Client => (exchange.request_body_bytes, exchange.response_body_bytes),
        };
        let (sent, received) = (Known(sent.map(ShortSize)), Known(received.map(ShortSize)));
        self.scratch.clear();
        let _ = write!(self.scratch, "{}", Peer(exchange));
        let peer = match self.widths.peer {
            Width::None => return,
            Width::Columns(width) => Cell::middle(&self.scratch, width),
            Width::Any => Cell::whole(&self.scratch, 0),
        };
        let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
        let peer = peer.unpadded();
        let _ = write!(self.lines, "  {sent:>7}  {received:>7}  {dim}{peer}{plain}");
    }

    /// What went wrong, and what is not known, behind the last cell.
    fn notes(&mut self, exchange: &Exchange<'_>) {
        let plain = self.screen.plain();
        // A status as error is in its own cell already.
        if let Some(error) = exchange
            .error
            .filter(|e| !e.bytes().all(|b| b.is_ascii_digit()))
        {
            let red = self.screen.paint(Colour::Red);
            let error = Cell::whole(error, 0);
            let _ = write!(self.lines, "  {red}error={}{plain}", error.unpadded());
        }
        if !exchange.incomplete.is_empty() {
            let yellow = self.screen.paint(Colour::Yellow);
            let _ = write!(self.lines, "  {yellow}incomplete=");
            for (at, name) in exchange.incomplete.names().enumerate() {
                let _ = write!(self.lines, "{}{name}", if at == 0 { "" } else { "," });
            }
            let _ = write!(self.lines, "{plain}");
        }
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
            self.widths = Widths::of(self.screen.columns());
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
            self.widths = Widths::of(self.screen.columns());
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
        // Names of rules are letters, digits, '-', '_' and '.'.
        let _ = write!(self.lines, "{dim}              {word} by {}", why.by);
        let _ = match why.probability {
            Some(probability) => write!(self.lines, ", probability {probability:.4}"),
            None => write!(self.lines, ", probability unknown"),
        };
        let _ = writeln!(self.lines, "{plain}");
        self.write_out_if_full();
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        let _ = writeln!(self.lines, "{}", super::ledger_line(summary, &self.screen));
        self.flush()
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
