//! What a process's environment says about its resource, and nothing else of it.
//!
//! OpenTelemetry specification: "Resource SDK", "General SDK Configuration".

use super::service::java;

/// Attributes kept of `OTEL_RESOURCE_ATTRIBUTES`, and bytes kept of each value.
const MAX_ATTRIBUTES: usize = 64;
const MAX_VALUE: usize = 256;

/// Variables with options of Java programs, the one first that stands above the others.
const JAVA_OPTIONS: [&str; 3] = ["_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS"];

/// The OpenTelemetry part of an environment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Declared {
    /// `service.name`.
    pub(super) service: Option<String>,
    /// `service.namespace`.
    pub(super) namespace: Option<String>,
    /// A name that options from the environment give to Java programs.
    pub(super) java: Option<String>,
    /// All other attributes, in order.
    pub(super) attributes: Vec<(String, String)>,
}

/// Reads `/proc/PID/environ`: NUL-terminated assignments.
pub(super) fn declared(environ: &[u8]) -> Declared {
    let variable = |name: &str| {
        environ
            .split(|&byte| byte == 0)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(str::trim)
            .filter(|value| !value.is_empty())
    };
    let mut declared = Declared::default();
    let list = variable("OTEL_RESOURCE_ATTRIBUTES").and_then(attributes);
    for (key, value) in list.unwrap_or_default() {
        match key.as_str() {
            "service.name" => declared.service = Some(value),
            "service.namespace" => declared.namespace = Some(value),
            _ => declared.attributes.push((key, value)),
        }
    }
    // The variable of its own takes precedence.
    if let Some(name) = variable("OTEL_SERVICE_NAME") {
        declared.service = Some(bounded(name));
    }
    declared.java = JAVA_OPTIONS
        .iter()
        .filter_map(|name| {
            variable(name)?
                .split_whitespace()
                .filter_map(java::property)
                .next_back()
        })
        .next()
        .map(|name| bounded(name.trim_matches(['"', '\''])));
    declared
}

/// `key=value,…`, both percent-encoded. As the specification asks, a malformed list counts as
/// none.
fn attributes(list: &str) -> Option<Vec<(String, String)>> {
    let mut out: Vec<(String, String)> = Vec::new();
    for pair in list
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (decode(key.trim())?, decode(value.trim())?);
        if key.is_empty() || key.len() > MAX_VALUE || key.contains(char::is_control) {
            return None;
        }
        out.retain(|(known, _)| *known != key);
        if !value.is_empty() && out.len() < MAX_ATTRIBUTES {
            out.push((key, bounded(&value)));
        }
    }
    Some(out)
}

fn decode(value: &str) -> Option<String> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
        } else {
            byte
        });
    }
    String::from_utf8(out).ok()
}

fn bounded(value: &str) -> String {
    let end = value.floor_char_boundary(MAX_VALUE);
    value[..end].chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(environ: &str) -> Option<String> {
        declared(environ.as_bytes()).service
    }

    #[test]
    fn names_follow_the_precedence_of_the_specification() {
        let own = "A=1\0OTEL_SERVICE_NAME= shop \0OTEL_RESOURCE_ATTRIBUTES=service.name=other\0";
        assert_eq!(service(own).as_deref(), Some("shop"));
        let list =
            "OTEL_RESOURCE_ATTRIBUTES=service.name=or%20ders,team=a%2Cb,service.namespace=x\0";
        let found = declared(list.as_bytes());
        assert_eq!(found.service.as_deref(), Some("or ders"));
        assert_eq!(found.namespace.as_deref(), Some("x"));
        assert_eq!(found.attributes, [("team".to_owned(), "a,b".to_owned())]);
        let encoded = "OTEL_RESOURCE_ATTRIBUTES=service%2Ename=%6Frders,a%3Db%2Cc=1,a%20b=2\0";
        let found = declared(encoded.as_bytes());
        assert_eq!(found.service.as_deref(), Some("orders"));
        let attributes = [("a=b,c", "1"), ("a b", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(found.attributes, attributes);
        assert_eq!(
            service("MY_OTEL_SERVICE_NAME=x\0OTEL_SERVICE_NAMES=y\0OTEL_SERVICE_NAME=\0"),
            None
        );
    }

    #[test]
    fn malformed_lists_count_as_none() {
        for list in [
            "service.name",
            "service.name=a,b",
            "=a",
            "service.name=%4",
            "service.name=%zz",
            "service.name=%ff",
            "service.name=a,b%=c",
            "service.name=a,%zz=c",
            "service.name=a,%00=c",
        ] {
            assert_eq!(
                service(&format!("OTEL_RESOURCE_ATTRIBUTES={list}\0")),
                None,
                "{list}"
            );
        }
    }

    #[test]
    fn only_what_is_declared_is_kept_and_that_is_bounded() {
        let long = "x".repeat(10_000);
        let many: String = (0..1000).map(|i| format!("k{i}=v,")).collect();
        let environ = format!(
            "AWS_SECRET=s3cret\0OTEL_SERVICE_NAME={long}\0OTEL_RESOURCE_ATTRIBUTES={many}\0"
        );
        let found = declared(environ.as_bytes());
        assert_eq!(found.service.as_ref().map(String::len), Some(MAX_VALUE));
        assert_eq!(found.attributes.len(), MAX_ATTRIBUTES);
        assert!(!format!("{found:?}").contains("s3cret"));
    }
}
