//! TOML as a tree in which every value knows the file, the place and the key that it comes from, also after merging.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Findings, Place, Source};

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

impl Node {
    /// Parses a file. `None` if it isn't TOML or holds nothing, both of which are reported.
    pub(crate) fn parse(path: &str, bytes: &[u8], findings: &mut Findings) -> Option<Self> {
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let valid = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()).into_owned();
                let end = valid.len();
                let source = Arc::new(Source { path: path.to_owned(), text: valid });
                let place = Place::of(source, end..end, String::new());
                findings.report_with_help(&place, "syntax", "this is not UTF-8", "save the file as UTF-8");
                return None;
            }
        };
        let source = Arc::new(Source { path: path.to_owned(), text });
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
fn report_syntax(source: &Arc<Source>, errors: &[toml::de::Error], findings: &mut Findings) {
    let mut lines = BTreeSet::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
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
        } else if message.starts_with("invalid boolean") || message.starts_with("string values must be quoted") {
            findings.report_with_help(&place, "syntax", message, "put the text in quotes");
        } else {
            findings.report(&place, "syntax", message);
        }
    }
}

/// The path of a key below another.
pub(crate) fn join(parent: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

fn table_of(table: &DeTable<'_>, source: &Arc<Source>, parent: &str) -> Value {
    let entries = table.iter().map(|(key, value)| {
        let path = join(parent, key.get_ref());
        let node = node_of(value, key.span(), source, path.clone());
        let entry = Entry { key: Place::of(Arc::clone(source), key.span(), path), node };
        (key.get_ref().to_string(), entry)
    });
    Value::Table(entries.collect())
}

fn node_of(value: &Spanned<DeValue<'_>>, key: Range<usize>, source: &Arc<Source>, path: String) -> Node {
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
