//! The standard OpenTelemetry variables, resolved (OpenTelemetry specification,
//! "Environment Variable Specification" and "OTLP Exporter Configuration").
//!
//! An empty variable counts as unset. Whatever is wrong is reported, all of it at once:
//! an agent that silently falls back to a default is one that silently loses spans.

mod endpoint;
pub mod metrics;
mod values;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::compression::Compression;
use crate::config::credentials::Credentials;
use crate::config::proxy::Proxies;
use crate::model::telemetry::Signal;
use crate::span::method::KnownMethods;
use endpoint::Place;
use values::Reader;

/// Spans per batch if `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` is not set. The specification's 512
/// is meant for one process; an agent sees all of a node.
pub const DEFAULT_BATCH_SPANS: usize = 4096;
/// Spans queued if `OTEL_BSP_MAX_QUEUE_SIZE` is not set (specification: 2,048).
pub const DEFAULT_QUEUE_SPANS: u64 = 65_536;
/// Age of a batch if `OTEL_BSP_SCHEDULE_DELAY` is not set (specification: 5 s).
pub const DEFAULT_DELAY: Duration = Duration::from_secs(1);
/// Fewest, default and most requests of a signal under way at once.
pub const IN_FLIGHT: (u32, u32, u32) = (1, 16, 64);
/// How long a batch is retried if `OTEL_BSP_EXPORT_TIMEOUT` is not set (specification: 30 s,
/// which would throw spans away during every restart of a gateway).
pub const DEFAULT_EXPORT_TIMEOUT: Duration = Duration::from_secs(300);
/// Time for one request if `OTEL_EXPORTER_OTLP_TIMEOUT` is not set.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Something wrong in the configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{name}={value}: {problem}; {fix}")]
pub struct Mistake {
    /// Variable.
    pub name: String,
    /// Its value, or `(hidden)` where it may hold secrets.
    pub value: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub fix: String,
}

/// Everything the standard variables say.
#[derive(Clone, Debug)]
pub struct OtelSettings {
    /// `OTEL_SDK_DISABLED`: nothing is exported.
    pub disabled: bool,
    /// `OTEL_TRACES_EXPORTER`.
    pub traces_exporter: TracesExporter,
    /// Where traces go if the exporter is OTLP.
    pub traces: OtlpSettings,
    /// Where metrics go.
    pub metrics: OtlpSettings,
    /// How they are exported.
    pub metrics_export: metrics::MetricsExport,
    /// Where profiles go.
    pub profiles: OtlpSettings,
    /// `OTEL_SERVICE_NAME`, else `service.name` of `OTEL_RESOURCE_ATTRIBUTES`: the name of
    /// the agent itself, not of what it traces.
    pub service_name: Option<String>,
    /// `OTEL_RESOURCE_ATTRIBUTES`.
    pub resource: Vec<(String, String)>,
    /// `OTEL_BSP_*`.
    pub batch: BatchSettings,
    /// `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS`.
    pub known_methods: KnownMethods,
}

/// `OTEL_TRACES_EXPORTER`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TracesExporter {
    /// `otlp`, the default.
    Otlp,
    /// `console`: OTLP JSON lines on standard output.
    Console,
    /// `none`.
    None,
}

/// `OTEL_EXPORTER_OTLP_*` of one signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OtlpSettings {
    /// Transport.
    pub protocol: Protocol,
    /// Where requests go: the URL to post to for HTTP, the origin for gRPC. For a Unix
    /// socket it is what requests say of it.
    pub endpoint: http::Uri,
    /// The Unix socket to connect to, if it is one.
    pub socket: Option<PathBuf>,
    /// Proxies to use.
    pub proxies: Arc<Proxies>,
    /// Headers (metadata for gRPC), names in lower case. They often hold secrets.
    pub headers: Headers,
    /// `otlp_headers_file` and `otlp_bearer_token_file`: more of them, from files.
    pub credentials: Option<Arc<Credentials>>,
    /// Time for one request; `None` is no limit.
    pub timeout: Option<Duration>,
    /// How bodies are compressed, if they are.
    pub compression: Option<Compression>,
    /// PEM file with the certificates to trust instead of the system's.
    pub certificate: Option<PathBuf>,
    /// PEM files with the certificate chain and the key to present.
    pub client: Option<Box<ClientIdentity>>,
    /// How a connection of gRPC is found to be dead. It has no variable.
    pub keep_alive: KeepAlive,
}

/// When a connection with requests under way, over which nothing comes, is asked for a sign of
/// life. One of HTTP/1.1 ends with the time for its request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// After this.
    pub interval: Duration,
    /// For so long it may not answer.
    pub timeout: Duration,
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(20),
            timeout: Duration::from_secs(20),
        }
    }
}

/// Header names and values; `Debug` shows the names only.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Headers(pub Vec<(http::HeaderName, http::HeaderValue)>);

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// `CLIENT_CERTIFICATE` and `CLIENT_KEY`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientIdentity {
    /// Certificate chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
}

/// `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `grpc`.
    Grpc,
    /// `http/protobuf`, the default.
    HttpProtobuf,
}

/// `OTEL_BSP_*`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchSettings {
    /// Age at which a batch is sent.
    pub delay: Duration,
    /// How long a batch is tried; `None` is no limit.
    pub export_timeout: Option<Duration>,
    /// Spans queued at most.
    pub queue_spans: u64,
    /// Spans per batch at most.
    pub batch_spans: usize,
}

impl OtelSettings {
    /// Resolves the variables that `env` returns.
    ///
    /// # Errors
    /// All mistakes, in the order in which the variables are read.
    pub fn resolve(env: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<Mistake>> {
        let mut reader = Reader::new(&env);
        let disabled = reader.boolean("OTEL_SDK_DISABLED").unwrap_or(false);
        let traces_exporter = reader
            .choice(
                "OTEL_TRACES_EXPORTER",
                &[
                    ("otlp", TracesExporter::Otlp),
                    ("console", TracesExporter::Console),
                    ("none", TracesExporter::None),
                ],
            )
            .unwrap_or(TracesExporter::Otlp);
        let traces = otlp(&mut reader, Signal::Traces);
        let metrics = otlp(&mut reader, Signal::Metrics);
        let metrics_export = metrics::read(&mut reader);
        let profiles = otlp(&mut reader, Signal::Profiles);
        let resource = reader.pairs("OTEL_RESOURCE_ATTRIBUTES");
        let service_name = reader.text("OTEL_SERVICE_NAME").or_else(|| {
            let (_, name) = resource.iter().find(|(key, _)| key == "service.name")?;
            Some(name.clone())
        });
        let batch = batch(&mut reader);
        let known_methods = reader
            .list("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS")
            .map_or_else(KnownMethods::default, KnownMethods::exactly);
        let settings = Self {
            disabled,
            traces_exporter,
            traces,
            metrics,
            metrics_export,
            profiles,
            service_name,
            resource,
            batch,
            known_methods,
        };
        reader.finish(settings)
    }
}

impl OtlpSettings {
    /// What is connected to: `unix:/path` or `host:port`, and the latter is the proxy's if
    /// there is one.
    #[must_use]
    pub fn peer(&self) -> Option<String> {
        if let Some(path) = &self.socket {
            return Some(format!("unix:{}", path.display()));
        }
        let proxy = self.proxies.to(&self.endpoint).map(|it| it.address);
        let url = proxy.as_ref().unwrap_or(&self.endpoint);
        let tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Some(format!("{}:{port}", url.host()?))
    }

    /// The same settings for another gateway, whose URL is given as
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` takes it.
    ///
    /// # Errors
    /// What is wrong with the URL, and what would be right.
    pub fn at(&self, url: &str, signal: Signal) -> Result<Self, String> {
        let Place { endpoint, socket } = endpoint::further(url, signal, self.protocol)
            .map_err(|(problem, fix)| format!("{problem}; {fix}"))?;
        if socket.is_none()
            && let Err(variable) = self.proxies.check(&endpoint)
        {
            let (problem, fix) = endpoint::PROXY;
            return Err(format!("{variable} for it is {problem}; {fix}"));
        }
        Ok(Self {
            endpoint,
            socket,
            ..self.clone()
        })
    }
}

fn otlp(reader: &mut Reader<'_>, signal: Signal) -> OtlpSettings {
    let prefix = signal.variable();
    // The name of the variable that decides: the signal's own, else the generic one.
    let pick = |reader: &Reader<'_>, part: &str| {
        let own = format!("OTEL_EXPORTER_OTLP_{prefix}{part}");
        if reader.text(&own).is_some() {
            own
        } else {
            format!("OTEL_EXPORTER_OTLP_{part}")
        }
    };
    let name = pick(reader, "PROTOCOL");
    let protocol = reader.choice(
        &name,
        &[
            ("grpc", Protocol::Grpc),
            ("http/protobuf", Protocol::HttpProtobuf),
        ],
    );
    let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
    let name = pick(reader, "INSECURE");
    let insecure = reader.boolean(&name).unwrap_or(false);
    let name = pick(reader, "ENDPOINT");
    let generic = name == "OTEL_EXPORTER_OTLP_ENDPOINT";
    let Place { endpoint, socket } =
        endpoint::resolve(reader, &name, generic, signal, protocol, insecure);
    let proxies = Arc::new(endpoint::proxies(reader));
    if socket.is_none()
        && let Err(variable) = proxies.check(&endpoint)
    {
        let (problem, fix) = endpoint::PROXY;
        reader.mistake(variable, problem, fix);
    }
    let name = pick(reader, "HEADERS");
    let headers = Headers(reader.headers(&name));
    let name = pick(reader, "TIMEOUT");
    let timeout = reader.milliseconds(&name).unwrap_or(Some(DEFAULT_TIMEOUT));
    let name = pick(reader, "COMPRESSION");
    let choices = [
        ("gzip", Some(Compression::Gzip)),
        ("zstd", Some(Compression::Zstd)),
        ("none", None),
    ];
    let compression = reader.choice(&name, &choices).flatten();
    let name = pick(reader, "CERTIFICATE");
    let certificate = reader.file(&name);
    let (certificate_name, key_name) = (
        pick(reader, "CLIENT_CERTIFICATE"),
        pick(reader, "CLIENT_KEY"),
    );
    let client = match (reader.file(&certificate_name), reader.file(&key_name)) {
        (Some(certificate), Some(key)) => Some(Box::new(ClientIdentity { certificate, key })),
        (Some(_), None) => {
            reader.mistake(
                &certificate_name,
                "a certificate without its key",
                &format!("set {key_name} too"),
            );
            None
        }
        (None, Some(_)) => {
            reader.mistake(
                &key_name,
                "a key without its certificate",
                &format!("set {certificate_name} too"),
            );
            None
        }
        (None, None) => None,
    };
    OtlpSettings {
        protocol,
        endpoint,
        socket,
        proxies,
        headers,
        credentials: None,
        timeout,
        compression,
        certificate,
        client,
        keep_alive: KeepAlive::default(),
    }
}

fn batch(reader: &mut Reader<'_>) -> BatchSettings {
    const QUEUE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
    const BATCH: &str = "OTEL_BSP_MAX_EXPORT_BATCH_SIZE";
    let delay = reader
        .number("OTEL_BSP_SCHEDULE_DELAY", 0)
        .map(Duration::from_millis);
    let export_timeout = reader.milliseconds("OTEL_BSP_EXPORT_TIMEOUT");
    let queue_spans = reader.number(QUEUE, 1).unwrap_or(DEFAULT_QUEUE_SPANS);
    let batch_spans = match reader.number(BATCH, 1) {
        Some(spans) if spans > queue_spans => {
            let fix = format!("use at most {queue_spans}, or raise {QUEUE}");
            reader.mistake(BATCH, "a batch larger than the queue", &fix);
            queue_spans
        }
        Some(spans) => spans,
        None => queue_spans.min(DEFAULT_BATCH_SPANS as u64),
    };
    BatchSettings {
        delay: delay.unwrap_or(DEFAULT_DELAY),
        export_timeout: export_timeout.unwrap_or(Some(DEFAULT_EXPORT_TIMEOUT)),
        queue_spans,
        batch_spans: usize::try_from(batch_spans).unwrap_or(usize::MAX),
    }
}

#[cfg(test)]
mod tests;
