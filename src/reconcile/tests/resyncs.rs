//! Resyncs: numbered, acknowledged, and done only when all was polled and read since.

use super::*;
use crate::model::status::ResyncStatus;

fn done(requested: u64, completed: u64) -> ResyncStatus {
    ResyncStatus { requested, completed }
}

#[tokio::test(start_paused = true)]
async fn a_resync_polls_forgets_and_reads_everything_once_and_now() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    sleep(secs(7)).await;
    let (polls, reads) = (rig.git.polls(), rig.world.reads("dev").len());
    assert_eq!(rig.world.forgot("dev"), 0);
    assert_eq!(rig.resync(false), 1);
    sleep(secs(1)).await;
    assert_eq!(rig.status().resync, done(1, 1));
    assert_eq!((rig.git.polls(), rig.world.reads("dev").len()), (polls + 1, reads + 1));
    assert_eq!((rig.world.forgot("dev"), rig.world.forgot("prod")), (1, 1));
    sleep(secs(600)).await;
    assert_eq!((rig.world.forgot("dev"), rig.world.forgot("prod")), (1, 1), "only a resync forgets");
    assert_eq!(rig.lines(&["resync requested", "number=1"]), 1);
    assert_eq!(rig.lines(&["resync completed", "number=1"]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resync_ignores_backoff() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.identity_fails = Some(crate::model::ErrorClass::Retry));
    sleep(secs(2000)).await;
    rig.world.mood("dev", |mood| mood.identity_fails = None);
    assert_eq!(rig.state("dev"), State::Unknown);
    rig.resync(false);
    sleep(secs(1)).await;
    assert_eq!(rig.state("dev"), State::InSync);
    assert_eq!(rig.status().resync, done(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_began_before_the_poll_does_not_count() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.read_takes = secs(20));
    sleep(secs(65)).await;
    // A pass is under way; the poll takes longer than what is left of it.
    rig.git.slow(secs(30));
    rig.resync(false);
    sleep(secs(25)).await;
    assert_eq!(rig.resyncs.status(), done(1, 0), "the repository hasn't been polled");
    sleep(secs(20)).await;
    assert_eq!(rig.resyncs.status(), done(1, 0), "polled, but not read since");
    sleep(secs(10)).await;
    assert_eq!(rig.status().resync, done(1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hanging_environment_holds_its_resync_back_and_no_passes() {
    let rig = Rig::converged(&["dev", "hung"]).await;
    rig.world.mood("hung", |mood| mood.hangs = true);
    rig.resync(false);
    sleep(secs(605)).await;
    assert_eq!(rig.status().resync, done(1, 0));
    assert_eq!(rig.world.forgot("dev"), 1);
    let reads = rig.world.reads("dev").len();
    rig.resync(false);
    sleep(secs(1)).await;
    assert_eq!(rig.world.reads("dev").len(), reads + 1);
    // Once nobody looks after it any more, it isn't waited for.
    rig.git.remove("hung");
    sleep(secs(31)).await;
    assert_eq!(rig.status().resync, done(2, 2));
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_together_are_done_together() {
    let rig = Rig::converged(&["dev"]).await;
    sleep(secs(5)).await;
    let (polls, reads) = (rig.git.polls(), rig.world.reads("dev").len());
    assert_eq!([rig.resync(false), rig.resync(true), rig.resync(false)], [1, 2, 3]);
    sleep(secs(1)).await;
    assert_eq!(rig.status().resync, done(3, 3));
    assert_eq!((rig.git.polls(), rig.world.reads("dev").len()), (polls + 1, reads + 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_during_a_poll_gets_a_poll_of_its_own() {
    let rig = Rig::converged(&["dev"]).await;
    rig.git.slow(secs(10));
    rig.resync(false);
    sleep(secs(5)).await;
    rig.resync(false);
    sleep(secs(6)).await;
    assert_eq!(rig.status().resync, done(2, 1));
    sleep(secs(10)).await;
    assert_eq!(rig.status().resync, done(2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_resync_is_done_though_git_is_down_and_though_there_is_nothing() {
    let rig = Rig::converged(&["dev"]).await;
    rig.git.set_down(Some("connection refused"));
    let reads = rig.world.reads("dev").len();
    rig.resync(false);
    sleep(secs(1)).await;
    assert_eq!(rig.status().resync, done(1, 1));
    assert_eq!(rig.world.reads("dev").len(), reads + 1);

    let setup = Setup::new(&[]);
    setup.sources[0].0.set_down(Some("connection refused"));
    let rig = setup.start();
    rig.resync(false);
    sleep(secs(1)).await;
    assert_eq!(rig.status().resync, done(1, 1));
    assert!(!rig.status().ready);
}

#[tokio::test(start_paused = true)]
async fn a_retry_lifts_quarantine_once() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Quarantined).await;
    rig.resync(false);
    sleep(secs(600)).await;
    assert_eq!((rig.state("dev"), rig.world.refreshes("dev")), (State::Quarantined, 1));
    rig.resync(true);
    sleep(secs(600)).await;
    assert_eq!((rig.state("dev"), rig.world.refreshes("dev")), (State::Quarantined, 2), "it was retried, and once");
    rig.resync(false);
    sleep(secs(600)).await;
    assert_eq!(rig.world.refreshes("dev"), 2, "a plain resync doesn't retry again");
    assert_eq!(rig.metric("pinion_rollouts_total", &["failed"]), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_honored_though_the_clock_was_set_back() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.append("dev", "[[asg.web.verify]]\nhttp = \"https://app.example\"\nwithin = \"1m\"\n");
    setup.world.probe.lock().unwrap().0 = Err("answered 500".to_owned());
    let rig = setup.start();
    rig.until_state("dev", State::Verifying).await;
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Quarantined).await;
    for back in [secs(3600), secs(0)] {
        let sent = rig.world.probes();
        rig.resync(true);
        rig.clock.set_back(back);
        sleep(secs(1)).await;
        assert_eq!(rig.world.probes(), sent + 1);
        rig.until_state("dev", State::Quarantined).await;
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on_after_a_reload_and_nothing_is_lost() {
    let mut first = Rig::converged(&["dev", "hung"]).await;
    first.resync(false);
    sleep(secs(1)).await;
    first.world.mood("hung", |mood| mood.hangs = true);
    first.resync(false);
    sleep(secs(10)).await;
    assert_eq!(first.status().resync, done(2, 1));
    first.stop().await;

    let mut setup = Setup::new(&["dev"]);
    (setup.status_store, setup.resyncs) = (Arc::clone(&first.status_store), Arc::clone(&first.resyncs));
    assert_eq!(setup.resyncs.request(false), 3);
    let second = setup.start();
    assert!(second.status().environments.is_empty(), "nothing of before is shown as if it were so now");
    sleep(secs(1)).await;
    assert_eq!(second.status().resync, done(3, 3));
    assert_eq!(second.status().environments.keys().collect::<Vec<_>>(), ["dev"]);
}

#[tokio::test(start_paused = true)]
async fn a_reload_retries_nothing_once_more() {
    let mut first = Rig::converged(&["dev"]).await;
    first.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
    first.git.pin("dev", "1.1");
    first.until_state("dev", State::Quarantined).await;
    first.resync(true);
    first.until_state("dev", State::RollingOut).await;
    first.until_state("dev", State::Quarantined).await;
    first.stop().await;

    let mut setup = Setup::new(&["dev"]);
    (setup.status_store, setup.resyncs) = (Arc::clone(&first.status_store), Arc::clone(&first.resyncs));
    (setup.world, setup.clock) = (Arc::clone(&first.world), Arc::clone(&first.clock));
    setup.sources[0].0 = Arc::clone(&first.git);
    let second = setup.start();
    second.until(|status| status.ready).await;
    sleep(secs(600)).await;
    assert_eq!((second.state("dev"), second.world.refreshes("dev")), (State::Quarantined, 2));
    second.resync(true);
    second.until_state("dev", State::RollingOut).await;
    second.until_state("dev", State::Quarantined).await;
    assert_eq!(second.world.refreshes("dev"), 3);
}
