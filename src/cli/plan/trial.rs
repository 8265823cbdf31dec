//! What a plan would say of files that aren't written yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::history::History;
use super::{decide, look, report};
use crate::aws::Aws;
use crate::claims::{Claims, Coverage};
use crate::cli::error::CliError;
use crate::clock::{Clock, SystemClock};
use crate::manifest;
use crate::model::{CommitId, EnvironmentName, Files, Installation, LocalRef, State};
use crate::plan::TargetPlan;
use crate::plan::change_limit::ChangeLimits;
use crate::ports::Accounts as _;
use crate::reconcile::follow::Follower;

/// Nothing is held back: what is asked is whether something would be due.
const NO_LIMITS: ChangeLimits = ChangeLimits { max_percent: 100, always_allowed: 0, removals: false };

/// Plans one environment of a folder whose files are these. Of each target with which `pinion plan` would find something to
/// do, or which it couldn't plan, the reason.
pub(in crate::cli) async fn trial(
    dir: &Path,
    files: Files,
    name: &EnvironmentName,
    aws: &Aws,
    installation: &Installation,
) -> Result<BTreeMap<LocalRef, String>, CliError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let loaded = manifest::load_with_refused(&files.files, &files.refused);
    let draft = match loaded.environments.get(name) {
        Some(Ok(draft)) => draft,
        Some(Err(findings)) => return Err(CliError::failed(findings.to_string().trim_end())),
        None => return Err(CliError::failed(format!("environments/{name} isn't read as an environment"))),
    };
    let mut refused = BTreeMap::new();
    let others =
        loaded.environments.values().filter_map(|other| other.as_ref().ok()).filter(|other| other.name != *name);
    for other in others {
        for (theirs, claimed) in other.claims() {
            let ours = draft.claims().into_iter().find(|(_, own)| own.resource == claimed.resource);
            if let Some((ours, _)) = ours {
                refused.insert(ours, format!("{} of this repository has it", theirs.within(&other.name)));
            }
        }
    }
    let history = History::of(dir, None, [draft])?;
    let local = history.local(dir, files, clock.as_ref());
    let mut follower = Follower::new("the folder", Coverage::All, NO_LIMITS);
    let followed = follower.read(&local, &CommitId::uncommitted(), None).await;
    let followed = followed.map_err(|error| CliError::failed(error.to_string()))?;
    let mut claims = Claims::new(installation.clone(), [("the folder".to_owned(), Coverage::All)]);
    claims.read(0, followed.claims);
    let Some(desired) = followed.environments.get(name) else {
        return Err(CliError::failed(format!("environments/{name} can't be followed: {}", followed.whole.join("; "))));
    };
    let desired = (**desired).clone();
    let reader = aws.reader(name, &desired.environment.account);
    let seen = look(desired, reader, clock.as_ref()).await;
    let (planned, _) = decide(vec![seen], &claims, clock.now());
    for planned in planned {
        for (local, plan) in &planned.plan.targets {
            if let Some(why) = due(plan) {
                refused.entry(local.clone()).or_insert(why);
            }
        }
    }
    Ok(refused)
}

/// Why a plan isn't that there is nothing to do.
fn due(plan: &TargetPlan) -> Option<String> {
    if plan.state == State::InSync && !report::changes(plan) {
        return None;
    }
    Some(match (&plan.reason, &plan.action) {
        (Some(reason), _) => reason.to_string(),
        (None, Some(action)) => {
            let running = plan.running.as_deref().unwrap_or("something else");
            format!("{running} runs in part of it, so that it would be rolled out ({})", action.operation())
        }
        (None, None) => format!("it is {}", plan.state.as_str()),
    })
}
