//! From requests that ended to the samples that were taken while a thread served them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rustc_hash::FxHashSet;

use crate::config::sampling::Deciding;
use crate::deciding::route::{Routed, Router};
use crate::model::exchange::{Exchange, Side, Sink};
use crate::profile::collect::Tag;
use crate::profile::model::Link;
use crate::profile::session::Session;
use crate::span::method::{self, KnownMethods};

/// Requests that wait to be taken in, at most: those of 100 ms at 300,000 a second.
const WAITING: usize = 1 << 15;
/// Names kept at a time. Methods are few and routes are bounded for each service.
const NAMES: usize = 1 << 13;

/// A request that one thread served.
pub(super) struct Ended {
    conn: u64,
    request: u32,
    tag: Tag,
}

/// Tells of requests that one thread served. Does not wait, and allocates nothing but for
/// names that are new.
#[derive(Debug)]
pub(super) struct Tagger {
    to: SyncSender<Ended>,
    names: FxHashSet<Arc<str>>,
    known_methods: KnownMethods,
    /// Requests that had no room: their samples stay without request.
    missed: u64,
}

/// Takes in what a [`Tagger`] tells.
pub(super) struct Tags(Receiver<Ended>);

/// Both ends.
pub(super) fn tags(known_methods: KnownMethods) -> (Tagger, Tags) {
    let (to, from) = sync_channel(WAITING);
    let tagger = Tagger {
        to,
        names: FxHashSet::default(),
        known_methods,
        missed: 0,
    };
    (tagger, Tags(from))
}

impl Tags {
    /// Hands on what waits.
    pub(super) fn take(&self, session: &mut Session) {
        // Bounded, as more may be coming all the time.
        for ended in self.0.try_iter().take(WAITING) {
            session.tag(ended.conn, ended.request, ended.tag);
        }
    }
}

impl Tagger {
    /// Takes one exchange. `exported` says whether its span will be there to be linked to.
    #[inline]
    pub(super) fn exchange(
        &mut self,
        exchange: &Exchange<'_>,
        route: Option<&str>,
        exported: bool,
    ) {
        if exchange.side != Side::Server || !exchange.one_thread {
            return;
        }
        let known = |name: &&str| self.known_methods.contains(name);
        let method = exchange.method.filter(known).unwrap_or(method::OTHER);
        let link = exported.then_some(Link {
            trace_id: exchange.trace.trace_id,
            span_id: exchange.trace.span_id,
        });
        let ended = Ended {
            conn: exchange.conn.id,
            request: exchange.request,
            tag: Tag {
                method: self.name(method),
                route: self.name(route.unwrap_or_default()),
                link,
            },
        };
        self.missed += u64::from(self.to.try_send(ended).is_err());
    }

    /// Requests that had no room.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }

    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        if self.names.len() >= NAMES {
            self.names.clear();
        }
        let name: Arc<str> = text.into();
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// Routes of requests, for their samples alone: nothing else is made of them, so there are
/// no spans to link to.
#[derive(Debug)]
pub(super) struct Routes {
    router: Router,
    tagger: Tagger,
}

impl Routes {
    /// Finds routes according to the settings.
    pub(super) fn new(deciding: &Deciding, tagger: Tagger) -> Self {
        Self {
            router: Router::new(deciding.routes.clone(), deciding.max_routes),
            tagger,
        }
    }

    /// Requests that had no room.
    pub(super) fn missed(&self) -> u64 {
        self.tagger.missed()
    }
}

impl Sink for Routes {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let Routed { text, .. } = self.router.route(exchange);
        self.tagger.exchange(exchange, text, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn only_what_one_thread_served_is_told() {
        let (mut tagger, tags) = tags(KnownMethods::default());
        let (process, conn) = (fixture::nginx(), fixture::server_conn());
        let served = Exchange {
            request: 7,
            ..fixture::ok(&process, &conn)
        };
        tagger.exchange(&served, Some("/cart/{id}"), true);
        let elsewhere = Exchange {
            one_thread: false,
            ..served.clone()
        };
        tagger.exchange(&elsewhere, Some("/cart/{id}"), true);
        let asked = Exchange {
            side: Side::Client,
            ..served.clone()
        };
        tagger.exchange(&asked, Some("/cart/{id}"), true);
        let odd = Exchange {
            method: Some("BREW"),
            ..served.clone()
        };
        tagger.exchange(&odd, None, false);
        let told: Vec<Ended> = tags.0.try_iter().collect();
        let [first, second] = told.as_slice() else {
            panic!("{} told", told.len());
        };
        assert_eq!((first.conn, first.request), (conn.id, 7));
        assert_eq!(&*first.tag.route, "/cart/{id}");
        assert_eq!(
            first.tag.link.map(|link| link.span_id),
            Some(served.trace.span_id)
        );
        assert_eq!((&*second.tag.method, &*second.tag.route), ("_OTHER", ""));
        assert_eq!(second.tag.link, None);
    }

    #[test]
    fn what_has_no_room_is_counted_and_names_are_bounded() {
        let (mut tagger, tags) = tags(KnownMethods::default());
        let (process, conn) = (fixture::nginx(), fixture::server_conn());
        let exchange = fixture::ok(&process, &conn);
        for n in 0..WAITING + 3 {
            tagger.exchange(&exchange, Some(&format!("/{n}")), false);
        }
        assert_eq!(tagger.missed(), 3);
        assert!(tagger.names.len() <= NAMES);
        assert_eq!(tags.0.try_iter().count(), WAITING);
    }
}
