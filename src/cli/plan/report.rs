//! What `pinion plan` says: the shape of `--output json`, and what the other outputs are made from.

mod said;
mod shape;

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

pub(super) use self::said::{also_changed, course};
pub(super) use self::shape::ShapeReport;
use super::Planned;
use super::history::History;
use crate::guardrail::{Denial, Fleet, Opinion, Policies, Proposal};
use crate::manifest::Findings;
use crate::model::survey::Survey;
use crate::model::{Kind, LocalRef, Marker, ObservedTarget, Pin, State, Target, TargetSpec};
use crate::plan::change_limit::{self, Acknowledgement, ChangeLimit};
use crate::plan::forecast::{self, Forecast, Prospect, Wave};
use crate::plan::{Reason, TargetPlan};

/// What a merge would do. Stable: fields are added, never renamed or removed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanReport {
    /// Pinion's version.
    pub version: String,
    /// When AWS was looked at.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What this change is compared with; null without `--base`.
    pub base: Option<BaseReport>,
    /// What a change limit holds of this change; null if nothing, or without `--base`.
    pub change_limit: Option<ChangeLimitReport>,
    /// The environments, by name.
    pub environments: BTreeMap<String, EnvironmentReport>,
    /// The environments that this change takes out of Pinion's hands. What runs there stays as it is.
    pub removed: Vec<String>,
    /// The guardrails that this change adds, changes or removes.
    pub policies: Vec<PolicyReport>,
    /// What is wrong with the files; with `--base`, only what wasn't wrong there. What this is about wasn't planned; if the
    /// guardrails or all environments are wrong, nothing was.
    pub findings: Vec<String>,
    /// What is wrong with the files, and was so at the base. What this is about wasn't planned.
    pub earlier_findings: Vec<String>,
    /// Targets that would be rolled out, now or when what they wait for is over.
    pub changes: usize,
    /// Those of them that wait.
    pub waiting: usize,
    /// Targets that can't be planned.
    pub blocked: usize,
    /// Targets whose pin is quarantined.
    pub quarantined: usize,
    /// Targets whose artifact is for other processors than theirs, for certain.
    pub architecture_mismatches: usize,
}

/// What a change is compared with.
#[derive(Debug, Serialize, JsonSchema)]
pub struct BaseReport {
    /// The revision as it was named.
    pub revision: String,
    /// Its commit.
    pub commit: String,
}

/// A guardrail that isn't what it was.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PolicyReport {
    /// The policy's `@id`.
    pub policy: String,
    /// `added`, `changed` or `removed`.
    pub change: String,
}

/// What a change limit holds.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ChangeLimitReport {
    /// What this change does.
    pub what: String,
    /// The trailer that lets it through.
    pub trailer: String,
    /// Whether a commit of this change has it already, so that nothing is held.
    pub acknowledged: bool,
    /// A commit of this change that has it, where it doesn't count: nobody who may sign has signed that message.
    pub ignored_acknowledgement: Option<String>,
}

/// An environment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct EnvironmentReport {
    /// The account id.
    pub account: String,
    /// The region.
    pub region: String,
    /// Its targets, in order; with `--base`, those that this change touches.
    pub targets: Vec<TargetReport>,
    /// The targets that this change takes out of Pinion's hands, as `kind/name`.
    pub removed: Vec<String>,
    /// Why new shapes of targets that are listed wait for an acknowledgement, and the trailer that it takes; null where none
    /// do.
    pub held_shapes: Option<String>,
    /// How long AWS's rate limits make it take until the last rollout has begun; null where they let all begin at once.
    pub wave: Option<WaveReport>,
}

/// How long a wave of rollouts takes to begin. What other environments roll out in the same account and region counts.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WaveReport {
    /// Seconds from the first rollout to the last one, at least.
    pub seconds: u64,
    /// Why, for people.
    pub basis: String,
}

/// A target.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TargetReport {
    /// Its reference: `prod/asg/web`.
    pub target: String,
    /// Its kind: `asg` or `fargate`.
    #[schemars(with = "String")]
    pub kind: Kind,
    /// Its component.
    pub component: String,
    /// The state that a controller would give it.
    #[schemars(with = "String")]
    pub state: State,
    /// Why, for people.
    pub reason: Option<String>,
    /// Whether the target would be rolled out, now or when what it waits for is over.
    pub change: bool,
    /// What this change changes: `new` for one that wasn't there; `account`, `target` (what it is, or how its artifact is
    /// found; unless its pin changes, too), `base_revision` (where its shape comes from), `pin`, `rollout`, `after`, `verify` (unless
    /// its pin changes, too), `suspend`, `promotion`;
    /// `guardrails` where others forbid its rollout than before. Empty without `--base`.
    pub changed: Vec<String>,
    /// Whether the pin is an older semantic version than what runs; null if that isn't known.
    pub downgrade: Option<bool>,
    /// What runs now: a version where Pinion rolled it out, else the image's tag or id.
    pub from: Option<String>,
    /// The pinned version.
    pub to: String,
    /// The artifact that runs now.
    pub from_artifact: Option<String>,
    /// The artifact that the pin resolves to.
    pub artifact: Option<String>,
    /// When the artifact that runs was made or pushed.
    #[schemars(with = "Option<String>")]
    pub from_created: Option<Timestamp>,
    /// When the pinned artifact was made or pushed.
    #[schemars(with = "Option<String>")]
    pub created: Option<Timestamp>,
    /// The commits of this repository that lead from what runs to the pin.
    pub commits: Range,
    /// The commits of the component that its artifacts say they were built from.
    pub source: Range,
    /// What was asked about the pinned artifact, and the answers.
    pub checks: Vec<CheckReport>,
    /// What the rollout would be like; null if there would be none, or it isn't known.
    pub rollout: Option<RolloutReport>,
    /// Whether the rollout can be taken back; null if there would be none.
    pub rollback: Option<RollbackReport>,
    /// The guardrails that forbid the rollout now.
    pub denied_by: Vec<DenialReport>,
    /// The first full minute at which no guardrail forbids it, if nothing but the time changes.
    #[schemars(with = "Option<String>")]
    pub allowed_from: Option<Timestamp>,
    /// The rollout that runs there now.
    pub in_progress: Option<InProgressReport>,
    /// The first call that a controller would make.
    pub next: Option<Next>,
    /// Instances or tasks that run the artifact.
    pub updated: u32,
    /// Instances or tasks in all.
    pub total: u32,
    /// Whether it differs though no pin changed.
    pub drifted: bool,
    /// The commit that set the pin; null while it isn't committed.
    pub commit: Option<String>,
    /// Its author.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// The new shape that the rollout brings: all but the image; null if none.
    pub shape: Option<ShapeReport>,
    /// What works now but needs somebody's attention.
    pub warnings: Vec<String>,
    /// What couldn't be read, and why.
    pub unread: Vec<String>,
}

/// Two commits; null where one isn't known.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Range {
    /// The commit of what runs.
    pub from: Option<String>,
    /// The commit of what is pinned.
    pub to: Option<String>,
}

/// A question about an artifact, and the answer.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CheckReport {
    /// `usable`: it exists, is available, and the account may read it. `current`: it isn't deprecated. `fits`: it is for the
    /// processors that it is to run on.
    pub check: String,
    /// The answer; null if it isn't known.
    pub ok: Option<bool>,
    /// The answer in words.
    pub detail: String,
}

/// What a rollout would be like. An estimate, by the target's own settings.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RolloutReport {
    /// `instance refresh`, `rolling deployment`, `blue/green deployment`, `linear deployment` or `canary deployment`.
    pub method: String,
    /// Instances or tasks that are replaced.
    pub replaces: u32,
    /// How many at a time.
    pub at_a_time: u32,
    /// In how many batches.
    pub batches: u32,
    /// About how long, in seconds.
    pub seconds: u64,
    /// What the estimate rests on.
    pub basis: String,
    /// Why it can't move at all, if the settings allow nothing to be stopped or started.
    pub stuck: Option<String>,
}

/// Whether a rollout can be taken back.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RollbackReport {
    /// Whether AWS does it by itself when the rollout goes wrong.
    pub automatic: bool,
    /// How, or why not and what helps.
    pub how: String,
}

/// A guardrail that forbids a rollout.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DenialReport {
    /// The policy's `@id`.
    pub policy: String,
    /// The policy's `@reason`, with its `@owner`.
    pub reason: String,
}

/// A rollout that runs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InProgressReport {
    /// AWS's id of it.
    pub id: String,
    /// AWS's word for how far it is.
    pub status: String,
    /// How much is replaced, 0 to 100.
    pub percentage: Option<u8>,
    /// Whether this pin's rollout it is. Somebody else's is waited for.
    pub ours: bool,
}

/// A call that a controller would make.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Next {
    /// The AWS operation.
    pub operation: String,
    /// What it is for.
    pub summary: String,
}

impl PlanReport {
    /// A report about files in which something is wrong.
    pub(super) fn broken(at: Timestamp, findings: Vec<String>) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at,
            base: None,
            change_limit: None,
            environments: BTreeMap::new(),
            removed: Vec::new(),
            policies: Vec::new(),
            findings,
            earlier_findings: Vec::new(),
            changes: 0,
            waiting: 0,
            blocked: 0,
            quarantined: 0,
            architecture_mismatches: 0,
        }
    }

    /// The report about what was planned.
    pub(super) fn of(planned: &[Planned], given: &Given<'_>) -> Self {
        let mut report = Self::broken(given.at, Vec::new());
        report.base = given
            .history
            .base
            .as_ref()
            .map(|base| BaseReport { revision: base.revision.clone(), commit: base.commit.to_string() });
        report.change_limit = given.change_limit.as_ref().map(|(change_limit, word)| ChangeLimitReport {
            what: change_limit.to_string(),
            trailer: change_limit::LINE.to_owned(),
            acknowledged: *word == Acknowledgement::Given,
            ignored_acknowledgement: word.ignored_acknowledgement().map(ToString::to_string),
        });
        report.removed.clone_from(&given.removed);
        let texts = |findings: &Findings| findings.iter().map(ToString::to_string).collect();
        (report.findings, report.earlier_findings) = (texts(given.findings.new), texts(given.findings.earlier));
        if let Some(base) = &given.history.base {
            let changes = given.policies.changes(&base.policies).into_iter();
            report.policies =
                changes.map(|(policy, change)| PolicyReport { policy, change: change.as_str().to_owned() }).collect();
        }
        let mut waves: BTreeMap<(&str, &str), Wave> = BTreeMap::new();
        for planned in planned {
            let environment = &planned.desired.environment;
            let wave = waves.entry((environment.account.id.as_str(), environment.account.region.as_str())).or_default();
            let mut targets = Vec::new();
            for (local, plan) in &planned.plan.targets {
                let Some(target) = environment.targets.get(local) else { continue };
                let Some(pin) = environment.pin_of(target) else { continue };
                let Some(changed) = planned.touched.get(local) else { continue };
                let shown = Subject { planned, local, target, pin, plan, changed }.report(given);
                report.changes += usize::from(shown.change);
                if shown.change {
                    wave.add(local.kind);
                }
                report.waiting += usize::from(shown.change && plan.state == State::Pending);
                report.blocked += usize::from(matches!(plan.state, State::Blocked | State::Unknown));
                report.quarantined += usize::from(plan.state == State::Quarantined);
                let architecture_mismatch = |check: &CheckReport| check.check == "fits" && check.ok == Some(false);
                report.architecture_mismatches +=
                    usize::from(shown.change && shown.checks.iter().any(architecture_mismatch));
                targets.push(shown);
            }
            let (account, region) = (environment.account.id.to_string(), environment.account.region.to_string());
            let removed = given.history.removed(environment);
            let is_said = |held: &String| targets.iter().any(|target| target.reason.as_ref() == Some(held));
            let held_shapes = planned.plan.held_shapes.clone().filter(is_said);
            report.environments.insert(
                environment.name.to_string(),
                EnvironmentReport { account, region, targets, removed, held_shapes, wave: None },
            );
        }
        for environment in report.environments.values_mut() {
            let wave = waves.get(&(environment.account.as_str(), environment.region.as_str()));
            let takes =
                wave.filter(|_| environment.targets.iter().any(|target| target.change)).and_then(|it| it.takes());
            environment.wave = takes.map(|(takes, basis)| WaveReport { seconds: takes.as_secs(), basis });
        }
        report
    }

    /// All targets.
    pub(super) fn targets(&self) -> impl Iterator<Item = &TargetReport> {
        self.environments.values().flat_map(|environment| &environment.targets)
    }
}

/// What a report is made with, besides the plans.
pub(super) struct Given<'a> {
    pub(super) history: &'a History,
    pub(super) policies: &'a Policies,
    pub(super) fleet: &'a Fleet,
    pub(super) change_limit: Option<(ChangeLimit, Acknowledgement)>,
    pub(super) removed: Vec<String>,
    pub(super) findings: Broken<'a>,
    pub(super) at: Timestamp,
}

/// What is wrong with the files, beside what was planned.
#[derive(Clone, Copy)]
pub(super) struct Broken<'a> {
    /// What the base doesn't have.
    pub(super) new: &'a Findings,
    /// What it has, too.
    pub(super) earlier: &'a Findings,
}

impl Given<'_> {
    fn proposal<'a>(
        &'a self,
        planned: &'a Planned,
        target: &'a Target,
        pin: &'a Pin,
        plan: &'a TargetPlan,
    ) -> Proposal<'a> {
        Proposal {
            environment: &planned.desired.environment,
            target,
            pin,
            running: plan.running.as_deref(),
            heals: plan.drifted,
            shape: plan.shape.as_ref(),
            image: plan.image_differs,
            fleet: self.fleet,
            now: self.at,
        }
    }

    /// Whether other guardrails forbid a target's rollout than before this change.
    pub(super) fn judged_differently(&self, planned: &Planned, local: &LocalRef, plan: &TargetPlan) -> bool {
        let environment = &planned.desired.environment;
        let Some(base) = &self.history.base else { return false };
        let Some(target) = environment.targets.get(local) else { return false };
        let Some(pin) = environment.pin_of(target) else { return false };
        let denials = |policies: &Policies| -> Vec<String> {
            let opinions = policies.opinions(self.proposal(planned, target, pin, plan));
            opinions.into_iter().filter_map(Opinion::denial).map(|denial| denial.policy).collect()
        };
        !self.policies.changes(&base.policies).is_empty() && denials(self.policies) != denials(&base.policies)
    }
}

/// Whether the target would be rolled out, now or when what it waits for is over.
pub(super) fn changes(plan: &TargetPlan) -> bool {
    plan.action.as_ref().is_some_and(crate::plan::Action::is_write) || plan.state == State::Pending
}

/// One target, with all that is known of it.
struct Subject<'a> {
    planned: &'a Planned,
    local: &'a LocalRef,
    target: &'a Target,
    pin: &'a Pin,
    plan: &'a TargetPlan,
    changed: &'a [&'static str],
}

impl Subject<'_> {
    fn report(&self, given: &Given<'_>) -> TargetReport {
        let Self { planned, local, target, pin, plan, changed } = *self;
        let nothing = Survey::default();
        let survey = planned.surveys.get(local).unwrap_or(&nothing);
        let change = changes(plan);
        let seen = planned.observed.targets.get(local).and_then(|seen| seen.as_ref().ok());
        let forecast = seen.filter(|_| change || plan.state == State::Blocked).map(|seen| {
            forecast::forecast(Prospect {
                target,
                seen,
                artifact: planned.observed.artifacts.get(local),
                survey,
                updated: plan.updated,
                total: plan.total,
                now: given.at,
            })
        });
        let (denials, allowed_from) = if change { self.denials(given) } else { (Vec::new(), None) };
        let (running, marker) = seen.map(|seen| running(&target.spec, seen)).unwrap_or_default();
        let commit = (!pin.provenance.commit.is_uncommitted()).then(|| pin.provenance.commit.to_string());
        let source = |facts: &Option<crate::model::survey::ImageFacts>| facts.as_ref()?.source.clone();
        let active = plan.rollout.as_ref().filter(|rollout| rollout.outcome.is_active());
        let course = forecast.as_ref().filter(|_| change).and_then(|forecast| forecast.course.clone());
        TargetReport {
            target: target.reference.to_string(),
            kind: local.kind,
            component: target.component.to_string(),
            state: plan.state,
            reason: plan.reason.as_ref().filter(|reason| **reason != Reason::Preparing).map(ToString::to_string),
            change,
            changed: changed.iter().map(|part| (*part).to_owned()).collect(),
            downgrade: plan.running.as_deref().and_then(|running| pin.version.precedence(running)).map(Ordering::is_lt),
            from: plan.running.clone(),
            to: pin.version.to_string(),
            from_artifact: running,
            artifact: plan.artifact.as_ref().map(ToString::to_string),
            from_created: survey.now.as_ref().and_then(|facts| facts.created),
            created: survey.next.as_ref().and_then(|facts| facts.created),
            commits: Range { from: marker.map(|marker| marker.commit.to_string()), to: commit.clone() },
            source: Range { from: source(&survey.now), to: source(&survey.next) },
            checks: forecast.iter().flat_map(checks).collect(),
            rollout: course.map(|course| RolloutReport {
                method: course.method.to_owned(),
                replaces: course.replaces,
                at_a_time: course.at_a_time,
                batches: course.batches,
                seconds: course.takes.as_secs(),
                basis: course.basis,
                stuck: course.stuck,
            }),
            rollback: forecast
                .filter(|_| change)
                .map(|it| RollbackReport { automatic: it.rollback.automatic, how: it.rollback.how }),
            denied_by: denials,
            allowed_from,
            in_progress: active.map(|rollout| InProgressReport {
                id: rollout.id.short().to_owned(),
                status: rollout.status.clone(),
                percentage: rollout.percentage,
                ours: plan.ours,
            }),
            next: plan
                .action
                .as_ref()
                .map(|action| Next { operation: action.operation().to_owned(), summary: action.to_string() }),
            updated: plan.updated,
            total: plan.total,
            drifted: plan.drifted,
            commit,
            author: pin.provenance.author.clone(),
            subject: pin.provenance.subject.clone(),
            shape: plan.shape.as_ref().map(|change| ShapeReport::of(change, given.at)),
            warnings: plan.warnings.clone(),
            unread: survey.unread.clone(),
        }
    }

    /// The guardrails are asked also where something else is waited for first: all that is in the way is said at once.
    fn denials(&self, given: &Given<'_>) -> (Vec<DenialReport>, Option<Timestamp>) {
        let explanation = given.policies.explain(given.proposal(self.planned, self.target, self.pin, self.plan));
        let allowed_from = explanation.allowed_from;
        let denials = explanation.opinions.into_iter().filter_map(Opinion::denial);
        (denials.map(|Denial { policy, reason }| DenialReport { policy, reason }).collect(), allowed_from)
    }
}

fn checks(forecast: &Forecast) -> impl Iterator<Item = CheckReport> {
    forecast.checks.iter().map(|check| CheckReport {
        check: check.question.as_str().to_owned(),
        ok: check.answer,
        detail: check.detail.clone(),
    })
}

/// The artifact that a target is on, and who put it there.
fn running<'a>(spec: &TargetSpec, seen: &'a ObservedTarget) -> (Option<String>, Option<&'a Marker>) {
    match (spec, seen) {
        (TargetSpec::Asg(_), ObservedTarget::Group(group)) => {
            let current = group.current.as_ref();
            (current.and_then(|version| version.image.clone()), current.and_then(|version| version.marker.as_ref()))
        }
        (TargetSpec::Fargate(spec), ObservedTarget::Service(service)) => {
            let definition = &service.task_definition;
            let mut containers = definition.containers.iter();
            let ours = match spec.containers.first() {
                Some(name) => containers.find(|container| container.name == *name),
                None => containers.find(|container| container.essential),
            };
            (ours.map(|container| container.image.clone()), definition.marker.as_ref())
        }
        _ => (None, None),
    }
}
