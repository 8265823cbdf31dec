//! Pins that move on while something is on its way.

use serde_json::json;

use super::document::failure_mode;
use super::place::{DEV, Place, ami, attempts, image};
use crate::support::stage::{amis, set_pin};

const SLOW: &str = "[asg.web.rollout]\ncheckpoints = [50, 100]\ncheckpoint_delay = \"1h\"\n";

#[test]
fn a_newer_pin_and_a_revert_supersede_what_runs() {
    let stage = Place::new().group("web", "", SLOW).service("api", "", "").start();
    let (from, targets) = (stage.last(), ["dev/asg/web", "dev/fargate/api"]);
    let release = |version: &str| {
        stage.commit(&format!("release: {version}"), |repo| {
            set_pin(repo, "dev", "web", version);
            set_pin(repo, "dev", "api", version);
        });
    };
    // 1.2 would never end, neither here nor there: the instances don't get healthy, and no breaker looks at the tasks.
    release("1.2");
    stage.wait_until("both roll out", |stage| attempts(stage, "web") == 1 && attempts(stage, "api") == 1);
    stage.meddle("/_sim/speed", &json!({ "speed": 4 }));
    release("1.1");
    failure_mode("newer-pin").holds(&stage, "dev/asg/web");
    // A service's next deployment supersedes the one that runs by merely being started.
    stage.meddle("/_sim/speed", &json!({ "speed": 60 }));
    stage.wait_until("both go to 1.1", |stage| attempts(stage, "web") == 2 && attempts(stage, "api") == 2);
    stage.wait_until("the fleet is mixed", |stage| amis(&stage.fleet(), DEV, "web").contains(ami("1.1")));

    release("1.0");
    stage.wait_until("every machine is of 1.0", |stage| {
        attempts(stage, "web") == 3 && stage.fleet().instances(DEV, "web").iter().all(|one| one.ami == ami("1.0"))
    });
    stage.meddle("/_sim/advance", &json!({ "seconds": 3660 }));
    stage.wait_for_sync(&targets);
    failure_mode("revert").holds(&stage, "dev/asg/web");
    let fleet = stage.fleet();
    assert!(fleet.group_runs(DEV, "web", ami("1.0")) && fleet.service_runs(DEV, "app/api", &image("1.0")));
    assert_eq!(fleet.refreshes(DEV, "web"), ["Cancelled", "Cancelled", "Successful"]);
    let started = |operation: &str| stage.written(from).iter().filter(|name| *name == operation).count();
    assert_eq!((started("CancelInstanceRefresh"), started("UpdateService")), (2, 3));
    stage.settles();
}

#[test]
fn an_artifact_that_appears_later_is_rolled_out_then() {
    let stage = Place::new().group("web", "", "").service("api", "", "").start();
    stage.commit("release: 1.3, before the pipeline", |repo| {
        set_pin(repo, "dev", "web", "1.3");
        set_pin(repo, "dev", "api", "1.3");
    });
    failure_mode("no-ami-yet").holds(&stage, "dev/asg/web");
    failure_mode("no-image-yet").holds(&stage, "dev/fargate/api");
    let later = json!({ "id": "ami-0f000000000000130", "name": "app-1.3" });
    stage.meddle("/_sim/images", &json!({ "account": DEV, "image": later }));
    stage.meddle("/_sim/ecr", &json!({ "account": DEV, "repository": "api", "image": { "tags": ["1.3"] } }));
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api"]);
    assert!(stage.fleet().group_runs(DEV, "web", "ami-0f000000000000130"));
    assert_eq!((attempts(&stage, "web"), attempts(&stage, "api")), (1, 1));
}

#[test]
fn one_bad_component_holds_up_no_other() {
    let after = "after = [\"asg/base\"]\n";
    let stage = Place::new()
        .group("base", "", "")
        .group("web", "", after)
        .group("other", "", "")
        .service("api", "", after)
        .service("free", "", "")
        .start();
    stage.commit("release: base 1.2, all others 1.1", |repo| {
        set_pin(repo, "dev", "base", "1.2");
        for component in ["web", "other", "api", "free"] {
            set_pin(repo, "dev", component, "1.1");
        }
    });
    stage.wait_for_sync(&["dev/asg/other", "dev/fargate/free"]);
    failure_mode("two-components").holds(&stage, "dev/asg/web");
    failure_mode("two-components").holds(&stage, "dev/fargate/api");
    stage.wait_for("dev/asg/base", "quarantined");
    assert_eq!((attempts(&stage, "web"), attempts(&stage, "api")), (0, 0), "they come after one that failed");
    stage.pin("dev", "base", "1.0");
    stage.wait_for_sync(&["dev/asg/base", "dev/asg/web", "dev/asg/other", "dev/fargate/api", "dev/fargate/free"]);
}

#[test]
fn a_tag_that_is_moved_deploys_nothing_by_itself() {
    let stage = Place::new().service("api", "", "").start();
    let from = stage.last();
    stage.meddle("/_sim/ecr", &json!({
        "account": DEV, "repository": "api", "image": { "tags": ["1.0"], "digest": format!("sha256:{}", "a".repeat(64)) }
    }));
    // It is looked up again at a resync, every ten minutes, and before anything is said about it.
    stage.signal("USR1");
    failure_mode("tag-moved").holds(&stage, "dev/fargate/api");
    stage.settles();
    assert_eq!(stage.written(from), Vec::<String>::new());
    // To get the new image, a commit says so.
    stage.commit("api: what 1.0 is by now", |repo| {
        let pin = format!("api = {{ version = \"1.0\", digest = \"sha256:{}\" }}\n", "a".repeat(64));
        repo.write("environments/dev/pins.toml", pin);
    });
    stage.wait_for_sync(&["dev/fargate/api"]);
    let tasks = stage.fleet().tasks(DEV, "app/api");
    assert!(
        tasks.iter().all(|task| task.digest.as_deref() == Some(&format!("sha256:{}", "a".repeat(64)))),
        "{tasks:?}"
    );
}
