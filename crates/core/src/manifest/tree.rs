//! TOML as a tree in which every value knows the file, the place and the key that it comes from, also after merging.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Findings, Place, SourceText};

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// A value of a table, and where its key stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Place,
    pub(crate) node: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    Float,
    Boolean,
    Datetime(String),
    Array(Vec<Node>),
    Table(BTreeMap<String, Entry>),
}

/// What is found where a file is kept in Git LFS, and what to do.
pub(super) const POINTER: &str = "this is a pointer of Git LFS, and not the file";
pub(super) const POINTER_HELP: &str = "Pinion reads what is in Git itself: take the pattern out of .gitattributes (`git lfs untrack`), and commit the file again";

/// Whether a file is a pointer of Git LFS (its specification, version 1: the first line says so).
pub(super) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}

impl Node {
    /// Parses a file. `None` if it isn't TOML or holds nothing, both of which are reported.
    pub(crate) fn parse(path: &str, bytes: &[u8], findings: &mut Findings) -> Option<Self> {
        if is_pointer(bytes) {
            findings.report_with_help(&Place::file(path), "git-lfs", POINTER, POINTER_HELP);
            return None;
        }
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()).into_owned();
                let end = valid.len();
                let source = Arc::new(SourceText { path: path.to_owned(), text: valid });
                let place = Place::of(source, end..end, String::new());
                findings.report_with_help(&place, "syntax", "this is not UTF-8", "save the file as UTF-8");
                return None;
            }
        };
        let source = Arc::new(SourceText { path: path.to_owned(), text });
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        report_syntax(&source, &errors, findings);
        if !errors.is_empty() {
            return None;
        }
        let root = Place::of(Arc::clone(&source), 0..0, String::new());
        let node = Self { value: table_of(table.get_ref(), &source, ""), place: root };
        match &node.value {
            Value::Table(entries) if entries.is_empty() => {
                findings.report_with_help(
                    &node.place,
                    "empty-file",
                    "the file is empty",
                    "restore its content; to remove it on purpose, delete the file",
                );
                None
            }
            _ => Some(node),
        }
    }

    /// Puts this over the defaults. Tables are merged, key by key; anything else here replaces what stands there, and
    /// so do the tables whose keys `whole` says are one value.
    pub(crate) fn over(self, defaults: &Self, whole: fn(&str) -> bool) -> Self {
        let (Value::Table(mut mine), Value::Table(theirs)) = (self.value.clone(), &defaults.value) else { return self };
        if whole(&self.place.key) {
            return self;
        }
        for (name, default) in theirs {
            let entry = match mine.remove(name) {
                Some(Entry { key, node }) => Entry { key, node: node.over(&default.node, whole) },
                None => default.clone(),
            };
            mine.insert(name.clone(), entry);
        }
        Self { place: self.place, value: Value::Table(mine) }
    }
}

impl Value {
    /// What it is, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float => "a float",
            Self::Boolean => "a boolean",
            Self::Datetime(_) => "a date or time",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// Reports the first error of each line: what follows it there is mostly its echo.
fn report_syntax(source: &Arc<SourceText>, errors: &[toml::de::Error], findings: &mut Findings) {
    let mut lines = BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        if let Some((place, message, help)) = too_deep(source, error) {
            findings.report_with_help(&place, "syntax", message, help);
            continue;
        }
        let place = Place::of(Arc::clone(source), span.clone(), String::new());
        if !lines.insert(place.line()) {
            continue;
        }
        let line = source.text.get(..span.start).and_then(|before| before.rsplit('\n').next()).unwrap_or_default();
        let marks = [line, source.text.get(span.start..).unwrap_or_default()].concat();
        let message = match source.text.get(span).unwrap_or_default() {
            key if error.message() == "duplicate key" => format!("duplicate key `{key}`"),
            _ => error.message().to_owned(),
        };
        if ["<<<<<<<", "=======", ">>>>>>>"].iter().any(|mark| marks.starts_with(mark)) {
            findings.report_with_help(&place, "syntax", message, "this is a merge conflict: resolve it");
        } else if let Some((message, help)) = meant(line, source.text.get(place.span.start..).unwrap_or_default()) {
            findings.report_with_help(&place, "syntax", message, help);
        } else if message.starts_with("invalid boolean") || message.starts_with("string values must be quoted") {
            findings.report_with_help(&place, "syntax", message, "put the text in quotes");
        } else if let Some(bare) = unquoted(&source.text, line.len(), place.span.start) {
            findings.report_with_help(&place, "syntax", message, format!("write it in quotes: \"{bare}\""));
        } else if message.starts_with("invalid float") {
            findings.report_with_help(&place, "syntax", message, "put the text in quotes");
        } else if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
            findings.report_with_help(&place, "syntax", message, "end the text with a quote, in the same line");
        } else {
            findings.report(&place, "syntax", message);
        }
    }
}

/// What is wrong with the text on either side of an error, where that can be seen, and what to write.
fn meant(before: &str, behind: &str) -> Option<(String, &'static str)> {
    let (before, behind) = (before.trim_end(), behind.lines().next().unwrap_or_default().trim_start());
    let word = behind.split([' ', '\t', ',', '}', ']', '#']).next().unwrap_or_default();
    if behind.starts_with(['\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{ab}', '\u{bb}']) {
        Some(("these are typographic quotes".to_owned(), "write straight ones, as in \"1.4.2\""))
    } else if before.ends_with('=') && (behind.is_empty() || behind.starts_with('#')) {
        Some(("a value is missing".to_owned(), "give it one, or take the key out"))
    } else if before.ends_with('=') && matches!(word, "null" | "nil" | "none" | "None" | "~") {
        Some((format!("TOML has no `{word}`"), "take the key out"))
    } else if before.ends_with(':') && !before.contains('=') {
        Some(("there is a `:` where TOML has `=`".to_owned(), "write it as in web = \"1.4.2\""))
    } else {
        None
    }
}

/// A key of so many parts, or values so deep in each other, are more than the parser takes.
const MAX_DEPTH: usize = 80;

/// Where and what is nested too deep, if that is the error: the parser has few words for it, and of a key not even the place.
fn too_deep(source: &Arc<SourceText>, error: &toml::de::Error) -> Option<(Place, String, &'static str)> {
    let place = |span| Place::of(Arc::clone(source), span, String::new());
    if error.message() == "recursion limit" {
        let mut lines = source.text.split_inclusive('\n').scan(0, |end, line| {
            *end += line.len();
            Some((*end - line.len(), line))
        });
        let start = lines.find(|(_, line)| line.matches('.').count() >= MAX_DEPTH).map_or(0, |(start, _)| start);
        let message = format!("a key here has more than {MAX_DEPTH} parts; each dot divides a key");
        return Some((place(start..start), message, "shorten it; a part that has dots itself is put in quotes"));
    }
    error.message().contains("max recursion depth met").then(|| {
        let message = format!("brackets are more than {MAX_DEPTH} deep in each other");
        (place(error.span().unwrap_or(0..0)), message, "no key takes that: take brackets out")
    })
}

/// What stands after the last `=` before an error, if it begins with a digit or a sign and is one word: a version such as
/// `1.4.0`, a date such as `2026.11.28`, or an account id with leading zeros. TOML has no such values.
fn unquoted(text: &str, column: usize, at: usize) -> Option<&str> {
    let start = at.checked_sub(column)?;
    let line = text.get(start..)?.lines().next()?;
    // The last assignment that begins before the error: an inline table has several.
    let assigned = line.get(..column)?.rfind('=').or_else(|| line.find('='))?;
    let value = line.get(assigned + 1..)?.trim_start();
    let end = value.find(|c: char| c.is_whitespace() || matches!(c, ',' | '}' | ']' | '#' | '"' | '\'' | '='));
    let word = value.get(..end.unwrap_or(value.len()))?;
    let digits = word.trim_start_matches(['+', '-', '.']);
    (digits.starts_with(|c: char| c.is_ascii_digit()) && word.len() <= 128).then_some(word)
}

/// The path of a key below another.
pub(crate) fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

fn table_of(table: &DeTable<'_>, source: &Arc<SourceText>, parent: &str) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let path = join(parent, key.get_ref());
        let node = node_of(value, key.span(), source, path.clone());
        let entry = Entry { key: Place::of(Arc::clone(source), key.span(), path), node };
        (key.get_ref().to_string(), entry)
    });
    Value::Table(entries.collect())
}

fn node_of(value: &Spanned<DeValue<'_>>, key: Range<usize>, source: &Arc<SourceText>, path: String) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        // What doesn't fit is as far out of every range as the greatest number.
        DeValue::Integer(integer) => {
            Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or(i64::MAX))
        }
        DeValue::Float(_) => Value::Float,
        DeValue::Boolean(_) => Value::Boolean,
        DeValue::Datetime(datetime) => Value::Datetime(datetime.to_string()),
        DeValue::Array(array) => {
            let items = array.iter().enumerate();
            Value::Array(items.map(|(at, item)| node_of(item, item.span(), source, format!("{path}[{at}]"))).collect())
        }
        DeValue::Table(table) => table_of(table, source, &path),
    };
    // A table's own span may cover all that is in it, or nothing: its key is what a person looks for.
    let span = if matches!(kind, Value::Table(_)) && !key.is_empty() { key } else { value.span() };
    Node { place: Place::of(Arc::clone(source), span, path), value: kind }
}
