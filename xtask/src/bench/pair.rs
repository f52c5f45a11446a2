//! Both ends of HTTP/1.1 connections, as cheap as they can be: a thread for each end of
//! each connection, blocking calls, fixed messages, several of them in one call if asked.
//! A general client and server (wrk and nginx make 38,000 requests/s on two cores that the
//! agent shares) spend their time on what is not measured here.

use anyhow::{Context as _, Result, ensure};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const REQUEST: &[u8] =
    b"GET /bench/item/1 HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: xtask\r\nAccept: */*\r\n\r\n";

/// Most requests in one call.
pub(super) const MAX_DEPTH: usize = 16;

/// How long the other end may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Connections at a time.
    pub(super) connections: u32,
    /// Requests that a connection sends in one call, before it waits for all answers.
    pub(super) depth: usize,
    /// Requests per second of all connections together.
    pub(super) rate: f64,
    /// For how long.
    pub(super) duration: Duration,
}

/// What came of it.
#[derive(Default, Debug)]
pub(super) struct Done {
    /// Requests answered: all that were made.
    pub(super) requests: u64,
    /// From the first request to the last answer.
    pub(super) took: Duration,
    /// For each call that sent requests, the time from the moment at which the plan had it
    /// sent to the last byte of the answers: a delay that holds up the requests behind it
    /// counts for each of them (no coordinated omission). Sorted.
    pub(super) latencies: Vec<Duration>,
}

impl Done {
    /// The latency that this part of the calls did not exceed.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * part).round() as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }
}

/// Answers with a body of 200 bytes after waiting for `work`, as for a database. It listens
/// until xtask ends.
pub(super) fn serve(work: Duration) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answers: Arc<[u8]> = response().repeat(MAX_DEPTH).into();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            // Whoever waits for the answer says what is wrong.
            thread::spawn(move || answer(stream, &answers, work));
        }
    });
    Ok(address)
}

fn response() -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n";
    format!("{head}{}", "x".repeat(200)).into_bytes()
}

fn answer(mut stream: TcpStream, answers: &[u8], work: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut waiting = [0; REQUEST.len() * MAX_DEPTH];
    let mut have = 0;
    loop {
        let read = stream.read(&mut waiting[have..])?;
        if read == 0 {
            return Ok(());
        }
        have += read;
        let whole = have - have % REQUEST.len();
        let requests = waiting[..whole].chunks_exact(REQUEST.len());
        let count = requests.len();
        for request in requests {
            if request != REQUEST {
                return Err(io::Error::other("not the request that was agreed on"));
            }
        }
        waiting.copy_within(whole..have, 0);
        have -= whole;
        if count > 0 {
            if !work.is_zero() {
                thread::sleep(work);
            }
            stream.write_all(&answers[..answers.len() / MAX_DEPTH * count])?;
        }
    }
}

/// Makes requests at the times the plan says, late ones at once.
///
/// # Errors
/// A connection that fails, or an answer that is not the agreed one.
pub(super) fn ask(address: SocketAddr, plan: &Plan) -> Result<Done> {
    ensure!(
        (1..=MAX_DEPTH).contains(&plan.depth) && plan.connections > 0 && plan.rate > 0.0,
        "no connections, no rate, or not 1 to {MAX_DEPTH} requests in one call"
    );
    let streams: Vec<TcpStream> = (0..plan.connections)
        .map(|_| connect(address))
        .collect::<Result<_>>()?;
    let interval = f64::from(plan.connections) * plan.depth as f64 / plan.rate;
    let begin = Instant::now() + Duration::from_millis(50);
    let mut done = Done::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.connections)
            .zip(streams)
            .map(|(number, stream)| {
                let first = interval * f64::from(number) / f64::from(plan.connections);
                let due = move |call: u32| begin + seconds(first + interval * f64::from(call));
                scope.spawn(move || connection(stream, plan, due, begin + plan.duration))
            })
            .collect();
        for thread in threads {
            let latencies = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            done.latencies.extend(latencies.context("a client failed")?);
        }
        anyhow::Ok(())
    })?;
    done.took = begin.elapsed();
    done.requests = (done.latencies.len() * plan.depth) as u64;
    done.latencies.sort_unstable();
    Ok(done)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn connection(
    mut stream: TcpStream,
    plan: &Plan,
    due: impl Fn(u32) -> Instant,
    end: Instant,
) -> io::Result<Vec<Duration>> {
    let requests = REQUEST.repeat(plan.depth);
    let expected = response().repeat(plan.depth);
    let mut answers = vec![0; expected.len()];
    let mut latencies = Vec::new();
    for call in 0.. {
        let due = due(call);
        if due >= end {
            break;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&requests)?;
        stream.read_exact(&mut answers)?;
        latencies.push(due.elapsed());
        if answers != expected {
            return Err(io::Error::other("not the answer that was agreed on"));
        }
    }
    Ok(latencies)
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_answered_and_a_slow_answer_delays_those_behind_it() {
        let address = serve(Duration::from_millis(20)).unwrap();
        let plan = Plan {
            connections: 2,
            depth: 3,
            rate: 600.0,
            duration: Duration::from_millis(300),
        };
        let done = ask(address, &plan).unwrap();
        // One call every 10 ms on each connection, of which each takes at least 20 ms.
        assert_eq!(done.requests, 2 * 3 * 30);
        assert!(done.quantile(0.0) >= Duration::from_millis(20));
        assert!(done.quantile(1.0) >= Duration::from_millis(300), "{done:?}");
    }
}
