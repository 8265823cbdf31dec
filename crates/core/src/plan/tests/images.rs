//! What a pin's tag and digest mean: which images are the same, and what becomes of a tag that was moved.

use super::services::{deployment, history, service};
use super::*;

const REPOSITORY: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend";

fn digest(digit: char) -> Digest {
    Digest::try_from(format!("sha256:{}", digit.to_string().repeat(64))).unwrap()
}

/// What the registry says of version 2.1: pinned by a digest or not, what is found, what its tag is on, what an index has.
fn artifact(pinned: bool, found: char, tag_on: Option<char>, members: &str) -> Artifact {
    let found = digest(found);
    Artifact::Image {
        image: if pinned { format!("{REPOSITORY}@{found}") } else { format!("{REPOSITORY}:2.1") },
        digest: Some(found),
        architectures: BTreeSet::new(),
        members: members.chars().map(digest).collect(),
        tag: ("2.1".to_owned(), tag_on.map(digest)),
    }
}

/// A service at rest on an image, of which ECS says that it was deployed with these bytes.
fn at_rest(image: &str, deployed: Option<char>, made: Option<Marker>) -> Box<ObservedService> {
    let ObservedTarget::Service(mut seen) = service(2, "2.1", made, &[(2, true, "COMPLETED", 2)]) else {
        unreachable!("it is a service")
    };
    for container in &mut seen.task_definition.containers {
        if container.name == "app" {
            container.image = image.to_owned();
        }
    }
    let containers = seen.task_definition.containers.clone();
    seen.deployments.iter_mut().for_each(|deployment| deployment.containers.clone_from(&containers));
    seen.digests = deployed.map(|digit| ("app".to_owned(), digest(digit))).into_iter().collect();
    seen
}

fn pinned(digit: Option<char>) -> Environment {
    let mut environment = environment(("1.0", 'b'), ("2.1", 'b'));
    for pin in environment.pins.values_mut().filter(|pin| pin.version.as_str() == "2.1") {
        pin.digest = digit.map(digest);
    }
    environment
}

fn decided(environment: &Environment, seen: Box<ObservedService>, artifact: Artifact) -> TargetPlan {
    decide_one(environment, &api(), ObservedTarget::Service(seen), Some(history(&[], &[])), |observed, _| {
        observed.artifacts.insert(api(), Ok(artifact));
    })
}

#[test]
fn the_same_bytes_in_another_spelling_are_no_rollout() {
    let (a, plain) = (digest('a'), || artifact(false, 'a', Some('a'), "c"));
    for (image, deployed) in [
        (format!("{REPOSITORY}:2.1"), Some('a')),
        (format!("{REPOSITORY}:2.1"), None),
        (format!("{REPOSITORY}:2.1"), Some('c')),
        (format!("{REPOSITORY}@{a}"), None),
        (format!("{REPOSITORY}:2.1@{a}"), Some('a')),
        (format!("{REPOSITORY}:stable"), Some('a')),
        (REPOSITORY.replace(".dkr.ecr.us-west-1.amazonaws.com", ".dkr-ecr.us-west-1.on.aws") + ":2.1", None),
    ] {
        for (environment, artifact) in
            [(pinned(None), plain()), (pinned(Some('a')), artifact(true, 'a', Some('a'), "c"))]
        {
            let plan = decided(&environment, at_rest(&image, deployed, None), artifact);
            assert_eq!((plan.state, &plan.action), (State::InSync, &None), "{image} {deployed:?}: {}", line(&plan));
            assert_eq!((plan.running.as_deref(), plan.updated), (Some("2.1"), 2), "{image}");
        }
    }
}

#[test]
fn other_bytes_are_a_rollout() {
    for (image, deployed) in [
        (format!("{REPOSITORY}@{}", digest('b')), None),
        (format!("{REPOSITORY}:2.0"), None),
        (format!("{REPOSITORY}:2.0"), Some('b')),
        ("333333333333.dkr.ecr.us-west-1.amazonaws.com/other:2.1".to_owned(), Some('a')),
    ] {
        let plan = decided(&pinned(None), at_rest(&image, deployed, None), artifact(false, 'a', Some('a'), ""));
        assert!(plan.action.is_some_and(|action| action.is_write()), "{image} {deployed:?}");
    }
}

#[test]
fn a_tag_that_was_moved_is_blocked_unless_the_pin_says_which() {
    let tagged = format!("{REPOSITORY}:2.1");
    let with = |deployed: Option<char>, found: char, members: &str| {
        decided(&pinned(None), at_rest(&tagged, deployed, None), artifact(false, found, Some(found), members))
    };
    assert_eq!(with(None, 'a', "").state, State::InSync, "what runs isn't known");
    assert_eq!(with(Some('a'), 'a', "").state, State::InSync);
    assert_eq!(with(Some('c'), 'a', "cd").state, State::InSync, "one of the images of an index");
    for moved in [with(Some('a'), 'b', ""), with(Some('a'), 'b', "cd"), with(Some('a'), 'b', "b")] {
        assert_eq!((moved.state, &moved.action), (State::Blocked, &None), "{}", line(&moved));
    }
    // What stands there by tag and digest has the tag's name, too.
    let both = format!("{tagged}@{}", digest('a'));
    let moved = decided(&pinned(None), at_rest(&both, None, None), artifact(false, 'b', Some('b'), ""));
    assert_eq!((moved.state, &moved.action), (State::Blocked, &None), "{}", line(&moved));
    // And what Pinion made of this version by its digest, as long as the pin had one.
    let ours = at_rest(&format!("{REPOSITORY}@{}", digest('a')), None, marker("2.1", 'a', "api:1"));
    let moved = decided(&pinned(None), ours, artifact(false, 'b', Some('b'), ""));
    assert_eq!((moved.state, &moved.action), (State::Blocked, &None), "{}", line(&moved));
}

#[test]
fn with_a_digest_in_the_pin_a_moved_tag_is_a_warning_and_healing_goes_on() {
    let environment = pinned(Some('a'));
    let by_digest = format!("{REPOSITORY}@{}", digest('a'));
    let plan = decided(&environment, at_rest(&by_digest, None, None), artifact(true, 'a', Some('b'), ""));
    assert_eq!((plan.state, &plan.action), (State::InSync, &None));
    assert!(plan.warnings.iter().any(|warning| warning.contains(&digest('b').to_string())), "{:?}", plan.warnings);
    for drifted in [format!("{REPOSITORY}:2.0"), format!("{REPOSITORY}:2.1")] {
        let plan = decided(&environment, at_rest(&drifted, Some('b'), None), artifact(true, 'a', Some('b'), ""));
        assert!(plan.action.as_ref().is_some_and(Action::is_write), "{drifted}: {}", line(&plan));
    }
}

#[test]
fn a_tag_is_looked_up_again_before_anything_is_said_about_it() {
    let needs = |environment: &Environment, seen: Box<ObservedService>, artifact: Artifact| {
        let observed = Observed {
            bases: BTreeMap::new(),
            artifacts: BTreeMap::from([(api(), Ok(artifact))]),
            targets: BTreeMap::from([(api(), Ok(ObservedTarget::Service(seen)))]),
            ..Observed::default()
        };
        needs_second_look(environment, &observed).contains(&api())
    };
    let tagged = format!("{REPOSITORY}:2.1");
    let plain = || artifact(false, 'a', Some('a'), "c");
    assert!(needs(&pinned(None), at_rest(&tagged, Some('b'), None), plain()));
    for deployed in [None, Some('a'), Some('c')] {
        assert!(!needs(&pinned(None), at_rest(&tagged, deployed, None), plain()), "{deployed:?}");
    }
    let earlier = at_rest(&format!("{REPOSITORY}:2.0"), Some('b'), None);
    assert!(!needs(&pinned(None), earlier, plain()), "another version is no doubt");
    let pinned = pinned(Some('a'));
    assert!(!needs(&pinned, at_rest(&tagged, Some('b'), None), artifact(true, 'a', Some('b'), "")));
}

#[test]
fn all_containers_of_a_list_follow_the_pin_and_a_sibling_that_stays_behind_is_a_warning() {
    let seen = |app: &str, migrate: &str| {
        let mut seen = at_rest(&format!("{REPOSITORY}:{app}"), None, None);
        let image = format!("{REPOSITORY}:{migrate}");
        seen.task_definition.containers.push(Container { name: "migrate".to_owned(), image, essential: false });
        let containers = seen.task_definition.containers.clone();
        seen.deployments.iter_mut().for_each(|deployment| deployment.containers.clone_from(&containers));
        seen
    };
    let listed = |names: &[&str]| {
        let mut environment = pinned(None);
        if let TargetSpec::Fargate(spec) = &mut environment.targets.get_mut(&api()).unwrap().spec {
            spec.containers = names.iter().map(ToString::to_string).collect();
        }
        environment
    };
    let plain = || artifact(false, 'a', Some('a'), "");
    let both = listed(&["app", "migrate"]);
    for (app, migrate) in [("2.0", "2.0"), ("2.1", "2.0"), ("2.0", "2.1")] {
        let plan = decided(&both, seen(app, migrate), plain());
        let Some(Action::RegisterTaskDefinition { containers, .. }) = &plan.action else {
            panic!("{app} {migrate}: {}", line(&plan))
        };
        assert_eq!((containers.join(" "), plan.warnings.len()), ("app migrate".to_owned(), 0));
    }
    assert_eq!(decided(&both, seen("2.1", "2.1"), plain()).state, State::InSync);
    let mut added = seen("2.1", "2.0");
    added.task_definition.marker = marker("2.1", 'a', "api:1");
    added.digests = BTreeMap::from([("app".to_owned(), digest('a')), ("migrate".to_owned(), digest('b'))]);
    assert!(decided(&both, added, plain()).action.is_some(), "that the other one is behind is no tag that was moved");

    let alone = listed(&[]);
    let plan = decided(&alone, seen("2.1", "2.0"), plain());
    assert_eq!(plan.state, State::InSync);
    let warning = plan.warnings.first().unwrap();
    assert!(warning.contains(r#"container = ["app", "migrate"]"#), "{warning}");
    assert!(!decided(&alone, seen("2.0", "2.0"), plain()).warnings.is_empty(), "before the rollout, too");
    assert_eq!(decided(&alone, seen("2.1", "2.1"), plain()).warnings, Vec::<String>::new());
    let missing = decided(&listed(&["app", "none"]), seen("2.1", "2.1"), plain());
    assert_eq!((missing.state, missing.action), (State::Blocked, None));
}

#[test]
fn where_ecs_says_nothing_of_a_rollout_the_service_deployments_tell() {
    use RolloutOutcome::{Running, Succeeded};
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let silent = |running: u32| service(2, "2.1", None, &[(2, true, "", running)]);
    let decide = |running: u32, rollouts: &[Rollout]| {
        decide_one(&environment, &api(), silent(running), Some(history(&[], rollouts)), |_, _| {})
    };
    assert_eq!(decide(2, &[]).state, State::InSync, "at rest for longer than AWS remembers");
    assert_eq!(decide(2, &[deployment(2, Succeeded, 1)]).state, State::InSync);
    assert_eq!(decide(1, &[deployment(2, Succeeded, 1)]).state, State::InSync, "a task that is replaced is no rollout");
    assert_eq!(decide(2, &[deployment(2, Running, 1)]).state, State::RollingOut);
    assert_ne!(decide(1, &[]).state, State::InSync);
    let observed = Observed {
        bases: BTreeMap::new(),
        artifacts: artifacts(&environment),
        targets: BTreeMap::from([(api(), Ok(silent(2)))]),
        ..Observed::default()
    };
    let asked = needs_history(&environment, &observed, &Memory::default(), at(10));
    assert!(asked.contains(&api()), "without them nothing is known");
}

#[test]
fn a_deployment_that_wants_no_task_yet_has_replaced_none() {
    let environment = environment(("1.0", 'b'), ("2.1", 'b'));
    let mut seen =
        service(2, "2.1", marker("2.1", 'b', "api:1"), &[(2, true, "IN_PROGRESS", 0), (1, false, "COMPLETED", 2)]);
    if let ObservedTarget::Service(service) = &mut seen {
        service.deployments[0].desired = 0;
    }
    let rollout = Rollout { percentage: None, ..deployment(2, RolloutOutcome::Running, 1) };
    let history = history(&[(1, "2.0", None)], &[rollout]);
    let plan = decide_one(&environment, &api(), seen, Some(history), |_, _| {});
    assert_eq!((plan.state, plan.running.as_deref()), (State::RollingOut, Some("2.0")), "{}", line(&plan));
    assert_eq!(plan.rollout.and_then(|rollout| rollout.percentage), Some(0));
}

#[test]
fn no_more_tags_are_sent_than_aws_takes() {
    let environment = pinned(None);
    let with = |tags: usize| {
        let mut seen = at_rest(&format!("{REPOSITORY}:2.0"), None, None);
        seen.task_definition.tags = tags;
        decided(&environment, seen, artifact(false, 'a', Some('a'), ""))
    };
    let ours = marker("2.1", 'b', "api:2").unwrap().tags().len();
    assert!(matches!(with(50 - ours).action, Some(Action::RegisterTaskDefinition { .. })));
    for tags in [51 - ours, 50] {
        let plan = with(tags);
        assert_eq!((plan.state, &plan.action), (State::Blocked, &None));
        assert!(line(&plan).contains("AWS allows 50"), "{}", line(&plan));
    }
}

#[test]
fn the_name_of_a_long_family_fits_into_a_tag() {
    let family = "f".repeat(255);
    let mut seen = at_rest(&format!("{REPOSITORY}:2.0"), None, None);
    let arn = format!("arn:aws:ecs:us-west-1:222222222222:task-definition/{family}:123");
    seen.task_definition.arn.clone_from(&arn);
    seen.deployments.iter_mut().for_each(|deployment| deployment.task_definition.clone_from(&arn));
    let plan = decided(&pinned(None), seen, artifact(false, 'a', Some('a'), ""));
    let Some(Action::RegisterTaskDefinition { marker, .. }) = plan.action else { panic!("{}", line(&plan)) };
    assert!(marker.tags().iter().all(|(_, value)| value.len() <= 256) && marker.base.ends_with("f:123"));
}
