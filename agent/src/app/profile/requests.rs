//! The requests that sampled threads serve.

use std::time::Duration;

use crate::app::live::Live;
use crate::app::names::Renamed;
use crate::app::processes;
use crate::app::tagging::{Routes, Tags, tags};
use crate::cli::profile::Profile as Asked;
use crate::host::discovery::ProcessResolver;
use crate::model::exit::Failure;
use crate::profile::kernel::Targets;
use crate::profile::session::Session;
use crate::span::method::KnownMethods;

/// Requests being traced.
pub(super) struct Requests {
    live: Live<Renamed<ProcessResolver>>,
    routes: Routes,
    tags: Tags,
}

impl Requests {
    /// Starts to trace. A profile is of use without requests as well: where that is not
    /// possible, this says why, and the samples stay without.
    pub(super) fn start(asked: &Asked, targets: &Targets) -> Option<Self> {
        // Names and cgroups choose processes that are not there yet, so all are traced.
        let only: &[u32] = if targets.comms.is_empty() && targets.cgroups.is_empty() {
            &targets.pids
        } else {
            &[]
        };
        let found = processes(&asked.config);
        let live = Live::start(&asked.config, only, found, None, true)
            .inspect_err(untagged)
            .ok()?;
        let (tagger, tags) = tags(KnownMethods::default());
        Some(Self {
            live,
            routes: Routes::new(&asked.config.deciding, tagger),
            tags,
        })
    }

    /// Tells the session's programs which thread serves which request. `false` if they
    /// cannot be told.
    pub(super) fn join(&self, session: &mut Session) -> bool {
        let joined = match self.live.serving() {
            Ok(threads) => session
                .sampler()
                .requests_from(threads)
                .map_err(Failure::failed),
            Err(error) => Err(Failure::failed(error)),
        };
        joined.inspect_err(untagged).is_ok()
    }

    /// Takes what is there, and hands it on.
    pub(super) fn step(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.live.step(Duration::ZERO, &mut self.routes)?;
        self.tags.take(session);
        Ok(())
    }

    /// Ends tracing, and hands on what is left.
    pub(super) fn finish(mut self, session: &mut Session) -> Result<(), Failure> {
        let Self { live, routes, tags } = &mut self;
        while live.step(Duration::ZERO, routes)? > 0 {
            tags.take(session);
        }
        self.live.finish(&mut self.routes)?;
        self.tags.take(session);
        if self.routes.missed() > 0 {
            eprintln!(
                "remora: {} requests came too fast to be told to their samples",
                self.routes.missed()
            );
        }
        Ok(())
    }
}

/// Says why samples carry no requests.
fn untagged(failure: &Failure) {
    eprintln!("remora: requests are not traced, samples stay without: {failure}");
}
