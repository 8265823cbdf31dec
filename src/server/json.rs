//! Answers in JSON.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::model::escape::plain_json;

/// An answer in JSON. Whatever could steer a terminal is escaped: people look at it with `curl`, and programs read the
/// same.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(text) => {
                let plain = plain_json(&text).into_owned();
                ([(header::CONTENT_TYPE, "application/json")], plain).into_response()
            }
            Err(error) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("this can't be put in JSON: {error}\n")).into_response()
            }
        }
    }
}
