//! Finding out which parts of a request a gateway takes.
//!
//! A gateway that says that a request is too large is sent its halves. One that may have meant
//! something else, a quota for instance, is asked by the smallest part that is easily made: if it
//! takes that, the size was the reason. If it does not, nothing that is as large has a chance, and is
//! not sent: so a gateway that refuses everything gets a few requests for each batch, not two for
//! each span of it.

use super::loan::Group;
use super::retry::Excess;

/// What the answers to parts of one request say about sizes.
#[derive(Debug, Default)]
pub(super) struct Fit {
    /// Bytes of the smallest request that was refused and cannot be cut.
    hopeless: Option<usize>,
    /// Bytes of the smallest request that was refused, and cut, since one was taken.
    refused: Option<usize>,
    /// Whether any part was taken.
    taken: bool,
}

/// What to do with a request, or what is left of it.
#[derive(Debug)]
pub(super) enum Next {
    /// These parts, in this order.
    Parts(Vec<Group>),
    /// No gateway of this size takes it.
    Hopeless,
}

impl Fit {
    /// What becomes of a request before it is sent, if it is not to be sent.
    pub(super) fn before(&self, group: &Group) -> Option<Next> {
        let hopeless = self.hopeless.is_some_and(|bytes| group.bytes() >= bytes);
        hopeless.then(|| halves(group))
    }

    /// What becomes of a request that was refused.
    pub(super) fn refused(&mut self, group: &Group, excess: Excess) -> Next {
        let bytes = group.bytes();
        let parts = match excess {
            Excess::Perhaps | Excess::Passing if !self.taken => least(group),
            _ => halves(group),
        };
        let smallest = match parts {
            Next::Parts(_) => &mut self.refused,
            Next::Hopeless => &mut self.hopeless,
        };
        *smallest = Some(smallest.map_or(bytes, |smallest| smallest.min(bytes)));
        parts
    }

    /// A part was taken. Returns what turned out to be too large, bytes, if that is news.
    pub(super) fn taken(&mut self) -> Option<usize> {
        self.taken = true;
        self.refused.take()
    }
}

fn halves(group: &Group) -> Next {
    group
        .cut()
        .map_or(Next::Hopeless, |halves| Next::Parts(halves.into()))
}

/// A small part first, then the halves of what is left.
fn least(group: &Group) -> Next {
    let Some((least, rest)) = group.least() else {
        return Next::Hopeless;
    };
    let mut parts = vec![least];
    match rest.cut() {
        Some(halves) => parts.extend(halves),
        None => parts.push(rest),
    }
    Next::Parts(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::export::batch::{Batch, Signal};
    use crate::span::wire;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    /// A request with a span of each size.
    fn request(sizes: &[usize]) -> Batch {
        let field = |number, value: &[u8]| {
            let mut out = Vec::new();
            wire::bytes(&mut out, number, value);
            out
        };
        let spans: Vec<u8> = (sizes.iter().zip((0u8..=255).cycle()))
            .flat_map(|(size, id)| field(2, &field(1, &vec![id; *size])))
            .collect();
        let body = field(1, &[field(1, b"resource"), field(2, &spans)].concat());
        Batch {
            signal: Signal::Traces,
            items: sizes.len() as u64,
            body: body.into(),
        }
    }

    /// Sends a request to a gateway. Returns items taken, items given up, and requests.
    fn send(batch: Batch, excess: Excess, takes: impl Fn(usize) -> bool) -> (u64, u64, u64) {
        let mut fit = Fit::default();
        let mut groups = vec![Group::of_batch(batch)];
        let (mut taken, mut lost, mut requests) = (0, 0, 0);
        while let Some(group) = groups.pop() {
            let next = fit.before(&group).or_else(|| {
                requests += 1;
                if takes(group.bytes()) {
                    fit.taken();
                    taken += group.items();
                    return None;
                }
                Some(fit.refused(&group, excess))
            });
            match next {
                None => {}
                Some(Next::Parts(parts)) => groups.extend(parts.into_iter().rev()),
                Some(Next::Hopeless) => lost += group.items(),
            }
        }
        (taken, lost, requests)
    }

    #[test]
    fn a_gateway_that_takes_nothing_is_asked_a_few_times() {
        let sizes: Vec<usize> = (0..512).map(|it| 50 + it * 37 % 400).collect();
        let (taken, lost, requests) = send(request(&sizes), Excess::Perhaps, |_| false);
        assert_eq!((taken, lost), (0, 512));
        assert!(requests < 12, "{requests}");
        let (.., requests) = send(request(&sizes), Excess::Size, |_| false);
        assert!(requests < 24, "{requests}");
    }

    #[test]
    fn a_limit_costs_a_few_requests() {
        let sizes = vec![300; 512];
        let whole = request(&sizes).body.len();
        let (taken, lost, requests) = send(request(&sizes), Excess::Perhaps, |bytes| {
            bytes < whole * 2 / 3
        });
        assert_eq!((taken, lost), (512, 0));
        assert_eq!(requests, 4, "all, one, and two halves");
    }

    proptest! {
        /// Whatever fits alone is taken, whatever the gateway calls its limit.
        #[test]
        fn nothing_is_lost_that_fits(
            sizes in proptest::collection::vec(1usize..2000, 1..60),
            limit in 20usize..4000,
            words in 0usize..3,
        ) {
            let excess = [Excess::Size, Excess::Perhaps, Excess::Passing][words];
            let fits = |size: &&usize| request(&[**size]).body.len() <= limit;
            let expected = sizes.iter().filter(fits).count() as u64;
            let all = sizes.len() as u64;
            let (taken, lost, requests) = send(request(&sizes), excess, |bytes| bytes <= limit);
            prop_assert_eq!((taken, lost), (expected, all - expected));
            prop_assert!(requests <= 2 * all + 1);
        }
    }
}
