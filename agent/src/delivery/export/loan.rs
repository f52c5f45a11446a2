//! Batches that were taken from the queue, and requests made of them.

use std::sync::Arc;

use super::batch::Batch;
use super::body::Parts;
use super::counters::{DropReason, ExportCounters};
use super::split::split;
use super::target::Way;
use crate::delivery::queue::{Queue, Taken};

/// A batch, or a part of one.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Which of the loans it is of.
    pub(super) loan: usize,
    pub(super) batch: Batch,
}

/// What is sent at once; never empty.
#[derive(Clone, Debug)]
pub(super) struct Group(Vec<Piece>);

impl Group {
    /// Whole batches.
    pub(super) fn of(loans: &[Loan]) -> Self {
        let taken = loans.iter().filter_map(|loan| loan.taken.as_ref());
        let pieces = taken.enumerate().map(|(loan, taken)| Piece {
            loan,
            batch: taken.batch.clone(),
        });
        Self(pieces.collect())
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    pub(super) fn items(&self) -> u64 {
        self.0.iter().map(|piece| piece.batch.items).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|piece| piece.batch.body.len()).sum()
    }

    pub(super) fn body(&self) -> Parts {
        self.0
            .iter()
            .map(|piece| piece.batch.body.clone())
            .collect()
    }

    /// Two of about half, in order: between batches, or through one. `None` if there is nothing
    /// to cut.
    pub(super) fn cut(&self) -> Option<[Self; 2]> {
        if let [one] = &self.0[..] {
            let halves = split(&one.batch)?;
            let loan = one.loan;
            return Some(halves.map(|batch| Self(vec![Piece { loan, batch }])));
        }
        let (first, second) = self.0.split_at(self.middle());
        Some([first, second].map(|pieces| Self(pieces.to_vec())))
    }

    /// Of several pieces: behind how many of them the second half begins.
    fn middle(&self) -> usize {
        let half = self.bytes() / 2;
        let mut before = 0;
        let halves = self.0.iter().take_while(|piece| {
            before += piece.batch.body.len();
            before <= half
        });
        halves.count().clamp(1, self.0.len() - 1)
    }

    /// A request with one item, which is a small one, and one with all others in their order.
    /// `None` if there is only one, or nothing can be cut.
    pub(super) fn least(&self) -> Option<(Self, Self)> {
        let mut pieces = self.0.clone();
        loop {
            let smallest = (0..pieces.len()).min_by_key(|at| pieces[*at].batch.body.len())?;
            if pieces[smallest].batch.items == 1 {
                let least = pieces.remove(smallest);
                return (!pieces.is_empty()).then(|| (Self(vec![least]), Self(pieces)));
            }
            let Piece { loan, batch } = &pieces[smallest];
            let halves = split(batch)?.map(|batch| Piece { loan: *loan, batch });
            pieces.splice(smallest..=smallest, halves);
        }
    }

    #[cfg(test)]
    pub(super) fn of_batch(batch: Batch) -> Self {
        Self(vec![Piece { loan: 0, batch }])
    }
}

/// A batch taken from the queue. However the work on it ends, also by being cancelled before
/// it has begun, each of its items is counted once.
pub(super) struct Loan {
    queue: Arc<dyn Queue>,
    counters: Arc<ExportCounters>,
    /// `None` once it is given back.
    taken: Option<Taken>,
    open: u64,
}

impl Loan {
    pub(super) fn new(queue: &Arc<dyn Queue>, way: &Way, taken: Taken) -> Self {
        let open = taken.batch.items;
        way.counters.taken(open);
        Self {
            queue: Arc::clone(queue),
            counters: Arc::clone(&way.counters),
            taken: Some(taken),
            open,
        }
    }

    /// A part of it was taken, all but `rejected` of it.
    pub(super) fn delivered(&mut self, piece: &Batch, rejected: u64) {
        self.open = self.open.saturating_sub(piece.items);
        self.counters
            .delivered(piece.items, rejected, piece.body.len());
        self.settle();
    }

    /// A part of it is lost.
    pub(super) fn given_up(&mut self, piece: &Batch, reason: DropReason) {
        self.open = self.open.saturating_sub(piece.items);
        self.counters.given_up(piece.items, reason);
        self.settle();
    }

    /// Ends the loan as soon as nothing is open, whatever else was sent with it.
    fn settle(&mut self) {
        if self.open == 0
            && let Some(taken) = self.taken.take()
        {
            self.queue.settle(&taken);
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.settle();
        if let Some(taken) = self.taken.take() {
            give_back(&*self.queue, &self.counters, taken, self.open);
        }
    }
}

/// Ends the loan of a batch of which `open` items were neither delivered nor given up. The
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
