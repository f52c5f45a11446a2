//! HTTP/1 heads (RFC 9112, sections 2 to 5), read leniently.
//!
//! The kernel programs have decided what is a message and where its head ends; here
//! the captured bytes are only read. A parser that judges, such as `httparse`, would
//! give up on a head cut off at the capture limit or on one stray byte, and with it
//! on everything before that byte. This one takes what is whole and leaves out the rest.

mod target;

pub use target::Target;

use crate::model::exchange::Protocol;
use memchr::memchr;

/// What the agent wants of a request head. Bytes are as they were sent, except that
/// white space around header values is gone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Request<'a> {
    /// Method; `None` if the capture ended within it.
    pub method: Option<&'a [u8]>,
    /// Request target, possibly cut: see [`Self::line_whole`].
    pub target: Option<&'a [u8]>,
    /// Version, if the request line has one.
    pub version: Option<Protocol>,
    /// Whether the whole request line was captured.
    pub line_whole: bool,
    /// First `Host` header that is not empty.
    pub host: Option<&'a [u8]>,
    /// First `User-Agent` header.
    pub user_agent: Option<&'a [u8]>,
    /// The `traceparent` header; `None` also if there are several, which makes
    /// every one of them suspect (Trace Context, section 3.2).
    pub traceparent: Option<&'a [u8]>,
    /// First `tracestate` header.
    pub tracestate: Option<&'a [u8]>,
    /// Whether more `tracestate` headers follow: see [`tracestates`].
    pub more_tracestate: bool,
}

/// Version and status code of a response head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// HTTP version.
    pub version: Protocol,
    /// Status code, 100 to 999.
    pub code: u16,
}

/// Bytes of a status line that [`Status::parse`] looks at: `HTTP/1.1 200`.
pub const STATUS_BYTES: usize = 12;

impl Status {
    /// Reads the start of a status line (RFC 9112, section 4).
    #[must_use]
    pub fn parse(head: &[u8]) -> Option<Self> {
        let line: &[u8; STATUS_BYTES] = head.first_chunk()?;
        let version = version(&line[..8])?;
        let &[b' ', h @ b'1'..=b'9', t @ b'0'..=b'9', o @ b'0'..=b'9'] = &line[8..] else {
            return None;
        };
        let code = u16::from(h - b'0') * 100 + u16::from(t - b'0') * 10 + u16::from(o - b'0');
        Some(Self { version, code })
    }
}

impl<'a> Request<'a> {
    /// Reads a captured request head, whole or cut off anywhere. A header line that
    /// is cut off is left out, for a cut value would be a wrong one.
    #[must_use]
    pub fn parse(head: &'a [u8]) -> Self {
        let mut request = Self::default();
        let mut rest = skip_empty_lines(head);
        let line = match memchr(b'\n', rest) {
            Some(end) => {
                let line = strip_cr(&rest[..end]);
                rest = &rest[end + 1..];
                request.line_whole = true;
                line
            }
            None => std::mem::take(&mut rest),
        };
        request.line(line);
        let mut traceparents = 0;
        for (name, value) in Headers(rest) {
            match name {
                Name::Host if request.host.is_none() && !value.is_empty() => {
                    request.host = Some(value);
                }
                Name::UserAgent if request.user_agent.is_none() => request.user_agent = Some(value),
                Name::Traceparent => {
                    traceparents += 1;
                    request.traceparent = (traceparents == 1).then_some(value);
                }
                Name::Tracestate if request.tracestate.is_some() => request.more_tracestate = true,
                Name::Tracestate => request.tracestate = Some(value),
                _ => {}
            }
        }
        request
    }

    /// The parts of a request line (RFC 9112, section 3). What lies between the first
    /// space and the version is the target, even if it has spaces itself, as some
    /// clients send and some servers accept.
    fn line(&mut self, line: &'a [u8]) {
        let Some(space) = memchr(b' ', line) else {
            // Without a space after it, a method may be cut off.
            self.method = (self.line_whole && !line.is_empty()).then_some(line);
            return;
        };
        let (method, rest) = (&line[..space], line[space + 1..].trim_ascii());
        self.method = (!method.is_empty()).then_some(method);
        if !self.line_whole {
            // What follows another space may be a part of the target or of the version;
            // what precedes it is the beginning of the target in any case.
            let target = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
            self.target = (!target.is_empty()).then_some(target);
            return;
        }
        // Any version: one that a server refuses is not a part of the target. What lies behind
        // it is not either.
        let begins = |at: &usize| {
            let bytes = &rest[*at..];
            bytes.len() > 6
                && bytes[..6].eq_ignore_ascii_case(b" HTTP/")
                && bytes[6].is_ascii_digit()
        };
        let Some(at) = (0..rest.len()).rev().find(begins) else {
            self.target = (!rest.is_empty()).then_some(rest);
            return;
        };
        self.version = rest[at + 1..]
            .first_chunk::<8>()
            .and_then(|bytes| version(bytes));
        let target = rest[..at].trim_ascii();
        self.target = (!target.is_empty()).then_some(target);
    }
}

/// The values of all `tracestate` headers of a request head, in order.
pub fn tracestates(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let head = skip_empty_lines(head);
    let rest = memchr(b'\n', head).map_or(&[][..], |end| &head[end + 1..]);
    Headers(rest).filter_map(|(name, value)| (name == Name::Tracestate).then_some(value))
}

/// Whether a request head asks for the connection to go on with HTTP/2 (RFC 7540,
/// section 3.2): `Upgrade: h2c`, among other protocols perhaps.
#[must_use]
pub fn asks_for_http2(head: &[u8]) -> bool {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    let values = lines.filter_map(|line| {
        let (name, value) = line.split_at_checked(b"upgrade:".len())?;
        name.eq_ignore_ascii_case(b"upgrade:").then_some(value)
    });
    let mut protocols = values.flat_map(|value| value.split(|&byte| byte == b','));
    protocols.any(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
}

/// The header names that mean something here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Host,
    UserAgent,
    Traceparent,
    Tracestate,
}

impl Name {
    /// The name and what follows its colon. Length and first letter turn most lines
    /// away before any comparison.
    #[inline]
    fn of(line: &[u8]) -> Option<(Self, &[u8])> {
        let (name, len) = match line.first()? | 0x20 {
            b'h' => (Self::Host, 4),
            b'u' => (Self::UserAgent, 10),
            b't' if line.get(10) == Some(&b':') => (Self::Tracestate, 10),
            b't' => (Self::Traceparent, 11),
            _ => return None,
        };
        let expected: &[u8] = match name {
            Self::Host => b"host",
            Self::UserAgent => b"user-agent",
            Self::Traceparent => b"traceparent",
            Self::Tracestate => b"tracestate",
        };
        let (start, value) = line.split_at_checked(len)?;
        let value = value.strip_prefix(b":")?;
        start
            .eq_ignore_ascii_case(expected)
            .then_some((name, value))
    }
}

/// The whole header lines that have a [`Name`], up to the end of the head. Values
/// folded over lines (RFC 9112, section 5.2, obsolete) are left out: their parts
/// would have to be joined, and nobody sends these headers so.
struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (Name, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let end = memchr(b'\n', self.0)?;
            let line = strip_cr(&self.0[..end]);
            self.0 = &self.0[end + 1..];
            if line.is_empty() {
                self.0 = &[];
                return None;
            }
            let Some((name, value)) = Name::of(line) else {
                continue;
            };
            match self.0.first() {
                Some(b' ' | b'\t') => {}
                // Whether the value goes on in the next line is not known.
                None => return None,
                Some(_) => return Some((name, value.trim_ascii())),
            }
        }
    }
}

fn version(bytes: &[u8]) -> Option<Protocol> {
    match bytes {
        b"HTTP/1.0" => Some(Protocol::Http10),
        // A higher minor version is to be treated as the highest known one (RFC 9110, section 2.5).
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1'..=b'9'] => Some(Protocol::Http11),
        _ => None,
    }
}

/// Empty lines before a request line are to be ignored (RFC 9112, section 2.2).
fn skip_empty_lines(head: &[u8]) -> &[u8] {
    let start = head.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    &head[start.unwrap_or(head.len())..]
}

fn strip_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
