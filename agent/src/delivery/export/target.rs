//! The endpoints of a signal, and which of them takes the next request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::batch::Signal;
use super::body::Parts;
use super::breaker::{Breaker, Entry};
use super::counters::ExportCounters;
use super::file::FileExporter;
use super::grpc::GrpcExporter;
use super::http::HttpExporter;
use super::retry::{Outcome, RetryPolicy, random};

/// How often it is looked whether the one request that tries a gateway has an answer.
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// The way out.
#[derive(Debug)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc(Box<GrpcExporter>),
    /// OTLP/HTTP.
    Http(Box<HttpExporter>),
    /// OTLP JSON lines.
    File(FileExporter),
}

impl Transport {
    pub(super) async fn send(&self, signal: Signal, body: Parts) -> Outcome {
        match self {
            Self::Grpc(exporter) => exporter.send(signal, body).await,
            Self::Http(exporter) => exporter.send(body).await,
            Self::File(exporter) => exporter.send(signal, &body.join()),
        }
    }

    /// Sends a request without spans, to see who answers.
    pub(super) async fn probe(&self) -> Outcome {
        match self {
            Self::Http(exporter) => exporter.probe().await,
            other => other.send(Signal::Traces, Parts::default()).await,
        }
    }
}

/// Where batches of a signal go, and what became of them.
#[derive(Debug)]
pub struct Way {
    /// Which signal it is.
    pub signal: Signal,
    /// How: the first one that can be reached.
    pub targets: Vec<Target>,
    /// Time for one request.
    pub timeout: Option<Duration>,
    /// What became of the items.
    pub counters: Arc<ExportCounters>,
}

impl Way {
    /// Whether it leads to no gateway.
    pub(super) fn ends_in_a_file(&self) -> bool {
        let mut targets = self.targets.iter();
        targets.any(|target| matches!(*target.transport, Transport::File(_)))
    }

    /// The most preferred endpoint that may be called now, else when it is worth asking again;
    /// `None` without endpoints.
    pub(super) fn enter(&self, now: Instant) -> Option<Result<Pass<'_>, Instant>> {
        let mut wait: Option<Instant> = None;
        for target in &self.targets {
            let mut breaker = target.breaker();
            let until = match breaker.enter(now) {
                Entry::Go => {
                    self.counters.target(target.index);
                    self.counters.circuit(target.index, breaker.circuit());
                    return Some(Ok(Pass {
                        way: self,
                        target,
                        known: false,
                    }));
                }
                Entry::Wait(until) => until,
                Entry::Probing => now + PROBE_PAUSE,
            };
            wait = Some(wait.map_or(until, |wait| wait.min(until)));
        }
        wait.map(Err)
    }
}

/// One of several ways out.
#[derive(Debug)]
pub struct Target {
    /// Signals that go into one file share it.
    transport: Arc<Transport>,
    breaker: Mutex<Breaker>,
    index: usize,
    /// For people: without secrets.
    name: String,
}

impl Target {
    /// A way out at a place in the order of preference.
    #[must_use]
    pub fn new(transport: Arc<Transport>, policy: RetryPolicy, index: usize, name: String) -> Self {
        Self {
            transport,
            breaker: Mutex::new(Breaker::new(policy)),
            index,
            name,
        }
    }

    /// How.
    #[must_use]
    pub const fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that may be sent. However it ends, also by being cancelled, the breaker
/// learns of it.
pub(super) struct Pass<'a> {
    way: &'a Way,
    pub(super) target: &'a Target,
    known: bool,
}

impl Pass<'_> {
    /// The gateway answered, be it with a refusal. True if it was away.
    pub(super) fn answered(mut self) -> bool {
        self.known = true;
        let mut breaker = self.target.breaker();
        let was_away = breaker.succeeded();
        self.way
            .counters
            .circuit(self.target.index, breaker.circuit());
        was_away
    }

    /// It did not, or wants to be left alone for some time.
    pub(super) fn failed(mut self, after: Option<Duration>) {
        self.known = true;
        let now = Instant::now();
        let mut breaker = self.target.breaker();
        breaker.failed(now, after.map(|after| now + after), random());
        self.way
            .counters
            .circuit(self.target.index, breaker.circuit());
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.known {
            let mut breaker = self.target.breaker();
            breaker.unknown();
            self.way
                .counters
                .circuit(self.target.index, breaker.circuit());
        }
    }
}
