//! `/v1/jobs/{name}/logs`

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Deserialize;
use utoipa::IntoParams;

use super::Api;
use super::json::Asked;
use super::problem::{Kind, Problem};
use super::views::LogPage;
use crate::control::logs::joined;

/// Which part of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Where to go on: `next` of an earlier answer.
    #[param(pattern = "^[0-9]{1,18}-[0-9]{1,18}([.][0-9]{1,18}-[0-9]{1,18}){0,255}$")]
    cursor: Option<String>,
    /// Without a cursor: how many of the last lines of each process to begin with.
    #[param(default = 100, minimum = 0, maximum = 10000)]
    tail: Option<u16>,
}

const TAIL_DEFAULT: u16 = 100;
const TAIL_MAX: u16 = 10_000;

/// A job's log, of all its starts; with more than one process each line begins with `[I]`, whose it is. Ask again with `next` until there is no more text, and later again to follow it.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/logs", tag = "jobs", operation_id = "readLog",
    params(("name" = String, Path, description = "The job's name"), LogQuery),
    responses(
        (status = 200, description = "Some lines", body = LogPage),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn read(
    State(api): State<Api>,
    Path(name): Path<String>,
    Asked(query): Asked<LogQuery>,
) -> Result<Json<LogPage>, Problem> {
    let cursor = query.cursor.as_deref().map(str::parse).transpose();
    let cursor = cursor.map_err(|error: String| Problem::new(Kind::BadRequest, error))?;
    let tail = query.tail.unwrap_or(TAIL_DEFAULT);
    if tail > TAIL_MAX {
        let detail = format!("`tail` is {tail}, it must be at most {TAIL_MAX}");
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    api.blocking(move |parts| {
        let (job, _) = parts.registry.job(&name)?;
        let folder = parts.folders.logs(&job.name);
        let from = match cursor {
            Some(cursor) => Ok(cursor),
            None => joined::tails(&folder, usize::from(tail)),
        };
        let page = from.and_then(|from| joined::read(&folder, &from));
        let (text, next) = page.map_err(|error| {
            Problem::new(Kind::Internal, format!("the log cannot be read: {error}"))
        })?;
        Ok(Json(LogPage {
            text,
            next: next.to_string(),
        }))
    })
    .await
}
