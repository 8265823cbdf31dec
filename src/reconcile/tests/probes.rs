//! Probes: sent until they pass, given up in time, and what a new process makes of what it didn't see.

use super::*;

/// An environment whose group is probed; the probes may fail for so long.
fn probed(within: &str) -> Setup {
    let setup = Setup::new(&["dev"]);
    let verify = format!("[[asg.web.verify]]\nhttp = \"https://app.example\"\nwithin = \"{within}\"\n");
    setup.sources[0].0.append("dev", &verify);
    setup
}

/// From now on probes fail, or pass.
fn answer(world: &World, verdict: Result<(), &str>) {
    world.probe.lock().unwrap().0 = verdict.map_err(str::to_owned);
}

#[tokio::test(start_paused = true)]
async fn probes_are_sent_until_they_pass_and_never_again_for_that_pin() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.append("dev", "[[asg.web.verify]]\nhttp = \"https://app.example\"\nwithin = \"10m\"\n");
    setup.world.probe.lock().unwrap().0 = Err("answered 500".to_owned());
    let rig = setup.start();
    rig.until_state("dev", State::Verifying).await;
    sleep(secs(45)).await;
    assert_eq!((rig.state("dev"), rig.world.probes()), (State::Verifying, 5));
    assert!(rig.web("dev").reason.unwrap().contains("answered 500"));
    rig.world.probe.lock().unwrap().0 = Ok(());
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.metric("pinion_rollouts_total", &[]), 0.0, "no rollout has led here");
    let sent = rig.world.probes();
    sleep(secs(3000)).await;
    assert_eq!(rig.world.probes(), sent);
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Verifying).await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.world.probes(), sent + 1);
    assert_eq!(rig.metric("pinion_rollouts_total", &["succeeded"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn probes_that_fail_for_too_long_quarantine_and_a_new_pin_goes_on() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.append("dev", "[[asg.web.verify]]\nhttp = \"https://app.example\"\nwithin = \"2m\"\n");
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    rig.world.probe.lock().unwrap().0 = Err("answered 500".to_owned());
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Verifying).await;
    let began = rig.clock.elapsed();
    rig.until_state("dev", State::Quarantined).await;
    let took = rig.clock.elapsed() - began;
    assert!(took >= secs(120) && took <= secs(132), "{took:?}");
    let sent = rig.world.probes();
    sleep(secs(600)).await;
    assert_eq!(rig.world.probes(), sent);
    assert_eq!(rig.metric("pinion_rollouts_total", &["failed"]), 1.0);
    rig.world.probe.lock().unwrap().0 = Ok(());
    rig.git.pin("dev", "1.2");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.2").await;
    rig.until_state("dev", State::InSync).await;
}

/// Another process, ten minutes after this one is gone.
async fn successor(mut rig: Rig) -> Rig {
    rig.stop().await;
    sleep(secs(600)).await;
    let (world, clock, git) = (Arc::clone(&rig.world), Arc::clone(&rig.clock), Arc::clone(&rig.git));
    // Its log ends with it.
    drop(rig);
    let mut setup = Setup::new(&["dev"]);
    (setup.world, setup.clock, setup.sources[0].0) = (world, clock, git);
    setup.start()
}

/// Waits until probes have failed for their two minutes.
async fn gives_up(rig: &Rig) {
    rig.until_state("dev", State::Verifying).await;
    let began = rig.clock.elapsed();
    rig.until_state("dev", State::Quarantined).await;
    let took = rig.clock.elapsed() - began;
    assert!(took >= secs(120) && took <= secs(132), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_new_process_loses_no_quarantine_and_goes_on_probing() {
    let first = probed("2m").start();
    first.until_state("dev", State::InSync).await;
    answer(&first.world, Err("answered 500"));
    first.git.pin("dev", "1.1");
    gives_up(&first).await;
    let written = first.world.writes("dev");

    let second = successor(first).await;
    gives_up(&second).await;
    let sent = second.world.probes();
    sleep(secs(600)).await;
    assert_eq!((second.state("dev"), second.world.probes()), (State::Quarantined, sent + 10));
    assert_eq!(second.metric("pinion_quarantined", &[]), 1.0);
    assert_eq!(second.metric("pinion_rollouts_total", &["failed"]), 0.0, "it was counted by the one before");
    assert_eq!(second.lines(&["WARN", "quarantined"]), 1);
    assert!(second.web("dev").reason.unwrap().contains("hasn't passed since Pinion was started"));

    // An operator has it probed for as long again; the state says so meanwhile.
    second.resync(true);
    gives_up(&second).await;

    // What somebody does about it by hand isn't undone.
    second.world.meddle("dev");
    sleep(secs(600)).await;
    assert_eq!(second.state("dev"), State::Quarantined);
    assert_eq!(second.world.writes("dev"), written, "nothing is rolled out again, and nothing goes back");
}

#[tokio::test(start_paused = true)]
async fn what_passed_before_and_fails_since_a_start_is_in_sync_when_it_passes() {
    let first = probed("2m").start();
    first.git.pin("dev", "1.1");
    first.until(|status| status.environments.values().any(|it| it.targets["asg/web"].desired == "1.1")).await;
    first.until_state("dev", State::InSync).await;
    let written = first.world.writes("dev");
    answer(&first.world, Err("no route to host"));
    let second = successor(first).await;
    gives_up(&second).await;
    answer(&second.world, Ok(()));
    let waited = second.clock.elapsed();
    second.until_state("dev", State::InSync).await;
    assert!(second.clock.elapsed() - waited <= secs(121), "two passes");
    assert_eq!(second.world.writes("dev"), written);
}

#[tokio::test(start_paused = true)]
async fn what_is_probed_once_more_after_a_reload_stays_in_sync_since_the_same_time() {
    let mut first = probed("2m").start();
    first.until_state("dev", State::InSync).await;
    let since = first.web("dev").in_sync_since;
    answer(&first.world, Err("answered 500"));
    sleep(secs(60)).await;
    first.stop().await;

    let mut setup = probed("2m");
    (setup.status_store, setup.resyncs) = (Arc::clone(&first.status_store), Arc::clone(&first.resyncs));
    (setup.world, setup.clock) = (Arc::clone(&first.world), Arc::clone(&first.clock));
    let second = setup.start();
    second.until_state("dev", State::Verifying).await;
    assert!(since.is_some() && second.web("dev").in_sync_since == since, "{:?}", second.web("dev"));
    answer(&second.world, Ok(()));
    second.until_state("dev", State::InSync).await;
    assert_eq!(second.web("dev").in_sync_since, since);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_holds_up_its_own_target_only() {
    let setup = probed("10m");
    setup.sources[0].0.append("dev", "[asg.other]\nami = { name = \"other-{version}\" }\n");
    let pins = |other: &str| format!("web = \"1.0\"\nother = \"{other}\"\n").into_bytes();
    let pinned = |tree: &mut BTreeMap<String, Vec<u8>>, other: &str| {
        tree.insert("environments/dev/pins.toml".to_owned(), pins(other));
    };
    setup.sources[0].0.commit(|tree| pinned(tree, "1.0"));
    setup.world.probe.lock().unwrap().1 = secs(100_000);
    let rig = setup.start();
    rig.until_state("dev", State::Verifying).await;
    sleep(secs(60)).await;
    assert_eq!((rig.state("dev"), rig.world.probes()), (State::Verifying, 1), "one is under way, and no second one");
    rig.git.commit(|tree| pinned(tree, "1.1"));
    let began = rig.clock.elapsed();
    while rig.world.refreshes("dev") == 0 {
        sleep(secs(1)).await;
    }
    let took = rig.clock.elapsed() - began;
    assert!(took < POLLS + secs(25), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_probe_says_of_an_earlier_pin_says_nothing_of_the_next_one() {
    let rig = probed("10m").start();
    rig.until_state("dev", State::InSync).await;
    answer(&rig.world, Err("answered 500"));
    rig.world.probe.lock().unwrap().1 = secs(500);
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Verifying).await;
    let sent = rig.world.probes();
    // The next pin's probes aren't kept waiting by those that hang, and pass.
    answer(&rig.world, Ok(()));
    rig.world.probe.lock().unwrap().1 = secs(1);
    rig.git.pin("dev", "1.2");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.2").await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.world.probes(), sent + 1);
    sleep(secs(1000)).await;
    assert_eq!(rig.state("dev"), State::InSync, "the answer to the earlier one comes too late to count");
}
