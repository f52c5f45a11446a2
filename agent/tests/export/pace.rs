//! What it brings that requests follow latency and backlog.

use std::time::{Duration, Instant};

use remora::delivery::export::exporter::ExportSettings;

use crate::receiver::{Answer, Receiver, push, start, to};

/// Time that the gateway takes for each request.
const LATENCY: Duration = Duration::from_millis(300);

/// Spans of a batch, and batches: 40 a second.
const SPANS: u64 = 20;
const BATCHES: u64 = 160;

/// Requests a second, bytes of a request, and when all was delivered.
fn measure(change: impl Fn(&mut ExportSettings)) -> (f64, u64, Duration) {
    let receiver = Receiver::http(vec![]);
    receiver.otherwise(Answer::Late(LATENCY));
    let mut settings = to(&receiver, "http/protobuf", &[]);
    change(&mut settings);
    let (exporter, mut sink) = start(settings);
    let begun = Instant::now();
    for batch in 0..BATCHES {
        push(&mut sink, batch * SPANS, SPANS);
        std::thread::sleep(Duration::from_millis(25));
    }
    drop(sink);
    let end = exporter.shutdown(Duration::from_secs(60));
    let elapsed = begun.elapsed();
    assert_eq!(end.delivered, BATCHES * SPANS, "{end:?}");
    let rate = end.requests as f64 / elapsed.as_secs_f64();
    (rate, end.bytes / end.requests, elapsed)
}

/// Small batches come faster than a slow gateway takes four at a time.
#[test]
fn a_slow_gateway_is_kept_up_with() {
    let (fixed, adaptive) = std::thread::scope(|scope| {
        let fixed = scope.spawn(|| {
            measure(|settings| {
                settings.batch.batch_spans = SPANS as usize;
                settings.in_flight = 4;
            })
        });
        let adaptive = scope.spawn(|| measure(|_| {}));
        (fixed.join().unwrap(), adaptive.join().unwrap())
    });
    println!(
        "requests/s, bytes a request, time: fixed {fixed:?}, adaptive {adaptive:?}; \
         {BATCHES} batches in {:?}",
        Duration::from_millis(25) * BATCHES as u32
    );
    // 160 batches, 4 each 300 ms: 12 s.
    assert!(fixed.2 > Duration::from_secs(11), "{fixed:?}");
    // Not much later than the last batch came.
    assert!(adaptive.2 < fixed.2 * 2 / 3, "{adaptive:?}");
    assert!(adaptive.1 > fixed.1, "{adaptive:?}");
}
