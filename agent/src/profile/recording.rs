//! Recordings of profiles: raw samples, and everything that made a profile of them.
//!
//! ```text
//! file  = magic[8] frame*
//! frame = length:u32 kind:u8 payload[length]
//! ```
//!
//! Integers are little-endian. Samples are kept as the kernel wrote them, everything else
//! is JSON. The names of functions come last, so that a recording can be read where the
//! binaries are not.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use remora_common::cursor::Cursor;
use remora_common::record::{Header, Kind, VERSION};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::collect::{BinaryInfo, Collector, Lost, Mappings, Span, Tag};
use super::model::{Limits, Link, Profile};
use super::symbols::{Kept, Source, Symbol, Symbols};
use crate::model::clock::Offset;

const MAGIC: [u8; 8] = *b"\x89RMP\r\n\x1a\n";
/// Longest payload, bytes: the mappings of a process are the longest.
const MAX_PAYLOAD: u32 = 16 << 20;

/// Kinds of frames.
mod kind {
    pub(super) const HEADER: u8 = 1;
    pub(super) const RECORD: u8 = 2;
    pub(super) const BINARY: u8 = 3;
    pub(super) const PROCESS: u8 = 4;
    pub(super) const GONE: u8 = 5;
    pub(super) const TAG: u8 = 6;
    pub(super) const NAMES: u8 = 7;
    pub(super) const END: u8 = 8;
}

/// A recording that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct Error {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u8,
    clock: Offset,
}

#[derive(Serialize, Deserialize)]
struct Tagged {
    conn: u64,
    request: u32,
    method: String,
    route: String,
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

#[derive(Serialize, Deserialize)]
struct Named {
    source: Source,
    address: u64,
    symbols: Vec<Symbol>,
}

#[derive(Serialize, Deserialize)]
struct End {
    span: Span,
    lost: Lost,
}

/// Writes a recording. After a failed write nothing more is written.
#[derive(Debug)]
pub struct Recorder {
    out: Option<BufWriter<File>>,
}

impl Recorder {
    /// Creates the file, readable for its owner only: stacks and names of programs tell
    /// about a host.
    ///
    /// # Errors
    /// If it cannot be created or written.
    pub fn create(path: &Path, clock: Offset) -> Result<Self, Error> {
        let failed = |error: io::Error| Error {
            path: path.to_owned(),
            what: error.to_string(),
        };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut out = BufWriter::with_capacity(256 << 10, file);
        out.write_all(&MAGIC).map_err(failed)?;
        let mut recorder = Self { out: Some(out) };
        let head = Head {
            version: VERSION,
            clock,
        };
        recorder.json(kind::HEADER, &head);
        Ok(recorder)
    }

    /// Whether everything was written up to now.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.out.is_some()
    }

    pub(super) fn record(&mut self, record: &[u8]) {
        self.frame(kind::RECORD, record);
    }

    pub(super) fn binary(&mut self, info: &BinaryInfo) {
        self.json(kind::BINARY, info);
    }

    pub(super) fn process(&mut self, mappings: &Mappings) {
        self.json(kind::PROCESS, mappings);
    }

    pub(super) fn gone(&mut self, tgid: u32) {
        self.json(kind::GONE, &tgid);
    }

    pub(super) fn tag(&mut self, conn: u64, request: u32, tag: &Tag) {
        let tagged = Tagged {
            conn,
            request,
            method: tag.method.to_string(),
            route: tag.route.to_string(),
            trace_id: tag.link.map_or([0; 16], |link| link.trace_id),
            span_id: tag.link.map_or([0; 8], |link| link.span_id),
        };
        self.json(kind::TAG, &tagged);
    }

    /// Names that are asked for, written as they are answered.
    pub(super) fn listen<'a>(&'a mut self, symbols: &'a mut dyn Symbols) -> Listener<'a> {
        Listener {
            recorder: self,
            symbols,
        }
    }

    pub(super) fn end(mut self, span: Span, lost: &Lost) {
        let lost = lost.clone();
        self.json(kind::END, &End { span, lost });
        if let Some(mut out) = self.out.take() {
            // A recording without its end is read as far as it goes.
            let _ = out.flush();
        }
    }

    fn json<T: Serialize>(&mut self, kind: u8, value: &T) {
        match serde_json::to_vec(value) {
            Ok(bytes) => self.frame(kind, &bytes),
            Err(_) => self.out = None,
        }
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) {
        let Some(out) = &mut self.out else {
            return;
        };
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let written = out
            .write_all(&len.to_le_bytes())
            .and_then(|()| out.write_all(&[kind]))
            .and_then(|()| out.write_all(payload));
        if written.is_err() {
            self.out = None;
        }
    }
}

/// See [`Recorder::listen`].
pub(super) struct Listener<'a> {
    recorder: &'a mut Recorder,
    symbols: &'a mut dyn Symbols,
}

impl Symbols for Listener<'_> {
    fn resolve(&mut self, source: Source, addresses: &[u64], found: &mut dyn FnMut(usize, Symbol)) {
        let mut answers = vec![Vec::new(); addresses.len()];
        self.symbols.resolve(source, addresses, &mut |at, symbol| {
            if let Some(symbols) = answers.get_mut(at) {
                symbols.push(symbol);
            }
        });
        for ((at, address), symbols) in addresses.iter().enumerate().zip(answers) {
            for symbol in &symbols {
                found(at, symbol.clone());
            }
            let named = Named {
                source,
                address: *address,
                symbols,
            };
            self.recorder.json(kind::NAMES, &named);
        }
    }
}

/// Makes the profile of a recording.
///
/// # Errors
/// If the file cannot be read, is no recording of a profile, or ends early.
pub fn replay(path: &Path, limits: Limits) -> Result<Profile, Error> {
    let wrong = |what: String| Error {
        path: path.to_owned(),
        what,
    };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let mut reader = BufReader::with_capacity(256 << 10, file);
    let mut magic = [0; 8];
    if reader.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(wrong("not a recording of a profile".to_owned()));
    }
    let mut collector = None;
    let mut names = Kept::default();
    loop {
        let mut prefix = [0; 5];
        reader
            .read_exact(&mut prefix)
            .map_err(|_| wrong("the recording ends early".to_owned()))?;
        let [a, b, c, d, kind] = prefix;
        let len = u32::from_le_bytes([a, b, c, d]);
        if len > MAX_PAYLOAD {
            return Err(wrong(format!("a frame of {len} bytes")));
        }
        let mut payload = Vec::new();
        let read = reader.by_ref().take(len.into()).read_to_end(&mut payload);
        if read.ok() != Some(len as usize) {
            return Err(wrong("the recording ends early".to_owned()));
        }
        if kind == kind::HEADER {
            let head: Head = parse(&payload).map_err(wrong)?;
            if head.version != VERSION {
                return Err(wrong(format!("records of version {}", head.version)));
            }
            collector = Some(Collector::new(limits, head.clock));
            continue;
        }
        let Some(collector) = &mut collector else {
            return Err(wrong("no header".to_owned()));
        };
        match kind {
            kind::RECORD => record(collector, &payload),
            kind::BINARY => collector.binary(parse(&payload).map_err(wrong)?),
            kind::PROCESS => collector.process(parse(&payload).map_err(wrong)?),
            kind::GONE => collector.gone(parse(&payload).map_err(wrong)?),
            kind::TAG => {
                let tag: Tagged = parse(&payload).map_err(wrong)?;
                let link = (tag.trace_id != [0; 16]).then_some(Link {
                    trace_id: tag.trace_id,
                    span_id: tag.span_id,
                });
                let (method, route) = (tag.method.into(), tag.route.into());
                let made = Tag {
                    method,
                    route,
                    link,
                };
                collector.tag(tag.conn, tag.request, made);
            }
            kind::NAMES => {
                let named: Named = parse(&payload).map_err(wrong)?;
                names.keep(named.source, named.address, named.symbols);
            }
            kind::END => {
                let end: End = parse(&payload).map_err(wrong)?;
                return Ok(collector.finish(end.span, &end.lost, &mut names));
            }
            other => return Err(wrong(format!("a frame of kind {other}"))),
        }
    }
}

fn record(collector: &mut Collector, record: &[u8]) {
    let mut cursor = Cursor::new(record);
    match cursor.read::<Header>().map(|header| header.kind) {
        Some(Kind::GONE) => {
            if let Some(gone) = Cursor::new(record).read::<remora_common::profile::Gone>() {
                collector.gone(gone.tgid);
            }
        }
        _ => collector.sample(record),
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8]) -> Result<T, String> {
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}
