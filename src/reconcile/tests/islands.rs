//! Environments don't wait for each other; each keeps its pace, its backoff and its trouble to itself.

use super::*;
use crate::model::ErrorClass;

fn gaps(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn close(left: f64, right: f64) -> bool {
    (left - right).abs() < 0.01
}

#[tokio::test(start_paused = true)]
async fn an_account_that_hangs_for_ever_holds_up_nobody_and_not_the_end() {
    let setup = Setup::new(&["dev", "hung", "prod"]);
    setup.world.mood("hung", |mood| mood.hangs = true);
    let mut rig = setup.start();
    for name in ["dev", "prod"] {
        rig.until_state(name, State::InSync).await;
        rig.git.pin(name, "1.1");
    }
    for name in ["dev", "prod"] {
        rig.until(|status| status.environments[name].targets["asg/web"].desired == "1.1").await;
        rig.until_state(name, State::InSync).await;
    }
    assert_eq!(rig.world.reads("hung").len(), 1, "one pass at once");
    assert!(!rig.status().ready, "not all environments have had a first pass");
    assert!(rig.stop().await < secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_environment_never_has_two_passes_at_once() {
    let setup = Setup::new(&["dev"]);
    setup.world.mood("dev", |mood| (mood.read_takes, mood.write_takes) = (secs(40), secs(20)));
    let rig = setup.start();
    for version in ["1.1", "1.2", "1.3", "1.4"] {
        sleep(secs(33)).await;
        rig.git.pin("dev", version);
        rig.resync(false);
    }
    sleep(secs(600)).await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!((rig.world.most_at_once("dev").0, rig.world.most_writes_at_once("dev")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_goes_and_comes_back_waits_for_its_last_write() {
    let mut rig = Rig::converged(&["dev", "prod"]).await;
    rig.world.mood("dev", |mood| mood.write_takes = secs(300));
    rig.git.pin("dev", "1.1");
    sleep(secs(40)).await;
    rig.git.remove("dev");
    sleep(secs(40)).await;
    assert!(!rig.status().environments.contains_key("dev"));
    rig.git.add("dev");
    rig.git.pin("dev", "1.1");
    sleep(secs(40)).await;
    assert_eq!(rig.world.writes("dev").len(), 0, "the write is still in flight");
    rig.world.mood("dev", |mood| mood.write_takes = secs(0));
    rig.until_state("dev", State::InSync).await;
    assert_eq!((rig.world.most_at_once("dev").0, rig.world.most_writes_at_once("dev")), (1, 1));
    assert_eq!(rig.world.refreshes("dev"), 1);
    let passes = rig.environment("dev").passes;
    sleep(secs(200)).await;
    assert!(rig.environment("dev").passes >= passes + 3, "the new task outlives the end of the old one");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_ends_after_its_environment_was_removed_does_not_bring_it_back() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    rig.world.mood("dev", |mood| mood.write_takes = secs(100));
    rig.git.pin("dev", "1.1");
    sleep(secs(40)).await;
    rig.git.remove("dev");
    sleep(secs(300)).await;
    assert_eq!(rig.world.writes("dev").len(), 1, "the write in flight was finished, and none followed");
    assert_eq!(rig.status().environments.keys().collect::<Vec<_>>(), ["prod"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_environments_are_in_a_pass_than_allowed() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut setup = Setup::new(&names);
    setup.concurrency = 3;
    for name in names {
        setup.world.mood(name, |mood| mood.read_takes = secs(5));
    }
    let rig = setup.start();
    rig.until(|status| status.ready).await;
    assert_eq!(rig.world.most_at_once("a").1, 3);
    assert!(rig.clock.elapsed() < secs(16), "three rounds of five seconds, but it took {:?}", rig.clock.elapsed());
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_a_turn_stops_at_once_and_works_with_what_is_newest() {
    let mut setup = Setup::new(&["dev", "prod"]);
    setup.concurrency = 1;
    let mut rig = {
        setup.world.mood("dev", |mood| mood.read_takes = secs(9));
        setup.start()
    };
    sleep(secs(5)).await;
    // The one that has its turn second must not begin with what was wanted when it began to wait.
    rig.git.pin("prod", "1.1");
    rig.git.pin("dev", "1.0");
    rig.resync(false);
    rig.until_state("prod", State::RollingOut).await;
    assert_eq!((rig.web("prod").desired.as_str(), rig.world.reads("prod").len()), ("1.1", 1));
    rig.world.mood("dev", |mood| mood.hangs = true);
    sleep(secs(300)).await;
    assert!(rig.stop().await < secs(1));
}

#[tokio::test(start_paused = true)]
async fn accounts_that_hang_take_nobody_elses_turn_for_long() {
    let mut setup = Setup::new(&["a", "b", "c", "good"]);
    setup.concurrency = 1;
    for name in ["a", "b", "c"] {
        setup.world.mood(name, |mood| mood.hangs = true);
    }
    let mut rig = setup.start();
    rig.until_state("good", State::InSync).await;
    assert!(rig.clock.elapsed() < secs(40), "three that hang, ten seconds each, but it took {:?}", rig.clock.elapsed());
    rig.git.pin("good", "1.1");
    rig.until(|status| status.environments["good"].targets["asg/web"].desired == "1.1").await;
    rig.until_state("good", State::InSync).await;
    assert!(rig.stop().await < secs(1));
}

#[tokio::test(start_paused = true)]
async fn passes_are_rare_at_rest_and_quick_while_something_moves() {
    let rig = Rig::converged(&["dev"]).await;
    sleep(secs(600)).await;
    let steady = gaps(&rig.world.reads("dev"));
    assert!(steady.len() == 10 && steady.iter().all(|gap| close(*gap, 60.0)), "{steady:?}");

    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    let before = rig.world.reads("dev").len();
    rig.until_state("dev", State::InSync).await;
    let reads = rig.world.reads("dev");
    let moving = gaps(&reads[before - 1..]);
    assert!(moving[..2].iter().all(|gap| close(*gap, 1.0)), "one write a pass, each a second apart: {moving:?}");
    assert!(moving[2..].iter().all(|gap| close(*gap, 10.0)), "{moving:?}");
    assert_eq!(moving.len(), 2 + 12, "{moving:?}");
    let writes = rig.world.writes("dev");
    assert_eq!(writes.len(), 2, "{writes:?}");
    sleep(secs(600)).await;
    assert_eq!(rig.world.writes("dev").len(), 2, "a pass after convergence writes nothing");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fails_backs_off_with_jitter_and_recovers_while_others_keep_their_pace() {
    let rig = Rig::converged(&["bad", "good"]).await;
    rig.world.mood("bad", |mood| mood.identity_fails = Some(ErrorClass::Retry));
    let (mut tries, mut seen) = (Vec::new(), rig.world.requests("bad"));
    let began = rig.world.reads("good").len();
    while tries.len() < 13 {
        sleep(Duration::from_millis(10)).await;
        if rig.world.requests("bad") > seen {
            seen = rig.world.requests("bad");
            tries.push(rig.clock.elapsed().as_secs_f64());
        }
    }
    for (number, gap) in gaps(&tries).into_iter().enumerate() {
        let full = f64::from(1_u32 << number.min(20)).min(300.0);
        assert!(gap >= full / 2.0 - 0.02 && gap <= full + 0.02, "wait {number} was {gap}");
    }
    let good = &rig.world.reads("good")[began..];
    assert!(gaps(good).iter().all(|gap| close(*gap, 60.0)));
    assert_eq!(rig.state("bad"), State::Unknown);

    rig.world.mood("bad", |mood| mood.identity_fails = None);
    rig.until_state("bad", State::InSync).await;
    let recovered = rig.world.reads("bad").len();
    sleep(secs(250)).await;
    assert!(gaps(&rig.world.reads("bad")[recovered - 1..]).iter().all(|gap| close(*gap, 60.0)));
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_is_tried_again_at_the_steady_pace() {
    for refused in [ErrorClass::Denied, ErrorClass::Invalid] {
        let rig = Rig::converged(&["dev"]).await;
        rig.world.mood("dev", |mood| mood.write_fails = Some(refused));
        rig.git.pin("dev", "1.1");
        rig.until_state("dev", State::Blocked).await;
        let before = rig.world.reads("dev").len();
        sleep(secs(600)).await;
        let reads = &rig.world.reads("dev")[before - 1..];
        assert!(reads.len() == 11 && gaps(reads).iter().all(|gap| close(*gap, 60.0)), "{reads:?}");
        rig.world.mood("dev", |mood| mood.write_fails = None);
        rig.until_state("dev", State::InSync).await;
    }
    let setup = Setup::new(&["dev"]);
    setup.world.mood("dev", |mood| mood.identity_fails = Some(ErrorClass::Denied));
    let rig = setup.start();
    sleep(secs(599)).await;
    assert_eq!(rig.world.requests("dev"), 10);
    assert!(rig.environment("dev").error.unwrap().contains("AssumeRole"));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_waits_for_a_stuck_one_does_not_hurry() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.append("dev", "after = [\"asg/base\"]\n[asg.base]\nami = { name = \"base-{version}\" }\n");
    setup.sources[0].0.commit(|tree| {
        tree.insert("environments/dev/pins.toml".to_owned(), b"web = \"1.1\"\nbase = \"1.1\"\n".to_vec());
    });
    setup.world.mood("dev", |mood| mood.bad.insert("base-1.1".to_owned()));
    let rig = setup.start();
    let base = |status: &Status| Some(status.environments.get("dev")?.targets.get("asg/base")?.state);
    rig.until(|status| base(status) == Some(State::Quarantined)).await;
    assert_eq!(rig.state("dev"), State::Pending);
    let before = rig.world.reads("dev").len();
    sleep(secs(600)).await;
    assert_eq!(rig.world.reads("dev").len(), before + 10);
}

/// An environment with so many groups besides `web`, all with a pin that is to be rolled out.
fn wave(count: usize) -> Setup {
    let setup = Setup::new(&["dev"]);
    let names: Vec<String> = (0..count).map(|number| format!("g{number:02}")).collect();
    let tables: String =
        names.iter().map(|name| format!("[asg.{name}]\nami = {{ name = \"{name}-{{version}}\" }}\n")).collect();
    setup.sources[0].0.append("dev", &tables);
    setup.sources[0].0.commit(|tree| {
        let pins: String = names.iter().map(|name| format!("{name} = \"1.1\"\n")).collect();
        tree.insert("environments/dev/pins.toml".to_owned(), format!("{pins}web = \"1.0\"\n").into_bytes());
    });
    setup
}

#[tokio::test(start_paused = true)]
async fn a_stop_finishes_the_writes_in_flight_and_starts_no_other() {
    let setup = wave(12);
    setup.world.mood("dev", |mood| mood.write_takes = secs(20));
    let mut rig = setup.start();
    sleep(secs(3)).await;
    let took = rig.stop().await;
    assert!(took > secs(16) && took < secs(18), "{took:?}");
    let writes = rig.world.writes("dev");
    assert!(writes.len() == 8 && writes[0].contains("g00"), "{writes:?}");
    assert_eq!(rig.lines(&["dev/asg/g00", "create a version"]), 1, "what was done is told");
}

#[tokio::test(start_paused = true)]
async fn what_is_planned_is_dropped_when_the_pin_moves_on() {
    let setup = wave(24);
    setup.world.mood("dev", |mood| mood.write_takes = secs(4));
    let rig = setup.start();
    sleep(secs(2)).await;
    let revert = |tree: &mut BTreeMap<String, Vec<u8>>| {
        let pins: String = (0..24).map(|number| format!("g{number:02} = \"1.0\"\n")).collect();
        tree.insert("environments/dev/pins.toml".to_owned(), format!("{pins}web = \"1.0\"\n").into_bytes());
    };
    let revision = rig.git.commit(revert).to_string();
    rig.resyncs.moved("https://git.example/0");
    rig.until(|status| status.environments["dev"].revision == revision).await;
    let begun = rig.world.writes("dev").len();
    sleep(secs(300)).await;
    let versions = rig.world.writes("dev").iter().filter(|write| write.starts_with("create")).count();
    assert!(
        versions < 24 && versions <= begun + 8,
        "{versions} versions were made; {begun} before the revert was read"
    );
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_about_others_drops_nothing() {
    let setup = wave(12);
    setup.world.mood("dev", |mood| mood.write_takes = secs(2));
    let rig = setup.start();
    sleep(secs(1)).await;
    // Every commit is another revision for all.
    rig.git.commit(|tree| {
        tree.insert("notes.txt".to_owned(), b"nothing".to_vec());
    });
    rig.resyncs.moved("https://git.example/0");
    sleep(secs(4)).await;
    let made = rig.world.writes("dev").iter().filter(|write| write.starts_with("create")).count();
    assert_eq!(made, 12, "one pass has begun them all");
}

#[tokio::test(start_paused = true)]
async fn one_that_waits_for_the_rate_limit_keeps_nobody_waiting() {
    let setup = wave(40);
    setup.world.mood("dev", |mood| mood.limited = Some("g".to_owned()));
    let rig = setup.start();
    sleep(secs(2)).await;
    assert_eq!(rig.world.writes("dev"), Vec::<String>::new());
    rig.git.commit(|tree| {
        let pins: String = (0..40).map(|number| format!("g{number:02} = \"1.1\"\n")).collect();
        tree.insert("environments/dev/pins.toml".to_owned(), format!("{pins}web = \"1.1\"\n").into_bytes());
    });
    rig.until(|status| status.environments["dev"].targets.get("asg/web").is_some_and(|it| it.desired == "1.1")).await;
    let read = rig.clock.elapsed();
    while rig.world.refreshes("dev") == 0 && rig.clock.elapsed() - read < secs(40) {
        sleep(secs(1)).await;
    }
    let took = rig.clock.elapsed() - read;
    assert!(took < secs(40), "{took:?} until web's refresh, while forty others wait for their first write");
}

/// A connection that hangs keeps back its own target, and no other of its environment.
#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_answered_holds_no_other_target_up() {
    let setup = wave(3);
    setup.world.mood("dev", |mood| mood.slow = Some("g00".to_owned()));
    let rig = setup.start();
    let state = |status: &Status, name: &str| Some(status.environments.get("dev")?.targets.get(name)?.state);
    let synced = |status: &Status, name: &str| state(status, name) == Some(State::InSync);
    rig.until(|status| synced(status, "asg/g01") && synced(status, "asg/g02")).await;
    assert!(rig.clock.elapsed() < secs(200), "a refresh takes 120 s, and this took {:?}", rig.clock.elapsed());
    let of_slow = || rig.world.writes("dev").into_iter().filter(|write| write.contains("g00")).collect::<Vec<_>>();
    assert_eq!(of_slow(), Vec::<String>::new());
    assert_eq!(state(&rig.status(), "asg/g00"), Some(State::RollingOut));
    rig.world.mood("dev", |mood| mood.slow = None);
    rig.until(|status| synced(status, "asg/g00")).await;
    assert_eq!(of_slow().len(), 2, "one version, one refresh: {:?}", of_slow());
    assert_eq!(rig.lines(&["dev/asg/g00", "create a version"]), 1, "what came of it is told");
    assert!(rig.clock.elapsed() < secs(440), "it went on at once: {:?}", rig.clock.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_late_is_refused_all_the_same() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| (mood.write_takes, mood.write_fails) = (secs(40), Some(ErrorClass::Denied)));
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.until_state("dev", State::Blocked).await;
    assert!(rig.web("dev").reason.unwrap().contains("the test wants it so"));
    assert_eq!(rig.lines(&["dev/asg/web", "could not create a version"]), 1, "it is told once");
    rig.world.mood("dev", |mood| (mood.write_takes, mood.write_fails) = (secs(0), None));
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.world.refreshes("dev"), 1);
}

/// Nobody writes beside a write that is in flight still, and what came of it is told.
#[tokio::test(start_paused = true)]
async fn a_stop_finishes_what_earlier_passes_have_left() {
    let mut rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.write_takes = secs(40));
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    sleep(secs(20)).await;
    let took = rig.stop().await;
    assert!(took > secs(5) && took < secs(25), "{took:?}");
    assert_eq!(rig.world.writes("dev").len(), 1);
    assert_eq!(rig.lines(&["dev/asg/web", "create a version"]), 1, "what was done is told");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_probes() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.append("dev", &"[[asg.web.verify]]\nhttp = \"https://app.example\"\n".repeat(3));
    setup.world.probe.lock().unwrap().1 = secs(50);
    let mut rig = setup.start();
    sleep(secs(5)).await;
    assert_eq!(rig.world.probes(), 1);
    assert!(rig.stop().await < secs(1));
    assert_eq!(rig.world.probes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_is_fatal_and_named() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    rig.world.mood("prod", |mood| mood.panics = true);
    let error = rig.task.await.unwrap().unwrap_err();
    assert!(error.contains("environment prod") && error.contains("the test wants a panic"), "{error}");
    assert!(rig.stop.is_cancelled());

    let rig = Rig::converged(&["dev"]).await;
    rig.git.panic();
    let error = rig.task.await.unwrap().unwrap_err();
    assert!(error.contains("https://git.example/0") && error.contains("the test wants a panic"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_order_in_a_file_changes_neither_plan_nor_order_of_writes() {
    let names = ["delta", "alpha", "echo", "bravo", "charlie"];
    let mut stories = Vec::new();
    for seed in 0..5 {
        let mut shuffled = names;
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let tables: String =
            shuffled.iter().map(|name| format!("[asg.{name}]\nami = {{ name = \"{name}-{{version}}\" }}\n")).collect();
        let pins: String = shuffled.iter().map(|name| format!("{name} = \"1.1\"\n")).collect();
        let setup = Setup::new(&["dev"]);
        setup.sources[0].0.append("dev", &tables);
        setup.sources[0].0.commit(|tree| {
            tree.insert("environments/dev/pins.toml".to_owned(), format!("{pins}web = \"1.1\"\n").into_bytes());
        });
        let rig = setup.start();
        rig.until_state("dev", State::InSync).await;
        sleep(secs(60)).await;
        stories.push(rig.world.writes("dev"));
    }
    assert_eq!(stories[0].len(), 12);
    assert!(stories.iter().all(|transitions| *transitions == stories[0]), "{stories:#?}");
}
