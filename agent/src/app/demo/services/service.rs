//! The services of the demo: a shop that asks a stock, and prices.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::grpc;
use super::http::{CHUNKED_HEAD, Connection, Message, chunk, request, response, status};
use crate::cli::demo::{Service, ServiceArgs};

/// Bytes of the large response.
const CATALOGUE: usize = 1 << 20;
/// Ids that the stock knows.
const KNOWN: std::ops::RangeInclusive<u32> = 1..=20;

/// What a service did, for the ledger to be checked against.
#[derive(Debug, Default)]
struct Done {
    served: AtomicU64,
    asked: AtomicU64,
}

/// Serves on the loopback address until standard input ends. Prints the address first,
/// and in the end how many requests were served and made.
///
/// # Errors
/// The port is taken, or standard output is gone.
pub fn run(args: &ServiceArgs) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))?;
    // Threads take the name over from the process; `ps` and Remora show it.
    let name = match args.service {
        Service::Shop => "demo-shop",
        Service::Stock => "demo-stock",
        Service::Prices => "demo-prices",
    };
    std::fs::write("/proc/self/comm", name)?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?)?;
    out.flush()?;
    let done = Arc::new(Done::default());
    let for_connections = Arc::clone(&done);
    let (service, stock) = (args.service, args.stock);
    if service == Service::Prices {
        let served = Arc::new(AtomicU64::new(0));
        grpc::serve(listener, Arc::clone(&served))?;
        io::copy(&mut io::stdin(), &mut io::sink())?;
        return writeln!(out, "{} 0", served.load(Ordering::SeqCst));
    }
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let done = Arc::clone(&for_connections);
            // A connection that fails is the client's business: it counts answers.
            thread::spawn(move || drop(converse(stream, service, stock, &done)));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let (served, asked) = (&done.served, &done.asked);
    writeln!(
        out,
        "{} {}",
        served.load(Ordering::SeqCst),
        asked.load(Ordering::SeqCst)
    )?;
    out.flush()
}

/// Answers the requests of a connection.
fn converse(
    stream: TcpStream,
    service: Service,
    stock: Option<SocketAddr>,
    done: &Done,
) -> io::Result<()> {
    let mut client = Connection::new(stream)?;
    let mut upstream = match stock {
        Some(address) => Some(Connection::new(TcpStream::connect(address)?)?),
        None => None,
    };
    while let Some(message) = client.read()? {
        done.served.fetch_add(1, Ordering::SeqCst);
        let mut words = message.start.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        match (service, &mut upstream) {
            (Service::Shop, Some(stock)) => {
                shop(method, path, &message, &mut client, stock, done)?;
            }
            _ => client.write(&stocked(method, path))?,
        }
    }
    Ok(())
}

fn shop(
    method: &str,
    path: &str,
    message: &Message,
    client: &mut Connection,
    stock: &mut Connection,
    done: &Done,
) -> io::Result<()> {
    let mut ask = |method: &str, path: &str, body: &[u8]| -> io::Result<Message> {
        stock.write(&request(method, path, body))?;
        let answer = stock.read()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        done.asked.fetch_add(1, Ordering::SeqCst);
        Ok(answer)
    };
    match (method, path) {
        ("GET", "/") => client.write(&response(200, b"<h1>Shop</h1>")),
        ("GET", "/items") => {
            client.write(CHUNKED_HEAD)?;
            for id in KNOWN {
                client.write(&chunk(&format!("{{\"item\":{id}}}\n")))?;
            }
            client.write(&chunk(""))
        }
        ("GET", "/catalogue") => client.write(&response(200, &vec![b'x'; CATALOGUE])),
        ("GET", search) if search.starts_with("/search?") => {
            thread::sleep(Duration::from_millis(120));
            client.write(&response(200, b"[]"))
        }
        ("POST", "/orders") => {
            let answer = ask("POST", "/reservations", &message.body)?;
            let accepted = status(&answer.start) == Some(200);
            // The mistake that someone looks for: a conflict becomes a failure.
            client.write(&response(if accepted { 201 } else { 500 }, &answer.body))
        }
        ("GET", item) if item.starts_with("/items/") => {
            let answer = ask("GET", &item.replace("/items/", "/stock/"), b"")?;
            client.write(&response(
                status(&answer.start).unwrap_or(500),
                &answer.body,
            ))
        }
        _ => client.write(&response(404, b"not found")),
    }
}

fn stocked(method: &str, path: &str) -> Vec<u8> {
    // Every fifth reservation finds nothing left.
    static RESERVATIONS: AtomicU64 = AtomicU64::new(0);
    let known = |id: &str| id.parse().is_ok_and(|id| KNOWN.contains(&id));
    match (method, path.strip_prefix("/stock/")) {
        ("GET", Some(id)) if known(id) => response(200, b"{\"left\":7}"),
        ("POST", None) if path == "/reservations" => {
            thread::sleep(Duration::from_millis(4));
            if RESERVATIONS.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
                response(409, b"{\"left\":0}")
            } else {
                response(200, b"{\"left\":6}")
            }
        }
        _ => response(404, b"unknown"),
    }
}

/// Reads standard input until something comes; false if it ends instead.
pub(super) fn wait_for_go() -> io::Result<bool> {
    Ok(io::stdin().read(&mut [0])? > 0)
}
