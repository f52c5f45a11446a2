//! As much HTTP/1.1 as the demo needs, over plain sockets: keep-alive, fixed-length and
//! chunked bodies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longest line, most header lines, longest body: the peers are our own.
const MAX_LINE: u64 = 4096;
const MAX_HEADERS: usize = 64;
const MAX_BODY: usize = 8 << 20;
/// Nothing in the demo takes this long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A request or response.
#[derive(Debug)]
pub(super) struct Message {
    /// The request line or status line.
    pub(super) start: String,
    /// The body, transfer coding removed.
    pub(super) body: Vec<u8>,
}

/// A connection, of either side.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// The next message; `None` if the peer closed the connection instead.
    pub(super) fn read(&mut self) -> io::Result<Option<Message>> {
        let start = self.line()?;
        if start.is_empty() {
            return Ok(None);
        }
        let (mut length, mut chunked) = (0, false);
        for _ in 0..MAX_HEADERS {
            let line = self.line()?;
            if line.is_empty() {
                let body = if chunked {
                    self.chunks()?
                } else {
                    self.bytes(length)?
                };
                return Ok(Some(Message { start, body }));
            }
            let (name, value) = line.split_once(':').ok_or_else(invalid)?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().map_err(|_| invalid())?,
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        Err(invalid())
    }

    /// Sends bytes as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// A line without its end; empty at the end of the connection.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(MAX_LINE).read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    fn bytes(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(invalid());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    /// RFC 9112, section 7.1, without extensions and trailers.
    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let length = usize::from_str_radix(&line, 16).map_err(|_| invalid())?;
            if body.len() + length > MAX_BODY {
                return Err(invalid());
            }
            body.extend(self.bytes(length)?);
            if !self.line()?.is_empty() {
                return Err(invalid());
            }
            if length == 0 {
                return Ok(body);
            }
        }
    }
}

fn invalid() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed HTTP message")
}

/// A request with a body, in one piece.
pub(super) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: demo\r\nUser-Agent: remora-demo\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A response with a body, in one piece.
pub(super) fn response(status: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "HTTP/1.1 {status} {}\r\nContent-Length: {}\r\n\r\n",
        reason(status),
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The head of a response whose chunks follow.
pub(super) const CHUNKED_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk; an empty one is the last.
pub(super) fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        404 => "Not Found",
        409 => "Conflict",
        _ => "Internal Server Error",
    }
}

/// Status of a status line.
pub(super) fn status(start: &str) -> Option<u16> {
    start.split(' ').nth(1)?.parse().ok()
}
