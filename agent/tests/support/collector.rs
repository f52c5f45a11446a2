//! The OpenTelemetry Collector as gateway, on ports it chooses, with a file as its backend.

#![allow(
    dead_code,
    reason = "each user of this module needs another part of it"
)]

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use serde_json::{Value, json};

/// A running Collector; killed with the value.
pub(crate) struct Collector {
    child: Child,
    /// Where it takes OTLP over gRPC …
    pub(crate) grpc: SocketAddr,
    /// … and over HTTP.
    pub(crate) http: SocketAddr,
    log: PathBuf,
}

/// Its binary, unless none is named and tests may be skipped.
pub(crate) fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("REMORA_TEST_COLLECTOR").filter(|it| !it.is_empty()) {
        return Some(path.into());
    }
    let how = "REMORA_TEST_COLLECTOR names no Collector; build one: cargo xtask peer collector";
    let all = std::env::var_os("REMORA_TEST_ALL").is_some_and(|all| all == "1");
    assert!(!all, "{how}");
    eprintln!("skipped: {how}");
    None
}

/// Both protocols in, all signals into a file below `dir`; JSON is YAML.
pub(crate) fn config(dir: &Path) -> Value {
    let endpoint = json!({"endpoint": "127.0.0.1:0"});
    let pipeline = json!({"receivers": ["otlp"], "processors": [], "exporters": ["file"]});
    json!({
        "receivers": {"otlp": {"protocols": {"grpc": endpoint, "http": endpoint}}},
        "processors": {},
        "exporters": {"file": {"path": out(dir), "append": true, "flush_interval": "50ms"}},
        "service": {"pipelines": {"traces": pipeline, "metrics": pipeline}},
    })
}

/// Sets the processors of the traces, in order.
pub(crate) fn process(config: &mut Value, processors: &[(&str, Value)]) {
    for (name, settings) in processors {
        config["processors"][name] = settings.clone();
    }
    let names: Vec<_> = processors.iter().map(|(name, _)| *name).collect();
    config["service"]["pipelines"]["traces"]["processors"] = json!(names);
}

/// Sets something of the receiver, for both protocols.
pub(crate) fn receive(config: &mut Value, key: &str, value: &Value) {
    for protocol in ["grpc", "http"] {
        config["receivers"]["otlp"]["protocols"][protocol][key] = value.clone();
    }
}

fn out(dir: &Path) -> PathBuf {
    dir.join("out.jsonl")
}

impl Collector {
    /// Starts one with this configuration, kept in `dir`, and waits until it says that all of
    /// it runs.
    pub(crate) fn start(binary: &Path, dir: &Path, config: &Value) -> Self {
        Self::with_gates(binary, dir, config, "")
    }

    /// The same, with feature gates.
    pub(crate) fn with_gates(binary: &Path, dir: &Path, config: &Value, gates: &str) -> Self {
        let (file, log) = (dir.join("collector.json"), dir.join("collector.log"));
        fs::write(&file, config.to_string()).unwrap();
        let errors = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        // A second life writes behind the first one.
        let before = fs::read_to_string(&log).unwrap().len();
        let mut child = Command::new(binary)
            .arg("--config")
            .arg(file)
            .arg(format!("--feature-gates={gates}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let said = || fs::read_to_string(&log).unwrap().split_off(before);
        until("the Collector is ready", || {
            assert_eq!(child.try_wait().unwrap(), None, "{}", said());
            said().contains("Everything is ready").then_some(())
        });
        let said = said();
        let endpoint = |message: &str| {
            let lines = said.lines().filter_map(|it| serde_json::from_str(it).ok());
            let mut lines = lines.filter(|line: &Value| line["msg"] == message);
            let line = lines.next().unwrap_or_else(|| panic!("{said}"));
            line["endpoint"].as_str().unwrap().parse().unwrap()
        };
        Self {
            grpc: endpoint("Starting GRPC server"),
            http: endpoint("Starting HTTP server"),
            child,
            log,
        }
    }

    /// The endpoint for a value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub(crate) fn url(&self, protocol: &str) -> String {
        let scheme = "http";
        match protocol {
            "grpc" => format!("{scheme}://{}", self.grpc),
            _ => format!("{scheme}://{}", self.http),
        }
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end, and waits until what it took is in its file.
    pub(crate) fn stop(mut self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: plain integers; the child is not reaped, so the number is its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let status = until("the Collector ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{}", self.log());
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of its file, as far as they are whole.
pub(crate) fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out(dir)).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The groups of spans in its file.
pub(crate) fn groups(dir: &Path) -> Vec<ResourceSpans> {
    let lines = lines(dir).into_iter();
    let requests = lines.filter(|line| line["resourceSpans"].is_array());
    requests
        .flat_map(|line| {
            let request: ExportTraceServiceRequest = serde_json::from_value(line).unwrap();
            request.resource_spans
        })
        .collect()
}

/// The spans in its file.
pub(crate) fn spans(dir: &Path) -> Vec<Span> {
    let scopes = groups(dir).into_iter().flat_map(|group| group.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Waits until there is something.
#[track_caller]
fn until<T>(what: &str, mut there: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = there() {
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}
