//! JSON Schemas (2020-12) of what `-o json` prints, kept by hand beside the code.

/// Name and text of every schema.
pub const ALL: [(&str, &str); 4] = [
    ("request", include_str!("schema/request.json")),
    ("summary", include_str!("schema/summary.json")),
    ("doctor", include_str!("schema/doctor.json")),
    ("profile", include_str!("schema/profile.json")),
];

/// The schema with the given name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

/// One schema for any line: one of [`ALL`].
#[must_use]
pub fn any_line() -> String {
    let alternatives: Vec<&str> = ALL.iter().map(|(_, text)| text.trim()).collect();
    format!(
        "{{\n\"$schema\": \"https://json-schema.org/draft/2020-12/schema\",\n\
         \"title\": \"A line of remora's JSON output\",\n\"oneOf\": [\n{}\n]\n}}\n",
        alternatives.join(",\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::ledger::Summary;
    use crate::config::query::QueryPolicy;
    use crate::fixture::{curl, nginx, ok, server_conn, unanswered, unix_conn};
    use crate::model::exchange::Incomplete;
    use crate::output::json;
    use serde_json::Value;

    fn validator(name: &str) -> jsonschema::Validator {
        let schema: Value = serde_json::from_str(by_name(name).unwrap()).unwrap();
        jsonschema::draft202012::meta::validate(&schema).unwrap();
        jsonschema::draft202012::new(&schema).unwrap()
    }

    fn requests() -> Vec<Value> {
        let (nginx, curl, tcp, unix) = (nginx(), curl(), server_conn(), unix_conn());
        [ok(&nginx, &tcp), unanswered(&curl, &unix), ok(&curl, &unix)]
            .iter()
            .map(|exchange| {
                let mut out = Vec::new();
                json::request(&mut out, exchange, &QueryPolicy::Show);
                serde_json::from_slice(&out).unwrap()
            })
            .collect()
    }

    fn summary() -> Value {
        let mut out = Vec::new();
        json::summary(&mut out, &Summary::default());
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn real_lines_are_valid() {
        for request in requests() {
            validator("request").validate(&request).unwrap();
        }
        validator("summary").validate(&summary()).unwrap();
    }

    #[test]
    fn every_reason_is_known_to_the_schema() {
        let schema: Value = serde_json::from_str(by_name("request").unwrap()).unwrap();
        let known = &schema["properties"]["incomplete"]["items"]["enum"];
        let names: Vec<&str> = Incomplete::ALL.names().collect();
        assert_eq!(*known, serde_json::json!(names));
    }

    #[test]
    fn no_key_may_be_missing_added_or_of_another_type() {
        for (name, line) in [("request", requests()[0].clone()), ("summary", summary())] {
            let validator = validator(name);
            for key in line.as_object().unwrap().keys() {
                let mut changed = line.clone();
                changed.as_object_mut().unwrap().remove(key);
                assert!(!validator.is_valid(&changed), "{name} without {key}");
                changed[key.as_str()] = Value::Bool(true);
                assert!(!validator.is_valid(&changed), "{name} with a bool as {key}");
            }
            let mut changed = line.clone();
            changed["further"] = Value::Null;
            assert!(!validator.is_valid(&changed), "{name} with a further key");
        }
    }

    #[test]
    fn the_schema_of_any_line_tells_them_apart() {
        let schema: Value = serde_json::from_str(&any_line()).unwrap();
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        validator.validate(&requests()[0]).unwrap();
        validator.validate(&summary()).unwrap();
        assert!(!validator.is_valid(&serde_json::json!({"kind": "request"})));
    }
}
