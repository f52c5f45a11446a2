//! A day in virtual time: traffic of five periods, with bursts of errors and slow episodes,
//! through routing and adaptive sampling as they are. The table it prints is committed as
//! `sampling_day.txt`; `REMORA_BLESS=1` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "support/random.rs"]
mod random;
#[path = "export/sample.rs"]
#[allow(dead_code, reason = "the other half of it is for the export tests")]
mod sample;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use random::Random;
use remora::deciding::route::{DEFAULT_ROUTES, Router};
use remora::deciding::sampling::threshold::Threshold;
use remora::deciding::sampling::{Sampler, Settings};

/// Requests per second of the five periods.
const RATES: [u64; 5] = [500, 2_000, 8_000, 15_000, 5_000];
/// Length of a period, seconds.
const PERIOD: u64 = 300;
/// Spans per second.
const BUDGET: f64 = 400.0;
/// Control interval, seconds.
const INTERVAL: u64 = 10;
/// Ticks of the sampler in a second.
const TICKS: u64 = 10;
const SECOND: u64 = 1_000_000_000;

/// Errors come in bursts from 100 to 140 s of a period, slow requests from 180 to 220 s. Per
/// 100,000 requests, in and out of the episode.
const ERRORS: (u64, u64) = (1_200, 150);
const SLOW: (u64, u64) = (1_000, 100);

/// Twenty routes of falling popularity, and where they begin among 100,000 requests.
fn routes() -> Vec<(u64, String)> {
    let weights: Vec<f64> = (0..20).map(|n| 1.0 / f64::from(n + 1).powf(1.3)).collect();
    let sum: f64 = weights.iter().sum();
    let words = [
        "users", "items", "cart", "orders", "search", "login", "sessions", "images", "reviews",
        "prices", "stock", "coupons", "address", "payments", "invoices", "refunds", "reports",
        "exports", "audit", "admin",
    ];
    let mut at = 0.0;
    (weights.iter().zip(words))
        .map(|(weight, word)| {
            at += weight / sum * 100_000.0;
            (at as u64, word.to_owned())
        })
        .collect()
}

#[derive(Default)]
struct Route {
    requests: u64,
    kept: u64,
    stands: f64,
}

#[derive(Default)]
struct Period {
    kept: u64,
    by_interval: Vec<u64>,
    errors: (u64, u64),
    slow: (u64, u64),
}

#[test]
fn a_day() {
    let mut router = Router::new(Vec::new(), DEFAULT_ROUTES);
    let mut sampler = Sampler::new(Settings {
        budget: BUDGET,
        cap: BUDGET * 10.0,
        ..Settings::default()
    });
    let mut random = Random(42);
    let popular = routes();
    let server = sample::server();
    let mut exchange = server.exchange();
    exchange.trace.parent_span_id = None;
    exchange.trace.state = None;
    exchange.route = None;
    let mut truth: BTreeMap<String, Route> = BTreeMap::new();
    let paths: Vec<Vec<String>> = (popular.iter())
        .map(|(_, word)| {
            (0..64)
                .map(|id| format!("/api/v1/{word}/{}", 1000 + id))
                .collect()
        })
        .collect();
    let mut routes: Vec<Route> = popular.iter().map(|_| Route::default()).collect();
    let mut periods: Vec<Period> = Vec::new();
    let mut now = 0;
    for rate in RATES {
        let mut period = Period::default();
        for second in 0..PERIOD {
            let errors = if (100..140).contains(&second) {
                ERRORS.0
            } else {
                ERRORS.1
            };
            let slow = if (180..220).contains(&second) {
                SLOW.0
            } else {
                SLOW.1
            };
            if second % INTERVAL == 0 {
                period.by_interval.push(0);
            }
            for _ in 0..TICKS {
                sampler.tick(now, 0.0);
                now += SECOND / TICKS;
                for _ in 0..rate / TICKS {
                    let dice = random.next();
                    let which = dice % 100_000;
                    let route = popular
                        .iter()
                        .position(|(end, _)| which < *end)
                        .unwrap_or(19);
                    exchange.path = Some(&paths[route][(dice >> 20 & 63) as usize]);
                    let fate = (dice >> 30) % 100_000;
                    let (is_error, is_slow) =
                        (fate < errors, (errors..errors + slow).contains(&fate));
                    exchange.status = Some(if is_error { 503 } else { 200 });
                    exchange.error = is_error.then_some("503");
                    exchange.duration_ns = if is_slow { 2 * SECOND } else { 5_000_000 };
                    let id = u128::from(random.next()) << 64 | u128::from(random.next());
                    exchange.trace.trace_id = id.to_be_bytes();
                    let routed = router.route(&exchange);
                    let decision = sampler.decide(&exchange, routed);
                    let kept = u64::from(decision.keep);
                    routes[route].requests += 1;
                    routes[route].kept += kept;
                    if decision.keep {
                        let count = decision.threshold.and_then(Threshold::adjusted_count);
                        routes[route].stands += count.expect("a known probability");
                    }
                    period.kept += kept;
                    *period.by_interval.last_mut().unwrap() += kept;
                    if is_error {
                        period.errors = (period.errors.0 + 1, period.errors.1 + kept);
                    }
                    if is_slow {
                        period.slow = (period.slow.0 + 1, period.slow.1 + kept);
                    }
                }
            }
        }
        periods.push(period);
    }
    for (route, (_, word)) in routes.into_iter().zip(&popular) {
        truth.insert(format!("/api/v1/{word}/{{id}}"), route);
    }
    assert_eq!(router.counts().routes, truth.len());

    let mut table = format!(
        "Adaptive sampling over a simulated day: budget {BUDGET} spans/s, control interval {INTERVAL} s, {PERIOD} s a period\n\n\
         {:>10} {:>10} {:>9} {:>20} {:>15} {:>15}\n",
        "requests/s", "spans/s", "of budget", "interval low to high", "errors kept", "slow kept"
    );
    let mut problems = Vec::new();
    for (period, rate) in periods.iter().zip(RATES) {
        // After three control intervals; bursts are within this time.
        let settled: Vec<f64> = (period.by_interval.iter().skip(3))
            .map(|kept| *kept as f64 / INTERVAL as f64)
            .collect();
        let mean = settled.iter().sum::<f64>() / settled.len() as f64;
        let (low, high) = (
            settled.iter().copied().fold(f64::MAX, f64::min),
            settled.iter().copied().fold(0.0, f64::max),
        );
        let _ = writeln!(
            table,
            "{rate:>10} {mean:>10.1} {:>8.1}% {:>20} {:>15} {:>15}",
            mean / BUDGET * 100.0,
            format!("{low:.0} to {high:.0}"),
            format!("{}/{}", period.errors.1, period.errors.0),
            format!("{}/{}", period.slow.1, period.slow.0),
        );
        for value in [low, mean, high] {
            if (value / BUDGET - 1.0).abs() > 0.1 {
                problems.push(format!("at {rate}/s: {value:.1} spans/s"));
            }
        }
        if period.errors.0 != period.errors.1 || period.slow.0 != period.slow.1 {
            problems.push(format!("at {rate}/s: errors or slow requests were lost"));
        }
    }
    let _ = writeln!(
        table,
        "\n{:<28} {:>10} {:>8} {:>14} {:>7}",
        "route", "requests", "kept", "they stand for", "error"
    );
    for (name, route) in &truth {
        let error = route.stands / route.requests as f64 - 1.0;
        let _ = writeln!(
            table,
            "{name:<28} {:>10} {:>8} {:>14.0} {:>6.2}%",
            route.requests,
            route.kept,
            route.stands,
            error * 100.0
        );
        if error.abs() > 0.02 {
            problems.push(format!("{name}: {:.2} %", error * 100.0));
        }
    }
    let requests: u64 = truth.values().map(|route| route.requests).sum();
    let kept: u64 = periods.iter().map(|period| period.kept).sum();
    let saved = |of: f64| 100.0 * (1.0 - kept as f64 / of);
    // A fixed rate catches errors in proportion to itself: to keep them all it keeps all.
    let all = requests as f64;
    // A fixed rate for the rest beside all errors and slow requests, high enough to show as
    // many spans in the quietest period as adaptive sampling does.
    let forced: u64 = periods
        .iter()
        .map(|period| period.errors.0 + period.slow.0)
        .sum();
    let quiet = &periods[0];
    let rest = (quiet.kept - quiet.errors.0 - quiet.slow.0) as f64
        / (RATES[0] * PERIOD - quiet.errors.0 - quiet.slow.0) as f64;
    let fixed = forced as f64 + rest * (requests - forced) as f64;
    let _ = writeln!(
        table,
        "\nstored: {kept} of {requests} spans\n  {:.1}% below a fixed rate that keeps every error (100 %)\n  \
         {:.1}% below errors and slow requests plus a fixed {:.0} % of the rest, which shows as much of the quietest period",
        saved(all),
        saved(fixed),
        rest * 100.0
    );
    println!("{table}");
    assert!(problems.is_empty(), "{problems:#?}\n{table}");
    assert!(saved(all) >= 62.0 && saved(fixed) >= 62.0);

    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sampling_day.txt");
    if std::env::var_os("REMORA_BLESS").is_some() {
        std::fs::write(file, &table).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(file).unwrap_or_default(),
        table,
        "REMORA_BLESS=1 writes it anew"
    );
}
