//! `--output text`.

use super::report::{PlanReport, PolicyReport, Range, TargetReport, also_changed, course};
use crate::cli::output::{self, Screen};
use crate::model::State;
use crate::model::escape::one_line;
use crate::plan::change_limit;

pub(super) fn render(report: &PlanReport, screen: Screen) -> String {
    let mut text = String::new();
    if let Some(base) = &report.base {
        let commit = base.commit.get(..12).unwrap_or(&base.commit);
        text += &format!("What this change does, compared with {} ({commit}):\n\n", one_line(&base.revision));
    }
    for (name, environment) in &report.environments {
        text += &format!("{}  account {}, {}\n", one_line(name), environment.account, environment.region);
        if environment.targets.is_empty() && environment.removed.is_empty() {
            text += "  nothing in this change touches it\n";
        }
        let mut table = screen.table(&["  ", "TARGET", "STATE", "VERSION", ""]);
        for target in &environment.targets {
            table.add_row(vec![
                screen.cell(&format!("  {}", sign(target))),
                screen.cell(&target.target),
                if target.next.is_some() {
                    screen.painted("roll out", comfy_table::Color::Blue)
                } else {
                    screen.state(target.state)
                },
                screen.cell(&step(target)),
                screen.cell(&what(target)),
            ]);
        }
        if !environment.targets.is_empty() {
            text += &output::table_text(&table);
            text += "\n";
        }
        if let Some(wave) = &environment.wave {
            text += &format!("\n    {}\n", wave.basis);
        }
        for target in environment.targets.iter().filter(|target| has_details(target)) {
            text += "\n";
            text += &details(target, report);
        }
        if let Some(held) = &environment.held_shapes {
            text += &format!("\n    {}\n", one_line(held));
        }
        for removed in &environment.removed {
            text += &format!("  - {name}/{removed} is no longer looked after; it stays as it is\n");
        }
        text += "\n";
    }
    for removed in &report.removed {
        text += &if is_held(report) {
            format!("{removed} is looked after until its removal is acknowledged\n")
        } else {
            format!("{removed} is no longer looked after; it stays as it is\n")
        };
    }
    for PolicyReport { policy, change } in &report.policies {
        text += &format!("guardrail {} is {change}\n", one_line(policy));
    }
    if let Some(change_limit) = &report.change_limit {
        let what = one_line(&change_limit.what);
        text += &if change_limit.acknowledged {
            format!("This change {what}; the trailer `{}` acknowledges it.\n", change_limit.trailer)
        } else {
            let ignored_acknowledgement = change_limit
                .ignored_acknowledgement
                .as_deref()
                .map(|commit| format!("; {}", change_limit::ignored_acknowledgement(commit)));
            format!(
                "This change {what}: the blast-radius limit will hold it, unless a commit has the trailer `{}`{}.\n",
                change_limit.trailer,
                ignored_acknowledgement.unwrap_or_default()
            )
        };
    }
    let in_sync = report.targets().filter(|target| target.state == State::InSync).count();
    text + &format!(
        "Plan: {} to roll out, {in_sync} in sync, {} quarantined, {} can't be planned.\n",
        report.changes, report.quarantined, report.blocked
    )
}

/// Whether what this change removes is kept by a change limit.
pub(super) fn is_held(report: &PlanReport) -> bool {
    report.change_limit.as_ref().is_some_and(|change_limit| !change_limit.acknowledged)
}

/// From what version to which.
fn step(target: &TargetReport) -> String {
    let to = &target.to;
    match &target.from {
        Some(from) if from != to && target.downgrade == Some(true) => format!("{from} → {to} (older)"),
        Some(from) if target.change || from != to => format!("{from} → {to}"),
        None if target.change => format!("? → {to}"),
        _ => to.clone(),
    }
}

fn sign(target: &TargetReport) -> &'static str {
    match (target.change, target.state) {
        (_, State::Blocked | State::Unknown | State::Quarantined) => "!",
        (true, State::Pending) => "…",
        (true, _) => "~",
        (false, _) => " ",
    }
}

fn what(target: &TargetReport) -> String {
    match (&target.next, &target.reason) {
        (Some(next), _) => format!(
            "{} of {} to replace; first: {}",
            target.total.saturating_sub(target.updated),
            target.total,
            next.summary
        ),
        (None, Some(reason)) => reason.clone(),
        (None, None) => format!("{} of {}", target.updated, target.total),
    }
}

fn details(target: &TargetReport, report: &PlanReport) -> String {
    let mut text = format!("    {}\n", one_line(&target.target));
    let mut line = |key: &str, value: &str| text += &format!("      {key:<10} {}\n", one_line(value));
    let age = |created| output::ago(created, report.at);
    if let Some(artifact) = &target.artifact {
        let made = target.created.map(|created| format!(", {} old", age(created))).unwrap_or_default();
        line("artifact", &format!("{artifact}{made}"));
    }
    if let Some(artifact) = target.from_artifact.as_ref().filter(|from| Some(*from) != target.artifact.as_ref()) {
        let made = target.from_created.map(|created| format!(", {} old", age(created))).unwrap_or_default();
        line("replaces", &format!("{artifact}{made}"));
    }
    if let Some(changed) = also_changed(target) {
        line("changed", &changed);
    }
    if let Some(shape) = &target.shape {
        line("shape", &shape.summary);
    }
    for check in &target.checks {
        let sign = match check.ok {
            Some(true) => "",
            Some(false) => "NO: ",
            None => "? ",
        };
        line(&check.check, &format!("{sign}{}", check.detail));
    }
    if let (Some(course), Some(rollout)) = (course(target), &target.rollout) {
        line("rollout", &format!("{course} (an estimate: {})", rollout.basis));
        if let Some(stuck) = &rollout.stuck {
            line("stuck", stuck);
        }
    }
    if let Some(rollback) = &target.rollback {
        line("rollback", &rollback.how);
    }
    for denial in &target.denied_by {
        line("forbidden", &format!("{}: {}", denial.policy, denial.reason));
    }
    if !target.denied_by.is_empty() {
        line("allowed_from", &allowed_from(target));
    }
    if let Some(in_progress) = &target.in_progress {
        let whose = if in_progress.ours { "this pin's" } else { "not this pin's" };
        line("in_progress", &format!("{} ({}), {whose}", in_progress.id, in_progress.status));
    }
    for (key, range) in [("pins", &target.commits), ("source", &target.source)] {
        if let Some(range) = shown(range) {
            line(key, &range);
        }
    }
    for warning in &target.warnings {
        line("warning", warning);
    }
    for unread in &target.unread {
        line("unread", unread);
    }
    text
}

/// Whether there is more to say than fits into a row.
pub(super) fn has_details(target: &TargetReport) -> bool {
    target.change || !target.checks.is_empty() || !target.warnings.is_empty() || !target.changed.is_empty()
}

/// When a rollout that guardrails forbid may pass.
pub(super) fn allowed_from(target: &TargetReport) -> String {
    match target.allowed_from {
        Some(at) => format!("from {at}, if nothing but the time changes"),
        None => "time alone won't change that".to_owned(),
    }
}

/// A range of commits, as Git takes it. Ids are cut short; what isn't one stays.
pub(super) fn shown(range: &Range) -> Option<String> {
    let short = |commit: &str| {
        let id = commit.len() >= 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        commit.get(..12).filter(|_| id).unwrap_or(commit).to_owned()
    };
    match (&range.from, &range.to) {
        (Some(from), Some(to)) if from != to => Some(format!("{}..{}", short(from), short(to))),
        (_, Some(to)) => Some(short(to)),
        (Some(from), None) => Some(format!("{}..?", short(from))),
        (None, None) => None,
    }
}
