//! A gateway that does not answer, and a small memory limit: the agent does without what it
//! can, in order, holds no more than it may, and its metrics stay exact.

use std::process::Stdio;
use std::time::Duration;

use super::scraping::{scrape, value};
use crate::clients::wrk;
use crate::harness::process::{Spawned, free_port, remora, resident_bytes};
use crate::harness::{require_privilege, wait_until};
use crate::servers::nginx::Nginx;

/// The smallest limit; the ring is mapped twice and is not part of it.
const LIMIT: u64 = 64 << 20;
const RING: u64 = 4 << 20;

#[test]
fn what_is_turned_down_when_memory_runs_short() {
    require_privilege!(alone);
    let (nginx, listen, nobody) = (Nginx::start(), free_port(), free_port());
    let mut agent = Spawned::with_streams(
        remora()
            .args(["run", "--listen", &format!("127.0.0.1:{listen}")])
            .env(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://127.0.0.1:{nobody}"),
            )
            .env("OTEL_METRICS_EXPORTER", "prometheus")
            // More than there can be, so that nothing but memory thins them out.
            .env("REMORA_SAMPLING_SPANS_PER_SECOND", "1000000")
            .env("REMORA_SAMPLING_MAX_SPANS_PER_SECOND", "1000000")
            .env("REMORA_MEMORY_LIMIT", LIMIT.to_string())
            .env("REMORA_RING_BYTES", RING.to_string())
            .env("REMORA_INCLUDE", format!("port={}", nginx.port()))
            .stdin(Stdio::null()),
    );
    wait_until("the agent captures", || {
        scrape(listen).filter(|text| text.contains("remora_requests_seen_total"))
    });
    let step = |text: &str, name: &str| {
        value(
            text,
            &format!("remora_memory_steps_total{{step=\"{name}\"}}"),
        )
    };
    let text = scrape(listen).unwrap();
    assert_eq!(step(&text, "detail") + step(&text, "sampling"), 0.0);
    let url = format!("http://127.0.0.1:{}/hello/full", nginx.port());
    let (mut made, mut order) = (0, Vec::new());
    let full = wait_until("a queue that is nearly full", || {
        made += wrk::load(&url, 4, 1, &[]).requests;
        let text = scrape(listen)?;
        for name in ["detail", "sampling"] {
            if step(&text, name) > 0.0 && !order.contains(&name) {
                order.push(name);
            }
        }
        (order.len() == 2).then_some(text)
    });
    assert_eq!(order, ["detail", "sampling"]);
    let filled = value(&full, "remora_memory_fill_ratio{part=\"queue\"}");
    assert!((0.9..=1.0).contains(&filled), "{filled}");
    // However much more there is: it fits, and every request is counted.
    for _ in 0..5 {
        made += wrk::load(&url, 4, 1, &[]).requests;
    }
    let resident = resident_bytes(agent.pid());
    eprintln!("{made} requests, {} MiB resident", resident >> 20);
    assert!(resident < LIMIT + 2 * RING + (40 << 20), "{resident}");
    std::thread::sleep(Duration::from_millis(1500));
    let text = scrape(listen).unwrap();
    assert_eq!(value(&text, "remora_sampling_overload"), 1.0, "{text}");
    let thinned: f64 = text
        .lines()
        .filter(|line| line.contains("decision=\"dropped\"}"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    assert!(thinned > 0.0, "{text}");
    // wrk breaks off what is under way when its time is over: seen by nobody but the server.
    let seen = value(&text, "remora_requests_seen_total");
    let emitted = value(&text, "remora_requests_emitted_total");
    assert_eq!(seen, emitted, "{text}");
    let counted: f64 = text
        .lines()
        .filter(|line| line.starts_with("http_client_request_duration_seconds_count"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum();
    let broken_off = counted - made as f64;
    assert!((0.0..=40.0).contains(&broken_off), "{counted} {made}");
    assert_eq!(
        step(&text, "connections"),
        0.0,
        "a gateway makes nobody blind"
    );
    agent.signal(libc::SIGTERM);
    // It ended as it should, and says that no span arrived.
    assert_eq!(agent.wait().code(), Some(1));
}
