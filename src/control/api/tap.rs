//! `/v1/jobs/{name}/tap/{relation}`

use std::{
    io,
    path::{Path as FilePath, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    body::Body,
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
use super::stream::{self, Lines};
use crate::control::client::unexpected;
use crate::control::protocol::{Answer, Request, TapEnd, TapRequest, Tapped};
use crate::runtime::tap::{RATE_DEFAULT, RATE_MAX};

/// The media type of lines of JSON.
pub const MEDIA_TYPE: &str = "application/x-ndjson";
/// Rows of an answer at most.
pub const LIMIT_MAX: u64 = 1_000_000;
const LIMIT_DEFAULT: u64 = 100;
/// How long an answer takes at most, in seconds. The limit of a request is that of its head: this one begins behind it.
pub const SECONDS_MAX: u64 = 300;
const SECONDS_DEFAULT: u64 = 10;
/// How long a job may say nothing: it says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Which rows.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct TapQuery {
    /// How many rows at most.
    #[param(default = 100, minimum = 1, maximum = 1000000)]
    limit: Option<u64>,
    /// For how long at most, in seconds.
    #[param(default = 10, minimum = 1, maximum = 300)]
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

/// Rows of a view or source, sent as they pass, a line each, and a last line of what was left out: `{"row":{..}}` for a stream;
/// `{"change":"insert","row":{..}}`, `"update"` with the row `before`, or `"delete"` for a table. It ends with the first of its limits or
/// with the job; an answer without that last line has broken off.
#[utoipa::path(
    get, path = "/v1/jobs/{name}/tap/{relation}", tag = "jobs", operation_id = "tapJob",
    params(
        ("name" = String, Path, description = "The job's name"),
        ("relation" = String, Path, description = "The view or source"),
        TapQuery,
    ),
    responses(
        (status = 200, description = "Lines of JSON as they come; the last one is a `TapSummary`", body = String,
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
    let (socket, place) = api
        .blocking(move |parts| {
            let socket = parts.folders.socket(parts.registry.job(&job)?.0.id);
            Ok((socket, parts.folders.stream(next_stream())))
        })
        .await?;
    let mut tapping = Tapping::begin(&socket, request).await.map_err(|error| {
        let detail = format!("no process of {name} answers, so no rows pass: {error}");
        Problem::new(Kind::Conflict, detail)
    })?;
    // What is wrong is told now: afterwards the answer has begun.
    let first = tapping.next().await?;
    let body = tapping.pass_on(first, place).await.map_err(|error| {
        let detail = format!("rows cannot be passed on: {error}");
        Problem::new(Kind::Internal, detail)
    })?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

/// A number that no other answer of this server has.
fn next_stream() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An open tap of a job. It closes with its connection: when this is dropped, because the client has gone.
struct Tapping {
    answers: BufReader<UnixStream>,
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
        })
    }

    /// A body of these rows and all that follow, for as long as somebody reads it.
    async fn pass_on(self, first: Tapped, place: PathBuf) -> io::Result<Body> {
        let (lines, body) = stream::open(&place).await?;
        tokio::spawn(self.pass(first, lines));
        Ok(body)
    }

    async fn pass(mut self, first: Tapped, mut lines: Lines) {
        let mut last = first;
        while lines.send(&text(&last)).await {
            if let Some(ended) = last.ended {
                let summary = TapSummary {
                    left_out: last.left_out,
                    ended,
                };
                // It is made of a number and a word: always JSON.
                let summary = serde_json::to_string(&summary).unwrap_or_default();
                if lines.send(&format!("{summary}\n")).await {
                    lines.end().await;
                }
                return;
            }
            last = tokio::select! {
                next = self.next() => next.unwrap_or(Tapped {
                    // Whatever is wrong now, rows have been shown.
                    lines: Vec::new(),
                    left_out: last.left_out,
                    ended: Some(TapEnd::Job),
                }),
                () = lines.left() => return,
            };
        }
    }

    /// The next answer.
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
            Ok(Answer::Tapped(tapped)) => Ok(tapped),
            Ok(Answer::NotFound(reason)) => Err(Problem::new(Kind::NotFound, reason)),
            Ok(Answer::Refused(reason)) => Err(Problem::new(Kind::Conflict, reason)),
            Ok(other) => Err(Problem::new(Kind::Internal, unexpected(&other))),
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }
}

fn text(tapped: &Tapped) -> String {
    let lines = tapped.lines.iter();
    lines.flat_map(|line| [line.as_str(), "\n"]).collect()
}
