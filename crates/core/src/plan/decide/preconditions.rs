//! What has to be known before a target can be decided about; or the verdict that its lack comes to.

use super::Verdict;
use crate::model::{Artifact, ErrorClass, ObservedTarget, Pin, PortError, ResolveError, State, Suspension, Target};
use crate::plan::{Input, Reason};

/// What has to be known before a target can be decided about.
pub(super) struct Preconditions<'a> {
    pub(super) pin: &'a Pin,
    pub(super) artifact: &'a Artifact,
    pub(super) seen: &'a ObservedTarget,
}

pub(super) fn preconditions<'a>(input: Input<'a>, target: &'a Target) -> Result<Preconditions<'a>, Box<Verdict>> {
    let local = &target.reference.local;
    if let Some(suspension) = target.suspended(input.now) {
        let Suspension { owner, reason, until, reach } = suspension.clone();
        return Err(Box::new(Verdict::of(State::Suspended, Reason::Suspended { owner, reason, until, reach })));
    }
    match &input.observed.identity {
        Some(Ok(caller)) if *caller != input.desired.account.id => {
            let expected = input.desired.account.id.clone();
            return Err(Box::new(Verdict::of(
                State::Blocked,
                Reason::WrongAccount { caller: caller.clone(), expected },
            )));
        }
        Some(Ok(_)) => {}
        // Not even the caller is known, so the account can't be read at all: nobody can tell the targets' states.
        Some(Err(error)) => return Err(Box::new(Verdict::of(State::Unknown, Reason::Unreadable(error.clone())))),
        None => return Err(Box::new(unread())),
    }
    let seen = match input.observed.targets.get(local) {
        Some(Ok(ObservedTarget::Missing(what))) => {
            return Err(Box::new(Verdict::of(State::Blocked, Reason::Missing(what.clone()))));
        }
        Some(Ok(seen)) => seen,
        Some(Err(error)) => return Err(Box::new(failed(error))),
        None => return Err(Box::new(unread())),
    };
    let Some(pin) = input.desired.pin_of(target) else {
        // The files are sound, or they wouldn't count: it is the history that doesn't tell.
        let why = format!(
            "no commit is known that has set the pin of component {}, so that its rollouts could not be recognized; \
             set the pin by a commit of its own",
            target.component
        );
        return Err(Box::new(Verdict::of(State::Blocked, Reason::NoArtifact(why))));
    };
    let artifact = match input.observed.artifacts.get(local) {
        Some(Ok(artifact)) => artifact,
        Some(Err(ResolveError::Unusable(why))) => {
            return Err(Box::new(Verdict::of(State::Blocked, Reason::NoArtifact(why.clone()))));
        }
        Some(Err(ResolveError::Call(error))) => return Err(Box::new(failed(error))),
        None => return Err(Box::new(unread())),
    };
    if let Some(Err(error)) = input.observed.histories.get(local) {
        return Err(Box::new(failed(error)));
    }
    if target.base.rule().is_some() {
        match input.observed.bases.get(local) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(Box::new(failed(error))),
            None => return Err(Box::new(unread())),
        }
    }
    Ok(Preconditions { pin, artifact, seen })
}

fn unread() -> Verdict {
    Verdict::of(State::Unknown, Reason::Unread)
}

pub(super) fn failed(error: &PortError) -> Verdict {
    match error.class {
        ErrorClass::Retry | ErrorClass::Conflict => Verdict::of(State::Unknown, Reason::Unreadable(error.clone())),
        ErrorClass::Denied => Verdict::of(State::Blocked, Reason::Denied(error.clone())),
        ErrorClass::Invalid => Verdict::of(State::Blocked, Reason::Refused(error.clone())),
    }
}
