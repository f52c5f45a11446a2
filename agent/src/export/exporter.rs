//! The exporter's thread.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::batch::Signal;
use super::counters::{ExportCounters, MAX_TARGETS, Snapshot};
use super::deliver::{Delivery, Phase, State, Target, Transport, Way, give_back};
use super::file::FileExporter;
use super::grpc::{GrpcError, GrpcExporter};
use super::http::HttpExporter;
use super::otlp::Encoder;
use super::profiles::sink::ProfileSink;
use super::resource::HostResource;
use super::retry::RetryPolicy;
use super::sink::{BatchLimits, OtlpSink};
use super::tls::TlsError;
use crate::config::memory::MemoryShares;
use crate::config::otel::{BatchSettings, OtelSettings, OtlpSettings, Protocol, TracesExporter};
use crate::config::spool::SpoolSettings;
use crate::discovery::host::HostInfo;
use crate::queue::Queue;
use crate::queue::memory::{Bounds, MemoryQueue};
use crate::queue::spool::Limits;
use crate::queue::tiered::{self, TieredQueue};
use crate::span::attrs::SpanOptions;

/// Requests under way at once: hides the gateway's latency, without being a burden to it.
const REQUESTS_IN_FLIGHT: usize = 4;

/// Where spans go.
#[derive(Clone, Debug)]
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

/// How spans are exported.
#[derive(Clone, Debug)]
pub struct ExportSettings {
    /// Where to.
    pub destination: Destination,
    /// Where profiles go; `None` if there are none.
    pub profiles: Option<Destination>,
    /// Batching and queueing.
    pub batch: BatchSettings,
    /// When to try again. Its `max_elapsed` is overridden by [`BatchSettings::export_timeout`].
    pub retry: RetryPolicy,
    /// What spans hold.
    pub span: SpanOptions,
    /// What all resources share.
    pub host: HostResource,
    /// Bytes of encoded batches held in memory at most.
    pub queue_bytes: usize,
    /// Gateways to send to while the one above cannot be reached, in order of preference.
    pub failover: Vec<OtlpSettings>,
    /// The disk behind the memory.
    pub spool: Option<SpoolSettings>,
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
            failover: Vec::new(),
            spool: None,
        })
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
    queue: Arc<dyn Queue>,
    counters: Arc<ExportCounters>,
    profiles: Option<ProfileSink>,
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
        let (way, others, workers) = {
            let _context = runtime.enter();
            let (way, workers) = way(&settings.destination, &settings.failover, policy)?;
            let others = match &settings.profiles {
                None => Vec::new(),
                Some(destination) => {
                    let other = other_way(destination, &way, policy)?;
                    vec![(Signal::Profiles, other)]
                }
            };
            (way, others, workers)
        };
        let counters = Arc::clone(&way.counters);
        let queue = queue(&settings, &counters)?;
        let profiles = others
            .iter()
            .find(|(signal, _)| *signal == Signal::Profiles);
        let profiles = profiles.map(|(_, way)| {
            let counters = Arc::clone(&way.counters);
            ProfileSink::new(settings.host.clone(), Arc::clone(&queue), counters)
        });
        let (phase, phase_receiver) = watch::channel(Phase::Running);
        let delivery = Delivery {
            queue: Arc::clone(&queue),
            way,
            others,
            policy,
            phase: phase_receiver,
            state: Mutex::new(State::default()),
        };
        let thread = std::thread::Builder::new()
            .name("remora-export".into())
            .spawn(move || run(&runtime, delivery, workers))?;
        let limits = BatchLimits {
            spans: settings.batch.batch_spans,
            delay: settings.batch.delay,
        };
        let encoder = Encoder::new(settings.span, settings.host);
        let sink = OtlpSink::new(encoder, limits, Arc::clone(&queue), Arc::clone(&counters));
        let exporter = Self {
            queue,
            counters,
            profiles,
            phase,
            thread: Some(thread),
        };
        Ok((exporter, sink))
    }

    /// The counters, for the summary and self-telemetry.
    #[must_use]
    pub fn counters(&self) -> Arc<ExportCounters> {
        Arc::clone(&self.counters)
    }

    /// Where profiles enter, if there is a destination for them.
    #[must_use]
    pub fn profiles(&self) -> Option<ProfileSink> {
        self.profiles.clone()
    }

    /// The queue, for self-telemetry.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    /// Delivers what is queued for at most `limit`, counts the rest as dropped, and ends the
    /// thread. Drop (or flush) the sink before: what comes later is refused.
    pub fn shutdown(mut self, limit: Duration) -> Snapshot {
        self.end(limit);
        self.counters.snapshot()
    }

    fn end(&mut self, limit: Duration) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        self.queue.close();
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
    counters: &Arc<ExportCounters>,
) -> std::io::Result<Arc<dyn Queue>> {
    let bounds = Bounds {
        items: settings.batch.queue_spans,
        bytes: settings.queue_bytes,
    };
    let Some(spool) = &settings.spool else {
        return Ok(Arc::new(MemoryQueue::new(bounds)));
    };
    let settings = tiered::Settings {
        bounds,
        dir: spool.dir.clone(),
        limits: Limits::new(spool.bytes, spool.compress),
        // Half of it until it is written, half until it is synced.
        patience: spool.sync / 2,
        sync: spool.sync / 2,
        drain_bytes: spool.drain_bytes,
    };
    let queue = TieredQueue::start(settings, Arc::clone(counters))?;
    Ok(Arc::new(queue))
}

/// The way to a destination and those behind it, and how many may use it at a time.
fn way(
    destination: &Destination,
    failover: &[OtlpSettings],
    policy: RetryPolicy,
) -> Result<(Way, usize), StartError> {
    let (first, timeout, workers) = transport(destination)?;
    let mut targets = vec![Target::new(first, policy, 0)];
    for (settings, index) in failover.iter().zip(1..MAX_TARGETS) {
        let (transport, _, _) = transport(&Destination::Gateway(settings.clone()))?;
        targets.push(Target::new(transport, policy, index));
    }
    let way = Way {
        targets,
        timeout,
        counters: Arc::default(),
    };
    Ok((way, workers))
}

/// The way of another signal. Files are shared, so that lines stay whole.
fn other_way(
    destination: &Destination,
    first: &Way,
    policy: RetryPolicy,
) -> Result<Way, StartError> {
    let shared = first.targets.first().map(Target::transport);
    match (destination, shared) {
        (Destination::File(_) | Destination::Stdout, Some(file))
            if matches!(**file, Transport::File(_)) =>
        {
            Ok(Way {
                targets: vec![Target::new(Arc::clone(file), policy, 0)],
                timeout: None,
                counters: Arc::default(),
            })
        }
        _ => way(destination, &[], policy).map(|(way, _)| way),
    }
}

/// The way to a gateway.
pub(super) fn gateway(settings: &OtlpSettings) -> Result<Transport, StartError> {
    Ok(match settings.protocol {
        Protocol::Grpc => Transport::Grpc(Box::new(GrpcExporter::new(settings)?)),
        Protocol::HttpProtobuf => Transport::Http(Box::new(HttpExporter::new(settings)?)),
    })
}

fn transport(
    destination: &Destination,
) -> Result<(Arc<Transport>, Option<Duration>, usize), StartError> {
    let (transport, timeout, workers) = match destination {
        Destination::Gateway(settings) => {
            (gateway(settings)?, settings.timeout, REQUESTS_IN_FLIGHT)
        }
        // Lines in order of time: one at a time.
        Destination::File(path) => {
            let file = FileExporter::open(path).map_err(|source| StartError::File {
                path: path.clone(),
                source,
            })?;
            (Transport::File(file), None, 1)
        }
        Destination::Stdout => (Transport::File(FileExporter::stdout()), None, 1),
    };
    Ok((Arc::new(transport), timeout, workers))
}

fn run(runtime: &Runtime, delivery: Delivery, workers: usize) {
    let delivery = Arc::new(delivery);
    runtime.block_on(async {
        let mut phase = delivery.phase.clone();
        let mut tasks = JoinSet::new();
        for _ in 0..workers {
            tasks.spawn(Arc::clone(&delivery).work());
        }
        let end = async {
            loop {
                let now = *phase.borrow_and_update();
                match now {
                    Phase::Draining(end) => return sleep_until(end).await,
                    Phase::Running => {
                        if phase.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
        };
        tokio::select! {
            () = end => {}
            () = async { while tasks.join_next().await.is_some() {} } => {}
        }
        // Aborting a worker counts the spans it was about to send.
        let grace = Instant::now() + Duration::from_millis(200);
        if timeout_at(grace, tasks.shutdown()).await.is_err() {
            tracing::warn!("a request could not be ended in time");
        }
    });
    while let Some(taken) = delivery.queue.try_pop() {
        let (signal, items) = (taken.batch.signal, taken.batch.items);
        let counters = &delivery.way(signal).counters;
        counters.taken(items);
        give_back(&*delivery.queue, counters, taken, items);
    }
    delivery.queue.finish();
}
