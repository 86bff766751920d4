//! What DynamoDB's errors mean for a row.

use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// What a failed request means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This item will never be accepted.
    Refused(String),
    /// It may work later; whether the write happened is unknown.
    Transient(String),
    /// Nothing will work until somebody changes something.
    Fatal(String),
}

/// Sorts an error.
pub(super) fn of<E, R>(error: &SdkError<E, R>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error {
        SdkError::ServiceError(service) => {
            let error = service.err();
            of_service(
                error.code().unwrap_or("unknown error"),
                error.message().unwrap_or_default(),
            )
        }
        SdkError::ConstructionFailure(_) => Failure::Fatal(describe(error)),
        _ => Failure::Transient(describe(error)),
    }
}

fn describe<E, R>(error: &SdkError<E, R>) -> String
where
    E: std::error::Error + 'static,
    R: std::fmt::Debug,
{
    DisplayErrorContext(error).to_string()
}

fn of_service(code: &str, message: &str) -> Failure {
    let text = format!("{code}: {message}");
    match code {
        "ValidationException" | "ItemCollectionSizeLimitExceededException" => {
            Failure::Refused(text)
        }
        "ResourceNotFoundException"
        | "AccessDeniedException"
        | "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "MissingAuthenticationTokenException"
        | "InvalidEndpointException" => Failure::Fatal(text),
        // Throttling, internal errors, conflicts, expired tokens (new ones are fetched), and whatever is unknown: waiting
        // can be seen and ended by people, giving up or dropping rows cannot be undone.
        _ => Failure::Transient(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{Failure, of_service};

    #[test]
    fn only_what_never_works_is_refused_or_fatal() {
        let kind = |code: &str| match of_service(code, "") {
            Failure::Refused(_) => "refused",
            Failure::Transient(_) => "transient",
            Failure::Fatal(_) => "fatal",
        };
        for (code, expected) in [
            ("ValidationException", "refused"),
            ("ProvisionedThroughputExceededException", "transient"),
            ("ThrottlingException", "transient"),
            ("InternalServerError", "transient"),
            ("ExpiredTokenException", "transient"),
            ("ResourceNotFoundException", "fatal"),
            ("AccessDeniedException", "fatal"),
        ] {
            assert_eq!(kind(code), expected, "{code}");
        }
    }
}
