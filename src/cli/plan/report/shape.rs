//! The new shape that a rollout brings.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::output;
use crate::model::ShapeChange;

/// A new shape: what a newer task-definition revision or launch-template version changes besides the image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ShapeReport {
    /// Whose shape runs: `family:revision`, or a launch-template version's number.
    pub from: String,
    /// Whose shape it gets.
    pub to: String,
    /// The ARN of who registered that; null if AWS doesn't say.
    pub registered_by: Option<String>,
    /// When.
    #[schemars(with = "Option<String>")]
    pub registered_at: Option<Timestamp>,
    /// What it changes, each in a few words. The values of variables and secrets are never in it.
    pub changes: Vec<String>,
    /// All of that in one line.
    pub summary: String,
}

impl ShapeReport {
    pub(super) fn of(change: &ShapeChange, now: Timestamp) -> Self {
        let when = change.at.map(|at| format!("{} ago", output::ago(at, now)));
        Self {
            from: change.from.clone(),
            to: change.to.clone(),
            registered_by: change.by.clone(),
            registered_at: change.at,
            changes: change.changes.clone(),
            summary: change.line(when.as_deref()),
        }
    }
}
