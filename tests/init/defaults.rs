//! A repository that has `environments/defaults.toml`: what it says isn't said again, and isn't contradicted without a word.

use serde_json::json;

use super::{Bench, DEV, PROD, Said, role};

const NAMES: [&str; 6] = ["mailer", "orders", "payments", "reports", "search", "storefront"];
const HOST: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com";

/// The shop of docs/six-services.md: six services in each of two accounts, with their images in a third. Prod has one more.
fn world() -> String {
    let mut text = String::from(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[[account]]\nid = \"333333333333\"\nname = \"shared\"\nrepository = [\n",
    );
    for name in NAMES {
        text += &format!(
            "    {{ name = \"{name}\", allowed = [\"{DEV}\", \"{PROD}\"], image = [{{ tags = [\"1.0.0\"] }}, {{ tags = [\"1.1.0\"] }}] }},\n"
        );
    }
    text += "]\n";
    for (account, name) in [(DEV, "dev"), (PROD, "prod")] {
        text += &format!(
            "[[account]]\nid = \"{account}\"\nname = \"{name}\"\nrole = [{{ name = \"pinion\" }}, {{ name = \"terraform\" }}]\n\
             user = [{{ name = \"ci\" }}]\nkey = [{{ id = \"AKIA{}\", user = \"ci\" }}]\n",
            name.to_uppercase()
        );
        for service in NAMES {
            text += &format!(
                "[[account.task_definition]]\n[account.task_definition.definition]\nfamily = \"{service}\"\nnetworkMode = \"awsvpc\"\n\
                 requiresCompatibilities = [\"FARGATE\"]\ncpu = \"256\"\nmemory = \"512\"\ncontainerDefinitions = [\
                 {{ name = \"{service}\", image = \"{HOST}/{service}:1.0.0\", essential = true }}]\n"
            );
        }
        let mut services: Vec<(&str, &str)> = NAMES.iter().map(|name| (*name, *name)).collect();
        services.extend((name == "prod").then_some(("reports-eu", "reports")));
        let services: String = services
            .iter()
            .map(|(name, family)| {
                format!("    {{ name = \"{name}\", task_definition = \"{family}\", desired = 1 }},\n")
            })
            .collect();
        text += &format!("[[account.cluster]]\nname = \"shop\"\nservice = [\n{services}]\n");
    }
    text
}

const DEFAULTS: &str = r#"[account]
region = "us-west-1"
role = "arn:aws:iam::{account}:role/pinion"

[defaults.fargate]
cluster = "shop"
image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"
verify = [{ http = "http://127.0.0.1:9/" }]

[fargate.storefront]
after = ["fargate/orders"]

[fargate.orders]
[fargate.payments]
[fargate.search]
[fargate.mailer]
[fargate.reports]
"#;

#[test]
fn six_services_are_six_short_tables_and_none_where_defaults_have_them() {
    let bench = Bench::of(&world());
    let (environment, pins) = bench.becomes("dev", &["--role", &role(DEV, "pinion")]);
    insta::assert_snapshot!(environment, @r#"
    # Made by `pinion init` from what ran here.

    [account]
    id = "222222222222"
    region = "us-west-1"
    role = "arn:aws:iam::222222222222:role/pinion"

    # for all that say nothing else; {component} is the table's name, or its `component`
    [defaults.fargate]
    cluster = "shop"
    image = "333333333333.dkr.ecr.us-west-1.amazonaws.com/{component}:{version}"

    [fargate.mailer]
    [fargate.orders]
    [fargate.payments]
    [fargate.reports]
    [fargate.search]
    [fargate.storefront]
    "#);
    let expected: String = NAMES.iter().map(|name| format!("{name} = \"1.0.0\"\n")).collect();
    assert_eq!(pins, expected);

    // What all environments share moves to defaults.toml, as the page says; then each says only what is its own.
    let defaults = bench.folder.path().join("environments/defaults.toml");
    std::fs::write(&defaults, DEFAULTS).unwrap();
    for (environment, account, expected) in
        [("dev", DEV, ""), ("prod", PROD, "\n[fargate.reports-eu]\ncomponent = \"reports\"\n")]
    {
        let key = format!("AKIA{}", environment.to_uppercase());
        let arguments = ["init", "-e", environment, "--dir", bench.dir(), "--force", "--only", "fargate/shop/*"];
        // Nobody says a region or a role: defaults.toml does.
        let said: Said = bench.stage.run_as(&key, &arguments).into();
        assert_eq!(said.code, 0, "{said}");
        bench.is_in_sync(environment, &said);
        let heading = "# Made by `pinion init` from what ran here.\n\n";
        let text = bench.read(environment, "environment.toml");
        assert_eq!(text, format!("{heading}[account]\nid = \"{account}\"\n{expected}"));
    }

    // A table for every environment of what this account doesn't have can't be left out of this one.
    std::fs::write(&defaults, format!("{DEFAULTS}[fargate.checkout]\n")).unwrap();
    let said = bench.run("dev", &["--role", &role(DEV, "pinion"), "--force"]);
    assert_eq!(said.code, 1, "{said}");
    assert!(said.err.contains("fargate/checkout can't be in dev: this account doesn't have it"), "{said}");
    assert!(said.err.contains("environments/defaults.toml has its table for every environment"), "{said}");
}

#[test]
fn where_defaults_take_the_newest_shape_the_first_plan_is_empty_all_the_same() {
    let bench = Bench::of(&world());
    let defaults = bench.folder.path().join("environments/defaults.toml");
    std::fs::create_dir_all(defaults.parent().unwrap()).unwrap();
    std::fs::write(&defaults, "[defaults.fargate]\nbase_revision = \"newest\"\n").unwrap();
    let pinion = role(PROD, "pinion");
    let shared = "fargate/reports: warning: its shape comes from the newest revision of task-definition family reports, which \
                  fargate/reports-eu uses as well";
    let said = bench.run("prod", &["--role", &pinion]);
    assert!(said.code == 0 && said.out.contains(shared), "{said}");
    bench.is_in_sync("prod", &said);
    assert!(!bench.read("prod", "environment.toml").contains("base_revision"));
    // `validate` with look-ups and the plan warn of the same.
    let looked_up: Said = bench.stage.run(&["validate", bench.dir(), "--look-up"]).into();
    assert!(looked_up.code == 0 && looked_up.err.contains(&format!("prod/{shared}")), "{looked_up}");
    assert!(looked_up.out.ends_with("no findings\nlooked up in AWS: 7 targets can be managed\n"), "{looked_up}");
    let planned: Said = bench.stage.run(&["plan", "--dir", bench.dir()]).into();
    assert!(planned.out.contains("which fargate/reports-eu uses as well"), "{planned}");

    // Somebody has registered a newer shape, which nobody has released: it isn't what runs.
    let newer = json!({
        "family": "orders", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "512", "memory": "1024",
        "containerDefinitions": [{ "name": "orders", "image": format!("{HOST}/orders:1.0.0"), "essential": true }],
    });
    bench.stage.by_hand(&role(PROD, "terraform"), "RegisterTaskDefinition", &newer);
    let said = bench.run("prod", &["--role", &pinion, "--force"]);
    assert_eq!(said.code, 0, "{said}");
    bench.is_in_sync("prod", &said);
    let text = bench.read("prod", "environment.toml");
    let held = "# environments/defaults.toml says \"newest\", which would roll orders:2 out: remove `base_revision` here when it may be\n\
                [fargate.orders]\nbase_revision = \"running\"\n";
    assert!(text.contains(held), "{text}");
    assert_eq!(text.matches("base_revision = ").count(), 1, "{text}");
}

#[test]
fn a_suspension_of_all_environments_leaves_nothing_out() {
    let bench = Bench::of(&world());
    let defaults = bench.folder.path().join("environments/defaults.toml");
    std::fs::create_dir_all(defaults.parent().unwrap()).unwrap();
    let suspended = "[suspend]\nowner = \"platform\"\nreason = \"we move in\"\nuntil = 2999-01-01T00:00:00Z\n";
    std::fs::write(&defaults, suspended).unwrap();
    let said = bench.run("dev", &["--role", &role(DEV, "pinion")]);
    assert!(said.code == 0 && said.out.contains("6 targets, 0 left out"), "{said}");
    std::fs::remove_file(defaults).unwrap();
    bench.is_in_sync("dev", &said);
}

#[test]
fn several_who_register_in_one_family_are_warned_of() {
    let bench = Bench::of(&world());
    let (pinion, only) = (role(DEV, "pinion"), "fargate/orders");
    bench.becomes("dev", &["--role", &pinion, "--only", only]);
    let path = bench.path("dev", "environment.toml");
    let text = bench
        .read("dev", "environment.toml")
        .replace("[fargate.orders]\n", "[fargate.orders]\nbase_revision = \"newest\"\n");
    std::fs::write(&path, &text).unwrap();
    let warned = || -> Vec<bool> {
        let runs = [vec!["validate", bench.dir(), "--look-up"], vec!["plan", "--dir", bench.dir()]];
        let said = runs.map(|arguments| Said::from(bench.stage.run(&arguments)).to_string());
        said.map(|said| said.contains("family orders, in which several register: ")).to_vec()
    };
    assert_eq!(warned(), [false, false]);
    let newer = json!({
        "family": "orders", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "512", "memory": "1024",
        "containerDefinitions": [{ "name": "orders", "image": format!("{HOST}/orders:1.0.0"), "essential": true }],
    });
    bench.stage.by_hand(&role(DEV, "terraform"), "RegisterTaskDefinition", &newer);
    assert_eq!(warned(), [true, true]);
    let limited = text.replace(
        "base_revision = \"newest\"\n",
        "base_revision = \"newest\"\nbase_registered_by = [\"*:assumed-role/terraform/*\"]\n",
    );
    std::fs::write(path, limited).unwrap();
    assert_eq!(warned(), [false, false]);
}
