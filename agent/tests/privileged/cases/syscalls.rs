//! Every system call that moves bytes, on both sides, with buffers cut in the worst
//! places.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use crate::harness::process::run;
use crate::harness::raw::Raw;
use crate::harness::require_privilege;
use crate::harness::tools;
use crate::harness::trace::Trace;
use crate::servers::Server;
use crate::servers::nginx::Nginx;

const PROGRAM: &str = include_str!("../programs/calls.py");

/// Requests for each pair of calls.
const COUNT: usize = 3;

/// A server with these calls and a client with those.
fn check(pairs: &[[&str; 4]]) {
    let servers: Vec<_> = pairs
        .iter()
        .map(|[send, receive, ..]| {
            Server::start(|port, dir| {
                let script = dir.join("calls.py");
                std::fs::write(&script, PROGRAM).unwrap();
                let mut python = Command::new(tools::python());
                python
                    .arg(script)
                    .args(["serve", &port.to_string(), send, receive]);
                python
            })
        })
        .collect();
    let ports: Vec<u16> = servers.iter().map(|server| server.port).collect();
    let trace = Trace::start(&[]);
    for (server, [.., send, receive]) in servers.iter().zip(pairs) {
        run(Command::new(tools::python())
            .arg(server.dir.path().join("calls.py"))
            .args(["ask", &server.port.to_string(), send, receive])
            .arg(COUNT.to_string()));
    }
    let spans = 2 * COUNT * pairs.len();
    let report = trace.collect_all(&ports, spans).lossless();
    for (port, pair) in ports.iter().zip(pairs) {
        let [.., send, receive] = pair;
        eprintln!("{pair:?}");
        let (at_server, at_client) = report.both(*port, COUNT);
        for spans in [at_server, at_client] {
            for (number, span) in spans.iter().enumerate() {
                let path = format!("/{send}/{receive}/{number}");
                assert_eq!(
                    span.facts(),
                    ("POST", path.as_str(), 200, 3000, 5000),
                    "{pair:?}"
                );
                assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
            }
        }
    }
}

#[test]
fn plain_calls() {
    require_privilege!();
    check(&[
        ["write", "read", "write", "read"],
        ["send", "recv", "send", "recv"],
        ["write", "recv", "send", "read"],
    ]);
}

#[test]
fn vectors() {
    require_privilege!();
    check(&[
        ["writev", "readv", "writev", "readv"],
        ["writev", "read", "send", "readv"],
        ["write", "readv", "writev", "recv"],
    ]);
}

#[test]
fn messages() {
    require_privilege!();
    check(&[
        ["sendmsg", "recvmsg", "sendmsg", "recvmsg"],
        ["sendmmsg", "recvmmsg", "sendmmsg", "recvmmsg"],
        ["sendmsg", "recvmmsg", "sendmmsg", "recvmsg"],
    ]);
}

#[test]
fn bodies_from_files_and_pipes() {
    require_privilege!();
    check(&[
        ["sendfile", "recv", "sendfile", "recv"],
        ["splice", "recv", "splice", "recv"],
    ]);
}

#[test]
fn peeking() {
    require_privilege!();
    check(&[
        ["send", "peek", "send", "peek"],
        ["sendmsg", "peek", "writev", "peek"],
    ]);
}

#[test]
fn partial_writes() {
    require_privilege!();
    check(&[["nonblocking", "recv", "nonblocking", "recv"]]);
}

/// Bytes in memory that this process has never touched: a file, mapped anew. The kernel
/// programs cannot read it when a call enters.
struct Untouched {
    at: *mut libc::c_void,
    len: usize,
}

impl Untouched {
    fn new(bytes: &[u8]) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes.len(),
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        let len = bytes.len();
        Self { at, len }
    }

    /// Sends it by the named call.
    fn send(&self, by: &str, to: &TcpStream) {
        let fd = to.as_raw_fd();
        let mut vector = libc::iovec {
            iov_base: self.at,
            iov_len: self.len,
        };
        // SAFETY: all zeros is a message without anything.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut vector;
        message.msg_hdr.msg_iovlen = 1;
        // SAFETY: every pointer is to what lives until the call returns, and of that length.
        let sent = unsafe {
            match by {
                "write" => libc::write(fd, self.at, self.len),
                "sendto" => libc::send(fd, self.at, self.len, 0),
                "writev" => libc::writev(fd, &raw const vector, 1),
                "sendmsg" => libc::sendmsg(fd, &raw const message.msg_hdr, 0),
                "sendmmsg" => {
                    assert_eq!(libc::sendmmsg(fd, &raw mut message, 1, 0), 1);
                    message.msg_len as isize
                }
                other => panic!("{other}"),
            }
        };
        assert_eq!(sent, isize::try_from(self.len).unwrap(), "{by}");
    }
}

impl Drop for Untouched {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nothing else refers to.
        unsafe { libc::munmap(self.at, self.len) };
    }
}

#[test]
fn memory_that_nobody_has_touched() {
    const CALLS: [&str; 5] = ["write", "sendto", "writev", "sendmsg", "sendmmsg"];
    require_privilege!();
    let nginx = Nginx::start();
    let trace = Trace::start(&[]);
    for by in CALLS {
        let stream = TcpStream::connect(("127.0.0.1", nginx.port())).unwrap();
        let mut client = Raw::new(stream);
        // The first request decides whether the connection is followed.
        for number in 0..2 {
            let head = format!("GET /hello/{by}-{number} HTTP/1.1\r\nHost: x\r\n\r\n");
            Untouched::new(head.as_bytes()).send(by, &client.stream);
            assert_eq!(client.answer().status, 200);
        }
    }
    let report = trace.collect(nginx.port(), 4 * CALLS.len()).lossless();
    let (at_server, at_client) = report.both(nginx.port(), 2 * CALLS.len());
    for spans in [at_server, at_client] {
        for (number, span) in spans.iter().enumerate() {
            let path = format!("/hello/{}-{}", CALLS[number / 2], number % 2);
            assert_eq!(span.facts(), ("GET", path.as_str(), 200, 0, 6));
            assert_eq!((&span.error, span.incomplete.len()), (&None, 0), "{span:?}");
            assert!(span.duration_ns > 0);
        }
    }
}
