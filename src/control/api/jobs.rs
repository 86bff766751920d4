//! `/v1/jobs`

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};

use super::Api;
use super::auth::Caller;
use super::json::JsonBody;
use super::problem::{Kind, Problem};
use super::views::{CheckpointList, JobList, JobView, SubmittedView};
use crate::control::checkpoints;
use crate::control::registry::Submitted;
use crate::control::registry::tokens::sha256;
use crate::control::submission::{self, Submission};
use crate::control::supervisor::now_ms;

/// The header that identifies a submission which may be sent again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
const KEY_BYTES_MAX: usize = 200;

/// All jobs.
#[utoipa::path(
    get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    responses(
        (status = 200, description = "All jobs by name", body = JobList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn list(State(api): State<Api>) -> Result<Json<JobList>, Problem> {
    api.blocking(|parts| {
        let jobs = parts.registry.jobs_with_versions()?;
        let jobs = jobs
            .iter()
            .map(|(job, version)| JobView::of(job, version, parts.healths.of(job)));
        Ok(Json(JobList {
            jobs: jobs.collect(),
        }))
    })
    .await
}

/// Submits a job: a new one, or a new version of one that has ended, which then goes on from its last checkpoint.
#[utoipa::path(
    post, path = "/v1/jobs", tag = "jobs", operation_id = "submitJob",
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 200, pattern = "^[!-~]+$",
        description = "Two submissions with the same key make one job; kept for seven days")),
    request_body = Submission,
    responses(
        (status = 201, description = "Registered, and about to start", body = SubmittedView,
            headers(("Location" = String, description = "The job"))),
        (status = "default", description = "A problem; nothing has changed", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn submit(
    State(api): State<Api>,
    Extension(Caller(caller)): Extension<Caller>,
    headers: HeaderMap,
    JsonBody(submission, bytes): JsonBody<Submission>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let idempotency = key.map(|key| (key, sha256(&bytes)));
    api.blocking(move |parts| {
        let checked = submission::check(submission, &parts.folders, &parts.allowed)?;
        let submitted =
            parts
                .registry
                .submit(checked.version, &caller.name, idempotency, now_ms())?;
        let (Submitted::Now(job) | Submitted::Before(job)) = submitted;
        parts.wake.now();
        let (job, version) = parts.registry.job(&job.name)?;
        let location = format!("/v1/jobs/{}", job.name);
        let view = SubmittedView {
            job: JobView::of(&job, &version, parts.healths.of(&job)),
            warnings: checked.warnings,
        };
        Ok((StatusCode::CREATED, [(LOCATION, location)], Json(view)).into_response())
    })
    .await
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_plain = |key: &&str| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(is_plain) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Problem::new(
            Kind::BadRequest,
            "the header `Idempotency-Key` must be 1 to 200 visible ASCII characters",
        )),
    }
}

/// A job.
#[utoipa::path(
    get, path = "/v1/jobs/{name}", tag = "jobs", operation_id = "showJob",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "The job", body = JobView),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<JobView>, Problem> {
    api.blocking(move |parts| {
        let (job, version) = parts.registry.job(&name)?;
        let health = parts.healths.of(&job);
        Ok(Json(JobView::of(&job, &version, health)))
    })
    .await
}

/// Removes a job that has ended from the list. Its checkpoints, savepoints and logs stay: a job that is submitted under its name
/// later goes on from its last checkpoint.
#[utoipa::path(
    delete, path = "/v1/jobs/{name}", tag = "jobs", operation_id = "removeJob",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 204, description = "Removed"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn remove(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    api.blocking(move |parts| {
        let job = parts.registry.remove(&name, now_ms())?;
        tracing::info!(job = job.name, "removed");
        // No other job ever has its number, so what can't be removed is in nobody's way.
        if let Err(error) = parts.folders.remove_starts(job.id) {
            tracing::warn!(job = job.name, %error, "files of its starts stay");
        }
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}

/// The checkpoints that a job could be restored from.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/checkpoints", tag = "jobs", operation_id = "listCheckpoints",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "The newest first", body = CheckpointList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn list_checkpoints(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<CheckpointList>, Problem> {
    api.blocking(move |parts| {
        let (_, version) = parts.registry.job(&name)?;
        let compiled = submission::compile_version(&version, &parts.allowed)?;
        checkpoints::list(&compiled, &parts.folders.job(&name))
            .map(Json)
            .map_err(|error| Problem::new(Kind::Internal, error))
    })
    .await
}
