//! From the pairing stage to what the user sees: filter, limit, report.

use std::io;

use super::deciding::routed;
use crate::capture::ledger::{Ledger, Summary};
use crate::cli::output::Output;
use crate::deciding::filter::Filter;
use crate::deciding::route::Router;
use crate::deciding::sampling::Sampler;
use crate::model::exchange::{Exchange, Sink};
use crate::output::red::Red;
use crate::output::screen::Screen;
use crate::output::{self, Report, Why};

/// Shows exchanges that pass a filter, up to a number.
pub(super) struct Outlet {
    filter: Filter,
    report: Box<dyn Report>,
    red: Option<Red>,
    screen: Screen,
    /// How many may still be shown.
    left: u64,
    filtered: u64,
    router: Router,
    /// For explaining only: nothing is left out.
    sampler: Option<Sampler>,
    /// End of the latest request: the time of what is shown, live or recorded.
    now_ns: u64,
}

impl Outlet {
    /// An outlet to standard output.
    pub(super) fn new(filter: Filter, output: &Output) -> Self {
        let screen = Screen::stdout();
        Self {
            filter,
            report: output::stdout(output.format, output.query.clone(), screen),
            red: output.red.then(Red::default),
            screen,
            left: output.count.unwrap_or(u64::MAX),
            filtered: 0,
            router: Router::new(output.deciding.routes.clone(), output.deciding.max_routes),
            sampler: (output.explain_sampling)
                .then(|| Sampler::new(output.deciding.sampling.clone())),
            now_ns: 0,
        }
    }

    /// Whether as many were shown as were asked for.
    pub(super) const fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Writes out what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.report.flush()
    }

    /// Writes the RED table, if there is one, and the ledger, which then holds what was
    /// filtered here.
    pub(super) fn finish(&mut self, ledger: Ledger) -> io::Result<Summary> {
        let summary = Ledger {
            filtered: self.filtered,
            ..ledger
        }
        .summary();
        let red = self.red.take().filter(|red| !red.is_empty());
        if let Some(red) = red {
            self.report
                .note(&format!("\n{}\n", red.table(&self.screen)))?;
        }
        self.report.finish(&summary)?;
        Ok(summary)
    }
}

impl Sink for Outlet {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        let route = self.router.route(exchange);
        // Sampling sees all that the agent would see, whatever is shown of it.
        let decision = self.sampler.as_mut().map(|sampler| {
            let end = exchange.start_unix_ns.saturating_add(exchange.duration_ns);
            self.now_ns = self.now_ns.max(end);
            sampler.tick(self.now_ns, 0.0);
            sampler.decide(exchange, route)
        });
        let exchange = &routed(exchange, route);
        // What comes after the last one that was asked for is kept back as well.
        if self.left == 0 || !self.filter.passes(exchange) {
            self.filtered += 1;
            return;
        }
        self.left -= 1;
        match (&self.sampler, decision) {
            (Some(sampler), Some(decision)) => {
                let why = Why {
                    kept: decision.keep,
                    by: sampler.name(decision.by),
                    probability: decision.threshold.map(|threshold| threshold.probability()),
                };
                self.report.explained(exchange, &why);
            }
            _ => self.report.exchange(exchange),
        }
        if let Some(red) = &mut self.red {
            red.record(exchange);
        }
    }
}
