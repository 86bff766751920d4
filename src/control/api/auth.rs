//! Who asks, and what they may.

use axum::http::{HeaderMap, header::AUTHORIZATION};

use super::problem::{Kind, Problem};
use crate::control::registry::Registry;
use crate::control::registry::records::{Role, Token};

/// Whoever holds the request's token.
#[derive(Clone, Debug)]
pub struct Caller(pub Token);

/// The caller, if the token suffices.
pub fn caller(registry: &Registry, headers: &HeaderMap, needed: Role) -> Result<Caller, Problem> {
    let secret = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, secret)| secret.trim());
    let Some(secret) = secret else {
        let detail = "this needs the header `Authorization: Bearer TOKEN`";
        return Err(Problem::new(Kind::Unauthorized, detail));
    };
    match registry.token(secret)? {
        Some(token) if token.role >= needed => Ok(Caller(token)),
        Some(token) => Err(Problem::new(
            Kind::Forbidden,
            format!(
                "the token {} has the role {}, this needs {}",
                token.name,
                token.role.name(),
                needed.name()
            ),
        )),
        None => Err(Problem::new(
            Kind::Unauthorized,
            "this token is not known here, or was revoked",
        )),
    }
}
