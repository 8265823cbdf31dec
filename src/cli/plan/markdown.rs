//! `--output markdown`: a comment for a pull request. Short first, details folded, never longer than a forge takes.
//!
//! Whatever comes from Git or AWS stands in code spans: there neither links nor mentions, HTML nor pictures mean
//! anything, to GitHub or to GitLab.

use super::report::{PlanReport, PolicyReport, TargetReport, also_changed, course};
use super::text;
use crate::cli::markdown::{cell, code};
use crate::cli::output;
use crate::model::{State, words};
use crate::plan::change_limit;

/// Distinguishes a comment of ours from others, so that it is updated and not repeated. Stable.
pub const MARKER: &str = "<!-- pinion:plan -->";

/// A comment may have 65 536 characters. Bytes are counted, of which there are never fewer.
const MAX_LENGTH: usize = 65_000;
/// Rows get so much of it, the rest is for details.
const ROWS: usize = 40_000;
/// What is wrong with the files gets so much of it, where something was planned; twice, as what was wrong before is said, too.
const FINDINGS: usize = 6_000;
/// Kept for what is said at the end.
const RESERVE: usize = 600;

pub(super) fn render(report: &PlanReport) -> String {
    let mut text = format!("{MARKER}\n### Pinion: {}\n\n", headline(report));
    if let Some(base) = &report.base {
        let commit = base.commit.get(..12).unwrap_or(&base.commit);
        text += &format!("What this change does, compared with {} ({}).\n\n", code(&base.revision), code(commit));
    }
    if is_refused(report) {
        findings(&mut text, &report.findings, MAX_LENGTH - RESERVE);
        return text;
    }
    for (findings, heading) in [
        (&report.findings, "This is wrong, and what it is about isn't planned:"),
        (&report.earlier_findings, "This was wrong before, and what it is about isn't planned:"),
    ] {
        if !findings.is_empty() {
            text += &format!("{heading}\n\n");
            let longest = text.len() + FINDINGS;
            self::findings(&mut text, findings, longest);
            text += "\n";
        }
    }
    if let Some(change_limit) = &report.change_limit {
        let trailer = code(&change_limit.trailer);
        text += &if change_limit.acknowledged {
            format!("This change {}. A trailer acknowledges it.\n\n", code(&change_limit.what))
        } else {
            let ignored_acknowledgement = change_limit
                .ignored_acknowledgement
                .as_deref()
                .map(|commit| format!("; {}", change_limit::ignored_acknowledgement(commit)));
            format!(
                "**Held by the blast-radius limit:** this change {}. If that is meant, add the trailer {trailer} to a \
                 commit{}.\n\n",
                code(&change_limit.what),
                ignored_acknowledgement.unwrap_or_default()
            )
        };
    }
    rows(&mut text, report);
    for (name, environment) in &report.environments {
        for removed in &environment.removed {
            let target = code(&format!("{name}/{removed}"));
            append(
                &mut text,
                MAX_LENGTH - RESERVE,
                &format!("- {target} is no longer looked after; it stays as it is.\n"),
            );
        }
    }
    for removed in &report.removed {
        let line = if text::is_held(report) {
            format!("- {} is looked after until its removal is acknowledged.\n", code(removed))
        } else {
            format!("- {} is no longer looked after; it stays as it is.\n", code(removed))
        };
        append(&mut text, MAX_LENGTH - RESERVE, &line);
    }
    for PolicyReport { policy, change } in &report.policies {
        append(&mut text, MAX_LENGTH - RESERVE, &format!("- Guardrail {} is {change}.\n", code(policy)));
    }
    for (name, environment) in &report.environments {
        if let Some(wave) = &environment.wave {
            append(&mut text, MAX_LENGTH - RESERVE, &format!("- {}: {}.\n", code(name), wave.basis));
        }
    }
    for (name, environment) in &report.environments {
        if let Some(held) = &environment.held_shapes {
            append(&mut text, MAX_LENGTH - RESERVE, &format!("- {}: {held}.\n", code(name)));
        }
    }
    let untouched: Vec<&String> = report
        .environments
        .iter()
        .filter(|(_, environment)| environment.targets.is_empty() && environment.removed.is_empty())
        .map(|(name, _)| name)
        .collect();
    if !untouched.is_empty() && !report.environments.is_empty() {
        let names: Vec<String> = untouched.iter().map(|name| code(name)).collect();
        let gap = if text.ends_with("\n\n") { "" } else { "\n" };
        append(&mut text, MAX_LENGTH - RESERVE, &format!("{gap}Not touched: {}.\n", names.join(", ")));
    }
    let mut left_out = 0;
    for target in report.targets().filter(|target| text::has_details(target)) {
        left_out += usize::from(!append(&mut text, MAX_LENGTH - RESERVE, &details(target, report)));
    }
    if left_out > 0 {
        text += &format!("\nThe details of {left_out} more are left out; `pinion plan` shows them.\n");
    }
    text += &format!(
        "\n<sub>Looked up in AWS at {}. Batches and times are estimates, by the targets' own settings.</sub>\n",
        report.at.strftime("%Y-%m-%d %H:%M UTC")
    );
    text
}

fn headline(report: &PlanReport) -> String {
    if is_refused(report) {
        return format!("{} in the files, nothing was planned", words::count(report.findings.len(), "mistake"));
    }
    let mut parts = vec![match report.changes {
        0 => "nothing to roll out".to_owned(),
        changes => format!("{changes} to roll out"),
    }];
    for (count, what) in [
        (report.waiting, "of them waiting"),
        (report.blocked, "can't be planned"),
        (report.quarantined, "quarantined"),
        (report.architecture_mismatches, "on the wrong processor"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let held_shapes = || report.environments.values().any(|environment| environment.held_shapes.is_some());
    if report.change_limit.as_ref().is_some_and(|change_limit| !change_limit.acknowledged) || held_shapes() {
        parts.push("held by a change limit".to_owned());
    }
    if !report.findings.is_empty() {
        parts.push(format!("{} in the files", words::count(report.findings.len(), "mistake")));
    }
    parts.join(", ")
}

/// Whether something is wrong that kept everything from being planned.
fn is_refused(report: &PlanReport) -> bool {
    !report.findings.is_empty() && report.environments.is_empty()
}

fn findings(text: &mut String, findings: &[String], longest: usize) {
    for (index, finding) in findings.iter().enumerate() {
        if !append(text, longest, &format!("- {}\n", code(finding))) {
            *text += &format!("\n{} more are left out; `pinion validate` shows them.\n", findings.len() - index);
            break;
        }
    }
}

fn rows(text: &mut String, report: &PlanReport) {
    let mut left_out = 0_usize;
    for (index, target) in report.targets().enumerate() {
        if index == 0 {
            text.push_str("| Target | Now | Then | What happens |\n| --- | --- | --- | --- |\n");
        }
        let row = format!(
            "| {} | {} | {}{} | {} |\n",
            cell(&target.target),
            target.from.as_deref().map_or_else(|| "–".to_owned(), cell),
            cell(&target.to),
            if target.downgrade == Some(true) { " (older)" } else { "" },
            happens(target)
        );
        left_out += usize::from(!append(text, ROWS, &row));
    }
    if left_out > 0 {
        *text += &format!("\n{left_out} more targets are left out; `pinion plan` shows them.\n");
    }
}

fn happens(target: &TargetReport) -> String {
    let reason = || target.reason.as_deref().map(|reason| format!(": {}", cell(reason))).unwrap_or_default();
    let architecture_mismatch = target.checks.iter().any(|check| check.check == "fits" && check.ok == Some(false));
    let stuck = target.rollout.as_ref().is_some_and(|rollout| rollout.stuck.is_some());
    let rolls = || course(target).unwrap_or_else(|| "a rollout".to_owned());
    match target.state {
        State::Blocked | State::Unknown => format!("**can't be planned**{}", reason()),
        State::Quarantined => format!("**quarantined**{}", reason()),
        _ if architecture_mismatch => "**the artifact doesn't fit**, see below".to_owned(),
        _ if target.change && stuck => "**would get stuck**, see below".to_owned(),
        State::Pending if !target.denied_by.is_empty() => {
            let policies: Vec<String> = target.denied_by.iter().map(|denial| cell(&denial.policy)).collect();
            let until = target.allowed_from.map(|at| format!(", from {at} on it may")).unwrap_or_default();
            format!("**waits**: forbidden by {}{until}; then {}{}", policies.join(", "), rolls(), caveats(target))
        }
        State::Pending => format!("**waits**{}; then {}{}", reason(), rolls(), caveats(target)),
        State::RollingOut if target.next.is_some() => format!("**{}**{}", rolls(), caveats(target)),
        state if target.changed.is_empty() => format!("{state}{}", reason()),
        state => format!("{state}{}; changed: {}", reason(), target.changed.join(", ")),
    }
}

/// What nobody should have to unfold to see.
fn caveats(target: &TargetReport) -> String {
    let deprecated = target.checks.iter().any(|check| check.check == "current" && check.ok == Some(false));
    let stays = target.rollback.as_ref().is_some_and(|rollback| !rollback.automatic);
    let caveats = [(deprecated, "the AMI is deprecated"), (stays, "not rolled back by itself")];
    let caveats = caveats.into_iter().filter(|(holds, _)| *holds);
    caveats.map(|(_, caveat)| format!("; **{caveat}**")).collect()
}

fn details(target: &TargetReport, report: &PlanReport) -> String {
    // The reference has only letters, digits, - and _.
    let mut text = format!("\n<details><summary>{}</summary>\n\n", target.target);
    let mut line = |key: &str, value: String| text += &format!("- **{key}:** {value}\n");
    let age = |created: Option<jiff::Timestamp>| {
        created.map(|created| format!(", {} old", output::ago(created, report.at))).unwrap_or_default()
    };
    if let Some(artifact) = &target.artifact {
        line("Artifact", format!("{}{}", code(artifact), age(target.created)));
    }
    if let Some(from) = target.from_artifact.as_ref().filter(|from| Some(*from) != target.artifact.as_ref()) {
        line("Replaces", format!("{}{}", code(from), age(target.from_created)));
    }
    if let Some(changed) = also_changed(target) {
        line("Changed", changed);
    }
    if let Some(shape) = &target.shape {
        line("Shape", code(&shape.summary));
    }
    for check in &target.checks {
        let key = match check.check.as_str() {
            "usable" => "Usable",
            "current" => "Current",
            _ => "Fits",
        };
        let answer = match check.ok {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "not known",
        };
        line(key, format!("{answer}: {}", code(&check.detail)));
    }
    if let (Some(course), Some(rollout)) = (course(target), &target.rollout) {
        line("Rollout", format!("{course}: {}", code(&rollout.basis)));
        if let Some(stuck) = &rollout.stuck {
            line("Stuck", code(stuck));
        }
    }
    if let Some(rollback) = &target.rollback {
        let sign = if rollback.automatic { "yes" } else { "**no**" };
        line("Rolls back by itself", format!("{sign}: {}", code(&rollback.how)));
    }
    for denial in &target.denied_by {
        line("Forbidden", format!("{}: {}", code(&denial.policy), code(&denial.reason)));
    }
    if !target.denied_by.is_empty() {
        line("May pass", text::allowed_from(target));
    }
    if let Some(reason) = target.reason.as_ref().filter(|reason| !is_said(target, reason)) {
        line("State", format!("{}: {}", target.state, code(reason)));
    }
    if let Some(in_progress) = &target.in_progress {
        let whose = if in_progress.ours { "this pin's own" } else { "not this pin's: it is waited for" };
        line("Runs there now", format!("{} ({}), {whose}", code(&in_progress.id), code(&in_progress.status)));
    }
    for (key, range) in [("Commits", &target.commits), ("Source", &target.source)] {
        if let Some(range) = text::shown(range) {
            line(key, code(&range));
        }
    }
    line("Pinned by", format!("{}: {}", code(&target.author), code(&target.subject)));
    for warning in &target.warnings {
        line("Warning", code(warning));
    }
    for unread in &target.unread {
        line("Not read", code(unread));
    }
    text + "\n</details>\n"
}

/// Whether the reason only repeats what a check or a guardrail says.
fn is_said(target: &TargetReport, reason: &str) -> bool {
    let guardrail = target.denied_by.first().is_some_and(|denial| {
        target.denied_by.len() == 1 && reason == format!("forbidden by {}: {}", denial.policy, denial.reason)
    });
    guardrail || target.checks.iter().any(|check| check.detail == reason)
}

/// Appends if it stays within a length. Says whether it did.
fn append(text: &mut String, longest: usize, more: &str) -> bool {
    let fits = text.len() + more.len() <= longest;
    if fits {
        text.push_str(more);
    }
    fits
}

#[cfg(test)]
mod tests {
    use super::super::report::{
        CheckReport, DenialReport, EnvironmentReport, Next, Range, RollbackReport, RolloutReport,
    };
    use super::*;
    use crate::model::Kind;

    fn target(number: usize, long: &str) -> TargetReport {
        TargetReport {
            target: format!("prod/asg/web-{number}"),
            kind: Kind::Asg,
            component: "web".to_owned(),
            state: State::Pending,
            reason: Some(long.to_owned()),
            change: true,
            changed: vec!["pin".to_owned()],
            downgrade: None,
            from: Some(long.to_owned()),
            to: "1.5.0".to_owned(),
            from_artifact: None,
            artifact: Some("ami-1".to_owned()),
            from_created: None,
            created: None,
            commits: Range::default(),
            source: Range::default(),
            checks: vec![CheckReport { check: "fits".to_owned(), ok: None, detail: long.to_owned() }],
            rollout: Some(RolloutReport {
                method: "instance refresh".to_owned(),
                replaces: 3,
                at_a_time: 1,
                batches: 3,
                seconds: 480,
                basis: long.to_owned(),
                stuck: None,
            }),
            rollback: None,
            denied_by: vec![DenialReport { policy: "soak".to_owned(), reason: long.to_owned() }],
            allowed_from: None,
            in_progress: None,
            next: None,
            updated: 0,
            total: 3,
            drifted: false,
            commit: None,
            author: long.to_owned(),
            subject: long.to_owned(),
            shape: None,
            warnings: Vec::new(),
            unread: Vec::new(),
        }
    }

    #[test]
    fn what_matters_most_stands_in_the_row() {
        let mut target = target(1, "long");
        (target.state, target.downgrade, target.from) = (State::RollingOut, Some(true), Some("1.6.0".to_owned()));
        target.next = Some(Next { operation: "StartInstanceRefresh".to_owned(), summary: "start".to_owned() });
        target.checks =
            vec![CheckReport { check: "current".to_owned(), ok: Some(false), detail: "deprecated".to_owned() }];
        target.rollback = Some(RollbackReport { automatic: false, how: "no".to_owned() });
        let mut report = PlanReport::broken("2026-01-02T12:00:00Z".parse().unwrap(), Vec::new());
        let (account, region) = ("222222222222".to_owned(), "us-west-1".to_owned());
        let environment = EnvironmentReport {
            account,
            region,
            targets: vec![target],
            removed: Vec::new(),
            held_shapes: None,
            wave: None,
        };
        report.environments.insert("prod".to_owned(), environment);
        let text = render(&report);
        let row = text.lines().find(|line| line.starts_with("| `prod/asg/web-1`")).unwrap();
        assert_eq!(
            row,
            "| `prod/asg/web-1` | `1.6.0` | `1.5.0` (older) | **instance refresh of 3 instances in 3 batches, about 8 min**; \
             **the AMI is deprecated**; **not rolled back by itself** |"
        );
    }

    #[test]
    fn a_comment_is_never_longer_than_a_forge_takes() {
        for (count, long) in [(1, 0), (400, 40), (3000, 10), (60, 5000), (5, 60_000)] {
            let mut report = PlanReport::broken("2026-01-02T12:00:00Z".parse().unwrap(), Vec::new());
            let long = "ü|`".repeat(long);
            let targets = (0..count).map(|number| target(number, &long)).collect();
            let (account, region) = ("222222222222".to_owned(), "us-west-1".to_owned());
            let environment =
                EnvironmentReport { account, region, targets, removed: Vec::new(), held_shapes: None, wave: None };
            report.environments.insert("prod".to_owned(), environment);
            let text = render(&report);
            assert!(text.len() <= 65_536, "{count}: {}", text.len());
            assert!(text.starts_with(MARKER) && text.ends_with("</sub>\n"), "{count}");
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            let left_out = text.contains("left out");
            assert_eq!(left_out, count > 5, "{count}");
            report.earlier_findings = vec![long.clone(); count];
            report.findings = vec![long; count];
            assert!(render(&report).len() <= 65_536);
            report.environments.clear();
            assert!(render(&report).len() <= 65_536);
        }
    }
}
