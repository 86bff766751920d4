//! The kinds of problems.

use axum::http::StatusCode;

/// What kind of problem it is: each has its own `type`, status and title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is not understood.
    BadRequest,
    /// No token, or none that is known.
    Unauthorized,
    /// The token's role does not suffice.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// There is such a route, for other methods.
    MethodNotAllowed,
    /// It took too long.
    Timeout,
    /// Something is in another state than the request needs.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// The body is no JSON.
    UnsupportedMediaType,
    /// The request is well-formed but makes no sense.
    Unprocessable,
    /// The job file is wrong.
    InvalidJobFile,
    /// The job names files that it may not use.
    FilesNotAllowed,
    /// The job file does not fit the job's state.
    StateDoesNotFit,
    /// An idempotency key was used for another request.
    IdempotencyKeyReused,
    /// The server failed.
    Internal,
}

impl Kind {
    /// Of several kinds with one status the general one comes first.
    const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Unprocessable,
        Self::InvalidJobFile,
        Self::FilesNotAllowed,
        Self::StateDoesNotFit,
        Self::IdempotencyKeyReused,
        Self::Internal,
    ];

    /// Status, the last part of `type`, and title.
    pub(super) fn parts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as Status;
        match self {
            Self::BadRequest => (
                Status::BAD_REQUEST,
                "bad-request",
                "The request is not understood",
            ),
            Self::Unauthorized => (
                Status::UNAUTHORIZED,
                "unauthorized",
                "A token is needed that is known here",
            ),
            Self::Forbidden => (
                Status::FORBIDDEN,
                "forbidden",
                "The token's role does not suffice",
            ),
            Self::NotFound => (Status::NOT_FOUND, "not-found", "There is no such thing"),
            Self::MethodNotAllowed => (
                Status::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "This cannot be done here",
            ),
            Self::Timeout => (Status::REQUEST_TIMEOUT, "timeout", "It took too long"),
            Self::Conflict => (Status::CONFLICT, "conflict", "Not in this state"),
            Self::TooLarge => (
                Status::PAYLOAD_TOO_LARGE,
                "too-large",
                "The request is too large",
            ),
            Self::UnsupportedMediaType => (
                Status::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "The body must be JSON",
            ),
            Self::Unprocessable => (
                Status::UNPROCESSABLE_ENTITY,
                "unprocessable",
                "The request makes no sense",
            ),
            Self::InvalidJobFile => (
                Status::UNPROCESSABLE_ENTITY,
                "invalid-job-file",
                "The job file is wrong",
            ),
            Self::FilesNotAllowed => (
                Status::UNPROCESSABLE_ENTITY,
                "files-not-allowed",
                "The job names files that it may not use",
            ),
            Self::StateDoesNotFit => (
                Status::UNPROCESSABLE_ENTITY,
                "state-does-not-fit",
                "The job file does not fit the job's state",
            ),
            Self::IdempotencyKeyReused => (
                Status::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "The idempotency key was used for another request",
            ),
            Self::Internal => (
                Status::INTERNAL_SERVER_ERROR,
                "internal",
                "The server failed",
            ),
        }
    }

    /// The kind for what was refused without one.
    pub(super) fn of_status(status: StatusCode) -> Self {
        match Self::ALL.into_iter().find(|kind| kind.parts().0 == status) {
            Some(kind) => kind,
            None if status.is_client_error() => Self::BadRequest,
            None => Self::Internal,
        }
    }
}
