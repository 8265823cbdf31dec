//! Probes beside the passes: a pass sends them and goes on, and the next one takes in what they said. So a probe that hangs
//! holds up its own target only.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::{AbortHandle, JoinSet};

use crate::model::{CommitId, Environment, LocalRef, Probe};
use crate::plan::{Action, Memory, Plan, ProbeRecord};
use crate::ports::Prober;

/// The probes of one environment that are under way. They end with this value.
pub(super) struct Probing {
    prober: Arc<dyn Prober>,
    sent: BTreeMap<LocalRef, Sent>,
    tasks: JoinSet<(LocalRef, u64, Result<(), String>)>,
    last: u64,
}

/// The probes of one target.
struct Sent {
    number: u64,
    task: AbortHandle,
    about: About,
    /// When they were sent.
    at: Timestamp,
    /// Whether a rollout ran then.
    runs: bool,
    /// Whether the pin's rollout was under way or just over then.
    just_rolled: bool,
}

/// What probes are sent about. What one says of another pin or artifact says nothing of this one.
#[derive(PartialEq, Eq)]
struct About {
    commit: CommitId,
    artifact: String,
    /// Whose shape it has.
    base: Option<String>,
    probes: Vec<Probe>,
}

impl Probing {
    pub(super) fn new(prober: Arc<dyn Prober>) -> Self {
        Self { prober, sent: BTreeMap::new(), tasks: JoinSet::new(), last: 0 }
    }

    /// Takes in what probes have said since the last pass.
    pub(super) fn take_in(&mut self, memory: &mut Memory) {
        while let Some(ended) = self.tasks.try_join_next() {
            let (local, number, verdict) = match ended {
                Ok(ended) => ended,
                Err(error) if error.is_cancelled() => continue,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            };
            if self.sent.get(&local).is_none_or(|sent| sent.number != number) {
                continue;
            }
            let Some(Sent { about, at, runs, just_rolled, .. }) = self.sent.remove(&local) else { continue };
            let About { commit, artifact, base, .. } = about;
            // A rollout that ran when they were sent and didn't before is another one.
            let same = memory.probes.get(&local).filter(|record| {
                let same = record.commit == commit && record.artifact == artifact && record.base == base;
                same && (record.after_rollout || !runs)
            });
            let record = ProbeRecord {
                first: same.map_or(at, |record| record.first),
                after_rollout: same.map_or(just_rolled, |record| record.after_rollout),
                failure: verdict.err(),
                commit,
                artifact,
                base,
            };
            memory.probes.insert(local, record);
        }
    }

    /// Sends the probes of a plan that aren't under way yet, and gives up those that nobody asks for any more.
    pub(super) fn send(&mut self, environment: &Environment, plan: &Plan, now: Timestamp) {
        self.sent.retain(|local, sent| {
            let stays = environment.targets.contains_key(local);
            if !stays {
                sent.task.abort();
            }
            stays
        });
        for (local, planned) in &plan.targets {
            let target = environment.targets.get(local);
            let pin = target.and_then(|target| environment.pin_of(target));
            let (Some(Action::Verify { probes }), Some(pin), Some(artifact)) =
                (&planned.action, pin, &planned.artifact)
            else {
                continue;
            };
            let (commit, artifact) = (pin.provenance.commit.clone(), artifact.identity().to_owned());
            let about = About { commit, artifact, base: planned.base.clone(), probes: probes.clone() };
            match self.sent.get(local) {
                Some(sent) if sent.about == about => continue,
                Some(sent) => sent.task.abort(),
                None => {}
            }
            self.last += 1;
            let number = self.last;
            let task = self.tasks.spawn(sent_in_turn(Arc::clone(&self.prober), local.clone(), number, probes.clone()));
            let runs = planned.rollout.as_ref().is_some_and(|rollout| rollout.outcome.is_active());
            let sent = Sent { number, task, about, at: now, runs, just_rolled: planned.just_rolled };
            self.sent.insert(local.clone(), sent);
        }
    }
}

/// Sends probes until one fails.
async fn sent_in_turn(
    prober: Arc<dyn Prober>,
    local: LocalRef,
    number: u64,
    probes: Vec<Probe>,
) -> (LocalRef, u64, Result<(), String>) {
    for probe in &probes {
        if let Err(failure) = prober.probe(probe).await {
            return (local, number, Err(failure));
        }
    }
    (local, number, Ok(()))
}
