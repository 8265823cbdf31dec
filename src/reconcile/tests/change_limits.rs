//! Change limits, where a branch doesn't simply go on.

use super::*;

fn setup() -> Setup {
    let mut setup = Setup::new(&["dev", "prod"]);
    setup.change_limits = ChangeLimits::default();
    setup
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_is_moved_elsewhere_is_compared_with_what_was_accepted() {
    let setup = setup();
    let without_prod = {
        // A commit before there was a prod.
        let git = &setup.sources[0].0;
        git.remove("prod");
        let commit = git.pin("dev", "1.0");
        git.add("prod");
        commit
    };
    let rig = setup.start();
    rig.until_state("prod", State::InSync).await;
    rig.git.force_to(&without_prod);
    sleep(secs(120)).await;
    let change_limit = rig.environment("prod").change_limit.unwrap();
    assert!(change_limit.contains("removes prod"), "{change_limit}");
    assert_eq!(rig.state("prod"), State::InSync);
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.environment("prod").change_limit, Some(change_limit), "the rest of the branch goes on");
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_allowed_is_none_to_speak_of() {
    let mut setup = setup();
    setup.change_limits.removals = false;
    let rig = setup.start();
    rig.until_state("prod", State::InSync).await;
    rig.git.remove("prod");
    sleep(secs(120)).await;
    assert!(!rig.status().environments.contains_key("prod"));
}

/// An environment whose removal is held stays as it was last, whatever was held before that.
#[tokio::test(start_paused = true)]
async fn what_is_removed_while_something_is_held_stays_as_it_was_last() {
    let mut setup = Setup::new(&["dev", "prod", "test"]);
    setup.change_limits = ChangeLimits::default();
    let rig = setup.start();
    rig.until_state("prod", State::InSync).await;
    rig.git.remove("dev");
    sleep(secs(120)).await;
    assert!(rig.environment("dev").change_limit.unwrap().contains("removes dev"));
    rig.git.pin("prod", "1.1");
    rig.until_state("prod", State::RollingOut).await;
    rig.until_state("prod", State::InSync).await;
    rig.git.remove("prod");
    sleep(secs(120)).await;
    assert!(rig.environment("prod").change_limit.unwrap().contains("removes dev, prod"));
    let prod = rig.environment("prod");
    let target = prod.targets.values().next().unwrap();
    assert_eq!((target.state, target.desired.as_str()), (State::InSync, "1.1"));
}
