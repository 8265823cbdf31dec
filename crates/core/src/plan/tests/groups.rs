//! Decisions about Auto Scaling groups.

use super::*;

/// A group on a numbered version, with these versions known and an instance on each of `instances`.
pub(super) fn group(on: u64, versions: &[(u64, &str, Option<Marker>)], instances: &[u64]) -> ObservedTarget {
    group_on(TemplateVersionSpec::Number(on), on, versions, instances)
}

pub(super) fn group_on(
    spec: TemplateVersionSpec,
    on: u64,
    versions: &[(u64, &str, Option<Marker>)],
    instances: &[u64],
) -> ObservedTarget {
    let template = TemplateRef { id: "lt-1".to_owned(), name: "frontend".to_owned() };
    let current = versions.iter().find(|(number, ..)| *number == on);
    ObservedTarget::Group(Box::new(ObservedGroup {
        name: GroupName::try_from("frontend").unwrap(),
        template: GroupTemplate::LaunchTemplate { template, version: spec },
        current: current.map(|(number, version, marker)| version_of(*number, version, marker.clone())),
        instances: instances
            .iter()
            .enumerate()
            .map(|(index, version)| GroupInstance {
                id: format!("i-{index}"),
                lifecycle: "InService".to_owned(),
                healthy: true,
                template: Some(("lt-1".to_owned(), *version)),
                image: None,
                configuration: false,
            })
            .collect(),
        desired_capacity: u32::try_from(instances.len()).unwrap(),
        traits: GroupTraits::default(),
        launched: BTreeMap::new(),
    }))
}

pub(super) fn version_of(number: u64, version: &str, marker: Option<Marker>) -> TemplateVersion {
    TemplateVersion {
        template: "lt-1".to_owned(),
        number,
        image: Some(ami(version)),
        instance_type: Some("t3.small".to_owned()),
        instance_requirements: false,
        marker,
        sought: None,
        members: BTreeMap::new(),
        made: Some(at(1)),
        made_by: Some("arn:aws:sts::222222222222:assumed-role/pinion/pinion-prod".to_owned()),
    }
}

pub(super) fn refresh(id: &str, to: u64, outcome: RolloutOutcome, minute: i64) -> Rollout {
    Rollout {
        id: RolloutId(id.to_owned()),
        target: RolloutTarget::TemplateVersion(to),
        outcome,
        status: format!("{outcome:?}"),
        reason: None,
        started: Some(at(minute)),
        ended: None,
        percentage: Some(50),
        repeats: false,
    }
}

pub(super) fn history(versions: &[(u64, &str, Option<Marker>)], refreshes: &[Rollout]) -> RolloutHistory {
    RolloutHistory::Group {
        refreshes: refreshes.to_vec(),
        versions: versions
            .iter()
            .map(|(number, version, marker)| version_of(*number, version, marker.clone()))
            .collect(),
        users: Some(Vec::new()),
        complete: true,
    }
}

/// The pin is 1.1, set by commit b; the group is on version 1, which holds 1.0, unless a row says otherwise.
#[test]
fn decisions() {
    use RolloutOutcome::{Baking, Cancelled, Failed, Running, Succeeded, Undoing};
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let old = || (1, "1.0", None);
    let new = || (2, "1.1", marker("1.1", 'b', "1"));
    let other = || (2, "1.2", marker("1.2", 'c', "1"));
    let hand = || (2, "9.9", None);
    let seen = |on, instances: &[u64]| group(on, &[old(), new()], instances);
    let latest = group_on(TemplateVersionSpec::Latest, 1, &[old()], &[1, 1]);
    let raced = group_on(TemplateVersionSpec::Latest, 2, &[old(), new()], &[1, 1]);
    let put_back = group_on(TemplateVersionSpec::Latest, 2, &[old(), other()], &[2, 2]);
    let table = [
        ("in sync", seen(2, &[2, 2]), history(&[], &[])),
        ("a version is missing", seen(1, &[1, 1]), history(&[], &[])),
        ("on $Latest", latest, history(&[], &[])),
        ("on $Latest, which somebody has just made for this pin", raced, history(&[new()], &[])),
        ("on $Latest again, which is what runs", put_back, history(&[other()], &[])),
        ("the version is ready", seen(1, &[1, 1]), history(&[new()], &[])),
        ("a version of another commit", seen(1, &[1]), history(&[(2, "1.1", marker("1.1", 'a', "1"))], &[])),
        ("a version from another base", seen(1, &[1]), history(&[(2, "1.1", marker("1.1", 'b', "7"))], &[])),
        ("our refresh runs", seen(1, &[1, 2]), history(&[new()], &[refresh("r", 2, Running, 9)])),
        ("our refresh bakes", seen(1, &[2, 2]), history(&[new()], &[refresh("r", 2, Baking, 9)])),
        ("our refresh is rolled back", seen(1, &[1, 2]), history(&[new()], &[refresh("r", 2, Undoing, 9)])),
        ("our refresh failed", seen(1, &[1, 1]), history(&[new()], &[refresh("r", 2, Failed, 1)])),
        ("our refresh was cancelled", seen(1, &[1, 2]), history(&[new()], &[refresh("r", 2, Cancelled, 1)])),
        ("an earlier pin's refresh runs", seen(1, &[1, 2]), history(&[other()], &[refresh("r", 2, Running, 9)])),
        ("an earlier pin's refresh stops", seen(1, &[1, 2]), history(&[other()], &[refresh("r", 2, Undoing, 9)])),
        ("an earlier pin's refresh failed", seen(1, &[1, 2]), history(&[other()], &[refresh("r", 2, Failed, 9)])),
        ("somebody else's refresh runs", seen(1, &[1, 2]), history(&[hand()], &[refresh("r", 2, Running, 9)])),
        ("some instances are old", seen(2, &[2, 1]), history(&[old()], &[refresh("r", 2, Succeeded, 1)])),
        (
            "changed by hand",
            group(3, &[(3, "9.9", None)], &[2, 2]),
            history(&[new()], &[refresh("r", 2, Succeeded, 1)]),
        ),
    ];
    let mut lines = String::new();
    for (name, seen, history) in table {
        let plan = decide_one(&environment, &web(), seen, Some(history), |_, _| {});
        lines += &format!("{name}: {}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    in sync: in-sync
    a version is missing: rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    on $Latest: rolling-out (getting ready) => put group frontend on version 1 of launch template frontend
    on $Latest, which somebody has just made for this pin: rolling-out (getting ready) => put group frontend on version 1 of launch template frontend
    on $Latest again, which is what runs: rolling-out (getting ready) => put group frontend on version 2 of launch template frontend
    the version is ready: rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend
    a version of another commit: rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    a version from another base: rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    our refresh runs: rolling-out (Running, 50 %)
    our refresh bakes: rolling-out (Baking, 50 %)
    our refresh is rolled back: rolling-out (the rollout failed and is rolled back)
    our refresh failed: quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`)
    our refresh was cancelled: quarantined (the rollout ended as Cancelled (r); what it left is brought back to 1; pin another version, or retry with `pinion resync --retry-quarantined`) => refresh the instances of group frontend to version 1 of frontend
    an earlier pin's refresh runs: rolling-out (the pin has moved on; stopping r) => cancel instance refresh r of group frontend
    an earlier pin's refresh stops: rolling-out (the pin has moved on; stopping r)
    an earlier pin's refresh failed: rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    somebody else's refresh runs: pending (waits for a rollout that Pinion didn't start: r (Running))
    some instances are old: rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend [drifted]
    changed by hand: rolling-out (getting ready) => create a version of launch template frontend from version 3 with ami-1.1 [drifted]
    ");
}

#[test]
fn a_group_read_just_before_its_refresh_ended_is_read_again() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let ended = |second: i64| {
        let ended = Timestamp::from_second(at(10).as_second() - second).unwrap();
        let done = Rollout { ended: Some(ended), ..refresh("r", 2, RolloutOutcome::Succeeded, 1) };
        let seen = group(1, &[(1, "1.0", None)], &[1, 2]);
        decide_one(
            &environment,
            &web(),
            seen,
            Some(history(&[(2, "1.1", marker("1.1", 'b', "1"))], &[done])),
            |_, _| {},
        )
    };
    assert_eq!((ended(1).state, ended(1).action, ended(1).drifted), (State::RollingOut, None, false));
    assert!(matches!(ended(40).action, Some(Action::StartRefresh { version: 2, .. })), "by now it is drift");
    assert!(ended(40).drifted);
}

#[test]
fn shapes_that_cannot_be_rolled_out_say_what_to_change() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let base = || match group(1, &[(1, "1.0", None)], &[1]) {
        ObservedTarget::Group(group) => group,
        _ => unreachable!("it is a group"),
    };
    let table: [fn(&mut ObservedGroup); 5] = [
        |group| group.template = GroupTemplate::Unknown,
        |group| group.template = GroupTemplate::LaunchConfiguration("old".to_owned()),
        |group| group.current = None,
        |group| group.current.as_mut().unwrap().instance_requirements = true,
        |group| group.current.as_mut().unwrap().image = Some("resolve:ssm:/ami".to_owned()),
    ];
    let mut lines = String::new();
    for change in table {
        let mut group = base();
        change(&mut group);
        let plan = decide_one(&environment, &web(), ObservedTarget::Group(group), Some(history(&[], &[])), |_, _| {});
        assert_eq!(plan.action, None);
        lines += &format!("{}\n", line(&plan));
    }
    insta::assert_snapshot!(lines, @r"
    blocked (group frontend has neither launch template nor launch configuration; give it a launch template)
    blocked (group frontend is on launch configuration old, which has no versions to roll out or back to; make a launch template of it (EC2 console: Launch configurations, Copy to launch template) and put the group on a numbered version)
    blocked (the version of launch template frontend (lt-1) that group frontend names doesn't exist; put the group on a version that does)
    blocked (version 1 of launch template frontend has instance requirements, with which AWS allows no rollback; name instance types instead)
    blocked (version 1 of launch template frontend takes its AMI from a parameter (`resolve:ssm:`), with which AWS allows no rollback; put the group on a version with an AMI id, and pin by `ami.parameter`)
    ");
}

#[test]
fn a_rollout_that_outlives_its_deadline_is_overdue_and_left_running() {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    environment.targets.get_mut(&web()).unwrap().rollout.deadline = SHORT;
    let running = history(&[(2, "1.1", marker("1.1", 'b', "1"))], &[refresh("r", 2, RolloutOutcome::Running, 0)]);
    let plan = decide_one(&environment, &web(), group(1, &[(1, "1.0", None)], &[1, 2]), Some(running), |_, _| {});
    assert_eq!((plan.state, plan.action), (State::Overdue, None));
}

/// A group whose policy's own template is `lt-1` and whose override has `lt-2`, each on version 1 of 1.0.
pub(super) fn mixed(spec: TemplateVersionSpec, instances: &[(&str, u64)]) -> ObservedGroup {
    let ObservedTarget::Group(group) = group(1, &[(1, "1.0", None)], &[]) else { unreachable!("it is a group") };
    let template = |id: &str| TemplateRef { id: id.to_owned(), name: id.to_owned() };
    let instance = |(index, (id, version)): (usize, &(&str, u64))| GroupInstance {
        id: format!("i-{index}"),
        lifecycle: "InService".to_owned(),
        healthy: true,
        template: Some(((*id).to_owned(), *version)),
        image: None,
        configuration: false,
    };
    ObservedGroup {
        template: GroupTemplate::MixedInstances(MixedPolicy {
            template: template("lt-1"),
            version: spec,
            own: vec![OverrideTemplate {
                template: template("lt-2"),
                version: spec,
                current: Some(of("lt-2", version_of(1, "1.0", None))),
            }],
            instance_requirements: false,
            images: BTreeSet::new(),
        }),
        instances: instances.iter().enumerate().map(instance).collect(),
        desired_capacity: u32::try_from(instances.len()).unwrap(),
        ..*group
    }
}

pub(super) fn of(template: &str, version: TemplateVersion) -> TemplateVersion {
    TemplateVersion { template: template.to_owned(), ..version }
}

#[test]
fn a_policy_moves_with_all_its_templates() {
    use RolloutOutcome::{Failed, Running, Succeeded};
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let on = TemplateVersionSpec::Number(1);
    let old = &[("lt-1", 1), ("lt-2", 1)];
    let half = &[("lt-1", 2), ("lt-2", 1)];
    let one = || vec![version_of(2, "1.1", marker("1.1", 'b', "1"))];
    let both = || {
        vec![version_of(2, "1.1", marker("1.1", 'b', "1")), of("lt-2", version_of(4, "1.1", marker("1.1", 'b', "1")))]
    };
    let foreign = || vec![version_of(2, "1.1", None), of("lt-2", version_of(4, "1.1", None))];
    let to = || RolloutTarget::TemplateVersions(vec![("lt-1".to_owned(), 2), ("lt-2".to_owned(), 4)]);
    let rollout = |outcome| vec![Rollout { target: to(), ..refresh("r", 0, outcome, 9) }];
    let table = [
        ("on $Latest", mixed(TemplateVersionSpec::Latest, old), vec![], vec![]),
        ("no version is there", mixed(on, old), vec![], vec![]),
        ("one version is there", mixed(on, old), one(), vec![]),
        ("both are there", mixed(on, old), both(), vec![]),
        ("our refresh runs", mixed(on, half), both(), rollout(Running)),
        ("our refresh failed", mixed(on, half), both(), rollout(Failed)),
        ("a refresh to somebody else's versions runs", mixed(on, half), foreign(), rollout(Running)),
    ];
    let mut lines = String::new();
    for (name, seen, versions, refreshes) in table {
        let history = RolloutHistory::Group { refreshes, versions, users: Some(Vec::new()), complete: true };
        let plan = decide_one(&environment, &web(), ObservedTarget::Group(Box::new(seen)), Some(history), |_, _| {});
        lines += &format!("{name}: {} [{} of {}]\n", line(&plan), plan.updated, plan.total);
    }
    insta::assert_snapshot!(lines, @r"
    on $Latest: rolling-out (getting ready) => put the mixed-instances policy of group frontend on version 1 of lt-1, version 1 of lt-2 [0 of 2]
    no version is there: rolling-out (getting ready) => create a version of launch template lt-1 from version 1 with ami-1.1 [0 of 2]
    one version is there: rolling-out (getting ready) => create a version of launch template lt-2 from version 1 with ami-1.1 [0 of 2]
    both are there: rolling-out (getting ready) => refresh the instances of group frontend to version 2 of lt-1, version 4 of lt-2 [0 of 2]
    our refresh runs: rolling-out (Running, 50 %) [1 of 2]
    our refresh failed: quarantined (the rollout ended as Failed (r); what it left is brought back to 1; pin another version, or retry with `pinion resync --retry-quarantined`) => refresh the instances of group frontend to version 1 of lt-1, version 1 of lt-2 [1 of 2]
    a refresh to somebody else's versions runs: rolling-out (Running, 50 %) [1 of 2]
    ");

    // Done: the group has taken the policy with the new versions.
    let mut done = mixed(TemplateVersionSpec::Number(2), &[("lt-1", 2), ("lt-2", 4)]);
    done.current = both().first().cloned();
    let GroupTemplate::MixedInstances(policy) = &mut done.template else { unreachable!("it is mixed") };
    policy.own[0].current = both().last().cloned();
    let history = RolloutHistory::Group {
        refreshes: rollout(Succeeded),
        versions: both(),
        users: Some(Vec::new()),
        complete: true,
    };
    let plan = decide_one(&environment, &web(), ObservedTarget::Group(Box::new(done)), Some(history), |_, _| {});
    assert_eq!((plan.state, plan.updated, plan.total), (State::InSync, 2, 2));
}

/// `$Latest` is what Pinion has made already, and reads of the policy lag: one template has no instance that would tell what
/// ran before.
#[test]
fn the_templates_of_a_policy_go_on_their_numbers_together() {
    let environment = environment(("1.2", 'c'), ("2.0", 'b'));
    let made = marker("1.1", 'b', "1");
    let numbered = |instances: &[(&str, u64)]| {
        let mut seen = mixed(TemplateVersionSpec::Latest, instances);
        seen.current = Some(version_of(2, "1.1", made.clone()));
        let GroupTemplate::MixedInstances(policy) = &mut seen.template else { unreachable!("it is mixed") };
        policy.own[0].current = Some(of("lt-2", version_of(4, "1.1", made.clone())));
        let (seen, history) = (ObservedTarget::Group(Box::new(seen)), Some(history(&[], &[])));
        match decide_one(&environment, &web(), seen, history, |_, _| {}).action {
            Some(Action::NumberPolicy { moves, .. }) => moves.iter().map(|one| one.to).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(numbered(&[("lt-1", 1), ("lt-2", 1)]), [1, 1], "both templates were made from what runs");
    assert_eq!(numbered(&[("lt-1", 1)]), [1, 1], "nothing runs the other one, and its image goes with the first");
    assert_eq!(numbered(&[("lt-2", 1)]), [1, 1]);
    assert_eq!(
        numbered(&[("lt-1", 2)]),
        [2, 4],
        "they were rolled out, and somebody has put the policy on $Latest since"
    );
}

#[test]
fn what_stands_in_the_way_of_a_refresh_is_seen_before_it_starts() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let decided = |change: fn(&mut ObservedGroup)| {
        let ObservedTarget::Group(mut group) = group(1, &[(1, "1.0", None)], &[1, 1, 1]) else { unreachable!() };
        change(&mut group);
        let plan = decide_one(&environment, &web(), ObservedTarget::Group(group), Some(history(&[], &[])), |_, _| {});
        format!("{} {:?}\n", line(&plan), plan.warnings)
    };
    let lines = [
        decided(|group| group.traits.suspended = BTreeSet::from(["Launch".to_owned()])),
        decided(|group| group.traits.suspended = ["Launch", "Terminate"].map(str::to_owned).into()),
        decided(|group| {
            group.traits.suspended = ["AZRebalance", "HealthCheck", "ReplaceUnhealthy"].map(str::to_owned).into()
        }),
        decided(|group| {
            let arm = BTreeSet::from(["arm64".to_owned()]);
            group.traits.types =
                BTreeMap::from([("t4g.small".to_owned(), arm), ("t3.small".to_owned(), BTreeSet::new())]);
        }),
        decided(|group| group.traits.protected = ["i-0", "i-1", "i-2"].map(str::to_owned).into()),
        decided(|group| {
            group.instances[0].lifecycle = "Standby".to_owned();
            group.instances[2].lifecycle = "EnteringStandby".to_owned();
        }),
    ];
    insta::assert_snapshot!(lines.concat(), @r#"
    blocked (in group frontend the process Launch is suspended, without which a refresh can't replace instances; resume with `aws autoscaling resume-processes`) []
    blocked (in group frontend the processes Launch, Terminate are suspended, without which a refresh can't replace instances; resume with `aws autoscaling resume-processes`) []
    rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1 ["processes HealthCheck, ReplaceUnhealthy are suspended: unhealthy instances aren't replaced, and a bad image may pass for a good one; resume with `aws autoscaling resume-processes`"]
    blocked (AMI ami-1.1 is for x86_64, but group frontend launches t4g.small (arm64); pin an AMI for these instance types, or change them) []
    rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1 ["instances i-0 and 2 more are protected from scale-in: a refresh waits for that to end, and fails after an hour without progress; end it with `aws autoscaling set-instance-protection --no-protected-from-scale-in`"]
    rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1 ["instances i-0 and i-2 are in standby: a refresh waits for that to end, and fails after an hour without progress; end it with `aws autoscaling exit-standby`"]
    "#);
}

/// What waits in a warm pool doesn't run, and what waits at a terminating hook doesn't any more; what waits at a launching hook is
/// about to.
#[test]
fn instances_at_hooks_and_in_warm_pools_are_judged_by_whether_they_are_to_run() {
    let environment = environment(("1.0", 'b'), ("2.0", 'b'));
    let planned = |lifecycle: &str, version: u64| {
        let mut seen = group(2, &[(1, "0.9", None), (2, "1.0", None)], &[2, 2, version]);
        let ObservedTarget::Group(group) = &mut seen else { unreachable!() };
        group.desired_capacity = 2;
        group.instances[2].lifecycle = lifecycle.to_owned();
        let history = history(&[(1, "0.9", None), (2, "1.0", None)], &[]);
        decide_one(&environment, &web(), seen, Some(history), |_, _| {})
    };
    for lifecycle in ["Pending", "Pending:Wait", "Pending:Proceed", "InService", "Standby", "EnteringStandby"] {
        assert!(planned(lifecycle, 1).action.is_some(), "an old one that is to run: {lifecycle}");
        let plan = planned(lifecycle, 2);
        assert_eq!((plan.state, plan.total, plan.action), (State::InSync, 3, None), "{lifecycle}");
    }
    let warmed = ["Pending", "Pending:Wait", "Pending:Proceed", "Stopped", "Running", "Hibernated", "Terminating:Wait"];
    let warmed = warmed.map(|state| format!("Warmed:{state}"));
    let leaving = ["Terminating", "Terminating:Wait", "Terminating:Proceed", "Terminating:Retained", "Terminated"];
    for lifecycle in leaving.into_iter().chain(["Detaching", "Detached"]).chain(warmed.iter().map(String::as_str)) {
        for version in [1, 2] {
            let plan = planned(lifecycle, version);
            assert_eq!((plan.state, plan.total, plan.action), (State::InSync, 2, None), "{lifecycle} {version}");
        }
    }
}
