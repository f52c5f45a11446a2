//! A gateway on the loopback that counts the spans it is sent and forgets them.

use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Largest request taken, bytes.
const MAX_BODY: usize = 64 << 20;

/// A running gateway; it listens until xtask ends.
pub(super) struct Sink {
    /// Where it listens.
    pub(super) address: SocketAddr,
    spans: Arc<AtomicU64>,
}

impl Sink {
    /// Listens for OTLP/HTTP with protobuf bodies.
    pub(super) fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let spans = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&spans);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                thread::spawn(move || {
                    if let Err(error) = serve(&stream, &counter) {
                        eprintln!("sink: {error:#}");
                    }
                });
            }
        });
        Ok(Self { address, spans })
    }

    /// Spans received so far.
    pub(super) fn spans(&self) -> u64 {
        self.spans.load(Ordering::Acquire)
    }
}

fn serve(stream: &TcpStream, spans: &AtomicU64) -> Result<()> {
    let (mut input, mut output) = (BufReader::new(stream), stream);
    let mut body = Vec::new();
    loop {
        let mut length = None;
        // Metrics come to the same address, and are no spans.
        let mut traces = false;
        let mut line = String::new();
        // The head ends with an empty line.
        while line != "\r\n" {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            traces |= line.starts_with("POST /v1/traces ");
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().ok();
            }
        }
        let length = length.filter(|length| *length <= MAX_BODY);
        body.resize(length.context("no length, or too large")?, 0);
        input.read_exact(&mut body)?;
        if traces {
            spans.fetch_add(
                count(&body).context("not a trace request")?,
                Ordering::AcqRel,
            );
        }
        output.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    }
}

/// Spans in an `ExportTraceServiceRequest`: `resource_spans` 1, `scope_spans` 2, `spans` 2.
fn count(request: &[u8]) -> Option<u64> {
    let mut spans = 0;
    for resource in fields(request, 1)? {
        for scope in fields(resource, 2)? {
            spans += fields(scope, 2)?.len() as u64;
        }
    }
    Some(spans)
}

/// The fields of this number in a message that has length-delimited fields only, as those
/// above the spans have.
fn fields(mut message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let length = usize::try_from(varint(&mut message)?).ok()?;
        let (value, rest) = message.split_at_checked(length)?;
        message = rest;
        if tag & 7 != 2 {
            return None;
        }
        if tag >> 3 == number {
            found.push(value);
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let length = value.len() as u8;
        assert!(length < 128);
        [&[number << 3 | 2, length][..], value].concat()
    }

    #[test]
    fn spans_of_all_resources_and_scopes_count() {
        let scope = [
            field(1, b"scope"),
            field(2, b"one"),
            field(2, b""),
            field(3, b"url"),
        ];
        let resource = [field(1, b"r"), field(2, &scope.concat()), field(2, &[])].concat();
        let request = [field(1, &resource), field(1, &resource)].concat();
        assert_eq!(count(&request), Some(4));
        assert_eq!(count(&request[..request.len() - 1]), None);
        assert_eq!(count(b"\x08\x01"), None);
    }
}
