//! Measurements as samples of the catalogue's metrics, and their text form that Prometheus reads (OpenMetrics 1.0).
//!
//! All samples of a metric stand together, whichever job and process they come from.

mod job;

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalogue::{ALL, Kind, Metric, PREFIX};
use super::measurements::{BUCKETS_S, Distribution, Measurements};

/// The media type of the text.
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A value with its labels.
pub(crate) type Sample = (Vec<(&'static str, String)>, Value);

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Buckets(Distribution),
}

/// Samples by the name of their metric.
#[derive(Clone, Debug, Default)]
pub struct Exposition(BTreeMap<(&'static str, Option<&'static str>), Vec<Sample>>);

impl Exposition {
    /// Adds a value; labels in the order of the catalogue.
    pub fn add(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        self.push(metric, labels, Value::Number(value));
    }

    fn push(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let labels = labels.iter().map(|label| (*label).to_owned());
        let labels = metric.labels.iter().copied().zip(labels).collect();
        self.0.entry(key(metric)).or_default().push((labels, value));
    }

    /// Adds what a process of a job has measured.
    pub fn add_job(&mut self, measured: &Measurements) {
        job::add(self, measured);
    }

    /// The metrics that have samples, in the order of the catalogue.
    pub(crate) fn families(&self) -> impl Iterator<Item = (&'static Metric, &[Sample])> {
        let of = |metric: &&'static Metric| Some((*metric, &**self.0.get(&key(metric))?));
        ALL.iter().filter_map(of)
    }

    /// The text.
    #[must_use]
    pub fn text(self) -> String {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

/// Two metrics may differ in their unit alone.
fn key(metric: &Metric) -> (&'static str, Option<&'static str>) {
    use super::catalogue::UnitName::{Bytes, Records, Rows, Seconds};
    let unit = metric.unit.map(|unit| match unit {
        Bytes => "bytes",
        Records => "records",
        Rows => "rows",
        Seconds => "seconds",
    });
    (metric.name, unit)
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for (metric, samples) in self.families() {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let unit = metric.unit.map(|unit| unit.unit());
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, unit.as_ref(), kind)?;
            for (labels, value) in samples {
                encode(family.encode_family(labels)?, metric.kind, value)?;
            }
        }
        Ok(())
    }
}

fn encode(mut encoder: MetricEncoder<'_>, kind: Kind, value: &Value) -> fmt::Result {
    match (kind, value) {
        (Kind::Counter, Value::Number(value)) => {
            encoder.encode_counter::<NoLabelSet, _, f64>(value, None)
        }
        (_, Value::Number(value)) => encoder.encode_gauge(value),
        (_, Value::Buckets(distribution)) => {
            let bounds = BUCKETS_S.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(distribution.counts.iter().copied()).collect();
            let count = distribution.counts.iter().sum();
            encoder.encode_histogram::<NoLabelSet>(distribution.sum_s, count, &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests;
