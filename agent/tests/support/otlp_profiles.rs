//! Holds an OTLP profiles request against what the comments of `profiles.proto` demand.
#![allow(clippy::panic, reason = "a test panics when something is wrong")]

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Link, Location, Mapping, Profile, ProfilesDictionary, Stack,
};
use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;

/// Everything that is wrong, one sentence each.
pub(crate) fn problems(request: &ExportProfilesServiceRequest) -> Vec<String> {
    let mut check = Check::default();
    let Some(dictionary) = &request.dictionary else {
        return vec!["there is no dictionary".to_owned()];
    };
    check.zero_values(dictionary);
    check.duplicates(dictionary);
    check.request(request, dictionary);
    check.orphans(dictionary);
    check.problems
}

#[derive(Default)]
struct Check {
    problems: Vec<String>,
    used: Used,
}

/// Entries of the tables that something refers to.
#[derive(Default)]
struct Used {
    strings: BTreeSet<usize>,
    attributes: BTreeSet<usize>,
    mappings: BTreeSet<usize>,
    locations: BTreeSet<usize>,
    functions: BTreeSet<usize>,
    links: BTreeSet<usize>,
    stacks: BTreeSet<usize>,
}

impl Check {
    fn fail(&mut self, problem: impl Into<String>) {
        self.problems.push(problem.into());
    }

    fn ensure(&mut self, holds: bool, problem: impl Into<String>) {
        if !holds {
            self.fail(problem);
        }
    }

    /// "A dictionary MUST have a zero value encoded as the first element."
    fn zero_values(&mut self, d: &ProfilesDictionary) {
        for (name, holds) in [
            (
                "mapping",
                d.mapping_table.first() == Some(&Mapping::default()),
            ),
            (
                "location",
                d.location_table.first() == Some(&Location::default()),
            ),
            (
                "function",
                d.function_table.first() == Some(&Function::default()),
            ),
            ("link", d.link_table.first() == Some(&Link::default())),
            (
                "string",
                d.string_table.first().is_some_and(String::is_empty),
            ),
            (
                "attribute",
                d.attribute_table.first() == Some(&Default::default()),
            ),
            ("stack", d.stack_table.first() == Some(&Stack::default())),
        ] {
            self.ensure(holds, format!("{name}_table[0] is not the zero value"));
        }
    }

    /// "There SHOULD NOT be dupes in a dictionary."
    fn duplicates(&mut self, d: &ProfilesDictionary) {
        fn once<T: Debug>(check: &mut Check, name: &str, table: &[T]) {
            let mut seen = HashSet::new();
            for entry in table {
                let text = format!("{entry:?}");
                let new = seen.insert(text.clone());
                check.ensure(new, format!("{name}_table has {text} twice"));
            }
        }
        once(self, "mapping", &d.mapping_table);
        once(self, "location", &d.location_table);
        once(self, "function", &d.function_table);
        once(self, "link", &d.link_table);
        once(self, "string", &d.string_table);
        once(self, "attribute", &d.attribute_table);
        once(self, "stack", &d.stack_table);
    }

    fn request(&mut self, request: &ExportProfilesServiceRequest, d: &ProfilesDictionary) {
        let mut ids = HashSet::new();
        for resource in &request.resource_profiles {
            self.ensure(
                !resource.scope_profiles.is_empty(),
                "a resource without scopes",
            );
            let attributes = resource.resource.iter().flat_map(|it| &it.attributes);
            let mut keys = HashSet::new();
            for attribute in attributes {
                self.ensure(keys.insert(&attribute.key), "a resource attribute twice");
            }
            self.ensure(keys.contains(&"service.name".to_owned()), "no service.name");
            for scope in &resource.scope_profiles {
                self.ensure(!scope.profiles.is_empty(), "a scope without profiles");
                for profile in &scope.profiles {
                    self.profile(profile, d);
                    self.ensure(ids.insert(&profile.profile_id), "a profile id twice");
                }
            }
        }
    }

    fn profile(&mut self, profile: &Profile, d: &ProfilesDictionary) {
        let id = &profile.profile_id;
        self.ensure(
            id.is_empty() || id.len() == 16 && id.iter().any(|byte| *byte != 0),
            "a profile id that is not 16 bytes, or all zero",
        );
        for kind in [profile.sample_type, profile.period_type] {
            let Some(kind) = kind else {
                self.fail("a profile without the type of its samples or period");
                continue;
            };
            self.string(kind.type_strindex, d);
            self.string(kind.unit_strindex, d);
            self.ensure(kind.type_strindex != 0, "a type without a name");
        }
        self.ensure(
            profile.original_payload.is_empty() == profile.original_payload_format.is_empty(),
            "payload and format must be set together",
        );
        self.attributes(&profile.attribute_indices, d);
        let mut identities = HashSet::new();
        let mut shapes = HashSet::new();
        for sample in &profile.samples {
            let attributes: BTreeSet<i32> = sample.attribute_indices.iter().copied().collect();
            self.ensure(
                identities.insert((sample.stack_index, attributes, sample.link_index)),
                "two samples with the same identity",
            );
            let (values, times) = (&sample.values, &sample.timestamps_unix_nano);
            self.ensure(
                !values.is_empty() || !times.is_empty(),
                "a sample with neither values nor timestamps",
            );
            self.ensure(
                values.is_empty() || times.is_empty() || values.len() == times.len(),
                "a sample with another number of values than of timestamps",
            );
            shapes.insert((values.is_empty(), times.is_empty()));
            let end = profile.time_unix_nano + profile.duration_nano;
            for time in times {
                self.ensure(
                    (profile.time_unix_nano..end).contains(time),
                    "a timestamp outside of the profile",
                );
            }
            self.attributes(&sample.attribute_indices, d);
            self.stack(sample.stack_index, d);
            self.link(sample.link_index, d);
        }
        self.ensure(shapes.len() <= 1, "samples of different shapes");
    }

    fn string(&mut self, index: i32, d: &ProfilesDictionary) -> String {
        let text = usize::try_from(index).ok().and_then(|index| {
            self.used.strings.insert(index);
            d.string_table.get(index)
        });
        match text {
            Some(text) => text.clone(),
            None => {
                self.fail(format!("there is no string {index}"));
                String::new()
            }
        }
    }

    /// "The referencing attribute_indices fields do maintain the key uniqueness
    /// requirement."
    fn attributes(&mut self, indices: &[i32], d: &ProfilesDictionary) {
        let mut keys = HashSet::new();
        for index in indices {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            self.used.attributes.insert(index);
            let Some(attribute) = d.attribute_table.get(index).filter(|_| index > 0) else {
                self.fail(format!("there is no attribute {index}"));
                continue;
            };
            let key = self.string(attribute.key_strindex, d);
            self.string(attribute.unit_strindex, d);
            self.ensure(!key.is_empty(), "an attribute without a key");
            self.ensure(attribute.value.is_some(), format!("{key} has no value"));
            self.ensure(
                keys.insert(key.clone()),
                format!("{key} twice on one thing"),
            );
        }
    }

    fn stack(&mut self, index: i32, d: &ProfilesDictionary) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(stack) = d.stack_table.get(index) else {
            return self.fail(format!("there is no stack {index}"));
        };
        if self.used.stacks.insert(index) {
            for location in &stack.location_indices {
                self.location(*location, d);
            }
        }
    }

    fn location(&mut self, index: i32, d: &ProfilesDictionary) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(location) = d.location_table.get(index).filter(|_| index > 0) else {
            return self.fail(format!("there is no location {index}"));
        };
        if !self.used.locations.insert(index) {
            return;
        }
        self.attributes(&location.attribute_indices, d);
        self.mapping(location.mapping_index, location.address, d);
        for line in &location.lines {
            let index = usize::try_from(line.function_index).unwrap_or(usize::MAX);
            let Some(function) = d.function_table.get(index) else {
                self.fail(format!("there is no function {index}"));
                continue;
            };
            if self.used.functions.insert(index) {
                self.string(function.name_strindex, d);
                self.string(function.system_name_strindex, d);
                self.string(function.filename_strindex, d);
            }
        }
    }

    fn mapping(&mut self, index: i32, address: u64, d: &ProfilesDictionary) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(mapping) = d.mapping_table.get(index) else {
            return self.fail(format!("there is no mapping {index}"));
        };
        if index > 0 {
            self.ensure(
                (mapping.memory_start..=mapping.memory_limit).contains(&address),
                format!("address {address:#x} outside of its mapping"),
            );
        }
        if self.used.mappings.insert(index) {
            self.string(mapping.filename_strindex, d);
            self.attributes(&mapping.attribute_indices, d);
        }
    }

    fn link(&mut self, index: i32, d: &ProfilesDictionary) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(link) = d.link_table.get(index) else {
            return self.fail(format!("there is no link {index}"));
        };
        self.used.links.insert(index);
        let whole = |id: &[u8], len| id.len() == len && id.iter().any(|byte| *byte != 0);
        self.ensure(
            index == 0 || whole(&link.trace_id, 16) && whole(&link.span_id, 8),
            "a link without ids of 16 and 8 bytes",
        );
    }

    /// "There SHOULD NOT be orphaned (unreferenced) items in a dictionary."
    fn orphans(&mut self, d: &ProfilesDictionary) {
        let used = std::mem::take(&mut self.used);
        for (name, len, used) in [
            ("string", d.string_table.len(), used.strings),
            ("attribute", d.attribute_table.len(), used.attributes),
            ("mapping", d.mapping_table.len(), used.mappings),
            ("location", d.location_table.len(), used.locations),
            ("function", d.function_table.len(), used.functions),
            ("link", d.link_table.len(), used.links),
            ("stack", d.stack_table.len(), used.stacks),
        ] {
            for index in (1..len).filter(|index| !used.contains(index)) {
                self.fail(format!("nothing refers to {name} {index}"));
            }
        }
    }
}
