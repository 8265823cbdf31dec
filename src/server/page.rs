//! The pages for people: all targets, one target, what has happened. Rendered here, from templates; they work without a
//! script. With one, they ask again every few seconds and take over what has changed.

mod escape;
mod gauge;
mod happened;
mod instead;
mod overview;
mod target;
mod trouble;
mod view;

use std::hash::{DefaultHasher, Hash, Hasher as _};

use askama::Template;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use jiff::Timestamp;

pub(super) use self::happened::happened;
pub(super) use self::overview::overview;
pub(super) use self::target::target;
use super::routes::{Shared, refuse};
use crate::history::{Query, wording};
use crate::model::CommitId;
use crate::model::event::EventRecord;
use crate::model::status::Snapshot;

/// The stylesheet, the script and the icon: served beside the pages, because the content security policy allows nothing
/// inline.
const STYLESHEET: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");
const ICON: &str = include_str!("page/icon.svg");

pub(super) async fn stylesheet() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLESHEET)
}

pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

pub(super) async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], ICON)
}

/// What all pages have around their content.
#[derive(Debug, Hash)]
struct Frame {
    /// The way from this page to the first one, so that a controller behind a proxy's prefix works, too.
    root: &'static str,
    title: String,
    version: String,
    /// Which of the pages of the navigation this is.
    current: &'static str,
}

impl Frame {
    fn new(root: &'static str, title: String, current: &'static str, status: &Snapshot) -> Self {
        Self { root, title, version: status.version.clone(), current }
    }
}

/// A page, or only the word that it is as before. The mark is made of what the page says, but for how long ago things
/// were, which a script counts on by itself.
fn answer(headers: &HeaderMap, said: &impl Hash, page: &impl Template) -> Response {
    let mut hasher = DefaultHasher::new();
    said.hash(&mut hasher);
    // Weak, as the same page may be compressed or not.
    let mark = format!("W/\"{:016x}\"", hasher.finish());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()) == Some(mark.as_str());
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match page.render() {
            Ok(text) => Html(text).into_response(),
            Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("the page can't be made: {error}")),
        }
    };
    if let Ok(mark) = HeaderValue::from_str(&mark) {
        response.headers_mut().insert(header::ETAG, mark);
    }
    response
}

/// Some of what has happened. The pages do without it where it can't be read.
async fn events(shared: &Shared, query: Query) -> (Vec<EventRecord>, Option<String>) {
    match super::history::page(shared, query).await {
        Ok(page) => (page.events, page.next),
        Err(error) => {
            tracing::debug!("the page shows no history: {error}");
            (Vec::new(), None)
        }
    }
}

/// A time, as templates hand it over: by any number of references.
trait Moment {
    fn moment(&self) -> Timestamp;
}

impl Moment for Timestamp {
    fn moment(&self) -> Timestamp {
        *self
    }
}

impl<T: Moment> Moment for &T {
    fn moment(&self) -> Timestamp {
        (*self).moment()
    }
}

fn ago(since: impl Moment, now: impl Moment) -> String {
    wording::ago(since.moment(), now.moment())
}

/// A time as it stands in `datetime`: whole seconds.
fn stamp(at: impl Moment) -> String {
    at.moment().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time for people.
fn clock(at: impl Moment) -> String {
    at.moment().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// A time for people, in little room.
fn minute(at: impl Moment) -> String {
    at.moment().strftime("%Y-%m-%d %H:%M").to_string()
}

fn short(commit: &str) -> &str {
    CommitId::short_of(commit)
}
