//! What comes from Git, good and bad.

use std::collections::BTreeSet;

use super::git::environment;
use super::*;
use crate::model::EnvironmentName;

#[tokio::test(start_paused = true)]
async fn a_new_commit_is_acted_on_at_once_and_read_once() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    sleep(secs(70)).await;
    let (reads, files) = (rig.world.reads("dev").len(), rig.git.files_read());
    let (polls, commit) = (rig.git.polls(), rig.git.pin("dev", "1.1"));
    while rig.git.polls() == polls {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(20)).await;
    assert_eq!(rig.world.reads("dev").len(), reads + 1);
    assert_eq!(rig.state("dev"), State::RollingOut);
    assert_eq!(rig.environment("dev").revision, commit.to_string());
    sleep(secs(300)).await;
    assert_eq!(rig.git.files_read(), files + 1, "polls without news read nothing");
    assert_eq!(rig.world.writes("prod").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_broken_environment_keeps_its_last_good_state_while_others_go_on() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    rig.git.write("dev", &environment("dev", "surprise = 1\n"));
    rig.git.pin("dev", "1.1");
    rig.git.pin("prod", "1.1");
    rig.until_state("prod", State::RollingOut).await;
    let dev = rig.environment("dev");
    assert!(!dev.valid && dev.errors.iter().any(|error| error.contains("surprise")), "{dev:?}");
    rig.until_state("prod", State::InSync).await;
    assert_eq!(rig.world.writes("dev").len(), 0);
    assert_eq!(rig.web("dev").desired, "1.0");
    assert_eq!(rig.metric("pinion_environment_valid", &["dev"]), 0.0);
    let passes = rig.environment("dev").passes;
    // Its last good state is kept up, too.
    rig.world.meddle("dev");
    sleep(secs(400)).await;
    assert!(rig.environment("dev").passes > passes);
    assert_eq!((rig.state("dev"), rig.world.refreshes("dev")), (State::InSync, 1));

    rig.git.write("dev", &environment("dev", ""));
    rig.until_state("dev", State::RollingOut).await;
    let dev = rig.environment("dev");
    assert!(dev.valid && dev.errors.is_empty());
    assert_eq!(rig.web("dev").desired, "1.1");
    assert_eq!(rig.lines(&["environment is broken"]), 1);
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_was_never_good_is_shown_and_goes_when_it_is_removed() {
    let setup = Setup::new(&["dev"]);
    setup.sources[0].0.write("new", "nonsense");
    let rig = setup.start();
    rig.until(|status| status.ready).await;
    assert!(!rig.environment("new").valid);
    rig.git.remove("new");
    sleep(secs(40)).await;
    assert_eq!(rig.status().environments.keys().collect::<Vec<_>>(), ["dev"]);
}

#[tokio::test(start_paused = true)]
async fn emptied_environments_change_nothing_and_are_reported_until_they_are_back() {
    let rig = Rig::converged(&["dev"]).await;
    let good = rig.git.commit(|_| {});
    sleep(secs(31)).await;
    rig.git.commit(BTreeMap::clear);
    sleep(secs(31)).await;
    rig.world.meddle("dev");
    for _ in 0..5 {
        sleep(secs(100)).await;
        let error = rig.status().repositories[0].error.clone();
        assert!(error.is_some_and(|error| error.to_string().contains("no environment")), "it stays reported");
        assert!(!rig.environment("dev").valid);
    }
    assert_eq!((rig.state("dev"), rig.world.refreshes("dev")), (State::InSync, 1), "what was good is kept up");
    assert_eq!(rig.lines(&["ERROR"]), 1, "{}", rig.logged());
    rig.git.force_to(&good);
    sleep(secs(31)).await;
    assert!(rig.environment("dev").valid);
    assert_eq!(rig.status().repositories[0].error, None);

    let rig = Setup::new(&[]).start();
    rig.git.commit(|tree| {
        tree.insert("README.md".to_owned(), b"nothing".to_vec());
    });
    sleep(secs(200)).await;
    let error = rig.status().repositories[0].error.clone().unwrap().to_string();
    assert!(error.contains("no environment"), "{error}");
    assert!(!rig.status().ready);
}

/// A commit reaches no further than its folder: whatever is done below `environments/dev/`, prod's next commit is rolled out.
#[tokio::test(start_paused = true)]
async fn what_is_done_to_dev_holds_up_nobody_in_prod() {
    const POLICY: &str = "@id(\"x\") @reason(\"y\") forbid (principal, action, resource == Target::\"dev/asg/web\");";
    type Change = (&'static str, fn(&Rig));
    let changes: [Change; 7] = [
        ("it is promoted from prod, which is promoted from it", |rig| {
            rig.git.append("dev", "[promotion]\nfrom = \"prod\"")
        }),
        ("it is removed", |rig| rig.git.remove("dev")),
        ("its target, which a policy names, is renamed", |rig| {
            rig.git.commit(|tree| {
                let file = tree.get_mut("environments/dev/environment.toml").unwrap();
                *file = String::from_utf8(file.clone())
                    .unwrap()
                    .replace("[asg.web]", "[asg.www]\ngroup = \"web\"\ncomponent = \"web\"")
                    .into_bytes();
            });
        }),
        ("its pins are broken", |rig| drop(rig.git.pin("dev", "1.1\"\n<<<<<<< HEAD\n\""))),
        ("its files are broken", |rig| rig.git.write("dev", "[account")),
        ("its folder can't be taken", |rig| rig.git.refuse("environments/dev", "it is a submodule")),
        ("other tools' files are in it", |rig| {
            rig.git.commit(|tree| {
                let others = (0..3000).map(|index| (format!("environments/dev/modules/{index}.tf"), Vec::new()));
                tree.extend(others);
            });
        }),
    ];
    for (what, change) in changes {
        let setup = Setup::new(&["dev", "prod"]);
        setup.sources[0].0.append("prod", "[promotion]\nfrom = \"dev\"");
        setup.sources[0].0.commit(|tree| {
            tree.insert("policies/x.cedar".to_owned(), POLICY.into());
        });
        let rig = setup.start();
        rig.until_state("prod", State::InSync).await;
        change(&rig);
        sleep(secs(100)).await;
        rig.git.pin("prod", "1.1");
        rig.until_state("prod", State::RollingOut).await;
        rig.until_state("prod", State::InSync).await;
        assert_eq!(rig.web("prod").desired, "1.1", "{what}");
    }
}

/// Only what concerns the whole repository stops it, and then what was good last stays, also for a process that starts then.
#[tokio::test(start_paused = true)]
async fn a_repository_that_cannot_be_taken_as_a_whole_keeps_its_last_good_state_after_a_restart_too() {
    let setup = Setup::new(&["dev", "prod"]);
    let git = Arc::clone(&setup.sources[0].0);
    let good = git.commit(|_| {});
    git.refuse("environments", "there are more than 10000 environments in it");
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    rig.until_state("prod", State::InSync).await;
    let error = rig.status().repositories[0].error.clone().unwrap().to_string();
    assert!(error.contains("more than 10000 environments"), "{error}");
    assert!(!rig.environment("prod").valid);
    rig.git.force_to(&good);
    rig.git.pin("prod", "1.1");
    rig.until_state("prod", State::RollingOut).await;
    assert!(rig.environment("prod").valid);
}

/// What the server shows and can't be read has been polled in vain.
#[tokio::test(start_paused = true)]
async fn a_poll_whose_commit_cannot_be_read_has_failed() {
    let rig = Rig::converged(&["dev"]).await;
    let url = rig.status().repositories[0].url.clone();
    let failed = || rig.metric("pinion_git_polls_total", &[&url, "failed"]);
    assert_eq!(failed(), 0.0);
    rig.git.set_unreadable(Some("an object is missing"));
    rig.git.pin("dev", "1.1");
    sleep(secs(100)).await;
    assert!(failed() >= 1.0);
    rig.git.set_unreadable(None);
    rig.until_state("dev", State::RollingOut).await;
    let before = failed();
    sleep(secs(100)).await;
    assert_eq!(failed(), before);
}

#[tokio::test(start_paused = true)]
async fn a_removed_environment_is_dropped_and_nothing_is_written() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    rig.git.remove("dev");
    sleep(secs(31)).await;
    assert_eq!(rig.lines(&["environment is gone from the repository"]), 1);
    let reads = rig.world.reads("dev").len();
    sleep(secs(600)).await;
    assert_eq!((rig.world.reads("dev").len(), rig.world.writes("dev").len()), (reads, 0));
    assert_eq!(rig.status().environments.keys().collect::<Vec<_>>(), ["prod"]);
}

#[tokio::test(start_paused = true)]
async fn an_environment_that_pinion_toml_names_and_nobody_has_is_broken_not_gone() {
    let mut setup = Setup::new(&["dev", "prod"]);
    let only = |name: &str| Coverage::Only(BTreeSet::from([EnvironmentName::try_from(name).unwrap()]));
    setup.sources[0].1.insert("main".to_owned(), only("dev"));
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    rig.git.remove("dev");
    sleep(secs(100)).await;
    let dev = rig.environment("dev");
    assert!(!dev.valid && dev.errors[0].contains("doesn't exist on branch main"), "{dev:?}");
    assert_eq!(dev.targets.len(), 1);
    assert_eq!(rig.status().environments.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_sources_with_one_environment_the_first_counts_and_the_other_takes_over_when_it_is_gone() {
    let mut setup = Setup::new(&["dev"]);
    let other = setup.source("live");
    other.slow(secs(5));
    other.add_on("live", "dev");
    other.add_on("live", "prod");
    let rig = setup.start();
    rig.until(|status| status.ready).await;
    assert_eq!(rig.lines(&["two repositories or branches feed this environment"]), 1);
    let repin = |version: &str| {
        other.commit_on("live", |tree| {
            tree.insert("environments/dev/pins.toml".to_owned(), format!("web = \"{version}\"\n").into_bytes());
        });
    };
    repin("2.0");
    sleep(secs(100)).await;
    assert_eq!(rig.web("dev").desired, "1.0");
    // What is wrong over there is no fault of the one that counts.
    other.commit_on("live", |tree| {
        tree.insert("environments/dev/environment.toml".to_owned(), b"nonsense".to_vec());
    });
    sleep(secs(100)).await;
    assert!(rig.environment("dev").valid);
    assert_eq!(rig.lines(&["two repositories or branches feed this environment"]), 1, "said once");

    rig.git.remove("dev");
    rig.git.add("else");
    rig.until_state("dev", State::RollingOut).await;
    assert_eq!(rig.web("dev").desired, "2.0", "the last good state of the other branch");
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.status().environments.keys().collect::<Vec<_>>(), ["dev", "else", "prod"]);
}

#[tokio::test(start_paused = true)]
async fn a_branch_that_vanishes_stops_nothing() {
    let rig = Rig::converged(&["dev"]).await;
    let was = rig.git.delete("main");
    sleep(secs(300)).await;
    let repository = rig.status().repositories[0].clone();
    assert!(repository.error.unwrap().to_string().contains("main doesn't exist"));
    assert_eq!(rig.lines(&["ERROR", "main doesn't exist"]), 1);
    rig.world.meddle("dev");
    sleep(secs(300)).await;
    assert_eq!((rig.state("dev"), rig.world.refreshes("dev")), (State::InSync, 1));
    rig.git.restore("main", was);
    sleep(secs(31)).await;
    assert_eq!(rig.status().repositories[0].error, None);
    assert_eq!(rig.lines(&["can be read again"]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_force_push_is_followed_and_logged() {
    let rig = Rig::converged(&["dev"]).await;
    let old = rig.git.commit(|_| {});
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::RollingOut).await;
    rig.git.force_to(&old);
    rig.until(|status| status.environments["dev"].revision == old.to_string()).await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!((rig.web("dev").desired.as_str(), rig.web("dev").running.as_deref()), ("1.0", Some("1.0")));
    assert_eq!(rig.lines(&["force-pushed"]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repository_that_is_down_backs_off_no_further_than_its_interval() {
    let rig = Rig::converged(&["dev"]).await;
    rig.git.set_down(Some("connection refused"));
    sleep(secs(31)).await;
    let polls = rig.git.polls();
    sleep(secs(3000)).await;
    let tries = rig.git.polls() - polls;
    assert!((100..=215).contains(&tries), "{tries}");
    assert_eq!(rig.lines(&["connection refused"]), 1);
    rig.git.pin("dev", "1.1");
    rig.git.set_down(None);
    sleep(secs(31)).await;
    assert_eq!(rig.state("dev"), State::RollingOut);
}

#[tokio::test(start_paused = true)]
async fn whoever_starts_while_an_environment_is_broken_takes_its_last_good_state_from_history() {
    let setup = Setup::new(&["dev", "prod"]);
    let git = &setup.sources[0].0;
    git.pin("prod", "1.1");
    git.append("prod", "nonsense = 1\n");
    git.pin("dev", "1.1");
    let rig = setup.start();
    rig.until_state("prod", State::InSync).await;
    let prod = rig.environment("prod");
    assert!(!prod.valid && !prod.errors.is_empty(), "{prod:?}");
    assert_eq!(rig.web("prod").desired, "1.1");
    assert_ne!(prod.revision, rig.environment("dev").revision, "it is of an earlier commit");
    rig.until_state("dev", State::InSync).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_starts_with_an_emptied_repository_takes_what_was_there_before() {
    let setup = Setup::new(&["dev", "prod"]);
    setup.sources[0].0.commit(|tree| tree.clear());
    let rig = setup.start();
    rig.until_state("dev", State::InSync).await;
    rig.until_state("prod", State::InSync).await;
    assert!(["dev", "prod"].iter().all(|name| !rig.environment(name).valid));
}

#[tokio::test(start_paused = true)]
async fn a_hint_brings_a_poll_at_once_and_many_bring_one_more() {
    let rig = Rig::converged(&["dev"]).await;
    sleep(secs(5)).await;
    let (polls, commit) = (rig.git.polls(), rig.git.pin("dev", "1.1"));
    rig.resyncs.moved("https://git.example/0");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.git.polls(), polls + 1);
    assert_eq!(rig.environment("dev").revision, commit.to_string());
    assert_eq!(rig.state("dev"), State::RollingOut);
    for _ in 0..100 {
        rig.resyncs.moved("https://git.example/0");
        rig.resyncs.moved("https://git.example/elsewhere");
    }
    sleep(Duration::from_millis(900)).await;
    assert_eq!(rig.git.polls(), polls + 1, "a second apart");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(rig.git.polls(), polls + 2);
    sleep(secs(20)).await;
    assert_eq!(rig.git.polls(), polls + 2, "and then as always");
}

#[tokio::test(start_paused = true)]
async fn who_claims_what_another_environment_has_is_blocked_and_the_other_goes_on() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    // Of another name and folder, but the same account and group.
    rig.git.commit(|tree| {
        let text = super::git::environment("dev", "");
        tree.insert("environments/aaa/environment.toml".to_owned(), text.into_bytes());
    });
    rig.git.pin("aaa", "2.0");
    rig.until_state("aaa", State::Blocked).await;
    let status = rig.status();
    assert!(status.environments["dev"].valid && status.environments["aaa"].valid);
    let reason = rig.web("aaa").reason.unwrap();
    assert!(reason.contains("held by dev/asg/web, which claimed it first"), "{reason}");
    rig.git.pin("dev", "1.1");
    rig.until(|status| status.environments["dev"].targets["asg/web"].desired == "1.1").await;
    rig.until_state("dev", State::InSync).await;
    assert_eq!(rig.world.refreshes("dev"), 1, "only the holder has rolled out");
    assert_eq!(rig.state("aaa"), State::Blocked);
}

#[tokio::test(start_paused = true)]
async fn the_first_source_counts_however_late_its_first_answer_comes() {
    let mut setup = Setup::new(&["dev"]);
    setup.sources[0].0.slow(secs(20));
    let other = setup.source("live");
    other.add_on("live", "dev");
    other.add_on("live", "prod");
    other.commit_on("live", |tree| {
        tree.insert("environments/dev/pins.toml".to_owned(), b"web = \"2.0\"\n".to_vec());
    });
    let rig = setup.start();
    rig.until(|status| status.ready).await;
    assert_eq!((rig.web("dev").desired.as_str(), rig.world.writes("dev").len()), ("1.0", 0));
    assert_eq!(rig.state("prod"), State::InSync, "the other one's own environment waits only for the first answer");
}

/// Two repositories claim the group of prod, which Pinion has never rolled out, and the first one can't be reached at the
/// start. It decides.
#[tokio::test(start_paused = true)]
async fn what_nobody_has_rolled_out_waits_for_an_earlier_source_that_is_down_and_nothing_else_does() {
    for kept in [true, false] {
        let mut setup = Setup::new(&["prod"]);
        let first = Arc::clone(&setup.sources[0].0);
        if kept {
            first.keep();
        }
        first.set_down(Some("connection refused"));
        let other = setup.source("live");
        other.add_on("live", "stage");
        other.commit_on("live", |tree| {
            let copy = environment("prod", "").into_bytes();
            tree.insert("environments/copy/environment.toml".to_owned(), copy);
            tree.insert("environments/copy/pins.toml".to_owned(), b"web = \"1.1\"\n".to_vec());
        });
        let rig = setup.start();
        rig.until_state("copy", State::Pending).await;
        rig.until_state("stage", State::InSync).await;
        let reason = rig.web("copy").reason.unwrap();
        let expected = match kept {
            true => "held by prod/asg/web as branch main of https://git.example/0 was last fetched",
            false => "and branch main of https://git.example/0, which comes before in pinion.toml, may claim it",
        };
        assert!(reason.contains(expected), "{reason}");
        other.commit_on("live", |tree| {
            tree.insert("environments/stage/pins.toml".to_owned(), b"web = \"1.1\"\n".to_vec());
        });
        sleep(secs(600)).await;
        // What the first repository was last seen not to claim goes on. Without any trace of it that isn't known.
        let stage = if kept { State::InSync } else { State::Pending };
        assert_eq!((rig.state("copy"), rig.state("stage")), (State::Pending, stage));
        assert_eq!((rig.world.writes("copy").len(), rig.world.refreshes("stage")), (0, usize::from(kept)));

        first.set_down(None);
        rig.until_state("prod", State::InSync).await;
        rig.until_state("copy", State::Blocked).await;
        rig.until(|status| status.environments["stage"].targets["asg/web"].running.as_deref() == Some("1.1")).await;
        assert_eq!((rig.world.writes("prod").len(), rig.world.refreshes("stage")), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_earlier_repository_without_any_environment_holds_up_nobody() {
    let mut setup = Setup::new(&[]);
    setup.sources[0].0.commit(|tree| drop(tree.insert("README.md".to_owned(), b"nothing".to_vec())));
    let other = setup.source("live");
    other.add_on("live", "stage");
    other.commit_on("live", |tree| {
        tree.insert("environments/stage/pins.toml".to_owned(), b"web = \"1.1\"\n".to_vec());
    });
    let rig = setup.start();
    rig.until_state("stage", State::RollingOut).await;
    rig.until_state("stage", State::InSync).await;
}
