//! What stays as it is while the page keeps itself up to date: focus, place, filter, folds, and what is being typed.

use std::sync::Arc;

use pinion::model::status::{EnvironmentStatus, Status};
use pinion::model::{Kind, State};
use serde_json::json;

use super::browser::{Browser, DESK, Look};
use crate::server::sample::{self, Controller, target};

/// So many targets that what needs attention comes first: five environments with thirty each, and all is well.
fn fleet() -> Status {
    let mut status = Status { ready: true, ..sample::status() };
    status.environments.clear();
    for name in ["alpha", "beta", "gamma", "delta", "omega"] {
        let mut environment = EnvironmentStatus { valid: true, passes: 3, ..EnvironmentStatus::default() };
        for index in 0..30 {
            let made = target(name, Kind::Asg, &format!("service-{index:02}"), State::InSync);
            environment.targets.insert(format!("asg/service-{index:02}"), made);
        }
        status.environments.insert(name.to_owned(), environment);
    }
    status
}

fn change(controller: &Controller, environment: &str, change: impl FnOnce(&mut EnvironmentStatus)) {
    controller.status.send_modify(|status| {
        change(Arc::make_mut(status).environments.get_mut(environment).unwrap());
    });
}

fn turn(controller: &Controller, environment: &str, name: &str, state: State) {
    change(controller, environment, |it| it.targets.get_mut(name).unwrap().state = state);
}

fn add(controller: &Controller, environment: &str, name: &str, state: State) {
    change(controller, environment, |it| {
        it.targets.insert(format!("asg/{name}"), target(environment, Kind::Asg, name, state));
    });
}

/// How far below the window's top a row is.
const TOP: &str = "Math.round(window.row.getBoundingClientRect().top)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_with_the_focus_stays_where_it_is() {
    let controller = Controller::start(fleet(), None).await;
    let browser = Browser::start();
    // With what browsers bring along for moving what has the focus, and without.
    for moves in ["true", "(delete Element.prototype.moveBefore)"] {
        controller.status.send_replace(Arc::new(fleet()));
        browser.open(&controller.url("/"), Look { height: 500, ..DESK });
        browser.eval(moves);
        browser.eval(
            "for (const name of ['beta', 'delta']) document.querySelector(`#fold-${name} summary`).click(); true",
        );
        // By the keyboard, from the row before.
        browser.eval("document.querySelector('tr[id=\"t-delta/asg/service-14\"] a').focus(); true");
        browser.key("Tab");
        browser.eval("window.row = document.querySelector('tr[id=\"t-delta/asg/service-15\"]'); window.link = row.querySelector('a'); true");
        assert_eq!(browser.eval("document.activeElement === window.link"), json!(true), "{moves}");
        browser.eval("scrollTo(0, scrollY + row.getBoundingClientRect().top - 200); true");
        assert_eq!(browser.eval(TOP), json!(200));
        let scrolled = browser.eval("scrollY").as_f64().unwrap();
        assert!(scrolled > 300.0, "there is something above: {scrolled}");
        let held = |when: &str| {
            // Windows are scrolled by whole pixels, and rows aren't so high.
            let seen = browser.eval(&format!(
                "[document.activeElement === window.link, window.link.matches(':focus-visible'), Math.abs({TOP} - 200) <= 2]"
            ));
            assert_eq!(seen, json!([true, true, true]), "{when}; {moves}; {}", browser.eval(TOP));
        };

        // Rows come above it, in its own table and in another one.
        add(&controller, "beta", "added", State::InSync);
        add(&controller, "delta", "added", State::InSync);
        browser.wait_for("the new rows", "!!document.querySelector('tr[id=\"t-delta/asg/added\"]')");
        held("rows were inserted above");
        // Its environment moves to the top, as another one of its rows needs attention.
        turn(&controller, "delta", "asg/service-20", State::Quarantined);
        browser.wait_for("the order", "document.querySelector('.environment').id === 'env-delta'");
        held("its environment has moved");
        // It moves itself.
        turn(&controller, "delta", "asg/service-15", State::Blocked);
        browser.wait_for("the order", "document.querySelector('#env-delta tbody tr') === window.row");
        held("it has moved to the top");
        turn(&controller, "delta", "asg/service-15", State::InSync);
        browser.wait_for("the order", "document.querySelector('#env-delta tbody tr') !== window.row");
        held("it has moved back");
        assert_eq!(
            browser.eval("document.getElementById('news').textContent"),
            json!("delta/asg/service-15 is in-sync")
        );

        // When it goes, the focus is nearby, and not at the page's beginning.
        change(&controller, "delta", |it| drop(it.targets.remove("asg/service-15")));
        browser.wait_for("the end of the row", "!window.row.isConnected");
        assert_eq!(browser.eval("document.activeElement.parentElement.id"), json!("fold-delta"), "{moves}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_view_stays_in_view() {
    let controller = Controller::start(fleet(), None).await;
    let browser = Browser::start();
    browser.open(&controller.url("/"), Look { height: 500, ..DESK });
    browser.eval("document.querySelector('#fold-delta summary').click(); window.row = document.querySelector('tr[id=\"t-delta/asg/service-15\"]'); true");
    browser.eval("scrollTo(0, scrollY + row.getBoundingClientRect().top - 200); true");
    // An environment above it unfolds, as one of its targets is worth a look; a row in view goes elsewhere meanwhile.
    turn(&controller, "beta", "asg/service-03", State::RollingOut);
    turn(&controller, "delta", "asg/service-17", State::RollingOut);
    browser.wait_for("what is worth a look", "document.getElementById('fold-beta').open");
    let top = browser.eval(TOP).as_f64().unwrap();
    assert!((top - 200.0).abs() <= 2.0, "what one reads doesn't move: {top}");
    // A reader at the top sees what is new there.
    browser.eval("scrollTo(0, 0); true");
    change(&controller, "alpha", |it| it.error = Some("ec2:DescribeImages failed: Timeout".to_owned()));
    browser.wait_for("the news", "!!document.querySelector('#env-alpha .problem')");
    assert_eq!(browser.eval("scrollY"), json!(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_folds_and_what_is_typed_survive() {
    let controller = Controller::start(fleet(), None).await;
    let browser = Browser::start();
    browser.open(&controller.url("/?environment=delta"), DESK);
    assert_eq!(browser.count("tbody tr"), 30);
    // Each letter comes at another point of an update.
    browser.eval("window.field = document.querySelector('input[name=q]'); field.focus(); true");
    for (at, letter) in ["s", "e", "r", "vice-1"].into_iter().enumerate() {
        add(&controller, "delta", &format!("service-1{at}-added"), State::InSync);
        browser.write(letter);
        // As when somebody comes back to the page: it asks at once, still with what was typed before.
        browser.eval("document.dispatchEvent(new Event('visibilitychange')); true");
    }
    browser.wait_for(
        "the filter",
        "location.search === '?q=service-1&environment=delta' && document.querySelectorAll('tbody tr').length === 14",
    );
    let typed = "[document.activeElement === field, field.value, field.selectionStart]";
    assert_eq!(browser.eval(typed), json!([true, "service-1", 9]));
    add(&controller, "delta", "service-1x", State::InSync);
    browser.wait_for("an update", "document.querySelectorAll('tbody tr').length === 15");
    assert_eq!(browser.eval(typed), json!([true, "service-1", 9]));
    assert_eq!(browser.eval("document.querySelector('select[name=environment]').value"), json!("delta"));
    assert_eq!(browser.text("#shown"), "15 of 155 targets · show all");

    // Without the filter, folds are as before it; those that somebody made stay.
    browser.open(&controller.url("/"), DESK);
    browser.eval("document.querySelector('#fold-beta summary').click(); true");
    turn(&controller, "gamma", "asg/service-01", State::Blocked);
    browser.wait_for("what needs attention unfolds", "document.getElementById('fold-gamma').open");
    browser.eval("document.querySelector('#fold-gamma summary').click(); true");
    turn(&controller, "gamma", "asg/service-02", State::Blocked);
    browser.wait_for("an update", "document.querySelectorAll('tr[data-state=blocked]').length === 2");
    let open = "[...document.querySelectorAll('details[open]')].map(it => it.id.slice(5))";
    assert_eq!(browser.eval(open), json!(["beta"]), "unfolded by hand, and folded by hand");
    browser.eval("document.querySelector('input[name=q]').focus(); true");
    browser.write("service-0");
    browser.wait_for("the filter", "document.querySelectorAll('tbody tr').length === 50");
    assert_eq!(browser.eval(open), json!(["alpha", "beta", "delta", "omega"]));
    browser.eval("document.querySelector('input[name=q]').value = ''; document.querySelector('input[name=q]').dispatchEvent(new Event('input', {bubbles: true})); true");
    browser.wait_for("all again", "document.querySelectorAll('tbody tr').length === 155");
    assert_eq!(browser.eval(open), json!(["beta"]));
    browser.is_quiet("updates");
}
