//! Peers that put chosen bytes on the wire, byte for byte and call for call. They
//! run in the test's own process and are traced like any other.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::JoinHandle;

use super::DEADLINE;
use super::process::listener;

/// A connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    /// Bytes received and not consumed.
    pending: Vec<u8>,
}

/// A response, or the body-less part of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    /// Connects to a local port.
    pub(crate) fn connect(port: u16) -> Self {
        Self::new(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    /// Takes an open connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Sends all bytes, in one call if the socket takes them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends one byte per call.
    pub(crate) fn send_bytewise(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.stream.write_all(std::slice::from_ref(byte)).unwrap();
        }
    }

    /// Receives a head, up to and including its empty line.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.pending.split_off(at + 4);
                let head = std::mem::replace(&mut self.pending, rest);
                return String::from_utf8(head).unwrap();
            }
            assert!(self.fill() > 0, "closed within a head: {:?}", self.pending);
        }
    }

    /// Receives exactly `len` bytes.
    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        while self.pending.len() < len {
            assert!(self.fill() > 0, "closed after {}", self.pending.len());
        }
        let rest = self.pending.split_off(len);
        std::mem::replace(&mut self.pending, rest)
    }

    /// Receives a response with a Content-Length.
    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let len = header(&head, "content-length").map_or(0, |len| len.parse().unwrap());
        let body = self.take(len);
        Answer {
            status: head.split(' ').nth(1).unwrap().trim().parse().unwrap(),
            body,
        }
    }

    /// Receives until the peer closes.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.pending)
    }

    /// As [`Raw::rest`], where the peer may reset the connection.
    pub(crate) fn rest_or_reset(&mut self) {
        let mut buffer = [0; 65536];
        while self.stream.read(&mut buffer).is_ok_and(|len| len > 0) {}
    }

    /// Ends the sending direction.
    pub(crate) fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes with a reset instead of an orderly end.
    pub(crate) fn reset(self) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: the descriptor is open, and the pointer and length are those of a
        // `linger` that outlives the call.
        let result = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap(),
            )
        };
        assert_eq!(result, 0);
    }

    fn fill(&mut self) -> usize {
        let mut buffer = [0; 65536];
        let len = self.stream.read(&mut buffer).unwrap();
        self.pending.extend_from_slice(&buffer[..len]);
        len
    }
}

/// Value of a header field.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A server of one connection whose behaviour is a closure.
pub(crate) struct RawServer {
    pub(crate) port: u16,
    thread: Option<JoinHandle<()>>,
}

impl RawServer {
    /// Listens, and runs `serve` with the first connection.
    pub(crate) fn start(serve: impl FnOnce(Raw) + Send + 'static) -> Self {
        let (port, listener) = listener();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            drop(listener);
            serve(Raw::new(stream));
        });
        Self {
            port,
            thread: Some(thread),
        }
    }

    /// Waits until the connection has been served.
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}
