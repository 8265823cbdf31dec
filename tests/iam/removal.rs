//! Whole policies converge everything; every part that is taken away is missed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::cases::{Case, Cut, Document, Kind, Part, cut, document, lacking, whole};
use super::world::{PLANNER_KEY, VERSIONS, access, component, files, pin, world};
use crate::support::stage::http::Application;
use crate::support::stage::view::Call;
use crate::support::stage::{REGION, Stage};

/// All accounts, and their policies.
fn cases(probe: &str) -> (Vec<Case>, Value) {
    let folder = TempDir::new().unwrap();
    let mut cases = whole();
    let sample = access(folder.path(), &files(&cases, probe));
    cases.extend(lacking(&cases, &sample));
    let folder = TempDir::new().unwrap();
    let access = access(folder.path(), &files(&cases, probe));
    (cases, access)
}

fn set_pins(stage: &Stage, cases: &[Case], is: impl Fn(Kind) -> bool, version: &str) {
    for case in cases.iter().filter(|case| is(case.kind)) {
        let pins = format!("{} = \"{}\"\n", component(case.kind), pin(case.kind, version));
        stage.repo().write(&format!("environments/{}/pins.toml", case.name), pins);
    }
}

fn states(stage: &Stage) -> BTreeMap<String, String> {
    let status = stage.status();
    let mut states = BTreeMap::new();
    for (name, environment) in status["environments"].as_object().into_iter().flatten() {
        for (local, target) in environment["targets"].as_object().into_iter().flatten() {
            let said = |key: &str| target[key].as_str().unwrap_or_default().to_owned();
            states.insert(format!("{name}/{local}"), format!("{}: {}", said("state"), said("reason")));
        }
    }
    states
}

/// The statuses of a group's refreshes.
fn refreshes(fleet: &Value, case: &Case) -> Vec<String> {
    let group = &fleet["accounts"][&case.account]["regions"][REGION]["groups"][format!("web-{}", case.name)];
    let all = group["refreshes"].as_array().unwrap();
    all.iter().map(|refresh| refresh["status"].as_str().unwrap().to_owned()).collect()
}

/// The accounts in which a call was refused, each with the actions that no policy allows.
fn refusals(calls: &[Call]) -> BTreeMap<String, BTreeSet<String>> {
    let mut refused: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in calls {
        let Some(denied) = &call.denied else { continue };
        // A role is assumed from another account than its own.
        let account = match call.params["RoleArn"].as_str() {
            Some(role) => role.split(':').nth(4).unwrap().to_owned(),
            None => call.account.clone().unwrap(),
        };
        refused.entry(account).or_default().insert(denied.clone());
    }
    refused
}

/// Whether what an account lacks was missed, and by what that shows.
fn missed(case: &Case, access: &Value, refused: &BTreeMap<String, BTreeSet<String>>, held: &Value) -> Option<String> {
    let gone = match &case.cut {
        Cut::Nothing => return None,
        Cut::FromController | Cut::FromPlanner => vec!["sts:AssumeRole".to_owned()],
        Cut::Part { document: which, sid, part } => {
            cut(&mut document(access, case, *which).unwrap().clone(), sid, part)
        }
    };
    // Tasks aren't refused anything by an answer: they stop with a reason.
    if matches!(&case.cut, Cut::Part { sid, .. } if sid == "TasksPull") {
        let text = held["accounts"][&case.account].to_string();
        let why = gone.iter().find(|action| text.contains(&format!("is not authorized to perform: {action}")));
        return why.map(|action| format!("tasks can't {action}"));
    }
    let refused = refused.get(&case.account)?;
    gone.iter().find(|action| refused.contains(*action)).map(|action| format!("{action} refused"))
}

#[test]
fn everything_converges_and_every_part_is_missed() {
    let application = Application::answering(200);
    let (cases, access) = cases(&application.url("/health"));
    let by = |is: fn(&Cut) -> bool| -> Vec<&Case> { cases.iter().filter(|case| is(&case.cut)).collect() };
    let whole = by(|cut| *cut == Cut::Nothing);
    let group = whole.iter().find(|case| case.kind == Kind::Group).unwrap();
    let others: Vec<String> = whole.iter().filter(|case| case.kind != Kind::Group).map(|case| case.target()).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let stage = Stage::of(&world(&cases, &access))
        .environments(files(&cases, &application.url("/health")))
        .looking_every("2s", "1s")
        .start();
    stage.wait_for_sync(&others);
    stage.wait_for_sync(&[group.target().as_str()]);
    assert_eq!(stage.written(0), Vec::<String>::new(), "all is right at first");

    // A version whose probe fails while it bakes: the way back.
    application.answer(500);
    set_pins(&stage, &cases, |_| true, VERSIONS[1]);
    stage.commit("everything: 1.1.0", |_| {});
    stage.wait_for(&group.target(), "quarantined");
    stage.wait_for_sync(&others);
    assert_eq!(refreshes(&stage.fleet().0, group), ["RollbackSuccessful"]);

    // One that takes long, and another that comes while it is on its way.
    application.answer(200);
    set_pins(&stage, &cases, |kind| kind == Kind::Group, VERSIONS[2]);
    stage.commit("groups: 1.2.0", |_| {});
    let cancels = Part::Action("autoscaling:CancelInstanceRefresh".to_owned());
    let moving: Vec<&Case> = cases
        .iter()
        .filter(|case| matches!(&case.cut, Cut::Part { part, .. } if *part == cancels))
        .chain([*group])
        .collect();
    assert_eq!(moving.len(), 2, "one that may cancel, and one that may not");
    stage.wait_until("1.2.0 is on its way", |stage| {
        let fleet = stage.fleet().0;
        moving.iter().all(|case| refreshes(&fleet, case).last().is_some_and(|status| status == "InProgress"))
    });
    set_pins(&stage, &cases, |kind| kind == Kind::Group, VERSIONS[3]);
    stage.commit("groups: 1.3.0", |_| {});
    stage.wait_until("1.3.0 bakes", |stage| {
        refreshes(&stage.fleet().0, group).last().is_some_and(|status| status == "Baking")
    });
    stage.meddle("/_sim/advance", &json!({ "seconds": 1200 }));
    stage.wait_for_sync(&[group.target().as_str()]);
    let expected = ["RollbackSuccessful", "Cancelled", "Successful"];
    assert_eq!(refreshes(&stage.fleet().0, group), expected);

    // And the read-only role, with a pin that isn't rolled out yet.
    set_pins(&stage, &cases, |kind| kind != Kind::Group, VERSIONS[2]);
    set_pins(&stage, &cases, |kind| kind == Kind::Group, VERSIONS[0]);
    let folder = stage.repo().work().display().to_string();
    let output = stage.run_as(PLANNER_KEY, &["plan", "--dir", &folder, "--role", "pinion-plan", "--output", "json"]);
    let plan: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    for case in &whole {
        let target = &plan["environments"][&case.name]["targets"][0];
        assert_eq!(target["change"], true, "{}: {target}", case.target());
    }

    let count = |cases: &[Case]| -> (Vec<String>, Vec<String>) {
        let (calls, held) = (stage.calls(0), stage.state_of_all());
        let refused = refusals(&calls);
        let whole: Vec<_> = whole.iter().filter_map(|case| Some((&case.name, refused.get(&case.account)?))).collect();
        assert!(whole.is_empty(), "with whole policies something was refused: {whole:?}");
        let (mut seen, mut unseen) = (Vec::new(), Vec::new());
        let states = states(&stage);
        for case in cases.iter().filter(|case| case.cut != Cut::Nothing) {
            let planned = &plan["environments"][&case.name]["targets"][0];
            let state = match &case.cut {
                Cut::FromPlanner | Cut::Part { document: Document::PlanTrust | Document::PlanPermissions, .. } => {
                    format!("plan: {}: {}", planned["state"].as_str().unwrap(), planned["reason"])
                }
                _ => states.get(&case.target()).cloned().unwrap_or_default(),
            };
            let missing = case.missing();
            match missed(case, &access, &refused, &held) {
                Some(how) => seen.push(format!("{missing}: {how}; {state}")),
                None => unseen.push(format!("{} {missing}: {state}", case.name)),
            }
        }
        (seen, unseen)
    };
    stage.wait_until("every part was missed", |_| count(&cases).1.is_empty());
    let (seen, unseen) = count(&cases);
    for line in &seen {
        println!("{}", line.chars().take(180).collect::<String>());
    }
    let statements: BTreeSet<String> = cases
        .iter()
        .filter_map(|case| match &case.cut {
            Cut::Part { document, sid, .. } => Some(format!("{document:?} {sid}")),
            Cut::FromController => Some("Controller".to_owned()),
            Cut::FromPlanner => Some("Planner".to_owned()),
            Cut::Nothing => None,
        })
        .collect();
    println!(
        "{} parts (actions, resources, principals) of {} statements were taken away, one at a time; {} were missed, {} \
         were not. {} accounts with whole policies converged without a refusal.",
        seen.len() + unseen.len(),
        statements.len(),
        seen.len(),
        unseen.len(),
        whole.len()
    );
    assert!(unseen.is_empty(), "{unseen:#?}");
}
