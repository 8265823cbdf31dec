//! Saying things in one line, within a limit, whatever a untrusted person has put into them.

use jiff::SignedDuration;

use crate::model::CommitId;
use crate::model::escape::one_line;
use crate::model::event::{EventKind, EventRecord};

/// A duration in its two largest units.
#[must_use]
pub fn lasting(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 if seconds % 60 == 0 => format!("{}m", seconds / 60),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3600..172_800 => format!("{}h {}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// One harmless line of at most so many characters.
#[must_use]
pub fn fitting(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= most {
        return line.into_owned();
    }
    let mut cut: String = line.chars().take(most.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    cut.push('…');
    cut
}

/// An event as a sentence.
#[must_use]
pub fn sentence(event: &EventRecord) -> String {
    let place = event.target.as_deref().or(event.environment.as_deref()).unwrap_or("Pinion");
    let version = event.version.as_deref().unwrap_or("a version that isn't known");
    let by = match (&event.author, &event.commit) {
        (Some(author), Some(commit)) => format!(" ({}, {author})", CommitId::short_of(commit)),
        (None, Some(commit)) => format!(" ({})", CommitId::short_of(commit)),
        _ => String::new(),
    };
    let because = event.text.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
    let after = event.seconds.and_then(|seconds| i64::try_from(seconds).ok()).map(SignedDuration::from_secs);
    let after = after.map(|after| format!(" after {}", lasting(after))).unwrap_or_default();
    let what = match event.kind {
        EventKind::PinChanged => match &event.previous {
            Some(previous) => format!("pinned to {version}, before {previous}{by}"),
            None => format!("pinned to {version}{by}"),
        },
        EventKind::RolloutStarted => format!("rollout of {version} started{by}"),
        EventKind::RolloutEnded => {
            format!("rollout of {version} {}{after}{because}", event.result.as_deref().unwrap_or("ended"))
        }
        EventKind::InSync => format!("in sync with {version}{after}{by}"),
        EventKind::Quarantined => format!("{version} is quarantined{because}{by}"),
        EventKind::Overdue => format!("the rollout of {version} is overdue{because}"),
        EventKind::Blocked => format!("blocked{because}"),
        EventKind::Denied => format!("{version} may not be rolled out now{because}"),
        EventKind::Drifted => format!("drifted from {version}{because}"),
        kind => format!("{}{because}", kind.as_str().replace('-', " ")),
    };
    one_line(&format!("{place}: {what}")).into_owned()
}
