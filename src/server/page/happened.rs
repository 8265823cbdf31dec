//! `/history`: what has happened, and the four DORA figures.

use std::collections::BTreeSet;

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State as Given};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;

use super::instead::instead;
use super::view::{Choice, Line};
use super::{Frame, answer, events};
use crate::history::wording;
use crate::model::TargetState;
use crate::model::event::{Delivery, EventKind};
use crate::server::history::{Asked, figures};
use crate::server::routes::{Shared, refuse};

/// How many events one page has.
const EVENTS: usize = 100;

#[derive(Template)]
#[template(path = "history.html")]
struct Page<'a> {
    frame: &'a Frame,
    now: Timestamp,
    body: &'a Body,
}

#[derive(Debug, Hash)]
struct Body {
    environments: Vec<Choice>,
    components: Vec<Choice>,
    kinds: Vec<Choice>,
    filtered: bool,
    /// The days that the figures are of.
    days: i64,
    figures: Vec<Figures>,
    events: Vec<Line>,
    /// The rest of the link to the next, older page.
    next: Option<String>,
    newest: bool,
}

/// The DORA figures of one component, in words.
#[derive(Debug, Hash)]
struct Figures {
    component: String,
    deployments: u64,
    frequency: String,
    lead: String,
    failures: u64,
    rate: String,
    restore: String,
    unrestored: u64,
}

pub(in crate::server) async fn happened(
    Given(shared): Given<Shared>,
    headers: HeaderMap,
    asked: Result<Parameters<Asked>, QueryRejection>,
) -> Response {
    let Ok(Parameters(mut asked)) = asked else {
        return instead(
            &shared,
            "./",
            StatusCode::BAD_REQUEST,
            "This query can't be read; start again at the history.",
        );
    };
    asked.limit = EVENTS.to_string();
    let now = shared.server.clock.now();
    let mut query = match asked.query(now) {
        Ok(query) => query,
        Err(error) => return instead(&shared, "./", StatusCode::BAD_REQUEST, &error.to_string()),
    };
    if query.kinds.is_empty() {
        query = query.of_interest();
    }
    let environment = Some(asked.environment.clone()).filter(|name| !name.is_empty());
    let figures = match figures(&shared, environment, "").await {
        Ok(figures) => figures,
        Err((status, error)) => return refuse(status, error),
    };
    let (happened, next) = events(&shared, query).await;
    let status = shared.status();
    let targets: Vec<&TargetState> = status.environments.values().flat_map(|it| it.targets.values()).collect();
    let components: BTreeSet<&str> = targets.iter().map(|target| target.pin.component.as_str()).collect();
    let wanted = |figures: &&Delivery| asked.component.is_empty() || asked.component == figures.component;
    let body = Body {
        environments: Choice::among("any", status.environments.keys().map(String::as_str), &asked.environment),
        components: Choice::among("any", components, &asked.component),
        kinds: Choice::among("any", EventKind::ALL.map(EventKind::as_str), &asked.kind),
        filtered: ![&asked.environment, &asked.component, &asked.kind].iter().all(|text| text.is_empty()),
        days: figures.until.duration_since(figures.since).as_hours() / 24,
        figures: figures.components.iter().filter(wanted).map(words).collect(),
        events: happened.iter().map(|event| Line::of(event, &status)).collect(),
        next: next.map(|next| link(&asked, &next)),
        newest: asked.before.is_empty(),
    };
    let frame = Frame::new("./", "History – Pinion".to_owned(), "history", &status);
    answer(&headers, &(&frame, &body), &Page { frame: &frame, now, body: &body })
}

fn link(asked: &Asked, next: &str) -> String {
    let mut url = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in [("environment", &asked.environment), ("component", &asked.component), ("kind", &asked.kind)] {
        if !value.is_empty() {
            url.append_pair(name, value);
        }
    }
    url.append_pair("before", next).finish()
}

fn words(figures: &Delivery) -> Figures {
    let long = |seconds: Option<u64>| seconds.map_or_else(|| "–".to_owned(), wording::duration);
    Figures {
        component: figures.component.clone(),
        deployments: figures.deployments,
        frequency: frequency(figures.deployments_per_day),
        lead: long(figures.lead_time_seconds),
        failures: figures.failures,
        rate: figures.change_failure_rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.0} %", rate * 100.0)),
        restore: long(figures.time_to_restore_seconds),
        unrestored: figures.unrestored,
    }
}

/// So many a day, a week or a month: whichever is the first with more than one.
fn frequency(per_day: f64) -> String {
    match per_day {
        0.0 => "none".to_owned(),
        some if some >= 1.0 => format!("{some:.1} a day"),
        some if some * 7.0 >= 1.0 => format!("{:.1} a week", some * 7.0),
        some => format!("{:.1} a month", some * 30.0),
    }
}
