use super::*;

const KIB: usize = 1 << 10;
const BUSY: Load = Load {
    waiting: true,
    full: true,
};
const IDLE: Load = Load {
    waiting: false,
    full: false,
};

fn pace() -> Pace {
    Pace::new(PaceBounds {
        in_flight: 16,
        items: 4096,
        timeout: Some(Duration::from_secs(10)),
    })
}

fn milliseconds(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// Answers to requests of `bytes` that took `latency` each, as many as were under way.
fn round(pace: &mut Pace, now: &mut Instant, bytes: usize, latency: Duration, load: Load) {
    let began = *now;
    *now += latency;
    for _ in 0..pace.limit() {
        pace.delivered(bytes, began, *now, load);
    }
}

#[test]
fn a_slow_gateway_with_a_backlog_gets_larger_and_more_requests() {
    let (mut pace, mut now) = (pace(), Instant::now());
    assert_eq!((pace.limit(), pace.room().bytes), (4, 256 * KIB));
    for rounds in 1..=12 {
        round(&mut pace, &mut now, 256 * KIB, milliseconds(800), BUSY);
        // A little less than one more a round: each answer adds to what the one before added to.
        let expected = 3 + rounds * 8 / 10..=4 + rounds;
        assert!(expected.contains(&pace.limit()), "{pace:?}");
    }
    for _ in 0..8 {
        round(&mut pace, &mut now, 256 * KIB, milliseconds(800), BUSY);
    }
    assert_eq!((pace.limit(), pace.room().bytes), (16, MAX_REQUEST_BYTES));
    assert_eq!(pace.room().items, 4096);
    // The backlog is gone: small and prompt again.
    for _ in 0..20 {
        round(&mut pace, &mut now, 256 * KIB, milliseconds(800), IDLE);
    }
    assert_eq!((pace.limit(), pace.room().bytes), (4, 256 * KIB));
}

#[test]
fn a_gateway_that_only_queues_is_not_pressed() {
    let (mut pace, mut now) = (pace(), Instant::now());
    // It does one request at a time, in 20 ms: latency is as many times that as there are.
    for _ in 0..40 {
        let latency = milliseconds(20) * pace.limit() as u32;
        round(&mut pace, &mut now, 256 * KIB, latency, BUSY);
        assert!(pace.limit() <= 14, "{pace:?}");
    }
    // One that does them all at once is.
    for _ in 0..200 {
        round(&mut pace, &mut now, 256 * KIB, milliseconds(20), BUSY);
    }
    assert_eq!(pace.limit(), 16);
}

#[test]
fn failures_halve_what_is_under_way_once_a_round() {
    let (mut pace, mut now) = (pace(), Instant::now());
    for _ in 0..20 {
        round(&mut pace, &mut now, 256 * KIB, milliseconds(10), BUSY);
    }
    let began = now;
    for answer in 1..=16 {
        pace.failed(began, began + milliseconds(answer), None);
    }
    assert_eq!((pace.limit(), pace.cap()), (8, MAX_REQUEST_BYTES));
    for second in 1..10 {
        now = began + Duration::from_secs(second);
        pace.failed(now, now, None);
    }
    assert_eq!(pace.limit(), 1);
    round(&mut pace, &mut now, 256 * KIB, milliseconds(10), BUSY);
    assert_eq!(pace.limit(), 2);
}

#[test]
fn requests_that_get_no_answer_in_time_become_smaller_and_grow_again() {
    let (mut pace, mut now) = (pace(), Instant::now());
    for expected in [1500, 750, 375, 187, 93, 64, 64] {
        let bytes = (3000 * KIB).min(pace.cap());
        pace.failed(now, now + Duration::from_secs(10), Some(bytes));
        now += Duration::from_secs(10);
        assert_eq!(pace.cap() / KIB, expected);
        assert!(pace.room().bytes <= pace.cap());
    }
    // Answers in more than half of the time are no reason to grow; nor are small requests.
    round(&mut pace, &mut now, 64 * KIB, Duration::from_secs(6), BUSY);
    round(&mut pace, &mut now, KIB, milliseconds(1), BUSY);
    assert_eq!(pace.cap(), 64 * KIB);
    for _ in 0..16 {
        let bytes = pace.cap();
        pace.delivered(bytes, now, now + milliseconds(100), BUSY);
    }
    assert_eq!(pace.cap(), MAX_REQUEST_BYTES);
}

/// A gateway with any limit is found out in a few requests, and then gets none that is too
/// large until its limit is forgotten.
#[test]
fn the_limit_of_a_gateway_is_found_and_kept() {
    for limit in [70, 128, 300, 512, 1000, 1024, 2000, 3500].map(|it| it * KIB) {
        let (mut pace, mut now) = (pace(), Instant::now());
        let ask = |pace: &mut Pace, now: &mut Instant| {
            *now += milliseconds(10);
            let bytes = pace.cap();
            if bytes > limit {
                pace.too_large(bytes, *now);
            } else {
                pace.delivered(bytes, *now, *now + milliseconds(1), BUSY);
            }
            bytes > limit
        };
        let refused = (0..100).filter(|_| ask(&mut pace, &mut now)).count();
        assert!(refused <= 9, "{limit}: {refused} refused");
        let refused = (0..1000).filter(|_| ask(&mut pace, &mut now)).count();
        assert_eq!(refused, 0, "{limit}: {pace:?}");
        assert!(pace.cap() + 2 * SMALLEST >= limit, "{limit}: {pace:?}");
        now += CEILING_AGE;
        pace.delivered(pace.cap(), now, now, BUSY);
        assert!(pace.cap() > limit.min(pace.good));
        // It is smaller than it was.
        pace.too_large(64 * KIB, now);
        assert_eq!(pace.cap(), SMALLEST);
    }
}

#[test]
fn bounds_are_kept_whatever_comes() {
    let mut random = 1u64;
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 11) % bound
    };
    for most in [0, 1, 3, 16] {
        let mut pace = Pace::new(PaceBounds {
            in_flight: most,
            items: 10,
            timeout: None,
        });
        let mut now = Instant::now();
        for _ in 0..20_000 {
            now += milliseconds(below(3000));
            let began = now - milliseconds(below(5000)).min(milliseconds(900));
            let bytes = below(5 << 20) as usize;
            match below(4) {
                0 => pace.failed(began, now, (below(2) == 0).then_some(bytes)),
                1 => pace.too_large(bytes, now),
                _ => {
                    let (waiting, full) = (below(2) == 0, below(2) == 0);
                    pace.delivered(bytes, began, now, Load { waiting, full });
                }
            }
            assert!((1..=most.max(1)).contains(&pace.limit()), "{pace:?}");
            assert!(
                (SMALLEST..=MAX_REQUEST_BYTES).contains(&pace.cap()),
                "{pace:?}"
            );
            assert!((SMALLEST..=MAX_REQUEST_BYTES).contains(&pace.room().bytes));
        }
    }
}
