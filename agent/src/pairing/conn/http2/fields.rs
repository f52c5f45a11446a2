//! What the header fields of a stream said, as far as anybody wants to know.

use crate::pairing::proto::grpc;
use crate::pairing::proto::hpack::{Field, Name};

/// Most bytes of text kept of a stream.
pub(super) const MAX_TEXT: usize = 8 << 10;

/// The fields whose text is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kept {
    Method,
    Path,
    Authority,
    Host,
    UserAgent,
    Traceparent,
    Tracestate,
    GrpcMessage,
}

const KEPT: usize = Kept::GrpcMessage as usize + 1;
/// Length of a part that is not there.
const ABSENT: u16 = u16::MAX;

/// Where the text of a field is.
#[derive(Clone, Copy, Debug)]
struct Part {
    start: u16,
    len: u16,
}

const NO_PART: Part = Part {
    start: 0,
    len: ABSENT,
};

/// The fields of one stream, in memory that is used again.
#[derive(Debug)]
pub(super) struct Fields {
    text: Vec<u8>,
    parts: [Part; KEPT],
    /// Whether text was left out because there is too much of it.
    pub(super) truncated: bool,
    /// Whether the path was cut off, which is then the last that was kept.
    pub(super) path_cut: bool,
    /// Whether a request field, or one of the response, has an unknown name or value.
    pub(super) request_unknown: bool,
    pub(super) response_unknown: bool,
    /// `:status`, also of an interim response.
    pub(super) status: Option<u16>,
    /// `content-length` of the response, if it is a number.
    pub(super) content_length: Option<u64>,
    /// Whether request, response or trailers show that this is gRPC.
    pub(super) grpc: bool,
    /// Whether there was a `grpc-status`, and what it was if it is valid.
    pub(super) has_grpc_status: bool,
    pub(super) grpc_status: Option<u32>,
    /// `grpc-timeout`, ns.
    pub(super) timeout: Option<u64>,
    traceparents: u8,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            parts: [NO_PART; KEPT],
            truncated: false,
            path_cut: false,
            request_unknown: false,
            response_unknown: false,
            status: None,
            content_length: None,
            grpc: false,
            has_grpc_status: false,
            grpc_status: None,
            timeout: None,
            traceparents: 0,
        }
    }
}

impl Fields {
    /// Forgets everything, but keeps the memory.
    pub(super) fn reset(&mut self) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        *self = Self {
            text,
            ..Self::default()
        };
    }

    /// Gives the memory away.
    pub(super) fn release(&mut self) {
        self.text = Vec::new();
    }

    /// Memory held, bytes.
    pub(super) fn memory(&self) -> usize {
        self.text.capacity()
    }

    /// The text of a field, as it was sent.
    pub(super) fn get(&self, kept: Kept) -> Option<&[u8]> {
        let part = self.parts[kept as usize];
        let start = usize::from(part.start);
        (part.len != ABSENT)
            .then(|| self.text.get(start..start + usize::from(part.len)))
            .flatten()
    }

    /// Whether there were several `traceparent`s, which makes every one of them suspect
    /// (Trace Context, section 3.2).
    pub(super) fn traceparent(&self) -> Option<&[u8]> {
        (self.traceparents == 1)
            .then(|| self.get(Kept::Traceparent))
            .flatten()
    }

    /// Takes in a field of the request.
    #[inline]
    pub(super) fn request(&mut self, field: Field<'_>) {
        let (Some(name), Some(value)) = (field.meaning, field.value) else {
            self.request_unknown = true;
            return;
        };
        match name {
            Name::Method => self.keep(Kept::Method, value),
            Name::Path => self.keep(Kept::Path, value),
            Name::Authority => self.keep(Kept::Authority, value),
            Name::Host => self.keep(Kept::Host, value),
            Name::UserAgent => self.keep(Kept::UserAgent, value),
            Name::Traceparent => {
                self.traceparents = self.traceparents.saturating_add(1);
                self.keep(Kept::Traceparent, value);
            }
            Name::Tracestate => self.join_tracestate(value),
            Name::ContentType => self.grpc |= grpc::is_content_type(value),
            Name::GrpcTimeout => self.timeout = grpc::parse_timeout(value),
            _ => {}
        }
    }

    /// Takes in a field of the response, or of its trailers.
    #[inline]
    pub(super) fn response(&mut self, field: Field<'_>) {
        let (Some(name), Some(value)) = (field.meaning, field.value) else {
            self.response_unknown = true;
            return;
        };
        match name {
            Name::Status => self.status = parse_status(value),
            Name::ContentLength => self.content_length = parse_length(value),
            Name::ContentType => self.grpc |= grpc::is_content_type(value),
            Name::GrpcStatus => {
                self.has_grpc_status = true;
                self.grpc_status = grpc::parse_status(value);
            }
            Name::GrpcMessage => self.keep(Kept::GrpcMessage, value),
            _ => {}
        }
    }

    /// Keeps the first value that a field has.
    pub(super) fn keep(&mut self, kept: Kept, value: &[u8]) {
        if self.parts[kept as usize].len != ABSENT {
            return;
        }
        let room = MAX_TEXT - self.text.len();
        let take = value.len().min(room);
        if take < value.len() {
            self.truncated = true;
            // The beginning of a path is of use, that of any other value is a wrong one.
            if kept != Kept::Path {
                return;
            }
            self.path_cut = true;
        }
        self.parts[kept as usize] = Part {
            start: self.text.len() as u16,
            len: take as u16,
        };
        self.text.extend_from_slice(&value[..take]);
    }

    /// Several `tracestate` headers are one list (Trace Context, section 3.3): the list so
    /// far is copied to the end, to go on there.
    fn join_tracestate(&mut self, value: &[u8]) {
        let Part { start, len } = self.parts[Kept::Tracestate as usize];
        if len == ABSENT {
            return self.keep(Kept::Tracestate, value);
        }
        let so_far = usize::from(start)..usize::from(start) + usize::from(len);
        let joined = so_far.len() + 1 + value.len();
        if joined > MAX_TEXT - self.text.len() {
            self.truncated = true;
            return;
        }
        self.parts[Kept::Tracestate as usize] = Part {
            start: self.text.len() as u16,
            len: joined as u16,
        };
        self.text.extend_from_within(so_far);
        self.text.push(b',');
        self.text.extend_from_slice(value);
    }
}

fn parse_length(value: &[u8]) -> Option<u64> {
    // `parse` alone would take a sign (RFC 9110, section 8.6).
    let digits = value.iter().all(u8::is_ascii_digit);
    let text = str::from_utf8(value).ok().filter(|_| digits)?;
    text.parse().ok()
}

fn parse_status(value: &[u8]) -> Option<u16> {
    let &[h @ b'1'..=b'9', t @ b'0'..=b'9', o @ b'0'..=b'9'] = value else {
        return None;
    };
    Some(u16::from(h - b'0') * 100 + u16::from(t - b'0') * 10 + u16::from(o - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field<'a>(name: Name, value: &'a [u8]) -> Field<'a> {
        Field {
            meaning: Some(name),
            name: None,
            value: Some(value),
        }
    }

    #[test]
    fn text_is_bounded_and_only_a_path_is_cut() {
        let mut fields = Fields::default();
        fields.request(field(Name::UserAgent, &[b'u'; 8_000]));
        fields.request(field(Name::Authority, &[b'a'; 193]));
        assert_eq!(fields.get(Kept::Authority), None);
        assert!(fields.truncated && !fields.path_cut);
        fields.request(field(Name::Path, &[b'p'; 193]));
        assert_eq!(fields.get(Kept::Path).map(<[u8]>::len), Some(192));
        assert!(fields.path_cut);
        for _ in 0..100 {
            fields.request(field(Name::Tracestate, b"a=1"));
        }
        assert!(fields.memory() <= 2 * MAX_TEXT);
        fields.reset();
        fields.request(field(Name::Path, b"/"));
        assert_eq!(fields.get(Kept::Path), Some(&b"/"[..]));
        assert!(!fields.truncated && fields.get(Kept::UserAgent).is_none());
    }

    #[test]
    fn tracestates_are_joined_and_traceparents_are_not() {
        let mut fields = Fields::default();
        for value in ["a=1", "b=2", "c=3"] {
            fields.request(field(Name::Tracestate, value.as_bytes()));
            fields.request(field(Name::Path, b"/first"));
        }
        assert_eq!(fields.get(Kept::Tracestate), Some(&b"a=1,b=2,c=3"[..]));
        fields.request(field(Name::Traceparent, b"one"));
        assert_eq!(fields.traceparent(), Some(&b"one"[..]));
        fields.request(field(Name::Traceparent, b"two"));
        assert_eq!(fields.traceparent(), None);
    }

    #[test]
    fn a_field_that_is_not_known_is_no_field() {
        let mut fields = Fields::default();
        fields.request(Field {
            meaning: Some(Name::Path),
            name: None,
            value: None,
        });
        assert!(fields.request_unknown && !fields.response_unknown);
        assert_eq!(fields.get(Kept::Path), None);
        fields.response(Field {
            meaning: None,
            name: None,
            value: Some(b"200"),
        });
        assert!(fields.response_unknown);
        assert_eq!(fields.status, None);
    }
}
