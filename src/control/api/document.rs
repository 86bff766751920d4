//! The OpenAPI document, made from the handlers. It is also what decides which role a route needs.

use axum::{Json, http::Method};
use utoipa::openapi::{
    OpenApi as Document,
    path::Operation,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa::{Modify, OpenApi};

use super::{changes, jobs, lag, logs, measurements, metrics, operations, tap, tokens};
use crate::control::registry::records::Role;

/// The document of the API.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidewright",
        description = "Submits, watches and stops stream processing jobs. Problems are RFC 9457 documents, times are \
                       milliseconds since 1970, sizes are bytes.",
        version = "1",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        openapi,
        jobs::list,
        jobs::submit,
        jobs::show,
        jobs::remove,
        jobs::list_checkpoints,
        lag::show,
        logs::read,
        tap::tap,
        metrics::all,
        metrics::of_job,
        measurements::show,
        operations::stop,
        operations::savepoint,
        operations::cancel,
        changes::rescale,
        changes::upgrade,
        changes::replay,
        changes::versions,
        operations::show,
        tokens::list,
        tokens::create,
        tokens::revoke,
    ),
    components(schemas(tap::TapSummary)),
    modifiers(&Tokens),
)]
struct ApiDocument;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "A token. Each route names the least role that it needs: viewer, operator or admin.",
            ))
            .build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

/// The document.
#[must_use]
pub fn document() -> Document {
    ApiDocument::openapi()
}

/// This document.
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "document", operation_id = "showDocument",
    responses(
        (status = 200, description = "The OpenAPI document", body = Object),
        (status = "default", description = "A problem", body = super::Problem, content_type = "application/problem+json"),
    ),
    security(("token" = ["viewer"])),
)]
pub async fn openapi() -> Json<Document> {
    Json(document())
}

/// The least role that may use a route; `None` if the document does not know the route or demands no role.
#[must_use]
pub fn role_of(document: &Document, method: &Method, path: &str) -> Option<Role> {
    let item = document.paths.paths.get(path)?;
    let operation = match *method {
        Method::GET => &item.get,
        Method::POST => &item.post,
        Method::PUT => &item.put,
        Method::PATCH => &item.patch,
        Method::DELETE => &item.delete,
        _ => &None,
    };
    role_in(operation.as_ref()?)
}

/// Requirements have no accessors, only their JSON.
fn role_in(operation: &Operation) -> Option<Role> {
    let security = serde_json::to_value(&operation.security).ok()?;
    security
        .get(0)?
        .get("token")?
        .get(0)?
        .as_str()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::document;

    /// `UPDATE_DOCS=1 cargo test --workspace --lib document` writes it anew.
    #[test]
    fn the_golden_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
        let now = format!("{:#}\n", serde_json::to_value(document()).unwrap());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let golden = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            now == golden,
            "docs/openapi.json is out of date: UPDATE_DOCS=1 cargo test --workspace --lib document"
        );
    }
}
