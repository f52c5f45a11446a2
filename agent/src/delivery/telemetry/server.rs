//! `/healthz`, `/readyz` and `/metrics` over HTTP/1.1, for probes and scrapers.
//!
//! Written by hand: three fixed answers to GET do not need a web framework, and every
//! bound is in sight. One request a connection, a few connections at a time, little time
//! for each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::metrics::SelfMetrics;
use super::openmetrics;
use crate::deciding::metrics::prometheus::Format;

/// Connections at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 16;
/// Time for a connection.
const CONNECTION_TIME: Duration = Duration::from_secs(5);
/// Bytes of a request that are read.
const MAX_REQUEST_BYTES: usize = 8 << 10;

/// What the server asks the agent.
pub trait Status: Send + Sync + 'static {
    /// Whether requests are being captured.
    ///
    /// # Errors
    /// Why not.
    fn ready(&self) -> Result<(), String>;

    /// The numbers of this moment, those of requests in a format.
    fn metrics(&self, format: Format) -> SelfMetrics;
}

/// A running server; ends with the value.
#[derive(Debug)]
pub struct TelemetryServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TelemetryServer {
    /// Listens on `address`, in a thread of its own.
    ///
    /// # Errors
    /// If the address cannot be bound, or the thread cannot be started.
    pub fn start(address: SocketAddr, status: Arc<dyn Status>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("remora-listen".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(listener, status) => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where it listens: the port the kernel chose, if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TelemetryServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the telemetry server panicked");
        }
    }
}

async fn serve(listener: TcpListener, status: Arc<dyn Status>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Never closed, so an error cannot be.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let status = Arc::clone(&status);
                tokio::spawn(async move {
                    // Whoever is too slow, or gone, gets nothing.
                    let _ = timeout(CONNECTION_TIME, connection(stream, &*status)).await;
                    drop(slot);
                });
            }
            // Out of descriptors, or the peer is gone: the next one may do.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(mut stream: TcpStream, status: &dyn Status) -> io::Result<()> {
    let mut request = Vec::with_capacity(1024);
    let head_end = loop {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await?;
        request.extend_from_slice(chunk.get(..read).unwrap_or_default());
        if request.windows(4).any(|end| end == b"\r\n\r\n") {
            break true;
        }
        if read == 0 || request.len() > MAX_REQUEST_BYTES {
            break false;
        }
    };
    let response = if head_end {
        answer(&request, status)
    } else {
        plain("400 Bad Request", "bad request\n")
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection before the answer is read.
    let mut rest = [0; 1024];
    let mut drained = 0;
    while drained < MAX_REQUEST_BYTES {
        match stream.read(&mut rest).await? {
            0 => break,
            read => drained += read,
        }
    }
    Ok(())
}

fn answer(request: &[u8], status: &dyn Status) -> String {
    // The request line is nearly all that matters (RFC 9112, section 3).
    let line = request
        .split(|byte| *byte == b'\r')
        .next()
        .unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return plain("400 Bad Request", "bad request\n");
    };
    if !version.starts_with("HTTP/1.") {
        return plain("400 Bad Request", "bad request\n");
    }
    let head_only = match method {
        "GET" => false,
        "HEAD" => true,
        _ => {
            return plain(
                "405 Method Not Allowed\r\nAllow: GET, HEAD",
                "only GET and HEAD\n",
            );
        }
    };
    let response = match target.split('?').next().unwrap_or_default() {
        "/healthz" => plain("200 OK", "ok\n"),
        "/readyz" => match status.ready() {
            Ok(()) => plain("200 OK", "ready\n"),
            Err(reason) => plain("503 Service Unavailable", &format!("{reason}\n")),
        },
        "/metrics" => {
            let (kind, body) = if openmetrics::is_preferred(&accept(request)) {
                let text = status.metrics(Format::OpenMetrics).render();
                (openmetrics::CONTENT_TYPE, openmetrics::from_text(&text))
            } else {
                let text = status.metrics(Format::Text).render();
                ("text/plain; version=0.0.4; charset=utf-8", text)
            };
            response("200 OK\r\nVary: Accept", kind, &body)
        }
        _ => plain("404 Not Found", "try /healthz, /readyz or /metrics\n"),
    };
    match response.find("\r\n\r\n") {
        Some(end) if head_only => response.get(..end + 4).unwrap_or_default().to_owned(),
        _ => response,
    }
}

/// The values of all `Accept` headers, as one list.
fn accept(request: &[u8]) -> String {
    let head = String::from_utf8_lossy(request);
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let values = fields.filter(|(name, _)| name.eq_ignore_ascii_case("accept"));
    values
        .map(|(_, value)| value.trim())
        .collect::<Vec<_>>()
        .join(",")
}

fn plain(status: &str, body: &str) -> String {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}"
    )
}
