//! What receives OpenTelemetry's protocol over HTTP, and keeps all of it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message;
use tokio::runtime::Runtime;

/// Attributes by their names, all of them texts.
pub type Attributes = BTreeMap<String, String>;

/// All that has come, each with the attributes of the process that it came from.
#[derive(Debug, Default)]
pub struct Received {
    pub requests: usize,
    pub authorizations: Vec<String>,
    pub logs: Vec<(Attributes, LogRecord)>,
    pub metrics: Vec<(Attributes, Metric)>,
    pub spans: Vec<(Attributes, Span)>,
}

/// A collector on a free port; ends when dropped.
pub struct Collector {
    pub url: String,
    received: Arc<Mutex<Received>>,
    _runtime: Runtime,
}

type Shared = State<(StatusCode, Arc<Mutex<Received>>)>;

impl Collector {
    /// One that takes everything.
    pub fn start() -> Self {
        Self::answering(200)
    }

    /// One that keeps what comes, and always answers with this status.
    pub fn answering(status: u16) -> Self {
        let received: Arc<Mutex<Received>> = Arc::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listening = tokio::net::TcpListener::bind(("127.0.0.1", 0));
        let listening = runtime.block_on(listening).unwrap();
        let url = format!("http://{}", listening.local_addr().unwrap());
        let status = StatusCode::from_u16(status).unwrap();
        let router = Router::new()
            .route("/v1/{signal}", post(take))
            .with_state((status, received.clone()));
        runtime.spawn(async move { axum::serve(listening, router).await });
        Self {
            url,
            received,
            _runtime: runtime,
        }
    }

    /// What has come so far.
    pub fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap()
    }
}

async fn take(
    State((status, received)): Shared,
    Path(signal): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let mut received = received.lock().unwrap();
    received.requests += 1;
    let authorization = headers.get("authorization");
    received
        .authorizations
        .extend(authorization.map(|value| value.to_str().unwrap().to_owned()));
    match &*signal {
        "logs" => received.logs.extend(logs(&body)),
        "metrics" => received.metrics.extend(metrics(&body)),
        "traces" => received.spans.extend(spans(&body)),
        other => panic!("nobody exports {other}"),
    }
    status
}

fn logs(body: &[u8]) -> Vec<(Attributes, LogRecord)> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let mut all = Vec::new();
    for of_one in request.resource_logs {
        let from = origin(of_one.resource);
        let scopes = of_one.scope_logs.into_iter();
        let records = scopes.flat_map(|scope| scope.log_records);
        all.extend(records.map(|record| (from.clone(), record)));
    }
    all
}

fn metrics(body: &[u8]) -> Vec<(Attributes, Metric)> {
    let request = ExportMetricsServiceRequest::decode(body).unwrap();
    let mut all = Vec::new();
    for of_one in request.resource_metrics {
        let from = origin(of_one.resource);
        let scopes = of_one.scope_metrics.into_iter();
        let metrics = scopes.flat_map(|scope| scope.metrics);
        all.extend(metrics.map(|metric| (from.clone(), metric)));
    }
    all
}

fn spans(body: &[u8]) -> Vec<(Attributes, Span)> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut all = Vec::new();
    for of_one in request.resource_spans {
        let from = origin(of_one.resource);
        let scopes = of_one.scope_spans.into_iter();
        let spans = scopes.flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| (from.clone(), span)));
    }
    all
}

fn origin(resource: Option<Resource>) -> Attributes {
    attributes(&resource.unwrap().attributes)
}

/// Attributes by name.
pub fn attributes(list: &[KeyValue]) -> Attributes {
    let pair = |attribute: &KeyValue| (attribute.key.clone(), text(attribute.value.as_ref()));
    list.iter().map(pair).collect()
}

/// A value as text.
pub fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}

impl Received {
    /// What a process said last of a counter or gauge, where its labels are these: the sum of all values that fit.
    pub fn last(&self, origin: (&str, &str), name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let (key, value) = origin;
        let from = |from: &Attributes| from.get(key).is_some_and(|found| found == value);
        let mut all = self.metrics.iter().rev();
        let (_, metric) = all.find(|(origin, metric)| from(origin) && metric.name == name)?;
        let points: &[NumberDataPoint] = match metric.data.as_ref()? {
            Data::Sum(sum) => &sum.data_points,
            Data::Gauge(gauge) => &gauge.data_points,
            other => panic!("{name} is no number: {other:?}"),
        };
        let fit = |point: &&NumberDataPoint| {
            let found = attributes(&point.attributes);
            let is =
                |(label, value): &(&str, &str)| found.get(*label).is_some_and(|it| it == value);
            labels.iter().all(is)
        };
        let values = points.iter().filter(fit).map(|point| match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            other => panic!("{name}: {other:?}"),
        });
        Some(values.sum())
    }
}
