//! Replays: the pairing stage, fed from a recording.

use crate::capture::ledger::Ledger;
use crate::capture::recording::{Error, Frame, Header, Recording};
use crate::model::exchange::{ProcessInfo, Sink};
use crate::model::processes::{Processes, from_record};
use crate::pairing::conn::{Limits, Pipeline};
use remora_common::cursor::Cursor;
use remora_common::record::{self, Kind};
use std::fs::File;
use std::io::Read;

/// A recording on its way through the pairing stage.
#[derive(Debug)]
pub struct Replay<R = File> {
    recording: Recording<R>,
    pipeline: Pipeline<Recorded>,
    /// A PROCESS record whose description is expected to follow.
    announced: Option<Vec<u8>>,
}

/// Processes as the recording describes them.
#[derive(Default, Debug)]
struct Recorded {
    next: Option<ProcessInfo>,
}

impl Processes for Recorded {
    fn resolve(&mut self, record: &record::Process) -> ProcessInfo {
        let described = self.next.take().filter(|info| info.tgid == record.tgid);
        described.unwrap_or_else(|| from_record(record))
    }
}

impl<R: Read> Replay<R> {
    /// Replays `recording` with the ids and times of the live run.
    #[must_use]
    pub fn new(recording: Recording<R>, limits: Limits) -> Self {
        let Header { seed, clock, .. } = *recording.header();
        let pipeline = Pipeline::new(limits, seed, clock, Recorded::default());
        Self {
            recording,
            pipeline,
            announced: None,
        }
    }

    /// What holds for the whole recording.
    #[must_use]
    pub fn header(&self) -> &Header {
        self.recording.header()
    }

    /// Takes one step. Returns whether there may be more.
    ///
    /// # Errors
    /// If the recording is cut off or corrupt here. What came before has been
    /// replayed, and [`Self::ledger`] accounts for it.
    #[inline]
    pub fn step<S: Sink + ?Sized>(&mut self, sink: &mut S) -> Result<bool, Error> {
        let frame = match self.recording.next_frame() {
            Ok(Some(frame)) => frame,
            end => {
                let end = end.map(|_| false);
                announce(&mut self.announced, &mut self.pipeline, sink);
                return end;
            }
        };
        if let Frame::Process(info) = frame {
            self.pipeline.resolver_mut().next = Some(info);
            announce(&mut self.announced, &mut self.pipeline, sink);
            // A description that follows no record describes nothing.
            self.pipeline.resolver_mut().next = None;
            return Ok(true);
        }
        if self.announced.is_some() {
            announce(&mut self.announced, &mut self.pipeline, sink);
        }
        match frame {
            Frame::Record(bytes) if is_process(bytes) => self.announced = Some(bytes.to_vec()),
            Frame::Record(bytes) => {
                self.pipeline.record(bytes, sink);
            }
            Frame::Clock(clock) => self.pipeline.set_clock(clock),
            Frame::Process(_) => {}
        }
        Ok(true)
    }

    /// Takes all steps that are left.
    ///
    /// # Errors
    /// As for [`Self::step`].
    pub fn run<S: Sink + ?Sized>(&mut self, sink: &mut S) -> Result<(), Error> {
        while self.step(sink)? {}
        Ok(())
    }

    /// The counts so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.pipeline.ledger()
    }
}

/// Feeds the PROCESS record that was held back.
fn announce<S: Sink + ?Sized>(
    announced: &mut Option<Vec<u8>>,
    pipeline: &mut Pipeline<Recorded>,
    sink: &mut S,
) {
    if let Some(record) = announced.take() {
        pipeline.record(&record, sink);
    }
}

fn is_process(bytes: &[u8]) -> bool {
    let header: Option<record::Header> = Cursor::new(bytes).read();
    header.is_some_and(|header| header.kind == Kind::PROCESS)
}
