//! From what the controller says about itself to the status of each commit. Pure.
//!
//! A commit gets a status for each environment, of the targets whose pins it set: it waits, runs, has succeeded or has
//! failed. Only a change is reported; the progress of a rollout isn't.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::words;
use crate::model::status::{EnvironmentStatus, Snapshot};
use crate::model::{CommitId, Kind, Reason, State, TargetRef, TargetState};

/// A commit older than this that is in sync when this process first looks was reported long ago, or never will be.
const OLD: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What became of a commit in an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitState {
    /// It waits for something.
    Waiting,
    /// Its rollouts run.
    Running,
    /// All of its targets are in sync.
    Succeeded,
    /// A rollout failed; the pin is in quarantine.
    Failed,
    /// A target can't be planned. It is tried again.
    Blocked,
    /// Another commit took its place before it was in sync.
    Superseded,
}

/// The status that a commit is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitReport {
    /// The commit that set the pins.
    pub commit: String,
    /// The environment.
    pub environment: String,
    /// What became of it.
    pub verdict: CommitState,
    /// One line of text for the forge, such as `asg/web: rolling out 1.4.2`.
    pub description: String,
}

/// What is known of a commit in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    verdict: CommitState,
    /// What makes the verdict; `None` if all is well.
    cause: Option<Cause>,
    /// When this process first saw it not in sync.
    since: Option<Timestamp>,
    /// Whose new shape its rollouts have brought, as far as this process saw it.
    shapes: BTreeMap<TargetRef, String>,
}

/// What makes a verdict: the first target in the state that matters, and why it is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    target: TargetRef,
    state: State,
    reason: Option<Reason>,
}

impl Cause {
    /// Whether another one is the same news.
    fn is_same(&self, other: &Self) -> bool {
        let reasons = match (&self.reason, &other.reason) {
            (Some(one), Some(other)) => one.is_same_cause(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.target == other.target && self.state == other.state && reasons
    }
}

/// The statuses that the commits of one branch were given.
#[derive(Debug)]
pub struct Ledger {
    url: String,
    branch: String,
    /// By environment and commit.
    entries: BTreeMap<(String, String), Entry>,
    /// The environments that have been looked at.
    seen: BTreeSet<String>,
}

impl Ledger {
    /// For one branch of the repository at this URL. Nothing has been reported yet.
    #[must_use]
    pub fn new(url: &str, branch: &str) -> Self {
        Self { url: url.to_owned(), branch: branch.to_owned(), entries: BTreeMap::new(), seen: BTreeSet::new() }
    }

    /// What is to be reported now and hasn't been.
    pub fn take(&mut self, status: &Snapshot, now: Timestamp) -> Vec<CommitReport> {
        let mine = |environment: &EnvironmentStatus<TargetState>| {
            environment.repository == self.url && environment.branch == self.branch && environment.passes > 0
        };
        let environments: Vec<_> = status.environments.iter().filter(|(_, environment)| mine(environment)).collect();
        environments.into_iter().flat_map(|(name, environment)| self.environment(name, environment, now)).collect()
    }

    fn environment(
        &mut self,
        name: &str,
        environment: &EnvironmentStatus<TargetState>,
        now: Timestamp,
    ) -> Vec<CommitReport> {
        let mut commits: BTreeMap<&str, Vec<&TargetState>> = BTreeMap::new();
        for target in environment.targets.values() {
            let commit = &target.pin.provenance.commit;
            if *commit != CommitId::uncommitted() {
                commits.entry(commit.as_str()).or_default().push(target);
            }
        }
        let mut reports = self.superseded(name, &commits);
        let first = self.seen.insert(name.to_owned());
        let cutoff = if first { now.checked_sub(OLD).ok() } else { None };
        for (commit, targets) in commits {
            reports.extend(self.commit(name, commit, &targets, cutoff, now));
        }
        reports
    }

    /// Commits from before `cutoff` get no status if they are in sync.
    fn commit(
        &mut self,
        name: &str,
        commit: &str,
        targets: &[&TargetState],
        cutoff: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<CommitReport> {
        let key = (name.to_owned(), commit.to_owned());
        let before = self.entries.get(&key);
        let verdict = verdict_of(targets);
        let settled = verdict == CommitState::Succeeded;
        let mut shapes = before.map(|before| before.shapes.clone()).unwrap_or_default();
        let rolling = targets.iter().filter(|target| target.known() == State::RollingOut);
        shapes.extend(rolling.filter_map(|target| Some((target.target.clone(), target.brings.clone()?))));
        let since = before.and_then(|before| before.since).or((!settled).then_some(now));
        let description = match verdict {
            CommitState::Succeeded => success(targets, &shapes, since, now),
            _ => because(targets, verdict),
        };
        let cause = deciding_targets(targets, verdict).first().map(|first| cause_of(first));
        let already_reported = match before {
            None => {
                settled && targets.iter().all(|target| cutoff.is_some_and(|cutoff| target.pin.provenance.time < cutoff))
            }
            Some(before) => {
                let same = match (&before.cause, &cause) {
                    (Some(before), Some(now)) => before.is_same(now),
                    (before, now) => before.is_none() && now.is_none(),
                };
                before.verdict == verdict && same
            }
        };
        let since = since.filter(|_| !settled);
        self.entries.insert(key, Entry { verdict, cause, since, shapes });
        let (commit, environment) = (commit.to_owned(), name.to_owned());
        (!already_reported).then_some(CommitReport { commit, environment, verdict, description })
    }

    /// Commits that no target of the environment is pinned by any more.
    fn superseded(&mut self, name: &str, commits: &BTreeMap<&str, Vec<&TargetState>>) -> Vec<CommitReport> {
        let gone =
            |(environment, commit): &(String, String)| environment == name && !commits.contains_key(commit.as_str());
        let gone: Vec<_> = self.entries.keys().filter(|key| gone(key)).cloned().collect();
        // The most recent of the remaining commits.
        let successor =
            commits.iter().max_by_key(|(_, targets)| targets.iter().map(|target| target.pin.provenance.time).max());
        let by = successor.map(|(commit, _)| format!(" by {}", CommitId::short_of(commit))).unwrap_or_default();
        gone.into_iter()
            .filter_map(|key| {
                let entry = self.entries.remove(&key)?;
                let open = matches!(entry.verdict, CommitState::Waiting | CommitState::Running | CommitState::Blocked);
                let (environment, commit) = key;
                let description = format!("superseded{by} before it was in sync");
                open.then_some(CommitReport { commit, environment, verdict: CommitState::Superseded, description })
            })
            .collect()
    }
}

/// What counts for a pin's commit: a newer shape that waits beside it is no matter of it.
fn state_of(target: &TargetState) -> State {
    if target.shape_waits { State::InSync } else { target.known() }
}

fn verdict_of(targets: &[&TargetState]) -> CommitState {
    let states: BTreeSet<State> = targets.iter().map(|target| state_of(target)).collect();
    let any = |wanted: &[State]| wanted.iter().any(|state| states.contains(state));
    if any(&[State::Quarantined]) {
        CommitState::Failed
    } else if any(&[State::Blocked]) {
        CommitState::Blocked
    } else if any(&[State::RollingOut, State::Verifying, State::Overdue]) {
        CommitState::Running
    } else if any(&[State::Pending, State::Suspended, State::Unknown]) {
        CommitState::Waiting
    } else {
        CommitState::Succeeded
    }
}

/// The targets in a state that makes the verdict, the one that matters most first.
fn deciding_targets<'a>(targets: &[&'a TargetState], verdict: CommitState) -> Vec<&'a TargetState> {
    let matters: &[State] = match verdict {
        CommitState::Failed => &[State::Quarantined],
        CommitState::Blocked => &[State::Blocked],
        CommitState::Running => &[State::Overdue, State::RollingOut, State::Verifying],
        CommitState::Waiting => &[State::Pending, State::Suspended, State::Unknown],
        CommitState::Succeeded | CommitState::Superseded => &[],
    };
    let found = |wanted: State| targets.iter().copied().filter(move |target| state_of(target) == wanted);
    matters.iter().flat_map(|state| found(*state)).collect()
}

/// Why a target is in the state that matters. The progress of a rollout changes all the time, and isn't reported.
fn cause_of(target: &TargetState) -> Cause {
    let state = state_of(target);
    let lasts = !matches!(state, State::RollingOut | State::Verifying | State::Unknown) && target.state == state;
    Cause { target: target.target.clone(), state, reason: target.reason.clone().filter(|_| lasts) }
}

/// The targets in a state that makes the verdict, and why.
fn because(targets: &[&TargetState], verdict: CommitState) -> String {
    let culprits = deciding_targets(targets, verdict);
    let Some(first) = culprits.first() else { return String::new() };
    let (name, version) = (&first.target.local, &first.pin.version);
    let what = match cause_of(first) {
        Cause { state: State::RollingOut, .. } => {
            format!("rolling out {version}{}", with_shape(&first.target, first.brings.as_ref()))
        }
        Cause { state: State::Verifying, .. } => format!("verifying {version}"),
        Cause { state: State::Unknown, .. } => "the account can't be read now".to_owned(),
        // The same words for as long as nothing changes, also from another process.
        Cause { reason: Some(reason), .. } => reason.lasting().to_string(),
        Cause { state, .. } => state.to_string(),
    };
    match culprits.len() {
        1 => format!("{name}: {what}"),
        more => format!("{name}: {what} (and {} more)", more - 1),
    }
}

/// What a rollout brings besides a version: by name, whatever is in it.
fn with_shape(target: &TargetRef, shape: Option<&String>) -> String {
    let what = match target.local.kind {
        Kind::Asg => "launch template version",
        Kind::Fargate => "task definition",
    };
    shape.map(|shape| format!(" with {what} {shape}")).unwrap_or_default()
}

fn success(
    targets: &[&TargetState],
    shapes: &BTreeMap<TargetRef, String>,
    since: Option<Timestamp>,
    now: Timestamp,
) -> String {
    let version = |target: &&TargetState| {
        let shape = with_shape(&target.target, shapes.get(&target.target));
        format!("{} {}{shape}", target.pin.component, target.pin.version)
    };
    let versions: BTreeSet<String> = targets.iter().map(version).collect();
    let versions = versions.into_iter().collect::<Vec<_>>().join(", ");
    // For a process that saw only the end, AWS's word for when the rollout began is the next best.
    let began = targets.iter().filter_map(|target| target.rollout.as_ref()?.started).min();
    let ended = targets.iter().filter_map(|target| target.in_sync_since).max();
    let took = match (since, began, ended) {
        (Some(since), _, _) => Some(now.duration_since(since)),
        (None, Some(began), Some(ended)) if began <= ended => Some(ended.duration_since(began)),
        _ => None,
    };
    match took {
        Some(took) => format!("{versions} in sync after {}", words::lasting(took)),
        None => format!("{versions} in sync"),
    }
}
