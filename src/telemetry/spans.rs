//! Spans that other modules make with OpenTelemetry's API, which without this does nothing.

use opentelemetry::global;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};

use super::client::{self, Client};
use super::settings::Target;

/// Starts to export.
///
/// # Errors
/// If the exporter takes the target for unusable.
pub(super) fn start(
    target: &Target,
    client: Client,
    resource: Resource,
) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter = client::aim(SpanExporter::builder().with_http(), target, client).build()?;
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter)
        .build();
    global::set_tracer_provider(provider.clone());
    Ok(provider)
}
