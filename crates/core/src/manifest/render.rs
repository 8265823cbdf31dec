//! Findings for people on a terminal, and for programs.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::Serialize;

use super::{Finding, Findings, Loaded};
use crate::guardrail::Ending;
use crate::model::escape;

/// Each finding with its lines of the file, for a terminal of this many columns.
#[must_use]
pub fn graphical(findings: &Findings, colour: bool, width: usize) -> String {
    let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_context_lines(1);
    let mut text = String::new();
    for finding in findings.iter() {
        // Writing into a string can't fail.
        let _ = handler.render_report(&mut text, &Shown::new(finding));
        text.push('\n');
    }
    text
}

/// One line for each finding, `file:line:column: error: key: message; help`, each ended.
#[must_use]
pub fn plain(findings: &Findings) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[derive(Serialize)]
struct Summary<'a> {
    valid: bool,
    environments: usize,
    targets: usize,
    pins: usize,
    findings: &'a Findings,
    warnings: Vec<Warning>,
    notes: Vec<Warning>,
}

/// What is good and yet wants somebody's attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// The file's path within the repository.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What it is about, such as a policy's `@id`.
    pub key: String,
    /// The name of the check that found it, such as `policy-ended`. Stable.
    pub check: &'static str,
    /// What there is to be seen.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// One line, as compilers write it: `file:line: warning: key: message; help`.
impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "warning")
    }
}

impl Warning {
    fn of(finding: &Finding) -> Self {
        Self {
            file: finding.file.clone(),
            line: finding.line,
            key: finding.key.clone(),
            check: finding.check,
            message: finding.message.clone(),
            help: finding.help.clone().unwrap_or_default(),
        }
    }

    fn write(&self, f: &mut impl fmt::Write, word: &str) -> fmt::Result {
        let Self { file, line, key, message, help, .. } = self;
        write!(f, "{file}:{line}: {word}: ")?;
        if !key.is_empty() {
            write!(f, "{key}: ")?;
        }
        f.write_str(message)?;
        if help.is_empty() { Ok(()) } else { write!(f, "; {help}") }
    }
}

/// What of a repository wants attention at a time: what is odd in its files, and guardrails that have ended.
#[must_use]
pub fn warnings(loaded: &Loaded, now: Timestamp) -> Vec<Warning> {
    let ended = loaded.policies.endings().iter().filter(|ending| ending.until <= now);
    let warning = |ending: &Ending| Warning {
        file: ending.path.clone(),
        line: ending.line,
        key: ending.policy.clone(),
        check: "policy-ended",
        message: format!("this policy ended at {} and forbids nothing any more", ending.until),
        help: "take it out".to_owned(),
    };
    odd(loaded).chain(ended.map(warning)).collect()
}

/// What is odd in the files of a repository, at any time.
pub fn odd(loaded: &Loaded) -> impl Iterator<Item = Warning> {
    loaded.warnings.iter().map(Warning::of)
}

/// What may have to be explained, one line for each as in [`Warning`].
#[must_use]
pub fn notes(loaded: &Loaded) -> Vec<String> {
    let line = |finding: &Finding| {
        let mut line = String::new();
        // Writing into a string can't fail.
        let _ = Warning::of(finding).write(&mut line, "note");
        line
    };
    loaded.notes.iter().map(line).collect()
}

/// A JSON object: `valid`, `environments` (all of them), `targets` and `pins` (of those without findings), `findings`, each
/// with `file`, `line`, `column`, `key`, `check`, `message` and `help`, and `warnings` and `notes`, which are the same without
/// `column`.
/// Fields are only ever added.
///
/// # Errors
/// Never, for these types.
pub fn json(loaded: &Loaded, now: Timestamp) -> serde_json::Result<String> {
    let findings = loaded.all_findings();
    let report = Summary {
        valid: findings.is_empty(),
        environments: loaded.environments.len(),
        targets: loaded.targets(),
        pins: loaded.pins(),
        findings: &findings,
        warnings: warnings(loaded, now),
        notes: loaded.notes.iter().map(Warning::of).collect(),
    };
    serde_json::to_string_pretty(&report).map(|text| text + "\n")
}

/// A finding, as miette wants it.
struct Shown<'a> {
    finding: &'a Finding,
    source: NamedSource<Arc<str>>,
}

impl<'a> Shown<'a> {
    fn new(finding: &'a Finding) -> Self {
        let text = Arc::from(escape::lines(&finding.source.text));
        Self { finding, source: NamedSource::new(&finding.file, text) }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.finding.fmt(f)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, key, message, source, .. } = self.finding;
        match (source.text.is_empty(), key.is_empty()) {
            (true, _) => write!(f, "{file}: {message}"),
            (false, true) => f.write_str(message),
            (false, false) => write!(f, "{key}: {message}"),
        }
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.finding.check))
    }

    fn severity(&self) -> Option<Severity> {
        Some(Severity::Error)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.finding.source.text.is_empty()).then_some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (start, end) = self.finding.span;
        Some(Box::new(std::iter::once(LabeledSpan::new(None, start, end.saturating_sub(start)))))
    }
}
