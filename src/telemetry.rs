//! Logs: for people on a terminal, JSON lines otherwise.
//!
//! Values come from untrusted people: a commit's subject, an author's name, AWS's messages. None of them can break out of
//! its line or paint on the terminal; see [`one_line`](crate::model::escape::one_line).

mod format;

use std::io::IsTerminal;
use std::sync::Arc;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

use self::format::Lines;
use crate::clock::{Clock, SystemClock};

/// What is logged where neither `--log` nor `PINION_LOG` says otherwise.
pub const DEFAULT_FILTER: &str = "pinion=info,warn";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// `12:30:05 INFO  message key=value`, in UTC.
    Human {
        /// Whether to colour.
        colour: bool,
    },
    /// One JSON object a line: `time`, `level`, `message`, `module`, and the event's own fields.
    Json,
}

impl LogFormat {
    /// What suits standard error: human on a terminal, JSON otherwise. `NO_COLOR` and its kin are obeyed.
    #[must_use]
    pub fn for_stderr() -> Self {
        let stderr = std::io::stderr();
        if stderr.is_terminal() {
            Self::Human { colour: anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never }
        } else {
            Self::Json
        }
    }
}

/// Why logging can't start.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter isn't one.
    #[error("`{filter}` is not a log filter; write for example `info` or `pinion=debug,warn`")]
    Filter {
        /// The filter as given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else in this process logs already.
    #[error("logging has been started before")]
    Started(#[from] tracing_subscriber::util::TryInitError),
}

/// Libraries that write whole requests and answers to the log, such as task definitions with the values of their variables:
/// never below `info`, whatever the filter says.
const PAYLOADS: [&str; 6] = [
    "aws_config",
    "aws_runtime",
    "aws_sigv4",
    "aws_smithy_http_client",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
];

/// Starts logging to standard error for the whole process.
///
/// # Errors
/// [`LogError`].
pub fn init(filter: &str, format: LogFormat) -> Result<(), LogError> {
    subscriber(filter, format, Arc::new(SystemClock), std::io::stderr)?.try_init()?;
    Ok(())
}

/// Starts logging to a file for the whole process, for commands that have the terminal to themselves.
///
/// # Errors
/// [`LogError`].
pub fn init_file(filter: &str, format: LogFormat, file: std::fs::File) -> Result<(), LogError> {
    subscriber(filter, format, Arc::new(SystemClock), std::sync::Mutex::new(file))?.try_init()?;
    Ok(())
}

/// A subscriber that writes lines to `writer`.
///
/// # Errors
/// [`LogError::Filter`].
pub fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    clock: Arc<dyn Clock>,
    writer: W,
) -> Result<impl tracing::Subscriber + Send + Sync, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let invalid = |source| LogError::Filter { filter: filter.to_owned(), source };
    let mut directives = EnvFilter::try_new(filter).map_err(invalid)?;
    for library in PAYLOADS {
        directives = directives.add_directive(format!("{library}=info").parse().map_err(invalid)?);
    }
    let lines = Lines::new(format, clock);
    Ok(tracing_subscriber::fmt()
        .with_env_filter(directives)
        // Our own formatter escapes and colours; the library's escaping would come on top of it.
        .with_ansi_sanitization(false)
        .fmt_fields(lines.clone())
        .event_format(lines)
        .with_writer(writer)
        .finish())
}
