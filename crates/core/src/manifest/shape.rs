//! What a file may hold. One description of each table, made with [`table!`], both reads it, reporting all that is
//! wrong, and gives its JSON Schema.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::friendly::SpanParser;
use schemars::{Schema, json_schema};

use super::finding::{Findings, Place};
use super::template::Template;
use super::tree::{Node, Value};
use crate::model::{
    AccountId, CommitId, Component, Digest, EnvironmentName, Installation, LocalRef, Named, Region, Version, words,
};

/// What can be read from a node.
pub(crate) trait Shape: Sized {
    /// Reads it. What is wrong is reported; `None` if nothing is left.
    fn read(node: &Node, findings: &mut Findings) -> Option<Self>;

    /// Its JSON Schema, whole.
    fn schema() -> Schema;
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) place: Place,
    pub(crate) value: T,
}

/// The value of a key that may be missing.
#[derive(Debug, Clone, Default)]
pub(crate) enum Field<T> {
    /// There is no such key.
    #[default]
    Absent,
    /// There is, and what is wrong with its value has been reported.
    Bad,
    Given(At<T>),
}

impl<T: Shape> Field<T> {
    pub(crate) fn read(node: Option<&Node>, findings: &mut Findings) -> Self {
        let Some(node) = node else { return Self::Absent };
        match T::read(node, findings) {
            Some(value) => Self::Given(At { place: node.place.clone(), value }),
            None => Self::Bad,
        }
    }
}

impl<T> Field<T> {
    pub(crate) fn at(&self) -> Option<&At<T>> {
        if let Self::Given(at) = self { Some(at) } else { None }
    }

    pub(crate) fn value(&self) -> Option<&T> {
        self.at().map(|at| &at.value)
    }

    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The value of a key that has to be there.
    pub(crate) fn required(&self, table: &Place, key: &str, findings: &mut Findings) -> Option<&At<T>> {
        if self.is_absent() {
            let place = Place { key: super::tree::join(&table.key, key), ..table.clone() };
            findings.report(&place, "missing-key", format!("the key `{key}` is missing"));
        }
        self.at()
    }
}

/// Declares a table: a struct with a [`Field`] for each key, its [`Shape`], and its keys. The doc comments become the
/// descriptions in the schema. `checked` are keys of which only the mistakes are wanted, and no field; `refused` names keys
/// that get an explanation of their own; `required` only marks keys in the schema, for what reads the struct knows best what
/// is missing; `instead` says what to write where something else stands instead of the table.
macro_rules! table {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $field:ident : $type:ty, )*
        }
        $( checked { $( $(#[doc = $checked_doc:literal])* $checked:ident : $checked_type:ty, )* } )?
        $( required [ $($required:ident),* ] )?
        $( refused { $($key:literal => $why:literal,)* } )?
        $( instead $instead:literal )?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub(crate) struct $name {
            $( pub(crate) $field: $crate::manifest::shape::Field<$type>, )*
        }

        impl $name {
            /// The keys that there are.
            pub(crate) const KEYS: &[&str] = &[$(stringify!($field),)* $($(stringify!($checked),)*)?];
        }

        impl $crate::manifest::shape::Shape for $name {
            fn read(
                node: &$crate::manifest::tree::Node,
                findings: &mut $crate::manifest::Findings,
            ) -> Option<Self> {
                const REFUSED: &[(&str, &str)] = &[$($(($key, $why),)*)?];
                const INSTEAD: &[&str] = &[$($instead)?];
                let entries = $crate::manifest::shape::entries(node, Self::KEYS, REFUSED, INSTEAD.first().copied(), findings)?;
                $($(
                    if let Some(entry) = entries.get(stringify!($checked)) {
                        <$checked_type as $crate::manifest::shape::Shape>::read(&entry.node, findings);
                    }
                )*)?
                Some(Self {
                    $( $field: $crate::manifest::shape::Field::read(
                        entries.get(stringify!($field)).map(|entry| &entry.node),
                        findings,
                    ), )*
                })
            }

            fn schema() -> schemars::Schema {
                let mut properties = serde_json::Map::new();
                $( properties.insert(
                    stringify!($field).to_owned(),
                    $crate::manifest::shape::described(
                        <$type as $crate::manifest::shape::Shape>::schema(),
                        &[$($doc),*],
                    ).to_value(),
                ); )*
                $($( properties.insert(
                    stringify!($checked).to_owned(),
                    $crate::manifest::shape::described(
                        <$checked_type as $crate::manifest::shape::Shape>::schema(),
                        &[$($checked_doc),*],
                    ).to_value(),
                ); )*)?
                let required: &[&str] = &[$($(stringify!($required)),*)?];
                $crate::manifest::shape::table_schema(&[$($about),*], properties, required)
            }
        }
    };
}
pub(crate) use table;

/// The entries of a table whose keys are all known; reports the others.
pub(crate) fn entries<'a>(
    node: &'a Node,
    keys: &[&str],
    refused: &[(&str, &str)],
    instead: Option<&str>,
    findings: &mut Findings,
) -> Option<&'a BTreeMap<String, super::tree::Entry>> {
    let Value::Table(entries) = &node.value else {
        match instead {
            Some(help) => {
                let message = format!("expected a table, found {}", node.value.kind());
                findings.report_with_help(&node.place, "wrong-type", message, help);
            }
            None => wrong_type(node, "a table", findings),
        }
        return None;
    };
    for (name, entry) in entries.iter().filter(|(name, _)| !keys.contains(&name.as_str())) {
        let message = format!("unknown key `{name}`");
        let help = match refused.iter().find(|(key, _)| key == name) {
            Some((_, why)) => (*why).to_owned(),
            None => match nearest(name, keys) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", keys.join(", ")),
            },
        };
        findings.report_with_help(&entry.key, "unknown-key", message, help);
    }
    Some(entries)
}

/// The word that was probably meant, in whichever case. What is longer than any word isn't one: comparing takes as much time and memory as
/// both are long.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    const MAX_LENGTH: usize = 128;
    if word.len() > MAX_LENGTH {
        return None;
    }
    let word = word.to_lowercase();
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(&word, &known.to_lowercase()), *known));
    let (distance, near) = distances.min()?;
    (distance <= 1.max(near.len() / 3)).then_some(near)
}

pub(crate) fn described(mut schema: Schema, doc: &[&str]) -> Schema {
    schema.insert("description".to_owned(), doc.concat().trim().into());
    schema
}

pub(crate) fn table_schema(
    about: &[&str],
    properties: serde_json::Map<String, serde_json::Value>,
    required: &[&str],
) -> Schema {
    let mut schema = json_schema!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    described(schema, about)
}

fn wrong_type(node: &Node, expected: &str, findings: &mut Findings) {
    let message = format!("expected {expected}, found {}", node.value.kind());
    findings.report(&node.place, "wrong-type", message);
}

pub(crate) fn text<'a>(node: &'a Node, findings: &mut Findings) -> Option<&'a str> {
    if let Value::String(text) = &node.value {
        return Some(text);
    }
    let message = format!("expected a string, found {}", node.value.kind());
    // What stands there is what was meant; it only lacks its quotes.
    match &node.value {
        Value::Array(_) | Value::Table(_) => findings.report(&node.place, "wrong-type", message),
        _ => {
            let help = match node.place.text().trim() {
                "" => "write it in quotes".to_owned(),
                bare => format!("write it in quotes: \"{bare}\""),
            };
            findings.report_with_help(&node.place, "wrong-type", message, help);
        }
    }
    None
}

/// Reads a string that some parser takes.
fn parsed<T, E: ToString>(node: &Node, findings: &mut Findings, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
    match parse(text(node, findings)?) {
        Ok(value) => Some(value),
        Err(error) => {
            findings.report(&node.place, "invalid-value", error.to_string());
            None
        }
    }
}

/// Names of the model, with the pattern that an editor checks.
macro_rules! names {
    ($($type:ty, $pattern:literal;)*) => {$(
        impl Shape for $type {
            fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
                parsed(node, findings, |text| <$type>::try_from(text.to_owned()))
            }

            fn schema() -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

names! {
    AccountId, "^[0-9]{12}$";
    CommitId, "^[0-9a-f]{40}$";
    Component, "^[a-z0-9][a-z0-9_-]{0,62}$";
    Digest, "^sha256:[0-9a-f]{64}$";
    EnvironmentName, "^[a-z0-9][a-z0-9_-]{0,62}$";
    LocalRef, "^(asg|fargate)/[a-z0-9][a-z0-9_-]{0,62}$";
    Installation, "^[a-z0-9][a-z0-9_-]{0,62}$";
    Named, "^([a-z0-9][a-z0-9_-]{0,62}/[a-z0-9][a-z0-9_-]{0,62}/(asg|fargate)/[a-z0-9][a-z0-9_-]{0,62}|~[0-9a-f]{20})$";
    Region, "^[a-z0-9]+(-[a-z0-9]+)+-[a-z0-9]*[0-9]$";
    Version, "^\\S{1,128}$";
}

/// Text that isn't empty and has no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Shape for Text {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        parsed(node, findings, |text| {
            let good = !text.trim().is_empty() && !text.chars().any(char::is_control);
            good.then(|| Self(text.to_owned())).ok_or("this must be one line of text, and not empty")
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

impl<const IN_TARGET: bool, const VERSION: bool> Shape for Template<IN_TARGET, VERSION> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let text = text(node, findings)?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            findings.report(&node.place, "invalid-value", "this must be one line of text, and not empty");
            return None;
        }
        match Self::parse(text) {
            Ok(template) => Some(template),
            Err(error) => {
                findings.report_with_help(&node.place, "bad-placeholder", error.message, error.help);
                None
            }
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// An integer within bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number<const LEAST: u16, const GREATEST: u16>(pub(crate) u16);

impl<const LEAST: u16, const GREATEST: u16> Number<LEAST, GREATEST> {
    /// As a byte, for numbers that can't be greater.
    pub(crate) fn byte(self) -> u8 {
        u8::try_from(self.0).unwrap_or(u8::MAX)
    }
}

impl<const LEAST: u16, const GREATEST: u16> Shape for Number<LEAST, GREATEST> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Integer(integer) = node.value else {
            match &node.value {
                Value::String(text) if text.trim_end_matches(['%', ' ']).parse::<u16>().is_ok() => {
                    let message = format!("expected an integer, found {}", node.value.kind());
                    let help = format!("write it without quotes: {}", text.trim_end_matches(['%', ' ']));
                    findings.report_with_help(&node.place, "wrong-type", message, help);
                }
                _ => wrong_type(node, "an integer", findings),
            }
            return None;
        };
        let number = u16::try_from(integer).ok().filter(|number| (LEAST..=GREATEST).contains(number));
        if number.is_none() {
            let message = format!("this must be from {LEAST} to {GREATEST}");
            findings.report(&node.place, "out-of-range", message);
        }
        number.map(Self)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": LEAST, "maximum": GREATEST })
    }
}

/// A duration with units, in whole seconds within bounds, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span<const LEAST: u64, const GREATEST: u64>(pub(crate) Duration);

impl<const LEAST: u64, const GREATEST: u64> Shape for Span<LEAST, GREATEST> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        const HELP: &str = "write it in hours, minutes and seconds, such as \"90s\", \"45m\" or \"1h 30m\"";
        let Value::String(text) = &node.value else {
            let message = format!("expected a duration, found {}", node.value.kind());
            findings.report_with_help(&node.place, "wrong-type", message, HELP);
            return None;
        };
        let parsed = SpanParser::new().parse_unsigned_duration(text).ok();
        // `01:30:00` has no units; fractions of a second can't be said to AWS.
        let Some(duration) = parsed.filter(|duration| !text.contains(':') && duration.subsec_nanos() == 0) else {
            let message = format!("`{text}` is not a duration in whole seconds");
            findings.report_with_help(&node.place, "invalid-value", message, HELP);
            return None;
        };
        if !(LEAST..=GREATEST).contains(&duration.as_secs()) {
            let [least, greatest] = [LEAST, GREATEST].map(|seconds| words::span(Duration::from_secs(seconds)));
            let message = format!("this must be from {least} to {greatest}");
            findings.report(&node.place, "out-of-range", message);
            return None;
        }
        Some(Self(duration))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "[a-z]", "examples": ["90s", "45m", "1h 30m"] })
    }
}

impl Shape for Timestamp {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let (Value::String(text) | Value::Datetime(text)) = &node.value else {
            wrong_type(node, "a date and time", findings);
            return None;
        };
        let time = text.parse().ok();
        if time.is_none() {
            let help = "write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00";
            let message = format!("`{text}` is not a date and time with its offset");
            findings.report_with_help(&node.place, "invalid-value", message, help);
        }
        time
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

impl<T: Shape> Shape for Vec<At<T>> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            let of_tables = T::schema().get("type").and_then(serde_json::Value::as_str) == Some("object");
            match &node.value {
                found if of_tables => {
                    let message = format!("expected an array of tables, found {}", found.kind());
                    let help = format!("write [[{}]], and the keys of the first one below it", node.place.key);
                    findings.report_with_help(&node.place, "wrong-type", message, help);
                }
                // What may hold credentials isn't repeated.
                single if !matches!(single, Value::Table(_)) && !node.place.text().contains("://") => {
                    let message = format!("expected an array, found {}", single.kind());
                    let help =
                        format!("put it in brackets, also if it is the only one: [{}]", node.place.text().trim());
                    findings.report_with_help(&node.place, "wrong-type", message, help);
                }
                _ => wrong_type(node, "an array", findings),
            }
            return None;
        };
        let read: Vec<_> = items
            .iter()
            .filter_map(|item| T::read(item, findings).map(|value| At { place: item.place.clone(), value }))
            .collect();
        (read.len() == items.len()).then_some(read)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "array", "items": T::schema() })
    }
}

/// A value, or an array of at least one, each of them once.
#[derive(Debug, Clone)]
pub(crate) struct OneOrMore<T>(pub(crate) Vec<T>);

impl<T: Shape + PartialEq> Shape for OneOrMore<T> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Array(items) = &node.value else { return T::read(node, findings).map(|one| Self(vec![one])) };
        if items.is_empty() {
            findings.report(&node.place, "invalid-value", "the array is empty; leave the key out instead");
        }
        let mut read: Vec<T> = Vec::new();
        for item in items {
            let value = T::read(item, findings)?;
            if read.contains(&value) {
                findings.report(&item.place, "invalid-value", "this is in the array twice");
                return None;
            }
            read.push(value);
        }
        (!read.is_empty()).then_some(Self(read))
    }

    fn schema() -> Schema {
        let one = T::schema();
        let more = json_schema!({ "type": "array", "items": one, "minItems": 1, "uniqueItems": true });
        json_schema!({ "anyOf": [T::schema(), more] })
    }
}

impl<T: Shape> Shape for BTreeMap<String, Field<T>> {
    fn read(node: &Node, findings: &mut Findings) -> Option<Self> {
        let Value::Table(entries) = &node.value else {
            wrong_type(node, "a table", findings);
            return None;
        };
        let fields = entries.iter();
        Some(fields.map(|(name, entry)| (name.clone(), Field::read(Some(&entry.node), findings))).collect())
    }

    fn schema() -> Schema {
        json_schema!({ "type": "object", "additionalProperties": T::schema() })
    }
}
