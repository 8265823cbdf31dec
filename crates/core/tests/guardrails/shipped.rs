//! The policies in `docs/guardrails/`: each allows, denies and ends.

use pinion_core::model::State;

use super::case::{Case, load, time};

const FREEZE: &str = include_str!("../../../../docs/guardrails/freeze.cedar");
const WORKING_HOURS: &str = include_str!("../../../../docs/guardrails/working-hours.cedar");
const SOAK: &str = include_str!("../../../../docs/guardrails/soak.cedar");
const NO_DOWNGRADE: &str = include_str!("../../../../docs/guardrails/no-downgrade.cedar");
const ROLLING_LIMIT: &str = include_str!("../../../../docs/guardrails/rolling-limit.cedar");
const STOP: &str = include_str!("../../../../docs/guardrails/stop-after-quarantines.cedar");
const GRAMMAR: &str = include_str!("../../../../docs/guardrails/version-grammar.cedar");

const SIGNED: &str = include_str!("../../../../docs/guardrails/signed-commits.cedar");

const NOTHING: [&str; 0] = [];

#[test]
fn all_of_them_go_together() {
    let all = [
        ("freeze.cedar", FREEZE),
        ("working-hours.cedar", WORKING_HOURS),
        ("soak.cedar", SOAK),
        ("no-downgrade.cedar", NO_DOWNGRADE),
        ("rolling-limit.cedar", ROLLING_LIMIT),
        ("stop-after-quarantines.cedar", STOP),
        ("version-grammar.cedar", GRAMMAR),
        ("signed-commits.cedar", SIGNED),
    ];
    let loaded = load(&all, "1.4.2");
    assert_eq!(loaded.all_findings().to_string(), "");
    assert_eq!(loaded.policies.len(), 10);
    // What lies in the folder is what is tested here, and what the page shows.
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("docs/guardrails");
    let page = std::fs::read_to_string(folder.with_extension("md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (_, text) = all.iter().find(|(known, _)| *known == name).unwrap();
        let shown: String = text.lines().map(|line| format!("    {line}\n").trim_end().to_owned() + "\n").collect();
        assert!(page.contains(&shown), "docs/guardrails.md doesn't show {name} as it is:\n{shown}");
        count += 1;
    }
    assert_eq!(count, all.len());
}

#[test]
fn a_freeze_has_a_beginning_an_end_and_a_way_out() {
    let case = || Case::new(FREEZE);
    assert_eq!(case().at("2026-12-23T14:59:59Z").forbidden_by(), NOTHING);
    assert_eq!(
        case().at("2026-12-23T15:00:00Z").denials(),
        "holiday-freeze: nobody is in the office until 4 January; what can't wait says so in a Break-glass: trailer \
         (ops@example.com)"
    );
    assert_eq!(case().at("2027-01-04T06:59:59Z").forbidden_by(), ["holiday-freeze"]);
    assert_eq!(case().at("2027-01-04T07:00:00Z").forbidden_by(), NOTHING);
    let christmas = "2026-12-25T12:00:00Z";
    assert_eq!(case().at(christmas).explain().allowed_from, Some(time("2027-01-04T07:00:00Z")));
    assert_eq!(case().at(christmas).trailer("Break-glass", "shop is down").forbidden_by(), NOTHING);
    assert_eq!(Case::in_environment("dev", FREEZE).at(christmas).forbidden_by(), NOTHING);
}

#[test]
fn working_hours_are_those_of_a_place_in_summer_and_winter() {
    let forbidden = |now: &str| !Case::new(WORKING_HOURS).at(now).forbidden_by().is_empty();
    // A Thursday in winter: Berlin is an hour ahead.
    assert!(forbidden("2026-12-03T07:59:59Z"));
    assert!(!forbidden("2026-12-03T08:00:00Z"));
    assert!(!forbidden("2026-12-03T14:59:59Z"));
    assert!(forbidden("2026-12-03T15:00:00Z"));
    // A Thursday in summer: two hours.
    assert!(!forbidden("2026-07-02T07:00:00Z"));
    assert!(forbidden("2026-07-02T14:00:00Z"));
    // Saturday and Sunday.
    assert!(forbidden("2026-12-05T10:00:00Z"));
    assert!(forbidden("2026-12-06T10:00:00Z"));
    let friday = Case::new(WORKING_HOURS).at("2026-12-04T18:30:00Z");
    assert_eq!(friday.explain().allowed_from, Some(time("2026-12-07T08:00:00Z")), "Monday, nine o'clock in Berlin");
}

#[test]
fn a_version_soaks_in_the_environment_that_it_is_promoted_from() {
    let case = |version: &str, state, since| Case::new(SOAK).other("dev/asg/web", version, state, since);
    assert_eq!(Case::new(SOAK).forbidden_by(), ["soak"], "nothing is known of dev");
    let since = Some("2026-12-02T13:00:00Z");
    let young = case("1.4.2", State::InSync, since);
    assert_eq!(young.forbidden_by(), ["soak"]);
    assert_eq!(young.explain().allowed_from, Some(time("2026-12-03T13:00:00Z")));
    assert_eq!(case("1.4.2", State::InSync, since).at("2026-12-03T13:00:00Z").forbidden_by(), NOTHING);
    let later = |case: Case| case.at("2026-12-24T00:00:00Z").forbidden_by();
    assert_eq!(later(case("1.4.1", State::InSync, since)), ["soak"], "another version");
    assert_eq!(later(case("1.4.2", State::Quarantined, None)), ["soak"]);
    let two = |state, since| {
        case("1.4.2", State::InSync, Some("2026-12-01T00:00:00Z")).other("dev/asg/b", "1.4.2", state, since)
    };
    assert_eq!(later(two(State::RollingOut, None)), ["soak"], "all of the component's targets count");
    assert_eq!(two(State::InSync, since).at("2026-12-03T12:59:00Z").forbidden_by(), ["soak"], "and the last of them");
    assert_eq!(later(two(State::InSync, since)), NOTHING);
    assert_eq!(Case::in_environment("dev", SOAK).forbidden_by(), NOTHING, "dev is promoted from nowhere");
    // What dev doesn't have at all can't soak there.
    let alone = || Case::new(SOAK).of_component("backend", "dev/fargate/api", "2.0.1", State::InSync, since);
    assert_eq!(alone().forbidden_by(), NOTHING);
    assert_eq!(
        alone().other("dev/asg/web", "1.4.1", State::Unknown, None).forbidden_by(),
        ["soak"],
        "it has it by now"
    );
    let elsewhere = Case::new(SOAK).of_component("backend", "test/fargate/api", "2.0.1", State::InSync, since);
    assert_eq!(elsewhere.forbidden_by(), ["soak"], "dev is what counts, and nothing is known of it");
    // What had been here may come back, though dev has moved on; another version may not.
    assert_eq!(case("1.5.0", State::InSync, since).healing().forbidden_by(), NOTHING);
    assert_eq!(case("1.5.0", State::InSync, since).forbidden_by(), ["soak"]);
    let never = case("1.4.1", State::InSync, since).explain();
    assert!(!never.allows());
    assert_eq!(never.allowed_from, None, "time alone changes nothing");
    // Going back can't wait, nor where versions have no order.
    for (from, to) in [("1.4.2", "1.4.1"), ("frontend.2_b", "frontend.1_a")] {
        let back = || Case::new(SOAK).running(from).pinned(to);
        assert_eq!(back().forbidden_by(), ["soak"]);
        assert_eq!(back().trailer("Rollback", "it loses orders").forbidden_by(), NOTHING);
    }
    let onward = Case::new(SOAK).running("1.4.1").pinned("1.4.2").trailer("Rollback", "it isn't one");
    assert_eq!(onward.forbidden_by(), ["soak"]);
}

#[test]
fn a_downgrade_wants_a_trailer() {
    let case = |from: &str, to: &str| Case::new(NO_DOWNGRADE).running(from).pinned(to);
    assert_eq!(case("1.4.2", "1.4.1").forbidden_by(), ["no-downgrade"]);
    assert_eq!(case("1.10.0", "1.9.9").forbidden_by(), ["no-downgrade"], "by number, not by letter");
    assert_eq!(case("1.4.2", "1.4.2-rc.1").forbidden_by(), ["no-downgrade"]);
    assert_eq!(case("1.4.2", "1.4.1").trailer("Rollback", "1.4.2 loses orders").forbidden_by(), NOTHING);
    assert_eq!(case("1.4.1", "1.4.2").forbidden_by(), NOTHING);
    assert_eq!(case("1.4.2", "1.4.2").forbidden_by(), NOTHING);
    assert_eq!(case("backend.0.0.2", "backend.0.0.1_dev1").forbidden_by(), NOTHING, "no order is known of these");
    let mut unknown = case("1.4.2", "1.4.1");
    unknown.running = None;
    assert_eq!(unknown.forbidden_by(), NOTHING);
}

#[test]
fn only_so_many_roll_out_at_once() {
    let rolling = |targets: &[&str]| {
        let start = Case::new(ROLLING_LIMIT);
        targets.iter().fold(start, |case, target| case.other(target, "1.4.2", State::RollingOut, None))
    };
    assert_eq!(rolling(&["prod/asg/a"]).forbidden_by(), NOTHING);
    assert_eq!(rolling(&["prod/asg/a", "prod/fargate/b"]).forbidden_by(), ["rolling-limit"]);
    assert_eq!(rolling(&["prod/asg/a", "prod/asg/web"]).forbidden_by(), NOTHING, "it doesn't stand in its own way");
    let dev = ["dev/asg/a", "dev/asg/b", "dev/asg/c", "dev/asg/d"];
    assert_eq!(rolling(&dev).forbidden_by(), NOTHING);
    let five = || rolling(&dev).other("prod/asg/a", "1.4.2", State::Verifying, None);
    assert_eq!(five().forbidden_by(), ["rolling-limit"]);
    let one_done = five().other("dev/asg/a", "1.4.2", State::InSync, None);
    assert_eq!(one_done.forbidden_by(), NOTHING, "it ends when one of them is done");
}

#[test]
fn a_version_that_failed_twice_is_not_tried_again_elsewhere() {
    let case = || Case::new(STOP).other("dev/asg/a", "1.4.2", State::Quarantined, None);
    assert_eq!(case().forbidden_by(), NOTHING);
    let two = || case().other("prod/asg/b", "1.4.2", State::Quarantined, None);
    assert_eq!(two().forbidden_by(), ["stop-after-quarantines"]);
    assert_eq!(two().pinned("1.4.3").forbidden_by(), NOTHING, "another version may be better");
    let repaired = two().other("dev/asg/a", "1.4.2", State::InSync, None);
    assert_eq!(repaired.forbidden_by(), NOTHING, "it ends when one of them does well after all");
    assert_eq!(case().other("prod/asg/b", "1.4.1", State::Quarantined, None).forbidden_by(), NOTHING);
}

#[test]
fn versions_have_a_grammar() {
    let web = |version: &str| Case::new(GRAMMAR).pinned(version).forbidden_by();
    assert_eq!(web("1.5.0"), NOTHING);
    assert_eq!(web("1.5.0-rc.1"), ["frontend-releases-only"]);
    assert_eq!(Case::in_environment("dev", GRAMMAR).pinned("1.5.0-rc.1").forbidden_by(), NOTHING);
    let api = |version: &str| Case::new(GRAMMAR).target("fargate/api").pinned(version).forbidden_by();
    assert_eq!(api("backend.2.0.1"), NOTHING);
    assert_eq!(api("latest"), ["backend-versions"]);
}

#[test]
fn commits_are_signed_in_prod_by_who_wrote_them() {
    assert_eq!(Case::new(SIGNED).forbidden_by(), ["signed-commits"]);
    assert_eq!(Case::in_environment("dev", SIGNED).forbidden_by(), NOTHING);
    assert_eq!(Case::new(SIGNED).signed_by("ada@example.com").forbidden_by(), NOTHING);
    assert_eq!(Case::new(SIGNED).signed_by("bob@example.com").forbidden_by(), ["signed-by-author"]);
}

#[test]
fn only_the_freeze_ends() {
    for text in [WORKING_HOURS, SOAK, NO_DOWNGRADE, ROLLING_LIMIT, STOP, GRAMMAR, SIGNED] {
        assert_eq!(load(&[("policy.cedar", text)], "1.4.2").policies.endings(), []);
    }
    let loaded = load(&[("freeze.cedar", FREEZE)], "1.4.2");
    let [ending] = loaded.policies.endings() else { panic!("{:?}", loaded.policies.endings()) };
    assert_eq!((ending.policy.as_str(), ending.until), ("holiday-freeze", time("2027-01-04T07:00:00Z")));
    assert!(ending.path.ends_with("freeze.cedar") && ending.reason.ends_with("(ops@example.com)"), "{ending:?}");
    assert!(FREEZE.lines().nth(ending.line - 1).unwrap().starts_with("@id"), "line {}", ending.line);
    let warned = |now| pinion_core::manifest::render::warnings(&loaded, time(now));
    assert_eq!(warned("2027-01-04T06:59:59Z"), []);
    assert_eq!(warned("2027-01-04T07:00:00Z").len(), 1);
}
