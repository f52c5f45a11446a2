//! Between the encoder, which must never wait, and the gateway, which may be away.
//!
//! A [`Queue`] holds encoded batches until they are settled. [`memory`] is bounded memory;
//! [`tiered`] has a [`spool`] on disk behind it. A batch that was taken belongs to the
//! queue until [`Queue::settle`] or [`Queue::give_back`] says what became of it.

pub mod memory;
pub mod spool;
pub mod tiered;

use tokio::sync::Notify;

use crate::delivery::export::batch::Batch;

/// Why a batch was not taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no room.
    Full,
    /// The queue was closed.
    Closed,
}

/// A batch lent out.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The batch.
    pub batch: Batch,
    /// Which loan it is.
    pub ticket: u64,
}

/// What a batch may be at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Spans (or data points, or profiles).
    pub items: u64,
    /// Bytes.
    pub bytes: usize,
}

impl Room {
    /// For any batch.
    pub const ANY: Self = Self {
        items: u64::MAX,
        bytes: usize::MAX,
    };

    /// Whether a batch fits.
    #[must_use]
    pub fn holds(self, batch: &Batch) -> bool {
        batch.items <= self.items && batch.body.len() <= self.bytes
    }
}

/// What a queue holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Depth {
    /// Batches waiting in memory.
    pub batches: usize,
    /// Spans (or data points, or samples) in them.
    pub items: u64,
    /// Bytes of all batches in memory that are not settled yet, those taken included.
    pub bytes: usize,
    /// Most bytes there can be.
    pub capacity: usize,
    /// The spool, if one is configured.
    pub spool: Option<SpoolDepth>,
}

/// What is on disk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SpoolDepth {
    /// Whether it can be used, or why not.
    pub problem: Option<String>,
    /// What is in it.
    pub stats: spool::Stats,
    /// Most bytes there can be.
    pub capacity: u64,
}

/// A bounded queue of batches: several producers, several consumers.
pub trait Queue: Send + Sync + std::fmt::Debug {
    /// Takes a batch in, or refuses it. Never waits for room.
    ///
    /// # Errors
    /// The reason for the refusal.
    fn try_push(&self, batch: Batch) -> Result<(), Refused>;

    /// Lends a batch out.
    fn try_pop(&self) -> Option<Taken> {
        self.try_pop_within(Room::ANY)
    }

    /// Lends the next batch out if it fits; does not look for another one.
    fn try_pop_within(&self, room: Room) -> Option<Taken>;

    /// Ends the loan of a batch: it was delivered or given up, and its room is free.
    fn settle(&self, taken: &Taken);

    /// Ends the loan of a batch that was not delivered. True if it is kept for the next
    /// run of the agent; else it is lost, and settled.
    fn give_back(&self, taken: Taken) -> bool {
        self.settle(&taken);
        false
    }

    /// Whether what waits survives this process, so that there is no need to give it up.
    fn is_durable(&self) -> bool {
        false
    }

    /// Notified (one waiter at a time) when a batch arrives, and (all) when closed.
    fn ready(&self) -> &Notify;

    /// Refuses further batches; what is in memory can still be popped.
    fn close(&self);

    /// Whether [`Self::close`] was called.
    fn is_closed(&self) -> bool;

    /// Puts what is left where it survives, and waits for that. Nothing may be pushed or
    /// taken any more.
    fn finish(&self) {}

    /// What is inside now.
    fn depth(&self) -> Depth;
}

/// Waits for a batch. `None` when the queue is closed and empty.
pub async fn next(queue: &dyn Queue) -> Option<Taken> {
    loop {
        let notified = queue.ready().notified();
        tokio::pin!(notified);
        // Registers before looking: a batch pushed in between wakes this waiter.
        notified.as_mut().enable();
        if let Some(taken) = queue.try_pop() {
            return Some(taken);
        }
        if queue.is_closed() {
            return None;
        }
        notified.await;
    }
}
