//! What suspends a whole environment, or all of them.

use std::collections::BTreeMap;

use pinion_core::manifest::{Loaded, render};
use pinion_core::model::{EnvironmentName, Reach, Suspension};

use super::files::{ENVIRONMENT, PINS};
use super::sample::Repository;

fn stop(day: u8) -> String {
    format!("[suspend]\nowner = \"Ada\"\nreason = \"a test\"\nuntil = 2030-01-{day:02}T00:00:00Z\n")
}

/// `prod` with these days on which suspensions end: of all environments, of this one, and of its target asg/web.
fn suspended(all: Option<u8>, environment: Option<u8>, web: Option<u8>) -> Repository {
    let web = web.map(|day| stop(day).replace("[suspend]", "[asg.web.suspend]"));
    let own = environment.map(stop).unwrap_or_default();
    let repository = Repository::prod().append(&(web.unwrap_or_default() + &own));
    match all {
        Some(day) => repository.with("defaults.toml", stop(day)),
        None => repository,
    }
}

fn prod() -> EnvironmentName {
    EnvironmentName::try_from("prod").unwrap()
}

fn own(loaded: &Loaded) -> Option<Option<Suspension>> {
    loaded.suspended.own(&prod())
}

#[test]
fn of_several_suspensions_the_one_that_ends_last_holds() {
    let holds = |all, environment, web| {
        let repository = suspended(all, environment, web);
        assert_eq!(repository.findings(), "");
        let draft = repository.load().environments.into_values().next().unwrap().unwrap();
        let targets = draft.complete(&BTreeMap::new()).targets.into_values();
        let held = targets.map(|target| {
            let suspension = target.suspend?;
            Some((suspension.reach, suspension.until.to_string()[8..10].parse::<u8>().unwrap()))
        });
        held.collect::<Vec<_>>()
    };
    let (all, environment, target) = (Reach::All, Reach::Environment, Reach::Target);
    // The first of each is asg/web, the second one fargate/api.
    assert_eq!(holds(None, None, None), [None, None]);
    assert_eq!(holds(None, None, Some(5)), [Some((target, 5)), None]);
    assert_eq!(holds(None, Some(5), None), [Some((environment, 5)); 2]);
    assert_eq!(holds(Some(5), None, None), [Some((all, 5)); 2]);
    assert_eq!(holds(Some(5), Some(4), Some(6)), [Some((target, 6)), Some((all, 5))]);
    assert_eq!(holds(Some(4), Some(5), Some(3)), [Some((environment, 5)); 2], "an earlier one weakens none");
    assert_eq!(holds(Some(5), Some(5), Some(5)), [Some((target, 5)), Some((environment, 5))]);
}

#[test]
fn where_a_suspension_of_all_targets_stands_is_noted() {
    insta::assert_snapshot!(render::notes(&suspended(Some(5), Some(4), Some(6)).load()).join("\n"), @r"
    environments/defaults.toml:1: note: suspend: all targets of all environments are suspended until 2030-01-05T00:00:00Z; a target's own suspension counts only if it ends later
    environments/prod/environment.toml:21: note: suspend: all targets of this environment are suspended until 2030-01-04T00:00:00Z; a target's own suspension counts only if it ends later
    ");
}

#[test]
fn what_suspends_is_known_though_all_else_is_broken() {
    let says = |repository: Repository| {
        let loaded = repository.load();
        assert!(loaded.environments.values().all(Result::is_err), "{loaded:?}");
        let day = |word: &Option<Suspension>| word.as_ref().map(|it| it.until.to_string()[8..10].to_owned());
        (loaded.suspended.all().as_ref().map(day), own(&loaded).as_ref().map(day))
    };
    let known = |day: &str| Some(Some(day.to_owned()));
    assert_eq!(says(suspended(Some(5), Some(4), None).pins("web = 1")), (known("05"), known("04")));
    assert_eq!(says(suspended(None, None, None).pins("web = 1")), (Some(None), Some(None)));
    assert_eq!(says(suspended(None, Some(4), None).append("[asg.other]\n")), (Some(None), known("04")));
    assert_eq!(says(suspended(Some(5), Some(4), None).without("prod/pins.toml")), (known("05"), known("04")));
    // What can't be read says nothing: neither that it suspends, nor that it doesn't.
    assert_eq!(says(suspended(Some(5), Some(4), None).append("nonsense")), (known("05"), None));
    assert_eq!(says(suspended(Some(5), None, None).without("prod/environment.toml")), (known("05"), None));
    assert_eq!(says(suspended(None, Some(4), None).with("defaults.toml", "[suspend")), (None, known("04")));
}

#[test]
fn a_suspension_of_all_targets_has_all_its_keys() {
    let broken = Repository::prod()
        .with("defaults.toml", "[suspend]\nowner = \"Ada\"\nuntil = \"soon\"\n[defaults.suspend]\n")
        .append("[suspend]\nowner = \"Ada\"\n");
    insta::assert_snapshot!(broken.findings(), @r"
    environments/defaults.toml:1:2: error: suspend.reason: the key `reason` is missing
    environments/defaults.toml:3:9: error: suspend.until: `soon` is not a date and time with its offset; write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00
    environments/defaults.toml:4:11: error: defaults.suspend: unknown key `suspend`; what suspends all targets is [suspend], at the top of the file
    environments/prod/environment.toml:17:2: error: suspend.reason: the key `reason` is missing
    environments/prod/environment.toml:17:2: error: suspend.until: the key `until` is missing
    ");
    let loaded = broken.load();
    assert_eq!((loaded.suspended.all(), own(&loaded)), (&None, None));
}

#[test]
fn it_is_the_first_commit_that_can_be_read_that_counts() {
    let stops = |repository: Repository| repository.load().suspended;
    let mut known = stops(suspended(Some(5), Some(4), None).append("nonsense"));
    known.fill(&stops(suspended(Some(9), Some(8), None)));
    known.fill(&stops(suspended(Some(7), Some(6), None)));
    assert_eq!(known.own(&prod()).unwrap().unwrap().until.to_string(), "2030-01-08T00:00:00Z");
    assert_eq!(known.all().clone().unwrap().unwrap().until.to_string(), "2030-01-05T00:00:00Z");
    let other = Repository::default().with("dev/environment.toml", ENVIRONMENT).with("dev/pins.toml", PINS);
    let mut known = stops(other);
    known.fill(&stops(suspended(Some(9), Some(8), None)));
    assert_eq!(known.all(), &Some(None), "no defaults.toml is none that can't be read");
}
