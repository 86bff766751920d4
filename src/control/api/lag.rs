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
    let lag = ask(&api, name, Request::Lag {}, |answer| match answer {
        Answer::Lag(lag) => Ok(*lag),
        other => Err(other),
    });
    lag.await.map(Json)
}

/// Asks the process of a job; `take` gives back what is not the wanted answer.
pub(super) async fn ask<T: Send + 'static>(
    api: &Api,
    name: String,
    request: Request,
    take: impl FnOnce(Answer) -> Result<T, Answer> + Send + 'static,
) -> Result<T, Problem> {
    api.blocking(move |parts| {
        let (job, _) = parts.registry.job(&name)?;
        let silent = |why: &dyn std::fmt::Display| {
            let state = job.lifecycle.state.name();
            let detail = format!("the job {name} is {state} and does not tell this: {why}");
            Problem::new(Kind::Conflict, detail)
        };
        if job.processes.is_empty() {
            return Err(silent(&"it has no process"));
        }
        let answer = client::ask_once(&parts.folders.socket(job.id), &request);
        match answer.map(take) {
            Ok(Ok(taken)) => Ok(taken),
            Ok(Err(Answer::Refused(why))) => Err(silent(&why)),
            Ok(Err(other)) => Err(silent(&client::unexpected(&other))),
            Err(error) => Err(silent(&error)),
        }
    })
    .await
}
