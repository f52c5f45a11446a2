//! Routes learned from paths, held against the patterns that the paths were made from.
//!
//! The corpora in `routes/` are written after public API descriptions: a code host, a payment
//! service, a cluster's control plane, a shop. Every variable has a kind, which says what its
//! values look like: `{number}`, `{uuid}`, `{sha}`, `{token}` and `{date}` show in their shape;
//! `{name}`, `{slug}` and `{title}` are words, of which only their variety tells that they are
//! values.
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

use random::Random;
use remora::deciding::route::{DEFAULT_ROUTES, Router};

const CORPORA: [(&str, &str); 4] = [
    ("code host", include_str!("routes/github.txt")),
    ("payments", include_str!("routes/payments.txt")),
    ("cluster", include_str!("routes/cluster.txt")),
    ("shop", include_str!("routes/shop.txt")),
];

/// Requests to learn from, and requests to judge by.
const LEARN: u32 = 20_000;
const JUDGE: u32 = 20_000;

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// One of `limit`, small ones more often: as names are in the real world.
    fn popular(&mut self, limit: u64) -> u64 {
        let uniform = self.below(1 << 20) as f64 / f64::from(1 << 20);
        ((limit as f64).powf(uniform) as u64 - 1).min(limit - 1)
    }

    fn letters(&mut self, alphabet: &[u8], len: u64) -> String {
        (0..len)
            .map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize]))
            .collect()
    }
}

/// A pronounceable word, the same for the same number.
fn word(number: u64) -> String {
    const PARTS: [&str; 20] = [
        "ka", "lo", "mi", "ra", "ten", "vo", "sha", "bel", "dor", "fin", "gus", "hal", "jen",
        "nor", "pel", "qui", "sto", "tam", "wex", "zu",
    ];
    let mut random = Random(number);
    (0..2 + random.below(2))
        .map(|_| PARTS[random.below(20) as usize])
        .collect()
}

fn value(kind: &str, random: &mut Random) -> String {
    const HEX: &[u8] = b"0123456789abcdef";
    const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hex = |random: &mut Random, len| random.letters(HEX, len);
    match kind {
        "number" => random.below(10_000_000).to_string(),
        "uuid" => {
            let parts: Vec<String> = [8, 4, 4, 4, 12].map(|len| hex(random, len)).into();
            parts.join("-")
        }
        "sha" => hex(random, 40),
        "hash" => hex(random, 8),
        "token" => {
            let prefix = ["ch", "cus", "pi", "in", "sub"][random.below(5) as usize];
            format!("{prefix}_{}", random.letters(BASE62, 24))
        }
        "date" => format!(
            "20{:02}-{:02}-{:02}",
            random.below(26),
            1 + random.below(12),
            1 + random.below(28)
        ),
        "pod" => {
            let name = word(random.popular(200));
            format!(
                "{name}-{}-{}",
                hex(random, 10),
                random.letters(b"bcdfghjklmnpqrstvwxz2456789", 5)
            )
        }
        "name" => word(random.popular(3_000)),
        "slug" => {
            let number = random.popular(2_000);
            format!("{}-{}", word(number), word(number + 7))
        }
        "constant" => word(random.popular(500)).to_uppercase(),
        "title" => {
            let number = random.popular(5_000);
            (0..3)
                .map(|at| word(number * 3 + at))
                .collect::<Vec<_>>()
                .join("-")
        }
        _ => panic!("{kind}"),
    }
}

/// A path of a pattern.
fn path(pattern: &str, random: &mut Random) -> String {
    let mut path = String::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let (kind, after) = after.split_once('}').unwrap();
        path.push_str(before);
        path.push_str(&value(kind, random));
        rest = after;
    }
    path + rest
}

#[derive(Default)]
struct Score {
    /// Variable segments found that are, that are not, and those missed.
    right: u64,
    wrong: u64,
    missed: u64,
    /// Requests whose route is the pattern.
    exact: u64,
    requests: u64,
}

fn judge(corpus: &str) -> (Score, usize) {
    let patterns: Vec<&str> = corpus.lines().filter(|line| !line.is_empty()).collect();
    let mut router = Router::new(Vec::new(), DEFAULT_ROUTES);
    let mut random = Random(7);
    let server = sample::server();
    let mut score = Score::default();
    for number in 0..LEARN + JUDGE {
        let pattern = patterns[random.popular(patterns.len() as u64) as usize];
        let asked = path(pattern, &mut random);
        let mut exchange = server.exchange();
        exchange.route = None;
        exchange.path = Some(&asked);
        exchange.status = Some(200);
        let found = router.route(&exchange).text.expect("a route").to_owned();
        if number < LEARN {
            continue;
        }
        score.requests += 1;
        let mut exact = true;
        let (truth, found): (Vec<&str>, Vec<&str>) =
            (pattern.split('/').collect(), found.split('/').collect());
        assert!(
            found.len() == truth.len() || found.contains(&"{other}"),
            "{asked}: {found:?}"
        );
        for (truth, found) in truth.iter().zip(&found) {
            match (truth.contains('{'), *found == "{id}") {
                (true, true) => score.right += 1,
                (true, false) => score.missed += 1,
                (false, true) => score.wrong += 1,
                (false, false) => {}
            }
            exact &= truth.contains('{') == (*found == "{id}");
        }
        score.exact += u64::from(exact);
    }
    (score, router.counts().routes)
}

#[test]
fn precision_and_recall() {
    println!(
        "{:<12} {:>9} {:>9} {:>14} {:>9} {:>8}",
        "corpus", "precision", "recall", "routes exact", "patterns", "routes"
    );
    for (name, corpus) in CORPORA {
        let (score, routes) = judge(corpus);
        let precision = score.right as f64 / (score.right + score.wrong) as f64;
        let recall = score.right as f64 / (score.right + score.missed) as f64;
        let exact = score.exact as f64 / score.requests as f64;
        println!(
            "{name:<12} {:>8.2}% {:>8.2}% {:>13.2}% {:>9} {routes:>8}",
            precision * 100.0,
            recall * 100.0,
            exact * 100.0,
            corpus.lines().count(),
        );
        assert!(
            precision >= 0.97 && recall >= 0.95 && exact >= 0.9,
            "{name}"
        );
    }
}
