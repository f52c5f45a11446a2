//! Data points of OTLP.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value as ExemplarValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as WireBuckets;
use opentelemetry_proto::tonic::metrics::v1::{
    DataPointFlags, Exemplar as WireExemplar, ExponentialHistogramDataPoint, HistogramDataPoint,
    NumberDataPoint, number_data_point,
};

use super::active::{Active, ActiveKey};
use super::histogram::{Buckets, Histogram};
use super::instrument::Instrument;
use super::key::Key;
use super::label::{Label, active_labels, labels};
use super::{Exemplar, Series};

/// What is written of a metric.
pub(super) enum Points {
    Explicit(Vec<HistogramDataPoint>),
    Exponential(Vec<ExponentialHistogramDataPoint>),
    Numbers(Vec<NumberDataPoint>),
}

/// Times of a point, and whether it says that the series has ended.
#[derive(Clone, Copy)]
pub(super) struct When {
    pub(super) since_ns: u64,
    pub(super) now_ns: u64,
    pub(super) ended: bool,
}

/// Adds the point of a series to its metric.
pub(super) fn push(
    group: &mut BTreeMap<(Instrument, bool), Points>,
    metric: (Instrument, bool),
    series: &Series,
    histogram: &Histogram,
    when: When,
) {
    let exemplars = match metric.0 {
        Instrument::Duration | Instrument::Call if !when.ended => exemplars(series),
        _ => Vec::new(),
    };
    let attributes = attributes(&series.key);
    let totals = &histogram.totals;
    let flags = if when.ended {
        DataPointFlags::NoRecordedValueMask as u32
    } else {
        0
    };
    let known = !when.ended;
    match &histogram.buckets {
        Buckets::Explicit(bounds, counts) => {
            let point = HistogramDataPoint {
                attributes,
                start_time_unix_nano: when.since_ns,
                time_unix_nano: when.now_ns,
                count: if known { totals.count } else { 0 },
                sum: known.then_some(totals.sum),
                bucket_counts: if known {
                    counts.iter().map(|count| u64::from(*count)).collect()
                } else {
                    Vec::new()
                },
                explicit_bounds: if known { bounds.to_vec() } else { Vec::new() },
                exemplars,
                flags,
                min: known.then_some(totals.min),
                max: known.then_some(totals.max),
            };
            if let Points::Explicit(points) =
                group.entry(metric).or_insert(Points::Explicit(Vec::new()))
            {
                points.push(point);
            }
        }
        Buckets::Exponential(exponential) => {
            let point = ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: when.since_ns,
                time_unix_nano: when.now_ns,
                count: if known { totals.count } else { 0 },
                sum: known.then_some(totals.sum),
                scale: exponential.scale,
                zero_count: if known {
                    u64::from(exponential.zeros)
                } else {
                    0
                },
                positive: known.then(|| WireBuckets {
                    offset: exponential.offset,
                    bucket_counts: exponential
                        .counts
                        .iter()
                        .map(|count| u64::from(*count))
                        .collect(),
                }),
                exemplars,
                flags,
                min: known.then_some(totals.min),
                max: known.then_some(totals.max),
                ..Default::default()
            };
            if let Points::Exponential(points) = group
                .entry(metric)
                .or_insert(Points::Exponential(Vec::new()))
            {
                points.push(point);
            }
        }
    }
}

/// Adds the point of a count of active requests.
pub(super) fn push_number(
    group: &mut BTreeMap<(Instrument, bool), Points>,
    key: &ActiveKey,
    active: Active,
    now_ns: u64,
) {
    let flags = if active.ended {
        DataPointFlags::NoRecordedValueMask as u32
    } else {
        0
    };
    let value = i64::try_from(active.count).unwrap_or(i64::MAX);
    let point = NumberDataPoint {
        attributes: wire(active_labels(key)),
        start_time_unix_nano: active.since_ns,
        time_unix_nano: now_ns.max(active.since_ns.saturating_add(1)),
        flags,
        value: (!active.ended).then_some(number_data_point::Value::AsInt(value)),
        ..Default::default()
    };
    let metric = (Instrument::Active, key.client);
    let numbers = || Points::Numbers(Vec::new());
    if let Points::Numbers(points) = group.entry(metric).or_insert_with(numbers) {
        points.push(point);
    }
}

fn exemplars(series: &Series) -> Vec<WireExemplar> {
    let wire = |exemplar: &Exemplar| WireExemplar {
        time_unix_nano: exemplar.unix_ns,
        value: Some(ExemplarValue::AsDouble(exemplar.value)),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: exemplar.span_id.to_vec(),
        ..Default::default()
    };
    series.exemplars.iter().flatten().map(wire).collect()
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    wire(labels(key))
}

fn wire(labels: Vec<(&str, Label<'_>)>) -> Vec<KeyValue> {
    let pair = |(name, label): (&str, Label<'_>)| KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(match label {
                Label::Text(text) => Value::StringValue(text.to_owned()),
                Label::Number(number) => Value::IntValue(number),
                Label::True => Value::BoolValue(true),
            }),
        }),
        ..Default::default()
    };
    labels.into_iter().map(pair).collect()
}
