//! What a fleet at rest costs: the calls of a pass that has nothing to do, and of a poll without news.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::stage::process::now;
use crate::support::stage::{Git, Stage};
use crate::support::turn;

const ACCOUNTS: usize = 10;
const GROUPS: usize = 25;
const SERVICES: usize = 25;
const TOOLS: &str = "111111111111";

/// The environment of one account of `pinion sim --fleet`.
fn environment(account: &str) -> String {
    let mut text = format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n"
    );
    for number in 0..GROUPS {
        text.push_str(&format!(
            "[asg.group-{number}]\ncomponent = \"frontend\"\nami = {{ name = \"frontend-{{version}}\", owner = \
             \"{TOOLS}\" }}\n"
        ));
    }
    for number in 0..SERVICES {
        text.push_str(&format!(
            "[fargate.service-{number}]\ncomponent = \"backend\"\ncluster = \"app\"\nimage = \
             \"{TOOLS}.dkr.ecr.{{region}}.amazonaws.com/backend:{{version}}\"\n"
        ));
    }
    text
}

/// A moment at which no pass is on its way: the number of the last call, and how many passes each environment has had.
fn at_rest(stage: &Stage) -> (u64, BTreeMap<String, u64>) {
    let passes = |stage: &Stage| -> BTreeMap<String, u64> {
        let status = stage.status();
        let environments = status["environments"].as_object().unwrap();
        environments.iter().map(|(name, held)| (name.clone(), held["passes"].as_u64().unwrap())).collect()
    };
    let limit = now() + Duration::from_secs(60);
    loop {
        let (last, before) = (stage.last(), passes(stage));
        std::thread::sleep(Duration::from_millis(1500));
        if stage.last() == last && passes(stage) == before {
            return (last, before);
        }
        assert!(now() < limit, "there is always a pass on its way");
    }
}

#[test]
fn a_pass_over_a_fleet_at_rest_costs_four_calls_an_account() {
    let _turn = turn::mine();
    let names: Vec<(String, String)> =
        (1..=ACCOUNTS).map(|number| (format!("{number:012}"), format!("env-{number}"))).collect();
    let files = names.iter().flat_map(|(account, name)| {
        [
            (format!("environments/{name}/environment.toml"), environment(account)),
            (format!("environments/{name}/pins.toml"), "backend = \"1.0.0\"\nfrontend = \"1.0.0\"\n".to_owned()),
        ]
    });
    let stage = Stage::of_fleet(ACCOUNTS, GROUPS, SERVICES)
        .environments(files.collect::<Vec<_>>())
        .looking_every("8s", "1s")
        .git(Git::http_with_token("ghp_fleet_0123456789"))
        .start();
    stage.wait_until("all targets are in sync", |stage| {
        let status = stage.status();
        let environments = status["environments"].as_object().unwrap().values();
        let targets: Vec<_> = environments.flat_map(|held| held["targets"].as_object().unwrap().values()).collect();
        targets.len() == ACCOUNTS * (GROUPS + SERVICES) && targets.iter().all(|target| target["state"] == "in-sync")
    });
    assert_eq!(stage.written(0), Vec::<String>::new(), "everything is right already");

    let (from, before) = at_rest(&stage);
    let more =
        |stage: &Stage, name: &str| stage.status()["environments"][name]["passes"].as_u64().unwrap() - before[name];
    stage.wait_until("another pass of every environment", |stage| names.iter().all(|(_, name)| more(stage, name) > 0));
    let (to, after) = at_rest(&stage);

    let mut made: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for call in stage.calls(from).into_iter().filter(|call| call.sequence <= to) {
        *made.entry(call.account.unwrap()).or_default().entry(call.operation).or_default() += 1;
    }
    let allowed = names.iter().map(|(account, name)| {
        let passes = after[name] - before[name];
        let services = u64::try_from(SERVICES.div_ceil(10)).unwrap();
        let calls = [("DescribeAutoScalingGroups", passes), ("DescribeServices", passes * services)];
        (account.clone(), calls.map(|(operation, count)| (operation.to_owned(), count)).into_iter().collect())
    });
    // Nothing else: no write, no artifact, no credentials.
    assert_eq!(made, allowed.collect::<BTreeMap<_, _>>());

    // Meanwhile the repository is polled every second: each time one listing of refs, and nothing is fetched.
    let series = format!("pinion_git_polls_total{{repository=\"{}\",result=\"unchanged\"}}", stage.git_url());
    let polls = |stage: &Stage| stage.metric(&series).unwrap();
    let (counted, _) = (polls(&stage), stage.git_server().requests());
    stage.wait_until("five polls", |stage| polls(stage) >= counted + 5.0);
    let requests = stage.git_server().requests();
    let commands: Vec<&str> = requests.iter().filter_map(|request| request.command.as_deref()).collect();
    assert!(commands.iter().all(|command| *command == "ls-refs"), "{requests:?}");
    let listings = commands.len();
    let now = polls(&stage) - counted;
    assert!((5..=7).contains(&listings) && (now - listings as f64).abs() <= 1.0, "{now} polls, {listings} listings");
    let bytes: usize = requests.iter().map(|request| request.bytes).sum();
    assert!(bytes / listings < 2048, "{bytes} bytes for {listings} listings");
}
