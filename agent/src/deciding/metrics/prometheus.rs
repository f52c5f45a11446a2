//! Metrics in the Prometheus text format 0.0.4 or that of OpenMetrics, named as the OpenTelemetry specification says
//! ("Prometheus and OpenMetrics Compatibility").
//!
//! The format has no exponential histograms: their buckets are merged to powers of two, which
//! is exact, and their bounds are the same for all series.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::histogram::{Buckets, Exponential, Histogram};
use super::instrument::Instrument;
use super::label::{Label, active_labels, labels};
use super::{Exemplar, Registry, Series};
use crate::model::exchange::Side;

/// Powers of two shown of exponential histograms: 61 us to 128 s, 64 bytes to 64 MiB.
const SECONDS: std::ops::RangeInclusive<i32> = -14..=7;
const BYTES: std::ops::RangeInclusive<i32> = 6..=26;

/// How samples are written. Metadata is that of the text format in both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Text format 0.0.4.
    Text,
    /// OpenMetrics 1.0: with exemplars, and numbers of buckets always with a point.
    OpenMetrics,
}

/// Appends all series.
pub fn render(registry: &Registry, format: Format, out: &mut String) {
    let mut families: BTreeMap<(Instrument, bool), Vec<(&Series, &Histogram)>> = BTreeMap::new();
    for series in &registry.series {
        for (instrument, histogram) in Instrument::of(series) {
            let family = (instrument, series.key.side == Side::Client);
            families
                .entry(family)
                .or_default()
                .push((series, histogram));
        }
    }
    for ((instrument, client), all) in families {
        let side = if client { Side::Client } else { Side::Server };
        let [name, unit, help] = instrument.words(side);
        let unit = if unit == "s" { "seconds" } else { "bytes" };
        let name = format!("{}_{unit}", name.replace('.', "_"));
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (series, histogram) in all {
            let labels = label_text(registry, series.key.service, labels(&series.key));
            let mut exemplars = match (format, instrument) {
                (Format::OpenMetrics, Instrument::Duration | Instrument::Call) => series.exemplars,
                _ => [None; 2],
            };
            let mut bucket = |bound: f64, count: u64| {
                let _ = write!(out, "{name}_bucket{{{labels},le=\"");
                let _ = match format {
                    _ if bound.is_infinite() => write!(out, "+Inf"),
                    Format::Text => write!(out, "{bound}"),
                    Format::OpenMetrics => write!(out, "{bound:?}"),
                };
                let _ = write!(out, "\"}} {count}");
                // One a bucket: the last one there, of which the other is the second.
                for exemplar in &mut exemplars {
                    if let Some(fits) = exemplar.take_if(|it| it.value <= bound) {
                        write_exemplar(out, &fits);
                        exemplars.iter_mut().for_each(|other| {
                            other.take_if(|it| it.value <= bound);
                        });
                        break;
                    }
                }
                out.push('\n');
            };
            let mut below = 0;
            match &histogram.buckets {
                Buckets::Explicit(bounds, counts) => {
                    for (bound, count) in bounds.iter().zip(counts) {
                        below += u64::from(*count);
                        bucket(*bound, below);
                    }
                }
                Buckets::Exponential(exponential) => {
                    for power in if unit == "seconds" { SECONDS } else { BYTES } {
                        bucket(f64::from(power).exp2(), up_to(exponential, power));
                    }
                }
            }
            let totals = &histogram.totals;
            bucket(f64::INFINITY, totals.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", totals.sum);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", totals.count);
        }
    }
    render_active(registry, out);
}

/// Behind a bucket: a request in it, and when it ended, s since 1970.
fn write_exemplar(out: &mut String, exemplar: &Exemplar) {
    let (trace, span) = (
        u128::from_be_bytes(exemplar.trace_id),
        u64::from_be_bytes(exemplar.span_id),
    );
    let (seconds, millis) = (
        exemplar.unix_ns / 1_000_000_000,
        exemplar.unix_ns / 1_000_000 % 1000,
    );
    let _ = write!(
        out,
        " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {} {seconds}.{millis:03}",
        exemplar.value
    );
}

/// Sums that go up and down are gauges here.
fn render_active(registry: &Registry, out: &mut String) {
    for client in [false, true] {
        let side = if client { Side::Client } else { Side::Server };
        let [name, _, help] = Instrument::Active.words(side);
        let name = name.replace('.', "_");
        let mut all = (registry.active.iter())
            .filter(|(key, active)| key.client == client && !active.ended)
            .peekable();
        if all.peek().is_some() {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge");
        }
        for (key, active) in all {
            let labels = label_text(registry, key.service, active_labels(key));
            let _ = writeln!(out, "{name}{{{labels}}} {}", active.count);
        }
    }
}

/// Values up to a power of two. At a coarser scale than 0 a bucket that goes beyond does not
/// count.
fn up_to(exponential: &Exponential, power: i32) -> u64 {
    let index = |at: usize| i64::from(exponential.offset) + at as i64;
    let limit = if exponential.scale >= 0 {
        i64::from(power) << exponential.scale
    } else {
        i64::from(power) >> -exponential.scale
    };
    let below = (exponential.counts.iter().enumerate())
        .filter(|(at, _)| index(*at) < limit)
        .map(|(_, count)| u64::from(*count));
    below.sum::<u64>() + u64::from(exponential.zeros)
}

fn label_text(registry: &Registry, service: u32, labels: Vec<(&str, Label<'_>)>) -> String {
    let mut text = String::with_capacity(256);
    let mut label = |name: &str, value: &dyn std::fmt::Display| {
        if !text.is_empty() {
            text.push(',');
        }
        let _ = write!(text, "{name}=\"{value}\"");
    };
    let service = registry.services.get(service);
    label(
        "service_name",
        &escaped(service.map_or("", |service| &service.service)),
    );
    if let Some(namespace) = service.and_then(|service| service.service_namespace.as_deref()) {
        label("service_namespace", &escaped(namespace));
    }
    if let Some(container) = service.and_then(|service| service.container_id.as_deref()) {
        label("container_id", &escaped(container));
    }
    for (name, value) in labels {
        let name = name.replace('.', "_");
        match value {
            Label::Text(value) => label(&name, &escaped(value)),
            Label::Number(value) => label(&name, &value),
            Label::True => label(&name, &true),
        }
    }
    text
}

/// A label value: `\`, `"` and line ends need escapes.
pub(crate) fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
