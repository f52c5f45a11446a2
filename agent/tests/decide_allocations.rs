//! Finding the route of a request, deciding about its span, and counting it allocates nothing
//! once all are known.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "support/allocations.rs"]
mod allocations;
#[path = "export/sample.rs"]
#[allow(dead_code, reason = "the other half of it is for the export tests")]
mod sample;

use remora::deciding::metrics::{Registry, Settings as MetricsSettings};
use remora::deciding::route::{DEFAULT_ROUTES, Router};
use remora::deciding::sampling::{Sampler, Settings};
use sample::{Sample, client, process, server};

#[test]
fn steady_state() {
    let samples: Vec<Sample> = (0..64u32)
        .map(|i| {
            let mut sample = if i % 2 == 0 { server() } else { client() };
            sample.process = process(i % 5);
            sample.route = None;
            sample.path = Some(format!(
                "/api/v1/{}/{i}",
                ["users", "orders", "items"][(i % 3) as usize]
            ));
            sample.state = Some("ot=rv:6e6d1a75832a2f,a=1".into());
            sample.status = Some(if i % 7 == 0 { 500 } else { 200 });
            sample.trace_id = (u128::from(i) << 100 | u128::from(i) << 50 | 1).to_be_bytes();
            sample
        })
        .collect();
    for exponential in [false, true] {
        let mut router = Router::new(Vec::new(), DEFAULT_ROUTES);
        let mut sampler = Sampler::new(Settings::default());
        let settings = MetricsSettings {
            exponential,
            ..MetricsSettings::default()
        };
        let mut registry = Registry::new(settings, 1);
        let mut state = String::new();
        let mut kept = 0;
        let mut before = 0;
        for round in 0..200u64 {
            // Control intervals included.
            sampler.tick(round * 500_000_000, 0.0);
            if round == 100 {
                before = allocations::allocations();
            }
            for (sample, number) in samples.iter().zip(0u64..) {
                let mut exchange = sample.exchange();
                exchange.duration_ns =
                    1_000_000 + (round % 100 * 37 + number * 91) % 1000 * 100_000;
                let routed = router.route(&exchange);
                let decision = sampler.decide(&exchange, routed);
                registry.record(&exchange, routed, decision.keep);
                if decision.keep {
                    kept += 1;
                    assert!(decision.tracestate(&exchange, &mut state).is_some());
                }
            }
        }
        assert_eq!(allocations::allocations() - before, 0);
        assert!(kept > 100, "{kept}");
    }
}
