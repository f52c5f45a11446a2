//! Cutting a request in two, for a gateway that finds it too large. Each half gets the
//! part of the dictionary that it refers to.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use prost::Message as _;
use rustc_hash::FxHashMap;

use super::super::batch::Batch;

/// Halves a request, by profiles. `None` if there is only one, or the bytes are no such
/// request: the halves of one profile would be two, and the accounts are of profiles.
#[must_use]
pub fn split(batch: &Batch) -> Option<[Batch; 2]> {
    let request = ExportProfilesServiceRequest::decode(batch.body.clone()).ok()?;
    let dictionary = request.dictionary?;
    let mut left = request.resource_profiles;
    if left.len() < 2 || left.len() as u64 != batch.items {
        return None;
    }
    let right = left.split_off(left.len() / 2);
    Some([left, right].map(|mut resource_profiles| {
        let mut part = Part::new(&dictionary);
        for resource in &mut resource_profiles {
            for scope in &mut resource.scope_profiles {
                scope.profiles.iter_mut().for_each(|it| part.profile(it));
            }
        }
        let items = resource_profiles.len() as u64;
        let request = ExportProfilesServiceRequest {
            resource_profiles,
            dictionary: Some(part.new),
        };
        Batch {
            signal: batch.signal,
            items,
            body: Bytes::from(request.encode_to_vec()),
        }
    }))
}

/// Takes over what is referred to.
struct Part<'a> {
    old: &'a otlp::ProfilesDictionary,
    new: otlp::ProfilesDictionary,
    strings: FxHashMap<i32, i32>,
    attributes: FxHashMap<i32, i32>,
    mappings: FxHashMap<i32, i32>,
    functions: FxHashMap<i32, i32>,
    locations: FxHashMap<i32, i32>,
    stacks: FxHashMap<i32, i32>,
    links: FxHashMap<i32, i32>,
}

/// Takes an entry over unless that was done before: `$change` makes its references new.
macro_rules! take {
    ($self:ident, $index:expr, $map:ident, $table:ident, $change:expr) => {{
        let index: i32 = $index;
        if index == 0 {
            return 0;
        }
        if let Some(known) = $self.$map.get(&index) {
            return *known;
        }
        // Requests are made in this process: what is missing is shown as none.
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(entry) = $self.old.$table.get(place) else {
            return 0;
        };
        let mut entry = entry.clone();
        $change(&mut *$self, &mut entry);
        let number = i32::try_from($self.new.$table.len()).unwrap_or(i32::MAX);
        $self.new.$table.push(entry);
        $self.$map.insert(index, number);
        number
    }};
}

impl<'a> Part<'a> {
    fn new(old: &'a otlp::ProfilesDictionary) -> Self {
        Self {
            old,
            new: otlp::ProfilesDictionary {
                mapping_table: vec![Default::default()],
                location_table: vec![Default::default()],
                function_table: vec![Default::default()],
                link_table: vec![Default::default()],
                string_table: vec![String::new()],
                attribute_table: vec![Default::default()],
                stack_table: vec![Default::default()],
            },
            strings: FxHashMap::default(),
            attributes: FxHashMap::default(),
            mappings: FxHashMap::default(),
            functions: FxHashMap::default(),
            locations: FxHashMap::default(),
            stacks: FxHashMap::default(),
            links: FxHashMap::default(),
        }
    }

    fn profile(&mut self, profile: &mut otlp::Profile) {
        let types = [&mut profile.sample_type, &mut profile.period_type];
        for kind in types.into_iter().flatten() {
            kind.type_strindex = self.string(kind.type_strindex);
            kind.unit_strindex = self.string(kind.unit_strindex);
        }
        self.attributes(&mut profile.attribute_indices);
        for sample in &mut profile.samples {
            sample.stack_index = self.stack(sample.stack_index);
            sample.link_index = self.link(sample.link_index);
            self.attributes(&mut sample.attribute_indices);
        }
    }

    fn attributes(&mut self, indices: &mut [i32]) {
        for index in indices {
            *index = self.attribute(*index);
        }
    }

    fn string(&mut self, index: i32) -> i32 {
        take!(self, index, strings, string_table, |_: &mut Self, _| ())
    }

    fn link(&mut self, index: i32) -> i32 {
        take!(self, index, links, link_table, |_: &mut Self, _| ())
    }

    fn attribute(&mut self, index: i32) -> i32 {
        take!(self, index, attributes, attribute_table, Self::of_attribute)
    }

    fn of_attribute(&mut self, attribute: &mut otlp::KeyValueAndUnit) {
        attribute.key_strindex = self.string(attribute.key_strindex);
        attribute.unit_strindex = self.string(attribute.unit_strindex);
    }

    fn stack(&mut self, index: i32) -> i32 {
        take!(self, index, stacks, stack_table, Self::of_stack)
    }

    fn of_stack(&mut self, stack: &mut otlp::Stack) {
        for location in &mut stack.location_indices {
            *location = self.location(*location);
        }
    }

    fn location(&mut self, index: i32) -> i32 {
        take!(self, index, locations, location_table, Self::of_location)
    }

    fn of_location(&mut self, location: &mut otlp::Location) {
        location.mapping_index = self.mapping(location.mapping_index);
        self.attributes(&mut location.attribute_indices);
        for line in &mut location.lines {
            line.function_index = self.function(line.function_index);
        }
    }

    fn mapping(&mut self, index: i32) -> i32 {
        take!(self, index, mappings, mapping_table, Self::of_mapping)
    }

    fn of_mapping(&mut self, mapping: &mut otlp::Mapping) {
        mapping.filename_strindex = self.string(mapping.filename_strindex);
        self.attributes(&mut mapping.attribute_indices);
    }

    fn function(&mut self, index: i32) -> i32 {
        take!(self, index, functions, function_table, Self::of_function)
    }

    fn of_function(&mut self, function: &mut otlp::Function) {
        function.name_strindex = self.string(function.name_strindex);
        function.system_name_strindex = self.string(function.system_name_strindex);
        function.filename_strindex = self.string(function.filename_strindex);
    }
}
