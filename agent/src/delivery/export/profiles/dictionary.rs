//! The tables that samples refer to. The first entry of each is the zero value, which
//! stands for "none".

use std::hash::Hash;

use indexmap::IndexSet;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::profile::model::{
    FunctionId, Link, LocationId, MappingId, Profile, Sample, StackId, StringId,
};

/// A table of messages without `Hash`, told apart by what they are made from.
#[derive(Debug)]
struct Table<K, V> {
    known: FxHashMap<K, i32>,
    values: Vec<V>,
}

impl<K: Hash + Eq, V: Default> Table<K, V> {
    fn new() -> Self {
        Self {
            known: FxHashMap::default(),
            values: vec![V::default()],
        }
    }

    fn insert(&mut self, key: K, value: V) -> i32 {
        let next = number(self.values.len());
        let index = *self.known.entry(key).or_insert(next);
        if index == next {
            self.values.push(value);
        }
        index
    }
}

/// A table of messages that are their own keys.
type Set<T> = IndexSet<T, FxBuildHasher>;

/// Value of an attribute.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Value {
    Text(String),
    Int(i64),
}

/// Fills the tables, from those of a profile.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    profile: &'a Profile,
    strings: Set<String>,
    attributes: Table<(i32, Value), otlp::KeyValueAndUnit>,
    mappings: Set<otlp::Mapping>,
    functions: Set<otlp::Function>,
    locations: Table<(i32, u64, Vec<otlp::Line>, i32), otlp::Location>,
    stacks: Set<otlp::Stack>,
    links: Set<otlp::Link>,
    /// What entries of the profile became.
    by_mapping: FxHashMap<MappingId, i32>,
    by_function: FxHashMap<FunctionId, i32>,
    by_location: FxHashMap<LocationId, i32>,
    by_stack: FxHashMap<StackId, i32>,
}

impl<'a> Dictionary<'a> {
    pub(super) fn new(profile: &'a Profile) -> Self {
        Self {
            profile,
            strings: with_zero(),
            attributes: Table::new(),
            mappings: with_zero(),
            functions: with_zero(),
            locations: Table::new(),
            stacks: with_zero(),
            links: with_zero(),
            by_mapping: FxHashMap::default(),
            by_function: FxHashMap::default(),
            by_location: FxHashMap::default(),
            by_stack: FxHashMap::default(),
        }
    }

    pub(super) fn finish(self) -> otlp::ProfilesDictionary {
        otlp::ProfilesDictionary {
            mapping_table: self.mappings.into_iter().collect(),
            location_table: self.locations.values,
            function_table: self.functions.into_iter().collect(),
            link_table: self.links.into_iter().collect(),
            string_table: self.strings.into_iter().collect(),
            attribute_table: self.attributes.values,
            stack_table: self.stacks.into_iter().collect(),
        }
    }

    pub(super) fn value_type(&mut self, kind: &str, unit: &str) -> otlp::ValueType {
        otlp::ValueType {
            type_strindex: self.string(kind),
            unit_strindex: self.string(unit),
        }
    }

    /// What a sample's identity consists of: stack, attributes, link.
    pub(super) fn identity(&mut self, sample: &Sample) -> (i32, Vec<i32>, i32) {
        let profile = self.profile;
        let thread = profile.thread(sample);
        let text = |id: StringId| Value::Text(profile.string(id).to_owned());
        let mut attributes = vec![self.attribute("thread.id", Value::Int(thread.tid.into()))];
        let stop = profile.stack(sample).stop;
        let stop = stop.map_or("", |stop| stop.name());
        for (key, value) in [
            ("thread.name", text(thread.name)),
            ("http.request.method", text(sample.key.method)),
            ("http.route", text(sample.key.route)),
            ("remora.stack.cut", Value::Text(stop.to_owned())),
        ] {
            if value != Value::Text(String::new()) {
                attributes.push(self.attribute(key, value));
            }
        }
        let link = sample.key.link.map_or(0, |link| self.link(link));
        (self.stack(sample.key.stack), attributes, link)
    }

    fn string(&mut self, text: &str) -> i32 {
        match self.strings.get_index_of(text) {
            Some(index) => number(index),
            None => insert(&mut self.strings, text.to_owned()),
        }
    }

    fn known(&mut self, id: StringId) -> i32 {
        let profile = self.profile;
        self.string(profile.string(id))
    }

    fn attribute(&mut self, key: &str, value: Value) -> i32 {
        let key_strindex = self.string(key);
        let any = match &value {
            Value::Text(text) => any_value::Value::StringValue(text.clone()),
            Value::Int(number) => any_value::Value::IntValue(*number),
        };
        let message = otlp::KeyValueAndUnit {
            key_strindex,
            value: Some(AnyValue { value: Some(any) }),
            unit_strindex: 0,
        };
        self.attributes.insert((key_strindex, value), message)
    }

    fn link(&mut self, link: Link) -> i32 {
        let message = otlp::Link {
            trace_id: link.trace_id.to_vec(),
            span_id: link.span_id.to_vec(),
        };
        insert(&mut self.links, message)
    }

    fn stack(&mut self, id: StackId) -> i32 {
        if let Some(index) = self.by_stack.get(&id) {
            return *index;
        }
        let frames = &self.profile.stacks[id.index()].frames;
        let location_indices = frames.iter().map(|frame| self.location(*frame)).collect();
        // One without frames is the zero value.
        let index = insert(&mut self.stacks, otlp::Stack { location_indices });
        self.by_stack.insert(id, index);
        index
    }

    fn location(&mut self, id: LocationId) -> i32 {
        if let Some(index) = self.by_location.get(&id) {
            return *index;
        }
        let profile = self.profile;
        let location = &profile.locations[id.index()];
        let mapping = location.mapping.map_or(0, |id| self.mapping(id));
        let lines: Vec<otlp::Line> = location
            .lines
            .iter()
            .map(|line| otlp::Line {
                function_index: self.function(line.function),
                line: line.line.into(),
                column: line.column.into(),
            })
            .collect();
        let kind = Value::Text(location.kind.name().to_owned());
        let kind = self.attribute("profile.frame.type", kind);
        let key = (mapping, location.address, lines.clone(), kind);
        let message = otlp::Location {
            mapping_index: mapping,
            address: location.address,
            lines,
            attribute_indices: vec![kind],
        };
        let index = self.locations.insert(key, message);
        self.by_location.insert(id, index);
        index
    }

    fn mapping(&mut self, id: MappingId) -> i32 {
        if let Some(index) = self.by_mapping.get(&id) {
            return *index;
        }
        let profile = self.profile;
        let mapping = profile.mappings[id.index()];
        let filename_strindex = self.known(mapping.file);
        let build_id = profile.string(mapping.build_id);
        let mut attributes = Vec::new();
        if !build_id.is_empty() {
            let value = Value::Text(build_id.to_owned());
            attributes.push(self.attribute("process.executable.build_id.gnu", value));
        }
        let message = otlp::Mapping {
            memory_start: mapping.start,
            memory_limit: mapping.end,
            file_offset: mapping.offset,
            filename_strindex,
            attribute_indices: attributes,
        };
        let index = insert(&mut self.mappings, message);
        self.by_mapping.insert(id, index);
        index
    }

    fn function(&mut self, id: FunctionId) -> i32 {
        if let Some(index) = self.by_function.get(&id) {
            return *index;
        }
        let function = self.profile.functions[id.index()];
        let message = otlp::Function {
            name_strindex: self.known(function.name),
            system_name_strindex: self.known(function.system_name),
            filename_strindex: self.known(function.file),
            start_line: function.line.into(),
        };
        let index = insert(&mut self.functions, message);
        self.by_function.insert(id, index);
        index
    }
}

fn with_zero<T: Default + Hash + Eq>() -> Set<T> {
    std::iter::once(T::default()).collect()
}

fn insert<T: Hash + Eq>(table: &mut Set<T>, value: T) -> i32 {
    number(table.insert_full(value).0)
}

/// Tables have far fewer than 2^31 entries: the memory of a profile is limited.
fn number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}
