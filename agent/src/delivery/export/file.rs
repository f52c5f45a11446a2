//! OTLP JSON lines (OpenTelemetry specification, "OpenTelemetry Protocol File Exporter"):
//! one export request a line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::Serialize;

use super::batch::Signal;
use super::retry::Outcome;
use crate::model::text::hex::hex;

/// Appends requests to a file or to standard output.
pub struct FileExporter {
    target: Mutex<Target>,
}

struct Target {
    out: Box<dyn Write + Send>,
    /// A line was begun and not finished, because writing failed.
    broken: bool,
}

impl std::fmt::Debug for FileExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileExporter").finish_non_exhaustive()
    }
}

impl FileExporter {
    /// Appends to a file, which is created for its owner alone.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        Ok(Self::new(Box::new(file)))
    }

    /// Writes to standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()))
    }

    fn new(out: Box<dyn Write + Send>) -> Self {
        Self {
            target: Mutex::new(Target { out, broken: false }),
        }
    }

    /// Writes one request as a line.
    #[must_use]
    pub fn send(&self, signal: Signal, body: &[u8]) -> Outcome {
        let line = match line(signal, body) {
            Ok(line) => line,
            Err(cause) => return Outcome::Refused { cause },
        };
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        match target.write(&line) {
            Ok(()) => Outcome::Delivered {
                rejected: 0,
                message: String::new(),
            },
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Outcome::Refused {
                cause: "nobody reads the output any more".into(),
            },
            Err(error) => Outcome::Retry {
                after: None,
                cause: error.to_string(),
            },
        }
    }
}

impl Target {
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.broken {
            self.out.write_all(b"\n")?;
        }
        self.broken = true;
        self.out.write_all(line)?;
        self.out.flush()?;
        self.broken = false;
        Ok(())
    }
}

fn line(signal: Signal, body: &[u8]) -> Result<Vec<u8>, String> {
    let mut line = match signal {
        Signal::Traces => json::<ExportTraceServiceRequest>(body)?,
        Signal::Metrics => json::<ExportMetricsServiceRequest>(body)?,
        Signal::Profiles => {
            let request = ExportProfilesServiceRequest::decode(body);
            profiles(&request.map_err(|error| error.to_string())?)?
        }
    };
    line.push(b'\n');
    Ok(line)
}

fn json<T: Message + Default + Serialize>(body: &[u8]) -> Result<Vec<u8>, String> {
    let request = T::decode(body).map_err(|error| error.to_string())?;
    let mut line = Vec::with_capacity(body.len() * 3);
    serde_json::to_writer(&mut line, &request).map_err(|error| error.to_string())?;
    Ok(line)
}

/// OTLP's JSON has ids in hexadecimal; `opentelemetry-proto` 0.33.1 does that for all but
/// the links of profiles.
fn profiles(request: &ExportProfilesServiceRequest) -> Result<Vec<u8>, String> {
    let mut value = serde_json::to_value(request).map_err(|error| error.to_string())?;
    let links = request.dictionary.iter().flat_map(|it| &it.link_table);
    let values = value
        .pointer_mut("/dictionary/linkTable")
        .and_then(|table| table.as_array_mut())
        .into_iter()
        .flatten();
    for (value, link) in values.zip(links) {
        *value = serde_json::json!({
            "traceId": hex(&link.trace_id),
            "spanId": hex(&link.span_id),
        });
    }
    serde_json::to_vec(&value).map_err(|error| error.to_string())
}
