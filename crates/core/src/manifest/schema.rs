//! The JSON Schemas of the TOML files, made from the same descriptions that read them.

use schemars::Schema;
use serde_json::Value;

use super::raw::{RawEnvironment, RawPins};
use super::shape::{Shape, described};

/// The schema of a file. Draft 7, which the TOML plug-ins of editors know.
pub(crate) fn of<T: Shape>(title: &str) -> Value {
    let mut schema = T::schema();
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".to_owned(), title.into());
    schema.to_value()
}

/// The schema of `environment.toml`. No key is required: any may come from `defaults.toml`.
#[must_use]
pub fn environment() -> Value {
    of::<RawEnvironment>("environments/NAME/environment.toml")
}

/// The schema of `defaults.toml`: the same keys.
#[must_use]
pub fn defaults() -> Value {
    of::<RawEnvironment>("environments/defaults.toml")
}

/// The schema of `pins.toml`.
#[must_use]
pub fn pins() -> Value {
    let mut schema: Schema = described(RawPins::schema(), &["The version of each component in this environment."]);
    schema.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
    schema.insert("title".to_owned(), "environments/NAME/pins.toml".into());
    schema.to_value()
}
