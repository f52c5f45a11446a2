//! What a request costs between pairing and encoding: its route, the decision about its span,
//! and its metrics.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark panics when something is wrong"
)]

#[path = "../tests/export/sample.rs"]
#[allow(dead_code, reason = "the other half of it is for the export tests")]
mod sample;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use remora::deciding::metrics::{Registry, Settings as MetricsSettings};
use remora::deciding::route::{DEFAULT_ROUTES, Routed, Router};
use remora::deciding::sampling::{Sampler, Settings};
use sample::{Sample, client, process, server};

/// Requests of an iteration: both sides of eight processes, and 96 routes of two segments and
/// an id.
fn samples() -> Vec<Sample> {
    (0..1024u32)
        .map(|i| {
            let mut sample = if i % 2 == 0 { server() } else { client() };
            sample.process = process(i % 8);
            sample.route = None;
            sample.path = Some(format!(
                "/api/v1/things-{}x/{}/details",
                char::from(b'a' + (i % 12) as u8),
                1000 + i
            ));
            sample.status = Some(if i % 100 == 0 { 503 } else { 200 });
            sample.duration = u64::from(1 + i % 97) * 1_000_000;
            let id = u128::from(i).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            sample.trace_id = (id | 1 << 100).to_be_bytes();
            sample.state = None;
            sample.parent = None;
            sample
        })
        .collect()
}

fn decide(criterion: &mut Criterion) {
    let samples = samples();
    let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();
    let mut group = criterion.benchmark_group("decide");
    group.throughput(Throughput::Elements(exchanges.len() as u64));
    let mut router = Router::new(Vec::new(), DEFAULT_ROUTES);
    let routes: Vec<(u32, Option<String>)> = (exchanges.iter())
        .map(|exchange| {
            let routed = router.route(exchange);
            (routed.id, routed.text.map(str::to_owned))
        })
        .collect();
    let routed: Vec<Routed<'_>> = (routes.iter())
        .map(|(id, text)| Routed {
            id: *id,
            text: text.as_deref(),
        })
        .collect();
    group.bench_function("route", |bencher| {
        bencher.iter(|| {
            for exchange in &exchanges {
                black_box(router.route(black_box(exchange)));
            }
        });
    });
    for exponential in [false, true] {
        let name = if exponential {
            "exponential"
        } else {
            "explicit"
        };
        let mut registry = Registry::new(
            MetricsSettings {
                exponential,
                ..MetricsSettings::default()
            },
            1,
        );
        let mut sampler = Sampler::new(Settings::default());
        let mut now = 0;
        group.bench_function(format!("sampling and metrics, {name}"), |bencher| {
            bencher.iter(|| {
                // As at 100,000 requests/s.
                now += 10_000_000;
                sampler.tick(now, 0.0);
                for (exchange, routed) in exchanges.iter().zip(&routed) {
                    let decision = sampler.decide(black_box(exchange), *routed);
                    registry.record(exchange, *routed, decision.keep);
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decide);
criterion_main!(benches);
