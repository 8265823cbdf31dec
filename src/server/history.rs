//! `GET /api/v1/history` and `GET /api/v1/dora`: what has happened, and the figures made of it.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::json::Json;
use super::routes::{ApiQuery, Shared, refuse};
use crate::history::{Query, wording};
use crate::model::event::{Deliveries, EventKind, EventPage};

/// How many events an answer has where nobody says.
const USUAL: usize = 100;
/// The days that the DORA figures are of where nobody says.
const DAYS: i64 = 30;

/// What a page or a program may ask of the history.
#[derive(Debug, Default, Clone, Hash, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    pub(super) environment: String,
    pub(super) target: String,
    pub(super) component: String,
    /// Words for kinds, between commas.
    pub(super) kind: String,
    pub(super) since: String,
    pub(super) before: String,
    pub(super) limit: String,
}

impl Asked {
    /// The same as the store takes it.
    pub(super) fn query(&self, now: Timestamp) -> Result<Query, String> {
        let said = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let kinds = self.kind.split(',').filter(|word| !word.is_empty()).map(|word| {
            let words = || EventKind::ALL.map(EventKind::as_str).join(", ");
            EventKind::parse(word).ok_or_else(|| format!("`{word}` is not a kind of event; there are {}", words()))
        });
        let limit = said(&self.limit).map_or(Some(USUAL), |limit| limit.parse().ok().filter(|limit| *limit > 0));
        Ok(Query {
            scope: said(&self.target).or_else(|| said(&self.environment)),
            component: said(&self.component),
            kinds: kinds.collect::<Result<BTreeSet<_>, _>>()?,
            since: said(&self.since).map(|since| wording::since(&since, now)).transpose()?,
            before: said(&self.before).map(|before| before.parse()).transpose()?,
            limit: limit.ok_or_else(|| format!("`limit` is a number from 1 to 500, not `{}`", self.limit))?,
        })
    }
}

pub(super) async fn history(State(shared): State<Shared>, ApiQuery(asked): ApiQuery<Asked>) -> Response {
    match asked.query(shared.server.clock.now()) {
        Ok(query) => match page(&shared, query).await {
            Ok(page) => Json(page).into_response(),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
        },
        Err(error) => refuse(StatusCode::BAD_REQUEST, error),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AskedFigures {
    environment: String,
    since: String,
}

pub(super) async fn dora(State(shared): State<Shared>, ApiQuery(asked): ApiQuery<AskedFigures>) -> Response {
    let environment = Some(asked.environment).filter(|name| !name.is_empty());
    match figures(&shared, environment, &asked.since).await {
        Ok(figures) => Json(figures).into_response(),
        Err((status, error)) => refuse(status, error),
    }
}

/// The DORA figures since a time that somebody wrote; of the last 30 days where nobody did.
pub(super) async fn figures(
    shared: &Shared,
    environment: Option<String>,
    since: &str,
) -> Result<Deliveries, (StatusCode, String)> {
    let now = shared.server.clock.now();
    let since = match since {
        "" => now.checked_sub(SignedDuration::from_hours(DAYS * 24)).map_err(|error| error.to_string()),
        text => wording::since(text, now),
    };
    let since = since.map_err(|error| (StatusCode::BAD_REQUEST, error))?;
    let history = shared.server.history.clone();
    let read = tokio::task::spawn_blocking(move || history.deliveries(environment.as_deref(), since, now)).await;
    let failed = |error: String| (StatusCode::INTERNAL_SERVER_ERROR, error);
    read.map_err(|error| failed(error.to_string()))
}

/// Reads beside the threads that serve.
pub(super) async fn page(shared: &Shared, query: Query) -> Result<EventPage, String> {
    let history = shared.server.history.clone();
    let read = tokio::task::spawn_blocking(move || history.page(&query)).await;
    read.map_err(|error| error.to_string())
}
