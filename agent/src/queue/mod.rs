//! Between the encoder, which must never wait, and the gateway, which may be away.
//!
//! A [`Queue`] holds encoded batches until they are settled. [`memory`] is bounded memory;
//! a spool on disk can stand behind the same interface, because a batch that was taken
//! belongs to the queue until [`Queue::settle`] says what became of it.

pub mod memory;

use tokio::sync::Notify;

use crate::export::batch::Batch;

/// Why a batch was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no room.
    Full,
    /// The queue was closed.
    Closed,
}

/// What a queue holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Depth {
    /// Batches waiting.
    pub batches: usize,
    /// Spans (or data points) in them.
    pub items: u64,
    /// Bytes of all batches that are not settled yet, those taken included.
    pub bytes: usize,
}

/// A bounded queue of batches: one producer, several consumers.
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Takes a batch in, or refuses it. Never waits for room.
    ///
    /// # Errors
    /// The reason for the refusal.
    fn try_push(&self, batch: Batch) -> Result<(), Refused>;

    /// Lends the oldest batch out.
    fn try_pop(&self) -> Option<Batch>;

    /// Ends the loan of a batch: it was delivered or given up, and its room is free.
    fn settle(&self, batch: &Batch);

    /// Notified (one waiter at a time) when a batch arrives, and (all) when closed.
    fn ready(&self) -> &Notify;

    /// Refuses further batches; what is inside can still be popped.
    fn close(&self);

    /// Whether [`Self::close`] was called.
    fn is_closed(&self) -> bool;

    /// What is inside now.
    fn depth(&self) -> Depth;
}

/// Waits for a batch. `None` when the queue is closed and empty.
pub async fn next(queue: &dyn Queue) -> Option<Batch> {
    loop {
        let notified = queue.ready().notified();
        tokio::pin!(notified);
        // Registers before looking: a batch pushed in between wakes this waiter.
        notified.as_mut().enable();
        if let Some(batch) = queue.try_pop() {
            return Some(batch);
        }
        if queue.is_closed() {
            return None;
        }
        notified.await;
    }
}
