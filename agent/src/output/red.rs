//! Rate, errors and duration per service and route.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use rustc_hash::FxHasher;

use super::columns::{Columns, GAP};
use super::histogram::{BOUND_PERCENT, Histogram};
use super::json;
use super::screen::{Colour, Screen};
use crate::model::exchange::{Exchange, Side};
use crate::model::text::cell::Cell;
use crate::model::text::duration::ShortDuration;

/// Rows kept; what is beyond them shares one row.
const MAX_ROWS: usize = 256;
/// Rows shown.
const SHOWN: usize = 40;
/// Longest route kept, bytes.
const MAX_ROUTE: usize = 128;

/// Counts requests by service, side, method and route. Where no route is known, the
/// path takes its place, with a `*` for every segment that looks like an id.
#[derive(Debug, Default)]
pub struct Red {
    rows: HashMap<u64, Row, BuildHasherDefault<FxHasher>>,
    others: Option<Row>,
    /// Where routes are put together.
    route: String,
}

#[derive(Debug)]
struct Row {
    service: String,
    side: Side,
    method: String,
    route: String,
    errors: u64,
    durations: Histogram,
}

impl Row {
    fn new(service: &str, side: Side, method: &str, route: &str) -> Self {
        Self {
            service: service.to_owned(),
            side,
            method: method.to_owned(),
            route: route.to_owned(),
            errors: 0,
            durations: Histogram::default(),
        }
    }

    fn is(&self, service: &str, side: Side, method: &str, route: &str) -> bool {
        self.service == service && self.side == side && self.method == method && self.route == route
    }
}

impl Red {
    /// Counts an exchange. Allocates only for a row that is new.
    pub fn record(&mut self, exchange: &Exchange<'_>) {
        let service = exchange.process.service.as_str();
        let side = exchange.side;
        let method = match exchange.rpc {
            Some(_) => "gRPC",
            None => exchange.method.unwrap_or("-"),
        };
        self.route.clear();
        match (exchange.route, exchange.path) {
            (Some(route), _) => self.route.push_str(route),
            (None, Some(path)) => mask(path, &mut self.route),
            (None, None) => self.route.push('-'),
        }
        let row = match self.find(service, side, method) {
            Ok(key) => self.rows.get_mut(&key),
            Err(free) if self.rows.len() < MAX_ROWS => {
                let row = Row::new(service, side, method, &self.route);
                Some(self.rows.entry(free).or_insert(row))
            }
            Err(_) => None,
        };
        let row = row.unwrap_or_else(|| {
            self.others
                .get_or_insert_with(|| Row::new("(others)", side, "", ""))
        });
        row.errors += u64::from(exchange.error.is_some());
        row.durations.record(exchange.duration_ns);
    }

    /// Key of the row, or a key that is free for it.
    fn find(&self, service: &str, side: Side, method: &str) -> Result<u64, u64> {
        let mut hasher = FxHasher::default();
        (service, side, method, &self.route).hash(&mut hasher);
        let mut key = hasher.finish();
        while let Some(row) = self.rows.get(&key) {
            if row.is(service, side, method, &self.route) {
                return Ok(key);
            }
            key = key.wrapping_add(1);
        }
        Err(key)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table, services in order of their names, busiest routes first.
    #[must_use]
    pub fn table(&self, screen: &Screen) -> String {
        let mut rows: Vec<&Row> = self.rows.values().collect();
        rows.sort_by(|a, b| {
            let key = |row: &Row| (u64::MAX - row.durations.count(), row.route.clone());
            (&a.service, json::side(a.side), key(a)).cmp(&(&b.service, json::side(b.side), key(b)))
        });
        let hidden = rows.len().saturating_sub(SHOWN);
        rows.truncate(SHOWN);
        rows.extend(&self.others);
        let (dim, plain) = (screen.paint(Colour::Dim), screen.plain());
        let columns = layout(screen.columns());
        let mut out = String::from(dim);
        let headings = columns.widths.into_iter().zip(HEADINGS).enumerate();
        line(
            headings.filter_map(|(column, (width, heading))| {
                let width = width?;
                Some(match column {
                    SERVICE..=ROUTE => format!("{heading:<width$}"),
                    _ => format!("{heading:>width$}"),
                })
            }),
            &mut out,
        );
        out.push_str(plain);
        out.push('\n');
        let mut bounds = false;
        for row in rows {
            let cells = (0..HEADINGS.len()).filter_map(|column| {
                let width = columns.widths[column]?;
                Some(row.cell(column, width, screen, &mut bounds))
            });
            line(cells, &mut out);
            out.push('\n');
        }
        if hidden > 0 {
            out.push_str(&format!("{dim}and {hidden} more routes{plain}\n"));
        }
        if bounds {
            out.push_str(&format!(
                "{dim}≤ is at most {BOUND_PERCENT:.1} % above the exact duration{plain}\n"
            ));
        }
        out
    }
}

/// The columns, in their order on the line.
const HEADINGS: [&str; 10] = [
    "SERVICE", "SIDE", "METHOD", "ROUTE", "COUNT", "ERRORS", "P50", "P90", "P99", "MAX",
];
const SERVICE: usize = 0;
const SIDE: usize = 1;
const METHOD: usize = 2;
const ROUTE: usize = 3;
const COUNT: usize = 4;
const ERRORS: usize = 5;
const P50: usize = 6;
const P90: usize = 7;
const P99: usize = 8;
const MAX: usize = 9;

/// Least widths.
const LEAST: [usize; 10] = [10, 6, 7, 12, 6, 6, 7, 7, 7, 7];
/// What a narrow terminal does without, the least important first. At last the route alone is left.
const SPARE: [usize; 9] = [P90, MAX, METHOD, P50, SIDE, SERVICE, P99, ERRORS, COUNT];
/// Columns of a file or pipe.
const FILE: usize = 121;

/// Shares out the columns of a terminal; `None` is a file or pipe.
fn layout(room: Option<usize>) -> Columns<10> {
    let room = room.unwrap_or(FILE);
    let mut columns = Columns::fit(room, LEAST, &SPARE, &[(SERVICE, 16)], ROUTE);
    // Routes are seldom longer, and numbers far from their route are hard to read.
    columns.widths[ROUTE] = columns.widths[ROUTE].map(|width| width.min(48));
    columns
}

/// Appends cells with gaps between them.
fn line(cells: impl Iterator<Item = String>, out: &mut String) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.extend([' '; GAP]);
        }
        out.push_str(&cell);
    }
}

impl Row {
    /// One cell. `bounds` is set where a percentile is the bound of a bucket.
    fn cell(&self, column: usize, width: usize, screen: &Screen, bounds: &mut bool) -> String {
        let mut percentile = |percent| {
            let found = self.durations.percentile(percent);
            *bounds |= !found.exact;
            let mark = if found.exact { "" } else { "≤" };
            format!("{:>width$}", format!("{mark}{}", ShortDuration(found.ns)))
        };
        match column {
            SERVICE => Cell::left(&self.service, width).to_string(),
            SIDE => format!("{:<width$}", json::side(self.side)),
            METHOD => Cell::left(&self.method, width).to_string(),
            ROUTE => Cell::middle(&self.route, width).to_string(),
            COUNT => format!("{:>width$}", self.durations.count()),
            ERRORS if self.errors > 0 => {
                let (red, plain) = (screen.paint(Colour::Red), screen.plain());
                format!("{red}{:>width$}{plain}", self.errors)
            }
            ERRORS => format!("{:>width$}", self.errors),
            P50 => percentile(50),
            P90 => percentile(90),
            P99 => percentile(99),
            _ => format!("{:>width$}", ShortDuration(self.durations.max())),
        }
    }
}

/// Appends a path with a `*` for every segment that looks like an id: a number, or at
/// least eight hex digits and dashes with a digit among them.
fn mask(path: &str, out: &mut String) {
    for (at, segment) in path.split('/').enumerate() {
        if at > 0 {
            out.push('/');
        }
        let number = !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit());
        let hex = segment.len() >= 8
            && segment.bytes().any(|b| b.is_ascii_digit())
            && segment.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        out.push_str(if number || hex { "*" } else { segment });
        if out.len() > MAX_ROUTE {
            let end = (0..=MAX_ROUTE)
                .rev()
                .find(|at| out.is_char_boundary(*at))
                .unwrap_or(0);
            out.truncate(end);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{curl, nginx, ok, server_conn, unanswered, v6_conn};

    #[test]
    fn counts_by_service_side_method_and_route() {
        let (nginx, curl, tcp, v6) = (nginx(), curl(), server_conn(), v6_conn());
        let mut red = Red::default();
        assert!(red.is_empty());
        for ms in 1..=100 {
            let mut exchange = ok(&nginx, &tcp);
            exchange.duration_ns = ms * 1_000_000;
            red.record(&exchange);
        }
        let mut exchange = ok(&nginx, &tcp);
        exchange.route = None;
        exchange.path = Some("/items/12/6ba7b810-9dad-11d1-80b4-00c04fd430c8/cafebabe/x");
        exchange.error = Some("500");
        red.record(&exchange);
        red.record(&unanswered(&curl, &v6));
        assert_eq!(
            red.table(&Screen::file()),
            "\
SERVICE           SIDE    METHOD   ROUTE                                COUNT  ERRORS      P50      P90      P99      MAX
curl              client  POST     /upload                                  1       1    30.0s    30.0s    30.0s    30.0s
nginx             server  GET      /users/{id}                            100       0   50.0ms   90.0ms   99.0ms    100ms
nginx             server  GET      /items/*/*/cafebabe/x                    1       1   1.23ms   1.23ms   1.23ms   1.23ms
"
        );
    }

    #[test]
    fn percentiles_that_are_bounds_say_so() {
        let (nginx, tcp) = (nginx(), server_conn());
        let mut red = Red::default();
        for n in 1..=10_000 {
            let mut exchange = ok(&nginx, &tcp);
            exchange.duration_ns = n * 10_000;
            red.record(&exchange);
        }
        let text = red.table(&Screen::file());
        let row = text.lines().nth(1).unwrap();
        assert_eq!(row.matches('≤').count(), 3, "{text}");
        assert!(row.ends_with("  100ms"), "{text}");
        assert!(text.contains("≤ is at most 0.8 % above"), "{text}");
    }

    #[test]
    fn rows_fit_the_terminal() {
        let (nginx, tcp) = (nginx(), server_conn());
        let mut red = Red::default();
        for n in 1..=1_000 {
            let mut exchange = ok(&nginx, &tcp);
            exchange.duration_ns = n * 10_000;
            exchange.route = Some("/a/rather/long/route/{with}/{variables}/and/more");
            red.record(&exchange);
        }
        for columns in (10..=130).chain([160, 200, 300]) {
            let text = red.table(&Screen::terminal(columns, false));
            for line in text.lines().take(2) {
                assert!(line.chars().count() <= columns, "{columns}: {text}");
            }
        }
    }

    #[test]
    fn rows_are_bounded_whatever_the_paths() {
        let (nginx, tcp) = (nginx(), server_conn());
        let mut red = Red::default();
        for n in 0..10_000 {
            let path = format!("/page-{n}/{}", "é".repeat(n % 200));
            let mut exchange = ok(&nginx, &tcp);
            exchange.route = None;
            exchange.path = Some(&path);
            red.record(&exchange);
        }
        assert_eq!(red.rows.len(), MAX_ROWS);
        assert!(red.rows.values().all(|row| row.route.len() <= MAX_ROUTE));
        let counted: u64 = red
            .rows
            .values()
            .chain(&red.others)
            .map(|r| r.durations.count())
            .sum();
        assert_eq!(counted, 10_000);
        let table = red.table(&Screen::terminal(100, false));
        assert!(
            table.contains("(others)") && table.contains("and 216 more routes"),
            "{table}"
        );
    }
}
