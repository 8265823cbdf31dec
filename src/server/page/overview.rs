//! `/`: all environments and targets at a glance.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query as Parameters, State as Given};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::gauge::Gauge;
use super::instead::instead;
use super::trouble::{self, Trouble};
use super::view::{self, Choice, Line, Row};
use super::{Frame, answer, events};
use crate::history::Query;
use crate::model::status::{EnvironmentStatus, RepositoryStatus, Snapshot};
use crate::model::{State, TargetState};
use crate::server::routes::Shared;

/// How many events stand beside the targets.
const EVENTS: usize = 12;
/// From so many targets on, what there is to be seen comes first, and environments in which all is well are folded.
const MANY: usize = 100;
/// Words for states that stand for several.
const ATTENTION: &str = "needs-attention";
const DRIFTED: &str = "drifted";

/// Which targets to show.
#[derive(Debug, Default, Clone, Hash, Deserialize)]
#[serde(default)]
pub(in crate::server) struct Filter {
    /// A text that the target, its component, versions, reason or pin has in it.
    q: String,
    state: String,
    component: String,
    environment: String,
}

impl Filter {
    fn is_set(&self) -> bool {
        [&self.q, &self.state, &self.component, &self.environment].iter().any(|text| !text.trim().is_empty())
    }

    fn wants(&self, environment: &str, target: &TargetState) -> bool {
        let named = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let state = match self.state.as_str() {
            ATTENTION => view::needs_attention(target),
            DRIFTED => target.drifted,
            word => named(word, target.state.as_str()),
        };
        state
            && named(&self.component, target.pin.component.as_str())
            && named(&self.environment, environment)
            && self.q.split_whitespace().all(|word| has(target, &word.to_lowercase()))
    }
}

fn has(target: &TargetState, word: &str) -> bool {
    let (pin, provenance) = (&target.pin, &target.pin.provenance);
    let (reference, reason) = (target.target.to_string(), target.reason.as_ref().map(ToString::to_string));
    let texts = [
        Some(reference.as_str()),
        Some(pin.component.as_str()),
        Some(target.state.as_str()),
        Some(pin.version.as_str()),
        target.running.as_deref(),
        reason.as_deref(),
        Some(provenance.author.as_str()),
        Some(provenance.subject.as_str()),
        Some(provenance.commit.as_str()),
    ];
    texts.into_iter().flatten().any(|text| text.to_lowercase().contains(word))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Page<'a> {
    frame: &'a Frame,
    now: Timestamp,
    body: &'a Body<'a>,
}

#[derive(Debug, Hash)]
struct Body<'a> {
    headline: String,
    tone: &'static str,
    /// Whether some targets need attention.
    attention: bool,
    gauge: Gauge,
    ready: bool,
    /// How many targets are in each state that any is in, with the state's tone.
    counts: Vec<Count>,
    filter: &'a Filter,
    filtered: bool,
    /// Whether there are so many targets that each has but one line.
    many: bool,
    shown: String,
    total: String,
    states: Vec<Choice>,
    components: Vec<Choice>,
    names: Vec<Choice>,
    repositories: Vec<RepositoryRow<'a>>,
    environments: Vec<Group<'a>>,
    events: Vec<Line>,
}

#[derive(Debug, Hash)]
struct Count {
    word: &'static str,
    tone: &'static str,
    count: usize,
    selected: bool,
}

#[derive(Debug, Hash)]
struct RepositoryRow<'a> {
    url: &'a str,
    branch: &'a str,
    revision: &'a str,
    guardrails: u64,
    /// Those that end by themselves: the policy, when, and whether that is past.
    ends: Vec<(&'a str, Timestamp, bool)>,
    /// Whether signatures are checked.
    signed: bool,
    troubles: Vec<Trouble>,
}

/// An environment and those of its targets that are shown.
#[derive(Debug, Hash)]
struct Group<'a> {
    name: &'a str,
    account: &'a str,
    region: &'a str,
    revision: &'a str,
    valid: bool,
    troubles: Vec<Trouble>,
    gauge: Gauge,
    tally: String,
    open: bool,
    /// How soon somebody should see it: 0 for what needs attention, 1 for what moves or waits, 2 for what is well.
    rank: u8,
    rows: Vec<Row<'a>>,
}

pub(in crate::server) async fn overview(
    Given(shared): Given<Shared>,
    headers: HeaderMap,
    filter: Result<Parameters<Filter>, QueryRejection>,
) -> Response {
    let Ok(Parameters(filter)) = filter else {
        return instead(&shared, "./", StatusCode::BAD_REQUEST, "The filter in this address isn't valid.");
    };
    let (happened, _) = events(&shared, Query::newest(EVENTS).of_interest()).await;
    let status = shared.status();
    let now = shared.server.clock.now();
    let lines = happened.iter().map(|event| Line::of(event, &status)).collect();
    let body = body(&status, &filter, lines, now);
    let title = match body.tone {
        "good" => "Pinion".to_owned(),
        _ => format!("{} – Pinion", body.headline),
    };
    let frame = Frame::new("./", title, "targets", &status);
    answer(&headers, &(&frame, &body), &Page { frame: &frame, now, body: &body })
}

fn body<'a>(status: &'a Snapshot, filter: &'a Filter, events: Vec<Line>, now: Timestamp) -> Body<'a> {
    let all: Vec<&TargetState> = status.environments.values().flat_map(|it| it.targets.values()).collect();
    let mut states: BTreeMap<State, usize> = BTreeMap::new();
    for target in &all {
        *states.entry(target.state).or_default() += 1;
    }
    let (headline, tone) = headline(status, &all);
    let filtered = filter.is_set();
    let many = all.len() >= MANY;
    let mut environments: Vec<Group<'a>> = status
        .environments
        .iter()
        .filter_map(|(name, environment)| group(name, environment, filter, filtered || !many))
        .collect();
    if many {
        environments.sort_by_key(|group| group.rank);
        for group in &mut environments {
            group.rows.sort_by_key(|row| row.rank);
        }
    }
    let names = [ATTENTION, DRIFTED].into_iter().chain(State::ALL.map(State::as_str));
    let components: BTreeSet<&str> = all.iter().map(|target| target.pin.component.as_str()).collect();
    Body {
        headline,
        tone,
        attention: all.iter().any(|target| view::needs_attention(target)),
        gauge: Gauge::of(all.iter().copied()),
        ready: status.ready,
        counts: counts(&states, &all, &filter.state),
        filter,
        filtered,
        many,
        shown: view::grouped(environments.iter().map(|group| group.rows.len()).sum()),
        total: target_count(all.len()),
        states: Choice::among("any", names, &filter.state),
        components: Choice::among("any", components, &filter.component),
        names: Choice::among("any", status.environments.keys().map(String::as_str), &filter.environment),
        repositories: status.repositories.iter().map(|repository| source(repository, now)).collect(),
        environments,
        events,
    }
}

/// `1 target`, `1,000 targets`.
fn target_count(count: usize) -> String {
    format!("{} target{}", view::grouped(count), if count == 1 { "" } else { "s" })
}

/// A problem that no single target shows, if there is one.
fn problem(status: &Snapshot) -> Option<&'static str> {
    let (mut unreadable, mut invalid, mut held) = (false, false, false);
    for repository in &status.repositories {
        unreadable |= repository.error.is_some();
        invalid |= !repository.guardrail_errors.is_empty();
        invalid |= repository.signatures.as_ref().is_some_and(|signatures| signatures.refused > 0);
    }
    for environment in status.environments.values() {
        unreadable |= environment.error.is_some();
        invalid |= !environment.errors.is_empty();
        held |= environment.change_limit.is_some();
    }
    match (unreadable, invalid, held) {
        (true, _, _) => Some("some repositories or accounts can't be read"),
        (_, true, _) => Some("something in Git needs fixing"),
        (_, _, true) => Some("a change is waiting for an acknowledgement"),
        _ => None,
    }
}

/// The page's headline and its tone. Targets that need attention outrank everything else.
fn headline(status: &Snapshot, all: &[&TargetState]) -> (String, &'static str) {
    let total = all.len();
    let bad = all.iter().filter(|target| view::needs_attention(target)).count();
    let moving = all.iter().filter(|target| matches!(target.state, State::RollingOut | State::Verifying)).count();
    let waiting = all.iter().filter(|target| target.state == State::Pending).count();
    let settled = all.iter().filter(|target| target.state == State::InSync).count();
    if bad > 0 {
        let verb = if bad == 1 { "needs" } else { "need" };
        return (format!("{} of {} {verb} attention", view::grouped(bad), target_count(total)), "bad");
    }
    let word = match (total, moving, waiting) {
        (0, _, _) if status.ready => "No targets".to_owned(),
        (0, _, _) => "Reading the environments".to_owned(),
        (_, 1.., _) => format!("{} rolling out, {} in sync", target_count(moving), view::grouped(settled)),
        (_, _, 1..) => format!("{} waiting, {} in sync", target_count(waiting), view::grouped(settled)),
        _ if settled == total => format!("{} in sync", target_count(total)),
        _ => format!("{} of {} in sync", view::grouped(settled), target_count(total)),
    };
    match (problem(status), moving, waiting) {
        (Some(amiss), _, _) => (format!("{word}, but {amiss}"), "bad"),
        (_, 1.., _) => (word, "busy"),
        (_, _, 1..) => (word, "waits"),
        _ => (word, "good"),
    }
}

fn counts(states: &BTreeMap<State, usize>, all: &[&TargetState], selected: &str) -> Vec<Count> {
    let drifted = all.iter().filter(|target| target.drifted).count();
    let by_state = states.iter().map(|(state, count)| Count {
        word: state.as_str(),
        tone: view::tone(*state),
        count: *count,
        selected: selected == state.as_str(),
    });
    let drifted = Count { word: DRIFTED, tone: "waits", count: drifted, selected: selected == DRIFTED };
    by_state.chain((drifted.count > 0).then_some(drifted)).collect()
}

fn source(repository: &RepositoryStatus, now: Timestamp) -> RepositoryRow<'_> {
    RepositoryRow {
        url: &repository.url,
        branch: &repository.branch,
        revision: repository.revision.as_deref().unwrap_or_default(),
        guardrails: repository.guardrails,
        ends: repository.guardrail_ends.iter().map(|end| (end.policy.as_str(), end.until, end.until <= now)).collect(),
        signed: repository.signatures.is_some(),
        troubles: trouble::of_repository(repository),
    }
}

/// `None` if nothing of the environment is to be shown.
fn group<'a>(
    name: &'a str,
    environment: &'a EnvironmentStatus<TargetState>,
    filter: &Filter,
    open: bool,
) -> Option<Group<'a>> {
    let wanted = environment.targets.iter().filter(|(_, target)| filter.wants(name, target));
    let rows: Vec<Row<'a>> = wanted.map(|(local, target)| Row::of(local, target)).collect();
    if filter.is_set() && rows.is_empty() {
        return None;
    }
    let troubles = trouble::of_environment(environment, None);
    let mut tally: BTreeMap<State, usize> = BTreeMap::new();
    for target in environment.targets.values() {
        *tally.entry(target.state).or_default() += 1;
    }
    let rank = environment.targets.values().map(view::rank).min().unwrap_or(2);
    let rank = if troubles.is_empty() { rank } else { 0 };
    let tally: Vec<String> = tally.iter().map(|(state, count)| format!("{count} {state}")).collect();
    Some(Group {
        name,
        account: &environment.account,
        region: &environment.region,
        revision: &environment.revision,
        valid: environment.valid,
        open: open || rank < 2,
        rank,
        troubles,
        gauge: Gauge::of(environment.targets.values()),
        tally: if tally.is_empty() { "no targets yet".to_owned() } else { tally.join(" · ") },
        rows,
    })
}
