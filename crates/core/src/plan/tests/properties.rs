//! Properties over the model: applying converges, the second plan is empty, no guardrail is bypassed, a bad pin is
//! tried once.

use proptest::prelude::*;

use super::model::World;
use super::*;

/// Passes until a plan writes nothing; fails if that takes longer than the longest way there.
fn converge(world: &mut World, environment: &Environment) -> Plan {
    let memory = Memory::default();
    for _ in 0..12 {
        let observed = world.observe(environment);
        let plan = plan(Input {
            desired: environment,
            observed: &observed,
            memory: &memory,
            guardrails: &NoPolicies,
            fleet: &Fleet::default(),
            claims: &Claims::alone(environment),
            now: at(10),
        });
        if plan.writes_nothing() {
            return plan;
        }
        for (_, action) in plan.actions() {
            world.apply(action);
        }
    }
    panic!("it never comes to rest: {world:?}")
}

fn version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["1.0", "1.1", "1.2", "1.3"])
}

proptest! {
    #[test]
    fn applying_converges_and_the_second_plan_is_empty(
        start in version(), pins in prop::collection::vec((version(), version()), 1..5),
        bad in prop::collection::btree_set(version(), 0..2),
        numbered in any::<bool>(), instances in 0_usize..4,
    ) {
        let mut world = World::new(start, start, numbered, instances);
        world.bad = bad.iter().map(|version| (*version).to_owned()).filter(|version| version != start).collect();
        for (index, (frontend, backend)) in pins.iter().enumerate() {
            let digit = char::from_digit(u32::try_from(index).unwrap() + 1, 16).unwrap();
            let environment = environment((frontend, digit), (backend, digit));
            let rest = converge(&mut world, &environment);
            for (local, version) in [(web(), frontend), (api(), backend)] {
                let runs = if local == web() {
                    &world.templates[usize::try_from(world.group_on).unwrap() - 1].0
                } else {
                    &world.revisions[usize::try_from(world.service_on).unwrap() - 1].0
                };
                let expected = if runs == version { State::InSync } else { State::Quarantined };
                prop_assert_eq!(rest.targets[&local].state, expected);
                prop_assert_eq!(expected == State::Quarantined, world.bad.contains(*version));
            }
            let writes = world.writes;
            converge(&mut world, &environment);
            prop_assert_eq!(world.writes, writes, "the second plan must be empty");
        }
        let tried = world.refreshes.len() + world.deployments.len();
        prop_assert!(tried <= 2 * pins.len(), "at most one rollout for each pin and target");
    }

    #[test]
    fn a_hand_made_change_is_healed_without_losing_the_rest(
        hand in version(), by_template in any::<bool>(), stray in 0_usize..3,
    ) {
        let environment = environment(("1.1", 'a'), ("1.1", 'a'));
        let mut world = World::new("1.0", "1.0", true, 3);
        converge(&mut world, &environment);
        if by_template {
            world.templates.push((hand.to_owned(), None));
            world.group_on = u64::try_from(world.templates.len()).unwrap();
        } else {
            world.instances[stray] = 1;
        }
        world.revisions.push((hand.to_owned(), None));
        world.service_on = u64::try_from(world.revisions.len()).unwrap();
        let rest = converge(&mut world, &environment);
        prop_assert!(rest.targets.values().all(|plan| plan.state == State::InSync));
        prop_assert_eq!(&world.templates[usize::try_from(world.group_on).unwrap() - 1].0, "1.1");
    }

    /// Whatever is deregistered, and however often: the service gets back to the image that ran before, by one rollout for
    /// each bad pin, and no revision is registered twice for that.
    #[test]
    fn the_way_back_leads_to_what_was_deregistered_too(
        bad in prop::collection::vec(any::<bool>(), 1..5), cleanups in prop::collection::vec(any::<bool>(), 5),
    ) {
        let mut world = World::new("1.0", "1.0", true, 1);
        world.stays = true;
        let mut runs = "1.0".to_owned();
        for (index, bad) in bad.iter().enumerate() {
            let digit = char::from_digit(u32::try_from(index).unwrap() + 1, 16).unwrap();
            let version = format!("2.{index}");
            if cleanups[index] {
                world.inactive.extend(1..=u64::try_from(world.revisions.len()).unwrap());
            }
            if *bad {
                world.bad.insert(version.clone());
            }
            let (revisions, deployments) = (world.revisions.len(), world.deployments.len());
            let rest = converge(&mut world, &environment(("1.0", 'a'), (&version, digit)));
            runs = if *bad { runs } else { version };
            let on = &world.revisions[usize::try_from(world.service_on).unwrap() - 1].0;
            prop_assert_eq!(on, &runs);
            prop_assert_eq!(rest.targets[&api()].state == State::Quarantined, *bad);
            let copies = usize::from(*bad && cleanups[index]);
            prop_assert_eq!(world.revisions.len(), revisions + 1 + copies);
            prop_assert_eq!(world.deployments.len(), deployments + 1 + usize::from(*bad));
        }
    }

    #[test]
    fn no_guardrail_is_bypassed(start in version(), pinned in version(), numbered in any::<bool>()) {
        let environment = environment((pinned, 'a'), (pinned, 'a'));
        let world = World::new(start, start, numbered, 2);
        let observed = world.observe(&environment);
        let guardrails = DenyAll { reason: "frozen".to_owned() };
        let memory = Memory::default();
        let plan = plan(Input { desired: &environment, observed: &observed, memory: &memory, guardrails: &guardrails, fleet: &Fleet::default(), claims: &Claims::alone(&environment), now: at(10) });
        prop_assert!(plan.writes_nothing());
        let expected = if start == pinned { State::InSync } else { State::Pending };
        prop_assert!(plan.targets.values().all(|plan| plan.state == expected));
    }
}
