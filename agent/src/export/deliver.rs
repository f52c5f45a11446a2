//! Bringing batches to the gateway: waiting, repeating, splitting, giving up.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::batch::{Batch, Signal};
use super::counters::{DropReason, ExportCounters};
use super::file::FileExporter;
use super::grpc::GrpcExporter;
use super::http::HttpExporter;
use super::retry::{Backoff, Outcome, RetryPolicy, random};
use super::split::split;
use crate::queue::{self, Queue};

/// Longest pause between attempts once the agent is about to end.
const DRAIN_PAUSE: Duration = Duration::from_millis(250);

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
    async fn send(&self, signal: Signal, body: Bytes) -> Outcome {
        match self {
            Self::Grpc(exporter) => exporter.send(signal, body).await,
            Self::Http(exporter) => exporter.send(body).await,
            Self::File(exporter) => exporter.send(&body),
        }
    }
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
    /// What became of them.
    pub counters: Arc<ExportCounters>,
    /// Where they go.
    pub transport: Transport,
    /// Time for one request.
    pub timeout: Option<Duration>,
    /// When to try again.
    pub policy: RetryPolicy,
    /// Whether the agent is about to end.
    pub phase: watch::Receiver<Phase>,
    /// What was said and when.
    pub state: Mutex<State>,
}

/// What workers tell each other.
#[derive(Debug, Default)]
pub struct State {
    /// The gateway asked not to be called before.
    not_before: Option<Instant>,
    /// The last attempt of any worker failed.
    failing: bool,
    last_log: Option<Instant>,
}

impl Delivery {
    /// Delivers batches until the queue is closed and empty.
    pub async fn work(self: Arc<Self>) {
        while let Some(batch) = queue::next(&*self.queue).await {
            self.deliver(batch).await;
        }
    }

    async fn deliver(&self, batch: Batch) {
        let mut pieces = vec![batch.clone()];
        let mut loan = Loan::new(self, batch);
        let first = Instant::now();
        while let Some(piece) = pieces.pop() {
            match self.send(&piece, first).await {
                End::Delivered { rejected } => loan.delivered(&piece, rejected),
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
            if !self.gate().await {
                return End::GivenUp(DropReason::Shutdown);
            }
            self.counters.request(repeated);
            repeated = true;
            let (after, cause) = match self.attempt(piece).await {
                Outcome::Delivered { rejected, message } => {
                    self.succeeded(rejected, &message);
                    return End::Delivered { rejected };
                }
                Outcome::TooLarge { cause } => {
                    self.log(|| warn!(spans = piece.items, bytes = piece.body.len(), %cause, "request too large for the gateway, sending it in parts"));
                    return End::TooLarge;
                }
                Outcome::Refused { cause } => {
                    self.log(|| warn!(spans = piece.items, %cause, "the gateway refused spans"));
                    return End::GivenUp(DropReason::Rejected);
                }
                Outcome::Retry { after, cause } => (after.map(|it| it.min(MAX_RETRY_AFTER)), cause),
            };
            let next = Instant::now() + backoff.delay(after, random());
            self.failed(&cause, after);
            if next.saturating_duration_since(first) > self.policy.max_elapsed {
                self.log(|| warn!(spans = piece.items, %cause, "gave up on spans"));
                return End::GivenUp(DropReason::RetryExhausted);
            }
            self.pause(next, after.is_some()).await;
        }
    }

    async fn attempt(&self, piece: &Batch) -> Outcome {
        let send = self.transport.send(piece.signal, piece.body.clone());
        match self.timeout {
            None => send.await,
            Some(limit) => timeout(limit, send)
                .await
                .unwrap_or_else(|_| Outcome::Retry {
                    after: None,
                    cause: format!("no answer within {limit:?}"),
                }),
        }
    }

    /// Waits until the gateway may be called. False if that is later than the end.
    async fn gate(&self) -> bool {
        loop {
            let Some(until) = self
                .state()
                .not_before
                .filter(|until| *until > Instant::now())
            else {
                return true;
            };
            if let Phase::Draining(end) = *self.phase.borrow()
                && end <= until
            {
                return false;
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

    fn succeeded(&self, rejected: u64, message: &str) {
        let was_failing = std::mem::take(&mut self.state().failing);
        if was_failing {
            info!("the gateway takes spans again");
        }
        if rejected > 0 || !message.is_empty() {
            self.log(|| warn!(rejected, message, "the gateway took a batch in part"));
        }
    }

    fn failed(&self, cause: &str, after: Option<Duration>) {
        let mut state = self.state();
        state.failing = true;
        if let Some(after) = after {
            let until = Instant::now() + after;
            state.not_before = state.not_before.max(Some(until));
        }
        drop(state);
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
}

/// A batch taken from the queue. However the work on it ends, also by being cancelled,
/// each of its spans is counted once.
struct Loan<'a> {
    delivery: &'a Delivery,
    batch: Batch,
    open: u64,
}

impl<'a> Loan<'a> {
    fn new(delivery: &'a Delivery, batch: Batch) -> Self {
        delivery.counters.taken(batch.items);
        let open = batch.items;
        Self {
            delivery,
            batch,
            open,
        }
    }

    fn delivered(&mut self, piece: &Batch, rejected: u64) {
        self.open = self.open.saturating_sub(piece.items);
        self.delivery
            .counters
            .delivered(piece.items, rejected, piece.body.len());
    }

    fn given_up(&mut self, piece: &Batch, reason: DropReason) {
        self.open = self.open.saturating_sub(piece.items);
        self.delivery.counters.given_up(piece.items, reason);
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if self.open > 0 {
            self.delivery
                .counters
                .given_up(self.open, DropReason::Shutdown);
        }
        self.delivery.queue.settle(&self.batch);
    }
}
