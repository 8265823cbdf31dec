//! What becomes of a note, given what the history has already. Pure: it sees the keys through a closure.

use crate::model::event::{EventKind, EventRecord};

/// What is to be kept of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nothing: it is known already, or says nothing new.
    Nothing,
    /// This event.
    Added(EventRecord),
    /// This event, which has no key of its own; and this key is free again.
    Closed(EventRecord, String),
    /// No event, but from now on the first key is known, as another one for what the second leads to.
    Alias(String, String),
}

/// What to keep of a note. `known` says of which kind the event with a key is.
///
/// The first note that a process sends of each target says that it found it. That is news only if the target is new, or
/// if its pin has changed while no process looked.
pub(super) fn keep(mut event: EventRecord, known: impl Fn(&str) -> Option<EventKind>) -> Kept {
    let pin = pin_key(&event);
    match event.kind {
        EventKind::TargetDiscovered if known(&event.key).is_some() => {
            let Some(pin) = pin.filter(|pin| known(pin).is_none()) else { return Kept::Nothing };
            event.kind = EventKind::PinChanged;
            event.key = pin;
        }
        EventKind::InSync => {
            let found = pin.as_deref().and_then(&known);
            if let (Some(EventKind::TargetDiscovered), None, Some(pin), None) =
                (found, &event.rollout, &pin, known(&event.key))
            {
                // It was so before Pinion looked for the first time, and isn't the end of anything; nor is it when it is
                // so once more after drift.
                return Kept::Alias(event.key, pin.clone());
            }
            let pin = found;
            // Of a pin that was there before, nobody knows how long it waited for Pinion.
            let took = event.committed.map(|committed| event.at.duration_since(committed).as_secs());
            let seen = pin == Some(EventKind::PinChanged);
            event.seconds = took.filter(|_| seen).map(|seconds| u64::try_from(seconds).unwrap_or(0));
        }
        EventKind::DriftCorrected | EventKind::EnvironmentRecovered => {
            let opened = std::mem::take(&mut event.key);
            return if known(&opened).is_some() { Kept::Closed(event, opened) } else { Kept::Nothing };
        }
        _ => {}
    }
    if !event.key.is_empty() && known(&event.key).is_some() { Kept::Nothing } else { Kept::Added(event) }
}

/// The key of a target's pin, under which its being found stands, too.
pub(super) fn pin_key(event: &EventRecord) -> Option<String> {
    let (target, commit) = (event.target.as_ref()?, event.commit.as_ref()?);
    Some(format!("pin-changed|{target}|{commit}"))
}
