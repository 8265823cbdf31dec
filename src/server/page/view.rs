//! What a page shows of targets and events, borrowed from what is known. Everything here is hashed to find whether a page
//! has changed, so nothing here may say how long ago something was.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use jiff::Timestamp;

use crate::history::wording;
use crate::model::event::{EventKind, EventRecord};
use crate::model::status::Snapshot;
use crate::model::{State, TargetState};

/// A target's row.
#[derive(Debug, Hash)]
pub(super) struct Row<'a> {
    pub(super) reference: String,
    /// `asg/web`.
    pub(super) local: &'a str,
    pub(super) component: &'a str,
    pub(super) state: &'static str,
    /// How grave the state is: `good`, `busy`, `waits`, `bad` or `off`.
    pub(super) tone: &'static str,
    pub(super) drifted: bool,
    pub(super) rank: u8,
    pub(super) reason: Vec<Part>,
    /// When AWS was last read for it, where that isn't now.
    pub(super) read: Option<Timestamp>,
    /// The new shape that a rollout brings.
    pub(super) shape: Option<Vec<Part>>,
    /// What works now but needs somebody's attention.
    pub(super) warnings: Vec<Vec<Part>>,
    pub(super) desired: &'a str,
    /// What runs, if that isn't what is desired.
    pub(super) running: Option<&'a str>,
    pub(super) updated: u32,
    pub(super) total: u32,
    /// How much of a rollout that runs is done, 0 to 100.
    pub(super) progress: Option<u8>,
    pub(super) since: Timestamp,
    pub(super) author: &'a str,
    pub(super) subject: &'a str,
    pub(super) commit: &'a str,
    pub(super) pinned: Timestamp,
}

impl<'a> Row<'a> {
    pub(super) fn of(local: &'a str, target: &'a TargetState) -> Self {
        let moving = matches!(target.state, State::RollingOut | State::Overdue);
        let shared = u64::from(target.updated) * 100 / u64::from(target.total.max(1));
        let percentage = target.rollout.as_ref().and_then(|rollout| rollout.percentage);
        Self {
            reference: target.target.to_string(),
            local,
            component: target.pin.component.as_str(),
            state: target.state.as_str(),
            tone: tone(target.state),
            drifted: target.drifted,
            rank: rank(target),
            reason: parts(&reason(target)),
            read: target.observed.filter(|_| target.state == State::Unknown),
            shape: target.shape.as_ref().map(|change| parts(&change.to_string())),
            warnings: target.warnings.iter().map(|warning| parts(warning)).collect(),
            desired: target.pin.version.as_str(),
            running: target.running.as_deref().filter(|running| *running != target.pin.version.as_str()),
            updated: target.updated,
            total: target.total,
            progress: moving.then(|| percentage.or_else(|| u8::try_from(shared).ok()).unwrap_or(0)),
            since: target.since,
            author: &target.pin.provenance.author,
            subject: &target.pin.provenance.subject,
            commit: target.pin.provenance.commit.as_str(),
            pinned: target.pin.provenance.time,
        }
    }
}

/// Why the target is in its state, with what it was before where that isn't known.
fn reason(target: &TargetState) -> String {
    let before = target.last_known.filter(|_| target.state == State::Unknown).map(|last| format!("was {last}"));
    let reason = target.reason.as_ref().map(ToString::to_string);
    before.into_iter().chain(reason).collect::<Vec<String>>().join("; ")
}

/// How grave a state is.
pub(super) fn tone(state: State) -> &'static str {
    match state {
        State::InSync => "good",
        State::RollingOut | State::Verifying => "busy",
        State::Pending | State::Unknown => "waits",
        State::Quarantined | State::Overdue | State::Blocked => "bad",
        State::Suspended => "off",
    }
}

/// How grave it is how a target is: drift is worth a look, whatever the state.
pub(super) fn tone_of(target: &TargetState) -> &'static str {
    match tone(target.state) {
        "bad" => "bad",
        _ if target.drifted => "waits",
        tone => tone,
    }
}

/// Whether somebody has to look at a target.
pub(super) fn needs_attention(target: &TargetState) -> bool {
    target.drifted || matches!(target.state, State::Quarantined | State::Overdue | State::Blocked | State::Unknown)
}

/// How soon somebody should see a target: 0 if it needs attention, 1 if it moves or waits, 2 if all is well.
pub(super) fn rank(target: &TargetState) -> u8 {
    match target.state {
        _ if needs_attention(target) => 0,
        State::InSync => 2,
        _ => 1,
    }
}

/// A piece of a text: code stands between backticks.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Part {
    pub(super) code: bool,
    pub(super) text: String,
}

/// The pieces of a text. A backtick without its twin is one.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |code: bool, text: &str| {
        if !text.is_empty() {
            parts.push(Part { code, text: text.to_owned() });
        }
    };
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((code, after)) = after.split_once('`') else { break };
        add(false, before);
        add(true, code);
        rest = after;
    }
    add(false, rest);
    parts
}

/// A count for people: `1,000`.
pub(super) fn grouped(count: usize) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An event's line.
#[derive(Debug, Hash)]
pub(super) struct Line {
    /// By what a script knows it again.
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) kind: &'static str,
    pub(super) tone: &'static str,
    /// The target or else the environment, and where that has a page, `true`.
    pub(super) subject: String,
    pub(super) linked: bool,
    pub(super) words: Vec<Part>,
    pub(super) commit: String,
}

impl Line {
    pub(super) fn of(event: &EventRecord, status: &Snapshot) -> Self {
        let subject = event.target.as_ref().or(event.environment.as_ref());
        let mut hasher = DefaultHasher::new();
        (event.at, event.kind, subject, &event.key).hash(&mut hasher);
        Self {
            id: format!("e-{:016x}", hasher.finish()),
            at: event.at,
            kind: event.kind.as_str(),
            tone: event_tone(event),
            linked: event.target.as_deref().is_some_and(|target| find(status, target).is_some()),
            subject: subject.cloned().unwrap_or_default(),
            words: parts(&wording::words(event)),
            commit: event.commit.clone().unwrap_or_default(),
        }
    }
}

fn event_tone(event: &EventRecord) -> &'static str {
    match event.kind {
        EventKind::InSync | EventKind::DriftCorrected | EventKind::EnvironmentRecovered => "good",
        EventKind::RolloutStarted | EventKind::PinChanged => "busy",
        EventKind::Denied => "waits",
        EventKind::Quarantined | EventKind::Overdue | EventKind::Blocked | EventKind::EnvironmentBroken => "bad",
        EventKind::Drifted => "waits",
        EventKind::RolloutEnded => match event.result.as_deref() {
            Some("succeeded") => "good",
            Some("failed") => "bad",
            _ => "off",
        },
        EventKind::Started | EventKind::TargetDiscovered | EventKind::ResyncRequested | EventKind::ResyncCompleted => {
            "off"
        }
    }
}

/// A target by its reference.
pub(super) fn find<'a>(status: &'a Snapshot, reference: &str) -> Option<&'a TargetState> {
    let (environment, local) = reference.split_once('/')?;
    status.environments.get(environment)?.targets.get(local)
}

/// A choice of a form.
#[derive(Debug, Hash)]
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) label: String,
    pub(super) selected: bool,
}

impl Choice {
    /// The choices of a form's field: any, then these.
    pub(super) fn among<'c>(any: &str, values: impl IntoIterator<Item = &'c str>, selected: &str) -> Vec<Self> {
        let any = Self { value: String::new(), label: any.to_owned(), selected: selected.is_empty() };
        let others = values.into_iter().map(|value| Self {
            value: value.to_owned(),
            label: value.to_owned(),
            selected: value == selected,
        });
        std::iter::once(any).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_stands_between_backticks() {
        let made = |text: &str| parts(text).into_iter().map(|part| (part.code, part.text)).collect::<Vec<_>>();
        let said = |text: &str| (false, text.to_owned());
        let code = |text: &str| (true, text.to_owned());
        assert_eq!(made("push `a b` or `c`"), [said("push "), code("a b"), said(" or "), code("c")]);
        assert_eq!(made("a ` b"), [said("a ` b")]);
        assert_eq!(made("`` x"), [said(" x")]);
        assert_eq!(made(""), []);
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
