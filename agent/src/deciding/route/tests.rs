use super::*;
use crate::fixture::{nginx, ok, server_conn};

/// Asks for a path, and returns its route.
fn ask(router: &mut Router, path: &str, status: u16) -> Option<String> {
    let (nginx, conn) = (nginx(), server_conn());
    let exchange = Exchange {
        path: Some(path),
        route: None,
        status: Some(status),
        ..ok(&nginx, &conn)
    };
    router.route(&exchange).text.map(str::to_owned)
}

fn router() -> Router {
    Router::new(Vec::new(), DEFAULT_ROUTES)
}

#[test]
fn shapes_are_known_at_once() {
    let mut router = router();
    for (path, route) in [
        ("/", "/"),
        ("/users/7", "/users/{id}"),
        ("/users/7/", "/users/{id}"),
        ("//users//8", "/users/{id}"),
        ("/users/7/orders/2026-01-02", "/users/{id}/orders/{id}"),
        (
            "/v1/charges/ch_3MmlLrLkdIwHu7ix0snN0B15",
            "/v1/charges/{id}",
        ),
        ("/a;jsessionid=1/b;x", "/a/b"),
        (
            "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o",
            "/a/b/c/d/e/f/g/h/i/j/k/l/*",
        ),
    ] {
        assert_eq!(
            ask(&mut router, path, 200).as_deref(),
            Some(route),
            "{path}"
        );
    }
}

#[test]
fn words_of_high_variety_become_variable_and_stay_so() {
    let mut router = router();
    for n in 0..31 {
        let name = format!(
            "{}son",
            char::from(b'a' + n % 26)
                .to_string()
                .repeat(1 + usize::from(n / 26))
        );
        ask(&mut router, &format!("/users/{name}/orders"), 200);
    }
    assert_eq!(
        ask(&mut router, "/users/ason/orders", 200).as_deref(),
        Some("/users/ason/orders")
    );
    for name in ["alice", "bob", "carol"] {
        ask(&mut router, &format!("/users/{name}/orders"), 200);
    }
    for name in ["alice", "ason", "dave"] {
        let route = ask(&mut router, &format!("/users/{name}/orders"), 200);
        assert_eq!(route.as_deref(), Some("/users/{id}/orders"));
    }
    assert_eq!(
        ask(&mut router, "/users/7/orders", 200).as_deref(),
        Some("/users/{id}/orders")
    );
    assert_eq!(router.counts().folds, 1);
}

#[test]
fn busy_words_stay_when_a_flood_of_new_ones_comes() {
    let mut router = router();
    for _ in 0..500 {
        ask(&mut router, "/login", 200);
        ask(&mut router, "/api/items", 200);
    }
    for n in 0..5_000u32 {
        let word: String = n
            .to_string()
            .bytes()
            .map(|digit| char::from(digit - b'0' + b'a'))
            .collect();
        ask(&mut router, &format!("/{word}"), 200);
    }
    assert_eq!(ask(&mut router, "/login", 200).as_deref(), Some("/login"));
    assert_eq!(
        ask(&mut router, "/api/items", 200).as_deref(),
        Some("/api/items")
    );
    assert_eq!(ask(&mut router, "/whatever", 200).as_deref(), Some("/{id}"));
    assert!(router.counts().routes < 10, "{:?}", router.counts());
}

#[test]
fn what_nobody_has_is_not_learned() {
    let mut router = router();
    ask(&mut router, "/users/7", 200);
    for path in ["/wp-admin", "/.git/config", "/users/7/nothing"] {
        assert_eq!(ask(&mut router, path, 404), None, "{path}");
    }
    // A route that is known keeps its name when something is not there.
    assert_eq!(
        ask(&mut router, "/users/8", 404).as_deref(),
        Some("/users/{id}")
    );
    assert_eq!(router.counts().unknown, 3);
    assert_eq!(router.counts().routes, 1);
}

#[test]
fn memory_is_bounded_whatever_the_paths() {
    let mut router = router();
    let mut random = 1u64;
    let mut word = || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let letters = (0..8).map(|at| char::from(b'a' + (random >> (20 + at * 5) & 15) as u8));
        letters.collect::<String>()
    };
    for _ in 0..50_000 {
        let path = format!("/{}/{}/{}/{}", word(), word(), word(), word());
        ask(&mut router, &path, 200);
    }
    let counts = router.counts();
    assert!(
        counts.nodes <= tree::MAX_NODES && counts.routes <= DEFAULT_ROUTES,
        "{counts:?}"
    );
    let route = ask(&mut router, "/one/two/three/four", 200);
    assert!(route.is_some(), "{counts:?}");
}

#[test]
fn services_are_bounded_and_silent_ones_make_room() {
    let conn = server_conn();
    let mut router = router();
    let mut process = nginx();
    let mut ask = |number: u32, after_s: u64| {
        process.id = number;
        process.service = format!("service-{number}");
        let mut exchange = ok(&process, &conn);
        exchange.start_unix_ns += after_s * 1_000_000_000;
        router.route(&exchange);
        router.counts().services
    };
    for number in 0..2_000 {
        assert!(ask(number, 0) <= MAX_SERVICES);
    }
    assert_eq!(ask(5_000, 3_600), MAX_SERVICES);
    assert!(
        router
            .services
            .iter()
            .any(|service| &*service.name == "service-5000")
    );
}

#[test]
fn numbers_are_never_given_twice() {
    let (nginx, conn) = (nginx(), server_conn());
    let mut router = Router::new(Vec::new(), 16);
    let mut seen: FxHashMap<u32, String> = FxHashMap::default();
    for round in 0..3 {
        for n in 0..3_000u32 {
            let word: String = n
                .to_string()
                .bytes()
                .map(|digit| char::from(digit - b'0' + b'a'))
                .collect();
            let path = format!("/{}/{word}", ["x", "y", "z"][(n % 3) as usize]);
            let exchange = Exchange {
                path: Some(&path),
                route: None,
                ..ok(&nginx, &conn)
            };
            let routed = router.route(&exchange);
            let text = routed.text.unwrap_or("-").to_owned();
            assert_eq!(seen.entry(routed.id).or_insert_with(|| text.clone()), &text);
        }
        router.configure(vec![Pattern::parse("/x/{word}").unwrap()], 16 + round);
    }
    assert!(seen.values().any(|text| text == "/x/{word}"));
}

#[test]
fn calls_are_routed_by_method() {
    use crate::model::exchange::{Protocol, Rpc};
    let (nginx, conn) = (nginx(), server_conn());
    let mut router = router();
    let mut call = |method: &str, status: u32| {
        let rpc = Rpc {
            method,
            status: Some(status),
            message: None,
            request_messages: 1,
            response_messages: 1,
        };
        let exchange = Exchange {
            rpc: Some(rpc),
            protocol: Protocol::Grpc,
            route: None,
            ..ok(&nginx, &conn)
        };
        router.route(&exchange).text.map(str::to_owned)
    };
    assert_eq!(call("shop.Cart/Add", 0).as_deref(), Some("shop.Cart/Add"));
    assert_eq!(call("shop.Cart/Nothing", 12).as_deref(), Some(OTHER_METHOD));
    for n in 0..10_000 {
        call(&format!("x.Y/{n}"), 0);
    }
    assert_eq!(call("x.Y/9999", 0).as_deref(), Some(OTHER_METHOD));
    assert_eq!(router.counts().routes, DEFAULT_ROUTES);
}

proptest::proptest! {
    /// Whatever is asked for, the same path has the same route at once, and limits hold.
    #[test]
    fn hostile_paths(paths in proptest::collection::vec("[/a-c%;.{}*0é-]{0,30}|/(\\PC{0,8}/){0,30}", 1..300)) {
        let mut router = Router::new(Vec::new(), 16);
        for path in &paths {
            let first = ask(&mut router, path, 200);
            if first.as_deref() != Some(OTHER) {
                proptest::prop_assert_eq!(ask(&mut router, path, 200), first);
            }
        }
        proptest::prop_assert!(router.counts().routes <= 16);
    }
}
