//! Six services written out in full become six short tables, and then go by another word: nothing is rolled out, no pin and no
//! claim changes, and `validate`, `plan`, `iam` and `bump` see what they saw before.

use std::process::Output;

use crate::support::stage::Stage;

const DEV: &str = "222222222222";
const NAMES: [&str; 6] = ["api", "billing", "cart", "mail", "search", "worker"];
const REGISTRY: &str = "222222222222.dkr.ecr.us-west-1.amazonaws.com";

const ACCOUNT: &str = r#"[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"
"#;

/// Six services, each with a repository of its own; `worker` is in a cluster of its own.
fn world() -> String {
    let (mut repositories, mut definitions, mut services) = (String::new(), String::new(), String::new());
    for name in NAMES {
        repositories +=
            &format!("    {{ name = \"{name}\", image = [{{ tags = [\"1.0.0\"] }}, {{ tags = [\"1.1.0\"] }}] }},\n");
        definitions += &format!(
            "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"{name}\"\nnetworkMode = \"awsvpc\"\n\
             requiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\ncontainerDefinitions = [\
             {{ name = \"{name}\", image = \"{REGISTRY}/{name}:1.0.0\", essential = true }},\
             {{ name = \"proxy\", image = \"public.ecr.aws/envoy:1\", essential = true }}]\n"
        );
        if name != "worker" {
            services += &format!("    {{ name = \"dev-{name}\", task_definition = \"{name}\", desired = 1 }},\n");
        }
    }
    format!(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[timing]\nprovision = 2\npull = 2\nsettle = 3\ndrain = 3\n\
         [[account]]\nid = \"{DEV}\"\nname = \"dev\"\nrole = [{{ name = \"pinion\" }}]\nrepository = [\n{repositories}]\n{definitions}\
         [[account.cluster]]\nname = \"app\"\nservice = [\n{services}]\n\
         [[account.cluster]]\nname = \"batch\"\nservice = [{{ name = \"dev-worker\", task_definition = \"worker\", desired = 1 }}]\n"
    )
}

/// Each service with all that it is.
fn written_out() -> String {
    let table = |name: &&str| {
        let cluster = if *name == "worker" { "batch" } else { "app" };
        format!(
            "[fargate.{name}]\ncluster = \"{cluster}\"\nservice = \"dev-{name}\"\ncontainer = \"{name}\"\n\
             image = \"{REGISTRY}/{name}:{{version}}\"\nrollout = {{ deadline = \"20m\" }}\n"
        )
    };
    ACCOUNT.to_owned() + &NAMES.iter().map(table).collect::<String>()
}

/// The same in six short tables.
fn short(word: &str) -> (String, String) {
    let all = format!(
        "[defaults.{word}]\nimage = \"{{account}}.dkr.ecr.{{region}}.amazonaws.com/{{component}}:{{version}}\"\n\
         service = \"{{environment}}-{{target}}\"\ncontainer = \"{{target}}\"\n"
    );
    let tables: String = NAMES.iter().map(|name| format!("[{word}.{name}]\n")).collect();
    let own = format!(
        "{ACCOUNT}[defaults.{word}]\ncluster = \"app\"\nrollout = {{ deadline = \"20m\" }}\n{tables}cluster = \"batch\"\n"
    );
    (all, own)
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn six_services_are_six_short_tables() {
    let pins: String = NAMES.iter().map(|name| format!("{name} = \"1.0.0\"\n")).collect();
    let stage = Stage::of(&world())
        .environments([("environments/dev/environment.toml", written_out()), ("environments/dev/pins.toml", pins)])
        .speed(60.0)
        .start();
    let all: Vec<String> = NAMES.iter().map(|name| format!("dev/fargate/{name}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    stage.wait_for_sync(&all);
    let work = stage.repo().work().display().to_string();
    let iam = |stage: &Stage| {
        let controller = "arn:aws:iam::111111111111:role/pinion-controller";
        said(&stage.run(&["iam", "--dir", &work, "--controller", controller]))
    };
    let (policies, pinned_by) = (iam(&stage), stage.target("dev/fargate/api")["pin"].clone());
    assert!(policies.contains("service/app/dev-api") && policies.contains("service/batch/dev-worker"), "{policies}");

    for word in ["fargate", "ecs"] {
        let (shared, own) = short(word);
        stage.repo().write("environments/defaults.toml", shared);
        stage.repo().write("environments/dev/environment.toml", own);
        let plan = stage.run(&["plan", "--dir", &work, "--base", "HEAD", "--detailed-exitcode"]);
        assert_eq!(plan.status.code(), Some(0), "{}", String::from_utf8_lossy(&plan.stdout));
        assert!(said(&plan).contains("nothing in this change touches it"), "{}", said(&plan));
        let validated = stage.run(&["validate", &work]);
        assert_eq!(said(&validated), "1 environment, 6 targets, 6 pins: no findings\n");
        let explained = String::from_utf8(validated.stderr).unwrap();
        assert_eq!(explained.contains("[ecs.NAME] is another word for [fargate.NAME]"), word == "ecs", "{explained}");
        assert_eq!(iam(&stage), policies);

        let commit = stage.commit(&format!("short tables: {word}"), |_| {});
        stage.wait_until("it is followed", |stage| {
            stage.status()["environments"]["dev"]["revision"].as_str().is_some_and(|seen| seen == commit)
        });
        stage.wait_for_sync(&all);
        stage.settles();
        assert_eq!(stage.written(0), Vec::<String>::new(), "where a value stands is no rollout");
        assert_eq!(stage.target("dev/fargate/api")["pin"], pinned_by, "the pin is whose it was");
    }

    // What is filled in is what `bump` looks for, and what is rolled out.
    for name in NAMES {
        let bumped = stage.run(&["bump", name, "--latest", "-e", "dev", "--no-commit", "--dir", &work]);
        assert_eq!(said(&bumped), format!("dev: {name} 1.0.0 → 1.1.0\n"));
    }
    stage.commit("all of them: 1.1.0", |_| {});
    for name in NAMES {
        stage.wait_until(&format!("{name} runs 1.1.0"), |stage| {
            stage.held(DEV)["task_definitions"][name].as_array().is_some_and(|revisions| revisions.len() == 2)
        });
        let held = stage.held(DEV);
        let made = &held["task_definitions"][name][1]["registered"]["containerDefinitions"];
        assert_eq!(made[0]["image"], format!("{REGISTRY}/{name}:1.1.0"));
        assert_eq!(made[1]["image"], "public.ecr.aws/envoy:1");
    }
    stage.wait_for_sync(&all);
    stage.settles();
    let mut written = stage.written(0);
    written.sort();
    assert_eq!(written, [["RegisterTaskDefinition"; 6], ["UpdateService"; 6]].concat());
}
