//! Which parts of a query string may be shown.

/// Shown instead of a value that is not allowed, as the OpenTelemetry conventions
/// for `url.query` have it.
const REDACTED: &str = "REDACTED";

/// What the user allowed to be shown of query strings, which are personal data unless
/// someone says otherwise.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum QueryPolicy {
    /// Nothing.
    #[default]
    Hide,
    /// All names, and the values of these parameters.
    Names(Vec<String>),
    /// Everything.
    Show,
}

impl QueryPolicy {
    /// Whether queries are shown at all.
    #[must_use]
    pub const fn shows_any(&self) -> bool {
        !matches!(self, Self::Hide)
    }

    /// Hands out the query in pieces to be joined, with the values that are not
    /// allowed replaced by `REDACTED`. Allocates nothing.
    pub fn each_part(&self, query: &str, mut part: impl FnMut(&str)) {
        let names = match self {
            Self::Hide => return,
            Self::Show => return part(query),
            Self::Names(names) => names,
        };
        for (at, parameter) in query.split('&').enumerate() {
            if at > 0 {
                part("&");
            }
            match parameter.split_once('=') {
                Some((name, _)) if !names.iter().any(|n| n == name) => {
                    part(name);
                    part("=");
                    part(REDACTED);
                }
                // Without `=` the whole may be a value, as in `?secret`.
                None if !names.iter().any(|n| n == parameter) && !parameter.is_empty() => {
                    part(REDACTED);
                }
                _ => part(parameter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(policy: &QueryPolicy, query: &str) -> String {
        let mut text = String::new();
        policy.each_part(query, |part| text.push_str(part));
        text
    }

    #[test]
    fn shows_only_what_is_allowed() {
        let query = "token=secret&page=2&flag&&x=";
        assert_eq!(shown(&QueryPolicy::Hide, query), "");
        assert_eq!(shown(&QueryPolicy::Show, query), query);
        let names = QueryPolicy::Names(vec!["page".into()]);
        assert_eq!(
            shown(&names, query),
            "token=REDACTED&page=2&REDACTED&&x=REDACTED"
        );
        assert!(!QueryPolicy::default().shows_any());
    }
}
