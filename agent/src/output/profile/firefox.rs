//! The JSON of the Firefox Profiler, <https://profiler.firefox.com>: a track for each
//! group, with its samples in order of time if times are known.

use super::By;
use super::frames::{self, Frame};
use crate::profile::model::{Event, Kind, Profile, Sample, Thread};
use fxprof_processed_profile as fx;
use indexmap::IndexMap;
use rustc_hash::FxHashMap;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, profile: &Profile, by: Option<By>) -> io::Result<()> {
    let made = Writer::new(profile).profile(by);
    serde_json::to_writer(&mut *out, &made).map_err(io::Error::from)?;
    writeln!(out)
}

struct Writer<'a> {
    profile: &'a Profile,
    out: fx::Profile,
    categories: FxHashMap<Kind, fx::CategoryPairHandle>,
}

impl<'a> Writer<'a> {
    fn new(profile: &'a Profile) -> Self {
        let start = UNIX_EPOCH + Duration::from_nanos(profile.start_unix_ns);
        // The time between samples, which the format wants, is not known of cycles.
        let interval = match profile.event {
            Event::CpuClock => profile.period_ns,
            Event::Cycles { .. } => profile.duration_ns / profile.count().max(1),
        };
        let interval = fx::SamplingInterval::from_nanos(interval.max(1));
        let mut out = fx::Profile::new("remora", start.into(), interval);
        out.set_symbolicated(true);
        out.set_os_name("Linux");
        let colours = [
            (Kind::Native, fx::CategoryColor::Yellow),
            (Kind::Kernel, fx::CategoryColor::Orange),
            (Kind::Jit, fx::CategoryColor::Green),
            (Kind::Interpreted, fx::CategoryColor::Blue),
            (Kind::Unknown, fx::CategoryColor::Gray),
        ];
        let categories = colours
            .into_iter()
            .map(|(kind, colour)| (kind, out.add_category(kind.name(), colour).into()))
            .collect();
        Self {
            profile,
            out,
            categories,
        }
    }

    fn profile(mut self, by: Option<By>) -> fx::Profile {
        // One point in time of one sample each, in order.
        let mut tracks: IndexMap<Track, Vec<(u64, usize)>> = IndexMap::new();
        for (index, sample) in self.profile.samples.iter().enumerate() {
            let points = tracks.entry(self.track(sample, by)).or_default();
            if sample.times.is_empty() {
                points.push((self.profile.start_unix_ns, index));
            } else {
                points.extend(sample.times.iter().map(|time| (*time, index)));
            }
        }
        let mut processes: FxHashMap<String, fx::ProcessHandle> = FxHashMap::default();
        let mut main = FxHashMap::default();
        for (track, mut points) in tracks {
            let zero = fx::Timestamp::from_nanos_since_reference(0);
            let process = *processes
                .entry(track.process.clone())
                .or_insert_with(|| self.out.add_process(&track.process, track.pid, zero));
            let first = main.insert(process, ()).is_none();
            let thread = self.out.add_thread(process, track.tid, zero, first);
            self.out.set_thread_name(thread, &track.name);
            points.sort_unstable();
            for (time, index) in points {
                self.sample(thread, time, &self.profile.samples[index]);
            }
        }
        self.out
    }

    fn track(&self, sample: &Sample, by: Option<By>) -> Track {
        let (thread, process) = (self.profile.thread(sample), self.profile.process(sample));
        match by {
            Some(by @ (By::Route | By::Service)) => Track {
                pid: 0,
                tid: 0,
                process: by.name().to_owned(),
                name: frames::group(self.profile, sample, by),
            },
            None | Some(By::Thread) => Track {
                pid: process.info.tgid,
                tid: thread.tid,
                process: format!("{} {}", process.info.comm, process.info.tgid),
                name: self.thread(thread, &process.info.comm),
            },
        }
    }

    fn thread(&self, thread: &Thread, comm: &str) -> String {
        match self.profile.string(thread.name) {
            "" => comm.to_owned(),
            name => name.to_owned(),
        }
    }

    fn sample(&mut self, thread: fx::ThreadHandle, time: u64, sample: &Sample) {
        let mut parent = None;
        if let Some(stop) = self.profile.stack(sample).stop {
            let label = format!("[stack cut: {}]", stop.name());
            parent = Some(self.push(thread, None, &label, Kind::Unknown));
        }
        for frame in frames::of_sample(self.profile, sample) {
            let label = self.label(&frame);
            parent = Some(self.push(thread, parent, &label, frame.location.kind));
        }
        let since = time.saturating_sub(self.profile.start_unix_ns);
        let at = fx::Timestamp::from_nanos_since_reference(since);
        let count = if sample.times.is_empty() {
            sample.count
        } else {
            1
        };
        let cpu = Duration::from_nanos(self.profile.cpu_ns(count).unwrap_or(0));
        let weight = i32::try_from(count).unwrap_or(i32::MAX);
        self.out.add_sample(thread, at, parent, cpu.into(), weight);
    }

    fn push(
        &mut self,
        thread: fx::ThreadHandle,
        parent: Option<fx::StackHandle>,
        label: &str,
        kind: Kind,
    ) -> fx::StackHandle {
        let info = fx::FrameInfo {
            frame: fx::Frame::Label(self.out.intern_string(label)),
            category_pair: self
                .categories
                .get(&kind)
                .copied()
                .unwrap_or_else(|| fx::CategoryHandle::OTHER.into()),
            flags: fx::FrameFlags::empty(),
        };
        let frame = self.out.intern_frame(thread, info);
        self.out.intern_stack(thread, parent, frame)
    }

    /// The function, and the file it is in.
    fn label(&self, frame: &Frame<'_>) -> String {
        let name = frame.name(self.profile);
        match frame.module(self.profile) {
            "" => name.into_owned(),
            _ if frame.line.is_none() => name.into_owned(),
            module => format!("{name} ({module})"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Track {
    process: String,
    name: String,
    pid: u32,
    tid: u32,
}
