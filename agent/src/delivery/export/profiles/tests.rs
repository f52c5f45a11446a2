use super::*;
use crate::host::discovery::host::HostInfo;
use crate::sample_profile::{LINK, PERIOD, START, profile};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::profiles::v1development::{KeyValueAndUnit, ProfilesDictionary};

#[path = "../../../../tests/support/otlp_profiles.rs"]
mod rules;

fn host() -> HostResource {
    HostResource {
        host: HostInfo {
            name: Some("shop-1".to_owned()),
            ..HostInfo::default()
        },
        attributes: Vec::new(),
    }
}

fn decoded(batch: &Batch) -> ExportProfilesServiceRequest {
    ExportProfilesServiceRequest::decode(batch.body.clone()).unwrap()
}

/// The whole sample profile in one request.
fn whole(times: bool) -> ExportProfilesServiceRequest {
    let encoded = encode(&profile(times), &host(), usize::MAX);
    assert_eq!((encoded.batches.len(), encoded.dropped), (1, 0));
    assert_eq!(encoded.batches[0].signal, Signal::Profiles);
    assert_eq!(encoded.batches[0].items, 2);
    decoded(&encoded.batches[0])
}

fn no_problems(request: &ExportProfilesServiceRequest) {
    let problems = rules::problems(request);
    assert!(problems.is_empty(), "{problems:#?}");
}

fn samples(request: &ExportProfilesServiceRequest) -> Vec<&otlp::Sample> {
    let resources = request.resource_profiles.iter();
    let profiles = resources.flat_map(|it| &it.scope_profiles[0].profiles);
    profiles.flat_map(|it| &it.samples).collect()
}

/// Names on a stack, leaf first.
fn names(dictionary: &ProfilesDictionary, sample: &otlp::Sample) -> Vec<String> {
    let stack = &dictionary.stack_table[sample.stack_index as usize];
    let locations = stack.location_indices.iter();
    locations
        .flat_map(|index| &dictionary.location_table[*index as usize].lines)
        .map(|line| {
            let function = &dictionary.function_table[line.function_index as usize];
            dictionary.string_table[function.name_strindex as usize].clone()
        })
        .collect()
}

fn attribute<'a>(
    dictionary: &'a ProfilesDictionary,
    indices: &[i32],
    key: &str,
) -> Option<&'a Value> {
    let all = indices
        .iter()
        .map(|index| &dictionary.attribute_table[*index as usize]);
    let of = |attribute: &KeyValueAndUnit| {
        dictionary.string_table[attribute.key_strindex as usize] == key
    };
    let mut fits = all.filter(|attribute| of(attribute));
    fits.next()?.value.as_ref()?.value.as_ref()
}

#[test]
fn requests_follow_every_rule_of_the_proto() {
    for times in [false, true] {
        no_problems(&whole(times));
    }
}

#[test]
fn the_rules_are_not_toothless() {
    type Break = fn(&mut ExportProfilesServiceRequest);
    fn dictionary(request: &mut ExportProfilesServiceRequest) -> &mut ProfilesDictionary {
        request.dictionary.as_mut().unwrap()
    }
    fn sample(request: &mut ExportProfilesServiceRequest) -> &mut otlp::Sample {
        &mut request.resource_profiles[0].scope_profiles[0].profiles[0].samples[0]
    }
    let breaks: [(&str, Break); 14] = [
        ("no dictionary", |r| r.dictionary = None),
        ("string_table[0]", |r| {
            dictionary(r).string_table[0] = "x".into()
        }),
        ("stack_table[0]", |r| {
            dictionary(r).stack_table[0].location_indices = vec![1]
        }),
        ("twice", |r| {
            let last = dictionary(r).function_table.last().copied().unwrap();
            dictionary(r).function_table.push(last);
        }),
        ("nothing refers to string", |r| {
            dictionary(r).string_table.push("orphan".into());
        }),
        ("nothing refers to link", |r| {
            dictionary(r).link_table.push(otlp::Link {
                trace_id: vec![9; 16],
                span_id: vec![9; 8],
            });
        }),
        ("there is no stack", |r| sample(r).stack_index = 999),
        ("there is no attribute", |r| {
            sample(r).attribute_indices.push(-1)
        }),
        ("same identity", |r| {
            let mut copy = sample(r).clone();
            copy.attribute_indices.reverse();
            r.resource_profiles[0].scope_profiles[0].profiles[0]
                .samples
                .push(copy);
        }),
        ("neither values nor timestamps", |r| {
            sample(r).timestamps_unix_nano.clear()
        }),
        ("another number", |r| sample(r).values = vec![1, 2]),
        ("different shapes", |r| {
            let len = sample(r).timestamps_unix_nano.len();
            sample(r).values = vec![1; len];
        }),
        ("outside of the profile", |r| {
            sample(r).timestamps_unix_nano[0] = 1
        }),
        ("outside of its mapping", |r| {
            dictionary(r).mapping_table[1].memory_start = u64::MAX
        }),
    ];
    for (what, break_it) in breaks {
        let mut request = whole(true);
        break_it(&mut request);
        let problems = rules::problems(&request);
        assert!(
            problems.iter().any(|problem| problem.contains(what)),
            "{what}: {problems:?}"
        );
    }
}

#[test]
fn samples_carry_what_was_known() {
    let request = whole(false);
    let dictionary = request.dictionary.as_ref().unwrap();
    let all = samples(&request);
    assert_eq!(all.iter().map(|sample| sample.values[0]).sum::<i64>(), 98);

    let dear = all.iter().find(|sample| sample.link_index != 0).unwrap();
    assert_eq!(dear.values, [60]);
    assert_eq!(names(dictionary, dear), ["sum", "price", "serve", "main"]);
    let link = &dictionary.link_table[dear.link_index as usize];
    assert_eq!(
        (&*link.trace_id, &*link.span_id),
        (&LINK.trace_id[..], &LINK.span_id[..])
    );
    let text = |key| attribute(dictionary, &dear.attribute_indices, key);
    assert_eq!(
        text("http.route"),
        Some(&Value::StringValue("/dear".into()))
    );
    assert_eq!(
        text("http.request.method"),
        Some(&Value::StringValue("GET".into()))
    );
    assert_eq!(text("thread.id"), Some(&Value::IntValue(43)));
    assert_eq!(
        text("thread.name"),
        Some(&Value::StringValue("pool".into()))
    );
    assert_eq!(text("remora.stack.cut"), None);

    let cut = |sample: &&&otlp::Sample| {
        attribute(dictionary, &sample.attribute_indices, "remora.stack.cut").is_some()
    };
    assert_eq!(
        all.iter()
            .filter(cut)
            .map(|sample| sample.values[0])
            .sum::<i64>(),
        1
    );
    let build_id = &dictionary.mapping_table[1].attribute_indices;
    assert_eq!(
        attribute(dictionary, build_id, "process.executable.build_id.gnu"),
        Some(&Value::StringValue("8f1c0ffee0ddba11".into()))
    );
    let types: std::collections::BTreeSet<_> = dictionary.location_table[1..]
        .iter()
        .map(|location| {
            match attribute(
                dictionary,
                &location.attribute_indices,
                "profile.frame.type",
            ) {
                Some(Value::StringValue(kind)) => kind.clone(),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    assert_eq!(
        types.into_iter().collect::<Vec<_>>(),
        ["jit", "kernel", "native", "unknown"]
    );
}

#[test]
fn profiles_say_what_a_sample_stands_for() {
    let request = whole(true);
    let dictionary = request.dictionary.as_ref().unwrap();
    let resource = &request.resource_profiles[0];
    let profile = &resource.scope_profiles[0].profiles[0];
    let text = |index: i32| dictionary.string_table[index as usize].as_str();
    let sample_type = profile.sample_type.unwrap();
    assert_eq!(
        (
            text(sample_type.type_strindex),
            text(sample_type.unit_strindex)
        ),
        ("samples", "count")
    );
    let period_type = profile.period_type.unwrap();
    assert_eq!(
        (
            text(period_type.type_strindex),
            text(period_type.unit_strindex)
        ),
        ("cpu", "nanoseconds")
    );
    assert_eq!(profile.period, PERIOD as i64);
    assert_eq!(profile.time_unix_nano, START);
    assert_eq!(profile.samples[0].timestamps_unix_nano.len(), 60);
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    let services: Vec<_> = attributes
        .iter()
        .filter(|attribute| attribute.key == "service.name")
        .collect();
    assert_eq!(services.len(), 1);
}

#[test]
fn what_is_too_large_is_halved_until_it_fits() {
    let profile = profile(true);
    let one = encode(&profile, &host(), usize::MAX).batches[0].body.len();
    let encoded = encode(&profile, &host(), one / 2);
    assert!(encoded.batches.len() > 2, "{}", encoded.batches.len());
    let mut points = 0;
    for batch in &encoded.batches {
        assert!(batch.body.len() <= one / 2);
        let request = decoded(batch);
        assert_eq!(batch.items, request.resource_profiles.len() as u64);
        no_problems(&request);
        points += samples(&request)
            .iter()
            .map(|sample| sample.timestamps_unix_nano.len() as u64)
            .sum::<u64>();
    }
    assert_eq!(points + encoded.dropped, 98);
    assert_eq!(encode(&profile, &host(), 10).dropped, 98);
}

#[test]
fn halves_have_the_part_of_the_dictionary_they_refer_to() {
    let batch = &encode(&profile(true), &host(), usize::MAX).batches[0];
    let halves = crate::delivery::export::split::split(batch).unwrap();
    let mut all = Vec::new();
    for half in &halves {
        assert_eq!(half.items, 1);
        let request = decoded(half);
        no_problems(&request);
        let dictionary = request.dictionary.as_ref().unwrap();
        for sample in samples(&request) {
            all.push((names(dictionary, sample), sample.timestamps_unix_nano.len()));
        }
        assert!(crate::delivery::export::split::split(half).is_none());
    }
    let whole = whole(true);
    let dictionary = whole.dictionary.as_ref().unwrap();
    let expected: Vec<_> = samples(&whole)
        .iter()
        .map(|sample| (names(dictionary, sample), sample.timestamps_unix_nano.len()))
        .collect();
    assert_eq!(all, expected);
}
