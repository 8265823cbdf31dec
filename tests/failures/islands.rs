//! One account's trouble changes nothing for the others: with figures.

use std::time::Duration;

use serde_json::{Value, json};

use super::document::failure_mode;
use crate::support::stage::process::{figure, now};
use crate::support::stage::{Stage, set_pin};
use crate::support::turn;

const ACCOUNTS: usize = 20;
const TOOLS: &str = "111111111111";
const BAD: &str = "000000000001";

fn environment(account: &str) -> String {
    format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n\
         [asg.group-0]\ncomponent = \"frontend\"\nami = {{ name = \"frontend-{{version}}\", owner = \"{TOOLS}\" }}\n\
         [fargate.service-0]\ncomponent = \"backend\"\ncluster = \"app\"\nimage = \
         \"{TOOLS}.dkr.ecr.{{region}}.amazonaws.com/backend:{{version}}\"\n"
    )
}

fn ticks(stage: &Stage) -> u64 {
    stage.fleet().0["engine_seconds"].as_u64().unwrap()
}

/// The ticks of the simulator from a release in all accounts until all of them but one have converged, with faults in that
/// one.
fn convergence(faults: Vec<Value>) -> (u64, Stage) {
    let names: Vec<(String, String)> =
        (1..=ACCOUNTS).map(|number| (format!("{number:012}"), format!("env-{number:02}"))).collect();
    let files = names.iter().flat_map(|(account, name)| {
        [
            (format!("environments/{name}/environment.toml"), environment(account)),
            (format!("environments/{name}/pins.toml"), "backend = \"1.0.0\"\nfrontend = \"1.0.0\"\n".to_owned()),
        ]
    });
    let stage = Stage::of_fleet(ACCOUNTS, 1, 1).environments(files.collect::<Vec<_>>()).speed(8.0).start();
    for fault in faults {
        stage.meddle("/_sim/faults", &fault);
    }
    stage.commit("release: 1.1.0 everywhere", |repo| {
        for (_, name) in &names {
            set_pin(repo, name, "frontend", "1.1.0");
            set_pin(repo, name, "backend", "1.1.0");
        }
    });
    let began = ticks(&stage);
    let image = format!("{TOOLS}.dkr.ecr.us-west-1.amazonaws.com/backend:1.1.0");
    let limit = now() + Duration::from_secs(120);
    loop {
        let fleet = stage.fleet();
        let done = names.iter().filter(|(account, _)| account != BAD).all(|(account, _)| {
            let refreshed = fleet.refreshes(account, "group-0");
            refreshed == ["Successful"] && fleet.service_runs(account, "app/service-0", &image)
        });
        if done {
            return (fleet.0["engine_seconds"].as_u64().unwrap() - began, stage);
        }
        assert!(now() < limit, "the others never converge");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn one_account_in_trouble_delays_none_of_nineteen() {
    let _turn = turn::mine();
    // Who somebody is may be asked by all.
    let denied = ["autoscaling", "ec2", "ecs", "ecr", "ssm"].map(
        |service| json!({ "account": BAD, "service": service, "kind": "error", "code": "AccessDenied", "status": 403 }),
    );
    let faults: [(&str, Vec<Value>); 4] = [
        ("none", Vec::new()),
        ("throttled", vec![json!({ "account": BAD, "kind": "throttle" })]),
        ("hanging", vec![json!({ "account": BAD, "kind": "delay", "millis": 600_000 })]),
        ("denied", denied.to_vec()),
    ];
    // At the same time, so that a busy machine is as busy for each of them.
    let runs: Vec<_> =
        faults.into_iter().map(|(name, faults)| (name, std::thread::spawn(move || convergence(faults)))).collect();
    let runs: Vec<(&str, (u64, Stage))> = runs.into_iter().map(|(name, run)| (name, run.join().unwrap())).collect();
    let undisturbed = runs[0].1.0;
    for (name, (ticks, _)) in &runs {
        let slower = 100.0 * (*ticks as f64 / undisturbed as f64 - 1.0);
        figure(&format!("19 of 20 accounts converge within {ticks} ticks; the other one: {name} ({slower:+.1} %)"));
    }
    for (name, (ticks, mut stage)) in runs.into_iter().skip(1) {
        assert!(ticks * 10 <= undisturbed * 11, "{name}: {ticks} ticks, and {undisturbed} without it");
        match name {
            "denied" => failure_mode("one-of-many").holds(&stage, "env-01/asg/group-0"),
            "hanging" => {
                failure_mode("hanging-account").holds(&stage, "env-01/asg/group-0");
                // Nor is the end held up.
                stage.signal("TERM");
                assert!(stage.controller().end(Duration::from_secs(5)).success());
            }
            _ => {}
        }
    }
}
