//! Which request methods have a name of their own in telemetry.

/// Methods known by default: RFC 9110, PATCH (RFC 5789) and QUERY.
pub const DEFAULT: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
];

/// `http.request.method` of a method that is not known.
pub const OTHER: &str = "_OTHER";

/// First word of the span name if the method is not known.
pub const OTHER_NAME: &str = "HTTP";

/// The methods that are reported as they are; all others become [`OTHER`], so that a
/// client cannot blow up the cardinality of everything that is grouped by method.
#[derive(Clone, Debug, Default)]
pub struct KnownMethods(Option<Vec<String>>);

impl KnownMethods {
    /// Exactly these methods (`OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` replaces the
    /// default list as a whole). Method names are case-sensitive.
    #[must_use]
    pub fn exactly(methods: Vec<String>) -> Self {
        Self(Some(methods))
    }

    /// Whether the method is reported as it is.
    #[inline]
    #[must_use]
    pub fn contains(&self, method: &str) -> bool {
        match &self.0 {
            None => DEFAULT.contains(&method),
            Some(methods) => methods.iter().any(|known| known == method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_sensitive() {
        let known = KnownMethods::default();
        assert!(known.contains("GET") && known.contains("QUERY"));
        assert!(!known.contains("get") && !known.contains("PURGE") && !known.contains(""));
    }

    #[test]
    fn an_own_list_replaces_the_default() {
        let known = KnownMethods::exactly(vec!["PURGE".into()]);
        assert!(known.contains("PURGE") && !known.contains("GET"));
    }
}
