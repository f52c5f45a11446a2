//! Leaving a gateway alone that does not answer.

use std::time::Duration;

use tokio::time::Instant;

use super::retry::{Backoff, RetryPolicy};

/// Failures in a row, of all requests together, that open the circuit: more than the round of
/// requests that is under way when nothing is known.
const FAILURES: u32 = 5;

/// Where little is sent, so many failures take long: after this without an answer, the next
/// failure opens it, so that another gateway can take over.
const SILENCE: Duration = Duration::from_secs(5);

/// Whether requests go to a gateway.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Circuit {
    /// They do.
    #[default]
    Closed,
    /// One does, to see whether it can be closed.
    HalfOpen,
    /// None does for some time.
    Open,
}

impl Circuit {
    /// The name used in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// A circuit breaker of one gateway, shared by all requests to it.
#[derive(Debug)]
pub struct Breaker {
    policy: RetryPolicy,
    circuit: Circuit,
    failures: u32,
    /// When the first of them was.
    since: Option<Instant>,
    backoff: Backoff,
    /// No request before: the circuit is open, or the gateway asked for it.
    not_before: Option<Instant>,
}

/// Whether a request may go now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// It may.
    Go,
    /// Not before.
    Wait(Instant),
    /// Another one finds out.
    Probing,
}

impl Breaker {
    /// A closed circuit.
    #[must_use]
    pub fn new(policy: RetryPolicy) -> Self {
        Self {
            policy,
            circuit: Circuit::Closed,
            failures: 0,
            since: None,
            backoff: Backoff::new(&policy),
            not_before: None,
        }
    }

    /// The circuit.
    #[must_use]
    pub const fn circuit(&self) -> Circuit {
        self.circuit
    }

    /// Asks for a request. Whoever may go reports [`Self::succeeded`], [`Self::failed`] or
    /// [`Self::unknown`].
    pub fn enter(&mut self, now: Instant) -> Entry {
        if let Some(until) = self.not_before.filter(|until| *until > now) {
            return Entry::Wait(until);
        }
        match self.circuit {
            Circuit::Closed => Entry::Go,
            Circuit::HalfOpen => Entry::Probing,
            Circuit::Open => {
                self.circuit = Circuit::HalfOpen;
                Entry::Go
            }
        }
    }

    /// The gateway answered, be it with a refusal: it is there. True if it was away.
    pub fn succeeded(&mut self) -> bool {
        let was_away = self.failures > 0;
        *self = Self {
            not_before: self.not_before,
            ..Self::new(self.policy)
        };
        was_away
    }

    /// The gateway did not answer, or is too busy; `asked` is until when it wants to be left
    /// alone. `random` is uniform in `0..=u64::MAX`.
    pub fn failed(&mut self, now: Instant, asked: Option<Instant>, random: u64) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.not_before.max(asked);
        let since = *self.since.get_or_insert(now);
        let silent = now.saturating_duration_since(since) >= SILENCE;
        if self.circuit == Circuit::HalfOpen || self.failures >= FAILURES || silent {
            self.circuit = Circuit::Open;
            let until = now + self.backoff.delay(None, random);
            self.not_before = self.not_before.max(Some(until));
        }
    }

    /// The request was ended before there was an answer.
    pub fn unknown(&mut self) {
        if self.circuit == Circuit::HalfOpen {
            self.circuit = Circuit::Open;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_probes_with_one_and_closes() {
        let policy = RetryPolicy {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(4),
            ..RetryPolicy::default()
        };
        let mut breaker = Breaker::new(policy);
        let mut now = Instant::now();
        for _ in 0..FAILURES {
            assert_eq!(breaker.enter(now), Entry::Go);
            breaker.failed(now, None, u64::MAX);
        }
        for seconds in [1, 2, 4, 4] {
            assert_eq!(breaker.circuit(), Circuit::Open);
            let until = now + Duration::from_secs(seconds);
            assert_eq!(breaker.enter(now), Entry::Wait(until));
            now = until;
            assert_eq!(breaker.enter(now), Entry::Go);
            assert_eq!(breaker.enter(now), Entry::Probing);
            breaker.failed(now, None, u64::MAX);
        }
        now += Duration::from_secs(4);
        assert_eq!(breaker.enter(now), Entry::Go);
        breaker.unknown();
        assert_eq!(breaker.enter(now), Entry::Go);
        assert!(breaker.succeeded() && !breaker.succeeded());
        assert_eq!(breaker.circuit(), Circuit::Closed);
        assert_eq!(breaker.enter(now), Entry::Go);
    }

    #[test]
    fn two_failures_far_apart_open_it_as_well() {
        let mut breaker = Breaker::new(RetryPolicy::default());
        let now = Instant::now();
        breaker.failed(now, None, 0);
        breaker.failed(now + Duration::from_secs(4), None, 0);
        assert_eq!(breaker.circuit(), Circuit::Closed);
        breaker.succeeded();
        breaker.failed(now + Duration::from_secs(5), None, 0);
        assert_eq!(breaker.circuit(), Circuit::Closed);
        breaker.failed(now + Duration::from_secs(10), None, 0);
        assert_eq!(breaker.circuit(), Circuit::Open);
    }

    #[test]
    fn what_the_gateway_asks_for_is_kept_after_success() {
        let mut breaker = Breaker::new(RetryPolicy::default());
        let now = Instant::now();
        let until = now + Duration::from_secs(7);
        breaker.failed(now, Some(until), 0);
        breaker.succeeded();
        assert_eq!(breaker.enter(now), Entry::Wait(until));
    }
}
