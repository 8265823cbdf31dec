//! The routes that only read, and what all answers have in common.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;

use super::json::Json;
use super::{LIMITS, Server, history, hooks, host, page, resync};
use crate::metrics;
use crate::model::escape::one_line;
use crate::model::status::{Snapshot, Status};

/// Answers of fewer bytes aren't compressed.
const WORTHWHILE: u16 = 1024;

/// What the handlers share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) server: Server,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn status(&self) -> Arc<Snapshot> {
        Arc::clone(&self.server.status.borrow())
    }
}

/// The body of each answer of the API that isn't a success.
#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    pub(super) error: String,
}

/// An answer of the API that isn't a success: what is wrong and what to do.
pub(super) fn refuse(status: StatusCode, error: impl Into<String>) -> Response {
    (status, Json(Refusal { error: error.into() })).into_response()
}

/// What is wrong with the query of a request, without the library's introduction.
pub(super) fn unreadable(rejection: &QueryRejection) -> String {
    let text = rejection.body_text();
    let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
    format!("this query can't be read: {why}")
}

/// What the query of a request to the API says; one that can't be read is refused.
pub(super) struct ApiQuery<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(refuse(StatusCode::BAD_REQUEST, unreadable(&rejection))),
        }
    }
}

/// All routes. With `local`, requests must name this machine, see [`host`].
pub(super) fn router(server: Server, local: bool, stop: CancellationToken) -> Router {
    let routes = Router::new()
        .route("/", get(page::overview))
        .route("/targets/{environment}/{kind}/{name}", get(page::target))
        .route("/history", get(page::happened))
        .route("/style.css", get(page::stylesheet))
        .route("/page.js", get(page::script))
        .route("/icon.svg", get(page::icon))
        .route("/metrics", get(scrape))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/v1/status", get(api_status))
        .route("/api/v1/history", get(history::history))
        .route("/api/v1/dora", get(history::dora))
        .route("/api/v1/resync", post(resync::resync))
        .route(hooks::PATH, post(hooks::receive))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(LIMITS.body))
        .layer(from_fn(in_time));
    let routes = if local { routes.layer(from_fn(host::check)) } else { routes };
    let compressed = CompressionLayer::new().compress_when(SizeAbove::new(WORTHWHILE));
    routes.layer(map_response(harden)).layer(compressed).with_state(Shared { server, stop })
}

async fn scrape(State(shared): State<Shared>) -> impl IntoResponse {
    let text = shared.server.metrics.render(&shared.status(), shared.server.clock.now());
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text)
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let status = shared.status();
    if status.ready {
        return "ready\n".into_response();
    }
    let mut text = String::from("not ready: the first pass hasn't completed\n");
    for (name, environment) in status.environments.iter().filter(|(_, environment)| environment.passes == 0) {
        let error = one_line(environment.error.as_deref().unwrap_or("no pass yet"));
        text.push_str(&format!("environment {name}: {error}\n"));
    }
    for repository in status.repositories.iter().filter(|repository| repository.last_success.is_none()) {
        let error = repository.error.as_ref().map(ToString::to_string);
        let error = one_line(error.as_deref().unwrap_or("not polled yet")).into_owned();
        text.push_str(&format!("repository {} {}: {error}\n", repository.url, repository.branch));
    }
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn api_status(State(shared): State<Shared>) -> Response {
    Json(&Status::from(&*shared.status())).into_response()
}

async fn not_found() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "there is nothing here; see /, /history, /metrics, /healthz, /readyz, /api/v1/status, /api/v1/history",
    )
}

async fn wrong_method() -> Response {
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "this method isn't allowed here: everything is read with GET; /api/v1/resync and /hooks/git need POST",
    )
}

/// Ends requests that take too long, such as those whose body comes byte by byte.
async fn in_time(request: Request, next: Next) -> Response {
    let limit: Duration = LIMITS.request;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, format!("the request took longer than {} s", limit.as_secs())),
    }
}

/// Nothing is cached, framed, sniffed, inlined or loaded from elsewhere.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, HeaderValue); 4] = [
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                 base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            ),
        ),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    response.headers_mut().extend(HEADERS);
    response
}
