//! `-o json`: one object a line.
//!
//! Keys and their order are fixed (`remora schema request`); what is not known is
//! `null`. A line is put together in a buffer that is used again for the next one, so
//! nothing is allocated once it has grown to the longest line.

use std::io::{self, Write};
use std::net::SocketAddr;

use super::{Report, Why, losses};
use crate::capture::ledger::Summary;
use crate::config::query::QueryPolicy;
use crate::model::exchange::{Endpoint, Exchange, Protocol, Side, Sink};
use crate::model::text::time::Rfc3339;

/// Buffered bytes that are written out without waiting for [`Report::flush`].
const WRITE_AT: usize = 64 * 1024;

/// Writes JSON lines.
#[derive(Debug)]
pub struct JsonLines<W> {
    out: W,
    lines: Vec<u8>,
    query: QueryPolicy,
    error: Option<io::Error>,
}

impl<W: Write> JsonLines<W> {
    /// Lines go to `out`, in whole.
    pub fn new(out: W, query: QueryPolicy) -> Self {
        Self {
            out,
            lines: Vec::with_capacity(WRITE_AT + 4096),
            query,
            error: None,
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

impl<W: Write> Sink for JsonLines<W> {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        request(&mut self.lines, exchange, &self.query);
        if self.lines.len() >= WRITE_AT {
            self.write_out();
        }
    }
}

impl<W: Write> Report for JsonLines<W> {
    fn flush(&mut self) -> io::Result<()> {
        if !self.lines.is_empty() {
            self.write_out();
        }
        self.error.take().map_or(Ok(()), Err)
    }

    fn note(&mut self, _: &str) -> io::Result<()> {
        self.flush()
    }

    fn explained(&mut self, exchange: &Exchange<'_>, why: &Why<'_>) {
        request(&mut self.lines, exchange, &self.query);
        sampling(&mut self.lines, why);
        if self.lines.len() >= WRITE_AT {
            self.write_out();
        }
    }

    fn finish(&mut self, totals: &Summary) -> io::Result<()> {
        summary(&mut self.lines, totals);
        self.flush()
    }
}

/// `,"name":`, in one piece so that it is copied at once. Names need no escapes.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}

/// Appends the line of an exchange.
pub fn request(out: &mut Vec<u8>, exchange: &Exchange<'_>, query: &QueryPolicy) {
    let process = exchange.process;
    let trace = &exchange.trace;
    out.extend_from_slice(b"{\"kind\":\"request\",\"start\":\"");
    out.extend_from_slice(&Rfc3339(exchange.start_unix_ns).bytes());
    out.push(b'"');
    number(out, key!("duration_ns"), Some(exchange.duration_ns));
    number(out, key!("ttfb_ns"), exchange.ttfb_ns);
    string(out, key!("side"), Some(side(exchange.side)));
    string(out, key!("protocol"), Some(protocol(exchange.protocol)));
    string(out, key!("method"), exchange.method);
    string(out, key!("path"), exchange.path);
    out.extend_from_slice(key!("query"));
    match exchange.query.filter(|_| query.shows_any()) {
        Some(text) => {
            out.push(b'"');
            query.each_part(text, |part| escaped(out, part));
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    string(out, key!("route"), exchange.route);
    number(out, key!("status"), exchange.status.map(u64::from));
    // Empty if the path is not known.
    let rpc_method = (exchange.rpc.map(|rpc| rpc.method)).filter(|method| !method.is_empty());
    string(out, key!("rpc_method"), rpc_method);
    let grpc_status = exchange.rpc.and_then(|rpc| rpc.status);
    number(out, key!("grpc_status"), grpc_status.map(u64::from));
    number(out, key!("request_body_bytes"), exchange.request_body_bytes);
    number(
        out,
        key!("response_body_bytes"),
        exchange.response_body_bytes,
    );
    number(out, key!("pid"), Some(process.tgid.into()));
    number(out, key!("tid"), Some(exchange.tid.into()));
    string(out, key!("comm"), Some(&process.comm));
    string(out, key!("service"), Some(&process.service));
    string(out, key!("container_id"), process.container_id.as_deref());
    let conn = exchange.conn;
    let unix = matches!(conn.local, Endpoint::Unix(_));
    string(
        out,
        key!("network"),
        Some(if unix { "unix" } else { "tcp" }),
    );
    endpoint(out, key!("local"), &conn.local);
    endpoint(out, key!("peer"), &conn.peer);
    hex(out, key!("trace_id"), Some(&trace.trace_id));
    hex(out, key!("span_id"), Some(&trace.span_id));
    hex(out, key!("parent_span_id"), trace.parent_span_id.as_ref());
    string(out, key!("user_agent"), exchange.user_agent);
    string(out, key!("error"), exchange.error);
    out.extend_from_slice(b",\"incomplete\":[");
    for (at, name) in exchange.incomplete.names().enumerate() {
        out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
        out.extend_from_slice(name.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"]}\n");
}

/// Adds the key `sampling` to the line that was appended last.
pub fn sampling(out: &mut Vec<u8>, why: &Why<'_>) {
    out.truncate(out.len().saturating_sub(2));
    out.extend_from_slice(b",\"sampling\":{\"kept\":");
    out.extend_from_slice(if why.kept { b"true" } else { b"false" });
    string(out, key!("by"), Some(why.by));
    out.extend_from_slice(key!("probability"));
    match why.probability {
        // Writing to a `Vec` cannot fail.
        Some(probability) => drop(write!(out, "{probability}")),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b"}}\n");
}

/// Appends the last line.
pub fn summary(out: &mut Vec<u8>, totals: &Summary) {
    out.extend_from_slice(b"{\"kind\":\"summary\"");
    number(out, key!("seen"), Some(totals.seen));
    number(out, key!("emitted"), Some(totals.emitted));
    number(out, key!("filtered"), Some(totals.filtered));
    out.extend_from_slice(b",\"lost\":{");
    for (at, (name, value)) in losses(&totals.lost).into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        quoted(out, name);
        out.push(b':');
        decimal(out, value);
    }
    out.extend_from_slice(b"}}\n");
}

/// Name of a side in all output.
#[must_use]
pub const fn side(side: Side) -> &'static str {
    match side {
        Side::Server => "server",
        Side::Client => "client",
    }
}

const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http10 => "http/1.0",
        Protocol::Http11 => "http/1.1",
        Protocol::Http2 => "http/2",
        Protocol::Grpc => "grpc",
    }
}

#[inline]
fn string(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => quoted(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

#[inline]
fn number(out: &mut Vec<u8>, key: &[u8], value: Option<u64>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => decimal(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn decimal(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[inline]
fn hex<const N: usize>(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8; N]>) {
    out.extend_from_slice(key);
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    // Without a table, so that many digits are made in one instruction.
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let digits = value.map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    out.push(b'"');
    out.extend_from_slice(digits.as_flattened());
    out.push(b'"');
}

fn endpoint(out: &mut Vec<u8>, key: &[u8], end: &Endpoint) {
    match end {
        // What nearly all are, and what `fmt` takes a tenth of the whole line for.
        Endpoint::Tcp(SocketAddr::V4(address)) => {
            out.extend_from_slice(key);
            for (at, byte) in address.ip().octets().into_iter().enumerate() {
                out.push(if at == 0 { b'"' } else { b'.' });
                decimal(out, byte.into());
            }
            out.push(b':');
            decimal(out, address.port().into());
            out.push(b'"');
        }
        Endpoint::Tcp(address) => {
            out.extend_from_slice(key);
            // Writing to a `Vec` cannot fail, and addresses need no escapes.
            let _ = write!(out, "\"{address}\"");
        }
        Endpoint::Unix(path) => string(out, key, Some(path.as_str()).filter(|p| !p.is_empty())),
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends the inside of a JSON string (RFC 8259, section 7). Runs of characters that
/// need no escape are copied as they are. DEL and the C1 controls are escaped as
/// well: lines end up on terminals.
fn escaped(out: &mut Vec<u8>, text: &str) {
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    // Without an end in between, so that many bytes are looked at in one instruction.
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    let mut copied = 0;
    for (at, c) in text.char_indices() {
        let short = match c {
            '"' => b'"',
            '\\' => b'\\',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            c if c.is_control() => 0,
            _ => continue,
        };
        out.extend_from_slice(&text.as_bytes()[copied..at]);
        copied = at + c.len_utf8();
        out.push(b'\\');
        if short == 0 {
            let _ = write!(out, "u{:04x}", u32::from(c));
        } else {
            out.push(short);
        }
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
