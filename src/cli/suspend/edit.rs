//! Sets and takes out a `suspend` in the text of an `environment.toml` or `defaults.toml`, and changes not one other byte:
//! comments, order, quotes, blanks and line ends stay.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use jiff::Timestamp;
use thiserror::Error;
use toml_edit::{Document, Item, TableLike, TomlError};

use crate::cli::bump::edit::splice;
use crate::model::{Kind, LocalRef};

const KEY: &str = "suspend";

/// Why a file can't be changed.
#[derive(Debug, Error)]
pub enum EditError {
    /// The file isn't TOML.
    #[error("this is not TOML")]
    Syntax(#[source] Box<TomlError>),
    /// It is TOML of a form in which this can't be changed safely.
    #[error("[{0}] has a form in which it can't be changed safely; change it by hand")]
    Shape(String),
}

/// What is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What<'a> {
    /// All that the file holds for.
    All,
    /// One target.
    Target(&'a LocalRef),
}

/// What to write of a suspension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// When it ends.
    pub until: Timestamp,
}

impl Entry {
    fn values(&self) -> [(&'static str, String); 3] {
        let quoted = |text: &str| toml_edit::Value::from(text).to_string().trim().to_owned();
        [("owner", quoted(&self.owner)), ("reason", quoted(&self.reason)), ("until", self.until.to_string())]
    }
}

/// The text with this suspension. One that is there already is changed where it stands; a new one is a table at the end.
///
/// # Errors
/// [`EditError`].
pub fn set(text: &str, what: What<'_>, entry: &Entry) -> Result<String, EditError> {
    let document = parse(text)?;
    let path = path(document.as_table(), what);
    let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let edited = match find(document.as_table(), &path) {
        None => {
            let mut edited = text.to_owned();
            if !edited.is_empty() && !edited.ends_with('\n') {
                edited.push_str(newline);
            }
            if !edited.trim().is_empty() && !edited.ends_with("\n\n") && !edited.ends_with("\n\r\n") {
                edited.push_str(newline);
            }
            // Writing into a string can't fail.
            let _ = write!(edited, "[{}]{newline}", path.join("."));
            for (key, value) in entry.values() {
                let _ = write!(edited, "{key} = {value}{newline}");
            }
            edited
        }
        Some(item) => {
            let shape = || EditError::Shape(path.join("."));
            let table = item.as_table_like().ok_or_else(shape)?;
            let mut changes = Vec::new();
            for (key, value) in entry.values() {
                let place = table.get(key).and_then(Item::span).ok_or_else(shape)?;
                changes.push((place, value));
            }
            splice(text, changes)
        }
    };
    checked(text, edited, &path, Some(entry))
}

/// The text without a suspension; `None` if there is none.
///
/// # Errors
/// [`EditError`].
pub fn clear(text: &str, what: What<'_>) -> Result<Option<String>, EditError> {
    let document = parse(text)?;
    let path = path(document.as_table(), what);
    let Some(item) = find(document.as_table(), &path) else { return Ok(None) };
    let place = lines(text, item).ok_or_else(|| EditError::Shape(path.join(".")))?;
    let (before, after) = (text.get(..place.start).unwrap_or_default(), text.get(place.end..).unwrap_or_default());
    let mut kept = before.to_owned();
    // The blank line that set it off.
    if ends_blank(before) && (after.is_empty() || after.starts_with('\n') || after.starts_with("\r\n")) {
        let end = if before.ends_with("\r\n") { 2 } else { 1 };
        kept.truncate(before.len() - end);
    }
    kept.push_str(after);
    checked(text, kept, &path, None).map(Some)
}

/// Whether a file has a table for a target.
#[must_use]
pub fn mentions(text: &str, target: &LocalRef) -> bool {
    let Ok(document) = parse(text) else { return false };
    words(target.kind).iter().any(|word| has(document.as_table(), word, &target.name))
}

fn parse(text: &str) -> Result<Document<&str>, EditError> {
    Document::parse(text).map_err(|error| EditError::Syntax(Box::new(error)))
}

/// The words for a kind, the usual one first.
fn words(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Asg => &["asg"],
        Kind::Fargate => &["fargate", "ecs"],
    }
}

fn has(top: &dyn TableLike, word: &str, name: &str) -> bool {
    top.get(word).and_then(Item::as_table_like).is_some_and(|targets| targets.contains_key(name))
}

/// The keys that lead to a suspension, by the word that the file has for the target's kind.
fn path(top: &dyn TableLike, what: What<'_>) -> Vec<String> {
    let What::Target(target) = what else { return vec![KEY.to_owned()] };
    let words = words(target.kind);
    let word = words.iter().find(|word| has(top, word, &target.name)).or(words.first()).copied().unwrap_or_default();
    [word, &target.name, KEY].map(str::to_owned).into()
}

fn find<'a>(top: &'a dyn TableLike, path: &[String]) -> Option<&'a Item> {
    let (key, rest) = path.split_first()?;
    let item = top.get(key)?;
    if rest.is_empty() { Some(item) } else { find(item.as_table_like()?, rest) }
}

/// The whole lines that a suspension takes; `None` if other things stand in them.
fn lines(text: &str, item: &Item) -> Option<Range<usize>> {
    let line_of = |at: usize| text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let end_of = |at: usize| text.get(at..).and_then(|after| after.find('\n')).map_or(text.len(), |end| at + end + 1);
    let starts = |start: usize, with: &str| text.get(start..).is_some_and(|rest| rest.trim_start().starts_with(with));
    if item.is_inline_table() {
        let place = item.span()?;
        let start = line_of(place.start);
        return starts(start, KEY).then(|| start..end_of(place.end));
    }
    let table = item.as_table().filter(|table| !table.is_dotted() && !table.is_implicit())?;
    let values: Option<Vec<Range<usize>>> = table.iter().map(|(_, item)| item.span()).collect();
    let values = values?;
    let (first, last) = (values.iter().map(|it| it.start).min()?, values.iter().map(|it| it.end).max()?);
    let mut start = line_of(first);
    while start > 0 && !starts(start, "[") {
        start = line_of(start - 1);
    }
    starts(start, "[").then(|| start..end_of(last))
}

fn ends_blank(text: &str) -> bool {
    text.ends_with("\n\n") || text.ends_with("\n\r\n")
}

/// The edited text, if it says what it should, and all else is as it was.
fn checked(before: &str, after: String, path: &[String], entry: Option<&Entry>) -> Result<String, EditError> {
    let shape = || EditError::Shape(path.join("."));
    let read = |text: &str| -> Option<BTreeMap<Vec<String>, String>> {
        let document = Document::parse(text).ok()?;
        let mut values = BTreeMap::new();
        flatten(document.as_item(), &mut Vec::new(), &mut values);
        Some(values)
    };
    let (mut old, mut new) = (read(before).ok_or_else(shape)?, read(&after).ok_or_else(shape)?);
    old.retain(|key, _| !key.starts_with(path));
    let said: Vec<(Vec<String>, String)> = new.extract_if(.., |key, _| key.starts_with(path)).collect();
    let meant = entry.iter().flat_map(|entry| entry.values());
    let meant = meant.map(|(key, value)| ([path, &[key.to_owned()]].concat(), value));
    if old == new && said == meant.collect::<Vec<_>>() { Ok(after) } else { Err(shape()) }
}

/// All values of a file, by the keys that lead to them.
fn flatten(item: &Item, path: &mut Vec<String>, values: &mut BTreeMap<Vec<String>, String>) {
    let mut below = |key: String, item: &Item| {
        path.push(key);
        flatten(item, path, values);
        path.pop();
    };
    if let Some(table) = item.as_table_like() {
        table.iter().for_each(|(key, item)| below(key.to_owned(), item));
    } else if let Some(tables) = item.as_array_of_tables() {
        for (at, table) in tables.iter().enumerate() {
            table.iter().for_each(|(key, item)| below(format!("{at}.{key}"), item));
        }
    } else if let Some(value) = item.as_value() {
        values.insert(path.clone(), value.clone().decorated("", "").to_string());
    }
}
