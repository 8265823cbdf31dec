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

/// Whom to ask about an environment of a folder.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Trial<'a> {
    pub(in crate::cli) dir: &'a Path,
    pub(in crate::cli) name: &'a EnvironmentName,
    pub(in crate::cli) aws: &'a Aws,
    pub(in crate::cli) installation: &'a Installation,
    /// The name of the role to assume, where it isn't the environment's own.
    pub(in crate::cli) role: Option<&'a str>,
}

/// What a plan would find.
#[derive(Debug, Default)]
pub(in crate::cli) struct Tried {
    /// Of each target that can't be managed as it is, the reason.
    pub(in crate::cli) blocked: BTreeMap<LocalRef, String>,
    /// Of each target with which there would be something to do, or which can't be planned, the reason.
    pub(in crate::cli) due: BTreeMap<LocalRef, String>,
    /// The targets that only a newer shape would be rolled out to, each with whose that is.
    pub(in crate::cli) shapes: BTreeMap<LocalRef, String>,
    /// What it would warn of.
    pub(in crate::cli) warnings: BTreeMap<LocalRef, Vec<String>>,
}

/// Plans one environment of a folder whose files are these.
pub(in crate::cli) async fn trial(trial: Trial<'_>, files: Files) -> Result<Tried, CliError> {
    let Trial { dir, name, aws, installation, role } = trial;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let loaded = manifest::load_with_refused(&files.files, &files.refused);
    let draft = match loaded.environments.get(name) {
        Some(Ok(draft)) => draft,
        Some(Err(findings)) => return Err(CliError::failed(findings.to_string().trim_end())),
        None => return Err(CliError::failed(format!("environments/{name} isn't read as an environment"))),
    };
    let mut tried = Tried::default();
    let others =
        loaded.environments.values().filter_map(|other| other.as_ref().ok()).filter(|other| other.name != *name);
    for other in others {
        for (theirs, claimed) in other.claims() {
            let ours = draft.claims().into_iter().find(|(_, own)| own.resource == claimed.resource);
            if let Some((ours, _)) = ours {
                tried.due.insert(ours, format!("{} of this repository has it", theirs.within(&other.name)));
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
    let mut desired = (**desired).clone();
    for target in desired.environment.targets.values_mut() {
        // Probes are for after a rollout, and that one is suspended doesn't say that there would be none.
        target.verify.clear();
        target.suspend = None;
    }
    if let Some(role) = role {
        desired.environment.account.role = desired.environment.account.role.renamed(role)?;
    }
    let reader = aws.reader(name, &desired.environment.account);
    let seen = look(desired, reader, clock.as_ref()).await;
    let (planned, _) = decide(vec![seen], &claims, clock.now());
    for planned in planned {
        for (local, plan) in &planned.plan.targets {
            if !plan.warnings.is_empty() {
                tried.warnings.insert(local.clone(), plan.warnings.clone());
            }
            if let (State::Blocked, Some(reason)) = (plan.state, &plan.reason) {
                tried.blocked.insert(local.clone(), reason.to_string());
            }
            let Some(why) = due(plan).filter(|_| !tried.due.contains_key(local)) else { continue };
            // Whether the pin fits as well shows with the shape that runs.
            match &plan.shape {
                Some(shape) => drop(tried.shapes.insert(local.clone(), shape.to.clone())),
                None => drop(tried.due.insert(local.clone(), why)),
            }
        }
    }
    Ok(tried)
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
