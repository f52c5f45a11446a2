//! Bringing batches to the gateway: waiting, repeating, splitting, giving up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::batch::{Batch, Signal};
use super::breaker::{Breaker, Circuit, Entry};
use super::counters::{DropReason, ExportCounters};
use super::file::FileExporter;
use super::grpc::GrpcExporter;
use super::http::HttpExporter;
use super::retry::{Backoff, Outcome, RetryPolicy, random};
use super::split::split;
use crate::queue::{self, Queue, Taken};

/// Longest pause between attempts once the agent is about to end.
const DRAIN_PAUSE: Duration = Duration::from_millis(250);

/// How often it is looked whether the one request that tries a gateway has an answer.
const PROBE_PAUSE: Duration = Duration::from_millis(20);

/// A gateway that asks for a longer pause is called again after this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The log says the same thing at most this often.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

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
    pub(super) async fn send(&self, signal: Signal, body: Bytes) -> Outcome {
        match self {
            Self::Grpc(exporter) => exporter.send(signal, body).await,
            Self::Http(exporter) => exporter.send(body).await,
            Self::File(exporter) => exporter.send(signal, &body),
        }
    }

    /// Sends a request without spans, to see who answers.
    pub(super) async fn probe(&self) -> Outcome {
        match self {
            Self::Http(exporter) => exporter.probe().await,
            other => other.send(Signal::Traces, Bytes::new()).await,
        }
    }
}

/// Where batches of a signal go, and what became of them.
#[derive(Debug)]
pub struct Way {
    /// How: the first one that can be reached.
    pub targets: Vec<Target>,
    /// Time for one request.
    pub timeout: Option<Duration>,
    /// What became of the items.
    pub counters: Arc<ExportCounters>,
}

/// How long there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No end in sight.
    Running,
    /// Whatever is not delivered by then is lost.
    Draining(Instant),
}

/// What all workers share.
#[derive(Debug)]
pub struct Delivery {
    /// Where batches come from.
    pub queue: Arc<dyn Queue>,
    /// Where they go.
    pub way: Way,
    /// Signals that have a way of their own.
    pub others: Vec<(Signal, Way)>,
    /// When to try again.
    pub policy: RetryPolicy,
    /// Whether the agent is about to end.
    pub phase: watch::Receiver<Phase>,
    /// What was said and when.
    pub state: Mutex<State>,
}

/// One of several ways out.
#[derive(Debug)]
pub struct Target {
    /// Signals that go into one file share it.
    transport: Arc<Transport>,
    breaker: Mutex<Breaker>,
    index: usize,
}

impl Target {
    /// A way out at a place in the order of preference.
    #[must_use]
    pub fn new(transport: Arc<Transport>, policy: RetryPolicy, index: usize) -> Self {
        Self {
            transport,
            breaker: Mutex::new(Breaker::new(policy)),
            index,
        }
    }

    /// How.
    #[must_use]
    pub const fn transport(&self) -> &Arc<Transport> {
        &self.transport
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that may be sent. However it ends, also by being cancelled, the breaker
/// learns of it.
struct Pass<'a> {
    target: &'a Target,
    known: bool,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.known {
            self.target.breaker().unknown();
        }
    }
}

/// What workers tell each other.
#[derive(Debug, Default)]
pub struct State {
    last_log: Option<Instant>,
}

impl Delivery {
    /// Delivers batches until the queue is closed and empty.
    pub async fn work(self: Arc<Self>) {
        while let Some(taken) = queue::next(&*self.queue).await {
            self.deliver(taken).await;
        }
    }

    async fn deliver(&self, taken: Taken) {
        let mut pieces = vec![taken.batch.clone()];
        let mut loan = Loan::new(self, taken);
        let first = Instant::now();
        while let Some(piece) = pieces.pop() {
            match self.send(&piece, first).await {
                End::Delivered { rejected } => loan.delivered(&piece, rejected),
                // What is open goes back to the queue, which may be able to keep it.
                End::Ending => return,
                End::GivenUp(reason) => loan.given_up(&piece, reason),
                End::TooLarge => match split(&piece) {
                    Some([first_half, second_half]) => pieces.extend([second_half, first_half]),
                    None => loan.given_up(&piece, DropReason::Rejected),
                },
            }
        }
    }

    /// Sends a piece until something is final.
    async fn send(&self, piece: &Batch, first: Instant) -> End {
        let mut backoff = Backoff::new(&self.policy);
        let mut repeated = false;
        loop {
            let way = self.way(piece.signal);
            let Some(mut pass) = self.gate(way).await else {
                return End::Ending;
            };
            way.counters.request(repeated);
            repeated = true;
            let outcome = self.attempt(way, pass.target, piece).await;
            pass.known = true;
            if !matches!(outcome, Outcome::Retry { .. }) {
                self.answered(way, pass.target);
            }
            let (after, cause) = match outcome {
                Outcome::Delivered { rejected, message } => {
                    self.remark(rejected, &message);
                    return End::Delivered { rejected };
                }
                Outcome::TooLarge { cause } => {
                    self.log(|| warn!(spans = piece.items, bytes = piece.body.len(), %cause, "request too large for the gateway, sending it in parts"));
                    return End::TooLarge;
                }
                Outcome::Refused { cause } | Outcome::Unauthorized { cause } => {
                    self.log(|| warn!(spans = piece.items, %cause, "the gateway refused spans"));
                    return End::GivenUp(DropReason::Rejected);
                }
                Outcome::Retry { after, cause } => (after.map(|it| it.min(MAX_RETRY_AFTER)), cause),
            };
            let next = Instant::now() + backoff.delay(after, random());
            self.failed(way, pass.target, &cause, after);
            drop(pass);
            let late = next.saturating_duration_since(first) > self.policy.max_elapsed;
            if late && !self.queue.is_durable(piece.signal) {
                self.log(|| warn!(spans = piece.items, %cause, "gave up on spans"));
                return End::GivenUp(DropReason::RetryExhausted);
            }
            self.pause(next, after.is_some()).await;
        }
    }

    async fn attempt(&self, way: &Way, target: &Target, piece: &Batch) -> Outcome {
        let send = target.transport.send(piece.signal, piece.body.clone());
        match way.timeout {
            None => send.await,
            Some(limit) => timeout(limit, send)
                .await
                .unwrap_or_else(|_| Outcome::Retry {
                    after: None,
                    cause: format!("no answer within {limit:?}"),
                }),
        }
    }

    /// The way of a signal.
    pub fn way(&self, signal: Signal) -> &Way {
        let mut others = self.others.iter();
        let other = others.find(|(other, _)| *other == signal);
        other.map_or(&self.way, |(_, way)| way)
    }

    /// Waits until a gateway may be called: the most preferred one that can be. `None` if
    /// that is later than the end.
    async fn gate<'a>(&'a self, way: &'a Way) -> Option<Pass<'a>> {
        loop {
            let now = Instant::now();
            let mut wait: Option<Instant> = None;
            for target in &way.targets {
                let until = match target.breaker().enter(now) {
                    Entry::Go => {
                        way.counters.target(target.index);
                        return Some(Pass {
                            target,
                            known: false,
                        });
                    }
                    Entry::Wait(until) => until,
                    Entry::Probing => now + PROBE_PAUSE,
                };
                wait = Some(wait.map_or(until, |wait| wait.min(until)));
            }
            let until = wait?;
            if let Phase::Draining(end) = *self.phase.borrow()
                && end <= until
            {
                return None;
            }
            self.pause(until, true).await;
        }
    }

    /// Waits, but wakes up when the phase changes. When draining, own pauses are short;
    /// those the gateway asked for (`asked`) are kept.
    async fn pause(&self, until: Instant, asked: bool) {
        let mut phase = self.phase.clone();
        let until = match *phase.borrow_and_update() {
            Phase::Draining(_) if !asked => until.min(Instant::now() + DRAIN_PAUSE),
            Phase::Draining(_) | Phase::Running => until,
        };
        tokio::select! {
            () = sleep_until(until) => {}
            changed = phase.changed() => {
                // Without a sender nobody can end the wait early.
                if changed.is_err() {
                    sleep_until(until).await;
                }
            }
        }
    }

    fn answered(&self, way: &Way, target: &Target) {
        let was_away = target.breaker().succeeded();
        way.counters.circuit(target.index, Circuit::Closed);
        if was_away {
            info!(target = target.index, "the gateway takes spans again");
        }
    }

    fn remark(&self, rejected: u64, message: &str) {
        if rejected > 0 || !message.is_empty() {
            self.log(|| warn!(rejected, message, "the gateway took a batch in part"));
        }
    }

    fn failed(&self, way: &Way, target: &Target, cause: &str, after: Option<Duration>) {
        let now = Instant::now();
        let mut breaker = target.breaker();
        breaker.failed(now, after.map(|after| now + after), random());
        way.counters.circuit(target.index, breaker.circuit());
        drop(breaker);
        self.log(|| warn!(cause, "cannot deliver spans, will try again"));
    }

    fn log(&self, say: impl FnOnce()) {
        let mut state = self.state();
        let now = Instant::now();
        if state
            .last_log
            .is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL)
        {
            state.last_log = Some(now);
            drop(state);
            say();
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum End {
    Delivered { rejected: u64 },
    TooLarge,
    GivenUp(DropReason),
    Ending,
}

/// A batch taken from the queue. However the work on it ends, also by being cancelled,
/// each of its spans is counted once.
struct Loan<'a> {
    delivery: &'a Delivery,
    /// `None` once it is given back.
    taken: Option<Taken>,
    signal: Signal,
    open: u64,
}

impl<'a> Loan<'a> {
    fn new(delivery: &'a Delivery, taken: Taken) -> Self {
        delivery
            .way(taken.batch.signal)
            .counters
            .taken(taken.batch.items);
        let (signal, open) = (taken.batch.signal, taken.batch.items);
        Self {
            delivery,
            taken: Some(taken),
            signal,
            open,
        }
    }

    fn counters(&self) -> &ExportCounters {
        &self.delivery.way(self.signal).counters
    }

    fn delivered(&mut self, piece: &Batch, rejected: u64) {
        self.open = self.open.saturating_sub(piece.items);
        self.counters()
            .delivered(piece.items, rejected, piece.body.len());
    }

    fn given_up(&mut self, piece: &Batch, reason: DropReason) {
        self.open = self.open.saturating_sub(piece.items);
        self.counters().given_up(piece.items, reason);
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let Some(taken) = self.taken.take() else {
            return;
        };
        if self.open == 0 {
            self.delivery.queue.settle(&taken);
        } else {
            give_back(&*self.delivery.queue, self.counters(), taken, self.open);
        }
    }
}

/// Ends the loan of a batch of which `open` spans were neither delivered nor given up. The
/// queue keeps the whole of it or nothing: what was delivered in parts comes again.
pub(super) fn give_back(queue: &dyn Queue, counters: &ExportCounters, taken: Taken, open: u64) {
    let items = taken.batch.items;
    if queue.give_back(taken) {
        counters.returned(open);
        counters.recovered(items - open);
    } else {
        counters.given_up(open, DropReason::Shutdown);
    }
}
