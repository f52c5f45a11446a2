//! `remora demo`: own services and clients, traced, shown, and counted against what they
//! say they did.

pub mod services;

use std::fmt::Write as _;
use std::io;

use super::deciding::routed;
use super::live::{Live, STEP};
use super::{processes, replay, written};
use crate::app::demo::services::cast::{Cast, Did};
use crate::capture::ledger::{Ledger, Summary};
use crate::capture::recording::Recording;
use crate::cli::demo::Demo;
use crate::deciding::route::Router;
use crate::model::exchange::{Exchange, Side, Sink};
use crate::model::exit::{Exit, Failure};
use crate::model::signal;
use crate::output::Format;
use crate::output::red::Red;
use crate::output::screen::{Colour, Screen};
use crate::output::{self, Report};
use crate::pairing::conn::Limits;

/// Requests shown as they happen; the rest is counted.
const SHOWN: u64 = 24;

/// The demo as it was once recorded, for hosts that do not allow tracing.
static RECORDING: &[u8] = include_bytes!("../../demo/demo.rec");

/// Shows the demo live, or from its recording. Returns the exit code.
pub(super) fn run(demo: &Demo) -> Result<u8, Failure> {
    signal::catch().map_err(Failure::failed)?;
    if demo.replay {
        return recorded(demo);
    }
    match live(demo) {
        Err(Refused::ByKernel(failure)) => {
            eprintln!("remora: {failure}");
            eprintln!("remora: showing the recording that comes with remora instead\n");
            recorded(demo)
        }
        Err(Refused::Otherwise(failure)) => Err(failure),
        Ok(code) => Ok(code),
    }
}

/// Why there was no live demo.
enum Refused {
    ByKernel(Failure),
    Otherwise(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Otherwise(failure)
    }
}

fn live(demo: &Demo) -> Result<u8, Refused> {
    let mut cast = Cast::start(demo.duration)?;
    let pids = cast.pids();
    let mut live = Live::start(
        &demo.config,
        &pids,
        processes(&demo.config),
        demo.record.as_deref(),
        false,
    )
    .map_err(|failure| match failure.exit {
        Exit::Unsupported | Exit::Failed => Refused::ByKernel(failure),
        _ => Refused::Otherwise(failure),
    })?;
    let mut stage = Stage::new(demo);
    cast.begin()?;
    while cast.is_playing()? && signal::received().is_none() {
        live.step(STEP, &mut stage)?;
        if written(stage.report.flush())?.is_none() {
            return Ok(Exit::Done.code());
        }
    }
    let did = cast.end();
    let ledger = live.finish(&mut stage)?;
    let counts = stage.counts;
    let Some(summary) = written(stage.finish(ledger))? else {
        return Ok(Exit::Done.code());
    };
    Ok(verdict(&did?, &counts, pids, &summary)?)
}

fn recorded(demo: &Demo) -> Result<u8, Failure> {
    let recording = Recording::new(RECORDING, "demo.rec".as_ref()).map_err(Failure::failed)?;
    let mut replay = crate::pairing::replay::Replay::new(recording, Limits::default());
    let mut stage = Stage::new(demo);
    replay.run(&mut stage).map_err(replay::unreadable)?;
    written(stage.finish(replay.ledger()))?;
    Ok(Exit::Done.code())
}

/// Shows the first requests, and counts all.
struct Stage {
    report: Box<dyn Report>,
    screen: Screen,
    /// Requests still to be shown.
    left: u64,
    red: Red,
    counts: Counts,
    errors: Errors,
    router: Router,
}

/// Answers that are errors to somebody.
#[derive(Clone, Copy, Default)]
struct Errors {
    /// Requests answered 400 to 499, seen by clients, and how many of them are errors to
    /// clients and to servers.
    client: [u64; 3],
    /// The same for 500 and above.
    server: [u64; 3],
    /// Calls with another status than OK, likewise.
    calls: [u64; 3],
}

impl Errors {
    fn add(&mut self, exchange: &Exchange<'_>) {
        let kind = match (exchange.rpc, exchange.status) {
            (Some(rpc), _) if rpc.status != Some(0) => &mut self.calls,
            (None, Some(400..500)) => &mut self.client,
            (None, Some(500..)) => &mut self.server,
            _ => return,
        };
        let is_error = u64::from(exchange.error.is_some());
        match exchange.side {
            Side::Client => {
                kind[0] += 1;
                kind[1] += is_error;
            }
            Side::Server => kind[2] += is_error,
        }
    }

    /// What the two rates in the table mean, by what was seen.
    fn explained(&self) -> String {
        let row = |what: &str, [count, made, served]: [u64; 3]| {
            format!("  {what:<22} {count:>5}  {made:>17}  {served:>17}\n")
        };
        [
            "ERRORS of clients and of servers are two things: who asks for what is not there\n",
            "made the mistake, and the server answered well. So a 4xx is an error where the\n",
            "request was made, not where it was served; a 5xx is one on both sides.\n",
            &format!(
                "  {:<22} {:>5}  {:>17}  {:>17}\n",
                "", "SEEN", "ERRORS OF CLIENTS", "ERRORS OF SERVERS"
            ),
            &row("4xx (404, 409)", self.client),
            &row("5xx (500)", self.server),
            &row("gRPC (NOT_FOUND)", self.calls),
        ]
        .concat()
    }
}

/// Requests seen by process and side, for at most as many processes as take part.
#[derive(Clone, Copy, Default)]
struct Counts {
    seen: [(u32, u64, u64); 4],
    strangers: u64,
}

impl Counts {
    fn add(&mut self, pid: u32, side: Side) {
        let slot = self
            .seen
            .iter_mut()
            .find(|(known, ..)| *known == pid || *known == 0);
        match (slot, side) {
            (Some((known, served, _)), Side::Server) => (*known, *served) = (pid, *served + 1),
            (Some((known, _, asked)), Side::Client) => (*known, *asked) = (pid, *asked + 1),
            (None, _) => self.strangers += 1,
        }
    }

    /// Requests served and made by a process.
    fn of(&self, pid: u32) -> (u64, u64) {
        let found = self.seen.iter().find(|(known, ..)| *known == pid);
        found.map_or((0, 0), |(_, served, asked)| (*served, *asked))
    }
}

impl Stage {
    fn new(demo: &Demo) -> Self {
        let screen = Screen::stdout();
        let left = match demo.format {
            Format::Table => SHOWN,
            Format::Json => u64::MAX,
        };
        Self {
            report: output::stdout(demo.format, demo.config.query.clone(), screen),
            screen,
            left,
            red: Red::default(),
            counts: Counts::default(),
            errors: Errors::default(),
            router: {
                let deciding = &demo.config.deciding;
                Router::new(deciding.routes.clone(), deciding.max_routes)
            },
        }
    }

    fn finish(mut self, ledger: Ledger) -> io::Result<Summary> {
        let summary = ledger.summary();
        let mut text = String::new();
        if summary.emitted > SHOWN {
            let (dim, plain) = (self.screen.paint(Colour::Dim), self.screen.plain());
            let _ = writeln!(text, "{dim}and {} more{plain}", summary.emitted - SHOWN);
        }
        let _ = writeln!(text, "\n{}", self.red.table(&self.screen));
        let _ = writeln!(text, "{}", self.errors.explained());
        self.report.note(&text)?;
        self.report.finish(&summary)?;
        Ok(summary)
    }
}

impl Sink for Stage {
    fn exchange(&mut self, exchange: &Exchange<'_>) {
        self.counts.add(exchange.process.tgid, exchange.side);
        self.errors.add(exchange);
        let route = self.router.route(exchange);
        let exchange = &routed(exchange, route);
        self.red.record(exchange);
        if self.left > 0 {
            self.left -= 1;
            self.report.exchange(exchange);
        }
    }
}

/// Holds what was seen against what the processes say they did.
fn verdict(did: &Did, counts: &Counts, pids: [u32; 4], summary: &Summary) -> Result<u8, Failure> {
    let [stock, shop, prices, client] = pids;
    let rows = [
        ("clients made", did.made + did.called, counts.of(client).1),
        ("shop served", did.shop_served, counts.of(shop).0),
        ("shop made", did.shop_asked, counts.of(shop).1),
        ("stock served", did.stock_served, counts.of(stock).0),
        ("prices served", did.prices_served, counts.of(prices).0),
    ];
    let exact = rows.iter().all(|(_, said, seen)| said == seen)
        && counts.strangers == 0
        && summary.balanced();
    if exact {
        eprintln!(
            "remora: the clients made {} requests and {} calls, and the shop {} requests more; \
             each was seen on both sides, none was missed or made up",
            did.made, did.called, did.shop_asked
        );
        return Ok(Exit::Done.code());
    }
    let mut text = String::from("what was seen is not what was done:");
    for (what, said, seen) in rows {
        let _ = write!(text, " the {what} {said}, seen {seen};");
    }
    let lost = summary.lost.total();
    Err(Failure::failed(format!("{text} lost {lost}"))
        .with_fix("if requests were lost, give it a larger ring: REMORA_RING_BYTES=64m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(u32, Side, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (pid, side, count) in all {
            (0..*count).for_each(|_| counts.add(*pid, *side));
        }
        counts
    }

    #[test]
    fn a_single_request_amiss_is_a_failure() {
        let did = Did {
            made: 5,
            called: 2,
            shop_served: 5,
            shop_asked: 3,
            stock_served: 3,
            prices_served: 2,
        };
        let pids = [1, 2, 4, 3];
        let summary = Summary {
            seen: 20,
            emitted: 20,
            ..Summary::default()
        };
        let exact = [
            (3, Side::Client, 7),
            (2, Side::Server, 5),
            (2, Side::Client, 3),
            (1, Side::Server, 3),
            (4, Side::Server, 2),
        ];
        assert_eq!(verdict(&did, &counts(&exact), pids, &summary), Ok(0));
        for at in 0..exact.len() {
            let mut fewer = exact;
            fewer[at].2 -= 1;
            assert!(
                verdict(&did, &counts(&fewer), pids, &summary).is_err(),
                "{at}"
            );
        }
        let stranger = [&exact[..], &[(9, Side::Client, 1)]].concat();
        assert!(verdict(&did, &counts(&stranger), pids, &summary).is_err());
        let unbalanced = Summary {
            seen: 21,
            ..summary
        };
        assert!(verdict(&did, &counts(&exact), pids, &unbalanced).is_err());
    }

    #[test]
    fn the_recording_shows_what_errors_mean() {
        let recording = Recording::new(RECORDING, "demo.rec".as_ref()).unwrap();
        let mut replay = crate::pairing::replay::Replay::new(recording, Limits::default());
        let mut errors = Errors::default();
        struct Add<'a>(&'a mut Errors);
        impl Sink for Add<'_> {
            fn exchange(&mut self, exchange: &Exchange<'_>) {
                self.0.add(exchange);
            }
        }
        replay.run(&mut Add(&mut errors)).unwrap();
        for (kind, to_servers) in [
            (errors.client, false),
            (errors.server, true),
            (errors.calls, false),
        ] {
            let [seen, made, served] = kind;
            assert!(seen > 0, "{kind:?}");
            assert_eq!((made, served), (seen, if to_servers { seen } else { 0 }));
        }
        for line in errors.explained().lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }

    #[test]
    fn the_recording_is_whole() {
        let recording = Recording::new(RECORDING, "demo.rec".as_ref()).unwrap();
        let mut replay = crate::pairing::replay::Replay::new(recording, Limits::default());
        let mut counts = Counts::default();
        struct Count<'a>(&'a mut Counts);
        impl Sink for Count<'_> {
            fn exchange(&mut self, exchange: &Exchange<'_>) {
                self.0.add(exchange.process.tgid, exchange.side);
            }
        }
        replay.run(&mut Count(&mut counts)).unwrap();
        let summary = replay.ledger().summary();
        assert!(summary.balanced() && summary.emitted >= 100, "{summary:?}");
        assert_eq!((summary.lost.total(), counts.strangers), (0, 0));
        // Both sides of every connection are in it.
        let (served, asked) = counts
            .seen
            .iter()
            .fold((0, 0), |(a, b), (_, served, asked)| (a + served, b + asked));
        assert_eq!(served, asked);
    }
}
