//! Encoding a span allocates nothing once the buffers have grown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test panics when something is wrong"
)]

#[path = "export/sample.rs"]
mod sample;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use remora::export::otlp::Encoder;
use remora::export::resource::HostInfo;
use remora::span::attrs::SpanOptions;
use sample::{Sample, client, process, server};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // The thread may be ending; its allocations are of no interest then.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call is passed on to the system's allocator as it is; counting does not
// allocate, because the thread-local is const-initialised and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: `pointer` came from `System` with this layout.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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
    samples[6].conn.peer = remora::exchange::Endpoint::Tcp("[2001:db8::1]:80".parse().unwrap());
    samples[7].incomplete = remora::exchange::Incomplete::HEAD_TRUNCATED;
    let exchanges: Vec<_> = samples.iter().map(Sample::exchange).collect();

    let mut encoder = Encoder::new(SpanOptions::default(), HostInfo::default());
    let batch = |encoder: &mut Encoder| {
        let before = ALLOCATIONS.get();
        for exchange in exchanges.iter().cycle().take(4096) {
            encoder.push(exchange);
        }
        let pushing = ALLOCATIONS.get() - before;
        let batch = encoder.seal();
        let sealing = ALLOCATIONS.get() - before - pushing;
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
