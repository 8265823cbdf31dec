//! What is suspended: nothing is written to it, whatever else happens.

use super::git::environment;
use super::*;

const DEFAULTS: &str = "environments/defaults.toml";
const STOP: &str = "[suspend]\nowner = \"Ada\"\nreason = \"an incident\"\nuntil = 2199-01-01T00:00:00Z\n";
const BROKEN_PINS: &[u8] = b"web = 1\n";

fn set(rig: &Git, path: &str, bytes: &[u8]) {
    rig.commit(|tree| {
        tree.insert(path.to_owned(), bytes.to_vec());
    });
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_suspends_counts_though_the_rest_of_it_is_broken() {
    let rig = Rig::converged(&["dev", "prod"]).await;
    rig.git.commit(|tree| {
        tree.insert("environments/dev/pins.toml".to_owned(), BROKEN_PINS.to_vec());
        tree.insert(DEFAULTS.to_owned(), STOP.as_bytes().to_vec());
    });
    rig.until_state("dev", State::Suspended).await;
    rig.until_state("prod", State::Suspended).await;
    assert!(!rig.environment("dev").valid && rig.environment("prod").valid);
    let why = "suspended with all environments by Ada until 2199-01-01T00:00:00Z: an incident \
               ([suspend] in environments/defaults.toml)";
    assert_eq!(rig.web("dev").reason.as_deref(), Some(why));
    assert_eq!(rig.web("prod").reason.as_deref(), Some(why));
    rig.world.meddle("dev");
    rig.world.meddle("prod");
    sleep(secs(3600)).await;
    assert_eq!((rig.world.writes("dev").len(), rig.world.writes("prod").len()), (0, 0));

    // What can't be read any more says what it said before.
    set(&rig.git, DEFAULTS, b"[suspend");
    sleep(secs(3600)).await;
    assert!(["dev", "prod"].iter().all(|name| rig.state(name) == State::Suspended && !rig.environment(name).valid));
    assert_eq!((rig.world.writes("dev").len(), rig.world.writes("prod").len()), (0, 0));

    // It ends the same way.
    rig.git.commit(|tree| {
        tree.remove(DEFAULTS);
    });
    rig.until_state("prod", State::InSync).await;
    rig.until_state("dev", State::InSync).await;
    assert!(!rig.environment("dev").valid, "its pins are still broken");
    assert_eq!(
        (rig.world.refreshes("dev"), rig.world.refreshes("prod")),
        (1, 1),
        "what was changed by hand is corrected"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_starts_finds_the_suspension_of_a_broken_commit_in_history() {
    let setup = Setup::new(&["dev"]);
    let git = &setup.sources[0].0;
    git.pin("dev", "1.1");
    git.commit(|tree| {
        tree.insert("environments/dev/pins.toml".to_owned(), BROKEN_PINS.to_vec());
        let file = tree.get_mut("environments/dev/environment.toml").unwrap();
        file.extend_from_slice(STOP.as_bytes());
    });
    git.append("dev", "nonsense");
    let rig = setup.start();
    rig.until_state("dev", State::Suspended).await;
    sleep(secs(3600)).await;
    assert_eq!((rig.state("dev"), rig.world.writes("dev").len()), (State::Suspended, 0));
    assert_eq!(rig.web("dev").desired, "1.1");
    assert!(rig.web("dev").reason.unwrap().contains("[suspend] in environment.toml"));
}

#[tokio::test(start_paused = true)]
async fn a_rollout_under_way_is_left_to_end_and_nothing_follows_it() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
    rig.git.pin("dev", "1.1");
    rig.until(|_| rig.world.refreshes("dev") == 1).await;
    rig.git.append("dev", STOP);
    rig.until_state("dev", State::Suspended).await;
    let writes = rig.world.writes("dev").len();
    rig.git.pin("dev", "1.2");
    rig.resync(true);
    sleep(secs(7200)).await;
    assert_eq!((rig.state("dev"), rig.world.writes("dev").len()), (State::Suspended, writes));

    rig.git.write("dev", &environment("dev", ""));
    rig.until_state("dev", State::InSync).await;
    assert_eq!((rig.web("dev").desired.as_str(), rig.world.refreshes("dev")), ("1.2", 2));
}

#[tokio::test(start_paused = true)]
async fn a_retry_has_no_effect_on_what_is_suspended() {
    let rig = Rig::converged(&["dev"]).await;
    rig.world.mood("dev", |mood| mood.bad.insert("1.1".to_owned()));
    rig.git.pin("dev", "1.1");
    rig.until_state("dev", State::Quarantined).await;
    rig.git.append("dev", STOP);
    rig.until_state("dev", State::Suspended).await;
    let writes = rig.world.writes("dev").len();
    rig.resync(true);
    sleep(secs(600)).await;
    rig.git.write("dev", &environment("dev", ""));
    rig.until_state("dev", State::Quarantined).await;
    sleep(secs(3600)).await;
    assert_eq!((rig.state("dev"), rig.world.writes("dev").len()), (State::Quarantined, writes));
    rig.resync(true);
    sleep(secs(600)).await;
    assert!(rig.world.writes("dev").len() > writes, "one that comes now has");
}
