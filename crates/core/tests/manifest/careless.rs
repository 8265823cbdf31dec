//! What people write by mistake, in a hurry, or as other tools have it: each is answered with what to write.

use super::sample::{Repository, findings};

findings! {
    kinds_in_another_case: Repository::prod().edit("[asg.web]", "[ASG.web]").edit("[fargate.api]", "[Fargate.api]") => @r#"
    environments/prod/environment.toml:7:2: error: ASG: unknown key `ASG`; did you mean `asg`?
    environments/prod/environment.toml:13:2: error: Fargate: unknown key `Fargate`; did you mean `fargate`?
    "#;
    other_kinds_in_another_case: Repository::prod().edit("[asg.web]", "[Asg.web]").append("[ECS.cart]\n[Defaults.asg]\n") => @r#"
    environments/prod/environment.toml:7:2: error: Asg: unknown key `Asg`; did you mean `asg`?
    environments/prod/environment.toml:17:2: error: ECS: unknown key `ECS`; did you mean `ecs`?
    environments/prod/environment.toml:18:2: error: Defaults: unknown key `Defaults`; did you mean `defaults`?
    "#;
    kinds_in_another_case_in_the_defaults: Repository::prod().with("defaults.toml", "[ASG.web]\ngroup = \"x\"") => @"environments/defaults.toml:1:2: error: ASG: unknown key `ASG`; did you mean `asg`?";
    targets_that_are_none: Repository::prod().edit("[asg.web]", "[[asg.web]]").edit("[fargate.api]", "[fargate.\"the API\"]") => @r#"
    environments/prod/environment.toml:7:1: error: asg.web: expected a table, found an array; a target is a table [asg.NAME]; what holds for all of them belongs under [defaults.asg]
    environments/prod/environment.toml:13:10: error: fargate."the API": `the API` is not a target's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; write it as `the-api`
    "#;
    an_ami_and_others_that_are_no_tables: Repository::prod().edit("{ name = \"frontend-{version}\", owner = \"333333333333\" }", "\"frontend-{version}\"").append("suspend = true\nverify = \"https://a.example/\"") => @r#"
    environments/prod/environment.toml:10:7: error: asg.web.ami: expected a table, found a string; write how it is found, such as { name = "NAME-{version}", owner = "ACCOUNT" }
    environments/prod/environment.toml:17:11: error: fargate.api.suspend: expected a table, found a boolean; write { owner = "…", reason = "…", until = "2026-12-24T18:00:00Z" }, or use `pinion suspend`
    environments/prod/environment.toml:18:10: error: fargate.api.verify: expected an array of tables, found a string; write [[fargate.api.verify]], and the keys of the first one below it
    "#;
    the_promotion_as_text: Repository::prod().with("defaults.toml", "promotion = \"dev\"") => @r#"environments/defaults.toml:1:13: error: promotion: expected a table, found a string; write { from = "ENVIRONMENT" }, or a table [promotion]"#;
    a_probe_that_is_one_table: Repository::prod().append("[fargate.api.verify]\nurl = \"https://a.example/\"") => @"environments/prod/environment.toml:17:14: error: fargate.api.verify: expected an array of tables, found a table; write [[fargate.api.verify]], and the keys of the first one below it";
    numbers_in_quotes: Repository::prod().append("[asg.web.rollout]\nmin_healthy = \"90%\"\nmax_healthy = \"120\"\ncheckpoints = [\"50\", 100]\n") => @r#"
    environments/prod/environment.toml:18:15: error: asg.web.rollout.min_healthy: expected an integer, found a string; write it without quotes: 90
    environments/prod/environment.toml:19:15: error: asg.web.rollout.max_healthy: expected an integer, found a string; write it without quotes: 120
    environments/prod/environment.toml:20:16: error: asg.web.rollout.checkpoints[0]: expected an integer, found a string; write it without quotes: 50
    "#;
    keys_as_aws_has_them: Repository::prod().append("desired_count = 2\ntag = \"1\"\ntask_definition = \"x\"\n[asg.web.rollout]\nmin_healthy_percentage = 90\n") => @r#"
    environments/prod/environment.toml:17:1: error: fargate.api.desired_count: unknown key `desired_count`; Pinion changes the image and nothing else
    environments/prod/environment.toml:18:1: error: fargate.api.tag: unknown key `tag`; versions are in pins.toml, beside this file
    environments/prod/environment.toml:19:1: error: fargate.api.task_definition: unknown key `task_definition`; Pinion copies what runs; see `base_revision` and `base_family`
    environments/prod/environment.toml:21:1: error: asg.web.rollout.min_healthy_percentage: unknown key `min_healthy_percentage`; it is `min_healthy`
    "#;
    arns_instead_of_names: Repository::prod()
        .edit("cluster = \"app\"", "cluster = \"arn:aws:ecs:us-west-1:222222222222:cluster/app\"")
        .edit("group = \"frontend\"", "group = \"arn:aws:autoscaling:us-west-1:222222222222:autoScalingGroup:1:autoScalingGroupName/web\"")
        .edit("owner = \"333333333333\"", "owner = \"self\"") => @r#"
    environments/prod/environment.toml:8:9: error: asg.web.group: `arn:aws:autoscaling:us-west-1:222222222222:autoScalingGroup:1:autoScalingGroupName/web` is not an Auto Scaling group's name: it has 1 to 255 printable characters and no colon; write the name alone: "web"
    environments/prod/environment.toml:10:46: error: asg.web.ami.owner: `self` is not an account id: it has exactly 12 digits; the environment's own account is {account}
    environments/prod/environment.toml:14:11: error: fargate.api.cluster: `arn:aws:ecs:us-west-1:222222222222:cluster/app` is not an ECS cluster's name: it has 1 to 255 of letters, digits, - and _; write the name alone: "app"
    "#;
    pins_with_a_dot: Repository::prod().pins("frontend = \"1\"\nbackend = \"1\"\ncart.web = \"1\"") => @"environments/prod/pins.toml:3:1: error: cart: a dot divides a key: this is a key `web` of the component `cart`; a component's name has no dots: use - or _, also in `component`";
    pins_in_a_table: Repository::prod().pins("[pins]\nfrontend = \"1\"\nbackend = \"1\"") => @r#"
    environments/prod/environment.toml:9:13: error: asg.web.component: the component `frontend` of asg/web has no pin; add `frontend = "VERSION"` to environments/prod/pins.toml
    environments/prod/environment.toml:15:13: error: fargate.api.component: the component `backend` of fargate/api has no pin; add `backend = "VERSION"` to environments/prod/pins.toml
    environments/prod/pins.toml:1:2: error: pins: `pins` is a table, and no version; pins stand at the top of the file, one a line, such as web = "1.4.2": take [pins] out
    "#;
    pins_in_another_case: Repository::prod().pins("frontend = \"1\"\nbackend = \"1\"\nBack_End = \"1\"\n\"asg/web\" = \"1\"") => @r#"
    environments/prod/pins.toml:3:12: error: Back_End: `Back_End` is not a component's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; write it as `back_end`
    environments/prod/pins.toml:4:13: error: "asg/web": `asg/web` is not a component's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; a pin belongs to a component, and not to a target: write the component's name
    "#;
    pins_with_more_than_the_version: Repository::prod().pins(&format!("frontend = \"1\"\nbackend = \"1@sha256:{}\"", "a".repeat(64))) => @r#"environments/prod/pins.toml:2:11: error: backend: fargate.api.image makes `333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:1@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` of this, which can't be used: it looks like `registry.example.com/repository:tag`; a digest is a key of its own: { version = "1.4.2", digest = "sha256:…" }"#;
    pins_with_the_whole_image: Repository::prod().pins("frontend = \"1\"\nbackend = \"333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:1\"") => @r#"environments/prod/pins.toml:2:11: error: backend: fargate.api.image makes `333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:1` of this, which can't be used: it looks like `registry.example.com/repository:tag`; pin only what {version} stands for there, such as "1.4.2""#;
    as_yaml_has_it: Repository::prod().pins("frontend: \"1.4\"\nbackend: 1\n") => @r#"
    environments/prod/pins.toml:1:11: error: there is a `:` where TOML has `=`; write it as in web = "1.4.2"
    environments/prod/pins.toml:2:10: error: there is a `:` where TOML has `=`; write it as in web = "1.4.2"
    "#;
    as_a_word_processor_has_it: Repository::prod().pins("frontend = \u{201c}1.4\u{201d}\nbackend = \u{2018}1\u{2019}\n") => @r#"
    environments/prod/pins.toml:1:12: error: these are typographic quotes; write straight ones, as in "1.4.2"
    environments/prod/pins.toml:2:11: error: these are typographic quotes; write straight ones, as in "1.4.2"
    "#;
    values_that_are_missing: Repository::prod().pins("frontend =\nbackend = # later\ncart = null\nweb = nil") => @r#"
    environments/prod/pins.toml:1:11: error: a value is missing; give it one, or take the key out
    environments/prod/pins.toml:2:11: error: a value is missing; give it one, or take the key out
    environments/prod/pins.toml:3:8: error: TOML has no `null`; take the key out
    environments/prod/pins.toml:4:7: error: TOML has no `nil`; take the key out
    "#;
    text_without_its_end: Repository::prod().pins("frontend = \"1.4\nbackend = '1\n") => @r#"
    environments/prod/pins.toml:1:16: error: invalid basic string, expected `"`; end the text with a quote, in the same line
    environments/prod/pins.toml:2:13: error: invalid literal string, expected `'`; end the text with a quote, in the same line
    "#;
    placeholders_of_a_shell: Repository::prod().edit(":{version}", ":${version}") => @"environments/prod/environment.toml:16:9: error: fargate.api.image: `${version}` has a $ that would become part of the text; write {version}";
    brackets_too_deep: Repository::prod().pins(&format!("backend = {}1{}", "[".repeat(100), "]".repeat(100))) => @"environments/prod/pins.toml:1:91: error: brackets are more than 80 deep in each other; no key takes that: take brackets out";
}

/// The parser doesn't say where, and what stands in the first line has nothing to do with it.
#[test]
fn a_key_of_very_many_parts_is_found_and_gets_no_hint_about_quotes() {
    let key = ["a"; 100].join(".");
    for (text, line) in [
        (format!("frontend = 14\n{key} = \"1\"\nbackend = \"1\"\n"), 2),
        (format!("frontend = \"1\"\nbackend = \"1\"\n[{key}]\n"), 3),
        (format!("frontend = 1.4.0\nbackend = {{ {key} = \"1\" }}\n"), 2),
        (format!("{} = \"1\"\n", ["1"; 300].join(".")), 1),
    ] {
        let found = Repository::prod().pins(&text).findings();
        let expected = format!(
            "environments/prod/pins.toml:{line}:1: error: a key here has more than 80 parts; each dot divides a key; shorten it; a part \
             that has dots itself is put in quotes"
        );
        assert!(found.lines().any(|line| line == expected), "{found}");
        assert!(!found.contains("write it in quotes: \"14\""), "{found}");
    }
}

/// What only seems to follow from a table that isn't read isn't said: nothing has to be removed.
#[test]
fn a_target_that_is_lost_is_one_finding() {
    for lost in ["[ASG.web]", "[services.web]", "[asg.Web]", "[[asg.web]]", "[lambda.web]"] {
        let found = Repository::prod().edit("[asg.web]", lost).findings();
        assert_eq!(found.lines().count(), 1, "{lost}: {found}");
        let found = Repository::prod()
            .edit("[fargate.api]", &lost.replace("asg", "fargate").replace("ASG", "FARGATE"))
            .findings();
        assert_eq!(found.lines().count(), 1, "{lost}: {found}");
    }
    // What holds all the same is said.
    let found = Repository::prod().edit("[asg.web]", "[ASG.web]").edit("\"222222222222\"", "\"2222\"").findings();
    assert_eq!(found.lines().count(), 2, "{found}");
}
