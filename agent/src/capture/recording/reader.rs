//! Reading recordings. The file is hostile input: lengths are bounded, checksums
//! checked, and memory does not grow with what it claims.

use super::{
    BYTE_ORDER, Error, ErrorKind, FORMAT, Header, MAGIC, MAX_PAYLOAD, PREFIX, checksum, kind,
};
use crate::model::clock::Offset;
use crate::model::exchange::ProcessInfo;
use remora_common::record;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// One thing that a recording holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A record as it came off the ring.
    Record(&'a [u8]),
    /// Description of the process that the record before announced.
    Process(ProcessInfo),
    /// Clock offset for the records to come.
    Clock(Offset),
}

/// A recording, read from its start to its end.
#[derive(Debug)]
pub struct Recording<R = File> {
    path: PathBuf,
    header: Header,
    frames: Frames<R>,
}

impl Recording {
    /// Opens a recording and reads its header.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a recording that this version can replay.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error| Error {
            path: path.to_owned(),
            kind: ErrorKind::Read(error),
        };
        Recording::new(File::open(path).map_err(failed)?, path)
    }
}

impl<R: Read> Recording<R> {
    /// Reads a recording from `input`; `path` is what errors call it.
    ///
    /// # Errors
    /// As for [`Recording::open`].
    pub fn new(input: R, path: &Path) -> Result<Self, Error> {
        let mut frames = Frames {
            input: BufReader::with_capacity(BUFFER, input),
            payload: Vec::new(),
            offset: 0,
            ended: false,
        };
        let header = frames.header();
        let header = header.map_err(|kind| Error {
            path: path.to_owned(),
            kind,
        })?;
        Ok(Self {
            path: path.to_owned(),
            header,
            frames,
        })
    }

    /// What holds for the whole recording.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame; `None` after the last one.
    ///
    /// # Errors
    /// If the file is cut off or corrupt here, or cannot be read. Nothing follows then.
    #[inline]
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        match self.frames.next() {
            Ok(frame) => Ok(frame),
            Err(kind) => Err(Error {
                path: self.path.clone(),
                kind,
            }),
        }
    }
}

#[derive(Debug)]
struct Frames<R> {
    input: BufReader<R>,
    payload: Vec<u8>,
    /// Where the frame being read begins.
    offset: u64,
    ended: bool,
}

impl<R: Read> Frames<R> {
    fn header(&mut self) -> Result<Header, ErrorKind> {
        let mut start = [0; MAGIC.len() + 4];
        let got = self.fill(&mut start)?;
        if got < MAGIC.len() || start[..MAGIC.len()] != MAGIC {
            return Err(ErrorKind::NotARecording);
        }
        if got < start.len() {
            return Err(ErrorKind::Truncated { offset: 0 });
        }
        let [format, records, order, _] = [start[8], start[9], start[10], start[11]];
        if (format, records) != (FORMAT, record::VERSION) {
            return Err(ErrorKind::Version { format, records });
        }
        if order != BYTE_ORDER {
            return Err(ErrorKind::ByteOrder);
        }
        self.offset = start.len() as u64;
        let at = self.offset;
        match self.advance()? {
            Some(kind::HEADER) => {
                serde_json::from_slice(&self.payload).map_err(|_| ErrorKind::Corrupt {
                    offset: at,
                    what: "header",
                })
            }
            _ => Err(ErrorKind::Corrupt {
                offset: at,
                what: "no header",
            }),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<Option<Frame<'_>>, ErrorKind> {
        if self.ended {
            return Ok(None);
        }
        let offset = self.offset;
        let corrupt = |what| ErrorKind::Corrupt { offset, what };
        // Nothing can be read after an error: the next frame's place is not known.
        self.ended = true;
        let kind = self.advance()?.ok_or(ErrorKind::Truncated { offset })?;
        self.ended = kind == kind::END;
        let frame = match kind {
            kind::RECORD => Frame::Record(&self.payload),
            kind::PROCESS => serde_json::from_slice(&self.payload)
                .map(Frame::Process)
                .map_err(|_| corrupt("process description"))?,
            kind::CLOCK => match self.payload[..].try_into() {
                Ok(bytes) => Frame::Clock(Offset(i64::from_le_bytes(bytes))),
                Err(_) => return Err(corrupt("clock offset")),
            },
            kind::END => return Ok(None),
            _ => return Err(corrupt("unknown kind of frame")),
        };
        Ok(Some(frame))
    }

    /// Reads the next frame into `payload` and returns its kind; `None` if the file
    /// ends before it.
    #[inline]
    fn advance(&mut self) -> Result<Option<u8>, ErrorKind> {
        let offset = self.offset;
        let mut prefix = [0; PREFIX];
        match self.fill(&mut prefix)? {
            0 => return Ok(None),
            PREFIX => {}
            _ => return Err(ErrorKind::Truncated { offset }),
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = prefix;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > MAX_PAYLOAD {
            return Err(ErrorKind::Corrupt {
                offset,
                what: "length",
            });
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.resize(len, 0);
        let got = self.fill(&mut payload);
        self.payload = payload;
        if got? < len {
            return Err(ErrorKind::Truncated { offset });
        }
        if checksum(kind, &self.payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(ErrorKind::Corrupt {
                offset,
                what: "checksum",
            });
        }
        self.offset += (PREFIX + len) as u64;
        Ok(Some(kind))
    }

    /// Reads until `bytes` is full or the file ends, and returns how much it got.
    #[inline]
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut got = 0;
        while got < bytes.len() {
            match self.input.read(&mut bytes[got..]) {
                Ok(0) => break,
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ErrorKind::Read(error)),
            }
        }
        Ok(got)
    }
}
