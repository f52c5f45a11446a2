//! Bringing batches to the gateway: joining, waiting, repeating, splitting, giving up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{info, warn};

use super::batch::Signal;
use super::counters::DropReason;
use super::fit::{Fit, Next};
use super::loan::{Group, Loan};
use super::pace::{Load, Pace};
use super::retry::{Backoff, Excess, Outcome, RetryPolicy, random};
use super::target::{Pass, Way};
use crate::delivery::queue::{Queue, Room, Taken};
use crate::model::seldom::Seldom;

/// Longest pause between attempts once the agent is about to end.
const DRAIN_PAUSE: Duration = Duration::from_millis(250);

/// A gateway that asks for a longer pause is called again after this.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Time to end what is under way.
const GRACE: Duration = Duration::from_millis(200);

/// How long there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// No end in sight.
    Running,
    /// Whatever is not delivered by then is lost.
    Draining(Instant),
}

/// What all requests of a signal share.
#[derive(Debug)]
pub struct Delivery {
    /// Where batches come from.
    pub queue: Arc<dyn Queue>,
    /// Where they go.
    pub way: Way,
    /// When to try again.
    pub policy: RetryPolicy,
    /// Whether the agent is about to end.
    pub phase: watch::Receiver<Phase>,
    pace: Mutex<Pace>,
    /// Requests under way.
    active: AtomicUsize,
    /// Notified when there are fewer.
    freed: Notify,
    said: Mutex<Seldom<Word>>,
}

/// One of the requests that may be under way.
struct Slot(Arc<Delivery>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
        self.0.publish();
        self.0.freed.notify_waiters();
    }
}

/// What the log tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Word {
    Away,
    TooLarge,
    Refused,
    InPart,
    Unread,
    GivenUp,
}

enum End {
    Delivered { rejected: u64 },
    TooLarge(Excess),
    Parts(Vec<Group>),
    GivenUp(DropReason),
    Ending,
}

impl From<Next> for End {
    fn from(next: Next) -> Self {
        match next {
            Next::Parts(parts) => Self::Parts(parts),
            Next::Hopeless => Self::GivenUp(DropReason::Rejected),
        }
    }
}

impl Delivery {
    /// From a queue to where `way` leads.
    #[must_use]
    pub fn new(
        queue: Arc<dyn Queue>,
        way: Way,
        policy: RetryPolicy,
        phase: watch::Receiver<Phase>,
        pace: Pace,
    ) -> Self {
        let delivery = Self {
            queue,
            way,
            policy,
            phase,
            pace: Mutex::new(pace),
            active: AtomicUsize::new(0),
            freed: Notify::new(),
            said: Mutex::default(),
        };
        delivery.publish();
        delivery
    }

    /// Delivers batches until the queue is closed and empty, or the time is over. All of it
    /// happens on one thread.
    pub async fn work(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let end = self.ended();
        tokio::pin!(end);
        loop {
            let (freed, ready) = (self.freed.notified(), self.queue.ready().notified());
            tokio::pin!(freed, ready);
            // Before looking: what comes in between wakes it.
            freed.as_mut().enable();
            ready.as_mut().enable();
            if tasks.len() < self.pace().most() && self.has_slot() {
                if let Some(loans) = self.take() {
                    tasks.spawn(Arc::clone(&self).deliver(loans, self.slot()));
                    continue;
                }
                if tasks.is_empty() && self.queue.is_closed() {
                    return;
                }
            }
            tokio::select! {
                () = &mut freed => {}
                () = &mut ready => {}
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
                () = &mut end => break,
            }
        }
        // Aborting a request counts what it was about to send.
        if timeout_at(Instant::now() + GRACE, tasks.shutdown())
            .await
            .is_err()
        {
            warn!("a request could not be ended in time");
        }
    }

    /// Until the time for draining is over.
    async fn ended(&self) {
        let mut phase = self.phase.clone();
        loop {
            let now = *phase.borrow_and_update();
            match now {
                Phase::Draining(end) => return sleep_until(end).await,
                Phase::Running => {
                    if phase.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn has_slot(&self) -> bool {
        self.active.load(Ordering::Relaxed) < self.pace().limit()
    }

    fn slot(self: &Arc<Self>) -> Slot {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.publish();
        Slot(Arc::clone(self))
    }

    async fn next_slot(self: &Arc<Self>) -> Slot {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.has_slot() {
                return self.slot();
            }
            freed.await;
        }
    }

    /// Lends the next batch, and those behind it that fit into a request with it.
    ///
    /// The loans begin here, and not in the task that is begun for them: that may be cancelled
    /// before it runs at all.
    fn take(&self) -> Option<Vec<Loan>> {
        let taken = self.take_batches()?;
        let loan = |taken| Loan::new(&self.queue, &self.way, taken);
        Some(taken.into_iter().map(loan).collect())
    }

    fn take_batches(&self) -> Option<Vec<Taken>> {
        let mut taken = vec![self.queue.try_pop()?];
        // The dictionaries of two profiles requests cannot be joined like this.
        if self.way.signal == Signal::Profiles {
            return Some(taken);
        }
        let room = self.pace().room();
        let (mut items, mut bytes) = (0u64, 0usize);
        while let Some(last) = taken.last() {
            items += last.batch.items;
            bytes += last.batch.body.len();
            let left = Room {
                items: room.items.saturating_sub(items),
                bytes: room.bytes.saturating_sub(bytes),
            };
            let Some(next) = self.queue.try_pop_within(left) else {
                break;
            };
            taken.push(next);
        }
        Some(taken)
    }

    async fn deliver(self: Arc<Self>, mut loans: Vec<Loan>, slot: Slot) {
        let mut groups = vec![Group::of(&loans)];
        let mut slot = Some(slot);
        let mut fit = Fit::default();
        let first = Instant::now();
        while let Some(group) = groups.pop() {
            if group.bytes() > self.pace().cap()
                && let Some([one, two]) = group.cut()
            {
                groups.extend([two, one]);
                continue;
            }
            let end = match fit.before(&group) {
                Some(next) => End::from(next),
                None => match self.send(&group, first, &mut slot).await {
                    End::TooLarge(excess) => End::from(fit.refused(&group, excess)),
                    end => end,
                },
            };
            let (mut rejected, reason) = match end {
                // What is open goes back to the queue, which may be able to keep it.
                End::Ending => return,
                End::Parts(parts) => {
                    groups.extend(parts.into_iter().rev());
                    continue;
                }
                End::Delivered { rejected } => {
                    if let Some(bytes) = fit.taken() {
                        self.paced(|pace| pace.too_large(bytes, Instant::now()));
                    }
                    (rejected, None)
                }
                End::GivenUp(reason) => (0, Some(reason)),
                End::TooLarge(_) => (0, Some(DropReason::Rejected)),
            };
            for piece in group.pieces() {
                let Some(loan) = loans.get_mut(piece.loan) else {
                    continue;
                };
                match reason {
                    Some(reason) => loan.given_up(&piece.batch, reason),
                    None => {
                        // The gateway does not say which; the sum is what it says.
                        let these = rejected.min(piece.batch.items);
                        rejected -= these;
                        loan.delivered(&piece.batch, these);
                    }
                }
            }
        }
    }

    /// Sends a group until something is final.
    async fn send(self: &Arc<Self>, group: &Group, first: Instant, slot: &mut Option<Slot>) -> End {
        let mut backoff = Backoff::new(&self.policy);
        let (mut repeated, mut passed) = (false, false);
        let (items, bytes, signal) = (group.items(), group.bytes(), self.way.signal.name());
        loop {
            if slot.is_none() {
                *slot = Some(self.next_slot().await);
            }
            let Some(pass) = self.gate().await else {
                return End::Ending;
            };
            self.way.counters.request(repeated);
            repeated = true;
            let began = Instant::now();
            let (outcome, late) = self.attempt(&pass, group).await;
            let load = self.load();
            let now = Instant::now();
            let (after, cause) = match outcome {
                Outcome::Delivered { rejected, message } => {
                    self.answered(pass);
                    self.paced(|pace| pace.delivered(bytes, began, now, load));
                    self.remark(rejected, &message);
                    return End::Delivered { rejected };
                }
                Outcome::Unread { cause } => {
                    self.answered(pass);
                    self.paced(|pace| pace.delivered(bytes, began, now, load));
                    self.log(Word::Unread, || warn!(signal, items, %cause, "the gateway took a request, but whether all of it cannot be read from its answer"));
                    return End::Delivered { rejected: 0 };
                }
                // What the specification lets be sent again is, once; one item stays one.
                Outcome::TooLarge {
                    excess: Excess::Passing,
                    cause,
                } if !passed || items < 2 => {
                    passed = true;
                    (None, cause)
                }
                Outcome::TooLarge { excess, cause } => {
                    self.answered(pass);
                    if excess == Excess::Size && items > 1 {
                        self.paced(|pace| pace.too_large(bytes, now));
                    }
                    self.log(Word::TooLarge, || warn!(signal, items, bytes, %cause, "the gateway may find a request too large, sending it in parts if it has any"));
                    return End::TooLarge(excess);
                }
                Outcome::Refused { cause } | Outcome::Unauthorized { cause } => {
                    self.answered(pass);
                    self.log(
                        Word::Refused,
                        || warn!(signal, items, %cause, "the gateway refused a request"),
                    );
                    return End::GivenUp(DropReason::Rejected);
                }
                Outcome::Retry { after, cause } => {
                    passed = false;
                    (after.map(|it| it.min(MAX_RETRY_AFTER)), cause)
                }
            };
            let next = now + backoff.delay(after, random());
            let gateway = pass.target.name();
            self.log(Word::Away, || {
                warn!(signal, gateway, cause, "cannot deliver, will try again")
            });
            pass.failed(after);
            self.paced(|pace| pace.failed(began, now, late.then_some(bytes)));
            // Others may go while this one waits.
            *slot = None;
            let over = next.saturating_duration_since(first) > self.policy.max_elapsed;
            if over && !self.queue.is_durable() {
                self.log(
                    Word::GivenUp,
                    || warn!(signal, items, %cause, "gave up on a request"),
                );
                return End::GivenUp(DropReason::RetryExhausted);
            }
            self.pause(next, after.is_some()).await;
            if late
                && bytes > self.pace().cap()
                && let Some(halves) = group.cut()
            {
                return End::Parts(halves.into());
            }
        }
    }

    /// What came of one request, and whether there was no answer in time.
    async fn attempt(&self, pass: &Pass<'_>, group: &Group) -> (Outcome, bool) {
        let send = pass.target.transport().send(self.way.signal, group.body());
        let Some(limit) = self.way.timeout else {
            return (send.await, false);
        };
        match timeout(limit, send).await {
            Ok(outcome) => (outcome, false),
            Err(_) => {
                let cause = format!("no answer within {limit:?}");
                (Outcome::Retry { after: None, cause }, true)
            }
        }
    }

    /// Waits until a gateway may be called: the most preferred one that can be. `None` if
    /// that is later than the end.
    async fn gate(&self) -> Option<Pass<'_>> {
        loop {
            let until = match self.way.enter(Instant::now())? {
                Ok(pass) => return Some(pass),
                Err(until) => until,
            };
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

    fn load(&self) -> Load {
        Load {
            waiting: self.queue.depth().batches > 0,
            full: !self.has_slot(),
        }
    }

    fn answered(&self, pass: Pass<'_>) {
        let gateway = pass.target.name();
        if pass.answered() {
            info!(
                signal = self.way.signal.name(),
                gateway, "the gateway answers again"
            );
        }
    }

    fn remark(&self, rejected: u64, message: &str) {
        if rejected > 0 || !message.is_empty() {
            let signal = self.way.signal.name();
            self.log(Word::InPart, || {
                warn!(
                    signal,
                    rejected, message, "the gateway took a request in part"
                )
            });
        }
    }

    fn paced(&self, change: impl FnOnce(&mut Pace)) {
        change(&mut self.pace());
        self.publish();
        // There may be room for more.
        self.freed.notify_waiters();
    }

    fn publish(&self) {
        let active = self.active.load(Ordering::Relaxed);
        let pacing = self.pace().pacing(active);
        self.way.counters.pacing(pacing);
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, word: Word, say: impl FnOnce()) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.is_due(word, Instant::now());
        drop(said);
        if due {
            say();
        }
    }
}
