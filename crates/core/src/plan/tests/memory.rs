//! What is remembered follows the AWS resource, and not the target's name.

use super::*;

/// What is known of `asg/web`, in every one of the memory's tables.
fn full(desired: &Environment) -> Memory {
    let mut memory = Memory::default();
    memory.keep(desired);
    let id = RolloutId("r-1".to_owned());
    let (pinned, artifact) = (commit('a'), ami("1.0"));
    let (version, sought) = (version("1.0"), Some("query".to_owned()));
    let marker =
        Marker { version: version.clone(), commit: pinned.clone(), base: "1".to_owned(), from: None, owner: None };
    let converged = Converged { commit: pinned.clone(), version, artifact: artifact.clone(), sought, base: None };
    memory.converged.insert(web(), converged);
    memory.drifted.insert(web());
    let probes = ProbeRecord {
        base: None,
        commit: pinned.clone(),
        artifact: artifact.clone(),
        first: at(0),
        failure: None,
        after_rollout: true,
    };
    memory.probes.insert(web(), probes);
    memory.made.insert(web(), Made { marker, image: Some(artifact.clone()), arn: "arn".to_owned() });
    memory.started.insert(web(), Started { to: RolloutTarget::Other, at: at(0), before: BTreeSet::from([id.clone()]) });
    memory.forgiven.insert(web(), Forgiven { open: true, ..Forgiven::default() });
    let (action, reason) = (Action::Verify { probes: Vec::new() }, Reason::Probing);
    memory.refused.insert(web(), Refused { action, reason, times: 1, at: at(0) });
    memory.withdrawn.insert(web(), BTreeSet::from([id]));
    memory.failed.insert(web(), Failed { commit: pinned, artifact, base: None, rollout: "r-1".to_owned() });
    memory.running.insert(web(), RolloutId("r-1".to_owned()));
    memory
}

fn version(text: &str) -> Version {
    Version::try_from(text).unwrap()
}

/// The targets that each table of the memory has, but for that of the resources.
fn known(memory: &Memory) -> [BTreeSet<LocalRef>; 10] {
    fn keys<T>(all: &BTreeMap<LocalRef, T>) -> BTreeSet<LocalRef> {
        all.keys().cloned().collect()
    }
    [
        keys(&memory.converged),
        memory.drifted.clone(),
        keys(&memory.probes),
        keys(&memory.made),
        keys(&memory.started),
        keys(&memory.forgiven),
        keys(&memory.refused),
        keys(&memory.withdrawn),
        keys(&memory.failed),
        keys(&memory.running),
    ]
}

fn site() -> LocalRef {
    LocalRef::new(Kind::Asg, "site").unwrap()
}

fn desired() -> Environment {
    environment(("1.0", 'a'), ("1.0", 'a'))
}

/// The environment in which the group `frontend` is the target `asg/site`.
fn renamed() -> Environment {
    let mut desired = desired();
    let mut target = desired.targets.remove(&web()).unwrap();
    target.reference = site().within(&desired.name);
    desired.targets.insert(site(), target);
    desired
}

/// The environment in which `asg/web` is another group.
fn moved() -> Environment {
    let mut desired = desired();
    let target = desired.targets.get_mut(&web()).unwrap();
    let TargetSpec::Asg(spec) = &mut target.spec else { panic!("web is a group") };
    spec.group = GroupName::try_from("other").unwrap();
    desired
}

#[test]
fn what_is_remembered_goes_with_the_resource_to_another_name() {
    let mut memory = full(&desired());
    let before = memory.clone();
    assert_eq!(memory.keep(&desired()), BTreeSet::new());
    assert_eq!(memory, before, "nothing has changed");
    assert_eq!(memory.keep(&renamed()), BTreeSet::new(), "no name has another resource now");
    assert!(known(&memory).iter().all(|locals| *locals == BTreeSet::from([site()])), "{memory:?}");
    memory.keep(&desired());
    assert_eq!(memory, before, "and back");
}

#[test]
fn what_is_remembered_of_one_resource_never_counts_for_another() {
    let mut memory = full(&desired());
    assert_eq!(memory.keep(&moved()), BTreeSet::from([web()]), "its state is that of the other group");
    assert!(known(&memory).iter().all(BTreeSet::is_empty), "{memory:?}");

    // The group gets another name, and its name another group.
    let mut memory = full(&desired());
    let mut both = renamed();
    both.targets.extend(moved().targets.remove(&web()).map(|other| (web(), other)));
    assert_eq!(memory.keep(&both), BTreeSet::from([web()]));
    assert!(known(&memory).iter().all(|locals| *locals == BTreeSet::from([site()])), "{memory:?}");

    // What is gone is forgotten, though it comes back.
    let mut memory = full(&desired());
    let mut without = desired();
    without.targets.remove(&web());
    memory.keep(&without);
    memory.keep(&desired());
    assert!(known(&memory).iter().all(BTreeSet::is_empty), "{memory:?}");
}
