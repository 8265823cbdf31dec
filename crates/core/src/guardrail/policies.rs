//! The policies of an environments repository, and what they say to a proposal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{Authorizer, Policy, PolicyId, PolicySet, Schema};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::check::{self, Mistake};
use super::explain::{Effect, Opinion};
use super::request::{self, Unaskable};
use super::{Denial, DenyAll, Guardrails, Proposal, SCHEMA};
use crate::model::{EnvironmentName, TargetRef, words};

/// The policies of an environments repository. By default there are none, and nothing is forbidden.
#[derive(Debug, Clone, Default)]
pub struct Policies(Loaded);

#[derive(Debug, Clone, Default)]
enum Loaded {
    #[default]
    None,
    Valid(Arc<Valid>),
    Invalid(DenyAll),
}

struct Valid {
    schema: Schema,
    set: PolicySet,
    /// What each policy says, by its `@id`.
    words: BTreeMap<String, String>,
    zones: BTreeMap<String, TimeZone>,
    endings: Vec<Ending>,
}

/// A policy that ends by itself: a freeze.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    /// The policy's `@id`.
    pub policy: String,
    /// Its `@reason`, with its `@owner` if it names one.
    pub reason: String,
    /// The moment after which it can't forbid anything any more.
    pub until: Timestamp,
    /// The path of its file.
    pub path: String,
    /// The line at which it begins, from 1.
    pub line: usize,
}

/// How a policy differs from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It says something else.
    Changed,
    /// It is gone.
    Removed,
}

impl Change {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// What exists in the repository, and so may be named by policies.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The environments, good or broken.
    pub environments: BTreeSet<EnvironmentName>,
    /// The targets of the good ones.
    pub targets: BTreeSet<TargetRef>,
    /// The broken ones: which targets they have isn't known.
    pub broken: BTreeSet<EnvironmentName>,
}

impl Known {
    pub(super) fn has_environment(&self, name: &str) -> bool {
        self.environments.iter().any(|known| known.as_str() == name)
    }

    pub(super) fn has_target(&self, name: &str) -> bool {
        let Ok(target) = TargetRef::try_from(name.to_owned()) else { return false };
        self.targets.contains(&target) || self.broken.contains(&target.environment)
    }

    pub(super) fn environments(&self) -> String {
        self.environments.iter().map(EnvironmentName::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Policies {
    /// Reads policies: texts by path. If anything is wrong with any of them, but for what is only a warning, what comes back
    /// forbids everything.
    #[must_use]
    pub fn read(files: &BTreeMap<String, String>, known: &Known) -> (Self, Vec<Mistake>) {
        if files.is_empty() {
            return (Self::default(), Vec::new());
        }
        let schema = match Schema::from_cedarschema_str(SCHEMA) {
            Ok((schema, _)) => schema,
            Err(error) => return (Self::invalid(format!("this build's own schema is broken: {error}")), Vec::new()),
        };
        let checked = check::check(files, known, &schema);
        let wrong: Vec<&Mistake> = checked.mistakes.iter().filter(|mistake| !mistake.is_warning).collect();
        if !wrong.is_empty() {
            let count = wrong.len();
            let first = wrong.first().map(|mistake| mistake.path.clone()).unwrap_or_default();
            let reason = format!(
                "the policies are invalid ({}, the first in {first}); \
                 nothing is rolled out until `pinion validate` finds nothing in them",
                words::count(count, "finding")
            );
            return (Self::invalid(reason), checked.mistakes);
        }
        let mut words = BTreeMap::new();
        let mut set = PolicySet::new();
        let permit = Policy::parse(Some(PolicyId::new(PERMIT)), "permit (principal, action, resource);");
        let mut endings = Vec::new();
        let rules = checked.rules.into_iter().map(|rule| {
            let owner = rule.owner.map(|owner| format!(" ({owner})")).unwrap_or_default();
            let reason = rule.reason + &owner;
            if let Some(until) = rule.until {
                let (policy, reason) = (rule.id.clone(), reason.clone());
                endings.push(Ending { policy, reason, until, path: rule.path, line: rule.line });
            }
            words.insert(rule.id, reason);
            rule.policy
        });
        for policy in permit.into_iter().chain(rules) {
            if let Err(error) = set.add(policy) {
                return (Self::invalid(format!("the policies don't make a set: {error}")), Vec::new());
            }
        }
        endings.sort();
        let valid = Valid { schema, set, words, zones: checked.zones, endings };
        (Self(Loaded::Valid(Arc::new(valid))), checked.mistakes)
    }

    /// Policies that can't be used, for the reason given: everything is forbidden.
    #[must_use]
    pub fn invalid(reason: String) -> Self {
        Self(Loaded::Invalid(DenyAll { reason }))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        matches!(self.0, Loaded::None)
    }

    /// How many there are; 0 if they are invalid.
    #[must_use]
    pub fn len(&self) -> usize {
        if let Loaded::Valid(valid) = &self.0 { valid.words.len() } else { 0 }
    }

    /// Whether [`Policies::len`] is 0.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that end by themselves, or have ended, in the order of their ids; none if the policies are invalid.
    #[must_use]
    pub fn endings(&self) -> &[Ending] {
        if let Loaded::Valid(valid) = &self.0 { &valid.endings } else { &[] }
    }

    /// Which policies differ from what they were, by their ids. Comments and layout don't count.
    #[must_use]
    pub fn changes(&self, before: &Self) -> BTreeMap<String, Change> {
        let (now, then) = (self.meanings(), before.meanings());
        let new = now.iter().filter_map(|(id, meaning)| match then.get(id) {
            None => Some((id.clone(), Change::Added)),
            Some(before) if before != meaning => Some((id.clone(), Change::Changed)),
            Some(_) => None,
        });
        let gone = then.keys().filter(|id| !now.contains_key(*id)).map(|id| (id.clone(), Change::Removed));
        new.chain(gone).collect()
    }

    /// Each policy in Cedar's own form; none if they are invalid.
    fn meanings(&self) -> BTreeMap<String, Option<serde_json::Value>> {
        let Loaded::Valid(valid) = &self.0 else { return BTreeMap::new() };
        let meaning = |id: &String| valid.set.policy(&PolicyId::new(id)).and_then(|policy| policy.to_json().ok());
        valid.words.keys().map(|id| (id.clone(), meaning(id))).collect()
    }

    /// What each policy says, in the order of their ids.
    #[must_use]
    pub fn opinions(&self, proposal: Proposal<'_>) -> Vec<Opinion> {
        match &self.0 {
            Loaded::None => Vec::new(),
            Loaded::Invalid(all) => all
                .check(proposal)
                .into_iter()
                .map(|denial| Opinion { policy: denial.policy, reason: denial.reason, verdict: Effect::Forbids })
                .collect(),
            Loaded::Valid(valid) => valid.opinions(proposal),
        }
    }
}

/// The id of the policy that permits what no other forbids. No `@id` may have a colon.
const PERMIT: &str = "pinion:permit";

impl Guardrails for Policies {
    fn check(&self, proposal: Proposal<'_>) -> Vec<Denial> {
        if let (Loaded::Valid(_), Some(first)) = (&self.0, proposal.fleet.unseen(proposal.now)) {
            let reason = format!("environment {first} hasn't been looked at since the start");
            return vec![Denial { policy: Denial::STARTING.to_owned(), reason }];
        }
        self.opinions(proposal).into_iter().filter_map(Opinion::denial).collect()
    }

    fn text(&self) -> String {
        match &self.0 {
            Loaded::None => String::new(),
            Loaded::Invalid(deny) => deny.text(),
            Loaded::Valid(valid) => valid.set.to_string(),
        }
    }
}

impl Valid {
    fn opinions(&self, proposal: Proposal<'_>) -> Vec<Opinion> {
        match self.evaluate(proposal) {
            Ok(opinions) => opinions,
            Err(error) => {
                // Facts that don't fit the schema: no policy can have said that they may.
                let verdict = Effect::Fails(error.to_string());
                let reason = "Cedar can't be asked about this rollout".to_owned();
                vec![Opinion { policy: Denial::INVALID.to_owned(), reason, verdict }]
            }
        }
    }

    fn evaluate(&self, proposal: Proposal<'_>) -> Result<Vec<Opinion>, Unaskable> {
        let (request, entities) = request::request(proposal, &self.zones, &self.schema)?;
        let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
        let diagnostics = response.diagnostics();
        let forbidding: BTreeSet<&str> = diagnostics.reason().map(AsRef::as_ref).collect();
        let failing: BTreeMap<&str, String> = diagnostics
            .errors()
            .map(|error| match error {
                cedar_policy::AuthorizationError::PolicyEvaluationError(error) => {
                    (error.policy_id().as_ref(), error.inner().to_string())
                }
            })
            .collect();
        let opinions = self.words.iter().map(|(id, reason)| {
            // Cedar passes over a policy that fails; here it forbids.
            let verdict = match failing.get(id.as_str()) {
                Some(error) => Effect::Fails(error.clone()),
                None if forbidding.contains(id.as_str()) => Effect::Forbids,
                None => Effect::Allows,
            };
            Opinion { policy: id.clone(), reason: reason.clone(), verdict }
        });
        Ok(opinions.collect())
    }
}

impl fmt::Debug for Valid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Valid").field("policies", &self.words.keys()).finish_non_exhaustive()
    }
}
