//! The change limit on shapes: Terraform registers a new revision for all services of prod at once.

use serde_json::{Value, json};

use crate::support::stage::{Builder, Stage};

const ACCOUNTS: [(&str, &str); 2] = [("222222222222", "dev"), ("444444444444", "prod")];
const TERRAFORM: &str = "arn:aws:iam::444444444444:role/terraform";
const SERVICES: usize = 6;
const HELD: &str = "held by the blast-radius limit: 6 of 6 targets of prod get a new shape at once, more than 50 %; if that is \
                    meant, push a commit with the trailer `";

fn image(account: &str) -> String {
    format!("{account}.dkr.ecr.us-west-1.amazonaws.com/app")
}

fn definition(account: &str, number: usize, cpu: &str, memory: &str) -> Value {
    json!({
        "family": format!("s{number}"), "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": cpu,
        "memory": memory,
        "containerDefinitions": [{ "name": "app", "image": format!("{}:1.0.0", image(account)), "essential": true }],
    })
}

/// dev with one service, and prod with six.
fn world() -> String {
    let mut text = "controller = \"111111111111\"\nregion = \"us-west-1\"\n\n[timing]\nprovision = 1\npull = 1\nsettle = 2\ndrain = 1\n"
        .to_owned();
    for (account, name) in ACCOUNTS {
        text += &format!(
            "[[account]]\nid = \"{account}\"\nname = \"{name}\"\nrole = [{{ name = \"pinion\" }}, {{ name = \"terraform\" }}]\n\
             repository = [{{ name = \"app\", image = [{{ tags = [\"1.0.0\"] }}, {{ tags = [\"1.1.0\"] }}] }}]\n"
        );
        let services = if name == "prod" { SERVICES } else { 1 };
        for number in 0..services {
            text += &format!(
                "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"s{number}\"\n\
                 networkMode = \"awsvpc\"\nrequiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\n\
                 containerDefinitions = [{{ name = \"app\", image = \"{}:1.0.0\", essential = true }}]\n",
                image(account)
            );
        }
        text += "[[account.cluster]]\nname = \"app\"\nservice = [\n";
        for number in 0..services {
            text += &format!("{{ name = \"s{number}\", task_definition = \"s{number}\", desired = 1 }},\n");
        }
        text += "]\n";
    }
    text
}

/// `base`: where prod's shapes come from.
fn environment(account: &str, base: &str) -> String {
    let prod = account != ACCOUNTS[0].0;
    let promotion = if prod { "[promotion]\nfrom = \"dev\"\n" } else { "" };
    let mut text = format!(
        "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n{promotion}\
         [defaults.fargate]\ncluster = \"app\"\nimage = \"{}:{{version}}\"\nbase_revision = \"{base}\"\n",
        image(account)
    );
    for number in 0..(if prod { SERVICES } else { 1 }) {
        text += &format!("[fargate.s{number}]\n");
    }
    text
}

fn pins(count: usize) -> String {
    (0..count).map(|number| format!("s{number} = \"1.0.0\"\n")).collect()
}

fn builder(base: &str) -> Builder {
    let [(dev, _), (prod, _)] = ACCOUNTS;
    let files = [
        ("environments/dev/environment.toml", environment(dev, "newest")),
        ("environments/dev/pins.toml", pins(1)),
        ("environments/prod/environment.toml", environment(prod, base)),
        ("environments/prod/pins.toml", pins(SERVICES)),
    ];
    Stage::of(&world()).environments(files).speed(60.0)
}

fn stage(base: &str) -> Stage {
    let stage = builder(base).start();
    in_sync(&stage);
    stage
}

fn service(number: usize) -> String {
    format!("prod/fargate/s{number}")
}

fn in_sync(stage: &Stage) {
    let all: Vec<String> = (0..SERVICES).map(service).collect();
    stage.wait_for_sync(&all.iter().map(String::as_str).collect::<Vec<_>>());
}

/// A new size of all services.
fn register(stage: &Stage, cpu: &str, memory: &str) {
    for number in 0..SERVICES {
        stage.by_hand(TERRAFORM, "RegisterTaskDefinition", &definition(ACCOUNTS[1].0, number, cpu, memory));
    }
}

/// The size and the image's tag of what each service is on.
fn on(stage: &Stage) -> Vec<(String, String)> {
    let names: Vec<String> = (0..SERVICES).map(|number| format!("s{number}")).collect();
    let services = stage.by_hand(TERRAFORM, "DescribeServices", &json!({ "cluster": "app", "services": names }));
    let mut found = Vec::new();
    for service in services["services"].as_array().unwrap() {
        let answer =
            stage.by_hand(TERRAFORM, "DescribeTaskDefinition", &json!({ "taskDefinition": service["taskDefinition"] }));
        let definition = &answer["taskDefinition"];
        let image = definition["containerDefinitions"][0]["image"].as_str().unwrap();
        found.push((definition["cpu"].as_str().unwrap().to_owned(), image.rsplit(':').next().unwrap().to_owned()));
    }
    found
}

/// The trailer that a text asks for.
fn trailer(held: &str) -> &str {
    held.split('`').find(|part| part.starts_with("Pinion-Acknowledge: shapes-")).unwrap_or_else(|| panic!("{held}"))
}

fn held(stage: &Stage) -> Option<f64> {
    stage.metric("pinion_change_limit_held{environment=\"prod\"}")
}

fn restart(stage: &mut Stage) {
    stage.kill_controller();
    stage.start_controller();
    stage.wait_until_ready();
}

#[test]
fn new_shapes_of_most_of_prod_wait_for_a_word_and_a_hotfix_does_not() {
    let mut stage = stage("newest");
    let work = stage.repo().work().display().to_string();
    let plan = |stage: &Stage, more: &[&str]| {
        let output = stage.run(&[&["plan", "--dir", &work], more].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(held(&stage), Some(0.0));
    register(&stage, "512", "1024");
    stage.signal("HUP");
    stage.wait_for(&service(5), "pending");
    let reason = stage.reason(&service(5));
    assert!(reason.starts_with(HELD), "{reason}");
    stage.wait_until("all wait", |stage| (0..SERVICES).all(|number| stage.reason(&service(number)) == reason));
    assert!(stage.target(&service(0))["shape"].as_str().unwrap().starts_with("s0:1 → s0:2"));
    assert_eq!(held(&stage), Some(1.0));
    let status = String::from_utf8(stage.run(&["status"]).stdout).unwrap();
    assert!(status.contains(&format!("environment prod: {reason}")), "{status}");
    let escaped = trailer(&reason);
    assert!(stage.get("/").unwrap().1.contains(escaped), "the page says what lets it through");
    // The plan comes to the same.
    let planned = plan(&stage, &[]);
    assert!(planned.contains(&format!("\n    {reason}\n")), "{planned}");
    let report: Value = serde_json::from_str(&plan(&stage, &["--output", "json"])).unwrap();
    assert_eq!(report["environments"]["prod"]["held_shapes"], reason.as_str());
    assert_eq!(report["environments"]["dev"]["held_shapes"], Value::Null);
    let comment = plan(&stage, &["--output", "markdown"]);
    assert!(
        comment.contains(&format!("- `prod`: {reason}.")) && comment.contains("held by a change limit"),
        "{comment}"
    );

    // A process that has seen none of it comes to the same; a word for something else lets nothing through.
    restart(&mut stage);
    stage.wait_for(&service(5), "pending");
    assert_eq!(stage.reason(&service(5)), reason);
    stage.commit("other\n\nPinion-Acknowledge: blast-radius\nPinion-Acknowledge: shapes-0123456789ab", |repo| {
        repo.write("README.md", "prod waits\n");
    });
    // A hotfix goes out on the shape that runs, and makes no other set.
    stage.pin("prod", "s0", "1.1.0");
    stage.wait_until("the hotfix is there", |stage| on(stage)[0] == ("256".to_owned(), "1.1.0".to_owned()));
    stage.wait_until("its service waits again", |stage| {
        stage.state(&service(0)) == "pending" && stage.reason(&service(0)) == reason
    });
    let old = ("256".to_owned(), "1.0.0".to_owned());
    assert!(on(&stage)[1..].iter().all(|one| *one == old), "{:?}", on(&stage));

    // The word.
    let from = stage.last();
    stage.commit(&format!("prod may grow\n\n{}", trailer(&reason)), |repo| {
        repo.write("README.md", "prod grows\n");
    });
    in_sync(&stage);
    let expected = |number: usize| ("512".to_owned(), if number == 0 { "1.1.0" } else { "1.0.0" }.to_owned());
    assert_eq!(on(&stage), (0..SERVICES).map(expected).collect::<Vec<_>>());
    stage.wait_until("nothing is held", |stage| held(stage) == Some(0.0));
    assert!(!stage.target(&service(0))["drifted"].as_bool().unwrap());
    let mut written = stage.written(from);
    written.sort();
    let each = |operation: &str| vec![operation.to_owned(); SERVICES];
    assert_eq!(written, [each("RegisterTaskDefinition"), each("UpdateService")].concat());
    // It was for this set: the next one waits again, also for a process that begins now.
    let from = stage.last();
    register(&stage, "1024", "2048");
    restart(&mut stage);
    stage.wait_for(&service(5), "pending");
    let next = stage.reason(&service(5));
    assert!(next.starts_with(HELD) && trailer(&next) != trailer(&reason), "{next}");
    assert_eq!(stage.written(from), each("RegisterTaskDefinition"), "by Terraform, and nothing by Pinion");
}

#[test]
fn switching_to_the_newest_shape_counts_too() {
    let stage = stage("running");
    let work = stage.repo().work().display().to_string();
    register(&stage, "512", "1024");
    let from = stage.last();
    let switched = |repo: &crate::support::git::Repo| {
        repo.write("environments/prod/environment.toml", environment(ACCOUNTS[1].0, "newest"));
    };
    switched(stage.repo());
    let output = stage.run(&["plan", "--dir", &work, "--base", "HEAD", "--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let held = report["environments"]["prod"]["held_shapes"].as_str().unwrap();
    assert!(held.starts_with(HELD), "{held}");

    // Unless the commit itself has the word.
    stage.commit("prod follows Terraform", switched);
    stage.wait_for(&service(5), "pending");
    assert_eq!(stage.reason(&service(5)), held);
    assert_eq!(stage.written(from), Vec::<String>::new());
    stage.commit(&format!("prod really follows Terraform\n\n{}", trailer(held)), |repo| {
        repo.write("README.md", "prod follows\n");
    });
    in_sync(&stage);
    assert!(on(&stage).iter().all(|(cpu, _)| cpu == "512"), "{:?}", on(&stage));
}

/// Pins that change one after the other have their families read at different times. Shapes that were registered together are
/// one set all the same.
#[test]
fn shapes_that_are_registered_together_are_seen_together() {
    let stage = builder("newest").looking_every("1s", "1s\"\nbase_interval = \"10s").start();
    in_sync(&stage);
    let lists = |stage: &Stage| {
        let calls = stage.calls(0);
        calls.iter().filter(|call| call.operation == "ListTaskDefinitions").count()
    };
    for number in 0..SERVICES {
        let before = lists(&stage);
        stage.pin("prod", &format!("s{number}"), "1.1.0");
        stage.wait_until("its family is read", |stage| lists(stage) > before);
        stage.wait_until("it runs", |stage| on(stage)[number].1 == "1.1.0");
    }
    in_sync(&stage);
    // No look falls into the middle of it.
    stage.signal("STOP");
    register(&stage, "512", "1024");
    let from = stage.last();
    stage.signal("CONT");
    stage.wait_until("all wait", |stage| (0..SERVICES).all(|number| stage.state(&service(number)) == "pending"));
    assert_eq!(stage.written(from), Vec::<String>::new());
}
