//! `/v1/jobs/{name}/measurements`

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::lag::ask;
use super::problem::Problem;
use crate::control::protocol::{Answer, Request};
use crate::metrics::measurements::Measurements;

/// What a job has measured.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeasurementsView {
    /// Each process's measurements: what `/v1/jobs/{name}/metrics` tells Prometheus, as objects for programs of the same release.
    #[schema(value_type = Vec<Object>)]
    pub processes: Vec<Measurements>,
}

/// What a running job has measured up to now, by process.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/measurements", tag = "metrics", operation_id = "showMeasurements",
    params(("name" = String, Path, description = "The job's name")),
    responses(
        (status = 200, description = "What its processes have measured", body = MeasurementsView),
        (status = "default", description = "A problem; 409 if the job does not run", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn show(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<MeasurementsView>, Problem> {
    let answer = ask(&api, name, Request::Metrics {}, |answer| match answer {
        Answer::Metrics(processes) => Ok(MeasurementsView { processes }),
        other => Err(other),
    });
    answer.await.map(Json)
}
