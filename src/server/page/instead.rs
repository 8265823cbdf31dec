//! What people see where the page that they asked for can't be.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse as _, Response};
use jiff::Timestamp;

use super::Frame;
use crate::server::routes::{Shared, refuse};

#[derive(Template)]
#[template(path = "instead.html")]
struct Page<'a> {
    frame: &'a Frame,
    now: Timestamp,
    title: &'a str,
    why: &'a str,
}

/// A page that says why there isn't the one that was asked for.
pub(super) fn instead(shared: &Shared, root: &'static str, status: StatusCode, why: &str) -> Response {
    let title = if status == StatusCode::NOT_FOUND { "There is nothing here" } else { "This can’t be read" };
    let frame = Frame::new(root, format!("{title} – Pinion"), "", &shared.status());
    match (Page { frame: &frame, now: shared.server.clock.now(), title, why }).render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(_) => refuse(status, why),
    }
}
