//! What `remora run` tells whoever asks at `--listen`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::capture::ledger::Summary;
use crate::deciding::metrics::prometheus::Format;
use crate::delivery::export::lane::Lane;
use crate::delivery::telemetry::export::LaneMetrics;
use crate::delivery::telemetry::memory::MemoryMetrics;
use crate::delivery::telemetry::metrics::{CaptureCounts, SelfMetrics};
use crate::delivery::telemetry::sampling::SamplingMetrics;
use crate::delivery::telemetry::server::Status;
use crate::delivery::telemetry::usage::Usage;

/// The state of a run. The thread that captures writes it about once a second, the one
/// that answers reads it: neither waits for the other's work.
#[derive(Debug)]
pub(super) struct RunStatus {
    capturing: AtomicBool,
    capture: Mutex<Option<CaptureCounts>>,
    lanes: Vec<Lane>,
    sampling: Mutex<Option<SamplingMetrics>>,
    memory: Mutex<Option<MemoryMetrics>>,
    /// RED metrics are asked for, and where they are handed over: in each of [`FORMATS`].
    red_wanted: [AtomicBool; 2],
    red: (Mutex<[Option<String>; 2]>, Condvar),
    /// Whether they are served at all.
    serves_red: bool,
}

/// What scrapers ask for.
const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

/// Place in [`FORMATS`].
const fn place(format: Format) -> usize {
    match format {
        Format::Text => 0,
        Format::OpenMetrics => 1,
    }
}

/// How long a scrape waits for RED metrics: the thread that captures looks every 20 ms.
const SCRAPE: Duration = Duration::from_secs(1);

impl RunStatus {
    /// Of a run that does not capture yet.
    pub(super) fn new(lanes: Vec<Lane>, serves_red: bool) -> Self {
        Self {
            capturing: AtomicBool::new(false),
            capture: Mutex::new(None),
            lanes,
            sampling: Mutex::new(None),
            memory: Mutex::new(None),
            red_wanted: [const { AtomicBool::new(false) }; 2],
            red: (Mutex::default(), Condvar::new()),
            serves_red,
        }
    }

    /// The state of sampling.
    pub(super) fn publish_sampling(&self, sampling: SamplingMetrics) {
        *self.sampling.lock().unwrap_or_else(PoisonError::into_inner) = Some(sampling);
    }

    /// The state of its memory.
    pub(super) fn publish_memory(&self, memory: MemoryMetrics) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = Some(memory);
    }

    /// In which formats somebody waits for [`Self::hand_over`].
    pub(super) fn red_wanted(&self) -> impl Iterator<Item = Format> {
        let wanted = (FORMATS.into_iter().zip(&self.red_wanted))
            .filter(|(_, wanted)| wanted.swap(false, Ordering::AcqRel));
        wanted.map(|(format, _)| format)
    }

    /// RED metrics for whoever waits.
    pub(super) fn hand_over(&self, format: Format, text: String) {
        self.red.0.lock().unwrap_or_else(PoisonError::into_inner)[place(format)] = Some(text);
        self.red.1.notify_all();
    }

    /// RED metrics of this moment; nothing if the agent is about to end.
    fn red(&self, format: Format) -> String {
        if !self.serves_red || !self.capturing.load(Ordering::Acquire) {
            return String::new();
        }
        let (texts, ready) = &self.red;
        let at = place(format);
        let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
        // What came too late for an earlier scrape is old.
        texts[at] = None;
        self.red_wanted[at].store(true, Ordering::Release);
        let waited = ready.wait_timeout_while(texts, SCRAPE, |texts| texts[at].is_none());
        let (mut texts, _) = waited.unwrap_or_else(PoisonError::into_inner);
        texts[at].take().unwrap_or_default()
    }

    /// Capturing works, and this is what came of it so far. `missed` are events at which the
    /// kernel left the programs out, if it tells.
    pub(super) fn publish(&self, summary: &Summary, missed: Option<u64>) {
        let lost = summary.lost;
        let counts = CaptureCounts {
            seen: summary.seen,
            emitted: summary.emitted,
            filtered: summary.filtered,
            lost: vec![
                ("ring_full", lost.ring_full),
                ("conn_evicted", lost.conn_evicted),
                ("decode", lost.decode),
            ],
            missed,
        };
        *self.capture.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
        self.capturing.store(true, Ordering::Release);
    }

    /// Capturing has ended.
    pub(super) fn stopping(&self) {
        self.capturing.store(false, Ordering::Release);
    }
}

impl Status for RunStatus {
    fn ready(&self) -> Result<(), String> {
        if self.capturing.load(Ordering::Acquire) {
            Ok(())
        } else {
            Err("not capturing".to_owned())
        }
    }

    fn metrics(&self, format: Format) -> SelfMetrics {
        let red = self.red(format);
        let sampling = self.sampling.lock().unwrap_or_else(PoisonError::into_inner);
        let sampling = sampling
            .clone()
            .map(|sampling| SamplingMetrics { red, ..sampling });
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        SelfMetrics {
            memory: memory.clone(),
            capture: capture.clone(),
            export: self.lanes.iter().map(LaneMetrics::of).collect(),
            sampling,
            usage: Usage::read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ledger::Lost;
    use crate::delivery::export::batch::Signal;
    use crate::delivery::export::counters::ExportCounters;
    use crate::delivery::queue::memory::{Bounds, MemoryQueue};
    use crate::delivery::telemetry::server::TelemetryServer;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::sync::Arc;

    fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn is_ready_while_it_captures_and_shows_what_was_published() {
        let counters = Arc::new(ExportCounters::default());
        let queue = MemoryQueue::new(Bounds {
            items: 10,
            bytes: 1000,
        });
        let lane = Lane {
            signal: Signal::Traces,
            queue: Arc::new(queue),
            counters: Arc::clone(&counters),
            endpoints: Arc::new([]),
        };
        let status = Arc::new(RunStatus::new(vec![lane], false));
        let address = "127.0.0.1:0".parse().unwrap();
        let server = TelemetryServer::start(address, status.clone()).unwrap();
        let address = server.address();
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "));
        assert!(!get(address, "/metrics").contains("remora_requests_seen_total"));

        counters.accept();
        status.publish(
            &Summary {
                seen: 7,
                emitted: 4,
                lost: Lost {
                    ring_full: 3,
                    ..Lost::default()
                },
                ..Summary::default()
            },
            Some(5),
        );
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
        let metrics = get(address, "/metrics");
        for line in [
            "remora_requests_seen_total 7\n",
            "remora_requests_emitted_total 4\n",
            "remora_requests_lost_total{reason=\"ring_full\"} 3\n",
            "remora_requests_lost_total{reason=\"decode\"} 0\n",
            "remora_programs_missed_total 5\n",
        ] {
            assert!(metrics.contains(line), "{line} in {metrics}");
        }

        status.stopping();
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "));
        assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
    }
}
