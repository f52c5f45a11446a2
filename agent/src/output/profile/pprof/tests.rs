use super::*;
use crate::sample_profile::{PERIOD, START, profile};
use flate2::read::GzDecoder;
use std::io::Read as _;

fn written(by: Option<By>) -> proto::Profile {
    let mut file = Vec::new();
    write(&mut file, &profile(false), by).unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(&*file).read_to_end(&mut plain).unwrap();
    proto::Profile::decode(&*plain).unwrap()
}

/// The checks of `CheckValid` in github.com/google/pprof/profile/profile.go.
fn check_valid(profile: &proto::Profile) {
    assert_eq!(profile.string_table[0], "");
    let ids = |len: usize| 1..=len as u64;
    let mappings: Vec<u64> = profile.mapping.iter().map(|it| it.id).collect();
    assert!(mappings.iter().copied().eq(ids(mappings.len())));
    let functions: Vec<u64> = profile.function.iter().map(|it| it.id).collect();
    assert!(functions.iter().copied().eq(ids(functions.len())));
    let locations: Vec<u64> = profile.location.iter().map(|it| it.id).collect();
    assert!(locations.iter().copied().eq(ids(locations.len())));
    for location in &profile.location {
        assert!(location.mapping_id <= mappings.len() as u64);
        for line in &location.line {
            assert!(functions.contains(&line.function_id));
        }
    }
    for sample in &profile.sample {
        assert_eq!(sample.value.len(), profile.sample_type.len());
        assert!(sample.location_id.iter().all(|id| locations.contains(id)));
        assert!(
            sample
                .label
                .iter()
                .all(|label| label.str == 0 || label.num == 0)
        );
    }
    let strings = profile.string_table.len() as i64;
    let named = profile
        .function
        .iter()
        .flat_map(|it| [it.name, it.system_name, it.filename]);
    let labels = profile
        .sample
        .iter()
        .flat_map(|it| &it.label)
        .flat_map(|it| [it.key, it.str]);
    assert!(
        named
            .chain(labels)
            .all(|index| (0..strings).contains(&index))
    );
}

#[test]
fn every_reference_has_its_target() {
    for by in [None, Some(By::Route), Some(By::Service), Some(By::Thread)] {
        check_valid(&written(by));
    }
}

#[test]
fn numbers_and_labels_are_those_of_the_profile() {
    let profile = written(Some(By::Route));
    let text = |index: i64| profile.string_table[index as usize].as_str();
    assert_eq!(profile.period, PERIOD as i64);
    assert_eq!(profile.time_nanos, START as i64);
    let types: Vec<_> = profile
        .sample_type
        .iter()
        .map(|kind| (text(kind.r#type), text(kind.unit)))
        .collect();
    assert_eq!(types, [("samples", "count"), ("cpu", "nanoseconds")]);
    let dear = &profile.sample[0];
    assert_eq!(dear.value, [60, 60 * PERIOD as i64]);
    let label = |key: &str| {
        let mut labels = dear.label.iter();
        labels
            .find(|label| text(label.key) == key)
            .copied()
            .unwrap()
    };
    assert_eq!(text(label("route").str), "GET /dear");
    assert_eq!(text(label("span_id").str), "f0f0f0f0f0f0f0f0");
    assert_eq!((label("pid").num, label("tid").num), (41, 43));
    let functions: Vec<&str> = dear
        .location_id
        .iter()
        .flat_map(|id| &profile.location[*id as usize - 1].line)
        .map(|line| text(profile.function[line.function_id as usize - 1].name))
        .collect();
    assert_eq!(
        functions,
        ["sum", "price", "serve", "main", "shop", "GET /dear"]
    );
}
