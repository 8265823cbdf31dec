//! `/targets/ENVIRONMENT/KIND/NAME`: one target and its history.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as Parameters, State as Given};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::instead::instead;
use super::trouble::{self, Trouble};
use super::view::{self, Line, Row};
use super::{Frame, answer, events};
use crate::history::{Cursor, Query};
use crate::model::status::EnvironmentStatus;
use crate::model::{self, Reach, Suspension, TargetState};
use crate::server::routes::Shared;

/// The way from a target's page to the first one.
const ROOT: &str = "../../../";
/// How many events one page has.
const EVENTS: usize = 50;

/// Where in the history to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::server) struct Place {
    before: String,
}

#[derive(Template)]
#[template(path = "target.html")]
struct Page<'a> {
    frame: &'a Frame,
    now: Timestamp,
    body: &'a Body<'a>,
}

#[derive(Debug, Hash)]
struct Body<'a> {
    reference: &'a str,
    environment: &'a str,
    local: &'a str,
    /// Absent if the target isn't in Git any more and only its history is left.
    known: Option<Known<'a>>,
    events: Vec<Line>,
    next: Option<String>,
    /// Whether these are the newest events.
    newest: bool,
}

#[derive(Debug, Hash)]
struct Known<'a> {
    row: Row<'a>,
    /// What is wrong with its environment.
    troubles: Vec<Trouble>,
    runs: &'a str,
    account: &'a str,
    region: &'a str,
    artifact: String,
    digest: &'a str,
    repository: &'a str,
    branch: &'a str,
    denied_by: String,
    in_sync_since: Option<Timestamp>,
    out_of_sync_since: Option<Timestamp>,
    rollout: Option<Rollout<'a>>,
    suspension: Option<Suspended<'a>>,
}

#[derive(Debug, Hash)]
struct Rollout<'a> {
    id: &'a str,
    status: &'a str,
    reason: &'a str,
    started: Option<Timestamp>,
}

#[derive(Debug, Hash)]
struct Suspended<'a> {
    owner: &'a str,
    reason: &'a str,
    until: Timestamp,
    reach: &'static str,
}

pub(in crate::server) async fn target(
    Given(shared): Given<Shared>,
    headers: HeaderMap,
    path: Result<Path<(String, String, String)>, PathRejection>,
    place: Result<Parameters<Place>, QueryRejection>,
) -> Response {
    let Ok(Path((environment, kind, name))) = path else {
        return instead(&shared, ROOT, StatusCode::BAD_REQUEST, "This isn't the name of a target.");
    };
    let Ok(Parameters(place)) = place else {
        return instead(&shared, ROOT, StatusCode::BAD_REQUEST, "This query can't be read; start again at the target.");
    };
    let local = format!("{kind}/{name}");
    let reference = format!("{environment}/{local}");
    let before = match place.before.as_str() {
        "" => None,
        text => match text.parse::<Cursor>() {
            Ok(before) => Some(before),
            Err(error) => return instead(&shared, ROOT, StatusCode::BAD_REQUEST, &error),
        },
    };
    let query = Query { scope: Some(reference.clone()), before, ..Query::newest(EVENTS) };
    let (happened, next) = events(&shared, query).await;
    let status = shared.status();
    let known = status.environments.get(&environment).zip(view::find(&status, &reference));
    if known.is_none() && happened.is_empty() {
        let why = format!("{reference} is no target, and nothing is known of one");
        return instead(&shared, ROOT, StatusCode::NOT_FOUND, &why);
    }
    let known = known.map(|(environment, target)| known_of(environment, &local, target));
    let body = Body {
        reference: &reference,
        environment: &environment,
        local: &local,
        known,
        events: happened.iter().map(|event| Line::of(event, &status)).collect(),
        next,
        newest: before.is_none(),
    };
    let state = body.known.as_ref().map_or("gone", |known| known.row.state);
    let frame = Frame::new(ROOT, format!("{reference}: {state} – Pinion"), "", &status);
    let now = shared.server.clock.now();
    answer(&headers, &(&frame, &body), &Page { frame: &frame, now, body: &body })
}

fn known_of<'a>(environment: &'a EnvironmentStatus<TargetState>, local: &'a str, target: &'a TargetState) -> Known<'a> {
    let rollout = |it: &'a model::Rollout| Rollout {
        id: &it.id.0,
        status: &it.status,
        reason: it.reason.as_deref().unwrap_or_default(),
        started: it.started,
    };
    let suspended = |it: &'a Suspension| Suspended {
        owner: &it.owner,
        reason: &it.reason,
        until: it.until,
        reach: match it.reach {
            Reach::Target => "this target",
            Reach::Environment => "all targets of this environment ([suspend] in environment.toml)",
            Reach::All => "all environments ([suspend] in environments/defaults.toml)",
        },
    };
    Known {
        row: Row::of(local, target),
        troubles: trouble::of_environment(environment, target.reason.as_ref()),
        runs: target.running.as_deref().unwrap_or_default(),
        account: &environment.account,
        region: &environment.region,
        artifact: target.artifact.as_ref().map(ToString::to_string).unwrap_or_default(),
        digest: target.pin.digest.as_ref().map(model::Digest::as_str).unwrap_or_default(),
        repository: &environment.repository,
        branch: &environment.branch,
        denied_by: target.denied_by().collect::<Vec<_>>().join(", "),
        in_sync_since: target.in_sync_since,
        out_of_sync_since: target.out_of_sync_since,
        rollout: target.rollout.as_ref().map(rollout),
        suspension: target.suspension.as_ref().map(suspended),
    }
}
