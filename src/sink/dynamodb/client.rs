//! The connection: credentials, endpoint, time limits, retries.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_dynamodb::{Client, config::Credentials};
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use tidewright_jobs::job::DynamodbSinkConfig;

/// Attempts of one request, with exponential backoff and jitter between them, before the whole batch is tried again later.
const ATTEMPTS_MAX: u32 = 4;

/// A client; nothing is sent yet, except questions for region and credentials where the environment does not tell.
///
/// Both come from AWS's usual places (environment, profile, container, instance). A plain `http` endpoint is a local stand-in
/// that wants some and looks at none, so it gets fixed ones where the environment has none.
pub(super) async fn connect(config: &DynamodbSinkConfig) -> Client {
    let http_client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(15))
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS_MAX)
        .with_initial_backoff(Duration::from_millis(50));
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http_client)
        .timeout_config(timeouts)
        .retry_config(retries);
    if let Some(endpoint) = &config.endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    let is_local = config
        .endpoint
        .as_ref()
        .is_some_and(|url| url.starts_with("http://"));
    let in_environment = |name| std::env::var_os(name).is_some();
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    } else if is_local && !in_environment("AWS_REGION") && !in_environment("AWS_DEFAULT_REGION") {
        loader = loader.region(Region::from_static("us-east-1"));
    }
    if is_local && !in_environment("AWS_ACCESS_KEY_ID") {
        let credentials = Credentials::new("local", "local", None, None, "local");
        loader = loader.credentials_provider(credentials);
    }
    Client::new(&loader.load().await)
}
