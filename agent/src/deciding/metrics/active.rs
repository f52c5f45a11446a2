//! `http.{server,client}.active_requests`: the requests under way at the moment of a round.
//!
//! They are counted when somebody looks, from what the pairing stage holds, and not with every
//! request: nothing can drift, and a request costs nothing more. Calls of gRPC are among them,
//! as the HTTP requests that they are.

use std::collections::BTreeMap;

use super::Registry;
use crate::model::exchange::{ProcessInfo, Side};
use crate::span::method::OTHER;

/// What tells the counts apart.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ActiveKey {
    pub(super) service: u32,
    pub(super) client: bool,
    /// `http.request.method`.
    pub(super) method: Box<str>,
}

/// One count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Active {
    pub(super) count: u64,
    /// Since when it is told, ns since 1970.
    pub(super) since_ns: u64,
    /// Nothing is under way, and no request of the kind was seen for long: it is told of one
    /// last time.
    pub(super) ended: bool,
}

/// All counts.
pub(super) type Counts = BTreeMap<ActiveKey, Active>;

impl Registry {
    /// Counts anew what is under way at `now_ns` since 1970. `walk` calls what it is given for
    /// every such request: whose, on which side, and its method, if that is known.
    ///
    /// Services that have series show zero where nothing is under way. What has neither is
    /// told as ended in the next round, and then forgotten.
    pub fn count_active(
        &mut self,
        now_ns: u64,
        walk: impl FnOnce(&mut dyn FnMut(&ProcessInfo, Side, Option<&str>)),
    ) {
        let new = Active {
            count: 0,
            since_ns: now_ns,
            ended: false,
        };
        for active in self.active.values_mut() {
            (active.count, active.ended) = (0, true);
        }
        for series in self.series.iter().filter(|series| !series.key.overflow) {
            let key = ActiveKey {
                service: series.key.service,
                client: series.key.side == Side::Client,
                method: if series.key.rpc {
                    "POST".into()
                } else {
                    series.key.method.clone()
                },
            };
            self.active.entry(key).or_insert(new).ended = false;
        }
        let Self {
            active,
            services,
            settings,
            ..
        } = self;
        walk(&mut |process, side, method| {
            let key = ActiveKey {
                service: services.of(process),
                client: side == Side::Client,
                method: (method.filter(|method| settings.known_methods.contains(method)))
                    .unwrap_or(OTHER)
                    .into(),
            };
            let active = active.entry(key).or_insert(new);
            active.count += 1;
            active.ended = false;
        });
    }

    /// Nobody looks any more: how many are under way is not known from now on.
    pub fn end_active(&mut self) {
        for active in self.active.values_mut() {
            active.ended = true;
        }
    }
}
