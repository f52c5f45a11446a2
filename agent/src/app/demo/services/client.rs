//! The clients of the demo: a process that makes requests on several connections.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::grpc;
use super::http::{Connection, request};
use super::service::wait_for_go;
use crate::cli::demo::ClientArgs;

/// Connections at a time.
const CONNECTIONS: u64 = 4;
/// Pause between requests of a connection.
const PAUSE: Duration = Duration::from_millis(8);
/// Requests of a connection before it is replaced.
const PER_CONNECTION: u64 = 25;

/// Waits for a byte on standard input, makes requests for a while, and prints how many
/// were answered, and how many calls.
///
/// # Errors
/// A service does not answer.
pub fn run(args: &ClientArgs) -> io::Result<()> {
    std::fs::write("/proc/self/comm", "demo-client")?;
    if !wait_for_go()? {
        return Ok(());
    }
    let end = Instant::now() + args.duration;
    let shop = args.shop;
    let (connecting, connected) = mpsc::channel::<()>();
    let calls = args
        .prices
        .map(|prices| thread::spawn(move || grpc::call(prices, end, connecting)));
    if calls.is_some() {
        // Ends when it is let go of: who looks at the first rows is to see calls among them.
        let _ = connected.recv();
    }
    let threads: Vec<_> = (0..CONNECTIONS)
        .map(|first| thread::spawn(move || browse(shop, first, end)))
        .collect();
    let mut made = 0;
    for thread in threads {
        made += thread
            .join()
            .map_err(|_| io::Error::other("a client thread ended early"))??;
    }
    let called = calls.map_or(Ok(Ok(0)), thread::JoinHandle::join);
    let called = called.map_err(|_| io::Error::other("the calling thread ended early"))??;
    writeln!(io::stdout(), "{made} {called}")
}

/// Makes requests until `end`; returns how many.
fn browse(shop: SocketAddr, first: u64, end: Instant) -> io::Result<u64> {
    let mut made = 0;
    while Instant::now() < end {
        let mut connection = Connection::new(TcpStream::connect(shop)?)?;
        for _ in 0..PER_CONNECTION {
            if Instant::now() >= end {
                break;
            }
            connection.write(&wish(first + made * CONNECTIONS))?;
            connection.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            made += 1;
            thread::sleep(PAUSE);
        }
    }
    Ok(made)
}

/// The request with a given number: mostly items, some orders, now and then something
/// slow, large or missing.
fn wish(number: u64) -> Vec<u8> {
    let number = number / CONNECTIONS + number % CONNECTIONS * 5;
    match number % 20 {
        0 => request("GET", "/", b""),
        1 | 11 => request("GET", "/items", b""),
        4 | 9 | 14 => request("POST", "/orders", b"{\"item\":7,\"count\":1}"),
        7 => request("GET", "/catalogue", b""),
        12 => request("GET", "/search?q=shoes&user=someone", b""),
        16 => request("GET", "/favicon.ico", b""),
        // Items 21 and up are not in stock.
        n => request("GET", &format!("/items/{}", 1 + (number + n) % 22), b""),
    }
}
