use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use pinion::metrics::{CATALOGUE, Metrics, PollResult, RolloutResult};
use pinion::model::{CallRecord, Component, EnvironmentName, TargetRef};
use pinion::ports::RecordCalls;

use super::sample::{now, status};
use crate::support::typed::snapshot;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Metrics with at least one series of each.
fn full() -> Metrics {
    let metrics = Metrics::new().unwrap();
    let target = TargetRef::try_from("prod/asg/web".to_owned()).unwrap();
    let component = Component::try_from("frontend").unwrap();
    let prod = EnvironmentName::try_from("prod").unwrap();
    metrics.rollout_ended(&target, &component, RolloutResult::Succeeded, Duration::from_secs(100));
    metrics.converged(&prod, &component, Duration::from_secs(130));
    metrics.guardrail_denied(&target, &component, "freeze");
    metrics.history_dropped();
    metrics.pass_ended(&prod, true, Duration::from_millis(40));
    metrics.git_polled("https://github.com/acme/environments.git", PollResult::Changed, Duration::from_millis(200));
    let call = CallRecord {
        service: "sts",
        operation: "AssumeRole",
        result: "retry",
        throttled: true,
        duration: Duration::from_millis(80),
    };
    metrics.record(&prod, call);
    metrics.hook("polled");
    metrics.notified("releases", "sent");
    metrics.notifications_queued("releases", 0);
    metrics
}

/// The names and types of a scrape.
fn types(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

#[test]
fn a_scrape_has_the_whole_catalogue() {
    let text = full().render(&snapshot(&status()), now());
    let types = types(&text);
    let ours: BTreeMap<&str, &str> =
        types.iter().filter(|(name, _)| name.starts_with("pinion_")).map(|(name, kind)| (*name, *kind)).collect();
    let catalogue: BTreeMap<&str, &str> =
        CATALOGUE.iter().map(|definition| (definition.name, definition.kind.as_str())).collect();
    assert_eq!(ours, catalogue);
    #[cfg(target_os = "linux")]
    assert_eq!(types.get("process_cpu_seconds_total"), Some(&"counter"));
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(series.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
    }
}

#[test]
fn the_documentation_lists_the_catalogue() {
    let path = PathBuf::from(ROOT).join("docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `pinion_")).collect();
    let expected: Vec<String> = CATALOGUE
        .iter()
        .map(|definition| {
            let labels: Vec<String> = definition.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, kind) = (definition.name, definition.kind.as_str());
            format!("| `{name}` | {kind} | {} | {} |", labels.join(", "), definition.help)
        })
        .collect();
    assert_eq!(documented.join("\n"), expected.join("\n"), "docs/metrics.md is to have these rows");
}

#[test]
fn values_are_those_of_the_status() {
    let text = full().render(&snapshot(&status()), now());
    let web = r#"component="frontend",environment="prod",kind="asg",target="prod/asg/web""#;
    let web_in = |state: &str| web.replace(r#",target="#, &format!(r#",state="{state}",target="#));
    for line in [
        format!("pinion_target_state{{{}}} 1", web_in("rolling-out")),
        format!("pinion_target_state{{{}}} 0", web_in("in-sync")),
        format!("pinion_target_out_of_sync_seconds{{{web}}} 600"),
        format!("pinion_rollout_age_seconds{{{web}}} 120"),
        format!("pinion_quarantined{{{web}}} 0"),
        r#"pinion_environment_valid{environment="dev"} 0"#.to_owned(),
        r#"pinion_reconcile_last_success_timestamp_seconds{environment="prod"} 1767355199.5"#.to_owned(),
        "pinion_resync_requested 3".to_owned(),
        "pinion_resync_completed 2".to_owned(),
        r#"pinion_assume_role_failures_total{environment="prod"} 1"#.to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert_eq!(text.matches("pinion_target_state{").count(), 3 * 9);
    assert_eq!(text.matches("pinion_rollout_age_seconds{").count(), 1, "only where one runs");
}

#[test]
fn counters_begin_at_zero_where_their_labels_are_known() {
    let metrics = Metrics::new().unwrap();
    let prod = EnvironmentName::try_from("prod").unwrap();
    let call = CallRecord {
        service: "sts",
        operation: "AssumeRole",
        result: "ok",
        throttled: false,
        duration: Duration::ZERO,
    };
    metrics.record(&prod, call);
    let text = metrics.render(&snapshot(&status()), now());
    for series in [
        r#"pinion_assume_role_failures_total{environment="prod"}"#,
        r#"pinion_aws_throttles_total{environment="prod",service="sts"}"#,
        r#"pinion_git_polls_total{repository="https://github.com/acme/environments.git",result="failed"}"#,
        r#"pinion_reconcile_total{environment="prod",result="failed"}"#,
        r#"pinion_rollouts_total{component="frontend",environment="prod",kind="asg",result="failed",target="prod/asg/web"}"#,
    ] {
        let line = format!("{series} 0");
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn a_label_cannot_break_its_line() {
    let mut status = status();
    status.version = "1\"} 1\nx\\".to_owned();
    let text = full().render(&snapshot(&status), now());
    assert!(text.contains(r#"pinion_build_info{version="1\"} 1\nx\\"} 1"#), "{text}");
}

#[test]
fn series_of_what_is_gone_are_gone() {
    let metrics = full();
    let before = metrics.render(&snapshot(&status()), now());
    assert!(before.contains(r#"pinion_rollouts_total{component="frontend",environment="prod""#), "{before}");
    let mut smaller = status();
    smaller.environments.get_mut("prod").unwrap().targets.remove("asg/web");
    let text = metrics.render(&snapshot(&smaller), now());
    assert!(!text.contains("prod/asg/web"), "{text}");
    assert!(text.contains(r#"pinion_reconcile_total{environment="prod""#), "{text}");
    smaller.environments.remove("prod");
    let text = metrics.render(&snapshot(&smaller), now());
    assert!(!text.contains(r#"environment="prod""#), "{text}");
    assert!(text.contains(r#"pinion_environment_valid{environment="dev"}"#), "{text}");
}

#[test]
fn what_was_counted_before_the_first_status_stays() {
    let text = full().render(&pinion::model::status::Snapshot::default(), now());
    assert!(text.contains(r#"pinion_reconcile_total{environment="prod",result="ok"} 1"#), "{text}");
}

#[test]
fn promtool_has_nothing_to_say() {
    crate::support::promtool::check(&full().render(&snapshot(&status()), now()));
}
