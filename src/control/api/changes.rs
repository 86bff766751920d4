//! Changes of jobs that run: each makes a new version of the job, and is followed at `/v1/operations/{id}`.

use axum::{
    Extension, Json,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};

use super::auth::Caller;
use super::json::{JsonBody, MaybeJson};
use super::problem::Problem;
use super::views::{UpgradeView, VersionList};
use super::{Api, Parts};
use crate::control::registry::NewVersion;
use crate::control::registry::records::{Operation, OperationKind};
use crate::control::submission::next::{RescaleRequest, UpgradeRequest, rescaled, upgraded};
use crate::control::submission::replay::{ReplayRequest, replayed};
use crate::control::supervisor::now_ms;

/// Gives a running job other workers or processes, with a pause as short as can be.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/rescale", tag = "jobs", operation_id = "rescaleJob",
    params(("name" = String, Path, description = "The job's name")),
    request_body = Option<RescaleRequest>,
    responses(
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn rescale(
    State(api): State<Api>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    MaybeJson(request): MaybeJson<RescaleRequest>,
) -> Result<Response, Problem> {
    api.blocking(move |parts| {
        let (job, version) = parts.registry.job(&name)?;
        let new = rescaled(&job, &version, &request)?;
        let operation = change(parts, OperationKind::Rescale, new, &caller.name)?;
        Ok(accepted(&operation, Json(operation.clone())))
    })
    .await
}

/// Gives a running job another job file. One that is wrong, or does not fit the job's state, changes nothing; should it not start,
/// the job goes on with the file that it had.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/upgrade", tag = "jobs", operation_id = "upgradeJob",
    params(("name" = String, Path, description = "The job's name")),
    request_body = UpgradeRequest,
    responses(
        (status = 202, description = "Under way", body = UpgradeView,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem; nothing has changed", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn upgrade(
    State(api): State<Api>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    JsonBody(request, _): JsonBody<UpgradeRequest>,
) -> Result<Response, Problem> {
    api.blocking(move |parts| {
        let (job, version) = parts.registry.job(&name)?;
        let checked = upgraded(&job, &version, request, &parts.folders, &parts.allowed)?;
        let operation = change(parts, OperationKind::Upgrade, checked.version, &caller.name)?;
        let view = UpgradeView {
            operation: operation.clone(),
            warnings: checked.warnings,
        };
        Ok(accepted(&operation, Json(view)))
    })
    .await
}

/// Reads a job's input again: the job itself, whose keyed sinks get nothing until it is where it was, or a shadow of it beside it,
/// which may begin with the job's state.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/replay", tag = "jobs", operation_id = "replayJob",
    params(("name" = String, Path, description = "The job's name")),
    request_body = ReplayRequest,
    responses(
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem; nothing has changed", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn replay(
    State(api): State<Api>,
    Extension(Caller(caller)): Extension<Caller>,
    Path(name): Path<String>,
    JsonBody(request, _): JsonBody<ReplayRequest>,
) -> Result<Response, Problem> {
    api.blocking(move |parts| {
        let (job, version) = parts.registry.job(&name)?;
        let is_shadow = request.shadow.is_some();
        let new = replayed(&job, &version, request, &parts.folders, &parts.allowed)?;
        let operation = if is_shadow {
            let made = parts
                .registry
                .make(OperationKind::Replay, new, &caller.name, now_ms())?;
            parts.wake.now();
            made
        } else {
            change(parts, OperationKind::Replay, new, &caller.name)?
        };
        Ok(accepted(&operation, Json(operation.clone())))
    })
    .await
}

fn change(
    parts: &Parts,
    kind: OperationKind,
    new: NewVersion,
    caller: &str,
) -> Result<Operation, Problem> {
    let operation = parts.registry.change(kind, new, caller, now_ms())?;
    parts.wake.now();
    Ok(operation)
}

fn accepted(operation: &Operation, body: impl IntoResponse) -> Response {
    let location = format!("/v1/operations/{}", operation.id);
    (StatusCode::ACCEPTED, [(LOCATION, location)], body).into_response()
}

/// The versions of a job.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/versions", tag = "jobs", operation_id = "listVersions",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "The first one first", body = VersionList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn versions(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<VersionList>, Problem> {
    api.blocking(move |parts| {
        let (job, versions) = parts.registry.versions(&name)?;
        Ok(Json(VersionList::of(&job, versions)))
    })
    .await
}
