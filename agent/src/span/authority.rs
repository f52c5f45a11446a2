//! Taking the authority of a request apart (RFC 3986, section 3.2).

/// Host and port of an authority, borrowed from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority<'a> {
    /// Host without the brackets of an IPv6 literal; never empty.
    pub host: &'a str,
    /// Host as written, with brackets: what a URL needs.
    pub host_literal: &'a str,
    /// Port, if one was given.
    pub port: Option<u16>,
    /// Whether credentials stood before the host (`user:password@`). They are dropped.
    pub userinfo: bool,
}

impl<'a> Authority<'a> {
    /// Parses `[userinfo@]host[:port]`. `None` if there is no host, or if it is followed by
    /// something that is not a port: then nothing about it can be relied on.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let text = text.trim_matches([' ', '\t']);
        let (userinfo, rest) = match text.rfind('@') {
            Some(at) => (true, text.get(at + 1..)?),
            None => (false, text),
        };
        let (host, host_literal, port) = if rest.starts_with('[') {
            let end = rest.find(']')?;
            let literal = rest.get(..=end)?;
            (rest.get(1..end)?, literal, rest.get(end + 1..)?)
        } else {
            let end = rest.find(':').unwrap_or(rest.len());
            let host = rest.get(..end)?;
            (host, host, rest.get(end..)?)
        };
        let port = match port.strip_prefix(':') {
            // RFC 3986, section 3.2.3: an empty port is the default port.
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            None if port.is_empty() => None,
            _ => return None,
        };
        (!host.is_empty() && !host.bytes().any(|byte| b"/?#\\ \t".contains(&byte))).then_some(
            Self {
                host,
                host_literal,
                port,
                userinfo,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(&str, Option<u16>, bool)> {
        Authority::parse(text).map(|a| (a.host, a.port, a.userinfo))
    }

    #[test]
    fn hosts_ports_and_credentials() {
        assert_eq!(parse("example.com"), Some(("example.com", None, false)));
        assert_eq!(
            parse("example.com:8080"),
            Some(("example.com", Some(8080), false))
        );
        assert_eq!(parse(" a:1\t"), Some(("a", Some(1), false)));
        assert_eq!(parse("a:"), Some(("a", None, false)));
        assert_eq!(parse("u:p@a:1"), Some(("a", Some(1), true)));
        assert_eq!(parse("u@x@a"), Some(("a", None, true)));
        assert_eq!(parse("[::1]"), Some(("::1", None, false)));
        assert_eq!(parse("[::1]:80"), Some(("::1", Some(80), false)));
        assert_eq!(
            Authority::parse("[::1]:80").map(|a| a.host_literal),
            Some("[::1]")
        );
    }

    #[test]
    fn what_is_not_an_authority() {
        for text in [
            "", ":80", "a:b", "a:65536", "a:-1", "::1", "[::1", "[]", "[::1]x", "u@", "a/b", "a b",
            "a?x",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
