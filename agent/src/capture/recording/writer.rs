//! Writing recordings.

use super::{BYTE_ORDER, Error, ErrorKind, FORMAT, Header, MAGIC, MAX_PAYLOAD, checksum, kind};
use crate::capture::ingest::decode::{Counters, encode_counters, stated_len};
use crate::model::clock::Offset;
use crate::model::exchange::ProcessInfo;
use remora_common::record;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER: usize = 256 << 10;

/// Writes a recording. After a failed write nothing more is written, so that what is
/// in the file stays readable; what would have been is counted.
#[derive(Debug)]
pub struct Recorder<W: Write = File> {
    path: PathBuf,
    /// Gone after a failure.
    out: Option<BufWriter<W>>,
    dropped: u64,
}

impl Recorder {
    /// Creates the file, or empties it, readable for its owner only.
    ///
    /// # Errors
    /// If the file cannot be created or written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        match file {
            Ok(file) => Recorder::new(file, path, header),
            Err(error) => Err(Error {
                path: path.to_owned(),
                kind: ErrorKind::Write(error),
            }),
        }
    }
}

impl<W: Write> Recorder<W> {
    /// Writes the recording to `out`; `path` is what errors call it.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn new(out: W, path: &Path, header: &Header) -> Result<Self, Error> {
        let out = BufWriter::with_capacity(BUFFER, out);
        let mut recorder = Self {
            path: path.to_owned(),
            out: Some(out),
            dropped: 0,
        };
        recorder.attempt(|out| {
            out.write_all(&MAGIC)?;
            out.write_all(&[FORMAT, record::VERSION, BYTE_ORDER, 0])?;
            frame(out, kind::HEADER, &serde_json::to_vec(header)?)
        })?;
        Ok(recorder)
    }

    /// Writes a record as it came off the ring, and the description of the process
    /// that it announced, if it did.
    ///
    /// # Errors
    /// If the file cannot be written; once only, then see [`Self::dropped`].
    #[inline]
    pub fn record(&mut self, bytes: &[u8], process: Option<&ProcessInfo>) -> Result<(), Error> {
        let bytes = &bytes[..stated_len(bytes).unwrap_or(bytes.len())];
        self.attempt(|out| {
            frame(out, kind::RECORD, bytes)?;
            match process {
                Some(process) => frame(out, kind::PROCESS, &serde_json::to_vec(process)?),
                None => Ok(()),
            }
        })
    }

    /// Writes a clock offset that holds for the records to come.
    ///
    /// # Errors
    /// As for [`Self::record`].
    pub fn clock(&mut self, clock: Offset) -> Result<(), Error> {
        self.attempt(|out| frame(out, kind::CLOCK, &clock.0.to_le_bytes()))
    }

    /// Hands what is gathered to the operating system; not to the disk. Called now
    /// and then, it bounds what is missing from the file if the agent is killed.
    ///
    /// # Errors
    /// As for [`Self::record`].
    pub fn flush(&mut self) -> Result<(), Error> {
        match self.out {
            Some(_) => self.attempt(Write::flush),
            None => Ok(()),
        }
    }

    /// Ends the recording. `counters` are the kernel's, read after the last record.
    ///
    /// # Errors
    /// As for [`Self::record`].
    pub fn finish(mut self, counters: &Counters) -> Result<W, Error> {
        self.attempt(|out| {
            frame(out, kind::RECORD, &encode_counters(counters))?;
            frame(out, kind::END, &[])
        })?;
        let out = match self.out.take() {
            Some(out) => out.into_inner().map_err(io::IntoInnerError::into_error),
            None => Err(io::Error::other("an earlier write failed")),
        };
        out.map_err(|error| self.error(error))
    }

    /// Records, offsets and the like that were not written because of a failure.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn attempt(
        &mut self,
        write: impl FnOnce(&mut BufWriter<W>) -> io::Result<()>,
    ) -> Result<(), Error> {
        let Some(out) = &mut self.out else {
            self.dropped += 1;
            return Ok(());
        };
        write(out).map_err(|error| {
            // Not dropped as it is: that would write the rest of its buffer.
            if let Some(out) = self.out.take() {
                let _ = out.into_parts();
            }
            self.dropped += 1;
            self.error(error)
        })
    }

    fn error(&self, error: io::Error) -> Error {
        Error {
            path: self.path.clone(),
            kind: ErrorKind::Write(error),
        }
    }
}

fn frame(out: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let len = u32::try_from(payload.len())
        .ok()
        .filter(|&len| len as usize <= MAX_PAYLOAD);
    let len = len.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut prefix = [0; super::PREFIX];
    prefix[..4].copy_from_slice(&len.to_le_bytes());
    prefix[4..8].copy_from_slice(&checksum(kind, payload).to_le_bytes());
    prefix[8] = kind;
    out.write_all(&prefix)?;
    out.write_all(payload)
}
