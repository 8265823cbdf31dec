//! What is counted, logged and shown: each thing once, and nothing that isn't so.

use super::*;
use crate::model::ErrorClass;

#[tokio::test(start_paused = true)]
async fn a_rollout_is_counted_once_with_its_result() {
    let rig = Rig::converged(&["dev"]).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &[]), 0.0, "what was so before is no rollout");
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.until_state("dev", State::InSync).await;
    sleep(secs(300)).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["succeeded"]), 1.0);
    let took = rig.metric("pinion_rollout_duration_seconds_sum", &["succeeded"]);
    assert!((120.0..=130.0).contains(&took), "from its start to the pass that saw its end, but {took}");
    assert_eq!(rig.lines(&["rollout started", "1.1"]), 1);
    assert_eq!(rig.lines(&["rollout ended", "succeeded", "1.1"]), 1);

    rig.world.mood("dev", |mood| mood.bad.insert("1.2".to_owned()));
    rig.git.pin("dev", "1.2");
    rig.until_state("dev", State::Quarantined).await;
    sleep(secs(300)).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["failed"]), 1.0);
    assert_eq!(rig.metric("pinion_quarantined", &["dev"]), 1.0);

    rig.world.mood("dev", |mood| mood.cancels = true);
    rig.git.pin("dev", "1.3");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.3").await;
    rig.until_state("dev", State::Quarantined).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["cancelled"]), 1.0);
    assert_eq!(rig.metric("pinion_rollouts_total", &[]), 3.0);
    assert_eq!(rig.lines(&["log: rollout ended"]), 3);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_the_pin_leaves_behind_is_counted_as_cancelled() {
    let rig = Rig::converged(&["dev"]).await;
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    sleep(secs(20)).await;
    rig.git.pin("dev", "1.2");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.2").await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["cancelled"]), 1.0);
    assert_eq!(rig.metric("pinion_rollouts_total", &["succeeded"]), 1.0);
    assert_eq!(rig.lines(&["rollout ended", "cancelled", "1.1"]), 1);
    assert_eq!(rig.lines(&["rollout ended", "succeeded", "1.2"]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_ends_while_the_account_cannot_be_read_is_counted_all_the_same() {
    for (fails, result) in [(ErrorClass::Retry, "succeeded"), (ErrorClass::Denied, "failed")] {
        let rig = Rig::converged(&["dev"]).await;
        if result == "failed" {
            rig.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
        }
        rig.git.pin("dev", "1.1");
        rig.until_state("dev", State::RollingOut).await;
        sleep(secs(30)).await;
        rig.world.mood("dev", |mood| mood.identity_fails = Some(fails));
        sleep(secs(300)).await;
        assert_eq!(rig.state("dev"), State::Unknown);
        rig.world.mood("dev", |mood| mood.identity_fails = None);
        sleep(secs(300)).await;
        assert_eq!(rig.metric("pinion_rollouts_total", &[result]), 1.0);
        assert_eq!(rig.metric("pinion_rollouts_total", &[]), 1.0);
        if result == "succeeded" {
            assert_eq!(rig.metric("pinion_convergence_seconds_count", &[]), 1.0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn convergence_is_measured_only_for_pins_that_were_seen_to_arrive() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.pin("dev", "1.1");
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["succeeded"]), 1.0);
    assert_eq!(rig.metric("pinion_convergence_seconds_count", &[]), 0.0, "its commit was there at the start");

    rig.git.pin("dev", "1.2");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.2").await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_convergence_seconds_count", &[]), 1.0);
    // A version, a refresh of two minutes, and the wait for the pass that sees it done.
    let took = rig.metric("pinion_convergence_seconds_sum", &[]);
    assert!((121.0..=135.0).contains(&took), "{took}");
    rig.world.meddle("dev");
    sleep(secs(400)).await;
    assert_eq!(rig.world.refreshes("dev"), 3);
    rig.git.append("dev", "# another commit\n");
    sleep(secs(400)).await;
    assert_eq!(rig.metric("pinion_convergence_seconds_count", &[]), 1.0, "neither drift nor other commits count");
}

#[tokio::test(start_paused = true)]
async fn a_denial_is_counted_when_it_begins() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.commit(|tree| {
        tree.insert("policies/guardrails/freeze.cedar".to_owned(), b"forbid(principal, action, resource);".to_vec());
    });
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_guardrail_denials_total", &[]), 0.0);
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Pending).await;
    sleep(secs(600)).await;
    assert_eq!(rig.metric("pinion_guardrail_denials_total", &[]), 1.0);
    rig.world.mood("dev", |mood| mood.identity_fails = Some(ErrorClass::Denied));
    sleep(secs(120)).await;
    rig.world.mood("dev", |mood| mood.identity_fails = None);
    rig.until_state("dev", State::Pending).await;
    assert_eq!(rig.metric("pinion_guardrail_denials_total", &[]), 1.0, "it was forbidden all along");
    rig.git.pin("dev", "1.2");
    sleep(secs(120)).await;
    assert_eq!(rig.metric("pinion_guardrail_denials_total", &[]), 2.0, "another pin is another rollout");
    rig.git.pin("dev", "1.0");
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.world.writes("dev").len(), 0);
    assert_eq!(rig.lines(&["state changed", "to=\"pending\""]), 2, "{}", rig.logged());
}

#[tokio::test(start_paused = true)]
async fn the_story_is_told_once_not_every_pass() {
    let rig = Rig::converged(&["dev"]).await;
    *rig.world.refresh_takes.lock().unwrap() = secs(1200);
    let quiet = rig.lines(&[]);
    sleep(secs(600)).await;
    assert_eq!(rig.lines(&[]), quiet, "nothing happens, nothing is said: {}", rig.logged());
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.until_state("dev", State::InSync).await;
    for told in
        ["new revision", "pin changed", "create a version of launch template", "rollout started", "rollout ended"]
    {
        let after_start = usize::from(told == "new revision");
        assert_eq!(rig.lines(&[told]), 1 + after_start, "{told}:\n{}", rig.logged());
    }
    let told = rig.lines(&[]);
    assert!(told - quiet <= 10, "{}", rig.logged());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_keeps_failing_is_told_once_for_each_reason() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.write_fails = Some(ErrorClass::Retry));
    rig.git.pin("dev", "1.1");
    sleep(secs(3000)).await;
    assert_eq!(rig.lines(&["could not create a version"]), 1, "{}", rig.logged());
    assert!(rig.web("dev").reason.unwrap().ends_with("will be tried again"));
    rig.world.mood("dev", |mood| mood.write_fails = Some(ErrorClass::Conflict));
    sleep(secs(600)).await;
    assert_eq!(rig.lines(&["could not create a version"]), 2);
    assert_eq!((rig.lines(&["ERROR", "could not"]), rig.lines(&["WARN", "could not"])), (1, 1), "{}", rig.logged());
    assert!(rig.environment("dev").error.is_none(), "somebody was quicker: no failure of the account");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_keeps_its_last_state_and_age() {
    let rig = Rig::converged(&["dev"]).await;
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    sleep(secs(60)).await;
    let before = rig.web("dev");
    rig.world.mood("dev", |mood| mood.identity_fails = Some(ErrorClass::Retry));
    rig.until_state("dev", State::Unknown).await;
    let since = rig.web("dev").since;
    sleep(secs(900)).await;
    let unknown = rig.web("dev");
    assert_eq!(unknown.last_known, Some(State::RollingOut));
    assert_eq!(unknown.since, since);
    assert!(unknown.observed.unwrap() <= before.observed.unwrap() + SignedDuration::from_secs(10));
    assert_eq!((&unknown.running, &unknown.rollout, unknown.total), (&before.running, &before.rollout, before.total));
    assert_eq!(unknown.out_of_sync_since, before.out_of_sync_since);
    let environment = rig.environment("dev");
    assert!(environment.error.unwrap().contains("AssumeRole"));
    assert!(environment.last_success.unwrap() <= since);
    assert_eq!(rig.lines(&["WARN", "unknown"]), 1);
}

#[tokio::test(start_paused = true)]
async fn ready_is_said_only_after_a_pass_of_every_environment_of_every_repository() {
    let mut setup = Setup::new(&["dev", "slow"]);
    setup.world.mood("slow", |mood| mood.read_takes = secs(10));
    let other = setup.source("live");
    other.slow(secs(20));
    other.add_on("live", "prod");
    setup.world.mood("prod", |mood| mood.read_takes = secs(5));
    let rig = setup.start();
    sleep(secs(8)).await;
    assert!(rig.environment("dev").passes == 1 && !rig.status().ready);
    sleep(secs(8)).await;
    assert!(rig.environment("slow").passes == 1 && !rig.status().ready, "the other repository is still polled");
    sleep(secs(8)).await;
    assert!(!rig.status().ready, "its environment has had no pass");
    sleep(secs(3)).await;
    assert!(rig.status().ready);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_changes_no_pace() {
    let rig = Rig::converged(&["dev"]).await;
    sleep(secs(300)).await;
    rig.clock.set_back(secs(86_400));
    let (polls, reads) = (rig.git.polls(), rig.world.reads("dev").len());
    sleep(secs(600)).await;
    assert_eq!((rig.git.polls() - polls, rig.world.reads("dev").len() - reads), (20, 10));
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &["succeeded"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_suspension_that_ends_while_the_account_is_read_ends_with_the_next_pass() {
    let setup = Setup::new(&["dev"]);
    let until = setup.clock.now() + SignedDuration::from_secs(5);
    let suspend = format!("[asg.web.suspend]\nowner = \"Ada\"\nreason = \"a move\"\nuntil = \"{until}\"\n");
    setup.sources[0].0.append("dev", &suspend);
    setup.sources[0].0.pin("dev", "1.1");
    setup.world.mood("dev", |mood| mood.read_takes = secs(10));
    let rig = setup.start();
    sleep(secs(11)).await;
    assert_eq!((rig.state("dev"), rig.world.writes("dev").len()), (State::Suspended, 0));
    rig.until_state("dev", State::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_of_another_account_are_a_failed_pass() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.outsider = true);
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Blocked).await;
    sleep(secs(300)).await;
    assert!(rig.metric("pinion_reconcile_total", &["failed"]) >= 5.0);
    let environment = rig.environment("dev");
    assert!(environment.error.unwrap().contains("belong to account"), "it is said of the environment, too");
    assert!(environment.last_success.unwrap() < environment.targets["asg/web"].since);
    assert_eq!(rig.world.writes("dev").len(), 0);
    rig.world.mood("dev", |mood| mood.outsider = false);
    rig.until_state("dev", State::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_broken_and_has_no_past_holds_readiness_up_no_more_than_others() {
    let setup = Setup::new(&[]);
    setup.sources[0].0.write("dev", "nonsense");
    let rig = setup.start();
    rig.until(|status| status.ready).await;
    assert!(!rig.environment("dev").valid);
}

#[tokio::test(start_paused = true)]
async fn a_reload_forgets_no_ages() {
    let mut first = Rig::converged(&["dev"]).await;
    first.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
    first.git.pin("dev", "1.1");
    first.until_state("dev", State::Quarantined).await;
    let before = first.web("dev");
    sleep(secs(600)).await;
    first.stop().await;
    let mut setup = Setup::new(&["dev"]);
    (setup.status_store, setup.world) = (Arc::clone(&first.status_store), Arc::clone(&first.world));
    (setup.clock, setup.sources[0].0) = (Arc::clone(&first.clock), Arc::clone(&first.git));
    let second = setup.start();
    second.until(|status| status.ready).await;
    let after = second.web("dev");
    assert_eq!(after.state, State::Quarantined);
    assert_eq!((after.since, after.out_of_sync_since), (before.since, before.out_of_sync_since));
}
