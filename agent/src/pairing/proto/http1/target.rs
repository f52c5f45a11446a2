//! Request targets (RFC 9112, section 3.2).

use super::Request;
use memchr::memchr;

/// The parts of a request target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// Path without query; `*` and the authority of CONNECT as they are.
    pub path: &'a [u8],
    /// Query without `?`.
    pub query: Option<&'a [u8]>,
    /// Authority of an absolute target or of CONNECT, without user information.
    pub authority: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Takes the target of `request` apart.
    #[must_use]
    pub fn parse(request: &Request<'_>, target: &'a [u8]) -> Self {
        if request.method == Some(b"CONNECT") {
            let authority = whole_authority(target, request.line_whole);
            return Self {
                path: authority.unwrap_or_default(),
                query: None,
                authority,
            };
        }
        let (authority, rest) = match target.first() {
            Some(b'/' | b'*') => (None, target),
            _ => match after_scheme(target) {
                Some(rest) => {
                    let end = rest
                        .iter()
                        .position(|byte| matches!(byte, b'/' | b'?' | b'#'));
                    let (authority, rest) = rest.split_at(end.unwrap_or(rest.len()));
                    let whole = request.line_whole || !rest.is_empty();
                    (whole_authority(authority, whole), rest)
                }
                None => (None, target),
            },
        };
        let (path, query) = match memchr(b'?', rest) {
            Some(mark) => (&rest[..mark], Some(&rest[mark + 1..])),
            None => (rest, None),
        };
        // An absolute target without path means the root (RFC 9112, section 3.2.1).
        let path = if path.is_empty() && authority.is_some() {
            b"/"
        } else {
            path
        };
        Self {
            path,
            query,
            authority,
        }
    }
}

/// What follows `http://` and its like.
fn after_scheme(target: &[u8]) -> Option<&[u8]> {
    let colon = memchr(b':', target)?;
    let scheme = &target[..colon];
    let rest = target[colon + 1..].strip_prefix(b"//")?;
    (!scheme.is_empty() && scheme.iter().all(u8::is_ascii_alphanumeric)).then_some(rest)
}

/// `user:password@` is a secret and no part of the host's name. What is cut off may
/// be such a secret without the `@` that would show it.
fn whole_authority(authority: &[u8], whole: bool) -> Option<&[u8]> {
    let at = authority.iter().rposition(|&byte| byte == b'@');
    let host = &authority[at.map_or(0, |at| at + 1)..];
    (whole && !host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, target: &str) -> (String, Option<String>, Option<String>) {
        let request = Request {
            method: Some(method.as_bytes()),
            line_whole: true,
            ..Request::default()
        };
        let target = Target::parse(&request, target.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (
            text(target.path),
            target.query.map(text),
            target.authority.map(text),
        )
    }

    #[test]
    fn every_form_is_taken_apart() {
        let some = |text: &str| Some(text.to_owned());
        for (method, target, path, query, authority) in [
            ("GET", "/a/b", "/a/b", None, None),
            ("GET", "/a?b=c?d", "/a", some("b=c?d"), None),
            ("GET", "/a?", "/a", some(""), None),
            ("GET", "//a//b", "//a//b", None, None),
            ("GET", "/a:b//c", "/a:b//c", None, None),
            ("OPTIONS", "*", "*", None, None),
            ("GET", "http://h:81/p?q", "/p", some("q"), some("h:81")),
            ("GET", "http://h", "/", None, some("h")),
            ("GET", "http://h?q", "/", some("q"), some("h")),
            ("GET", "HTTPS://u:s@h@h/p", "/p", None, some("h")),
            ("GET", "http:///p", "/p", None, None),
            ("CONNECT", "h:443", "h:443", None, some("h:443")),
            ("CONNECT", "u:s@h:443", "h:443", None, some("h:443")),
            ("GET", "a b?c", "a b", some("c"), None),
            ("GET", "a:b", "a:b", None, None),
            ("GET", "", "", None, None),
        ] {
            let expected = (path.to_owned(), query, authority);
            assert_eq!(parts(method, target), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_cut_authority_is_left_out_for_it_may_be_a_password() {
        let cut = Request {
            method: Some(b"GET"),
            ..Request::default()
        };
        let target = Target::parse(&cut, b"http://user:secr");
        assert_eq!((target.path, target.authority), (&b""[..], None));
        let target = Target::parse(&cut, b"http://user:secret@h/pa");
        assert_eq!(
            (target.path, target.authority),
            (&b"/pa"[..], Some(&b"h"[..]))
        );
        let cut = Request {
            method: Some(b"CONNECT"),
            ..Request::default()
        };
        assert_eq!(Target::parse(&cut, b"user:secr").authority, None);
    }
}
