//! Encoding a span allocates nothing once the buffers have grown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "support/allocations.rs"]
mod allocations;
#[path = "export/sample.rs"]
mod sample;

use allocations::allocations;
use remora::delivery::export::otlp::Encoder;
use remora::span::attrs::SpanOptions;
use remora::span::resource::HostResource;
use sample::{Sample, client, process, server};

#[test]
fn steady_state() {
    let mut samples: Vec<Sample> = (0..16u32)
        .map(|i| {
            let mut sample = if i % 2 == 0 { server() } else { client() };
            sample.process = process(i % 5);
            sample
        })
        .collect();
    samples[3].method = Some("PURGE".into());
    samples[4].status = Some(503);
    samples[5].user_agent = Some("x".repeat(4000));
    samples[6].conn.peer =
        remora::model::exchange::Endpoint::Tcp("[2001:db8::1]:80".parse().unwrap());
    samples[7].incomplete = remora::model::exchange::Incomplete::HEAD_TRUNCATED;
    let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();

    let mut encoder = Encoder::new(SpanOptions::default(), HostResource::default());
    let batch = |encoder: &mut Encoder| {
        let before = allocations();
        for exchange in exchanges.iter().cycle().take(4096) {
            encoder.push(exchange);
        }
        let pushing = allocations() - before;
        let batch = encoder.seal();
        let sealing = allocations() - before - pushing;
        assert_eq!(batch.map(|batch| batch.items), Some(4096));
        (pushing, sealing)
    };
    let (first, _) = batch(&mut encoder);
    assert!(first > 0, "the counter counts");
    for _ in 0..3 {
        let (pushing, sealing) = batch(&mut encoder);
        assert_eq!(pushing, 0, "allocations for 4,096 spans");
        assert!(sealing <= 2, "{sealing} allocations for a request");
    }
}
