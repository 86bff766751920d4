//! An exposition as OTLP's metrics, sent again and again: the same names, labels and values that Prometheus reads, with the units
//! of the catalogue.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use prost::Message;

use super::client::Client;
use crate::metrics::catalogue::{self, Kind};
use crate::metrics::exposition::{Exposition, Sample, Value};
use crate::metrics::measurements::{BUCKETS_S, Distribution};

/// Gives what is measured now.
pub(super) type Measured = Box<dyn Fn() -> Exposition + Send>;

/// The thread that sends metrics.
pub(super) struct Periodic {
    /// Asks for the last time; whoever asks hears nothing but that it is done.
    end: Mutex<Option<Sender<Sender<()>>>>,
}

impl Periodic {
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(
        every: Duration,
        measured: Measured,
        client: Client,
        resource: &opentelemetry_sdk::Resource,
    ) -> io::Result<Self> {
        let (end, ended) = channel::<Sender<()>>();
        let resource = Resource {
            attributes: ResourceAttributesWithSchema::from(resource).attributes.0,
            ..Resource::default()
        };
        let began = nanos();
        thread::Builder::new()
            .name("telemetry-metrics".to_owned())
            .spawn(move || {
                loop {
                    // Held until this round is over: its end tells who waits for it.
                    let asked = match ended.recv_timeout(every) {
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return,
                        Ok(done) => Some(done),
                    };
                    let span = Span {
                        began,
                        now: nanos(),
                    };
                    let request = request(&measured(), resource.clone(), span);
                    client.post(request.encode_to_vec());
                    if asked.is_some() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            end: Mutex::new(Some(end)),
        })
    }

    /// Sends metrics a last time. What is returned ends when that is done; `None` if it was asked for before.
    pub(super) fn end(&self) -> Option<Receiver<()>> {
        let end = self
            .end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        let (done, is_done) = channel();
        end.send(done).ok().map(|()| is_done)
    }
}

/// What a value counts from, and when it was taken: nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Span {
    began: u64,
    now: u64,
}

fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn request(exposition: &Exposition, resource: Resource, span: Span) -> ExportMetricsServiceRequest {
    let metrics = exposition.families();
    let metrics = metrics.map(|(metric, samples)| of(metric, samples, span));
    let scope = InstrumentationScope {
        name: catalogue::PREFIX.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope),
                metrics: metrics.collect(),
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        }],
    }
}

fn of(metric: &catalogue::Metric, samples: &[Sample], span: Span) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let data = match metric.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(samples, span),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(samples, span),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: histograms(samples, span),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: metric.full_name(),
        description: metric.help.to_owned(),
        unit: metric.unit.map_or("", |unit| unit.ucum()).to_owned(),
        metadata: Vec::new(),
        data: Some(data),
    }
}

fn numbers(samples: &[Sample], span: Span) -> Vec<NumberDataPoint> {
    let points = samples.iter().filter_map(|(labels, value)| match value {
        Value::Number(value) => Some(NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: span.began,
            time_unix_nano: span.now,
            value: Some(number_data_point::Value::AsDouble(*value)),
            ..NumberDataPoint::default()
        }),
        Value::Buckets(_) => None,
    });
    points.collect()
}

fn histograms(samples: &[Sample], span: Span) -> Vec<HistogramDataPoint> {
    let points = samples.iter().filter_map(|(labels, value)| match value {
        Value::Buckets(distribution) => Some(histogram(labels, distribution, span)),
        Value::Number(_) => None,
    });
    points.collect()
}

fn histogram(
    labels: &[(&'static str, String)],
    distribution: &Distribution,
    span: Span,
) -> HistogramDataPoint {
    let mut bucket_counts = distribution.counts.clone();
    // One more than bounds, also where nothing has been counted yet.
    bucket_counts.resize(BUCKETS_S.len() + 1, 0);
    HistogramDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: span.began,
        time_unix_nano: span.now,
        count: bucket_counts.iter().sum(),
        sum: Some(distribution.sum_s),
        bucket_counts,
        explicit_bounds: BUCKETS_S.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn attributes(labels: &[(&'static str, String)]) -> Vec<KeyValue> {
    let attributes = labels.iter().map(|(name, value)| KeyValue {
        key: (*name).to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.clone())),
        }),
        ..KeyValue::default()
    });
    attributes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::measurements::Measurements;

    const SPAN: Span = Span { began: 5, now: 9 };

    fn metrics(measured: &Measurements) -> Vec<Metric> {
        let mut exposition = Exposition::default();
        exposition.add_job(measured);
        let mut sent = request(&exposition, Resource::default(), SPAN).resource_metrics;
        sent.remove(0).scope_metrics.remove(0).metrics
    }

    #[test]
    fn values_are_those_of_the_exposition() {
        let metrics = metrics(&Measurements {
            job: "shop".to_owned(),
            records_in: [("events".to_owned(), 70)].into(),
            delivery_latency: Distribution::of(&[(5_000, 2), (700_000_000, 1)]),
            ..Measurements::default()
        });
        let find = |name: &str| {
            let found = metrics.iter().find(|metric| metric.name == name);
            found.unwrap_or_else(|| panic!("no {name}"))
        };
        let Some(Data::Sum(records)) = &find("tidewright_source_records_total").data else {
            panic!("a counter is a sum");
        };
        assert!(records.is_monotonic && records.aggregation_temporality == 2);
        let point = &records.data_points[0];
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(70.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (5, 9));
        let keys: Vec<_> = point
            .attributes
            .iter()
            .map(|attribute| &*attribute.key)
            .collect();
        assert_eq!(keys, ["job", "process", "source"]);
        let latency = find("tidewright_delivery_latency_seconds");
        assert_eq!(latency.unit, "s");
        for (name, count, first, last) in [
            ("tidewright_delivery_latency_seconds", 3, 2, 1),
            ("tidewright_checkpoint_duration_seconds", 0, 0, 0),
        ] {
            let Some(Data::Histogram(histogram)) = &find(name).data else {
                panic!("{name} is a histogram");
            };
            let point = &histogram.data_points[0];
            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
            assert_eq!((point.count, point.bucket_counts[0]), (count, first));
            assert_eq!(point.bucket_counts.last(), Some(&last));
        }
    }
}
