//! Encodes CPU profiles as OTLP (signal `profiles`, `v1development`).
//!
//! A request has one profile for each process, and one dictionary that all of them
//! refer to. The dictionary is filled as samples are written, so nothing is in it that
//! no sample refers to, and nothing is in it twice.

mod dictionary;
pub mod sink;
pub mod split;

use bytes::Bytes;
use indexmap::IndexMap;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::profiles::v1development as otlp;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::batch::{Batch, Signal};
use crate::model::ids::Seed;
use crate::profile::model::{Process, Profile, Sample};
use crate::span::resource::{self, HostResource};
use dictionary::Dictionary;

/// What a profile became.
#[derive(Debug, Default)]
pub struct Encoded {
    /// Requests; their items are profiles, one for each process.
    pub batches: Vec<Batch>,
    /// Samples that no request has room for: their stack alone is larger than one.
    pub dropped: u64,
}

/// Encodes a profile into requests of at most `max_bytes` each.
#[must_use]
pub fn encode(profile: &Profile, host: &HostResource, max_bytes: usize) -> Encoded {
    let mut samples: Vec<&Sample> = profile.samples.iter().collect();
    samples.sort_by_key(|sample| profile.thread(sample).process);
    let mut encoded = Encoded::default();
    parts(profile, host, &samples, max_bytes, &mut encoded);
    encoded
}

/// Halves what is too large. Resources and what both halves refer to are repeated.
fn parts(
    profile: &Profile,
    host: &HostResource,
    samples: &[&Sample],
    max_bytes: usize,
    encoded: &mut Encoded,
) {
    if samples.is_empty() {
        return;
    }
    let message = request(profile, host, samples);
    if message.encoded_len() <= max_bytes {
        encoded.batches.push(Batch {
            signal: Signal::Profiles,
            items: message.resource_profiles.len() as u64,
            body: Bytes::from(message.encode_to_vec()),
        });
    } else if let [single] = samples {
        encoded.dropped += single.count;
    } else {
        let (left, right) = samples.split_at(samples.len() / 2);
        parts(profile, host, left, max_bytes, encoded);
        parts(profile, host, right, max_bytes, encoded);
    }
}

/// One request of samples that are sorted by process.
#[must_use]
pub fn request(
    profile: &Profile,
    host: &HostResource,
    samples: &[&Sample],
) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::new(profile);
    let chunks = samples.chunk_by(|a, b| profile.thread(a).process == profile.thread(b).process);
    let resource_profiles = chunks
        .filter_map(|chunk| {
            let process = profile.process(chunk.first()?);
            Some(of_process(profile, host, process, chunk, &mut dictionary))
        })
        .collect();
    ExportProfilesServiceRequest {
        resource_profiles,
        dictionary: Some(dictionary.finish()),
    }
}

fn of_process(
    profile: &Profile,
    host: &HostResource,
    process: &Process,
    samples: &[&Sample],
    dictionary: &mut Dictionary<'_>,
) -> otlp::ResourceProfiles {
    let scope = InstrumentationScope {
        name: resource::NAME.to_owned(),
        version: resource::VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    otlp::ResourceProfiles {
        resource: resource_of(process, host),
        scope_profiles: vec![otlp::ScopeProfiles {
            scope: Some(scope),
            profiles: vec![one(profile, samples, dictionary)],
            schema_url: resource::SCHEMA_URL.to_owned(),
        }],
        schema_url: resource::SCHEMA_URL.to_owned(),
    }
}

/// The same resource that the spans of the process have.
fn resource_of(process: &Process, host: &HostResource) -> Option<Resource> {
    let field = resource::encode(&process.info, host);
    // A message whose first field is the resource: what is read back was just written.
    let holder = otlp::ResourceProfiles::decode(&*field).unwrap_or_default();
    holder.resource
}

fn one(profile: &Profile, samples: &[&Sample], dictionary: &mut Dictionary<'_>) -> otlp::Profile {
    // All samples of a profile have the same shape: times, or else numbers.
    let timed = samples
        .iter()
        .all(|sample| sample.times.len() as u64 == sample.count);
    let (mut start, mut end) = (
        profile.start_unix_ns,
        profile.start_unix_ns.saturating_add(profile.duration_ns),
    );
    let mut merged: IndexMap<(i32, Vec<i32>, i32), otlp::Sample> = IndexMap::new();
    for sample in samples {
        let (stack_index, attribute_indices, link_index) = dictionary.identity(sample);
        let mut set = attribute_indices.clone();
        set.sort_unstable();
        let into = merged
            .entry((stack_index, set, link_index))
            .or_insert_with(|| otlp::Sample {
                stack_index,
                attribute_indices,
                link_index,
                ..otlp::Sample::default()
            });
        if timed {
            into.timestamps_unix_nano.extend_from_slice(&sample.times);
        } else {
            let count = i64::try_from(sample.count).unwrap_or(i64::MAX);
            match into.values.first_mut() {
                Some(sum) => *sum = sum.saturating_add(count),
                None => into.values.push(count),
            }
        }
    }
    for sample in merged.values_mut() {
        sample.timestamps_unix_nano.sort_unstable();
        // The kernel's times and the agent's differ by what the clock was off: samples
        // lie within the profile all the same.
        if let (Some(first), Some(last)) = (
            sample.timestamps_unix_nano.first(),
            sample.timestamps_unix_nano.last(),
        ) {
            start = start.min(*first);
            end = end.max(last.saturating_add(1));
        }
    }
    let count = dictionary.value_type("samples", "count");
    let cpu = dictionary.value_type("cpu", "nanoseconds");
    otlp::Profile {
        sample_type: Some(count),
        samples: merged.into_values().collect(),
        time_unix_nano: start,
        duration_nano: end.saturating_sub(start),
        period_type: Some(cpu),
        period: i64::try_from(profile.period_ns).unwrap_or(i64::MAX),
        profile_id: Seed::random().trace_id(0, 0).to_vec(),
        ..otlp::Profile::default()
    }
}

#[cfg(test)]
#[path = "profiles/tests.rs"]
mod tests;
