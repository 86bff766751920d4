//! `/v1/jobs/{name}/lag`

use axum::{
    Json,
    extract::{Path, State},
};

use super::Api;
use super::problem::{Kind, Problem};
use crate::control::client;
use crate::control::protocol::{Answer, Request};
use crate::metrics::lag::Lag;

/// How far a running job is behind: records and seconds by partition, their trend, and what holds watermarks back.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/lag", tag = "jobs", operation_id = "showLag",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "How far it is behind", body = Lag),
        (status = "default", description = "A problem; 409 if the job does not run", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn show(State(api): State<Api>, Path(name): Path<String>) -> Result<Json<Lag>, Problem> {
    api.blocking(move |parts| {
        let (job, _) = parts.registry.job(&name)?;
        let silent = |why: &dyn std::fmt::Display| {
            let state = job.lifecycle.state.name();
            let detail = format!("the job {name} is {state} and does not tell its lag: {why}");
            Problem::new(Kind::Conflict, detail)
        };
        if job.processes.is_empty() {
            return Err(silent(&"it has no process"));
        }
        match client::ask_once(&parts.folders.socket(job.id), &Request::Lag {}) {
            Ok(Answer::Lag(lag)) => Ok(Json(*lag)),
            Ok(Answer::Refused(why)) => Err(silent(&why)),
            Ok(other) => Err(silent(&client::unexpected(&other))),
            Err(error) => Err(silent(&error)),
        }
    })
    .await
}
