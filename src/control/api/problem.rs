//! Everything that goes wrong, as problem documents (RFC 9457).

mod kind;

use axum::{
    Json,
    body::Body,
    http::{
        HeaderValue, StatusCode, Uri,
        header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tidewright_jobs::Diagnostic;
use utoipa::ToSchema;

pub use self::kind::Kind;
use crate::control::registry::RegistryError;
use crate::control::submission::Refused;

/// The media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What kind of problem it is: `urn:tidewright:problem:NAME`.
    #[serde(rename = "type")]
    #[schema(format = "uri")]
    pub kind: String,
    /// The same for every problem of this kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong this time, and how to mend it.
    pub detail: String,
    /// Of a wrong job file: each mistake with its place, as `tidewright validate` tells them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Mistake>,
}

/// One mistake in a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mistake {
    /// The job file's name, as submitted.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
}

impl From<&Diagnostic> for Mistake {
    fn from(diagnostic: &Diagnostic) -> Self {
        Self {
            file: diagnostic.file.clone(),
            line: diagnostic.line,
            column: diagnostic.column,
            message: diagnostic.message.clone(),
            help: diagnostic.help.clone(),
        }
    }
}

impl Problem {
    /// A problem of this kind.
    #[must_use]
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (status, name, title) = kind.parts();
        Self {
            kind: format!("urn:tidewright:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            diagnostics: Vec::new(),
        }
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let kind = match &error {
            RegistryError::NoSuchJob(_)
            | RegistryError::NoSuchOperation(_)
            | RegistryError::NoSuchToken(_) => Kind::NotFound,
            RegistryError::StillActive { .. }
            | RegistryError::NotOver { .. }
            | RegistryError::AlreadyOver { .. }
            | RegistryError::ChangeUnderWay { .. }
            | RegistryError::Ending(_)
            | RegistryError::Token(_) => Kind::Conflict,
            RegistryError::KeyReused => Kind::IdempotencyKeyReused,
            RegistryError::InUse(_)
            | RegistryError::Format(_)
            | RegistryError::Database(_)
            | RegistryError::Malformed(_) => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let kind = match &refused {
            Refused::JobFile(_) => Kind::InvalidJobFile,
            Refused::Files(_) => Kind::FilesNotAllowed,
            Refused::Fit(_) => Kind::StateDoesNotFit,
            Refused::Request(_) => Kind::Unprocessable,
        };
        let mut problem = Self::new(kind, refused.to_string());
        if let Refused::JobFile(diagnostics) = &refused {
            problem.diagnostics = diagnostics.0.iter().map(Mistake::from).collect();
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(detail = self.detail, "a request failed");
        }
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// There is no such route.
pub async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!(
        "there is nothing at {}; what there is stands in /v1/openapi.json",
        uri.path()
    );
    Problem::new(Kind::NotFound, detail)
}

/// There is such a route, but not for this method.
pub async fn no_such_method() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "the header `Allow` tells what can be done here",
    )
}

/// What the layers below refuse by themselves (requests that take too long) in the same form.
pub async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let is_problem = |value: &HeaderValue| value.as_bytes() == MEDIA_TYPE.as_bytes();
    let said = response.headers().get(CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error()) || said.is_some_and(is_problem) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let detail = axum::body::to_bytes(body, 4096).await.unwrap_or_default();
    let mut detail = String::from_utf8_lossy(&detail).into_owned();
    let kind = Kind::of_status(status);
    if detail.is_empty() {
        detail = kind.parts().2.to_owned();
    }
    let (problem, body) = Problem::new(kind, detail).into_response().into_parts();
    // `Allow` and the like stay.
    head.headers.remove(CONTENT_LENGTH);
    head.headers.extend(problem.headers);
    head.status = problem.status;
    Response::from_parts(head, Body::new(body))
}
