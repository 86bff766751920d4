//! `/v1/jobs/{name}/tap/{relation}`

use std::{io, path::Path as FilePath, time::Duration};

use axum::{
    extract::{Path, State},
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::json::Asked;
use super::problem::{Kind, Problem};
use crate::control::client::unexpected;
use crate::control::protocol::{Answer, Request, TapEnd, TapRequest, Tapped};
use crate::runtime::tap::{RATE_DEFAULT, RATE_MAX};

/// The media type of lines of JSON.
pub const MEDIA_TYPE: &str = "application/x-ndjson";
/// Rows of an answer at most.
pub const LIMIT_MAX: u64 = 10_000;
const LIMIT_DEFAULT: u64 = 100;
/// How long an answer takes at most, in seconds: less than a request may take.
pub const SECONDS_MAX: u64 = 20;
const SECONDS_DEFAULT: u64 = 10;
/// An answer that has become so long ends.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// How long a job may say nothing: it says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TapQuery {
    /// How many rows at most.
    #[param(default = 100, minimum = 1, maximum = 10000)]
    limit: Option<u64>,
    /// For how long at most, in seconds.
    #[param(default = 10, minimum = 1, maximum = 20)]
    seconds: Option<u64>,
    /// One row of so many.
    #[param(default = 1, minimum = 1)]
    every: Option<u64>,
    /// At most so many rows a second.
    #[param(default = 100, minimum = 1, maximum = 1000)]
    rate: Option<u32>,
}

/// The last line of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TapSummary {
    /// Rows that have passed meanwhile and were not shown. Of a table, a changed row is two: its old image and its new one.
    pub left_out: u64,
    /// Why there are no more rows.
    pub ended: TapEnd,
}

impl TapQuery {
    fn request(self, relation: String) -> Result<TapRequest, Problem> {
        let within = |name: &str, value: Option<u64>, default: u64, max: u64| {
            let value = value.unwrap_or(default);
            if (1..=max).contains(&value) {
                return Ok(value);
            }
            let detail = format!("`{name}` is {value}, it must be 1 to {max}");
            Err(Problem::new(Kind::BadRequest, detail))
        };
        let rate = self.rate.map(u64::from);
        let rate = within("rate", rate, RATE_DEFAULT.into(), RATE_MAX.into())?;
        Ok(TapRequest {
            relation,
            limit: Some(within("limit", self.limit, LIMIT_DEFAULT, LIMIT_MAX)?),
            seconds: Some(within(
                "seconds",
                self.seconds,
                SECONDS_DEFAULT,
                SECONDS_MAX,
            )?),
            every: within("every", self.every, 1, u64::MAX)?,
            rate: u32::try_from(rate).unwrap_or(RATE_MAX),
        })
    }
}

/// Rows of a view or source as they pass, a line each, and a last line of what was left out: `{"row":{..}}` for a stream;
/// `{"change":"insert","row":{..}}`, `"update"` with the row `before`, or `"delete"` for a table.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/tap/{relation}", tag = "jobs", operation_id = "tapJob",
    params(
        ("name" = String, Path, description = "The job's name"),
        ("relation" = String, Path, description = "The view or source"),
        TapQuery,
    ),
    responses(
        (status = 200, description = "Lines of JSON; the last one is a `TapSummary`", body = String,
            content_type = "application/x-ndjson"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn tap(
    State(api): State<Api>,
    Path((name, relation)): Path<(String, String)>,
    Asked(query): Asked<TapQuery>,
) -> Result<Response, Problem> {
    let request = query.request(relation)?;
    let job = name.clone();
    let socket = api
        .blocking(move |parts| Ok(parts.folders.socket(parts.registry.job(&job)?.0.id)))
        .await?;
    let tapping = Tapping::begin(&socket, request).await;
    let lines = match tapping {
        Ok(tapping) => tapping.lines().await?,
        Err(error) => {
            let detail = format!("no process of {name} answers, so no rows pass: {error}");
            return Err(Problem::new(Kind::Conflict, detail));
        }
    };
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], lines).into_response())
}

/// An open tap of a job. It closes with its connection: when this is dropped, because the client has gone.
struct Tapping {
    answers: BufReader<UnixStream>,
    lines: String,
}

impl Tapping {
    async fn begin(socket: &FilePath, request: TapRequest) -> io::Result<Self> {
        let mut connection = UnixStream::connect(socket).await?;
        let request = serde_json::to_string(&Request::Tap(request))?;
        connection
            .write_all(format!("{request}\n").as_bytes())
            .await?;
        Ok(Self {
            answers: BufReader::new(connection),
            lines: String::new(),
        })
    }

    /// All lines, with the summary behind them.
    async fn lines(mut self) -> Result<String, Problem> {
        let mut last = self.next().await?;
        while last.ended.is_none() {
            last = match self.next().await {
                // Whatever is wrong now, rows have been shown.
                Err(_) => Tapped {
                    ended: Some(TapEnd::Job),
                    ..last
                },
                Ok(_) if self.lines.len() > ANSWER_BYTES_MAX => Tapped {
                    ended: Some(TapEnd::Size),
                    ..last
                },
                Ok(next) => next,
            };
        }
        let summary = TapSummary {
            left_out: last.left_out,
            ended: last.ended.unwrap_or(TapEnd::Job),
        };
        let internal = |error: serde_json::Error| Problem::new(Kind::Internal, error.to_string());
        self.lines += &serde_json::to_string(&summary).map_err(internal)?;
        self.lines.push('\n');
        Ok(self.lines)
    }

    /// Takes the lines of the next answer.
    async fn next(&mut self) -> Result<Tapped, Problem> {
        let silent = |reason: String| {
            let detail = format!("the job does not answer: {reason}");
            Problem::new(Kind::Conflict, detail)
        };
        let mut line = String::new();
        let read = timeout(SILENCE_MAX, self.answers.read_line(&mut line)).await;
        match read.map_err(|error| silent(error.to_string()))? {
            Ok(0) => return Err(silent("it has ended".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(silent(error.to_string())),
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Tapped(tapped)) => {
                for line in &tapped.lines {
                    self.lines.push_str(line);
                    self.lines.push('\n');
                }
                Ok(tapped)
            }
            Ok(Answer::NotFound(reason)) => Err(Problem::new(Kind::NotFound, reason)),
            Ok(Answer::Refused(reason)) => Err(Problem::new(Kind::Conflict, reason)),
            Ok(other) => Err(Problem::new(Kind::Internal, unexpected(&other))),
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }
}
