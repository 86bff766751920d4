//! Sends what a process tells of itself to an OpenTelemetry collector: its logs, its metrics and a trace of each checkpoint,
//! over OTLP/HTTP, if the standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`) say where to.
//!
//! ```text
//!  tracing events ──> logs ────────────> batches ──┐
//!  Exposition, once a minute ──> metrics ──────────┼──> client (a runtime of its own) ──> collector
//!  runtime::checkpoint_trace ──> spans in batches ─┘
//! ```
//! Nothing waits for a collector: queues are bounded, what has no room is counted and told, and the end of the process waits
//! for two seconds at most. Without the variables nothing is started.

mod client;
pub mod logs;
mod metrics;
mod resource;
pub mod settings;
mod spans;

use std::{
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::{Resource, logs::SdkLoggerProvider, trace::SdkTracerProvider};
use tokio::runtime::Runtime;

use self::client::{Client, Told};
use self::metrics::Periodic;
pub use self::settings::Settings;
use self::settings::{Signal, Target};
use crate::metrics::exposition::Exposition;

/// How long a process that ends in good order waits for the collector.
const END_LIMIT: Duration = Duration::from_secs(2);
/// The same, of a process that ends with an error: others may wait for its end, to take its job over.
const FAILURE_LIMIT: Duration = Duration::from_secs(1);

/// Whose data it is.
#[derive(Clone, Copy, Debug)]
pub enum Origin<'a> {
    /// A process of a job.
    Job {
        /// The job's name.
        job: &'a str,
        /// Which of its processes this is.
        process: usize,
    },
    /// A server.
    Server,
}

/// What runs as long as the process does.
struct Exporters {
    runtime: Arc<Runtime>,
    told: Arc<Told>,
    settings: Settings,
    resource: Resource,
    logs: Option<SdkLoggerProvider>,
    spans: Option<SdkTracerProvider>,
    metrics: OnceLock<Periodic>,
}

static EXPORTERS: OnceLock<Exporters> = OnceLock::new();

/// Starts to export, if that is wanted. Once in a process.
///
/// # Errors
/// If no client or thread can be made.
pub fn start(settings: Option<Settings>, origin: Origin<'_>) -> Result<(), String> {
    let Some(settings) = settings else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("telemetry")
        .enable_all()
        .build()
        .map_err(|error| format!("telemetry cannot be exported: {error}"))?;
    let mut exporters = Exporters {
        runtime: Arc::new(runtime),
        told: Arc::default(),
        resource: resource::resource(&settings, origin),
        settings,
        logs: None,
        spans: None,
        metrics: OnceLock::new(),
    };
    if let Some(target) = exporters.settings.target(Signal::Logs) {
        let client = exporters.client(target)?;
        let provider = logs::start(target, client, exporters.resource.clone());
        exporters.logs = Some(provider.map_err(|error| unusable(target, &error))?);
    }
    if let Some(target) = exporters.settings.target(Signal::Traces) {
        let client = exporters.client(target)?;
        let provider = spans::start(target, client, exporters.resource.clone());
        exporters.spans = Some(provider.map_err(|error| unusable(target, &error))?);
    }
    // Nobody starts it twice.
    let _ = EXPORTERS.set(exporters);
    Ok(())
}

fn unusable(target: &Target, error: &ExporterBuildError) -> String {
    format!("{} cannot be exported: {error}", target.signal.name())
}

/// From now on what `measured` gives is exported every minute (`OTEL_METRIC_EXPORT_INTERVAL`), and a last time at the end of the
/// process. Nothing happens if metrics are not to be exported.
///
/// # Errors
/// If no client or thread can be made.
pub fn export_metrics(measured: impl Fn() -> Exposition + Send + 'static) -> Result<(), String> {
    let Some(exporters) = EXPORTERS.get() else {
        return Ok(());
    };
    let Some(target) = exporters.settings.target(Signal::Metrics) else {
        return Ok(());
    };
    let client = exporters.client(target)?;
    let every = exporters.settings.metrics_every;
    let periodic = Periodic::start(every, Box::new(measured), client, &exporters.resource)
        .map_err(|error| format!("metrics cannot be exported: {error}"))?;
    // A process runs one job, or one server.
    let _ = exporters.metrics.set(periodic);
    Ok(())
}

/// Sends what is left, at the end of the process. Takes two seconds at most.
pub fn stop() {
    if let Some(exporters) = EXPORTERS.get() {
        exporters.stop(END_LIMIT);
    }
}

/// Exports why the process ends, with all that is left, and takes a second at most.
pub fn last_words(message: &str) {
    if let Some(exporters) = EXPORTERS.get() {
        if let Some(provider) = &exporters.logs {
            logs::last_words(provider, message);
        }
        exporters.stop(FAILURE_LIMIT);
    }
}

impl Exporters {
    fn client(&self, target: &Target) -> Result<Client, String> {
        Client::new(target, self.runtime.clone(), self.told.clone())
    }

    /// All of it at most once: a second call finds nothing left to do.
    fn stop(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let left = || deadline.saturating_duration_since(Instant::now());
        let metrics = self.metrics.get().and_then(Periodic::end);
        // Side by side, so that one that waits takes no time from the others. Errors were told when they happened; what cannot be
        // sent by now is lost.
        thread::scope(|scope| {
            let spans = || {
                self.spans
                    .as_ref()
                    .map(|spans| spans.shutdown_with_timeout(left()))
            };
            let _ = thread::Builder::new().spawn_scoped(scope, spans);
            if let Some(provider) = &self.logs {
                let _ = provider.shutdown_with_timeout(left());
            }
        });
        if let Some(done) = metrics {
            let _ = done.recv_timeout(left());
        }
    }
}
