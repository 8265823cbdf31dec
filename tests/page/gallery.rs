//! The pages of a controller that has something in every state to show: the built program against the simulator, a Git
//! server and an application that doesn't answer as it should. `make screenshots` takes the documentation's pictures here.

use pinion::model::State;
use serde_json::{Value, json};

use super::browser::{Browser, DARK, DESK, Look, PHONE, PRINT};
use crate::support::stage::http::Application;
use crate::support::stage::{Git, Stage, set_pin};

const TOOLS: &str = "111111111111";
const DEV: &str = "222222222222";
const STAGING: &str = "333333333333";
const PROD: &str = "444444444444";
const GROUPS: [&str; 2] = ["admin", "web"];
const SERVICES: [&str; 5] = ["api", "billing", "mailer", "search", "worker"];

/// Three accounts, alike, and one for what they run. Of each artifact there are 1.4.1, 1.4.2 and 1.5.0; services of 1.5.0
/// exit.
fn world() -> String {
    let mut text = format!(
        "controller = \"{TOOLS}\"\nregion = \"eu-central-1\"\n\n[[account]]\nid = \"{TOOLS}\"\nname = \"tools\"\n"
    );
    text += "repository = [\n";
    for name in SERVICES {
        text += &format!(
            "  {{ name = \"{name}\", allowed = [\"{DEV}\", \"{STAGING}\", \"{PROD}\"], image = [{{ tags = [\"1.4.1\"] }}, \
             {{ tags = [\"1.4.2\"] }}, {{ tags = [\"1.5.0\"], behaviour = \"exits\" }}] }},\n"
        );
    }
    text += "]\n";
    for (at, name) in GROUPS.iter().enumerate() {
        for version in ["1.4.1", "1.4.2"] {
            text += &format!(
                "[[account.image]]\nid = \"ami-0{at}e5f0a9c4b7{}\"\nname = \"{name}-{version}\"\npublic = true\n",
                version.replace('.', "0")
            );
        }
    }
    for (id, name) in [(DEV, "dev"), (STAGING, "staging"), (PROD, "prod")] {
        text += &format!("\n[[account]]\nid = \"{id}\"\nname = \"{name}\"\nrole = [{{ name = \"pinion\" }}]\n");
        for (at, name) in GROUPS.iter().enumerate() {
            text += &format!(
                "[[account.launch_template]]\nname = \"{name}\"\nversion = [{{ data = {{ ImageId = \
                 \"ami-0{at}e5f0a9c4b710401\" }} }}]\n[[account.group]]\nname = \"{name}\"\nlaunch_template = \
                 \"{name}\"\nversion = \"1\"\ndesired = 5\nmax = 10\nwarmup = 10\n"
            );
        }
        for name in SERVICES {
            text += &format!(
                "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"{name}\"\nnetworkMode = \
                 \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\n\
                 containerDefinitions = [{{ name = \"{name}\", image = \
                 \"{TOOLS}.dkr.ecr.eu-central-1.amazonaws.com/{name}:1.4.1\", essential = true }}]\n"
            );
        }
        text += "[[account.cluster]]\nname = \"app\"\n";
        for name in SERVICES {
            text += &format!(
                "[[account.cluster.service]]\nname = \"{name}\"\ntask_definition = \"{name}\"\ndesired = 3\n\
                 configuration = {{ deploymentCircuitBreaker = {{ enable = true, rollback = true }} }}\n"
            );
        }
    }
    text
}

/// An environment's two files: all on 1.4.1.
fn files(name: &str, account: &str, groups: &[&str], services: &[&str], more: &str) -> [(String, String); 2] {
    let mut text = format!(
        "[account]\nid = \"{account}\"\nregion = \"eu-central-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n"
    );
    for group in groups {
        text += &format!("\n[asg.{group}]\nami = {{ name = \"{group}-{{version}}\", owner = \"{TOOLS}\" }}\n");
    }
    for service in services {
        text += &format!(
            "\n[fargate.{service}]\ncluster = \"app\"\nimage = \
             \"{TOOLS}.dkr.ecr.eu-central-1.amazonaws.com/{service}:{{version}}\"\n"
        );
    }
    text += more;
    let pins = groups.iter().chain(services).map(|component| format!("{component} = \"1.4.1\"\n")).collect();
    [(format!("environments/{name}/environment.toml"), text), (format!("environments/{name}/pins.toml"), pins)]
}

const FREEZE: &str = r#"@id("release-freeze")
@owner("ops@example.com")
@reason("the billing run is on; what can't wait says so in a Break-glass: trailer")
forbid (principal, action == Action::"rollout", resource == Target::"prod/fargate/api")
unless { context.commit.hasTag("Break-glass") };
"#;

/// Changes pins, and commits and pushes that as somebody.
fn release(stage: &Stage, who: &str, subject: &str, environment: &str, pins: &[(&str, &str)]) {
    let repo = stage.repo();
    for (component, version) in pins {
        set_pin(repo, environment, component, version);
    }
    repo.commits_are_of_now();
    repo.git(&["commit", "--quiet", "--all", &format!("--author={who}"), "--message", subject]);
    repo.push();
}

/// A day on which everything happens at once.
fn bad_day(application: &Application) -> Stage {
    let probed = format!(
        "\n[[fargate.api.verify]]\nhttp = \"{}\"\nstatus = 200\ntimeout = \"1s\"\nwithin = \"30m\"\n\n\
         [fargate.worker.suspend]\nowner = \"ops@example.com\"\nreason = \"load test until the weekend\"\n\
         until = 2099-01-04T08:00:00Z\n",
        application.url("/health")
    );
    let slow = "\n[promotion]\nfrom = \"dev\"\n\n[asg.admin.rollout]\ndeadline = \"4s\"\ncheckpoints = [20, 100]\n\
                checkpoint_delay = \"1h\"\n\n[asg.web.rollout]\ncheckpoints = [40, 100]\ncheckpoint_delay = \"1h\"\n";
    let mut all = vec![("policies/guardrails/freeze.cedar".to_owned(), FREEZE.to_owned())];
    all.extend(files("dev", DEV, &["web"], &["api", "worker"], &probed));
    all.extend(files("staging", STAGING, &["web"], &["api"], ""));
    all.extend(files("prod", PROD, &GROUPS, &SERVICES[..4], slow));
    let stage = Stage::of(&world()).environments(all).git(Git::http_with_token("read-only")).start();
    stage.wait_for_sync(&["dev/asg/web", "dev/fargate/api", "staging/asg/web", "prod/asg/web", "prod/fargate/search"]);
    let (ada, grace) = ("Ada Example <ada@example.com>", "Grace Example <grace@example.com>");
    let renovate = "Renovate <renovate@example.com>";
    application.answer(503);
    release(&stage, ada, "dev: web and api 1.4.2", "dev", &[("web", "1.4.2"), ("api", "1.4.2"), ("worker", "1.4.2")]);
    stage.wait_for_sync(&["dev/asg/web"]);
    release(&stage, grace, "staging: web 1.4.2", "staging", &[("web", "1.4.2")]);
    release(&stage, ada, "prod: web and admin 1.4.2", "prod", &[("web", "1.4.2"), ("admin", "1.4.2")]);
    release(&stage, renovate, "prod: bump billing to 1.5.0", "prod", &[("billing", "1.5.0")]);
    release(&stage, renovate, "prod: bump search to 1.6.0", "prod", &[("search", "1.6.0")]);
    release(&stage, grace, "prod: api 1.4.2, so that the new front page has its figures", "prod", &[("api", "1.4.2")]);
    release(&stage, renovate, "prod: bump mailer to 1.4.2", "prod", &[("mailer", "1.4.2")]);
    stage.wait_for_sync(&["staging/asg/web", "prod/fargate/mailer"]);
    let away = json!({ "account": STAGING, "kind": "error", "code": "ServiceUnavailable", "status": 503,
        "message": "Service is unable to handle request." });
    stage.meddle("/_sim/faults", &away);
    for (target, state) in [
        ("dev/asg/web", "in-sync"),
        ("dev/fargate/api", "verifying"),
        ("dev/fargate/worker", "suspended"),
        ("prod/asg/admin", "overdue"),
        ("prod/asg/web", "rolling-out"),
        ("prod/fargate/api", "pending"),
        ("prod/fargate/billing", "quarantined"),
        ("prod/fargate/mailer", "in-sync"),
        ("prod/fargate/search", "blocked"),
        ("staging/asg/web", "unknown"),
    ] {
        stage.wait_for(target, state);
    }
    stage.wait_until("the checkpoint is reached", |stage| stage.target("prod/asg/web")["rollout"]["percentage"] == 40);
    stage
}

#[test]
fn every_state_of_a_real_controller_is_shown() {
    let application = Application::answering(200);
    let stage = bad_day(&application);
    let browser = Browser::start();
    browser.open(&stage.url("/"), DESK);
    assert_eq!(browser.text("h1"), "5 of 11 targets need attention");
    for state in State::ALL {
        let selector = format!("tr[data-state='{state}'] .pill.is-{state}");
        assert!(browser.count(&selector) >= 1, "{state} is shown");
    }
    let row = |reference: &str| browser.text(&format!("tr[id='t-{reference}']"));
    for (reference, said) in [
        ("dev/fargate/api", "503"),
        ("dev/fargate/worker", "load test until the weekend"),
        ("prod/asg/admin", "it is left running"),
        ("prod/asg/web", "40 %"),
        ("prod/fargate/api", "release-freeze"),
        ("prod/fargate/billing", "pinion resync --retry-quarantined"),
        ("prod/fargate/search", "1.6.0"),
        ("staging/asg/web", "was in-sync"),
    ] {
        assert!(row(reference).contains(said), "{reference} says {said}: {}", row(reference));
    }
    assert_eq!(
        browser.eval("document.querySelector('tr[id=\"t-prod/asg/web\"] progress').value"),
        json!(40),
        "how far the rollout is"
    );
    // Times stand as they are for people, and exactly for those who ask.
    let exact = browser.eval("[...document.querySelectorAll('#main time')].every(it => /^[0-9]+ (s|min|h|d)$/.test(it.textContent) && it.title.endsWith(' UTC'))");
    assert_eq!(exact, Value::Bool(true));
    for (name, path, look) in [
        ("real", "/", DESK),
        ("real-dark", "/", DARK),
        ("real-phone", "/", PHONE),
        ("real-target", "/targets/prod/asg/web", DESK),
        ("real-history", "/history", DESK),
    ] {
        browser.open(&stage.url(path), look);
        browser.picture(name, true);
        browser.is_sound(name);
    }
    browser.open(&stage.url("/"), Look { height: 1060, ..DESK });
    browser.illustration("status-page", 1);
    browser.open(&stage.url("/targets/prod/fargate/billing"), Look { dark: true, ..PHONE });
    browser.illustration("status-page-phone", 2);
    // On paper there is nothing to be clicked, and nothing is folded away.
    browser.open(&stage.url("/"), PRINT);
    browser.picture("real-print", true);
    let box_of = |selector: &str| {
        browser.eval(&format!("document.querySelector(\"{selector}\").getBoundingClientRect().height"))
    };
    assert_eq!(box_of("#filter"), json!(0));
    browser.eval("document.querySelector('#fold-prod summary').click(); true");
    assert!(box_of("tr[id='t-prod/asg/web']").as_f64().unwrap() > 10.0, "what is folded on the screen is printed");
}
