//! What the process logs, as log records of OpenTelemetry: the same events as on standard error.

use std::{sync::OnceLock, time::SystemTime};

use opentelemetry::logs::{LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{ExporterBuildError, LogExporter};
use opentelemetry_sdk::{
    Resource,
    logs::{SdkLogger, SdkLoggerProvider},
};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::{FilterFn, filter_fn},
    layer::Context,
    registry::LookupSpan,
};

use super::client::{self, Client};
use super::settings::Target;

/// Where events go. Logging begins before it is known whose logs they are.
static BRIDGE: OnceLock<OpenTelemetryTracingBridge<SdkLoggerProvider, SdkLogger>> = OnceLock::new();

/// What the export itself logs: exporting that would never end.
const OF_THE_EXPORT: [&str; 7] = [
    "h2",
    "hyper",
    "mio",
    "opentelemetry",
    "reqwest",
    "rustls",
    "tidewright::telemetry",
];

/// Exports events, from the start of the export on.
#[derive(Debug)]
pub struct Exported;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Exported {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(bridge) = BRIDGE.get() {
            Layer::<S>::on_event(bridge, event, context);
        }
    }
}

/// Which events are exported.
#[must_use]
pub fn exported() -> FilterFn {
    filter_fn(|event: &Metadata<'_>| !is_of_the_export(event.target()))
}

fn is_of_the_export(target: &str) -> bool {
    OF_THE_EXPORT.iter().any(|own| target.starts_with(own))
}

/// Which events are told on standard error: of the exporters' own only that they had to drop something, because failures are told by
/// this module, and less often.
#[must_use]
pub fn told() -> FilterFn {
    filter_fn(|event: &Metadata<'_>| {
        !event.target().starts_with("opentelemetry") || event.name().contains("Dropp")
    })
}

/// Starts to export.
///
/// # Errors
/// If the exporter takes the target for unusable.
pub(super) fn start(
    target: &Target,
    client: Client,
    resource: Resource,
) -> Result<SdkLoggerProvider, ExporterBuildError> {
    let exporter = client::aim(LogExporter::builder().with_http(), target, client).build()?;
    let provider = SdkLoggerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    // Nobody starts it twice.
    let _ = BRIDGE.set(OpenTelemetryTracingBridge::new(&provider));
    Ok(provider)
}

/// Exports why the process ends, which is not logged but told.
pub(super) fn last_words(provider: &SdkLoggerProvider, message: &str) {
    let logger = provider.logger("");
    let mut record = logger.create_log_record();
    record.set_timestamp(SystemTime::now());
    record.set_target("tidewright::end");
    record.set_severity_number(Severity::Error);
    record.set_severity_text("ERROR");
    record.set_body(message.to_owned().into());
    logger.emit(record);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_export_itself_logs_is_not_exported() {
        for own in [
            "hyper_util::client",
            "reqwest::connect",
            "opentelemetry_sdk",
            "tidewright::telemetry::client",
        ] {
            assert!(is_of_the_export(own), "{own}");
        }
        for other in ["tidewright::run", "tidewright::runtime::publish", "redis"] {
            assert!(!is_of_the_export(other), "{other}");
        }
    }
}
