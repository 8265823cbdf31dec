//! What is wrong with a file, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::model::escape::one_line;
use crate::model::words;

/// So many findings are kept of what is checked together. Who has fixed these will see the next.
const MOST: usize = 200;

/// A file as it was given: its path and its text.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceText {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceText {
    /// Line and column of a byte offset, both from 1; the column counts characters.
    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        (line, column)
    }
}

/// A place in a file, and the key that stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) source: Arc<SourceText>,
    pub(crate) span: Range<usize>,
    /// The path of the key, such as `asg.web.rollout.min_healthy`; empty for the file as a whole.
    pub(crate) key: String,
}

impl Place {
    /// A file as a whole, also one that isn't there.
    pub(crate) fn file(path: &str) -> Self {
        Self::of(Arc::new(SourceText { path: path.to_owned(), text: String::new() }), 0..0, String::new())
    }

    pub(crate) fn of(source: Arc<SourceText>, span: Range<usize>, key: String) -> Self {
        Self { source, span, key }
    }

    /// What stands there.
    pub(crate) fn text(&self) -> &str {
        self.source.text.get(self.span.clone()).unwrap_or_default()
    }

    /// `path:line`, for a finding elsewhere that names this place.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}", self.source.path, self.source.position(self.span.start).0)
    }
}

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The file's path within the repository.
    pub file: String,
    /// The line, from 1; 1 if it is about the file as a whole.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// The path of the key, such as `asg.web.rollout.min_healthy`; empty if it is about the file as a whole.
    pub key: String,
    /// The name of the check that found it, such as `unknown-key`. Stable.
    pub check: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The bytes that it is about.
    #[serde(skip)]
    pub(crate) span: (usize, usize),
    #[serde(skip)]
    pub(crate) source: Arc<SourceText>,
}

impl Finding {
    pub(crate) fn new(place: &Place, check: &'static str, message: String, help: Option<String>) -> Self {
        // What stands in a file may be of any length, and may be meant to steer a reader's terminal.
        const MAX_LENGTH: usize = 1000;
        let shown = |text: String| words::shortened(one_line(&text).into_owned(), MAX_LENGTH);
        let (line, column) = place.source.position(place.span.start);
        Self {
            file: shown(place.source.path.clone()),
            line,
            column,
            key: shown(place.key.clone()),
            check,
            message: shown(message),
            help: help.map(shown),
            span: (place.span.start, place.span.end),
            source: Arc::clone(&place.source),
        }
    }
}

/// One line, as compilers write it: `file:line:column: error: key: message; help`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: error: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// All that is wrong, ordered by file and line, each finding once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Findings(BTreeSet<Finding>);

impl Findings {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The findings, by file and line.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    /// Those of which something is true, and the others.
    #[must_use]
    pub fn partition(self, is_true: impl Fn(&Finding) -> bool) -> (Self, Self) {
        let (yes, no) = self.0.into_iter().partition(|finding| is_true(finding));
        (Self(yes), Self(no))
    }

    /// Adds those of another check. What is known already isn't added twice.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(others.0.iter().cloned());
    }

    /// Whether this one is among them.
    pub(crate) fn has(&self, finding: &Finding) -> bool {
        self.0.contains(finding)
    }

    /// Adds one of another check.
    pub fn note(&mut self, finding: &Finding) {
        self.0.insert(finding.clone());
    }

    pub(crate) fn report(&mut self, place: &Place, check: &'static str, message: impl Into<String>) {
        self.add(place, check, message.into(), None);
    }

    pub(crate) fn report_with_help(
        &mut self,
        place: &Place,
        check: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add(place, check, message.into(), Some(help.into()));
    }

    /// Finding the line of each costs as much as the file is long: a untrusted person's file of nothing but mistakes would take
    /// minutes.
    fn add(&mut self, place: &Place, check: &'static str, message: String, help: Option<String>) {
        if self.0.len() < MOST {
            self.0.insert(Finding::new(place, check, message, help));
        }
    }
}

/// One line for each.
impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
