//! Alarms that are raised before a refresh begins. AWS starts none while one of them is in `ALARM` or `INSUFFICIENT_DATA`, and
//! one that goes into `ALARM` later rolls it back. An alarm that was raised before says nothing of a version that comes
//! after it, and nothing against the way out of the version that raised it.

use super::preconditions::failed;
use super::{Decision, Verdict};
use crate::model::{ErrorClass, ObservedTarget, RolloutSettings, State};
use crate::plan::Reason;

impl Decision<'_> {
    /// How a refresh that begins now goes about it, and what to warn of; or why none may begin.
    pub(super) fn settings(&self) -> Result<(RolloutSettings, Option<String>), Box<Verdict>> {
        let settings = self.target.rollout.clone();
        if settings.alarms.is_empty() || !matches!(self.seen, ObservedTarget::Group(_)) {
            return Ok((settings, None));
        }
        let states = match &self.input.observed.alarms {
            Some(Ok(states)) => states,
            // AWS looks at them itself when the refresh begins.
            Some(Err(error)) if error.class == ErrorClass::Denied => {
                let why = format!(
                    "the states of its alarms can't be read, so that a raised one is seen only by AWS: {error}"
                );
                return Ok((settings, Some(why)));
            }
            Some(Err(error)) => return Err(Box::new(failed(error))),
            None => return Err(Box::new(Verdict::of(State::Unknown, Reason::Unread))),
        };
        if let Some(missing) = settings.alarms.iter().find(|name| !states.contains_key(*name)) {
            let region = self.input.desired.account.region.clone();
            let why = format!("CloudWatch alarm {missing} in {region}");
            return Err(Box::new(Verdict::of(State::Blocked, Reason::Missing(why))));
        }
        let raised = |name: &&String| states.get(*name).is_some_and(|state| state != "OK");
        if !settings.alarms.iter().any(|name| raised(&name)) {
            return Ok((settings, None));
        }
        if self.has_run_here() {
            let alarms = settings.alarms.iter().filter(|name| !raised(name)).cloned().collect();
            return Ok((RolloutSettings { alarms, ..settings }, None));
        }
        let raised = settings.alarms.iter().filter(raised);
        let alarms = raised.map(|name| (name.clone(), states.get(name).cloned().unwrap_or_default())).collect();
        Err(Box::new(Verdict::of(State::Pending, Reason::Alarm(alarms))))
    }
}
