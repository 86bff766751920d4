//! `/metrics` and `/v1/jobs/{name}/metrics`

use axum::{
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};

use super::Api;
use super::problem::Problem;
use crate::control::scrape;
use crate::metrics::exposition::MEDIA_TYPE;

fn exposition(text: String) -> Response {
    ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response()
}

/// What all jobs and the server have measured, for Prometheus: docs/metrics.md.
#[utoipa::path(
    get, path = "/metrics", tag = "metrics", operation_id = "readMetrics",
    responses(
        (status = 200, description = "OpenMetrics text", body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn all(State(api): State<Api>) -> Result<Response, Problem> {
    api.blocking(|parts| {
        let jobs = parts.registry.jobs()?;
        Ok(exposition(scrape::text(&jobs, &parts.folders)))
    })
    .await
}

/// What one job has measured, for Prometheus: docs/metrics.md.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/metrics", tag = "metrics", operation_id = "readJobMetrics",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "OpenMetrics text", body = String,
            content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn of_job(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    api.blocking(move |parts| {
        let (job, _) = parts.registry.job(&name)?;
        Ok(exposition(scrape::text(&[job], &parts.folders)))
    })
    .await
}
