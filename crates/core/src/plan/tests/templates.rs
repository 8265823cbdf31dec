//! Launch templates that are shared, put back, dropped from, or whose AMI was built again.

use super::groups::{group, group_on, history, refresh, version_of};
use super::*;

type Change<'a> = &'a dyn Fn(&mut TemplateVersion);

/// The group on version 1 of 1.0, and what was made from it for the pin of commit b; each changed.
fn with_made(source: Change<'_>, made: Change<'_>, root: Option<&str>) -> TargetPlan {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let ObservedTarget::Group(mut seen) = group(1, &[(1, "1.0", None)], &[1, 1]) else { unreachable!() };
    source(seen.current.as_mut().unwrap());
    let mut version = version_of(2, "1.1", marker("1.1", 'b', "1"));
    made(&mut version);
    let history = RolloutHistory::Group {
        refreshes: Vec::new(),
        versions: vec![version],
        users: Some(Vec::new()),
        complete: true,
    };
    decide_one(&environment, &web(), ObservedTarget::Group(seen), Some(history), |observed, _| {
        let Some(Ok(Artifact::Ami { root_device, .. })) = observed.artifacts.get_mut(&web()) else { unreachable!() };
        *root_device = root.map(str::to_owned);
    })
}

/// Whatever AWS drops from a version, or puts into it: it isn't rolled out.
#[test]
fn a_version_that_differs_in_more_than_the_image_is_not_rolled_out() {
    let set = |name: &'static str, value: &'static str| {
        move |version: &mut TemplateVersion| drop(version.members.insert(name.to_owned(), value.to_owned()))
    };
    let none = |_: &mut TemplateVersion| {};
    let snapshot = TemplateVersion::snapshot("/dev/sdf");
    let dropped = |version: &mut TemplateVersion| drop(version.members.insert(snapshot.clone(), "1".to_owned()));
    let lines = [
        line(&with_made(&set("UserData", "1"), &set("UserData", "1"), None)),
        line(&with_made(&set("UserData", "1"), &set("UserData", "2"), None)),
        line(&with_made(&set("FutureMember", "1"), &none, None)),
        line(&with_made(&none, &set("FutureMember", "1"), None)),
        line(&with_made(&dropped, &none, None)),
        line(&with_made(&dropped, &none, Some("/dev/xvda"))),
        line(&with_made(&dropped, &none, Some("/dev/sdf"))),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend
    blocked (version 2 of launch template frontend was made from version 1 for this rollout, but differs from it in more than the image: UserData; nothing is rolled out: delete that version, and pin by another commit)
    blocked (version 2 of launch template frontend was made from version 1 for this rollout, but differs from it in more than the image: FutureMember; nothing is rolled out: delete that version, and pin by another commit)
    blocked (version 2 of launch template frontend was made from version 1 for this rollout, but differs from it in more than the image: FutureMember; nothing is rolled out: delete that version, and pin by another commit)
    blocked (version 2 of launch template frontend was made from version 1 for this rollout, but differs from it in more than the image: snapshot of /dev/sdf; nothing is rolled out: delete that version, and pin by another commit)
    blocked (version 2 of launch template frontend was made from version 1 for this rollout, but differs from it in more than the image: snapshot of /dev/sdf; nothing is rolled out: delete that version, and pin by another commit)
    rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend
    ");
}

fn user(group: &str, version: TemplateVersionSpec) -> TemplateUser {
    let template = TemplateRef { id: "lt-1".to_owned(), name: "frontend".to_owned() };
    TemplateUser { group: group.to_owned(), template, version }
}

/// Plans `web`, of whose launch template others launch; `second` is another target of the environment, of the group `second`.
fn shared(users: Option<Vec<TemplateUser>>, change: impl FnOnce(&mut Target)) -> TargetPlan {
    let mut environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let local = LocalRef::new(Kind::Asg, "second").unwrap();
    let mut second = environment.targets[&web()].clone();
    second.reference = local.within(&environment.name);
    let TargetSpec::Asg(asg) = &mut second.spec else { unreachable!() };
    asg.group = GroupName::try_from("second").unwrap();
    second.after = BTreeSet::from([web()]);
    change(&mut second);
    environment.targets.insert(local.clone(), second);
    let history = RolloutHistory::Group { refreshes: Vec::new(), versions: Vec::new(), users, complete: true };
    let seen = group(1, &[(1, "1.0", None)], &[1, 1]);
    decide_one(&environment, &web(), seen, Some(history), |observed, _| {
        let latest = group_on(TemplateVersionSpec::Latest, 1, &[(1, "1.0", None)], &[1]);
        let ObservedTarget::Group(mut other) = latest else { unreachable!() };
        other.name = GroupName::try_from("second").unwrap();
        observed.targets.insert(local, Ok(ObservedTarget::Group(other)));
    })
}

/// A version is at once what every group on `$Latest` launches next: before it is made, all of them are on numbers.
#[test]
fn nobody_else_launches_what_is_made_for_one_group() {
    use TemplateVersionSpec::{Default, Latest, Number};
    let none = |_: &mut Target| {};
    let suspended = |target: &mut Target| {
        target.suspend = Some(Suspension {
            owner: "ops".to_owned(),
            reason: "move".to_owned(),
            until: at(20),
            reach: Reach::Target,
        });
    };
    let own = || user("frontend", Number(1));
    let lines = [
        line(&shared(None, none)),
        line(&shared(Some(vec![own()]), none)),
        line(&shared(Some(vec![own(), user("second", Number(1)), user("billing", Number(3))]), none)),
        line(&shared(Some(vec![own(), user("second", Latest)]), none)),
        line(&shared(Some(vec![own(), user("second", Default)]), none)),
        line(&shared(Some(vec![own(), user("second", Latest)]), suspended)),
        line(&shared(Some(vec![own(), user("second", Latest), user("billing", Latest)]), none)),
        line(&shared(Some(vec![own(), user("billing", Default)]), none)),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    blocked (it isn't known which groups launch from launch template frontend; they are asked for again in the next pass)
    rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    rolling-out (getting ready) => create a version of launch template frontend from version 1 with ami-1.1
    rolling-out (getting ready) => put group second on version 1 of launch template frontend
    rolling-out (getting ready) => put group second on version 1 of launch template frontend
    blocked (group second launches from the same launch template frontend by $Latest, and could launch next what is made for this rollout, but its target asg/second is suspended, so that Pinion leaves it alone: put group second on a numbered version, or give it a launch template of its own (`aws autoscaling update-auto-scaling-group --auto-scaling-group-name second --launch-template LaunchTemplateId=lt-1,Version=NUMBER`))
    blocked (group billing launches from the same launch template frontend by $Latest, and could launch next what is made for this rollout, and it isn't a target of this environment: put group billing on a numbered version, or give it a launch template of its own (`aws autoscaling update-auto-scaling-group --auto-scaling-group-name billing --launch-template LaunchTemplateId=lt-1,Version=NUMBER`))
    blocked (group billing launches from the same launch template frontend by $Default, and could launch next what is made for this rollout, and it isn't a target of this environment: put group billing on a numbered version, or give it a launch template of its own (`aws autoscaling update-auto-scaling-group --auto-scaling-group-name billing --launch-template LaunchTemplateId=lt-1,Version=NUMBER`))
    ");
}

/// Somebody puts a group on `$Latest`, which is a version that Pinion made for a rollout: it goes back on its number whatever
/// it waits for, also where the failed version runs already.
#[test]
fn a_group_that_is_put_on_latest_goes_back_on_its_number() {
    let failed = || history(&[], &[refresh("r", 2, RolloutOutcome::Failed, 1)]);
    let versions = &[(1, "1.0", None), (2, "1.1", marker("1.1", 'b', "1"))];
    let of = |environment: &Environment, instances: &[u64], history| {
        let seen = group_on(TemplateVersionSpec::Latest, 2, versions, instances);
        decide_one(environment, &web(), seen, Some(history), |_, _| {})
    };
    let quarantined = environment(("1.1", 'b'), ("2.0", 'b'));
    let mut waiting = environment(("1.1", 'c'), ("2.0", 'b'));
    waiting.targets.get_mut(&web()).unwrap().after = BTreeSet::from([api()]);
    let lines = [
        line(&of(&quarantined, &[1, 1], failed())),
        line(&of(&quarantined, &[1, 2], failed())),
        line(&of(&quarantined, &[2], failed())),
        line(&of(&waiting, &[1, 1], history(&[], &[]))),
        line(&of(&quarantined, &[1, 1], history(&[], &[refresh("r", 2, RolloutOutcome::Running, 1)]))),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`) => put group frontend on version 1 of launch template frontend
    quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`) => put group frontend on version 1 of launch template frontend
    quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`) => put group frontend on version 1 of launch template frontend
    pending (waits for fargate/api, which is unknown) => put group frontend on version 1 of launch template frontend
    rolling-out (Running, 50 %)
    ");
    // Nor does it look in sync where nothing else would be read of it.
    let mut observed = Observed {
        bases: BTreeMap::new(),
        identity: Some(Ok(quarantined.account.id.clone())),
        alarms: None,
        unasked: BTreeMap::new(),
        artifacts: artifacts(&quarantined),
        targets: BTreeMap::from([(web(), Ok(group_on(TemplateVersionSpec::Latest, 2, versions, &[2])))]),
        histories: BTreeMap::new(),
    };
    let needed = |observed: &Observed| needs_history(&quarantined, observed, &Memory::default(), at(10));
    assert_eq!(needed(&observed), BTreeSet::from([web()]));
    observed.targets.insert(web(), Ok(group(2, versions, &[2])));
    assert_eq!(needed(&observed), BTreeSet::new());
}

/// Only the image is Pinion's: instances of another version with the pinned image are in sync, with a word about it.
#[test]
fn another_version_with_the_same_image_is_no_drift() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let seen = |change: Change<'_>, gone: bool| {
        let versions = &[(1, "1.1", None), (2, "1.1", None)];
        let ObservedTarget::Group(mut seen) = group(2, versions, &[1, 1, 2]) else { unreachable!() };
        let mut launched = version_of(1, "1.1", None);
        change(&mut launched);
        seen.launched.insert(("lt-1".to_owned(), 1), (!gone).then_some(launched));
        let remember = |_: &mut Observed, memory: &mut Memory| {
            let sought = environment.targets[&web()].spec.sought();
            let version = Version::try_from("1.1").unwrap();
            let converged = Converged { commit: commit('b'), version, artifact: ami("1.1"), sought, base: None };
            memory.converged.insert(web(), converged);
        };
        let plan = decide_one(&environment, &web(), ObservedTarget::Group(seen), Some(history(&[], &[])), remember);
        format!("{} [{} of {}] {:?}\n", line(&plan), plan.updated, plan.total, plan.warnings)
    };
    let lines = [
        seen(&|_| {}, false),
        seen(&|version| drop(version.members.insert("UserData".to_owned(), "1".to_owned())), false),
        seen(&|version| version.image = Some(ami("1.0")), false),
        seen(&|_| {}, true),
    ];
    insta::assert_snapshot!(lines.concat(), @r#"
    in-sync [3 of 3] []
    in-sync [3 of 3] ["2 instances run version 1 of launch template frontend, and the group is on version 2 of frontend: the image is the same, but UserData differs; Pinion replaces no instance for that: the next rollout does, or an instance refresh that you start"]
    rolling-out (getting ready) => refresh the instances of group frontend to version 2 of frontend [drifted] [1 of 3] []
    in-sync [1 of 3] ["2 instances run version 1 of launch template frontend, which doesn't exist any more: which image that is isn't known; the next rollout replaces it"]
    "#);
}

/// What AWS says nothing about is no reason for a rollout; what it does say is.
#[test]
fn instances_without_a_template_are_no_reason_to_replace_others() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let seen = |change: fn(&mut GroupInstance)| {
        let ObservedTarget::Group(mut seen) = group(1, &[(1, "1.1", None)], &[1, 1, 1]) else { unreachable!() };
        change(&mut seen.instances[0]);
        let history = Some(history(&[], &[]));
        let plan = decide_one(&environment, &web(), ObservedTarget::Group(seen), history, |_, _| {});
        (plan.state, plan.action.is_some(), plan.updated, plan.warnings.len())
    };
    assert_eq!(seen(|instance| instance.template = None), (State::InSync, false, 2, 1), "attached by hand");
    let same = |instance: &mut GroupInstance| {
        instance.template = None;
        instance.image = Some(ami("1.1"));
    };
    assert_eq!(seen(same), (State::InSync, false, 3, 0), "the image is said");
    let other = |instance: &mut GroupInstance| instance.image = Some(ami("1.0"));
    assert_eq!(seen(other), (State::RollingOut, true, 2, 0), "its root volume was replaced by another image");
    let configuration = |instance: &mut GroupInstance| {
        instance.template = None;
        instance.configuration = true;
    };
    assert_eq!(seen(configuration), (State::RollingOut, true, 2, 0), "it was launched before the group had a template");
}

/// The same name, another AMI: nobody has released that one. Whether that is known from memory or by the marker alone.
#[test]
fn an_ami_that_was_built_again_is_not_rolled_out() {
    let environment = environment(("1.1", 'b'), ("2.0", 'b'));
    let sought = environment.targets[&web()].spec.sought();
    let made = |sought: Option<String>| {
        let mut version = version_of(2, "1.1", marker("1.1", 'b', "1"));
        (version.image, version.sought) = (Some("ami-before".to_owned()), sought);
        version
    };
    let on = |current: TemplateVersion, versions: Vec<TemplateVersion>, refreshes: &[Rollout], remembered: bool| {
        let instances = vec![current.number; 2];
        let ObservedTarget::Group(mut seen) = group(current.number, &[], &instances) else { unreachable!() };
        seen.current = Some(current.clone());
        let history =
            RolloutHistory::Group { refreshes: refreshes.to_vec(), versions, users: Some(Vec::new()), complete: true };
        let sought = sought.clone();
        let remember = |_: &mut Observed, memory: &mut Memory| {
            let (version, artifact) = (Version::try_from("1.1").unwrap(), current.image.clone().unwrap());
            let converged = Converged { commit: commit('b'), version, artifact, sought, base: None };
            memory.converged.extend(remembered.then_some((web(), converged)));
        };
        line(&decide_one(&environment, &web(), ObservedTarget::Group(seen), Some(history), remember))
    };
    let old = || version_of(1, "1.0", None);
    let adopted = || TemplateVersion { marker: None, ..made(None) };
    let running = [refresh("r", 2, RolloutOutcome::Running, 1)];
    let failed = [refresh("r", 2, RolloutOutcome::Failed, 1)];
    let lines = [
        on(made(sought.clone()), vec![], &[], true),
        on(made(sought.clone()), vec![], &[], false),
        on(made(None), vec![], &[], false),
        on(adopted(), vec![], &[], true),
        on(old(), vec![made(sought.clone())], &running, false),
        on(old(), vec![made(sought.clone())], &failed, false),
        // The file looks the AMI up otherwise now: that is a commit of somebody's.
        on(made(Some("another".to_owned())), vec![], &[], false),
    ];
    insta::assert_snapshot!(lines.join("\n"), @r"
    blocked (this pin was rolled out with ami-before, but what is found for frontend-1.1 by now is ami-1.1: the image was built again; pin a version of its own for it)
    blocked (this pin was rolled out with ami-before, but what is found for frontend-1.1 by now is ami-1.1: the image was built again; pin a version of its own for it)
    blocked (this pin was rolled out with ami-before, but what is found for frontend-1.1 by now is ami-1.1: the image was built again; pin a version of its own for it)
    blocked (this pin was rolled out with ami-before, but what is found for frontend-1.1 by now is ami-1.1: the image was built again; pin a version of its own for it)
    rolling-out (Running, 50 %)
    quarantined (the rollout ended as Failed (r); pin another version, or retry with `pinion resync --retry-quarantined`)
    rolling-out (getting ready) => create a version of launch template frontend from version 2 with ami-1.1
    ");
}
