//! The REST API. Every route is listed in [`document`]: the OpenAPI document is made from the handlers, and says which
//! role each of them needs. What is not in it cannot be reached.

mod auth;
mod changes;
pub mod document;
pub mod jobs;
mod json;
mod lag;
mod logs;
pub mod measurements;
mod metrics;
mod operations;
mod problem;
mod stream;
pub mod tap;
mod tokens;
pub mod views;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::Response,
    routing::{MethodFilter, on},
};
use tower_http::timeout::TimeoutLayer;

pub use self::problem::{Kind, Problem};
use super::files::AllowedFiles;
use super::folders::Folders;
use super::healths::Healths;
use super::registry::Registry;
use super::registry::records::Role;
use super::supervisor::Wake;

/// A longer request body is refused, in bytes.
pub const BODY_BYTES_MAX: usize = 1 << 20;
/// A request that takes longer is given up.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// What handlers need.
#[derive(Clone, Debug)]
pub struct Api(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    registry: Arc<Registry>,
    folders: Folders,
    allowed: AllowedFiles,
    wake: Wake,
    healths: Arc<Healths>,
}

impl Api {
    /// What handlers need.
    #[must_use]
    pub fn new(
        registry: Arc<Registry>,
        folders: Folders,
        allowed: AllowedFiles,
        wake: Wake,
        healths: Arc<Healths>,
    ) -> Self {
        Self(Arc::new(Parts {
            registry,
            folders,
            allowed,
            wake,
            healths,
        }))
    }

    /// Runs something that reads or writes files on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Parts) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let parts = self.0.clone();
        match tokio::task::spawn_blocking(move || work(&parts)).await {
            Ok(done) => done,
            Err(error) => Err(Problem::new(Kind::Internal, error.to_string())),
        }
    }
}

/// All routes.
pub fn router(api: Api) -> Router {
    Routes::new(api.clone())
        .add(Method::GET, "/v1/openapi.json", document::openapi)
        .add(Method::GET, "/v1/jobs", jobs::list)
        .add(Method::POST, "/v1/jobs", jobs::submit)
        .add(Method::GET, "/v1/jobs/{name}", jobs::show)
        .add(Method::DELETE, "/v1/jobs/{name}", jobs::remove)
        .add(Method::GET, "/v1/jobs/{name}/logs", logs::read)
        .add(Method::GET, "/v1/jobs/{name}/tap/{relation}", tap::tap)
        .add(
            Method::GET,
            "/v1/jobs/{name}/checkpoints",
            jobs::list_checkpoints,
        )
        .add(Method::GET, "/v1/jobs/{name}/lag", lag::show)
        .add(Method::GET, "/v1/jobs/{name}/metrics", metrics::of_job)
        .add(
            Method::GET,
            "/v1/jobs/{name}/measurements",
            measurements::show,
        )
        .add(Method::GET, "/metrics", metrics::all)
        .add(Method::POST, "/v1/jobs/{name}/stop", operations::stop)
        .add(
            Method::POST,
            "/v1/jobs/{name}/savepoint",
            operations::savepoint,
        )
        .add(Method::POST, "/v1/jobs/{name}/cancel", operations::cancel)
        .add(Method::POST, "/v1/jobs/{name}/rescale", changes::rescale)
        .add(Method::POST, "/v1/jobs/{name}/upgrade", changes::upgrade)
        .add(Method::POST, "/v1/jobs/{name}/replay", changes::replay)
        .add(Method::GET, "/v1/jobs/{name}/versions", changes::versions)
        .add(Method::GET, "/v1/operations/{id}", operations::show)
        .add(Method::GET, "/v1/tokens", tokens::list)
        .add(Method::POST, "/v1/tokens", tokens::create)
        .add(Method::DELETE, "/v1/tokens/{name}", tokens::revoke)
        .finish()
}

/// Routes in the making, each with the role that the document demands for it.
struct Routes {
    api: Api,
    document: utoipa::openapi::OpenApi,
    router: Router<Api>,
}

impl Routes {
    fn new(api: Api) -> Self {
        Self {
            api,
            document: document::document(),
            router: Router::new(),
        }
    }

    fn add<H, T>(mut self, method: Method, path: &str, handler: H) -> Self
    where
        H: axum::handler::Handler<T, Api>,
        T: 'static,
    {
        let needed = document::role_of(&self.document, &method, path);
        let api = self.api.clone();
        let authorize = middleware::from_fn(move |request: Request, next: Next| {
            let api = api.clone();
            async move { authorized(&api, needed, request, next).await }
        });
        let filter = MethodFilter::try_from(method).unwrap_or(MethodFilter::TRACE);
        self.router = self
            .router
            .route(path, on(filter, handler).route_layer(authorize));
        self
    }

    fn finish(self) -> Router {
        self.router
            .fallback(problem::no_such_route)
            .method_not_allowed_fallback(problem::no_such_method)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(TimeoutLayer::with_status_code(
                StatusCode::REQUEST_TIMEOUT,
                REQUEST_TIMEOUT,
            ))
            .layer(middleware::map_response(problem::as_problem))
            .with_state(self.api)
    }
}

/// Lets only callers with the needed role through. A route that the document does not know lets nobody through.
async fn authorized(api: &Api, needed: Option<Role>, request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    let Some(needed) = needed else {
        let message = "this route is not in the OpenAPI document, so nobody may use it";
        return Problem::new(Kind::Internal, message).into_response();
    };
    match auth::caller(&api.0.registry, request.headers(), needed) {
        Ok(caller) => {
            let mut request = request;
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}
