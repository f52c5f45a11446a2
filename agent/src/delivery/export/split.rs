//! Cutting a request in two, for a gateway that finds it too large.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::batch::{Batch, Signal};
use super::profiles;
use crate::span::wire::{bytes, varint_len};

/// Field numbers of `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.scope_spans`
/// and `ScopeSpans.spans`.
const SPANS: &[&[u32]] = &[&[1], &[2], &[2]];

/// The same down to `ScopeMetrics.metrics`; then what `Metric.data` may be (gauge, sum,
/// histogram, exponential histogram, summary), and `data_points`.
const POINTS: &[&[u32]] = &[&[1], &[2], &[2], &[5, 7, 9, 10, 11], &[1]];

/// Cuts a request with at least two spans (data points) into two of about half of them each;
/// resource, scope and metric are repeated in both. `None` if there is nothing to cut, or the
/// bytes are not such a request.
#[must_use]
pub fn split(batch: &Batch) -> Option<[Batch; 2]> {
    let path = match batch.signal {
        Signal::Traces => SPANS,
        Signal::Metrics => POINTS,
        // They share a dictionary, which is to be cut as well.
        Signal::Profiles => return profiles::split::split(batch),
    };
    let half = batch.items / 2;
    if half == 0 {
        return None;
    }
    let part = |keep: std::ops::Range<u64>| {
        let items = keep.end - keep.start;
        let mut cut = Cut {
            path,
            keep,
            seen: 0,
        };
        let body = cut.message(&batch.body, 0)?;
        (cut.seen == batch.items).then(|| Batch {
            signal: batch.signal,
            items,
            body: body.into(),
        })
    };
    Some([part(0..half)?, part(half..batch.items)?])
}

struct Cut {
    /// Fields that lead to what is counted.
    path: &'static [&'static [u32]],
    /// Spans to keep, by their position in the request.
    keep: std::ops::Range<u64>,
    seen: u64,
}

impl Cut {
    /// Copies the fields of a message `depth` levels down, without the spans outside of
    /// `keep` and without groups that would be left without spans.
    fn message(&mut self, message: &[u8], depth: usize) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(message.len() / 2);
        let mut rest = message;
        while !rest.is_empty() {
            let field = rest;
            let (number, kind) = decode_key(&mut rest).ok()?;
            let leads = self.path.get(depth).is_some_and(|it| it.contains(&number));
            if kind == WireType::LengthDelimited && leads {
                let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (value, after) = rest.split_at_checked(len)?;
                rest = after;
                if depth + 1 == self.path.len() {
                    if self.keep.contains(&self.seen) {
                        bytes(&mut out, number as u8, value);
                    }
                    self.seen += 1;
                } else {
                    let (before, kept) = (self.seen, self.keep.clone());
                    let inner = self.message(value, depth + 1)?;
                    if before.max(kept.start) < self.seen.min(kept.end) {
                        out.reserve(1 + varint_len(inner.len()) + inner.len());
                        bytes(&mut out, number as u8, &inner);
                    }
                }
            } else {
                skip_field(kind, number, &mut rest, DecodeContext::default()).ok()?;
                let len = field.remaining() - rest.remaining();
                out.extend_from_slice(field.get(..len)?);
            }
        }
        Some(out)
    }
}
