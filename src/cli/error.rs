//! Errors at the boundary: what kind, why, and what to do next.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::model::escape;

/// What kind of error it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// Something failed: exit code 1.
    Failed,
    /// The command was used wrongly: exit code 64, `EX_USAGE`.
    Usage,
    /// The reader of our output has gone. Nothing is said, and the exit code is 0.
    BrokenPipe,
}

/// An error that ends a command. Shown as one message, its causes, and hints.
///
/// Doesn't implement [`Error`], so that `?` makes one of any error.
#[derive(Debug)]
pub struct CliError {
    kind: ErrorKind,
    /// The outermost first; each explains the one before it.
    chain: Vec<String>,
    hints: Vec<String>,
}

impl CliError {
    /// A failure.
    #[must_use]
    pub fn failed(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, chain: vec![message.into()], hints: Vec::new() }
    }

    /// Wrong usage.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Usage, chain: vec![message.into()], hints: Vec::new() }
    }

    /// A failure with the chain of its causes.
    #[must_use]
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut kind = ErrorKind::Failed;
        let mut chain = Vec::new();
        let mut next = Some(error);
        while let Some(cause) = next {
            if cause.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe) {
                kind = ErrorKind::BrokenPipe;
            }
            let text = cause.to_string();
            // A transparent error says what its source says.
            if chain.last() != Some(&text) {
                chain.push(text);
            }
            next = cause.source();
        }
        Self { kind, chain, hints: Vec::new() }
    }

    /// Says what was being done when this happened.
    #[must_use]
    pub fn context(mut self, message: impl Into<String>) -> Self {
        self.chain.insert(0, message.into());
        self
    }

    /// Says what may help.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            ErrorKind::Failed => ExitCode::FAILURE,
            ErrorKind::Usage => ExitCode::from(64),
            ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        }
    }

    /// The error for a terminal: several lines, the last one ended. Empty if there is nothing to be said.
    #[must_use]
    pub fn report(&self, colour: bool) -> String {
        let mut text = String::new();
        if self.kind == ErrorKind::BrokenPipe {
            return text;
        }
        let paint = |style: Style| if colour { style } else { Style::new() };
        let (red, cyan) = (paint(AnsiColor::Red.on_default().bold()), paint(AnsiColor::Cyan.on_default().bold()));
        let mut chain = self.chain.iter();
        // Writing into a string can't fail, here and below.
        let _ = writeln!(text, "{red}error:{red:#} {}", escape::lines(chain.next().map_or("", String::as_str)));
        for cause in chain {
            let _ = writeln!(text, "  caused by: {}", escape::lines(cause.trim_end()).replace('\n', "\n    "));
        }
        for hint in &self.hints {
            let _ = writeln!(text, "{cyan}hint:{cyan:#} {}", escape::lines(hint).replace('\n', "\n  "));
        }
        text
    }
}

/// Without colours, as in [`CliError::report`].
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.report(false).trim_end())
    }
}

impl<E: Error + 'static> From<E> for CliError {
    fn from(error: E) -> Self {
        Self::from_error(&error)
    }
}

/// Adds context and hints to the errors of a result.
pub trait ResultExt<T> {
    /// Says what was being done.
    ///
    /// # Errors
    /// The same, with its context.
    fn context(self, message: impl FnOnce() -> String) -> Result<T, CliError>;

    /// Says what may help.
    ///
    /// # Errors
    /// The same, with its hint.
    fn hint(self, hint: impl FnOnce() -> String) -> Result<T, CliError>;
}

impl<T, E: Into<CliError>> ResultExt<T> for Result<T, E> {
    fn context(self, message: impl FnOnce() -> String) -> Result<T, CliError> {
        self.map_err(|error| error.into().context(message()))
    }

    fn hint(self, hint: impl FnOnce() -> String) -> Result<T, CliError> {
        self.map_err(|error| error.into().hint(hint()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_causes_and_hints() {
        let cause = std::io::Error::other("disk on fire");
        let error = Err::<(), _>(cause)
            .context(|| "can't read pinion.toml".to_owned())
            .hint(|| "fetch water".to_owned())
            .unwrap_err();
        assert_eq!(error.to_string(), "error: can't read pinion.toml\n  caused by: disk on fire\nhint: fetch water");
        assert_eq!(error.exit_code(), ExitCode::FAILURE);
        assert_eq!(CliError::usage("no").exit_code(), ExitCode::from(64));
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let error = CliError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("while printing");
        assert_eq!(error.exit_code(), ExitCode::SUCCESS);
        assert_eq!(error.report(true), "");
    }
}
