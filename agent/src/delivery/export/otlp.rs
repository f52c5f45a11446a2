//! Encodes exchanges as OTLP spans, grouped by process, into one request at a time.
//!
//! Spans are appended to an arena in order of arrival and linked per process; sealing
//! copies them once, group by group, into the request. Arena, index and groups are
//! reused: in the steady state nothing is allocated but the request itself.

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::batch::{Batch, Signal};
use crate::model::exchange::{Exchange, ProcessInfo, Side};
use crate::span::attrs::{self, SpanOptions};
use crate::span::resource::{self, HostResource};
use crate::span::wire::{self, varint, varint_len};

/// Processes whose encoded resource is kept. More are forgotten at the next seal, those
/// without spans in the batch first.
const MAX_GROUPS: usize = 1024;

/// End of a chain of spans.
const NONE: u32 = u32::MAX;

/// `Span.flags`: whether the parent is remote is known …
const FLAG_HAS_IS_REMOTE: u32 = 0x100;
/// … and it is.
const FLAG_IS_REMOTE: u32 = 0x200;

/// `SpanKind` and `StatusCode` (opentelemetry/proto/trace/v1/trace.proto).
const KIND_SERVER: u8 = 2;
const KIND_CLIENT: u8 = 3;
const STATUS_ERROR: u8 = 2;

/// Collects spans of one `ExportTraceServiceRequest`.
#[derive(Debug)]
pub struct Encoder {
    options: SpanOptions,
    host: HostResource,
    /// `scope` field of every `ScopeSpans`.
    scope: Box<[u8]>,
    /// `schema_url` field of `ResourceSpans` and `ScopeSpans`: the same number in both.
    schema: Box<[u8]>,
    /// Encoded `spans` fields.
    arena: Vec<u8>,
    spans: Vec<Slot>,
    groups: Vec<Group>,
    by_process: FxHashMap<u32, u32>,
    /// Groups with spans in this batch, in order of their first span.
    active: Vec<u32>,
    /// Process and group of the last span.
    last: Option<(u32, u32)>,
    /// Bytes the request will have beyond the arena.
    overhead: usize,
}

/// A span in the arena, and the next one of its group.
#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    end: u32,
    next: u32,
}

/// Spans of one process.
#[derive(Debug)]
struct Group {
    process: u32,
    /// `resource` field of `ResourceSpans`.
    resource: Box<[u8]>,
    first: u32,
    last: u32,
    /// Sum of its spans' lengths; 0 if it has none.
    bytes: usize,
}

impl Encoder {
    /// An encoder with an empty batch.
    #[must_use]
    pub fn new(options: SpanOptions, host: HostResource) -> Self {
        let mut name = Vec::new();
        wire::bytes(&mut name, 1, resource::NAME.as_bytes());
        wire::bytes(&mut name, 2, resource::VERSION.as_bytes());
        let mut scope = Vec::new();
        wire::bytes(&mut scope, 1, &name);
        let mut schema = Vec::new();
        wire::bytes(&mut schema, 3, resource::SCHEMA_URL.as_bytes());
        Self {
            options,
            host,
            scope: scope.into(),
            schema: schema.into(),
            arena: Vec::new(),
            spans: Vec::new(),
            groups: Vec::new(),
            by_process: FxHashMap::default(),
            active: Vec::new(),
            last: None,
            overhead: 0,
        }
    }

    /// Whether spans from now on say only what they must, see [`SpanOptions::brief`].
    pub fn set_brief(&mut self, brief: bool) {
        self.options.brief = brief;
    }

    /// Spans in the batch.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether the batch is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes the request would have if it were sealed now; at most 16 bytes a process more.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.len() + self.overhead
    }

    /// Appends a span. The caller seals before the arena reaches `u32::MAX` bytes.
    pub fn push(&mut self, exchange: &Exchange<'_>) {
        let index = self.spans.len() as u32;
        let start = self.arena.len();
        span(&mut self.arena, exchange, &self.options);
        let end = self.arena.len();

        let number = self.group(exchange.process);
        let Some(group) = self.groups.get_mut(number as usize) else {
            return;
        };
        if group.bytes == 0 {
            group.first = index;
            self.active.push(number);
            // Tags and lengths of `ResourceSpans` and `ScopeSpans`: at most five bytes each.
            self.overhead +=
                group.resource.len() + self.scope.len() + 2 * self.schema.len() + 2 * (1 + 5);
        } else if let Some(previous) = self.spans.get_mut(group.last as usize) {
            previous.next = index;
        }
        group.last = index;
        group.bytes += end - start;
        self.spans.push(Slot {
            start: start as u32,
            end: end as u32,
            next: NONE,
        });
    }

    /// Turns the batch into a request and starts an empty one. `None` if there are no spans.
    pub fn seal(&mut self) -> Option<Batch> {
        if self.spans.is_empty() {
            return None;
        }
        let mut body = Vec::with_capacity(self.bytes());
        for number in &self.active {
            let Some(group) = self.groups.get(*number as usize) else {
                continue;
            };
            let scope_spans = self.scope.len() + group.bytes + self.schema.len();
            let resource_spans = group.resource.len()
                + (1 + varint_len(scope_spans) + scope_spans)
                + self.schema.len();
            body.push(1 << 3 | 2);
            varint(&mut body, resource_spans);
            body.extend_from_slice(&group.resource);
            body.push(2 << 3 | 2);
            varint(&mut body, scope_spans);
            body.extend_from_slice(&self.scope);
            let mut next = group.first;
            while let Some(slot) = self.spans.get(next as usize) {
                let bytes = self.arena.get(slot.start as usize..slot.end as usize);
                body.extend_from_slice(bytes.unwrap_or_default());
                next = slot.next;
            }
            body.extend_from_slice(&self.schema);
            body.extend_from_slice(&self.schema);
        }
        let items = self.spans.len() as u64;
        self.reset();
        Some(Batch {
            signal: Signal::Traces,
            items,
            body: Bytes::from(body),
        })
    }

    fn reset(&mut self) {
        self.arena.clear();
        self.spans.clear();
        self.overhead = 0;
        if self.groups.len() > MAX_GROUPS {
            self.groups.retain(|group| group.bytes > 0);
            if self.groups.len() > MAX_GROUPS {
                self.groups.clear();
            }
            self.by_process.clear();
            let numbers = self.groups.iter().zip(0u32..);
            self.by_process
                .extend(numbers.map(|(group, number)| (group.process, number)));
            self.last = None;
            self.groups.iter_mut().for_each(|group| group.bytes = 0);
        } else {
            for number in &self.active {
                if let Some(group) = self.groups.get_mut(*number as usize) {
                    group.bytes = 0;
                }
            }
        }
        self.active.clear();
    }

    #[inline]
    fn group(&mut self, process: &ProcessInfo) -> u32 {
        match self.last {
            Some((id, number)) if id == process.id => number,
            _ => {
                let number = match self.by_process.get(&process.id) {
                    Some(number) => *number,
                    None => self.add_group(process),
                };
                self.last = Some((process.id, number));
                number
            }
        }
    }

    #[cold]
    fn add_group(&mut self, process: &ProcessInfo) -> u32 {
        let number = self.groups.len() as u32;
        self.groups.push(Group {
            process: process.id,
            resource: resource::encode(process, &self.host),
            first: NONE,
            last: NONE,
            bytes: 0,
        });
        self.by_process.insert(process.id, number);
        number
    }
}

/// Appends a `spans` field of `ScopeSpans`.
fn span(out: &mut Vec<u8>, exchange: &Exchange<'_>, options: &SpanOptions) {
    out.push(2 << 3 | 2);
    // Nearly every span is 128 to 16,383 bytes long: two bytes of length.
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    let start = out.len();
    span_fields(out, exchange, options);
    let len = out.len() - start;
    if let 128..16_384 = len {
        out[length_at] = (len & 0x7f) as u8 | 0x80;
        out[length_at + 1] = (len >> 7) as u8;
    } else {
        let mut length = Vec::with_capacity(5);
        varint(&mut length, len);
        out.splice(length_at..start, length);
    }
}

fn span_fields(out: &mut Vec<u8>, exchange: &Exchange<'_>, options: &SpanOptions) {
    let trace = &exchange.trace;
    let mut ids = [0; 28];
    ids[0] = 1 << 3 | 2;
    ids[1] = 16;
    ids[2..18].copy_from_slice(&trace.trace_id);
    ids[18] = 2 << 3 | 2;
    ids[19] = 8;
    ids[20..].copy_from_slice(&trace.span_id);
    out.extend_from_slice(&ids);
    if let Some(state) = trace.state.filter(|state| !state.is_empty()) {
        wire::bytes(out, 3, state.as_bytes());
    }
    if let Some(parent) = &trace.parent_span_id {
        wire::bytes(out, 4, parent);
    }
    name(out, attrs::name(exchange, options));

    let (kind, remote) = match exchange.side {
        Side::Server => (KIND_SERVER, trace.parent_span_id.is_some()),
        Side::Client => (KIND_CLIENT, false),
    };
    let end = exchange.start_unix_ns.saturating_add(exchange.duration_ns);
    let mut times = [0; 20];
    times[0] = 6 << 3;
    times[1] = kind;
    times[2] = 7 << 3 | 1;
    times[3..11].copy_from_slice(&exchange.start_unix_ns.to_le_bytes());
    times[11] = 8 << 3 | 1;
    times[12..].copy_from_slice(&end.to_le_bytes());
    out.extend_from_slice(&times);

    let mut digits = itoa::Buffer::new();
    let error = attrs::error_type(exchange, &mut digits);
    attrs::write(out, exchange, error, options);
    if error.is_some() {
        out.extend_from_slice(&[15 << 3 | 2, 2, 3 << 3, STATUS_ERROR]);
    }
    let remote = if remote { FLAG_IS_REMOTE } else { 0 };
    let flags = u32::from(trace.flags) | FLAG_HAS_IS_REMOTE | remote;
    // Field 16, fixed32: the first key that takes two bytes.
    out.extend_from_slice(&[0x85, 0x01]);
    out.extend_from_slice(&flags.to_le_bytes());
}

/// Field 5: `{method} {route}` or `{method}`.
fn name(out: &mut Vec<u8>, (method, route): (&str, Option<&str>)) {
    match route {
        None => wire::bytes(out, 5, method.as_bytes()),
        Some(route) => {
            out.push(5 << 3 | 2);
            varint(out, method.len() + 1 + route.len());
            out.extend_from_slice(method.as_bytes());
            out.push(b' ');
            out.extend_from_slice(route.as_bytes());
        }
    }
}
