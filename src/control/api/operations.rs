//! What takes a while: asked for at a job, followed at `/v1/operations/{id}`.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::json::MaybeJson;
use super::problem::{Kind, Problem};
use crate::control::files::AllowedFiles;
use crate::control::protocol::StopSavepoint;
use crate::control::registry::records::{Operation, OperationKind, SavepointChoice, Wants};
use crate::control::supervisor::now_ms;

/// How a job is stopped.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Whether a savepoint is made of the job's last state.
    #[serde(default)]
    #[schema(value_type = SavepointChoice)]
    savepoint: StopSavepoint,
    /// Ends the input first: all windows close and are delivered. Not for jobs that are to go on later.
    #[serde(default)]
    drain: bool,
}

/// Where a savepoint goes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SavepointRequest {
    /// The URL of a folder of its own, `file:///..` or `s3://..`; below the job's checkpoint store if absent.
    #[serde(default)]
    to: Option<String>,
}

/// Stops a job with a final checkpoint; the next submission goes on from there.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/stop", tag = "jobs", operation_id = "stopJob",
    params(("name" = String, Path, description = "The job's name")),
    request_body = Option<StopRequest>,
    responses(
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn stop(
    State(api): State<Api>,
    Path(name): Path<String>,
    MaybeJson(request): MaybeJson<StopRequest>,
) -> Result<Response, Problem> {
    let wants = Wants {
        savepoint: request.savepoint,
        drain: request.drain,
    };
    ask(&api, name, OperationKind::Stop, wants).await
}

/// Takes a savepoint of a job that goes on.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/savepoint", tag = "jobs", operation_id = "takeSavepoint",
    params(("name" = String, Path, description = "The job's name")),
    request_body = Option<SavepointRequest>,
    responses(
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn savepoint(
    State(api): State<Api>,
    Path(name): Path<String>,
    MaybeJson(request): MaybeJson<SavepointRequest>,
) -> Result<Response, Problem> {
    let savepoint = match request.to {
        None => StopSavepoint::Wanted(true),
        Some(to) => StopSavepoint::To(to),
    };
    let wants = Wants {
        savepoint,
        drain: false,
    };
    ask(&api, name, OperationKind::Savepoint, wants).await
}

/// Ends a job. Nothing is lost or doubled should it be submitted again: it goes on from its last checkpoint.
#[utoipa::path(
    post, path = "/v1/jobs/{name}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 202, description = "Under way", body = Operation,
            headers(("Location" = String, description = "The operation"))),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["operator"])),
)]
pub async fn cancel(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    ask(&api, name, OperationKind::Cancel, Wants::default()).await
}

async fn ask(
    api: &Api,
    name: String,
    kind: OperationKind,
    wants: Wants,
) -> Result<Response, Problem> {
    api.blocking(move |parts| {
        if let StopSavepoint::To(to) = &wants.savepoint {
            check_place(to, &parts.allowed)?;
        }
        let operation = parts.registry.ask(&name, kind, &wants, now_ms())?;
        parts.wake.now();
        let location = format!("/v1/operations/{}", operation.id);
        Ok((
            StatusCode::ACCEPTED,
            [(LOCATION, location)],
            Json(operation),
        )
            .into_response())
    })
    .await
}

/// A savepoint goes where jobs may write.
fn check_place(to: &str, allowed: &AllowedFiles) -> Result<(), Problem> {
    match to.split_once("://") {
        Some(("s3", _)) => Ok(()),
        Some(("file", path)) => match allowed.check_shared(path) {
            Ok(_) => Ok(()),
            Err(reason) => Err(Problem::new(Kind::FilesNotAllowed, reason)),
        },
        _ => Err(Problem::new(
            Kind::Unprocessable,
            format!("{to} is no place for a savepoint: file:///path or s3://bucket/prefix is"),
        )),
    }
}

/// How far an operation is.
#[utoipa::path(
    get, path = "/v1/operations/{id}", tag = "operations", operation_id = "showOperation",
    params(("id" = String, Path, description = "The operation's id")),
    responses(
        (status = 200, description = "The operation", body = Operation),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Operation>, Problem> {
    api.blocking(move |parts| Ok(Json(parts.registry.operation(&id)?)))
        .await
}
