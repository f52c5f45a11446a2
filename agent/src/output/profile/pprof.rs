//! pprof: the gzipped protocol buffer that `go tool pprof`, Grafana, speedscope and
//! many others read.
//!
//! Everything known is kept: addresses, mappings with build ids, inlined functions, and
//! process, thread, service, route and span as labels. Roots are functions without an
//! address, so that `-tree`, `-web` and flame graphs are grouped as asked for.

pub mod proto;

use super::{By, frames};
use crate::model::text::hex::hex;
use crate::profile::model::{self, Event, Profile, Sample};
use flate2::{Compression, write::GzEncoder};
use indexmap::IndexSet;
use prost::Message as _;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::io::{self, Write};

/// Writes a profile.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut impl Write, profile: &Profile, by: Option<By>) -> io::Result<()> {
    let message = encode(profile, by);
    let mut gzip = GzEncoder::new(out, Compression::default());
    gzip.write_all(&message.encode_to_vec())?;
    gzip.finish()?;
    Ok(())
}

/// The message, before it is written. Ids are indices plus one: 0 is none.
#[must_use]
pub fn encode(profile: &Profile, by: Option<By>) -> proto::Profile {
    let mut writer = Writer::new(profile);
    let samples = profile.samples.iter();
    let sample = samples.map(|sample| writer.sample(sample, by)).collect();
    writer.out.sample = sample;
    writer.header();
    let mut out = writer.out;
    let strings = writer.strings.into_iter();
    out.string_table = strings.map(String::from).collect();
    out
}

struct Writer<'a> {
    profile: &'a Profile,
    /// Mappings by id: readers take the first for that of the program.
    order: Vec<usize>,
    /// Ids of mappings.
    ids: Vec<u64>,
    out: proto::Profile,
    strings: IndexSet<Box<str>, FxBuildHasher>,
    /// Functions that have nothing but a name, by its string.
    named: FxHashMap<i64, u64>,
    /// Locations of roots, by name.
    roots: FxHashMap<String, u64>,
}

impl<'a> Writer<'a> {
    fn new(profile: &'a Profile) -> Self {
        let order = order(profile);
        let mut ids = vec![0; order.len()];
        for (place, index) in order.iter().enumerate() {
            ids[*index] = id(place);
        }
        let mut writer = Self {
            profile,
            order,
            ids,
            out: proto::Profile::default(),
            strings: IndexSet::default(),
            named: FxHashMap::default(),
            roots: FxHashMap::default(),
        };
        writer.string("");
        writer.out.mapping = (0..profile.mappings.len())
            .map(|place| writer.mapping(place))
            .collect();
        writer.out.function = (0..profile.functions.len())
            .map(|index| writer.function(index))
            .collect();
        writer.out.location = (0..profile.locations.len())
            .map(|index| writer.location(index))
            .collect();
        writer
    }

    fn string(&mut self, text: &str) -> i64 {
        let index = match self.strings.get_index_of(text) {
            Some(index) => index,
            None => self.strings.insert_full(text.into()).0,
        };
        i64::try_from(index).unwrap_or(0)
    }

    fn mapping(&mut self, place: usize) -> proto::Mapping {
        let mapping = self.profile.mappings[self.order[place]];
        proto::Mapping {
            id: id(place),
            memory_start: mapping.start,
            memory_limit: mapping.end,
            file_offset: mapping.offset,
            filename: self.string(self.profile.string(mapping.file)),
            build_id: self.string(self.profile.string(mapping.build_id)),
            // All that could be found out, has been: no reader needs to look for files.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }
    }

    fn function(&mut self, index: usize) -> proto::Function {
        let function = self.profile.functions[index];
        let name = self.profile.string(function.name);
        let system_name = match self.profile.string(function.system_name) {
            "" => name,
            other => other,
        };
        proto::Function {
            id: id(index),
            name: self.string(name),
            system_name: self.string(system_name),
            filename: self.string(self.profile.string(function.file)),
            start_line: i64::from(function.line),
        }
    }

    fn location(&mut self, index: usize) -> proto::Location {
        let location = &self.profile.locations[index];
        let mut line: Vec<_> = location.lines.iter().map(line).collect();
        if line.is_empty() {
            // A bare address says less than the name of the file it is in.
            let name = frames::of_location(location)
                .next()
                .map(|frame| frame.name(self.profile).into_owned());
            line.push(proto::Line {
                function_id: self.named(&name.unwrap_or_default()),
                ..proto::Line::default()
            });
        }
        proto::Location {
            id: id(index),
            mapping_id: location
                .mapping
                .and_then(|id| self.ids.get(id.index()).copied())
                .unwrap_or(0),
            address: location.address,
            line,
            is_folded: false,
        }
    }

    /// A function that has nothing but a name.
    fn named(&mut self, name: &str) -> u64 {
        let name = self.string(name);
        if let Some(id) = self.named.get(&name) {
            return *id;
        }
        let id = id(self.out.function.len());
        self.named.insert(name, id);
        self.out.function.push(proto::Function {
            id,
            name,
            system_name: name,
            filename: 0,
            start_line: 0,
        });
        id
    }

    fn root(&mut self, name: String) -> u64 {
        if let Some(id) = self.roots.get(&name) {
            return *id;
        }
        let function_id = self.named(&name);
        let id = id(self.out.location.len());
        self.out.location.push(proto::Location {
            id,
            line: vec![proto::Line {
                function_id,
                ..proto::Line::default()
            }],
            ..proto::Location::default()
        });
        self.roots.insert(name, id);
        id
    }

    fn sample(&mut self, sample: &Sample, by: Option<By>) -> proto::Sample {
        let profile = self.profile;
        let frames = profile.stack(sample).frames.iter();
        let mut location_id: Vec<u64> = frames.map(|id| u64::from(id.0) + 1).collect();
        for root in frames::roots(profile, sample, by).into_iter().rev() {
            location_id.push(self.root(root));
        }
        let value = profile.value(sample.count);
        proto::Sample {
            location_id,
            value: vec![signed(sample.count), signed(value)],
            label: self.labels(sample),
        }
    }

    fn labels(&mut self, sample: &Sample) -> Vec<proto::Label> {
        let profile = self.profile;
        let (thread, info) = (profile.thread(sample), &profile.process(sample).info);
        let link = sample.key.link;
        let texts = [
            ("comm", info.comm.clone()),
            ("thread", profile.string(thread.name).to_owned()),
            ("service", info.service.clone()),
            ("container", info.container_id.clone().unwrap_or_default()),
            ("route", frames::route(profile, sample).unwrap_or_default()),
            (
                "trace_id",
                link.map_or_else(String::new, |link| hex(&link.trace_id)),
            ),
            (
                "span_id",
                link.map_or_else(String::new, |link| hex(&link.span_id)),
            ),
        ];
        let mut labels: Vec<proto::Label> = texts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(key, text)| proto::Label {
                key: self.string(key),
                str: self.string(&text),
                ..proto::Label::default()
            })
            .collect();
        for (key, number) in [("pid", info.tgid), ("tid", thread.tid)] {
            labels.push(proto::Label {
                key: self.string(key),
                num: i64::from(number),
                ..proto::Label::default()
            });
        }
        labels
    }

    fn header(&mut self) {
        let samples = proto::ValueType {
            r#type: self.string("samples"),
            unit: self.string("count"),
        };
        let (quantity, unit) = match self.profile.event {
            Event::CpuClock => ("cpu", "nanoseconds"),
            Event::Cycles { .. } => ("cycles", "count"),
        };
        let value = proto::ValueType {
            r#type: self.string(quantity),
            unit: self.string(unit),
        };
        let ledger = &self.profile.ledger;
        let comment = format!(
            "remora {}: {} samples of {}, {} lost",
            env!("CARGO_PKG_VERSION"),
            ledger.seen,
            self.profile.event.name(),
            ledger.lost()
        );
        self.out.comment = vec![self.string(&comment)];
        self.out.sample_type = vec![samples, value];
        self.out.default_sample_type = value.r#type;
        self.out.period_type = Some(value);
        self.out.period = signed(self.profile.period());
        self.out.time_nanos = signed(self.profile.start_unix_ns);
        self.out.duration_nanos = signed(self.profile.duration_ns);
    }
}

/// Indices of mappings, with the executable of the process that has the most samples first,
/// as runtimes write their own profiles. Where that is not known, a file before what is none.
fn order(profile: &Profile) -> Vec<usize> {
    let mut counts = vec![0u64; profile.processes.len()];
    for sample in &profile.samples {
        counts[profile.thread(sample).process.index()] += sample.count;
    }
    let busiest = (0..counts.len()).rev().max_by_key(|index| counts[*index]);
    let executable = busiest.and_then(|index| profile.processes[index].info.executable.as_deref());
    let file = |index: usize| profile.string(profile.mappings[index].file);
    let mut order: Vec<usize> = (0..profile.mappings.len()).collect();
    order.sort_by_key(|index| {
        let file = file(*index);
        (executable != Some(file), file.starts_with('['))
    });
    order
}

fn line(line: &model::Line) -> proto::Line {
    proto::Line {
        function_id: u64::from(line.function.0) + 1,
        line: i64::from(line.line),
        column: i64::from(line.column),
    }
}

fn id(index: usize) -> u64 {
    index as u64 + 1
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "pprof/tests.rs"]
mod tests;
