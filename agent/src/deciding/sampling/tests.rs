use super::strategy::Strategy;
use super::*;
use crate::fixture::{nginx, ok, server_conn};
use crate::model::exchange::TraceContext;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

const SECOND: u64 = 1_000_000_000;

fn settings(budget: f64, rules: &[&str]) -> Settings {
    Settings {
        budget,
        cap: default_cap(budget),
        rules: rules
            .iter()
            .map(|text| Rule::parse(text).unwrap())
            .collect(),
        ..Settings::default()
    }
}

/// A source of trace ids.
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> [u8; 16] {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mix = |mut z: u64| {
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        (u128::from(mix(self.0)) << 64 | u128::from(mix(self.0 ^ 0xabcd))).to_be_bytes()
    }
}

/// Sends `rate` requests a second for so many seconds, from a time on; returns how many
/// were kept, and how many those stand for.
fn drive(
    sampler: &mut Sampler,
    ids: &mut Ids,
    from: u64,
    seconds: u64,
    rate: u64,
    routes: u32,
) -> (u64, f64) {
    let (process, conn) = (nginx(), server_conn());
    let mut exchange = ok(&process, &conn);
    let (mut kept, mut stands) = (0, 0.0);
    for second in 0..seconds {
        for slice in 0..10 {
            sampler.tick((from + second) * SECOND + slice * SECOND / 10, 0.0);
            for n in 0..rate / 10 {
                exchange.trace.trace_id = ids.next();
                let routed = Routed {
                    id: (n % u64::from(routes)) as u32,
                    text: Some("/x"),
                };
                let decision = sampler.decide(&exchange, routed);
                if decision.keep {
                    kept += 1;
                    stands += decision
                        .threshold
                        .and_then(Threshold::adjusted_count)
                        .unwrap_or(1.0);
                }
            }
        }
    }
    (kept, stands)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = [
        "health=path:/healthz@0",
        "errors",
        "slow:1s",
        "pay=service:pay*",
        "orders=route:/orders*@0.5",
        "upstream",
    ];
    let mut sampler = Sampler::new(settings(0.0, &rules));
    let (process, conn) = (nginx(), server_conn());
    let pay = crate::model::exchange::ProcessInfo {
        service: "payment".into(),
        ..nginx()
    };
    let base = ok(&process, &conn);
    let sampled = TraceContext {
        parent_span_id: Some([1; 8]),
        flags: 1,
        ..base.trace
    };
    let error = Exchange {
        error: Some("500"),
        status: Some(500),
        ..base.clone()
    };
    for (exchange, route, keep, by) in [
        (
            Exchange {
                path: Some("/healthz"),
                ..error.clone()
            },
            None,
            false,
            "health",
        ),
        (error, None, true, "errors"),
        (
            Exchange {
                duration_ns: SECOND,
                ..base.clone()
            },
            None,
            true,
            "slow",
        ),
        (
            Exchange {
                process: &pay,
                ..base.clone()
            },
            None,
            true,
            "pay",
        ),
        (
            Exchange {
                trace: sampled,
                ..base.clone()
            },
            None,
            true,
            "upstream",
        ),
        (base.clone(), Some("/orders/{id}"), true, "orders"),
        (base.clone(), None, false, "budget"),
    ] {
        let decision = sampler.decide(&exchange, Routed { id: 1, text: route });
        assert_eq!((decision.keep, sampler.name(decision.by)), (keep, by));
    }
    let tallies: Vec<_> = sampler
        .tallies()
        .filter(|(_, tally)| *tally != Tally::default())
        .collect();
    assert_eq!(tallies.len(), 7, "{tallies:?}");
    assert_eq!(
        tallies[0],
        (
            "health",
            Tally {
                kept: 0,
                dropped: 1
            }
        )
    );
}

#[test]
fn thresholds_from_upstream_are_respected() {
    let mut sampler = Sampler::new(settings(0.0, &["upstream"]));
    let (process, conn) = (nginx(), server_conn());
    let mut exchange = ok(&process, &conn);
    exchange.trace.parent_span_id = Some([1; 8]);
    let mut state = String::new();
    // The randomness given, not the trace id, decides; theirs is the lower threshold.
    for (given, flags, keep, written) in [
        (
            "ot=th:8;rv:80000000000000",
            1,
            true,
            Some("ot=th:8;rv:80000000000000"),
        ),
        // A threshold that was not kept to is none.
        (
            "ot=th:8;rv:7fffffffffffff,a=1",
            1,
            true,
            Some("ot=rv:7fffffffffffff,a=1"),
        ),
        ("a=1", 1, true, Some("a=1")),
        ("ot=th:8;rv:80000000000000", 0, false, None),
    ] {
        exchange.trace.state = Some(given);
        exchange.trace.flags = flags;
        let decision = sampler.decide(&exchange, Routed { id: 1, text: None });
        assert_eq!(decision.keep, keep, "{given}");
        if keep {
            assert_eq!(decision.tracestate(&exchange, &mut state), written);
        }
    }
}

#[test]
fn strategies_by_name() {
    let (process, conn) = (nginx(), server_conn());
    let root = ok(&process, &conn);
    let mut child = root.clone();
    child.trace.parent_span_id = Some([1; 8]);
    let unsampled = Exchange {
        trace: TraceContext {
            flags: 0,
            ..child.trace
        },
        ..child.clone()
    };
    for (name, kept) in [
        ("always_on", [true, true, true]),
        ("always_off", [false, false, false]),
        ("traceidratio", [true, true, true]),
        ("parentbased_always_on", [true, true, false]),
        ("parentbased_always_off", [false, true, false]),
        ("parentbased_traceidratio", [true, true, false]),
    ] {
        // The trace id of the fixture has randomness ce929d….
        let strategy = Strategy::named(name, 0.5).unwrap();
        assert_eq!(strategy.name(), name);
        let mut sampler = Sampler::new(Settings {
            strategy,
            ..Settings::default()
        });
        let routed = Routed { id: 1, text: None };
        let found =
            [&root, &child, &unsampled].map(|exchange| sampler.decide(exchange, routed).keep);
        assert_eq!(found, kept, "{name}");
    }
    let mut sampler = Sampler::new(Settings {
        strategy: Strategy::Ratio(0.1),
        ..Settings::default()
    });
    assert!(!sampler.decide(&root, Routed { id: 1, text: None }).keep);
}

#[test]
fn quiet_routes_are_seen_as_well_as_busy_ones() {
    let mut sampler = Sampler::new(settings(100.0, &[]));
    let mut ids = Ids(1);
    let (process, conn) = (nginx(), server_conn());
    let mut exchange = ok(&process, &conn);
    let mut kept = [0u32; 3];
    for second in 0..120u64 {
        sampler.tick(second * SECOND, 0.0);
        for n in 0..5_000u32 {
            // 4,949, 50 and 1 a second.
            let route = if n == 0 { 2 } else { u32::from(n <= 50) };
            exchange.trace.trace_id = ids.next();
            let keep = sampler
                .decide(
                    &exchange,
                    Routed {
                        id: route,
                        text: None,
                    },
                )
                .keep;
            kept[route as usize] += u32::from(keep && second >= 40);
        }
    }
    assert!(kept[2] >= 78, "{kept:?}");
    assert!(
        kept[1] > 1_500 && kept[0] > 3_000 && kept[0] < 6_000,
        "{kept:?}"
    );
}

#[test]
fn no_budget_keeps_what_rules_keep_and_a_huge_one_everything() {
    let mut none = Sampler::new(settings(0.0, &["errors"]));
    assert_eq!(drive(&mut none, &mut Ids(1), 0, 60, 1000, 5).0, 0);
    let (process, conn) = (nginx(), server_conn());
    let error = Exchange {
        error: Some("500"),
        ..ok(&process, &conn)
    };
    assert!(none.decide(&error, Routed { id: 1, text: None }).keep);
    let mut huge = Sampler::new(settings(1e9, &["errors"]));
    assert_eq!(drive(&mut huge, &mut Ids(1), 0, 60, 1000, 5).0, 60_000);
}

#[test]
fn a_cold_start_under_load_stays_near_the_budget() {
    for rate in [1_000, 20_000] {
        let mut sampler = Sampler::new(settings(100.0, &[]));
        let (kept, stands) = drive(&mut sampler, &mut Ids(5), 0, 10, rate, 20);
        assert!(
            (100..2_500).contains(&kept),
            "{kept} of {rate}/s in the first 10 s"
        );
        let truth = (rate * 10) as f64;
        assert!((stands / truth - 1.0).abs() < 0.3, "{stands} for {truth}");
    }
}

#[test]
fn clocks_may_step() {
    let mut sampler = Sampler::new(settings(100.0, &[]));
    let mut ids = Ids(3);
    drive(&mut sampler, &mut ids, 1_000, 60, 2_000, 10);
    // Back by a quarter of an hour, and on by a day.
    for from in [100, 90_000] {
        let before = drive(&mut sampler, &mut ids, from, 30, 2_000, 10).0;
        let kept = drive(&mut sampler, &mut ids, from + 30, 60, 2_000, 10).0;
        assert!((5_400..6_600).contains(&kept), "{kept} {before}");
        assert!(before < 6_000, "{before}");
    }
}

#[test]
fn the_cap_holds_whatever_rules_keep_and_overload_is_consistent() {
    let settings = Settings {
        cap: 500.0,
        ..settings(100.0, &["errors"])
    };
    let mut sampler = Sampler::new(settings);
    let (process, conn) = (nginx(), server_conn());
    let mut exchange = Exchange {
        error: Some("500"),
        ..ok(&process, &conn)
    };
    let mut ids = Ids(9);
    let mut stands = 0.0;
    for second in 0..30u64 {
        let mut kept = 0;
        for slice in 0..10 {
            sampler.tick(second * SECOND + slice * SECOND / 10, 0.0);
            for _ in 0..1_000 {
                exchange.trace.trace_id = ids.next();
                let decision = sampler.decide(&exchange, Routed { id: 1, text: None });
                kept += u32::from(decision.keep);
                if decision.keep && second >= 5 {
                    stands += decision
                        .threshold
                        .and_then(Threshold::adjusted_count)
                        .unwrap();
                    assert!(
                        decision
                            .threshold
                            .unwrap()
                            .keeps(Randomness::of(&exchange.trace.trace_id))
                    );
                }
            }
        }
        assert!(kept <= 1_000, "{kept} in second {second}");
        assert!(second < 2 || kept <= 500, "{kept} in second {second}");
    }
    assert!(sampler.adaptive().overload().is_active());
    assert!((stands / 250_000.0f64 - 1.0).abs() < 0.05, "{stands}");
}

#[test]
fn strata_are_bounded_and_forgotten() {
    let mut sampler = Sampler::new(settings(100.0, &["rare:6"]));
    let (process, conn) = (nginx(), server_conn());
    let exchange = ok(&process, &conn);
    for id in 0..100_000 {
        sampler.tick(u64::from(id) * SECOND / 10_000, 0.0);
        sampler.decide(
            &exchange,
            Routed {
                id,
                text: Some("/x"),
            },
        );
    }
    assert_eq!(sampler.adaptive().strata().len(), strata::MAX_STRATA);
    assert!(sampler.adaptive().shared() > 90_000);
    for second in 10..1_000 {
        sampler.tick(second * SECOND, 0.0);
    }
    assert_eq!(sampler.adaptive().strata().len(), 1);
}

#[test]
fn other_settings_keep_what_is_known() {
    let mut sampler = Sampler::new(settings(100.0, &["errors", "slow:1s"]));
    let (process, conn) = (nginx(), server_conn());
    let error = Exchange {
        error: Some("500"),
        ..ok(&process, &conn)
    };
    sampler.decide(&error, Routed { id: 1, text: None });
    sampler.configure(settings(50.0, &["upstream", "errors"]));
    let tallies: Vec<_> = sampler.tallies().take(2).collect();
    assert_eq!(
        tallies,
        [
            ("upstream", Tally::default()),
            (
                "errors",
                Tally {
                    kept: 1,
                    dropped: 0
                }
            )
        ]
    );
    assert_eq!(sampler.adaptive().strata().len(), 2);
}

proptest! {
    /// Two agents with thresholds of their own: what the stricter one keeps the other one keeps
    /// as well, also where only the randomness in `tracestate` is the same.
    #[test]
    fn agents_agree(a in 0.0f64..=1.0, b in 0.0f64..=1.0, ids in proptest::collection::vec(any::<(u128, Option<u64>)>(), 50)) {
        let (process, conn) = (nginx(), server_conn());
        let agent = |ratio| Sampler::new(Settings { strategy: Strategy::Ratio(ratio), ..Settings::default() });
        let (mut strict, mut same, mut lax) = (agent(a.min(b)), agent(a.min(b)), agent(a.max(b)));
        for (id, random) in ids {
            let state = random.map(|random| format!("ot=rv:{:014x}", random >> 8));
            let mut exchange = ok(&process, &conn);
            exchange.trace.trace_id = id.to_be_bytes();
            exchange.trace.state = state.as_deref();
            let routed = Routed { id: 1, text: None };
            let strict = strict.decide(&exchange, routed);
            prop_assert!(!strict.keep || lax.decide(&exchange, routed).keep);
            exchange.trace.trace_id = if state.is_some() { [7; 16] } else { id.to_be_bytes() };
            prop_assert_eq!(strict.keep, same.decide(&exchange, routed).keep);
        }
    }
}
