//! What the pages show, from a controller that says what the test wants.

use std::sync::Arc;
use std::time::Duration;

use pinion::model::event::{EventKind, EventRecord};
use pinion::model::status::{EnvironmentStatus, RolloutStatus, Status, SuspensionStatus, TargetStatus};
use pinion::model::{Kind, Reach, State};
use serde_json::{Value, json};

use super::browser::{Browser, DARK, DESK, Look, PHONE, PLAIN};
use crate::server::sample::{self, Controller, now, target, time};

const COMMITS: [&str; 3] = [
    "7d1f0c2a9b8e4f6d5c3b2a190817263544536271",
    "a3c95e0f1b2d4c6e8f70918273645546372819ab",
    "e08b6d4f2a1c3e5d7f9b8a6c4e2d0f1b3a5c7e9d",
];

/// Something in every state, as it might be on a bad day.
fn bad_day() -> Status {
    let mut status = sample::status();
    let mut dev = EnvironmentStatus {
        account: "111111111111".to_owned(),
        region: "eu-central-1".to_owned(),
        revision: COMMITS[0].to_owned(),
        valid: true,
        passes: 12,
        ..EnvironmentStatus::default()
    };
    let mut staging = EnvironmentStatus { account: "444444444444".to_owned(), ..dev.clone() };
    staging.valid = false;
    staging.errors =
        vec!["environments/staging/pins.toml:3:1\n  unknown component `fronted`; did you mean `frontend`?".to_owned()];
    let mut prod = EnvironmentStatus { account: "222222222222".to_owned(), ..dev.clone() };
    let add =
        |environment: &mut EnvironmentStatus, name: &str, local: (Kind, &str), state: State, reason: Option<&str>| {
            let component = if local.0 == Kind::Asg { "frontend" } else { "backend" };
            let mut made = target(name, local.0, local.1, state);
            made.component = component.to_owned();
            made.reason = reason.map(str::to_owned);
            made.pin.commit = COMMITS[local.1.len() % 3].to_owned();
            made.pin.author = ["Ada Example", "Renovate", "Grace Example"][local.1.len() % 3].to_owned();
            made.pin.subject = format!("{name}: {component} 1.4.2");
            environment.targets.insert(format!("{}/{}", local.0, local.1), made);
        };
    use Kind::{Asg, Fargate};
    add(&mut dev, "dev", (Asg, "web"), State::InSync, None);
    add(&mut dev, "dev", (Fargate, "api"), State::Verifying, Some("probes are sent"));
    add(
        &mut dev,
        "dev",
        (Fargate, "worker"),
        State::Suspended,
        Some("suspended by ops@example.com until 2026-01-04T08:00:00Z: load test"),
    );
    add(
        &mut staging,
        "staging",
        (Asg, "web"),
        State::Blocked,
        Some("no AMI is called frontend-1.4.2 in account 333333333333; build it, or pin a version that exists"),
    );
    add(
        &mut staging,
        "staging",
        (Fargate, "api"),
        State::Unknown,
        Some("can't be read now: ecs:DescribeServices failed: Timeout"),
    );
    add(&mut prod, "prod", (Asg, "web"), State::RollingOut, Some("InProgress, 40 %"));
    add(
        &mut prod,
        "prod",
        (Asg, "admin"),
        State::Overdue,
        Some("still InProgress after the deadline of 45m; it is left running"),
    );
    add(
        &mut prod,
        "prod",
        (Fargate, "api"),
        State::Pending,
        Some("forbidden by holiday-freeze (ops@example.com): nobody is in the office until 4 January"),
    );
    add(
        &mut prod,
        "prod",
        (Fargate, "billing"),
        State::Quarantined,
        Some(
            "the rollout ended as ROLLBACK_SUCCESSFUL: tasks failed to start (app/billing/kQ3v); pin another version, or retry with `pinion resync --retry-quarantined`",
        ),
    );
    add(&mut prod, "prod", (Fargate, "mailer"), State::InSync, None);
    let change = |environment: &mut EnvironmentStatus, local: &str, change: &dyn Fn(&mut TargetStatus)| {
        change(environment.targets.get_mut(local).unwrap());
    };
    change(&mut prod, "asg/web", &|web| {
        web.running = Some("1.4.1".to_owned());
        web.updated = 2;
        web.total = 5;
        web.rollout = Some(RolloutStatus {
            id: "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b".to_owned(),
            status: "InProgress".to_owned(),
            reason: None,
            percentage: Some(40),
            started: Some(time("2026-01-02T11:56:00Z")),
        });
    });
    change(&mut prod, "asg/admin", &|admin| {
        (admin.running, admin.updated, admin.drifted) = (Some("1.4.0".to_owned()), 1, true);
    });
    change(&mut prod, "fargate/api", &|api| {
        (api.running, api.updated) = (Some("2.0.0".to_owned()), 0);
        api.desired = "2.1.0".to_owned();
    });
    change(&mut prod, "fargate/billing", &|billing| {
        (billing.running, billing.updated) = (Some("1.4.1".to_owned()), 0);
        billing.digest = Some(format!("sha256:{}", "9b2c".repeat(16)));
    });
    change(&mut dev, "fargate/worker", &|worker| {
        worker.suspension = Some(SuspensionStatus {
            owner: "ops@example.com".to_owned(),
            reason: "load test".to_owned(),
            until: time("2026-01-04T08:00:00Z"),
            reach: Reach::All,
        });
    });
    change(&mut staging, "fargate/api", &|api| (api.last_known, api.running) = (Some(State::InSync), None));
    status.environments = [("dev".to_owned(), dev), ("prod".to_owned(), prod), ("staging".to_owned(), staging)].into();
    status
}

/// What happened before.
fn story(controller: &Controller) {
    let event = |at: &str, kind: EventKind, target: &str, text: Option<&str>| EventRecord {
        at: time(&format!("2026-01-02T{at}Z")),
        kind,
        key: format!("{kind}|{target}|{at}"),
        environment: target.split('/').next().map(str::to_owned),
        target: Some(target.to_owned()),
        component: Some("frontend".to_owned()),
        version: Some("1.4.2".to_owned()),
        commit: Some(COMMITS[0].to_owned()),
        author: Some("Ada Example".to_owned()),
        subject: Some("prod: frontend 1.4.2".to_owned()),
        committed: Some(time("2026-01-02T09:00:00Z")),
        text: text.map(str::to_owned),
        ..EventRecord::default()
    };
    let web = "prod/asg/web";
    let rolled = |event: EventRecord, result: Option<&str>, seconds: u64| EventRecord {
        rollout: Some("r-1".to_owned()),
        result: result.map(str::to_owned),
        seconds: Some(seconds),
        ..event
    };
    let found = EventRecord {
        key: format!("target-discovered|{web}"),
        commit: Some(COMMITS[1].to_owned()),
        ..event("08:00:00", EventKind::TargetDiscovered, web, None)
    };
    let mut seen = event("09:01:00", EventKind::PinChanged, web, None);
    (seen.previous, seen.key) = (Some("1.4.1".to_owned()), format!("pin-changed|{web}|{}", COMMITS[0]));
    for event in [
        found,
        seen,
        event("09:01:00", EventKind::Denied, web, Some("forbidden by working-hours: releases start at 10:00")),
        rolled(event("10:00:05", EventKind::RolloutStarted, web, None), None, 0),
        rolled(event("10:06:25", EventKind::RolloutEnded, web, None), Some("succeeded"), 380),
        rolled(event("10:06:26", EventKind::InSync, web, None), None, 0),
        event("11:20:00", EventKind::Drifted, web, Some("1.4.1 runs")),
        EventRecord {
            key: "drifted-x".to_owned(),
            ..event("11:30:00", EventKind::Blocked, "staging/asg/web", Some("no AMI is called frontend-1.4.2"))
        },
        event(
            "11:40:00",
            EventKind::Quarantined,
            "prod/fargate/billing",
            Some("the rollout ended as ROLLBACK_SUCCESSFUL"),
        ),
        rolled(
            event("11:40:00", EventKind::RolloutEnded, "prod/fargate/billing", Some("tasks failed to start")),
            Some("failed"),
            125,
        ),
    ] {
        controller.history.note(event);
    }
}

async fn started(status: Status) -> Controller {
    let controller = Controller::start(status, None).await;
    story(&controller);
    controller.history.flush(Duration::from_secs(20)).await;
    controller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_state_is_shown_and_everybody_can_use_it() {
    let controller = started(bad_day()).await;
    let browser = Browser::start();
    for (name, look) in [("overview", DESK), ("overview-dark", DARK), ("overview-phone", PHONE)] {
        browser.open(&controller.url("/"), look);
        browser.picture(name, true);
        browser.is_sound(name);
    }
    browser.open(&controller.url("/"), DESK);
    assert_eq!(browser.text("h1"), "4 of 10 targets need attention");
    for state in State::ALL {
        let shown = browser.eval(&format!(
            "[...document.querySelectorAll('tr[data-state=\"{state}\"] .pill')].map(it => it.innerText)"
        ));
        assert!(shown.as_array().unwrap().contains(&json!(state.as_str())), "{state}: {shown}");
        // The word is there beside the colour, and a sign that isn't read out.
        let sign = browser.eval(&format!("getComputedStyle(document.querySelector('tr[data-state=\"{state}\"] .pill'), '::before').content.length > 2"));
        assert_eq!(sign, json!(true), "{state}");
    }
    let row = browser.text("tr[id='t-prod/asg/web']");
    for said in ["asg/web", "frontend", "InProgress, 40 %", "1.4.1", "1.4.2", "2/5", "prod: frontend 1.4.2"] {
        assert!(row.contains(said), "{said}: {row}");
    }
    assert_eq!(browser.eval("document.querySelector('tr[id=\"t-prod/asg/web\"] progress').value"), json!(40));
    assert!(browser.text("#env-staging").contains("did you mean frontend?"));
    assert_eq!(browser.count(".feed li"), 9, "everything but that the target was found");

    for (name, path, look) in [
        ("target", "/targets/prod/fargate/billing", DESK),
        ("target-rolling", "/targets/prod/asg/web", DESK),
        ("target-suspended", "/targets/dev/fargate/worker", DARK),
        ("target-phone", "/targets/prod/asg/web", PHONE),
        ("history", "/history", DESK),
        ("history-phone", "/history", PHONE),
    ] {
        browser.open(&controller.url(path), look);
        browser.picture(name, true);
        browser.is_sound(name);
    }
    browser.open(&controller.url("/targets/prod/asg/web"), DESK);
    let words = browser.text("main");
    for said in [
        "1.4.2 succeeded after 6 min 20 s",
        "1.4.1 → 1.4.2 by Ada Example: prod: frontend 1.4.2",
        "1.4.2, 1 h 6 min after its commit",
        "08b91cf7-8fa6-48af-b6a6-d227f40f1b9b",
        "222222222222",
    ] {
        assert!(words.contains(said), "{said}: {words}");
    }
    browser.open(&controller.url("/history?environment=prod"), DESK);
    assert!(browser.text("#d-frontend").contains("100 %"), "{}", browser.text("#d-frontend"));
    for (path, status, said) in [
        ("/targets/prod/asg/none", 404, "prod/asg/none is no target"),
        ("/targets/prod/asg/web?before=x", 400, "This can’t be read"),
        ("/history?since=x", 400, "is not a time"),
    ] {
        assert_eq!(controller.get(path).await.status(), status, "{path}");
        browser.open(&controller.url(path), DESK);
        assert!(browser.text("main").contains(said), "{path}: {}", browser.text("main"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_whole_without_a_script() {
    let controller = started(bad_day()).await;
    let browser = Browser::start();
    browser.open(&controller.url("/?state=needs-attention"), PLAIN);
    let shown = || browser.eval("[...document.querySelectorAll('tbody tr')].map(it => it.id.slice(2))");
    let attention = ["prod/asg/admin", "prod/fargate/billing", "staging/asg/web", "staging/fargate/api"];
    assert_eq!(shown(), json!(attention));
    assert_eq!(browser.text("#shown"), "4 of 10 targets · show all");
    // A form does the rest.
    browser.eval("document.querySelector('input[name=q]').value = 'BILLING 1.4.1'");
    browser.eval("document.querySelector('#filter button').click()");
    browser
        .wait_for("the form is answered", "location.search.includes('BILLING') && document.readyState === 'complete'");
    assert_eq!(shown(), json!(["prod/fargate/billing"]));
    browser.eval("document.querySelector('tbody th a').click()");
    browser.wait_for(
        "the target's page",
        "location.pathname.startsWith('/targets/') && document.readyState === 'complete'",
    );
    assert!(browser.text("h1").ends_with("fargate/billing"));
    // What has changed meanwhile is there after a reload, to which a link leads.
    controller.status.send_modify(|status| {
        let targets = &mut Arc::make_mut(status).environments.get_mut("prod").unwrap().targets;
        targets.get_mut("fargate/billing").unwrap().state = State::InSync;
    });
    browser.eval("document.querySelector('#live a').click()");
    browser.wait_for("the new state", "document.querySelector('#head')?.dataset.state === 'in-sync'");
    browser.open(&controller.url("/?q=no+such+thing"), PLAIN);
    assert!(browser.text("#nothing").starts_with("No target is like that."));
    browser.is_quiet("without a script");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_up_and_keeps_what_is_folded() {
    let controller = started(bad_day()).await;
    let browser = Browser::start();
    browser.open(&controller.url("/"), Look { height: 300, ..DESK });
    browser.eval("window.mine = document.querySelector('tr[id=\"t-prod/asg/web\"]'); document.querySelector('#fold-dev summary').click(); true");
    browser.eval(
        "scrollTo(0, 260); document.querySelector('tr[id=\"t-prod/asg/web\"] a').focus({preventScroll: true}); window.top0 = document.querySelector('tr[id=\"t-prod/asg/web\"]').getBoundingClientRect().top; true",
    );
    controller.status.send_modify(|status| {
        let status = Arc::make_mut(status);
        let prod = &mut status.environments.get_mut("prod").unwrap().targets;
        let web = prod.get_mut("asg/web").unwrap();
        (web.state, web.reason, web.running, web.updated) = (State::InSync, None, Some("1.4.2".to_owned()), 5);
        web.rollout = None;
        prod.remove("asg/admin");
        let added = target("prod", Kind::Asg, "zeta", State::Pending);
        prod.insert("asg/zeta".to_owned(), added);
    });
    browser.wait_for("the change", "document.querySelector('tr[id=\"t-prod/asg/web\"]').dataset.state === 'in-sync'");
    assert_eq!(browser.eval("document.getElementById('fold-dev').open"), json!(false));
    let rows = browser.eval("[...document.querySelectorAll('#env-prod tbody tr')].map(it => it.id.slice(2))");
    assert_eq!(
        rows,
        json!(["prod/asg/web", "prod/asg/zeta", "prod/fargate/api", "prod/fargate/billing", "prod/fargate/mailer"])
    );
    assert_eq!(browser.eval("document.getElementById('news').textContent"), json!("prod/asg/web is in-sync"));
    assert_eq!(browser.text("h1"), "3 of 10 targets need attention");
    assert!(browser.text("#live").starts_with("live, "));

    // While one types, the page filters, and what is typed stays.
    browser.eval("document.querySelector('input[name=q]').focus(); true");
    browser.write("zeta");
    browser.wait_for("the filter", "document.querySelectorAll('tbody tr').length === 1");
    assert_eq!(browser.eval("document.activeElement.name + ' ' + document.activeElement.value"), json!("q zeta"));
    assert_eq!(browser.eval("location.search"), json!("?q=zeta"));

    // A controller that goes is said so, and the page stays.
    controller.stop.cancel();
    browser.wait_for("the end is noticed", "document.getElementById('live').classList.contains('stale')");
    assert_eq!(browser.count("tbody tr"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn untrusted_texts_stay_texts() {
    const EVIL: &str = "</code></pre></table><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\"' onmouseover=\"window.hacked=3\" {{7*7}} \u{202e}evil\u{0}\u{7}";
    let mut status = bad_day();
    status.version = EVIL.to_owned();
    status.repositories[0].url = EVIL.to_owned();
    status.repositories[0].error = Some(EVIL.to_owned().into());
    for environment in status.environments.values_mut() {
        environment.error = Some(EVIL.to_owned());
        for target in environment.targets.values_mut() {
            for text in [&mut target.desired, &mut target.component, &mut target.pin.author, &mut target.pin.subject] {
                *text = EVIL.to_owned();
            }
            (target.running, target.reason, target.artifact) =
                (Some(format!("x{EVIL}")), Some(EVIL.to_owned()), Some(EVIL.to_owned()));
            target.digest = Some(EVIL.to_owned());
            if let Some(rollout) = &mut target.rollout {
                (rollout.id, rollout.status, rollout.reason) =
                    (EVIL.to_owned(), EVIL.to_owned(), Some(EVIL.to_owned()));
            }
        }
    }
    let controller = started(status).await;
    controller.history.note(EventRecord {
        at: now(),
        kind: EventKind::Blocked,
        key: EVIL.to_owned(),
        target: Some("prod/asg/web".to_owned()),
        version: Some(EVIL.to_owned()),
        commit: Some(EVIL.to_owned()),
        text: Some(EVIL.to_owned()),
        ..EventRecord::default()
    });
    controller.history.flush(Duration::from_secs(20)).await;
    let browser = Browser::start();
    let evil = url::form_urlencoded::byte_serialize(EVIL.as_bytes()).collect::<String>();
    for path in [
        "/".to_owned(),
        "/history".to_owned(),
        "/targets/prod/asg/web".to_owned(),
        format!("/?q={evil}"),
        format!("/?component={evil}&state={evil}"),
        format!("/history?component={evil}"),
    ] {
        browser.open(&controller.url(&path), DESK);
        // Long enough for the page to have taken over a fresh copy of itself.
        browser.wait_for("the script is at work", "document.getElementById('live').innerText.startsWith('live')");
        let seen = browser.eval("[typeof window.hacked, document.querySelectorAll('main script, main img, [onmouseover]').length, document.body.innerText.includes('49 \\ufffd') ]");
        assert_eq!(seen, json!(["undefined", 0, false]), "{path}");
        assert_eq!(browser.eval("document.body.textContent.includes('\\u202e')"), json!(false), "{path}");
        browser.is_quiet(&path);
    }
    browser.open(&controller.url("/"), PHONE);
    browser.is_sound("hostile texts on a phone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_keyboard_goes_through_it_in_order() {
    let controller = started(sample::status()).await;
    let browser = Browser::start();
    browser.open(&controller.url("/"), DESK);
    let mut order: Vec<String> = Vec::new();
    for _ in 0..24 {
        browser.key("Tab");
        let at = browser.eval("(it => it === document.body ? 'end' : (it.name || it.innerText || it.getAttribute('aria-label') || it.tagName).split('\\n')[0].trim())(document.activeElement)");
        order.push(at.as_str().unwrap().to_owned());
        let seen = browser.eval("(it => it === document.body || getComputedStyle(it).outlineStyle !== 'none' || it.className === 'skip')(document.activeElement)");
        assert_eq!(seen, json!(true), "the focus is seen at {at}");
    }
    let expected = [
        "Skip to content",
        "Pinion",
        "Targets",
        "History",
        "1 of 3 targets needs attention",
        "in-sync 1",
        "rolling-out 1",
        "unknown 1",
        "drifted 1",
        "q",
        "state",
        "component",
        "environment",
        "Show",
        "dev 1 unknown",
        "asg/web",
        "prod 1 in-sync · 1 rolling-out",
        "asg/web",
        "fargate/api",
    ];
    let plain: Vec<String> = order.iter().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for (at, wanted) in expected.iter().enumerate() {
        assert!(
            plain[at].starts_with(wanted) || wanted.starts_with(plain[at].as_str()),
            "{at}: {} and not {wanted}: {plain:?}",
            plain[at]
        );
    }
    // The first stop leads past everything.
    browser.open(&controller.url("/"), DESK);
    browser.key("Tab");
    browser.key("Enter");
    browser.wait_for("the skip link", "document.activeElement.id === 'main'");
    // It changes the address, and still the page keeps up.
    let late = |status: &mut Arc<Status>| {
        let dev = Arc::make_mut(status).environments.get_mut("dev").unwrap();
        dev.targets.get_mut("asg/web").unwrap().state = State::Suspended;
    };
    controller.status.send_modify(late);
    browser.wait_for("news", "document.querySelector('#env-dev tbody tr').dataset.state === 'suspended'");
    assert_eq!(browser.eval("location.hash"), json!("#main"));
    assert_eq!(browser.eval("document.activeElement.id"), json!("main"), "the focus stays where the link led");
    // Folding needs no mouse.
    browser.eval("document.querySelector('#fold-dev summary').focus(); true");
    browser.key("Enter");
    browser.wait_for("the environment is folded", "!document.getElementById('fold-dev').open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_targets_are_no_burden() {
    let mut status = Status { version: "0.1.0".to_owned(), ready: true, ..Status::default() };
    status.repositories = sample::status().repositories;
    for number in 0..50 {
        let name = format!("account-{number:02}");
        let mut environment = EnvironmentStatus {
            account: format!("{:012}", 100_000_000_000_u64 + number),
            region: "eu-central-1".to_owned(),
            valid: true,
            passes: 3,
            ..EnvironmentStatus::default()
        };
        for index in 0..20 {
            let kind = if index % 2 == 0 { Kind::Asg } else { Kind::Fargate };
            let state = match (number, index) {
                (7, 3) => State::Quarantined,
                (11, 0..4) => State::RollingOut,
                (30, 19) => State::Blocked,
                _ => State::InSync,
            };
            let mut made = target(&name, kind, &format!("service-{index:02}"), state);
            made.component = format!("component-{:02}", index % 8);
            made.pin.author = "Ada Example".to_owned();
            made.pin.subject = format!("{name}: component-{:02} 1.4.2", index % 8);
            if state != State::InSync {
                made.reason = Some("as it is told".to_owned());
                made.running = Some("1.4.1".to_owned());
            }
            environment.targets.insert(format!("{kind}/service-{index:02}"), made);
        }
        status.environments.insert(name, environment);
    }
    let controller = started(status).await;
    let client = sample::client();
    let page = || async { client.get(controller.url("/")).send().await.unwrap() };
    page().await.text().await.unwrap();
    let begun = crate::support::stage::process::now();
    let first = page().await;
    let mark = first.headers()["etag"].clone();
    let html = first.text().await.unwrap();
    let rendered = begun.elapsed();
    let begun = crate::support::stage::process::now();
    let same = client.get(controller.url("/")).header("if-none-match", mark).send().await.unwrap();
    println!(
        "the page of 1,000 targets: {} KiB in {} ms; unchanged: {} bytes in {} ms",
        html.len() / 1024,
        rendered.as_millis(),
        same.content_length().unwrap_or(0),
        begun.elapsed().as_millis()
    );
    assert_eq!(same.status(), 304);
    assert!(html.len() < 1_500_000, "{} bytes", html.len());
    let browser = Browser::start();
    browser.open(&controller.url("/"), DESK);
    browser.picture("thousand", false);
    // The eye finds what is wrong among all that is well: each share of the strip can be seen.
    let least = browser.eval("Math.min(...[...document.querySelectorAll('.summary .gauge rect')].map(it => it.getBoundingClientRect().width))");
    assert!(least.as_f64().unwrap() >= 6.0, "{least}");
    assert_eq!(browser.count("tbody tr"), 1000);
    assert_eq!(browser.text("h1"), "2 of 1,000 targets need attention");
    let open = browser.eval("[...document.querySelectorAll('details[open]')].map(it => it.id)");
    assert_eq!(
        open,
        json!(["fold-account-07", "fold-account-30", "fold-account-11"]),
        "what is well is folded, and what isn't comes first"
    );
    let begun = crate::support::stage::process::now();
    controller.status.send_modify(|status| {
        let status = Arc::make_mut(status);
        let target = status.environments.get_mut("account-07").unwrap().targets.get_mut("fargate/service-03").unwrap();
        target.state = State::InSync;
    });
    browser.wait_for(
        "the change",
        "document.querySelector('tr[id=\"t-account-07/fargate/service-03\"]').dataset.state === 'in-sync'",
    );
    println!(
        "a change of one of 1,000 targets is shown after {} ms, of which 2000 ms at most is the wait between two looks",
        begun.elapsed().as_millis()
    );
    browser.open(&controller.url("/?component=component-03&q=account-1"), DESK);
    assert_eq!(browser.count("tbody tr"), 30, "3 targets in each of 10 environments");
    browser.is_sound("a thousand targets, filtered");
    let _: Value = browser.eval("null");
}
