//! The exporter's thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batch::Signal;
use super::counters::{ExportCounters, MAX_TARGETS, Snapshot};
use super::deliver::{Delivery, Phase};
use super::file::FileExporter;
use super::grpc::{GrpcError, GrpcExporter};
use super::http::HttpExporter;
use super::lane::{Lane, Share};
use super::loan::give_back;
use super::otlp::Encoder;
use super::pace::{Pace, PaceBounds};
use super::profiles::sink::ProfileSink;
use super::retry::RetryPolicy;
use super::sink::{BatchLimits, BatchSink, OtlpSink};
use super::target::{Target, Transport, Way};
use super::tls::TlsError;
use crate::config::memory::MemoryShares;
use crate::config::otel::{
    BatchSettings, IN_FLIGHT, OtelSettings, OtlpSettings, Protocol, TracesExporter,
};
use crate::config::spool::SpoolSettings;
use crate::delivery::queue::Queue;
use crate::delivery::queue::memory::{Bounds, MemoryQueue};
use crate::delivery::queue::spool::Limits;
use crate::delivery::queue::tiered::{self, TieredQueue};
use crate::host::discovery::host::HostInfo;
use crate::span::attrs::SpanOptions;
use crate::span::resource::HostResource;

/// Where spans go.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are a few of them, made at the start"
)]
pub enum Destination {
    /// An OTLP gateway.
    Gateway(OtlpSettings),
    /// A file of OTLP JSON lines.
    File(PathBuf),
    /// OTLP JSON lines on standard output.
    Stdout,
}

/// For messages: without credentials, query, headers and other settings.
impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gateway(OtlpSettings {
                socket: Some(path), ..
            }) => write!(f, "unix:{}", path.display()),
            Self::Gateway(settings) => {
                let uri = &settings.endpoint;
                let authority = uri.authority().map_or("", http::uri::Authority::as_str);
                let host = authority.rsplit('@').next().unwrap_or_default();
                let scheme = uri.scheme_str().unwrap_or("http");
                write!(f, "{scheme}://{host}{}", uri.path())
            }
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

/// Where a signal goes.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// As long as it can be reached.
    pub preferred: Destination,
    /// Gateways to send to while it cannot, in order of preference.
    pub failover: Vec<OtlpSettings>,
}

impl From<Destination> for Endpoints {
    fn from(preferred: Destination) -> Self {
        Self {
            preferred,
            failover: Vec::new(),
        }
    }
}

/// How spans, and other signals beside them, are exported.
#[derive(Clone, Debug)]
pub struct ExportSettings {
    /// Where spans go.
    pub destination: Destination,
    /// Where metrics go; `None` if there are none.
    pub metrics: Option<Endpoints>,
    /// Where profiles go; `None` if there are none.
    pub profiles: Option<Endpoints>,
    /// Batching and queueing.
    pub batch: BatchSettings,
    /// When to try again. Its `max_elapsed` is overridden by [`BatchSettings::export_timeout`].
    pub retry: RetryPolicy,
    /// What spans hold.
    pub span: SpanOptions,
    /// What all resources share.
    pub host: HostResource,
    /// Bytes of encoded batches held in memory at most, of all signals.
    pub queue_bytes: usize,
    /// Bytes of the batch of spans that is being put together, at most.
    pub open_bytes: usize,
    /// Gateways to send spans to while the one above cannot be reached, in order of preference.
    pub failover: Vec<OtlpSettings>,
    /// The disk behind the memory.
    pub spool: Option<SpoolSettings>,
    /// Requests of a signal under way at once, at most. How many there are follows latency and
    /// backlog.
    pub in_flight: usize,
}

impl ExportSettings {
    /// What the standard variables ask for; `None` if they switch exporting off.
    #[must_use]
    pub fn from_otel(otel: &OtelSettings) -> Option<Self> {
        if otel.disabled {
            return None;
        }
        let destination = match otel.traces_exporter {
            TracesExporter::Otlp => Destination::Gateway(otel.traces.clone()),
            TracesExporter::Console => Destination::Stdout,
            TracesExporter::None => return None,
        };
        Some(Self {
            destination,
            metrics: None,
            profiles: None,
            batch: otel.batch,
            retry: RetryPolicy::default(),
            span: SpanOptions {
                allow_query: false,
                brief: false,
                known_methods: otel.known_methods.clone(),
            },
            host: HostResource {
                host: HostInfo::read(),
                attributes: otel.resource.clone(),
            },
            queue_bytes: MemoryShares::default().queue,
            open_bytes: MemoryShares::default().open,
            failover: Vec::new(),
            spool: None,
            in_flight: IN_FLIGHT.1 as usize,
        })
    }

    /// The signals that are exported and where each goes; spans are the first.
    fn signals(&self) -> Vec<(Signal, Endpoints)> {
        let traces = Endpoints {
            preferred: self.destination.clone(),
            failover: self.failover.clone(),
        };
        let others = [
            (Signal::Metrics, &self.metrics),
            (Signal::Profiles, &self.profiles),
        ];
        let others = others
            .into_iter()
            .filter_map(|(signal, endpoints)| Some((signal, endpoints.clone()?)));
        std::iter::once((Signal::Traces, traces))
            .chain(others)
            .collect()
    }
}

/// Why exporting cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The gRPC client.
    #[error(transparent)]
    Grpc(#[from] GrpcError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file.
    #[error("cannot write to {path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime or its thread.
    #[error("cannot start the exporter: {0}")]
    Thread(#[from] std::io::Error),
}

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    /// Spans first.
    lanes: Vec<Lane>,
    host: HostResource,
    phase: watch::Sender<Phase>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the thread. The sink is for the ingest thread.
    ///
    /// # Errors
    /// If certificates or the file are unusable, or the thread cannot be started. That the
    /// gateway cannot be reached is no error: it may come up later.
    pub fn start(settings: ExportSettings) -> Result<(Self, OtlpSink), StartError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let policy = RetryPolicy {
            max_elapsed: settings.batch.export_timeout.unwrap_or(Duration::MAX),
            ..settings.retry
        };
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let signals = settings.signals();
        let active: Vec<Signal> = signals.iter().map(|(signal, _)| *signal).collect();
        let (mut lanes, mut deliveries) = (Vec::new(), Vec::<Arc<Delivery>>::new());
        for (signal, endpoints) in signals {
            let _context = runtime.enter();
            let first = deliveries.first().map(|first| &first.way);
            let way = way(signal, &endpoints, first, policy)?;
            let share = Share::of(signal, &active);
            let queue = queue(&settings, signal, share, &way.counters)?;
            lanes.push(Lane::new(signal, &queue, &way));
            let pace = Pace::new(PaceBounds {
                in_flight: in_flight(&settings, &way),
                items: joined(&settings, &way),
                timeout: way.timeout,
            });
            let phase = phase_receiver.clone();
            let delivery = Delivery::new(queue, way, policy, phase, pace);
            deliveries.push(Arc::new(delivery));
        }
        let thread = std::thread::Builder::new()
            .name("remora-export".into())
            .spawn(move || run(&runtime, &deliveries))?;
        let limits = BatchLimits {
            spans: settings.batch.batch_spans,
            bytes: settings.open_bytes,
            delay: settings.batch.delay,
        };
        let exporter = Self {
            lanes,
            host: settings.host.clone(),
            phase,
            thread: Some(thread),
        };
        let encoder = Encoder::new(settings.span, settings.host);
        let sink = OtlpSink::new(encoder, limits, exporter.queue(), exporter.counters());
        Ok((exporter, sink))
    }

    /// What there is of a signal, if it is exported.
    #[must_use]
    pub fn lane(&self, signal: Signal) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.signal == signal)
    }

    /// What there is of all signals that are exported, spans first.
    #[must_use]
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// The counters of spans, for the summary and self-telemetry.
    #[must_use]
    pub fn counters(&self) -> Arc<ExportCounters> {
        Arc::clone(&self.lanes[0].counters)
    }

    /// Where metrics enter, if there is a destination for them.
    #[must_use]
    pub fn metrics(&self) -> Option<BatchSink> {
        self.lane(Signal::Metrics).map(Lane::sink)
    }

    /// Where profiles enter, if there is a destination for them.
    #[must_use]
    pub fn profiles(&self) -> Option<ProfileSink> {
        let lane = self.lane(Signal::Profiles)?;
        Some(ProfileSink::new(self.host.clone(), lane.sink()))
    }

    /// The queue of spans, for self-telemetry.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.lanes[0].queue)
    }

    /// Delivers what is queued for at most `limit`, keeps the rest in the spool or counts it
    /// as dropped, and ends the thread. Drop (or flush) the sink before: what comes later is
    /// refused. Returns what became of spans.
    pub fn shutdown(mut self, limit: Duration) -> Snapshot {
        self.end(limit);
        self.counters().snapshot()
    }

    fn end(&mut self, limit: Duration) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.lanes.iter().for_each(|lane| lane.queue.close());
        self.phase
            .send_replace(Phase::Draining(Instant::now() + limit));
        if thread.join().is_err() {
            tracing::error!("the exporter's thread panicked");
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Memory alone, or with a disk behind it.
fn queue(
    settings: &ExportSettings,
    signal: Signal,
    share: Share,
    counters: &Arc<ExportCounters>,
) -> std::io::Result<Arc<dyn Queue>> {
    let bounds = Bounds {
        // Of others than spans one request has many: the bytes are the bound.
        items: match signal {
            Signal::Traces => settings.batch.queue_spans,
            Signal::Metrics | Signal::Profiles => u64::MAX,
        },
        bytes: share.of_memory(settings.queue_bytes),
    };
    let Some(spool) = &settings.spool else {
        return Ok(Arc::new(MemoryQueue::new(bounds)));
    };
    let settings = tiered::Settings {
        bounds,
        dir: spool.dir_of(signal),
        limits: Limits::new(share.of_disk(spool.bytes), spool.compress),
        // Half of it until it is written, half until it is synced.
        patience: spool.sync / 2,
        sync: spool.sync / 2,
        drain_bytes: spool.drain_bytes,
        ordered: signal == Signal::Metrics,
    };
    let queue = TieredQueue::start(settings, Arc::clone(counters))?;
    Ok(Arc::new(queue))
}

/// Spans (or data points) in a request that is made of several batches.
fn joined(settings: &ExportSettings, way: &Way) -> u64 {
    match way.signal {
        // A line for each.
        _ if way.ends_in_a_file() => 0,
        Signal::Traces => settings.batch.batch_spans as u64,
        Signal::Metrics | Signal::Profiles => u64::MAX,
    }
}

/// Requests that may use a way at once.
fn in_flight(settings: &ExportSettings, way: &Way) -> usize {
    // Lines in order of time, and values that follow each other: one at a time.
    if way.signal == Signal::Metrics || way.ends_in_a_file() {
        1
    } else {
        settings.in_flight
    }
}

/// The way of a signal. Signals that go into one file share it with the first, so that lines
/// stay whole.
fn way(
    signal: Signal,
    endpoints: &Endpoints,
    first: Option<&Way>,
    policy: RetryPolicy,
) -> Result<Way, StartError> {
    let shared = first
        .and_then(|way| way.targets.first())
        .map(Target::transport)
        .filter(|shared| matches!(***shared, Transport::File(_)));
    let (transport, timeout) = match (&endpoints.preferred, shared) {
        (Destination::File(_) | Destination::Stdout, Some(file)) => (Arc::clone(file), None),
        (preferred, _) => transport(preferred)?,
    };
    let name = endpoints.preferred.to_string();
    let mut targets = vec![Target::new(transport, policy, 0, name)];
    for (settings, index) in endpoints.failover.iter().zip(1..MAX_TARGETS) {
        let destination = Destination::Gateway(settings.clone());
        let (transport, _) = self::transport(&destination)?;
        let name = destination.to_string();
        targets.push(Target::new(transport, policy, index, name));
    }
    Ok(Way {
        signal,
        targets,
        timeout,
        counters: Arc::default(),
    })
}

/// The way to a gateway.
pub(super) fn gateway(settings: &OtlpSettings) -> Result<Transport, StartError> {
    Ok(match settings.protocol {
        Protocol::Grpc => Transport::Grpc(Box::new(GrpcExporter::new(settings)?)),
        Protocol::HttpProtobuf => Transport::Http(Box::new(HttpExporter::new(settings)?)),
    })
}

fn transport(destination: &Destination) -> Result<(Arc<Transport>, Option<Duration>), StartError> {
    let (transport, timeout) = match destination {
        Destination::Gateway(settings) => (gateway(settings)?, settings.timeout),
        Destination::File(path) => {
            let file = FileExporter::open(path).map_err(|source| StartError::File {
                path: path.clone(),
                source,
            })?;
            (Transport::File(file), None)
        }
        Destination::Stdout => (Transport::File(FileExporter::stdout()), None),
    };
    Ok((Arc::new(transport), timeout))
}

fn run(runtime: &Runtime, deliveries: &[Arc<Delivery>]) {
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for delivery in deliveries {
            tasks.spawn(Arc::clone(delivery).work());
        }
        while tasks.join_next().await.is_some() {}
    });
    for delivery in deliveries {
        while let Some(taken) = delivery.queue.try_pop() {
            let (counters, items) = (&delivery.way.counters, taken.batch.items);
            counters.taken(items);
            give_back(&*delivery.queue, counters, taken, items);
        }
        delivery.queue.finish();
    }
}
