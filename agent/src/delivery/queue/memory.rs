//! The queue in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Depth, Queue, Refused, Room, Taken};
use crate::delivery::export::batch::Batch;

/// Bounds of a [`MemoryQueue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Spans waiting; those taken for delivery do not count.
    pub items: u64,
    /// Bytes of all batches, those taken for delivery included: what the queue can cost.
    pub bytes: usize,
}

/// Batches in memory, oldest first. When full it refuses new ones: what waits is older
/// and already counted on. The lock is taken once a batch, never once a span.
#[derive(Debug)]
pub struct MemoryQueue {
    bounds: Bounds,
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Batch>,
    items: u64,
    bytes: usize,
    closed: bool,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::default(),
            ready: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; if it did, the sums would still hold.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue for MemoryQueue {
    fn try_push(&self, batch: Batch) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        let items = state.items.saturating_add(batch.items);
        let bytes = state.bytes.saturating_add(batch.body.len());
        if items > self.bounds.items || bytes > self.bounds.bytes {
            return Err(Refused::Full);
        }
        state.items = items;
        state.bytes = bytes;
        state.batches.push_back(batch);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    fn try_pop_within(&self, room: Room) -> Option<Taken> {
        let mut state = self.state();
        if !room.holds(state.batches.front()?) {
            return None;
        }
        let batch = state.batches.pop_front()?;
        state.items = state.items.saturating_sub(batch.items);
        Some(Taken { batch, ticket: 0 })
    }

    fn settle(&self, taken: &Taken) {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(taken.batch.body.len());
    }

    fn ready(&self) -> &Notify {
        &self.ready
    }

    fn close(&self) {
        self.state().closed = true;
        self.ready.notify_waiters();
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn depth(&self) -> Depth {
        let state = self.state();
        Depth {
            batches: state.batches.len(),
            items: state.items,
            bytes: state.bytes,
            capacity: self.bounds.bytes,
            spool: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::export::batch::Signal;
    use crate::delivery::queue::next;
    use bytes::Bytes;
    use std::sync::Arc;

    fn batch(items: u64, bytes: usize) -> Batch {
        Batch {
            signal: Signal::Traces,
            items,
            body: Bytes::from(vec![0; bytes]),
        }
    }

    #[test]
    fn refuses_beyond_either_bound() {
        let queue = MemoryQueue::new(Bounds {
            items: 10,
            bytes: 100,
        });
        assert_eq!(queue.try_push(batch(11, 1)), Err(Refused::Full));
        assert_eq!(queue.try_push(batch(1, 101)), Err(Refused::Full));
        assert_eq!(queue.try_push(batch(6, 60)), Ok(()));
        assert_eq!(queue.try_push(batch(5, 1)), Err(Refused::Full));
        assert_eq!(queue.try_push(batch(4, 40)), Ok(()));
        assert_eq!(
            queue.depth(),
            Depth {
                batches: 2,
                items: 10,
                bytes: 100,
                capacity: 100,
                spool: None
            }
        );
    }

    #[test]
    fn bytes_are_held_until_settled() {
        let queue = MemoryQueue::new(Bounds {
            items: 10,
            bytes: 100,
        });
        queue.try_push(batch(10, 100)).unwrap();
        let taken = queue.try_pop().unwrap();
        assert_eq!(
            queue.depth(),
            Depth {
                batches: 0,
                items: 0,
                bytes: 100,
                capacity: 100,
                spool: None
            }
        );
        assert_eq!(queue.try_push(batch(1, 1)), Err(Refused::Full));
        queue.settle(&taken);
        assert_eq!(queue.try_push(batch(1, 1)), Ok(()));
    }

    #[tokio::test]
    async fn consumers_get_everything_and_stop_when_closed() {
        let queue = Arc::new(MemoryQueue::new(Bounds {
            items: 1000,
            bytes: 1000,
        }));
        let consumers: Vec<_> = (0..3)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    let mut seen = 0;
                    while let Some(taken) = next(&*queue).await {
                        seen += taken.batch.items;
                        tokio::task::yield_now().await;
                    }
                    seen
                })
            })
            .collect();
        for _ in 0..100 {
            queue.try_push(batch(1, 1)).unwrap();
            tokio::task::yield_now().await;
        }
        queue.close();
        assert_eq!(queue.try_push(batch(1, 1)), Err(Refused::Closed));
        let mut total = 0;
        for consumer in consumers {
            total += consumer.await.unwrap();
        }
        assert_eq!(total, 100);
    }
}
