//! Request bodies and queries, with problems instead of the framework's own texts.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
        request::Parts,
    },
};
use serde::de::DeserializeOwned;

use super::problem::{Kind, Problem};

/// A body of JSON, and its bytes.
pub struct JsonBody<T>(pub T, pub Bytes);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "send the body as JSON, with the header `Content-Type: application/json`";
            return Err(Problem::new(Kind::UnsupportedMediaType, detail));
        }
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                let kind = match rejection.status() {
                    StatusCode::PAYLOAD_TOO_LARGE => Kind::TooLarge,
                    _ => Kind::BadRequest,
                };
                Problem::new(kind, rejection.body_text())
            })?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body, bytes)),
            Err(error) => {
                let kind = match error.classify() {
                    serde_json::error::Category::Data => Kind::Unprocessable,
                    _ => Kind::BadRequest,
                };
                Err(Problem::new(kind, format!("the body: {error}")))
            }
        }
    }
}

/// A body of JSON, or none, which stands for all defaults.
pub struct MaybeJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers();
        let has_body = headers.contains_key(CONTENT_TYPE)
            || headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0");
        if !has_body {
            return Ok(Self(T::default()));
        }
        let JsonBody(body, _) = JsonBody::from_request(request, state).await?;
        Ok(Self(body))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers
        .get(CONTENT_TYPE)
        .and_then(|said| said.to_str().ok());
    let said = said.map(|said| said.split(';').next().unwrap_or_default().trim());
    said.is_some_and(|said| said.eq_ignore_ascii_case("application/json"))
}

/// A query string.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Problem::new(
                Kind::BadRequest,
                format!("the query: {}", rejection.body_text()),
            )),
        }
    }
}
