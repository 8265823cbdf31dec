//! From the texts of policies to rules, or all that is wrong with them, each with its place.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::str::FromStr as _;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationError, ValidationMode, Validator};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use miette::Diagnostic;

use super::policies::Known;
use super::{depth, end, zone};
use crate::model::escape::stripped;

/// The longest `@id`, in characters. It becomes a label of metrics.
const MAX_ID: usize = 64;

/// One thing that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file's path.
    pub path: String,
    /// The bytes of the file that it is about.
    pub span: Range<usize>,
    /// The policy's `@id`, if it has one.
    pub policy: Option<String>,
    /// The name of the check that found it, such as `policy-type`. Stable.
    pub check: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the policies count all the same. Names are such a thing: who renames or removes what a policy names mustn't
    /// thereby stop everybody.
    pub is_warning: bool,
}

/// A policy that is well-formed.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) policy: Policy,
    pub(super) id: String,
    pub(super) reason: String,
    pub(super) owner: Option<String>,
    /// When it ends; see [`end`].
    pub(super) until: Option<Timestamp>,
    /// The line at which it begins, from 1.
    pub(super) line: usize,
    pub(super) path: String,
    span: Range<usize>,
}

/// All policies of a repository that can be used, and what is wrong with the others.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) rules: Vec<Rule>,
    pub(super) zones: BTreeMap<String, TimeZone>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads all texts, by path.
pub(super) fn check(files: &BTreeMap<String, String>, known: &Known, schema: &Schema) -> Checked {
    let mut checked = Checked::default();
    for (path, text) in files {
        checked.file(path, text);
    }
    checked.ids();
    checked.types(files, schema);
    checked.literals(files, known);
    checked.mistakes.sort_by(|one, other| (&one.path, one.span.start).cmp(&(&other.path, other.span.start)));
    checked
}

impl Checked {
    fn file(&mut self, path: &str, text: &str) {
        if let Some((span, message)) = depth::too_deep(text) {
            let help = "split it into several policies: each that forbids counts";
            self.report(path, span, None, "policy-syntax", message, help);
            return;
        }
        let set = match PolicySet::from_str(text) {
            Ok(set) => set,
            Err(errors) => {
                let mistakes = errors.iter().map(|error| mistake(path, 0..0, None, "policy-syntax", error));
                self.mistakes.extend(mistakes);
                return;
            }
        };
        for template in set.templates() {
            let span = find(text, &template.to_cedar(), 0);
            let help = "write principal and resource without `?principal` and `?resource`";
            self.report(path, span, None, "policy-template", "this is a template, which nothing fills in", help);
        }
        // Cedar numbers policies as they stand in the file; texts are looked for in that order, so that two of the same
        // text are told apart.
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| number(policy.id()));
        let mut end = 0;
        for policy in policies {
            let span = find(text, &policy.to_cedar().unwrap_or_default(), end);
            end = span.end;
            let line = text.get(..span.start).unwrap_or_default().matches('\n').count() + 1;
            self.policy(path, line, span, policy);
        }
    }

    fn policy(&mut self, path: &str, line: usize, span: Range<usize>, policy: &Policy) {
        let annotation = |name: &str| policy.annotation(name).map(str::trim).filter(|text| !text.is_empty());
        let id = annotation("id").map(str::to_owned);
        if policy.effect() == Effect::Permit {
            let message = "a permit has no effect: whatever no policy forbids is allowed";
            let help = "write it the other way round: `forbid (…) unless { … }`";
            self.report(path, span.clone(), id.clone(), "policy-permit", message, help);
        }
        let reason = annotation("reason").map(str::to_owned);
        if reason.is_none() {
            let help = "put `@reason(\"why, and what to do\")` before the policy: people read it where it forbids";
            self.report(path, span.clone(), id.clone(), "policy-reason", "this policy has no @reason", help);
        }
        let Some(id) = id else {
            let help = "put `@id(\"a-short-name\")` before the policy: denials and metrics name it";
            self.report(path, span, None, "policy-id", "this policy has no @id", help);
            return;
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !id.chars().all(legal) || id.len() > MAX_ID {
            let message = format!("`{}` can't be an @id", one_line(&id));
            let help = "letters, digits, `.`, `_` and `-`, 64 at most";
            self.report(path, span, Some(id), "policy-id", message, help);
            return;
        }
        let reason = one_line(reason.as_deref().unwrap_or_default());
        let owner = annotation("owner").map(one_line);
        let until = end::of(policy);
        let policy = policy.new_id(PolicyId::new(&id));
        self.rules.push(Rule { policy, id, reason, owner, until, line, path: path.to_owned(), span });
    }

    /// Each `@id` belongs to one policy. Of two the later is taken out.
    fn ids(&mut self) {
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for rule in std::mem::take(&mut self.rules) {
            if let Some(path) = seen.get(&rule.id) {
                let message = format!("a policy in {path} has the @id `{}`, too", rule.id);
                self.report(&rule.path, rule.span, Some(rule.id), "policy-id", message, "give each its own");
                continue;
            }
            seen.insert(rule.id.clone(), rule.path.clone());
            self.rules.push(rule);
        }
    }

    /// Checks against the schema. What Cedar only warns of is a mistake here: a policy that can't apply is none.
    fn types(&mut self, files: &BTreeMap<String, String>, schema: &Schema) {
        let mut set = PolicySet::new();
        for rule in &self.rules {
            // Ids are all different by now, and templates are none.
            let _ = set.add(rule.policy.clone());
        }
        let validator = Validator::new(schema.clone());
        let result = validator.validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
        let wrong: BTreeSet<&PolicyId> = result.validation_errors().map(ValidationError::policy_id).collect();
        // A policy that has errors is mostly also called impossible: that is only their echo.
        let warnings = result.validation_warnings().filter(|warning| !wrong.contains(warning.policy_id()));
        let warnings = warnings.map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
        for (id, diagnostic) in errors.chain(warnings) {
            let Some(rule) = self.rules.iter().find(|rule| rule.policy.id() == id) else { continue };
            let (path, span) = (&rule.path, rule.span.clone());
            let mut found = mistake(path, span, Some(rule.id.clone()), "policy-type", diagnostic);
            // Cedar says which policy it is; the finding's key does, too.
            let named = format!("for policy `{}`, ", rule.id);
            found.message = found.message.strip_prefix(&named).map_or(found.message.clone(), str::to_owned);
            if files.get(path).is_none_or(|text| text.get(found.span.clone()).is_none()) {
                found.span = rule.span.clone();
            }
            self.mistakes.push(found);
        }
    }

    /// Checks the entities that policies name: one of another name would never be met.
    fn literals(&mut self, files: &BTreeMap<String, String>, known: &Known) {
        let mut found = Vec::new();
        for rule in &self.rules {
            let literals: BTreeSet<(String, String)> = rule
                .policy
                .entity_literals()
                .iter()
                .map(|uid| (uid.type_name().to_string(), uid.id().unescaped().to_owned()))
                .collect();
            for (kind, name) in literals {
                let is_warning = kind != "Zone";
                let (message, help) = match kind.as_str() {
                    "Zone" => match zone::find(&name) {
                        Some(zone) => {
                            self.zones.insert(name, zone);
                            continue;
                        }
                        None => (
                            format!("there is no time zone `{}`", one_line(&name)),
                            zone::nearest(&name).map_or_else(
                                || "take a name of the IANA time zone database, such as \"Europe/Berlin\"".to_owned(),
                                |near| format!("did you mean `{near}`?"),
                            ),
                        ),
                    },
                    "Environment" if !known.has_environment(&name) => (
                        format!("there is no environment `{}`", one_line(&name)),
                        format!("environments: {}", known.environments()),
                    ),
                    "Target" if !known.has_target(&name) => (
                        format!("there is no target `{}`", one_line(&name)),
                        "it looks like `prod/asg/web` or `prod/fargate/api`".to_owned(),
                    ),
                    _ => continue,
                };
                let text = files.get(&rule.path).map(String::as_str).unwrap_or_default();
                let inside = text.get(rule.span.clone()).unwrap_or_default();
                let literal = format!("{kind}::{name:?}");
                let span = match inside.find(&literal) {
                    Some(at) => rule.span.start + at..rule.span.start + at + literal.len(),
                    None => rule.span.clone(),
                };
                let (path, policy, check, help) =
                    (rule.path.clone(), Some(rule.id.clone()), "policy-unknown", Some(help));
                found.push(Mistake { path, span, policy, check, message, help, is_warning });
            }
        }
        self.mistakes.extend(found);
    }

    fn report(
        &mut self,
        path: &str,
        span: Range<usize>,
        policy: Option<String>,
        check: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let (path, message, help) = (path.to_owned(), message.into(), Some(help.into()));
        self.mistakes.push(Mistake { path, span, policy, check, message, help, is_warning: false });
    }
}

/// What Cedar says, at the place of which it says it.
fn mistake(
    path: &str,
    span: Range<usize>,
    policy: Option<String>,
    check: &'static str,
    diagnostic: &dyn Diagnostic,
) -> Mistake {
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let span = label.as_ref().map_or(span, |label| label.offset()..label.offset() + label.len());
    let mut message = one_line(&diagnostic.to_string());
    if let Some(what) = label.as_ref().and_then(|label| label.label()) {
        message = format!("{message}: {}", one_line(what));
    }
    let help = diagnostic.help().map(|help| one_line(&help.to_string()));
    Mistake { path: path.to_owned(), span, policy, check, message, help, is_warning: false }
}

/// Where a policy's text stands, at or behind `from`; the start of what is left if it isn't found.
fn find(text: &str, policy: &str, from: usize) -> Range<usize> {
    let rest = text.get(from..).unwrap_or_default();
    match rest.find(policy).filter(|_| !policy.is_empty()) {
        Some(at) => from + at..from + at + policy.len(),
        None => from..from,
    }
}

/// The number in Cedar's own `policy7`.
fn number(id: &PolicyId) -> usize {
    let id: &str = id.as_ref();
    id.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().unwrap_or(usize::MAX)
}

/// Text that goes into reasons and findings: on one line, and without what could steer a terminal.
fn one_line(text: &str) -> String {
    stripped(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}
