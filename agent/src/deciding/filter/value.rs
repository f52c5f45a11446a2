//! Values of filter flags: what was typed becomes a condition, or the reason why it cannot.
//!
//! What can never match is refused with the reason and the nearest right form, because an
//! empty table would look like a quiet host.

use super::glob::Glob;
use super::test::{Property, Test};
use crate::model::exchange::{Protocol, Side};
use crate::model::text::duration::parse_duration;
use crate::model::text::nearest::did_you_mean;
use crate::pairing::proto::grpc;

/// Longest command name the kernel keeps, bytes (`TASK_COMM_LEN - 1`).
const COMM_LEN: usize = 15;
/// Largest process id (`PID_MAX_LIMIT`).
const MAX_PID: u32 = 4_194_304;
/// Fewest characters of an id that tell it from others.
const MIN_ID: usize = 4;

/// The items of a list: what stands between commas. `\,` is a comma within an item, for
/// patterns.
pub fn items(value: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        let last = items.len() - 1;
        match c {
            ',' => items.push(String::new()),
            // Other escapes are the pattern's own.
            '\\' => {
                items[last].push(c);
                items[last].extend(chars.next());
            }
            c => items[last].push(c),
        }
    }
    items
}

/// Reads one item of the value of a flag. The error says why it cannot be applied, and
/// what the flag takes.
pub(super) fn test(property: Property, value: &str) -> Result<Test, String> {
    if value.is_empty() {
        let example = example(property);
        return Err(format!("it is empty; give a value such as {example}"));
    }
    match property {
        Property::Pid => match value.parse() {
            Ok(pid @ 1..=MAX_PID) => Ok(Test::Pid(pid)),
            Err(_) if value.starts_with(|c: char| c.is_ascii_alphabetic()) => Err(format!(
                "a process id is a number; to choose by name, --comm {value}"
            )),
            _ => Err(format!("a process id is a number from 1 to {MAX_PID}")),
        },
        Property::Comm => comm(value).map(Test::Comm),
        Property::Port => match value.parse() {
            Ok(port @ 1..) => Ok(Test::Port(port)),
            _ => Err(port_of(value)),
        },
        Property::Side => match value {
            "server" => Ok(Test::Side(Side::Server)),
            "client" => Ok(Test::Side(Side::Client)),
            _ => Err(meant(
                "it is server (requests served) or client (requests made)",
                value,
                ["server", "client"],
            )),
        },
        Property::Protocol => protocol(value),
        Property::Method => method(value),
        Property::Path => path(value),
        Property::Status => status(value),
        Property::MinDuration => Ok(Test::MinDuration(parse_duration(value)?)),
        Property::Container => container(value).map(Test::Container),
        Property::Pod => pod(value).map(Test::Pod),
        Property::GrpcStatus => grpc_status(value).map(Test::GrpcStatus),
    }
}

/// A value that a property takes, for messages.
const fn example(property: Property) -> &'static str {
    match property {
        Property::Pid => "4242",
        Property::Comm => "nginx",
        Property::Port => "8080",
        Property::Side => "server",
        Property::Protocol => "http/1.1",
        Property::Method => "GET",
        Property::Path => "'/api/*'",
        Property::Status => "404 or 5xx",
        Property::MinDuration => "50ms",
        Property::Container => "3f4c5e6a7b8c",
        Property::Pod => "0a1b2c3d",
        Property::GrpcStatus => "UNAVAILABLE",
    }
}

/// A rule, with the name that was probably meant.
fn meant<'a>(rule: &str, value: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match did_you_mean(&value.to_ascii_lowercase(), known) {
        Some(known) => format!("{rule}; did you mean {known}?"),
        None => rule.to_owned(),
    }
}

/// A pattern for command names.
///
/// # Errors
/// The kernel keeps no name that matches.
pub fn comm(value: &str) -> Result<Glob, String> {
    let glob = Glob::parse(value)?;
    if glob.min_len() > COMM_LEN {
        let mut end = COMM_LEN.min(value.len());
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let cut = &value[..end];
        return Err(format!(
            "the kernel keeps {COMM_LEN} bytes of a command name, so nothing matches; \
             use '{cut}', as ps -o comm shows it"
        ));
    }
    Ok(glob)
}

/// Why a text is no port, for people who typed more than one.
fn port_of(value: &str) -> String {
    let rule = "a port is a number from 1 to 65535";
    let behind = value.rsplit(':').next().and_then(|port| port.parse().ok());
    match (value.split_once('-'), behind) {
        (_, Some(port @ 1u16..)) if value.contains(':') => {
            format!("{rule}, without an address: {port}")
        }
        (Some(_), _) => format!("{rule}; of several, list each: 80,443"),
        _ => rule.to_owned(),
    }
}

fn protocol(value: &str) -> Result<Test, String> {
    use Protocol::{Grpc, Http2, Http10, Http11};
    const RULE: &str = "it takes http/1.0, http/1.1, http/2, http (all three) or grpc";
    Ok(Test::Protocol(match value.to_ascii_lowercase().as_str() {
        "http" => &[Http10, Http11, Http2],
        "http/1" => &[Http10, Http11],
        "http/1.0" => &[Http10],
        "http/1.1" => &[Http11],
        "http/2" | "http/2.0" | "h2" | "h2c" => &[Http2],
        "grpc" => &[Grpc],
        "http/3" | "http/3.0" | "h3" | "quic" => {
            return Err(format!("HTTP/3 is not seen; {RULE}"));
        }
        "https" | "tls" | "ssl" => return Err(format!("TLS is not seen; {RULE}")),
        _ => {
            let known = ["http/1.0", "http/1.1", "http/2", "http", "grpc"];
            return Err(meant(RULE, value, known));
        }
    }))
}

fn method(value: &str) -> Result<Test, String> {
    // RFC 9110, section 5.6.2: a method is a token.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
    if value.bytes().all(token) {
        return Ok(Test::Method(value.to_owned()));
    }
    let mut words = value.split_ascii_whitespace();
    Err(match (words.next(), words.next()) {
        (Some(method), Some(path)) if path.starts_with('/') => {
            format!(
                "a method is one word; for the path there is --path: --method {method} --path {path}"
            )
        }
        (Some(_), Some(_)) => "a method is one word; of several, list each: GET,POST".to_owned(),
        _ if value.contains('*') => {
            "a method is no pattern; of several, list each: GET,POST".to_owned()
        }
        _ => "a method is one word such as GET".to_owned(),
    })
}

/// A pattern for paths. They begin with `/`, but for `*` (of `OPTIONS *`) and the `host:port`
/// of CONNECT, and have no query.
fn path(value: &str) -> Result<Test, String> {
    let glob = Glob::parse(value)?;
    if let Some((_, rest)) = value.split_once("://") {
        let path = rest.find('/').map_or("/", |at| &rest[at..]);
        let path = path.split(['?', '#']).next().unwrap_or("/");
        return Err(format!("a path is without scheme and host: use '{path}'"));
    }
    if let Some(path) = before_query(value) {
        return Err(format!(
            "a path is without its query: use '{path}' (in a pattern, ? is any one character)"
        ));
    }
    let authority = value.contains(':') && !value.contains('/');
    if !glob.may_begin_with('/') && value != "\\*" && !authority {
        return Err(format!(
            "paths begin with a slash, so nothing matches; use '/{value}', or '*{value}*' for it \
             anywhere (a comma within a path is \\,)"
        ));
    }
    Ok(Test::Path(glob))
}

/// What stands before the query of a target, if the text is one: a question mark that is
/// meant as such, or one followed by `name=`.
fn before_query(value: &str) -> Option<&str> {
    if let Some((path, _)) = value.split_once("\\?") {
        return Some(path);
    }
    let (path, query) = value.split_once('?')?;
    let (name, _) = query.split_once('=')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.[]%".contains(c);
    (!name.is_empty() && name.chars().all(is_name)).then_some(path)
}

fn status(value: &str) -> Result<Test, String> {
    const RULE: &str = "it takes a status (404), a class (5xx) or a range (400-499)";
    const OUTSIDE: &str = "statuses go from 100 to 599 (RFC 9110, section 15); for what a \
                           program sends beside them, --not --status 100-599";
    let number = |text: &str| -> Option<u16> {
        let digits = (1..=4).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok())?
    };
    let class = match value.as_bytes() {
        [class @ b'0'..=b'9', b'x' | b'X', b'x' | b'X'] => Some(u16::from(class - b'0') * 100),
        _ => None,
    };
    let range = match (class, value.split_once('-')) {
        (Some(first), _) => Some((first, first + 99)),
        (None, Some((first, last))) => number(first).zip(number(last)),
        (None, None) => number(value).zip(number(value)),
    };
    let Some((first, last)) = range else {
        return Err(match grpc::status_code(value) {
            Some(_) => format!("{RULE}; for the status of gRPC, --grpc-status {value}"),
            None => RULE.to_owned(),
        });
    };
    if first > last {
        return Err(format!(
            "the range ends before it begins; use {last}-{first}"
        ));
    }
    if first < 100 || last > 599 {
        return Err(match (first.max(100), last.min(599)) {
            (first, last) if first < last => format!("{OUTSIDE}; use {first}-{last}"),
            _ => OUTSIDE.to_owned(),
        });
    }
    // An exchange has its final status, which of the first class 101 alone is.
    if last < 200 && !(first..=last).contains(&101) {
        return Err(
            "100 and 102 to 199 only announce a response; requests have the status that \
             follows (of this class, 101 ends one)"
                .to_owned(),
        );
    }
    Ok(Test::Status(first, last))
}

/// The first digits of a container id, in lower case.
///
/// # Errors
/// No id begins like this.
pub fn container(value: &str) -> Result<String, String> {
    prefix(value, 64, |c| c.is_ascii_hexdigit()).ok_or_else(|| {
        "containers are known by id, not by name: give 4 to 64 hex digits, as docker ps or \
         crictl ps shows them"
            .to_owned()
    })
}

/// The first characters of a pod UID, in lower case: of a UUID, or of the 32 hex digits that
/// static pods have.
fn pod(value: &str) -> Result<String, String> {
    let hex = |text: &str| text.chars().all(|c| c.is_ascii_hexdigit());
    let uuid = |text: &str| {
        text.len() <= 36
            && text.char_indices().all(|(at, c)| match at {
                8 | 13 | 18 | 23 => c == '-',
                _ => c.is_ascii_hexdigit(),
            })
    };
    let possible = value.len() >= MIN_ID && (uuid(value) || value.len() <= 32 && hex(value));
    possible.then(|| value.to_ascii_lowercase()).ok_or_else(|| {
        "pods are known by UID, not by name: give 4 or more characters of it, as \
         kubectl get pod NAME -o jsonpath={.metadata.uid} prints it"
            .to_owned()
    })
}

fn prefix(value: &str, max: usize, allowed: impl Fn(char) -> bool) -> Option<String> {
    ((MIN_ID..=max).contains(&value.len()) && value.chars().all(allowed))
        .then(|| value.to_ascii_lowercase())
}

fn grpc_status(value: &str) -> Result<u32, String> {
    // The names as libraries spell them: NotFound, not-found, StatusCode.NOT_FOUND.
    let name = value.rsplit('.').next().unwrap_or(value);
    let plain = |text: &str| text.replace(['_', '-'], "");
    let spelled = (0..)
        .map_while(grpc::status_name)
        .find(|known| plain(known).eq_ignore_ascii_case(&plain(name)));
    let known = spelled.or_else(|| {
        did_you_mean(
            &name.to_ascii_uppercase(),
            (0..).map_while(grpc::status_name),
        )
    });
    grpc::status_code(value).ok_or_else(|| {
        let rule = "it takes a number from 0 to 16 or a name: 14 or UNAVAILABLE";
        match known {
            Some(known) => format!("{rule}; did you mean {known}?"),
            None => rule.to_owned(),
        }
    })
}
