//! `/v1/tokens`

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};

use super::Api;
use super::json::JsonBody;
use super::problem::{Kind, Problem};
use super::views::{CreatedToken, NewToken, TokenList};
use crate::control::registry::tokens::new_secret;
use crate::control::supervisor::now_ms;

/// All tokens, without what they are.
#[utoipa::path(
    get, path = "/v1/tokens", tag = "tokens", operation_id = "listTokens",
    responses(
        (status = 200, description = "All tokens by name", body = TokenList),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn list(State(api): State<Api>) -> Result<Json<TokenList>, Problem> {
    api.blocking(|parts| {
        let tokens = parts.registry.tokens()?;
        Ok(Json(TokenList { tokens }))
    })
    .await
}

/// Makes a token.
#[utoipa::path(
    post, path = "/v1/tokens", tag = "tokens", operation_id = "createToken",
    request_body = NewToken,
    responses(
        (status = 201, description = "The token, which is shown this once", body = CreatedToken),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn create(
    State(api): State<Api>,
    JsonBody(new, _): JsonBody<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Problem> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if new.name.is_empty() || new.name.len() > 100 || !new.name.chars().all(plain) {
        let detail = "`name` must be 1 to 100 letters, digits, `-`, `_`, `.` and `@`";
        return Err(Problem::new(Kind::Unprocessable, detail));
    }
    api.blocking(move |parts| {
        let secret = new_secret();
        let token = parts
            .registry
            .add_token(&new.name, new.role, &secret, now_ms())?;
        let created = CreatedToken {
            name: token.name,
            role: token.role,
            token: secret,
        };
        Ok((StatusCode::CREATED, Json(created)))
    })
    .await
}

/// Makes a token worthless.
#[utoipa::path(
    delete, path = "/v1/tokens/{name}", tag = "tokens", operation_id = "revokeToken",
    params(("name" = String, Path, description = "The token's name")),
    responses(
        (status = 204, description = "Revoked"),
        (status = "default", description = "A problem", body = Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["admin"])),
)]
pub async fn revoke(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    api.blocking(move |parts| {
        parts.registry.revoke_token(&name)?;
        Ok(StatusCode::NO_CONTENT)
    })
    .await
}
