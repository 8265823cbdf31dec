//! Pinion beside others that register revisions and move targets themselves, with `base_revision = "newest"`: whatever they do,
//! and between whichever passes, after the last of it each target has at most one more rollout.

use proptest::prelude::*;

use super::model::{World, numbered, others, recorded};
use super::*;

/// What somebody does.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// Terraform registers a revision, with an image of its own.
    Registers,
    /// CloudFormation registers one and moves the target to it.
    RegistersAndMoves,
    /// A person moves the target to one that is there: counted from the newest.
    Moves(usize),
    /// Somebody deregisters all that is older than the newest revision of Terraform's, what runs included.
    CleansUp,
    /// A pin is set.
    Pins(&'static str),
}

/// An event, whether it is the group's, and the passes between it and the next one.
type Step = (Event, bool, usize);

fn step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        Just(Event::Registers),
        Just(Event::RegistersAndMoves),
        (0_usize..4).prop_map(Event::Moves),
        Just(Event::CleansUp),
        prop::sample::select(vec!["1.0", "1.1", "1.2"]).prop_map(Event::Pins),
    ];
    (event, any::<bool>(), 0_usize..6)
}

/// The images of Terraform and CloudFormation.
const THEIRS: &str = "0.9";

/// The world, what is wanted in it, and how many rollouts Pinion has begun of each target.
struct Story {
    world: World,
    environment: Environment,
    rollouts: BTreeMap<LocalRef, usize>,
}

impl Story {
    fn new() -> Self {
        let mut story = Self {
            world: World::new("1.0", "1.0", true, 2),
            environment: environment(("1.0", '1'), ("1.0", '1')),
            rollouts: BTreeMap::new(),
        };
        story.take_newest();
        story
    }

    fn take_newest(&mut self) {
        for target in self.environment.targets.values_mut() {
            target.base = BaseRevision::Newest(BaseRule::default());
        }
    }

    fn happens(&mut self, event: Event, of_group: bool, index: usize) {
        // Nobody does more than one thing in two days: healing isn't damped.
        self.world.clock += 2 * 1440;
        let local = if of_group { web() } else { api() };
        let made = if of_group { &mut self.world.templates } else { &mut self.world.revisions };
        let newest = u64::try_from(made.len()).unwrap();
        match event {
            Event::Registers => made.push((THEIRS.to_owned(), None)),
            Event::RegistersAndMoves => {
                made.push((THEIRS.to_owned(), None));
                self.world.move_by_hand(&local, newest + 1);
            }
            Event::Moves(back) => {
                let to = newest.saturating_sub(u64::try_from(back).unwrap()).max(1);
                let on = if of_group { self.world.group_on } else { self.world.service_on };
                let on = if of_group { on.to_string() } else { format!("api:{on}") };
                let marker = made.get(usize::try_from(to - 1).unwrap()).and_then(|(_, marker)| marker.as_ref());
                // What Pinion made from what runs and didn't roll out yet: that somebody else does it shows nowhere.
                let as_pinion_would = marker.is_some_and(|marker| marker.from() == on);
                // AWS takes none that was deregistered.
                if !as_pinion_would && (of_group || !self.world.inactive.contains(&to)) {
                    self.world.move_by_hand(&local, to);
                }
            }
            Event::CleansUp => {
                let kept = others(&self.world.revisions).next().unwrap();
                self.world.inactive.extend(1..kept);
            }
            Event::Pins(version) => {
                let digit = char::from_digit(u32::try_from(index % 14).unwrap() + 2, 16).unwrap();
                let component = if of_group { "frontend" } else { "backend" };
                let mut pin = pin(component, version, digit);
                pin.provenance.time = at(self.world.clock);
                self.environment.pins.insert(pin.component.clone(), pin);
            }
        }
    }

    /// One pass of a process that remembers nothing.
    fn pass(&mut self) -> Plan {
        let observed = self.world.observe(&self.environment);
        let plan = plan(Input {
            desired: &self.environment,
            observed: &observed,
            memory: &Memory::default(),
            guardrails: &NoPolicies,
            fleet: &Fleet::default(),
            claims: &Claims::alone(&self.environment),
            now: at(self.world.clock + 5),
        });
        for (local, action) in plan.actions() {
            assert!(!self.world.foreign.contains_key(local), "what others have begun is waited for: {action}");
            if action.starts_rollout() {
                *self.rollouts.entry(local.clone()).or_default() += 1;
            }
            self.world.apply(action);
        }
        self.world.end();
        plan
    }

    fn settle(&mut self) -> Plan {
        for _ in 0..12 {
            let others_at_work = !self.world.foreign.is_empty();
            let plan = self.pass();
            if plan.writes_nothing() && !others_at_work {
                return plan;
            }
        }
        panic!("it never comes to rest: {:?}", self.world)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn after_the_last_change_there_is_at_most_one_more_rollout(steps in prop::collection::vec(step(), 1..8)) {
        let mut story = Story::new();
        for (index, (event, of_group, passes)) in steps.iter().enumerate() {
            story.happens(*event, *of_group, index);
            if index + 1 < steps.len() {
                (0..*passes).for_each(|_| drop(story.pass()));
            }
        }
        let before = std::mem::take(&mut story.rollouts);
        let rest = story.settle();
        for local in [web(), api()] {
            let more = story.rollouts.get(&local).copied().unwrap_or_default();
            prop_assert!(more <= 1, "{local} had {before:?}, and {more} more: {:?}", story.world);
            let planned = &rest.targets[&local];
            prop_assert_eq!(planned.state, State::InSync, "{}: {} in {:?}", local, line(planned), story.world);
            let world = &story.world;
            let (made, on) = if local == web() {
                (&world.templates, world.group_on)
            } else {
                (&world.revisions, world.service_on)
            };
            let pinned = story.environment.pin_of(&story.environment.targets[&local]).unwrap().version.as_str();
            prop_assert_eq!(&numbered(made, on).0, pinned, "the pinned image: {:?}", world);
            prop_assert_eq!(Some(recorded(made, on).0), others(made).next(), "the newest shape: {:?}", world);
        }
        let writes = story.world.writes;
        story.settle();
        prop_assert_eq!(story.world.writes, writes, "the second plan is empty");
    }
}
