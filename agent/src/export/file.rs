//! OTLP JSON lines (OpenTelemetry specification, "OpenTelemetry Protocol File Exporter"):
//! one `ExportTraceServiceRequest` a line.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use super::retry::Outcome;

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
    pub fn send(&self, body: &[u8]) -> Outcome {
        let line = match line(body) {
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

fn line(body: &[u8]) -> Result<Vec<u8>, String> {
    let request = ExportTraceServiceRequest::decode(body).map_err(|error| error.to_string())?;
    let mut line = Vec::with_capacity(body.len() * 3);
    serde_json::to_writer(&mut line, &request).map_err(|error| error.to_string())?;
    line.push(b'\n');
    Ok(line)
}
