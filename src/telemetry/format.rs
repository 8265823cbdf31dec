//! How a log line is written.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::LogFormat;
use crate::clock::Clock;
use crate::model::escape::{one_line, plain_json};

/// Writes events and the fields of spans, each in the same format.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    format: LogFormat,
    clock: Arc<dyn Clock>,
}

impl Lines {
    pub(super) fn new(format: LogFormat, clock: Arc<dyn Clock>) -> Self {
        Self { format, clock }
    }
}

/// A span's or event's fields as they stand in a line: ` key=value` each, or `,"key":value` each.
struct Fields {
    format: LogFormat,
    message: String,
    rest: String,
}

impl Fields {
    fn new(format: LogFormat) -> Self {
        Self { format, message: String::new(), rest: String::new() }
    }

    /// Takes a value as text, and as JSON where it is a number or truth value.
    fn add(&mut self, field: &Field, text: &str, json: Option<serde_json::Value>) {
        let name = field.name();
        if name == "message" {
            self.message.push_str(text);
            return;
        }
        // Writing into a string can't fail.
        let _ = match self.format {
            LogFormat::Json => {
                let value = json.unwrap_or_else(|| serde_json::Value::from(text));
                write!(self.rest, ",{}:{}", serde_json::Value::from(name), plain_json(&value.to_string()))
            }
            LogFormat::Human { colour } => {
                let dim = style(colour, Style::new().dimmed());
                let value = one_line(text);
                // Quoted only where the end of the value couldn't be told otherwise.
                if value.is_empty() || value.contains([' ', '"', '=']) {
                    write!(self.rest, " {dim}{name}={dim:#}\"{}\"", value.replace('"', "\\\""))
                } else {
                    write!(self.rest, " {dim}{name}={dim:#}{value}")
                }
            }
        };
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"), None);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value, None);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, &value.to_string(), Some(value.into()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, &value.to_string(), Some(value.into()));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, &value.to_string(), Some(value.into()));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, &value.to_string(), Some(value.into()));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.add(field, &text, None);
    }
}

impl<'writer> FormatFields<'writer> for Lines {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = Fields::new(self.format);
        fields.record(&mut visitor);
        writer.write_str(&visitor.rest)
    }

    /// Fields that are recorded later follow the first ones; both formats can simply be continued.
    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::new(self.format);
        event.record(&mut fields);
        let now = self.clock.now();
        let level = *event.metadata().level();
        match self.format {
            LogFormat::Human { colour } => {
                let dim = style(colour, Style::new().dimmed());
                let paint = style(colour, level_style(level));
                let time = now.strftime("%H:%M:%S");
                write!(line, "{dim}{time}{dim:#} {paint}{level:<5}{paint:#} {}", one_line(&fields.message))?;
            }
            LogFormat::Json => {
                let message = serde_json::Value::from(fields.message.as_str()).to_string();
                let message = plain_json(&message);
                let module = serde_json::Value::from(event.metadata().target());
                write!(line, r#"{{"time":"{now:.3}","level":"{level}","message":{message},"module":{module}"#)?;
            }
        }
        line.write_str(&fields.rest)?;
        // Not `event_scope`: for a person the event's own fields come first, then those of the spans around it.
        if let Some(scope) = context.event_scope() {
            for span in scope {
                if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                    line.write_str(&fields.fields)?;
                }
            }
        }
        if self.format == LogFormat::Json {
            line.write_char('}')?;
        }
        line.write_char('\n')
    }
}

fn style(colour: bool, style: Style) -> Style {
    if colour { style } else { Style::new() }
}

fn level_style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default().bold(),
        Level::WARN => AnsiColor::Yellow.on_default().bold(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Magenta.on_default(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, MutexGuard};

    use jiff::Timestamp;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Debug)]
    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            "2026-01-02T12:30:05.25Z".parse().unwrap()
        }
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    struct Guard<'a>(MutexGuard<'a, Vec<u8>>);

    impl io::Write for Guard<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Buffer {
        type Writer = Guard<'a>;

        fn make_writer(&'a self) -> Guard<'a> {
            Guard(self.0.lock().unwrap())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let subscriber = super::super::subscriber("info", format, Arc::new(Noon), buffer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn a_rollout() {
        let span = tracing::info_span!("pass", environment = "prod", pass = tracing::field::Empty);
        let _inside = span.enter();
        span.record("pass", 7);
        tracing::info!(target_ref = %"prod/asg/web", from = "1.4.1", percentage = 40, "rollout started");
    }

    #[test]
    fn people_get_one_short_line() {
        let text = logged(LogFormat::Human { colour: false }, a_rollout);
        assert_eq!(
            text,
            "12:30:05 INFO  rollout started target_ref=prod/asg/web from=1.4.1 percentage=40 environment=prod pass=7\n"
        );
    }

    #[test]
    fn machines_get_an_object() {
        let text = logged(LogFormat::Json, a_rollout);
        let object: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["time"], "2026-01-02T12:30:05.250Z");
        assert_eq!(object["level"], "INFO");
        assert_eq!(object["message"], "rollout started");
        assert_eq!(object["percentage"], 40);
        assert_eq!(object["environment"], "prod");
        assert_eq!(object["pass"], 7);
    }

    #[test]
    fn untrusted_values_stay_in_their_line() {
        let subject = "fix\n12:30:05 ERROR all is lost\u{1b}[2J\u{9b}2J\u{202e}";
        let event = || {
            tracing::warn!(subject, author = %subject, debug = ?subject, "saw {subject}");
            let span = tracing::warn_span!("commit", in_span = %subject);
            let _inside = span.enter();
            tracing::warn!("in a span");
        };
        for format in [LogFormat::Human { colour: false }, LogFormat::Json] {
            let text = logged(format, event);
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.ends_with('\n'), "{text}");
            assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text}");
            if format == LogFormat::Json {
                for line in text.lines() {
                    serde_json::from_str::<serde_json::Value>(line).unwrap();
                }
                let first = text.lines().next().unwrap();
                assert_eq!(serde_json::from_str::<serde_json::Value>(first).unwrap()["subject"], subject);
            }
        }
    }

    #[test]
    fn an_error_comes_with_its_causes() {
        let error = super::super::subscriber("pinion=loud", LogFormat::Json, Arc::new(Noon), io::sink).err().unwrap();
        let text = logged(LogFormat::Human { colour: false }, || {
            tracing::error!(error = &error as &dyn std::error::Error, "no");
        });
        assert!(text.contains("`pinion=loud` is not a log filter") && text.contains(": "), "{text}");
    }

    #[test]
    fn colour_is_only_around_our_own_words() {
        let text = logged(LogFormat::Human { colour: true }, || tracing::error!("x"));
        assert!(text.contains("\u{1b}[31m") || text.contains("\u{1b}[1m\u{1b}[31m"), "{text:?}");
    }
}
