use super::*;

#[test]
fn every_check_says_what_was_seen_and_failures_say_what_helps() {
    let checks = checks(None);
    let mut ids: Vec<_> = checks.iter().map(|check| check.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id is used twice");
    for check in &checks {
        assert!(!check.observed.is_empty(), "{check:?}");
        let passed = check.status == Status::Pass;
        assert_eq!(
            (check.fix.is_none(), check.lost.is_none()),
            (passed, passed),
            "{check:?}"
        );
    }
    // Attempts are made by those who may make them, and only by those.
    let may = Privileges::read().can_load();
    assert_eq!(
        ids.contains(&"ring_buffer") && ids.contains(&"raw_tracepoint"),
        may
    );
    assert_eq!(privileges().is_ok(), may);
    if let Err(failure) = privileges() {
        assert_eq!(failure.exit, Exit::Unsupported);
    }
}

#[test]
fn checks_are_printed_as_the_schema_says() {
    let schema = crate::output::schema::by_name("doctor").unwrap();
    let schema = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for check in checks(Some(("127.0.0.1:1", "default"))) {
        let value = serde_json::to_value(&check).unwrap();
        assert!(validator.is_valid(&value), "{value}");
    }
}
