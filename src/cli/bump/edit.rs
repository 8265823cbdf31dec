//! Changes a pin in the text of a `pins.toml`, and not one other byte: comments, order, quotes, blanks and line ends stay.

use std::ops::Range;

use thiserror::Error;
use toml_edit::{Document, Item, TomlError};

use crate::model::{Component, Digest, Version};

/// Why a pin can't be changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// The file isn't TOML.
    #[error("this is not TOML")]
    Syntax(#[source] Box<TomlError>),
    /// There is no pin of this component.
    #[error("there is no pin of `{component}`; pins: {known}")]
    Missing {
        /// The component.
        component: Component,
        /// Those that are there.
        known: String,
    },
    /// What stands there is neither a version nor a table with one.
    #[error("the pin of `{0}` is neither a version nor a table with one; `pinion validate` shows the place")]
    Shape(Component),
    /// The pin has a digest, which belongs to the version that was.
    #[error(
        "the pin of `{0}` names the digest of the version that it has now; give the new one with --digest sha256:…"
    )]
    Digest(Component),
}

/// A file with a changed pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The version that was pinned.
    pub before: String,
    /// The new text; the old one if the pin was so already.
    pub text: String,
}

/// Pins a component. With a digest, the pin names that; a digest that is there already has to be replaced, unless the
/// version stays.
///
/// # Errors
/// [`EditError`].
pub fn pin(text: &str, component: &Component, version: &Version, digest: Option<&Digest>) -> Result<Edit, EditError> {
    let document = Document::parse(text).map_err(|error| EditError::Syntax(Box::new(error)))?;
    let table = document.as_table();
    let Some(item) = table.get(component.as_str()) else {
        let known = table.iter().map(|(key, _)| key).collect::<Vec<_>>().join(", ");
        return Err(EditError::Missing { component: component.clone(), known });
    };
    let shape = || EditError::Shape(component.clone());
    let inner = item.as_table_like().map(|table| (table.get("version"), table.get("digest")));
    let (version_item, digest_item) = inner.unwrap_or((Some(item), None));
    let (before, place) = version_item.and_then(string).ok_or_else(shape)?;
    let edit = |changes: Vec<(Range<usize>, String)>| Edit { before: before.to_owned(), text: splice(text, changes) };

    let mut changes = Vec::new();
    if before != version.as_str() {
        if digest_item.is_some() && digest.is_none() {
            return Err(EditError::Digest(component.clone()));
        }
        changes.push((place.clone(), quoted(version.as_str(), text.get(place.clone()).unwrap_or_default())));
    }
    match (digest, digest_item) {
        (None, _) => {}
        (Some(digest), Some(item)) => {
            let (old, place) = string(item).ok_or_else(shape)?;
            if old != digest.as_str() {
                changes.push((place.clone(), quoted(digest.as_str(), text.get(place).unwrap_or_default())));
            }
        }
        (Some(digest), None) => {
            changes.retain(|(changed, _)| *changed != place);
            let version = quoted(version.as_str(), text.get(place.clone()).unwrap_or_default());
            let digest = quoted(digest.as_str(), &version);
            if inner.is_none() {
                changes.push((place, format!("{{ version = {version}, digest = {digest} }}")));
            } else if item.as_inline_table().is_some_and(|table| !table.is_dotted()) {
                changes.push((place, format!("{version}, digest = {digest}")));
            } else {
                changes.push((place.clone(), version));
                changes.push(line_below(text, &place, &digest));
            }
        }
    }
    Ok(edit(changes))
}

fn string(item: &Item) -> Option<(&str, Range<usize>)> {
    Some((item.as_str()?, item.span()?))
}

/// A value in the same quotes as the one that it replaces, where they can hold it.
fn quoted(value: &str, like: &str) -> String {
    let quotes = ["\"\"\"", "'''", "'", "\""].into_iter().find(|quotes| like.starts_with(quotes)).unwrap_or("\"");
    if quotes.starts_with('\'') && !value.contains('\'') {
        return format!("{quotes}{value}{quotes}");
    }
    let quotes = if quotes.starts_with('\'') { "\"" } else { quotes };
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{quotes}{escaped}{quotes}")
}

/// A line for the digest below that of the version, with the same beginning and the same end.
fn line_below(text: &str, version: &Range<usize>, digest: &str) -> (Range<usize>, String) {
    let before = text.get(..version.start).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let beginning = before.get(start..).unwrap_or_default();
    let key = match beginning.rfind("version") {
        Some(at) => {
            let (head, tail) = (beginning.get(..at), beginning.get(at + "version".len()..));
            format!("{}digest{}", head.unwrap_or_default(), tail.unwrap_or_default())
        }
        None => "digest = ".to_owned(),
    };
    let rest = text.get(version.end..).unwrap_or_default();
    let end = version.end
        + rest
            .find('\n')
            .map_or(rest.len(), |at| at - usize::from(rest.get(..at).is_some_and(|line| line.ends_with('\r'))));
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    (end..end, format!("{newline}{key}{digest}"))
}

/// The text with other values in these places, none of which overlap.
pub(in crate::cli) fn splice(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    changes.sort_by_key(|(place, _)| place.start);
    let mut spliced = text.to_owned();
    for (place, value) in changes.into_iter().rev() {
        spliced.replace_range(place, &value);
    }
    spliced
}
