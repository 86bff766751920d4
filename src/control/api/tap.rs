//! `/v1/jobs/{name}/tap/{relation}`

use std::{fmt::Display, io, path::Path as FilePath, time::Duration};

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
    let socket = api
        .blocking(move |parts| Ok(parts.folders.socket(parts.registry.job(&job)?.0.id)))
        .await?;
    let mut tapping = Tapping::begin(&socket, request).await.map_err(|error| {
        let detail = format!("no process of {name} answers, so no rows pass: {error}");
        Problem::new(Kind::Conflict, detail)
    })?;
    // What is wrong is told now: afterwards the answer has begun.
    let first = tapping.next().await?;
    let first = first.ok_or_else(|| silent("it has ended"))?;
    Ok(([(CONTENT_TYPE, MEDIA_TYPE)], tapping.pass_on(first)).into_response())
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
    fn pass_on(self, first: Tapped) -> Body {
        let (lines, body) = stream::open();
        tokio::spawn(self.pass(first, lines));
        body
    }

    async fn pass(mut self, first: Tapped, lines: Lines) {
        let mut last = first;
        while lines.send(text(&last)).await {
            if let Some(ended) = last.ended {
                let summary = TapSummary {
                    left_out: last.left_out,
                    ended,
                };
                // It is made of a number and a word: always JSON.
                let summary = serde_json::to_string(&summary).unwrap_or_default();
                if lines.send(format!("{summary}\n")).await {
                    lines.end().await;
                }
                return;
            }
            let next = tokio::select! {
                next = self.next() => next,
                () = lines.left() => return,
            };
            last = match next {
                // A job that ends waits for nobody who watches.
                Ok(next) => next.unwrap_or(Tapped {
                    lines: Vec::new(),
                    left_out: last.left_out,
                    ended: Some(TapEnd::Job),
                }),
                // The answer breaks off.
                Err(problem) => return tracing::warn!("a tap was given up: {}", problem.detail),
            };
        }
    }

    /// The next answer; nothing once the job has ended.
    async fn next(&mut self) -> Result<Option<Tapped>, Problem> {
        let mut line = String::new();
        let read = timeout(SILENCE_MAX, self.answers.read_line(&mut line)).await;
        read.map_err(silent)?.map_err(silent)?;
        if !line.ends_with('\n') {
            return Ok(None);
        }
        match serde_json::from_str(&line) {
            Ok(Answer::Tapped(tapped)) => Ok(Some(tapped)),
            Ok(Answer::NotFound(reason)) => Err(Problem::new(Kind::NotFound, reason)),
            Ok(Answer::Refused(reason)) => Err(Problem::new(Kind::Conflict, reason)),
            Ok(other) => Err(Problem::new(Kind::Internal, unexpected(&other))),
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }
}

fn silent(reason: impl Display) -> Problem {
    let detail = format!("the job does not answer: {reason}");
    Problem::new(Kind::Conflict, detail)
}

fn text(tapped: &Tapped) -> String {
    let lines = tapped.lines.iter();
    lines.flat_map(|line| [line.as_str(), "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    /// The whole body for these answers of a job that is gone afterwards, if it comes whole.
    async fn shown(answers: &str) -> Result<String, axum::Error> {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(answers.as_bytes()).await.unwrap();
        drop(far);
        let mut tapping = Tapping {
            answers: BufReader::new(near),
        };
        let first = tapping.next().await.unwrap().unwrap();
        let body = to_bytes(tapping.pass_on(first), 1_000).await?;
        Ok(String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_tap_ends_with_its_job_and_breaks_off_if_that_is_not_understood() {
        let answer = Answer::Tapped(Tapped {
            lines: vec!["{}".to_owned()],
            left_out: 3,
            ended: None,
        });
        let answer = serde_json::to_string(&answer).unwrap();
        let whole = "{}\n{\"left_out\":3,\"ended\":\"job\"}\n";
        assert_eq!(shown(&format!("{answer}\n")).await.unwrap(), whole);
        let half = &answer[..9];
        assert_eq!(shown(&format!("{answer}\n{half}")).await.unwrap(), whole);
        assert!(shown(&format!("{answer}\n{half}\n")).await.is_err());
    }
}
