//! Posts what is exported, on threads of its own, and tells in the log if that does not work: once a minute at most.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use reqwest::{Certificate, redirect::Policy};
use tokio::runtime::Runtime;

use super::settings::Target;

/// How often the log says that a collector does not work.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Of an answer no more is kept: collectors say little.
const ANSWER_MAX: usize = 64 * 1024;

/// When the log said last that a collector does not work: one warning speaks for all signals.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<Option<Instant>>);

impl Told {
    /// True if it is time to tell, which is then taken to be done.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| now.duration_since(last) >= TELL_EVERY);
        if due {
            *last = Some(now);
        }
        due
    }
}

/// The way to one of a collector's endpoints.
pub(super) struct Client {
    signal: &'static str,
    url: String,
    /// The same for people, without what may be a secret.
    shown: String,
    http: reqwest::Client,
    runtime: Arc<Runtime>,
    told: Arc<Told>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.shown)
    }
}

impl Client {
    /// # Errors
    /// If no client can be made.
    pub(super) fn new(
        target: &Target,
        runtime: Arc<Runtime>,
        told: Arc<Told>,
    ) -> Result<Self, String> {
        let mut http = reqwest::Client::builder()
            .timeout(target.timeout)
            .default_headers(target.headers.clone())
            .user_agent(concat!("tidewright/", env!("CARGO_PKG_VERSION")))
            // Headers may be secrets, which nobody else is to get.
            .redirect(Policy::none())
            // Reading the system's authorities takes time and memory that plain HTTP has no use for.
            .tls_built_in_root_certs(
                target.url.scheme() == "https" && target.authorities.is_empty(),
            );
        for authority in &target.authorities {
            let authority = Certificate::from_der(authority);
            http = http.add_root_certificate(authority.map_err(|error| error.to_string())?);
        }
        if matches!(
            target.url.host_str(),
            Some("localhost" | "127.0.0.1" | "[::1]")
        ) {
            // No proxy could reach it.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| {
            let signal = target.signal.name();
            format!("{signal} cannot be exported: {error}")
        })?;
        Ok(Self {
            signal: target.signal.name(),
            url: target.url.to_string(),
            shown: target.shown(),
            http,
            runtime,
            told,
        })
    }

    /// Sends a message once, and waits. If that does not work, the log says so.
    pub(super) fn post(&self, message: Vec<u8>) {
        let request = Request::post(&self.url)
            .header("content-type", "application/x-protobuf")
            .body(Bytes::from(message));
        // The URL was checked at the start; errors of sending are told where they happen.
        if let Ok(request) = request {
            let _ = self.runtime.block_on(self.send_bytes(request));
        }
    }

    fn tell(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let cause = match outcome {
            Ok(response) if response.status().is_success() => return,
            Ok(response) => format!("it answers {}", response.status()),
            Err(error) => innermost(&**error),
        };
        if self.told.is_due(Instant::now()) {
            tracing::warn!(
                "{} cannot be sent to {}: {cause}. Nothing waits for the collector; what its queues have no room for is missing \
                 there. This is told once a minute at most",
                self.signal,
                self.shown
            );
        }
    }
}

/// An exporter that is to send to a target.
pub(super) fn aim<E: WithExportConfig + WithHttpConfig>(
    exporter: E,
    target: &Target,
    client: Client,
) -> E {
    exporter
        .with_http_client(client)
        .with_endpoint(target.url.as_str())
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(target.timeout)
}

/// The cause says more than what the client makes of it.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

async fn exchange(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    // The URL may hold a secret.
    let nameless = reqwest::Error::without_url;
    let request = reqwest::Request::try_from(request).map_err(nameless)?;
    let mut answer = http.execute(request).await.map_err(nameless)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(nameless)? {
        let room = ANSWER_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == ANSWER_MAX {
            break;
        }
    }
    Ok(response.body(Bytes::from(body))?)
}

/// What `#[async_trait]` would make of `async fn send_bytes`.
impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        // Whoever waits has no runtime of its own.
        let sent = self.runtime.spawn(exchange(self.http.clone(), request));
        Box::pin(async move {
            let outcome = sent.await.unwrap_or_else(|error| Err(error.into()));
            self.tell(&outcome);
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_that_does_not_work_is_told_once_a_minute() {
        let told = Told::default();
        let begin = Instant::now();
        let due = |seconds| told.is_due(begin + Duration::from_secs(seconds));
        let times = [0, 1, 59, 60, 61, 119, 500];
        assert_eq!(
            times.map(due),
            [true, false, false, true, false, false, true]
        );
    }
}
