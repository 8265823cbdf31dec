//! Events in words, for people.

use jiff::Timestamp;

use crate::model::event::{EventKind, EventRecord};

/// What an event says beside its time, kind and target: `1.4.1 → 1.4.2 by Ada: frontend 1.4.2`.
#[must_use]
pub fn words(event: &EventRecord) -> String {
    let version = event.version.as_deref().unwrap_or("an earlier version");
    let because = |text: String| match event.text.as_deref().filter(|why| !why.is_empty()) {
        Some(why) if text.is_empty() => why.to_owned(),
        Some(why) => format!("{text}: {why}"),
        None => text,
    };
    match event.kind {
        EventKind::Started => format!("Pinion {version}"),
        EventKind::TargetDiscovered => format!("pinned to {version}{}", by(event)),
        EventKind::PinChanged => {
            let from = event.previous.as_ref().filter(|previous| *previous != version);
            format!("{}{version}{}", from.map(|from| format!("{from} → ")).unwrap_or_default(), by(event))
        }
        EventKind::RolloutStarted => version.to_owned(),
        EventKind::RolloutEnded => {
            let result = event.result.as_deref().unwrap_or("ended");
            let took = event.seconds.map(|seconds| format!(" after {}", duration(seconds))).unwrap_or_default();
            because(format!("{version} {result}{took}"))
        }
        EventKind::InSync => {
            let took = event.seconds.map(|seconds| format!(", {} after its commit", duration(seconds)));
            format!("{version}{}", took.unwrap_or_default())
        }
        EventKind::Quarantined | EventKind::Overdue | EventKind::Blocked | EventKind::Denied => {
            because(version.to_owned())
        }
        EventKind::Drifted => because(format!("not {version}")),
        EventKind::DriftCorrected => version.to_owned(),
        EventKind::EnvironmentBroken
        | EventKind::EnvironmentRecovered
        | EventKind::ResyncRequested
        | EventKind::ResyncCompleted => because(String::new()),
    }
}

fn by(event: &EventRecord) -> String {
    let author = event.author.as_ref().map(|author| format!(" by {author}")).unwrap_or_default();
    let subject = event.subject.as_ref().map(|subject| format!(": {subject}")).unwrap_or_default();
    format!("{author}{subject}")
}

/// A duration in the two largest units that matter: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
#[must_use]
pub fn duration(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let mut parts = Vec::new();
    let mut rest = seconds;
    for (length, unit) in UNITS {
        let count = rest / length;
        rest %= length;
        if count > 0 || !parts.is_empty() {
            parts.push((count, unit));
        }
    }
    parts.truncate(2);
    parts.retain(|(count, _)| *count > 0);
    if parts.is_empty() {
        return "0 s".to_owned();
    }
    parts.into_iter().map(|(count, unit)| format!("{count} {unit}")).collect::<Vec<_>>().join(" ")
}

/// How long ago, in the largest fitting unit: `45 s`, `12 min`, `3 h`, `5 d`. The status page's script says it likewise.
#[must_use]
pub fn ago(since: Timestamp, now: Timestamp) -> String {
    match now.duration_since(since).as_secs().max(0) {
        seconds @ ..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// The time that somebody means by `7d`, `12h`, `2026-01-02` or `2026-01-02T12:00:00Z`.
///
/// # Errors
/// What can be written instead.
pub fn since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        return date.to_zoned(jiff::tz::TimeZone::UTC).map(|at| at.timestamp()).map_err(|error| error.to_string());
    }
    let ago = text.parse::<jiff::Span>().ok().filter(|span| span.is_positive());
    ago.and_then(|span| now.to_zoned(jiff::tz::TimeZone::UTC).checked_sub(span).ok())
        .map(|at| at.timestamp())
        .ok_or_else(|| format!("`{text}` is not a time; write it such as 7d, 12h, 2026-01-02 or 2026-01-02T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let texts = [0, 45, 200, 3600, 7500, 90_000, 86_430].map(duration);
        assert_eq!(texts, ["0 s", "45 s", "3 min 20 s", "1 h", "2 h 5 min", "1 d 1 h", "1 d"]);
    }

    #[test]
    fn times_are_said_in_several_ways() {
        let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
        let at = |text: &str| since(text, now).map(|at| at.to_string());
        assert_eq!(at("7d").unwrap(), "2026-01-03T12:00:00Z");
        assert_eq!(at("90m").unwrap(), "2026-01-10T10:30:00Z");
        assert_eq!(at("2026-01-02").unwrap(), "2026-01-02T00:00:00Z");
        assert_eq!(at("2026-01-02T03:00:00+01:00").unwrap(), "2026-01-02T02:00:00Z");
        for wrong in ["", "yesterday", "-7d", "7"] {
            assert!(at(wrong).unwrap_err().contains("7d"), "{wrong}");
        }
    }

    #[test]
    fn events_are_told_in_few_words() {
        let event = EventRecord {
            kind: EventKind::PinChanged,
            version: Some("1.4.2".to_owned()),
            previous: Some("1.4.1".to_owned()),
            author: Some("Ada".to_owned()),
            subject: Some("frontend 1.4.2".to_owned()),
            result: Some("failed".to_owned()),
            seconds: Some(200),
            text: Some("it stopped".to_owned()),
            ..EventRecord::default()
        };
        let said = |kind: EventKind| words(&EventRecord { kind, ..event.clone() });
        assert_eq!(said(EventKind::PinChanged), "1.4.1 → 1.4.2 by Ada: frontend 1.4.2");
        assert_eq!(said(EventKind::RolloutEnded), "1.4.2 failed after 3 min 20 s: it stopped");
        assert_eq!(said(EventKind::InSync), "1.4.2, 3 min 20 s after its commit");
        assert_eq!(said(EventKind::Quarantined), "1.4.2: it stopped");
        assert_eq!(said(EventKind::ResyncRequested), "it stopped");
    }
}
