//! Where every request went: `seen == emitted + filtered + lost`, to the unit.
//!
//! The kernel counts a request as finished when it is answered, aborted, or lost
//! track of, and counts it as lost if it could not hand it on. The agent counts what
//! it did with the rest. A request is counted as lost by whoever lost it, once.

use crate::capture::ingest::decode::Counters;
use remora_common::counters::Counter;

/// All counts of one run.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ledger {
    /// The kernel's counters, if they are known: read at the end of a live run, or
    /// from the end of a recording.
    pub kernel: Option<Counters>,
    /// Exchanges handed to the sinks, before filters.
    pub exchanges: u64,
    /// Exchanges that the filters kept from the outputs.
    pub filtered: u64,
    /// Requests lost because a record could not be understood.
    pub decode: u64,
    /// Requests lost because a table of the agent was full.
    pub evicted: u64,
    /// Responses whose request was under way before the agent came: no exchanges.
    pub orphans: u64,
    /// Streams of HTTP/2 that were resolved here, one way or another. The kernel
    /// programs count only those whose beginning they could not hand on.
    pub streams: u64,
    /// Streams whose end was in a record for which the ring buffer had no room.
    pub ring_full: u64,
    /// Responses of streams whose request was sent before the agent came.
    pub orphaned_streams: u64,
    /// Streams under way.
    pub streams_in_flight: u64,
    /// Those of them that the kernel programs have counted as finished, as HTTP/1
    /// requests that changed the protocol.
    pub upgrades_in_flight: u64,
    /// HTTP/1 requests answered before they ended, and under way yet: the kernel programs
    /// have counted them as finished as well.
    pub answered_in_flight: u64,
}

/// Requests lost, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
pub struct Lost {
    /// The ring buffer had no room.
    pub ring_full: u64,
    /// A table of connections or requests was full, in the kernel or in the agent.
    pub conn_evicted: u64,
    /// A record could not be understood.
    pub decode: u64,
}

impl Lost {
    /// Requests lost for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ring_full + self.conn_evicted + self.decode
    }
}

/// The totals that the user sees.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, serde::Serialize)]
pub struct Summary {
    /// Requests whose end was seen.
    pub seen: u64,
    /// Requests handed to the outputs.
    pub emitted: u64,
    /// Requests that filters kept from the outputs.
    pub filtered: u64,
    /// Requests lost, by reason.
    pub lost: Lost,
    /// Requests begun, but not ended yet.
    pub in_flight: u64,
    /// Responses to requests from before the agent came.
    pub orphans: u64,
}

impl Ledger {
    /// The totals. Without the kernel's counters (a recording that was cut off) what
    /// was seen is only what came out.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let emitted = self.exchanges.saturating_sub(self.filtered);
        let of = |counter: Counter| self.kernel.map(|kernel| kernel[counter as usize]);
        let lost = Lost {
            ring_full: of(Counter::RingFull).unwrap_or(0) + self.ring_full,
            conn_evicted: of(Counter::ConnEvicted).unwrap_or(0) + self.evicted,
            decode: self.decode,
        };
        let finished = of(Counter::Finished);
        let early = self.upgrades_in_flight + self.answered_in_flight;
        let seen = match finished {
            Some(finished) => (finished + self.streams).saturating_sub(early),
            None => emitted + self.filtered + lost.total(),
        };
        let begun = of(Counter::Started).unwrap_or(0);
        Summary {
            seen,
            emitted,
            filtered: self.filtered,
            lost,
            in_flight: begun.saturating_sub(finished.unwrap_or(0))
                + self.streams_in_flight
                + self.answered_in_flight,
            orphans: of(Counter::Orphans).unwrap_or(self.orphans) + self.orphaned_streams,
        }
    }
}

impl Summary {
    /// Whether every request is accounted for.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.seen == self.emitted + self.filtered + self.lost.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(values: &[(Counter, u64)]) -> Option<Counters> {
        let mut counters = Counters::default();
        for &(counter, value) in values {
            counters[counter as usize] = value;
        }
        Some(counters)
    }

    #[test]
    fn adds_up_what_kernel_and_agent_counted() {
        let ledger = Ledger {
            kernel: kernel(&[
                (Counter::Started, 105),
                (Counter::Finished, 100),
                (Counter::RingFull, 7),
                (Counter::ConnEvicted, 2),
                (Counter::Orphans, 4),
            ]),
            exchanges: 87,
            filtered: 10,
            decode: 3,
            evicted: 1,
            orphans: 4,
            ..Ledger::default()
        };
        let summary = ledger.summary();
        assert!(summary.balanced());
        assert_eq!(
            (summary.seen, summary.emitted, summary.filtered),
            (100, 77, 10)
        );
        assert_eq!(
            summary.lost,
            Lost {
                ring_full: 7,
                conn_evicted: 3,
                decode: 3
            }
        );
        assert_eq!((summary.in_flight, summary.orphans), (5, 4));
    }

    #[test]
    fn one_request_amiss_shows() {
        let ledger = Ledger {
            kernel: kernel(&[(Counter::Finished, 10)]),
            exchanges: 9,
            ..Ledger::default()
        };
        assert!(!ledger.summary().balanced());
    }

    #[test]
    fn without_kernel_counters_what_came_out_was_seen() {
        let ledger = Ledger {
            exchanges: 9,
            filtered: 2,
            decode: 1,
            ..Ledger::default()
        };
        let summary = ledger.summary();
        assert!(summary.balanced());
        assert_eq!(
            (summary.seen, summary.emitted, summary.in_flight),
            (10, 7, 0)
        );
    }
}
