//! Writes that AWS hasn't answered by the end of their pass. They go on beside the next passes, which leave what they are
//! about alone: a connection that hangs keeps back its own target, and no other.

use std::collections::BTreeMap;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;

use futures_util::future::select_all;
use jiff::Timestamp;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use crate::model::{LocalRef, Outcome, Pin, StartedRollout, State};
use crate::plan::{Action, TargetPlan};
use crate::ports::Apply;

/// A write that has been begun.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) action: Action,
    answer: AbortOnDropHandle<Outcome>,
}

impl Write {
    pub(super) fn begin(writer: &Arc<dyn Apply>, action: &Action) -> Self {
        let (writer, sent) = (Arc::clone(writer), action.clone());
        let call = async move {
            match writer.apply(&sent).await {
                Ok(applied) => Outcome::Applied(applied),
                Err(error) => Outcome::Failed(error),
            }
        };
        Self { action: action.clone(), answer: AbortOnDropHandle::new(tokio::spawn(call.in_current_span())) }
    }

    /// Waits for the answer, which comes once. A caller that stops waiting may wait again.
    pub(super) async fn answer(&mut self) -> Outcome {
        match (&mut self.answer).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // It ends with the process.
                Err(_) => pending().await,
            },
        }
    }
}

/// What a write was to bring about, when it was begun.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) action: Action,
    pub(super) pin: Option<Pin>,
    /// The identity of the artifact.
    pub(super) artifact: Option<String>,
    /// The new shape that it brings, in one line.
    pub(super) shape: Option<String>,
    /// Whether it takes back what is quarantined.
    pub(super) quarantined: bool,
}

impl Meant {
    pub(super) fn of(action: Action, pin: Option<&Pin>, plan: Option<&TargetPlan>) -> Self {
        let artifact = plan.and_then(|plan| plan.artifact.as_ref());
        Self {
            action,
            pin: pin.cloned(),
            artifact: artifact.map(|artifact| artifact.identity().to_owned()),
            shape: plan.and_then(|plan| plan.shape.as_ref()).map(ToString::to_string),
            quarantined: plan.is_some_and(|plan| plan.state == State::Quarantined),
        }
    }

    /// The rollout that runs once the write has been accepted. The rollback of a quarantined pin is none of it.
    pub(super) fn started(&self, now: Timestamp) -> Option<StartedRollout> {
        let to = self.action.leads_to().filter(|_| !self.quarantined)?;
        let (pin, artifact, shape) = (self.pin.clone(), self.artifact.clone(), self.shape.clone());
        Some(StartedRollout { to, pin, artifact, shape, started: now, id: None })
    }
}

/// The writes of an environment that AWS hasn't answered.
#[derive(Debug, Default)]
pub(super) struct Unanswered(BTreeMap<LocalRef, (Meant, Write)>);

impl Unanswered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The targets that they are for.
    pub(super) fn targets(&self) -> impl Iterator<Item = &LocalRef> {
        self.0.keys()
    }

    pub(super) fn leave(&mut self, local: LocalRef, meant: Meant, write: Write) {
        self.0.insert(local, (meant, write));
    }

    /// Whether a write has to wait for one of these: it is for the same target, or for what that one contends for.
    pub(super) fn keeps_back(&self, local: &LocalRef, action: &Action) -> bool {
        let same = |meant: &Meant| meant.action.contends_for() == action.contends_for();
        self.0.contains_key(local) || self.0.values().any(|(meant, _)| same(meant))
    }

    /// Waits for the next answer; for ever if there is none to wait for.
    pub(super) async fn next(&mut self) -> (LocalRef, Meant, Outcome) {
        loop {
            if self.0.is_empty() {
                return pending().await;
            }
            let answers = self
                .0
                .iter_mut()
                .map(|(local, (_, write))| Box::pin(async move { (local.clone(), write.answer().await) }));
            let ((local, outcome), ..) = select_all(answers).await;
            if let Some((meant, _)) = self.0.remove(&local) {
                return (local, meant, outcome);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::model::{Applied, PortError, TemplateRef};

    struct Silent;

    #[async_trait]
    impl Apply for Silent {
        async fn apply(&self, _: &Action) -> Result<Applied, PortError> {
            pending().await
        }
    }

    #[tokio::test]
    async fn a_write_keeps_back_its_own_target_and_what_contends_for_the_same() {
        let local = |name: &str| LocalRef::try_from(format!("asg/{name}")).unwrap();
        let number = |group: &str, template: &str| Action::NumberTemplate {
            group: group.parse().unwrap(),
            template: TemplateRef { id: template.to_owned(), name: "shared".to_owned() },
            version: 1,
        };
        let mut unanswered = Unanswered::default();
        let action = number("web", "lt-1");
        let writer: Arc<dyn Apply> = Arc::new(Silent);
        let write = Write::begin(&writer, &action);
        unanswered.leave(local("web"), Meant::of(action, None, None), write);
        assert!(unanswered.keeps_back(&local("web"), &number("web", "lt-2")), "its own target");
        assert!(unanswered.keeps_back(&local("api"), &number("api", "lt-1")), "the same launch template");
        assert!(!unanswered.keeps_back(&local("api"), &number("api", "lt-2")));
    }
}
