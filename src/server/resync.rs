//! `POST /api/v1/resync`: the only thing that changes anything, and so the only one that needs a token.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::json::Json;
use super::limits::Vouched;
use super::routes::{Shared, refuse, unreadable};

/// How long a request with `wait=true` waits.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    retry_quarantined: bool,
    #[serde(default)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct Answer {
    /// The resync's number.
    number: u64,
    /// Whether it is done.
    completed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

fn answer(status: StatusCode, number: u64, completed: bool, error: Option<&'static str>) -> Response {
    (status, Json(Answer { number, completed, error })).into_response()
}

pub(super) async fn resync(
    State(shared): State<Shared>,
    // Before the body: nobody waits for the body of a request that is refused by its head.
    _authorized: Authorized,
    parameters: Result<Query<Parameters>, QueryRejection>,
    // Read only to hold it to the limit: a body has no meaning here.
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Err(error) = body {
        let why = format!("the body can't be read ({}); none is needed", error.body_text());
        return refuse(error.status(), why);
    }
    let Query(parameters) = match parameters {
        Ok(parameters) => parameters,
        Err(error) => {
            let hint = "use retry_quarantined=true|false and wait=true|false";
            return refuse(StatusCode::BAD_REQUEST, format!("{}; {hint}", unreadable(&error)));
        }
    };
    let mut status = shared.server.status.clone();
    let number = shared.server.resync.request(parameters.retry_quarantined);
    tracing::info!(number, retry_quarantined = parameters.retry_quarantined, "resync requested over HTTP");
    if !parameters.wait {
        return answer(StatusCode::ACCEPTED, number, false, None);
    }
    tokio::select! {
        completed = status.wait_for(|status| status.resync.completed >= number) => match completed {
            Ok(_) => answer(StatusCode::OK, number, true, None),
            Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, number, false, Some("the controller is stopping")),
        },
        () = shared.stop.cancelled() => {
            answer(StatusCode::SERVICE_UNAVAILABLE, number, false, Some("the controller is stopping"))
        }
        () = tokio::time::sleep(MAX_WAIT) => answer(
            StatusCode::GATEWAY_TIMEOUT,
            number,
            false,
            Some("not completed yet; see `resync.completed` in /api/v1/status"),
        ),
    }
}

/// The request has the token. It is judged by its head.
pub(super) struct Authorized;

impl FromRequestParts<Shared> for Authorized {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Response> {
        authorize(shared.server.token.as_ref(), &parts.headers).map_err(|refusal| *refusal)?;
        if let Some(vouched) = parts.extensions.get::<Vouched>() {
            vouched.set();
        }
        Ok(Self)
    }
}

fn authorize(token: Option<&SecretString>, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let Some(token) = token.filter(|token| !token.expose_secret().is_empty()) else {
        return Err(Box::new(refuse(
            StatusCode::FORBIDDEN,
            "no token is configured, so nobody may ask for a resync over HTTP; set `server.token_file` in pinion.toml \
             or PINION_TOKEN, or send the process SIGUSR1",
        )));
    };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, given)| given.trim());
    // Digests have one length, so that the time that this takes doesn't give away the token's length.
    let right = given.is_some_and(|given| {
        Sha256::digest(given).as_slice().ct_eq(Sha256::digest(token.expose_secret()).as_slice()).into()
    });
    if right {
        return Ok(());
    }
    let error = match given {
        Some(_) => "the token is wrong",
        None => "a token is needed: send `Authorization: Bearer …`",
    };
    let mut refusal = refuse(StatusCode::UNAUTHORIZED, error);
    refusal
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer realm=\"pinion\""));
    Err(Box::new(refusal))
}
