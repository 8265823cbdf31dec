//! What is said of broken files.

use pinion_core::manifest::{load_with_refused, render};

use super::sample::{ENVIRONMENT, PINS, Repository, findings};

findings! {
    unknown_keys: Repository::prod().edit("group", "grup").append("[asg.web.rollout]\nnonsense = 1") => @r#"
    environments/prod/environment.toml:8:1: error: asg.web.grup: unknown key `grup`; did you mean `group`?
    environments/prod/environment.toml:18:1: error: asg.web.rollout.nonsense: unknown key `nonsense`; known here: deadline, min_healthy, max_healthy, warmup, checkpoints, checkpoint_delay, bake, alarms
    "#;
    unknown_table: Repository::prod().append("[lambda.x]") => @"environments/prod/environment.toml:17:2: error: lambda: unknown key `lambda`; known here: account, promotion, asg, fargate, ecs, suspend, defaults";
    wrong_types: Repository::prod().edit("\"222222222222\"", "222222222222").edit("[\"fargate/api\"]", "\"fargate/api\"") => @r#"
    environments/prod/environment.toml:3:6: error: account.id: expected a string, found an integer; write it in quotes: "222222222222"
    environments/prod/environment.toml:11:9: error: asg.web.after: expected an array, found a string; put it in brackets, also if it is the only one: ["fargate/api"]
    "#;
    account_id: Repository::prod().edit("\"222222222222\"", "\"2222\"") => @"environments/prod/environment.toml:3:6: error: account.id: `2222` is not an account id: it has exactly 12 digits";
    foreign_role: Repository::prod().edit("iam::222222222222", "iam::999999999999") => @"environments/prod/environment.toml:5:8: error: account.role: this role belongs to account 999999999999, the environment to 222222222222; correct the role, or `account.id`; `{account}` in the role keeps them equal";
    missing_keys: Repository::prod().edit("region = \"us-west-1\"\n", "").edit("cluster = \"app\"\n", "") => @r#"
    environments/prod/environment.toml:2:2: error: account.region: the key `region` is missing
    environments/prod/environment.toml:12:10: error: fargate.api.cluster: the key `cluster` is missing; set it here, or in [defaults.fargate] for all of them
    "#;
    placeholders: Repository::prod().edit("frontend-{version}", "frontend-{verison}").edit("backend:{version}", "backend:{version") => @r#"
    environments/prod/environment.toml:10:16: error: asg.web.ami.name: unknown placeholder {verison}; did you mean {version}?
    environments/prod/environment.toml:16:9: error: fargate.api.image: an unbalanced brace in `333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version`; known here: {version}, {environment}, {account}, {region}, {component}, {target}
    "#;
    version_in_a_group: Repository::prod().edit("group = \"frontend\"", "group = \"frontend-{version}\"") => @"environments/prod/environment.toml:8:9: error: asg.web.group: {version} can't be used here: this stays the same when a pin changes; known here: {environment}, {account}, {region}, {component}, {target}";
    version_unused: Repository::prod().edit("frontend-{version}", "frontend").edit("backend:{version}", "backend:latest") => @r#"
    environments/prod/environment.toml:10:1: error: asg.web.ami: {version} doesn't occur, so that a pin would change nothing; put {version} where versions differ
    environments/prod/environment.toml:16:9: error: fargate.api.image: {version} doesn't occur, so that a pin would change nothing; put {version} into the tag
    "#;
    after_unknown: Repository::prod().edit("[\"fargate/api\"]", "[\"fargate/ap\", \"web\"]") => @"environments/prod/environment.toml:11:24: error: asg.web.after[1]: `web` is not a target: it looks like `asg/web` or `fargate/api`";
    beyond_all_bounds: Repository::prod().append(
        "[asg.web.rollout]\ndeadline = \"5124095576030431h\"\nwarmup = \"-1s\"\nbake = \"99999999999999999999999h\"\nmin_healthy = -9223372036854775808\nmax_healthy = 1e308\ncheckpoints = [9223372036854775807]\n[asg.web.suspend]\nowner = \"a\"\nreason = \"b\"\nuntil = \"+999999-12-31T23:59:59Z\""
    ) => @r#"
    environments/prod/environment.toml:18:12: error: asg.web.rollout.deadline: this must be from 1s to 336h
    environments/prod/environment.toml:19:10: error: asg.web.rollout.warmup: `-1s` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:20:8: error: asg.web.rollout.bake: `99999999999999999999999h` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:21:15: error: asg.web.rollout.min_healthy: this must be from 0 to 100
    environments/prod/environment.toml:22:15: error: asg.web.rollout.max_healthy: expected an integer, found a float
    environments/prod/environment.toml:23:16: error: asg.web.rollout.checkpoints[0]: this must be from 1 to 100
    environments/prod/environment.toml:27:9: error: asg.web.suspend.until: `+999999-12-31T23:59:59Z` is not a date and time with its offset; write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00
    "#;
    after_cycle: Repository::prod().append("after = [\"asg/web\"]") => @"environments/prod/environment.toml:11:9: error: asg.web.after: these targets wait for each other: asg/web → fargate/api → asg/web; take one of them out of an `after`";
    after_itself: Repository::prod().edit("fargate/api", "asg/web") => @"environments/prod/environment.toml:11:9: error: asg.web.after: these targets wait for each other: asg/web → asg/web; take one of them out of an `after`";
    pins_and_components: Repository::prod().pins("frontent = \"1.4.2\"\nbackend = \"2.0.1\"") => @r#"
    environments/prod/environment.toml:9:13: error: asg.web.component: the component `frontend` of asg/web has no pin; add `frontend = "VERSION"` to environments/prod/pins.toml
    environments/prod/pins.toml:1:12: error: frontent: no target uses the component `frontent`; did you mean `frontend`?
    "#;
    pin_types: Repository::prod().pins("frontend = 1.4\nbackend = { digest = \"sha256:12\" }") => @r#"
    environments/prod/pins.toml:1:12: error: frontend: expected a version, found a float; write it in quotes: "1.4.2", or { version = "1.4.2", digest = "sha256:…" }
    environments/prod/pins.toml:2:1: error: backend.version: the key `version` is missing
    environments/prod/pins.toml:2:22: error: backend.digest: `sha256:12` is not a digest: it is `sha256:` and 64 lower-case hexadecimal digits
    "#;
    bad_names: Repository::prod().pins(&format!("{PINS}Front = \"1\"")).append("\n[asg.\"a b\"]") => @r#"
    environments/prod/environment.toml:18:6: error: asg."a b": `a b` is not a target's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; write it as `a-b`
    environments/prod/pins.toml:3:9: error: Front: `Front` is not a component's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; write it as `front`
    "#;
    digest_of_an_ami: Repository::prod().pins(
        "frontend = { version = \"1\", digest = \"sha256:9b2c5d0e1f7a48c3b6d90e2f4a7185c3d6e9f0b1a2c4d5e6f708192a3b4c5d6e\" }\nbackend = \"1\""
    ) => @r#"environments/prod/pins.toml:1:38: error: frontend.digest: only container images have digests, and `frontend` runs in none; write `frontend = "VERSION"`"#;
    illegal_versions: Repository::prod().pins("frontend = \"1.4.*\"\nbackend = \"2.0.1+build\"") => @r#"
    environments/prod/pins.toml:1:12: error: frontend: asg.web.ami.name makes `frontend-1.4.*` of this, which can't be used: an AMI's name has 3 to 128 of letters, digits, spaces and ( ) [ ] . / - ' @ _; pin a version that is legal there
    environments/prod/pins.toml:2:11: error: backend: fargate.api.image makes `333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1+build` of this, which can't be used: an image's tag has at most 128 of letters, digits and _ . -, and starts with a letter, a digit or _; pin a version that is legal there
    "#;
    illegal_templates: Repository::prod().edit("frontend-{version}", "front*-{version}").edit("333333333333.dkr.ecr.us-west-1.amazonaws.com/", "") => @r#"
    environments/prod/environment.toml:10:16: error: asg.web.ami.name: `front*-v0.0` can't be used here: an AMI's name has 3 to 128 of letters, digits, spaces and ( ) [ ] . / - ' @ _
    environments/prod/environment.toml:16:9: error: fargate.api.image: `backend:v0` can't be used here: it looks like `registry.example.com/repository:tag`; Docker Hub's short names are written out: `docker.io/library/nginx:tag` for `nginx`, `docker.io/team/name:tag` for `team/name`
    "#;
    ways_to_an_ami: Repository::prod().edit("{ name = \"frontend-{version}\", owner", "{ name = \"{version}\", id = \"{version}\", owner") => @"environments/prod/environment.toml:10:1: error: asg.web.ami: this says several ways to find the AMI: name, id; set one of name, tags, parameter, id";
    no_way_to_an_ami: Repository::prod().edit("name = \"frontend-{version}\", ", "") => @"environments/prod/environment.toml:10:1: error: asg.web.ami: this doesn't say how to find the AMI; set one of name, tags, parameter, id";
    ranges: Repository::prod().append(
        "[asg.web.rollout]\nmin_healthy = 10\nmax_healthy = 120\ncheckpoints = [50, 20, 90]\nbake = \"3d\"\ndeadline = \"45\"\nwarmup = \"49h\""
    ) => @r#"
    environments/prod/environment.toml:19:15: error: asg.web.rollout.max_healthy: this is more than 100 above `min_healthy`, which is 10; set at most 110
    environments/prod/environment.toml:20:20: error: asg.web.rollout.checkpoints[1]: checkpoints must ascend, and none may occur twice; order them, such as [20, 50, 100]
    environments/prod/environment.toml:20:24: error: asg.web.rollout.checkpoints[2]: the last checkpoint isn't 100: some instances would never be replaced; end with 100
    environments/prod/environment.toml:21:8: error: asg.web.rollout.bake: `3d` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:22:12: error: asg.web.rollout.deadline: `45` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:23:10: error: asg.web.rollout.warmup: this must be from 0s to 48h
    "#;
    more_ranges: Repository::prod().append(
        "[asg.web.rollout]\nmax_healthy = 120\ncheckpoints = [0, 101]\ncheckpoint_delay = 300\nwarmup = \"1.5s\"\ndeadline = \"01:30:00\"\nmin_healthy = 99999999999999999999"
    ) => @r#"
    environments/prod/environment.toml:19:16: error: asg.web.rollout.checkpoints[0]: this must be from 1 to 100
    environments/prod/environment.toml:19:19: error: asg.web.rollout.checkpoints[1]: this must be from 1 to 100
    environments/prod/environment.toml:20:20: error: asg.web.rollout.checkpoint_delay: expected a duration, found an integer; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:21:10: error: asg.web.rollout.warmup: `1.5s` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:22:12: error: asg.web.rollout.deadline: `01:30:00` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:23:15: error: asg.web.rollout.min_healthy: this must be from 0 to 100
    "#;
    alarms: Repository::prod().append(
        "[asg.web.rollout]\nalarms = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\", \"i\", \"j\", \"a\"]"
    ) => @r#"
    environments/prod/environment.toml:18:10: error: asg.web.rollout.alarms: these are 11 alarms; an instance refresh watches at most 10; make one composite alarm of several
    environments/prod/environment.toml:18:61: error: asg.web.rollout.alarms[10]: this alarm is listed twice; remove it
    "#;
    a_service_has_no_checkpoints: Repository::prod().append("rollout = { checkpoints = [100] }") => @"environments/prod/environment.toml:17:13: error: fargate.api.rollout.checkpoints: unknown key `checkpoints`; only instance refreshes have checkpoints";
    probes: Repository::prod().append(
        "verify = [{ http = \"ftp://a/\", status = 99 }, { status = 600, timeout = \"2m\" }, { http = \"https://user:word@a/\" }]"
    ) => @r#"
    environments/prod/environment.toml:17:20: error: fargate.api.verify[0].http: `ftp://a/` can't be used here: a probe asks over http or https
    environments/prod/environment.toml:17:41: error: fargate.api.verify[0].status: this must be from 100 to 599
    environments/prod/environment.toml:17:47: error: fargate.api.verify[1].http: the key `http` is missing
    environments/prod/environment.toml:17:58: error: fargate.api.verify[1].status: this must be from 100 to 599
    environments/prod/environment.toml:17:73: error: fargate.api.verify[1].timeout: this must be from 1s to 1m
    environments/prod/environment.toml:17:90: error: fargate.api.verify[2].http: this can't be used here: it must not hold credentials: this repository is no place for secrets
    "#;
    suspensions: Repository::prod().append("suspend = { owner = \"\", until = \"tomorrow\" }\n[asg.web.suspend]\nowner = \"a\"\nreason = \"b\"\nuntil = 2026-12-24T18:00:00") => @r#"
    environments/prod/environment.toml:17:1: error: fargate.api.suspend.reason: the key `reason` is missing
    environments/prod/environment.toml:17:21: error: fargate.api.suspend.owner: this must be one line of text, and not empty
    environments/prod/environment.toml:17:33: error: fargate.api.suspend.until: `tomorrow` is not a date and time with its offset; write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00
    environments/prod/environment.toml:21:9: error: asg.web.suspend.until: `2026-12-24T18:00:00` is not a date and time with its offset; write it as RFC 3339 has it, such as 2026-12-24T18:00:00Z or 2026-12-24T18:00:00+01:00
    "#;
    syntax: Repository::prod().edit("group = \"frontend\"", "group = frontend").pins("a = \"1\"\na = \"2\"") => @r#"
    environments/prod/environment.toml:8:9: error: invalid boolean, expected `false`; put the text in quotes
    environments/prod/pins.toml:2:1: error: duplicate key `a`
    "#;
    conflict_markers: Repository::prod().pins("<<<<<<< HEAD\nfrontend = \"1\"\n=======\nfrontend = \"2\"\n>>>>>>> x\n") => @r#"
    environments/prod/pins.toml:1:9: error: key with no value, expected `=`; this is a merge conflict: resolve it
    environments/prod/pins.toml:3:2: error: extra `=`, expected nothing; this is a merge conflict: resolve it
    environments/prod/pins.toml:5:9: error: key with no value, expected `=`; this is a merge conflict: resolve it
    "#;
    not_utf8: Repository::prod().with("prod/pins.toml", b"a = '1'\nb = '\xff'") => @"environments/prod/pins.toml:2:6: error: this is not UTF-8; save the file as UTF-8";
    empty_files: Repository::prod().pins("# nothing\n").with("prod/environment.toml", "").with("defaults.toml", "") => @r#"
    environments/defaults.toml:1:1: error: the file is empty; restore its content; to remove it on purpose, delete the file
    environments/prod/environment.toml:1:1: error: the file is empty; restore its content; to remove it on purpose, delete the file
    environments/prod/pins.toml:1:1: error: the file is empty; restore its content; to remove it on purpose, delete the file
    "#;
    missing_files: Repository::prod().without("prod/pins.toml").with("dev/pins.toml", PINS) => @r#"
    environments/dev/environment.toml:1:1: error: this file is missing; add it; if the folder isn't meant to be an environment, move it out of environments/
    environments/prod/pins.toml:1:1: error: this file is missing; add it; if the folder isn't meant to be an environment, move it out of environments/
    "#;
    nothing_at_all: Repository::default() => @"environments:1:1: error: there is no environment; add a folder environments/NAME/ with environment.toml and pins.toml";
    no_environment: Repository::default().with("defaults.toml", "[account]\nregion = \"us-west-1\"") => @"environments:1:1: error: there is no environment; add a folder environments/NAME/ with environment.toml and pins.toml";
    no_target: Repository::prod().with("prod/environment.toml", ENVIRONMENT.split("[asg").next().unwrap()).pins("a = '1'") => @"environments/prod/environment.toml:1:1: error: this environment has no target; add an [asg.NAME] or a [fargate.NAME]";
    stray_files: Repository::prod().with("pins.toml", "").with("prod/Pins.TOML", "").with("prod/old/pins.toml", "").with("Prod/pins.toml", "") => @r#"
    environments/Prod:1:1: error: `Prod` is not an environment's name: it has 1 to 63 of a-z, 0-9, - and _, and starts with a letter or digit; rename the folder
    environments/prod/Pins.TOML:1:1: error: no file of this name is read; the files are environments/defaults.toml, environments/NAME/environment.toml and environments/NAME/pins.toml
    "#;
    promotion_words: Repository::prod().append("[promotion]\nfrom = \"dev\"\nsoak = \"31d\"\nmode = \"strict\"") => @r#"
    environments/prod/environment.toml:19:8: error: promotion.soak: `31d` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/environment.toml:20:8: error: promotion.mode: `strict` is neither "inform" nor "require"
    "#;
    promotion_from_itself: Repository::prod().append("[promotion]\nfrom = \"prod\"") => @"environments/prod/environment.toml:18:8: error: promotion.from: this environment is promoted from itself; name the one that runs a version before it";
    lookalikes: Repository::prod().without("prod/environment.toml").with("prod/environment.yaml", "").with("prod/pins.json", "") => @"environments/prod/environment.toml:1:1: error: this file is missing; environments/prod/environment.yaml isn't read: the files are TOML; write it as environments/prod/environment.toml";
    folder_without_files: Repository::prod().with("dev/", "") => @r#"
    environments/dev/environment.toml:1:1: error: this file is missing; add it; if the folder isn't meant to be an environment, move it out of environments/
    environments/dev/pins.toml:1:1: error: this file is missing; add it; if the folder isn't meant to be an environment, move it out of environments/
    "#;
    git_lfs: Repository::prod().pins("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n") => @"environments/prod/pins.toml:1:1: error: this is a pointer of Git LFS, and not the file; Pinion reads what is in Git itself: take the pattern out of .gitattributes (`git lfs untrack`), and commit the file again";
    other_words: Repository::prod().append("[services.api]\n[ec2]\n[pins]\nweb = \"1\"") => @r#"
    environments/prod/environment.toml:17:2: error: services: unknown key `services`; an ECS service is [fargate.NAME]
    environments/prod/environment.toml:18:2: error: ec2: unknown key `ec2`; an Auto Scaling group is [asg.NAME]
    environments/prod/environment.toml:19:2: error: pins: unknown key `pins`; versions are in pins.toml, beside this file
    "#;
    one_alarm: Repository::prod().append("[asg.web.rollout]\nalarms = \"frontend-5xx\"") => @r#"environments/prod/environment.toml:18:10: error: asg.web.rollout.alarms: expected an array, found a string; put it in brackets, also if it is the only one: ["frontend-5xx"]"#;
    claimed_in_one_environment: Repository::prod().append("[asg.frontend]\nami = { name = \"b-{version}\" }") => @"environments/prod/environment.toml:7:6: error: asg.web: prod/asg/frontend (environments/prod/environment.toml:17) claims the Auto Scaling group `frontend` in 222222222222, us-west-1, too; let only one target have it";
    claimed_by_two_environments: Repository::prod().with("copy/environment.toml", ENVIRONMENT).with("copy/pins.toml", PINS) => @r#"
    environments/copy/environment.toml:7:6: error: asg.web: prod/asg/web (environments/prod/environment.toml:7) claims the Auto Scaling group `frontend` in 222222222222, us-west-1, too; let only one target have it
    environments/copy/environment.toml:13:10: error: fargate.api: prod/fargate/api (environments/prod/environment.toml:13) claims the ECS service `app/api` in 222222222222, us-west-1, too; let only one target have it
    environments/prod/environment.toml:7:6: error: asg.web: copy/asg/web (environments/copy/environment.toml:7) claims the Auto Scaling group `frontend` in 222222222222, us-west-1, too; let only one target have it
    environments/prod/environment.toml:13:10: error: fargate.api: copy/fargate/api (environments/copy/environment.toml:13) claims the ECS service `app/api` in 222222222222, us-west-1, too; let only one target have it
    "#;
    defaults_are_blamed_where_they_stand: Repository::prod()
        .with("defaults.toml", "[account]\nexternal = \"x\"\n[asg.web.rollout]\nmin_healthy = 101\n[fargate.api]\ncluster = 7") => @r#"
    environments/defaults.toml:2:1: error: account.external: unknown key `external`; did you mean `external_id`?
    environments/defaults.toml:4:15: error: asg.web.rollout.min_healthy: this must be from 0 to 100
    "#;
    broken_defaults: Repository::prod().with("defaults.toml", "[account") => @"environments/defaults.toml:1:9: error: unclosed table, expected `]`";
}

/// What TOML has no value for, but people write: versions, dates, and account ids with leading zeros.
#[test]
fn what_lacks_its_quotes_is_shown_with_them() {
    for bare in [
        "1.4.0",
        "2026.11.28",
        "1.4.0-rc.1",
        "0123",
        "1_4",
        "1.4.0+build",
        "2026-11-28",
        "1.4",
        "14",
        "v1.4",
        "1.x",
        "-1.2.3",
    ] {
        for pins in [
            format!("backend = \"1\"\nfrontend = {bare}\n"),
            format!("frontend={bare} # the newest\nbackend = \"1\"\n"),
            format!("backend = \"1\"\nfrontend = {{ version = {bare} }}\n"),
        ] {
            let found = Repository::prod().pins(&pins).findings();
            assert!(found.contains("quotes"), "{pins}: {found}");
        }
    }
    for bare in ["012345678901", "222222222222", "0222"] {
        let found = Repository::prod().edit("\"222222222222\"", bare).findings();
        assert!(found.contains(&format!("write it in quotes: \"{bare}\"")), "{bare}: {found}");
    }
}

#[test]
fn the_folder_in_the_singular_is_named() {
    let files = [("environment/".to_owned(), Vec::new())].into();
    let found = pinion_core::manifest::load(&files).all_findings().to_string();
    assert_eq!(
        found,
        "environments:1:1: error: there is no environment; there is a folder environment/: rename it to environments/"
    );
}

/// Whether such an address may be asked stands in `pinion.toml`, which isn't read here.
#[test]
fn a_probe_of_a_link_local_address_is_a_warning() {
    for (url, address) in [
        ("http://169.254.169.254/latest/", Some("169.254.169.254")),
        ("http://2852039166/{version}", Some("169.254.169.254")),
        ("http://[::ffff:a9fe:a9fe]/", Some("::ffff:169.254.169.254")),
        ("http://[fd00:ec2::254]/", Some("fd00:ec2::254")),
        ("http://10.0.0.1/", None),
        ("https://app.example.com/{version}", None),
    ] {
        let loaded = Repository::prod().append(&format!("verify = [{{ http = \"{url}\" }}]")).load();
        assert_eq!(loaded.all_findings().to_string(), "", "{url}");
        let warnings = render::warnings(&loaded, jiff::Timestamp::UNIX_EPOCH);
        let said = address.map(|address| {
            format!(
                "environments/prod/environment.toml:17: warning: fargate.api.verify[0].http: {address} is link-local or of one of \
                 AWS's metadata services; Pinion doesn't ask it, and rolls nothing out here; ask the target itself; or add the host \
                 to `allow` under [probes] in pinion.toml"
            )
        });
        assert_eq!(warnings.iter().map(ToString::to_string).collect::<Vec<_>>(), Vec::from_iter(said), "{url}");
    }
}

/// A commit reaches no further than its folder: what the files of one environment, or their absence, make odd in another one
/// is said and stops nothing.
#[test]
fn what_others_do_is_a_warning() {
    let other = |more: &str| ENVIRONMENT.replace("us-west-1\"\nrole", "us-west-2\"\nrole") + more;
    let warnings = |repository: &Repository| {
        let loaded = repository.load();
        assert_eq!(loaded.all_findings().to_string(), "");
        let warnings = render::warnings(&loaded, jiff::Timestamp::UNIX_EPOCH);
        warnings.iter().map(|one| format!("{one}\n")).collect::<String>()
    };
    let promoted = || Repository::prod().append("[promotion]\nfrom = \"dev\"");
    insta::assert_snapshot!(warnings(&promoted()), @"environments/prod/environment.toml:18: warning: promotion.from: there is no environment `dev`; no version counts as having run there; environments: ");
    let circle =
        promoted().with("dev/environment.toml", other("[promotion]\nfrom = \"prod\"")).with("dev/pins.toml", PINS);
    insta::assert_snapshot!(warnings(&circle), @r#"
    environments/dev/environment.toml:18: warning: promotion.from: these are promoted from each other: dev → prod → dev; no version can run in each of them first: take `from` out of one
    environments/prod/environment.toml:18: warning: promotion.from: these are promoted from each other: prod → dev → prod; no version can run in each of them first: take `from` out of one
    "#);
    insta::assert_snapshot!(warnings(&Repository::prod().with("default.toml", "x")), @"environments/default.toml:1: warning: no file of this name is read; the files are environments/defaults.toml, environments/NAME/environment.toml and environments/NAME/pins.toml");
    let unused = Repository::prod().with("defaults.toml", "[asg.web]\ngroup = 7");
    insta::assert_snapshot!(warnings(&unused), @r#"environments/defaults.toml:2: warning: asg.web.group: expected a string, found an integer; write it in quotes: "7""#);
}

#[test]
fn a_policy_in_any_editors_utf8_works() {
    let text = "\u{feff}@id(\"a\") @reason(\"b\") forbid (principal, action, resource);";
    let mut repository = Repository::prod();
    repository.0.insert("policies/a.cedar".to_owned(), text.into());
    let loaded = repository.pins(&format!("\u{feff}{PINS}")).load();
    assert_eq!((loaded.all_findings().to_string().as_str(), loaded.policies.len()), ("", 1));
}

#[test]
fn a_broken_environment_leaves_the_others_alone() {
    let other = ENVIRONMENT.replace("us-west-1\"\nrole", "us-west-2\"\nrole");
    let repository = Repository::prod().with("dev/environment.toml", other).with("dev/pins.toml", "frontend = 1");
    let loaded = repository.load();
    let good: Vec<_> = loaded.environments.iter().map(|(name, result)| (name.as_str(), result.is_ok())).collect();
    assert_eq!(good, [("dev", false), ("prod", true)]);
    assert!(loaded.findings.is_empty());
}

/// `environment.toml` of an account with so many targets.
fn with_targets(account: usize, count: usize) -> String {
    let target = |number| format!("[asg.web-{number}]\ncomponent = \"web\"\nami = {{ name = \"web-{{version}}\" }}\n");
    let targets: String = (0..count).map(target).collect();
    let id = format!("{account:012}");
    format!("[account]\nid = \"{id}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{id}:role/pinion\"\n{targets}")
}

#[test]
fn more_targets_than_memory_holds_are_refused() {
    let of = |counts: &[usize]| {
        let mut files = std::collections::BTreeMap::new();
        for (number, count) in counts.iter().enumerate() {
            let folder = format!("environments/e{number}");
            files.insert(format!("{folder}/environment.toml"), with_targets(number + 1, *count).into_bytes());
            files.insert(format!("{folder}/pins.toml"), b"web = \"1.0\"\n".to_vec());
        }
        pinion_core::manifest::load(&files)
    };
    let good = of(&[2000; 5]);
    assert_eq!((good.targets(), good.all_findings().to_string()), (10_000, String::new()));
    let large = of(&[2001, 3]);
    assert_eq!(large.targets(), 3, "the others are none the worse");
    insta::assert_snapshot!(large.all_findings().to_string(), @"environments/e0/environment.toml:1:1: error: this environment has 2001 targets; the most is 2000; divide it: several environments may have the same account");
    let all = of(&[2000, 2000, 2000, 2000, 2000, 1]);
    assert_eq!(all.targets(), 0);
    insta::assert_snapshot!(all.findings.to_string(), @"environments:1:1: error: all environments have 10001 targets; the most is 10000; divide them between repositories, each with a controller of its own");
}

#[test]
fn a_version_does_not_choose_whom_a_probe_asks() {
    let with =
        |http: &str| Repository::prod().append(&format!("\n[[fargate.api.verify]]\nhttp = \"{http}\"\n")).findings();
    for good in [
        "https://app.example.com/{version}",
        "https://{environment}.example.com?v={version}",
        "http://10.0.0.1:80/#{version}",
    ] {
        assert_eq!(with(good), "", "{good}");
    }
    for bad in [
        "https://{version}/",
        "https://{version}.example.com/health",
        "https://app-{version}.example.com/",
        "https://app.example.com{version}",
        "https://app.example.com.{version}/health",
        "https:{version}/x",
        "https:/{version}",
        "http:\\\\{version}/",
        "http://10.0.0.{version}/",
    ] {
        assert!(with(bad).contains("the version is part of the host here"), "{bad}: {}", with(bad));
    }
    for bad in [
        "{version}://app.example.com/",
        "http{version}://app.example.com/",
        "http://app.example.com:{version}/",
        "{version}",
    ] {
        assert_ne!(with(bad), "", "{bad}");
    }
}

#[test]
fn what_git_refused_is_a_finding() {
    let mut repository = Repository::prod();
    let pins = "environments/prod/pins.toml";
    repository.0.remove(pins).unwrap();
    let refused = [(pins.to_owned(), "symbolic links are not followed".to_owned())].into();
    let loaded = load_with_refused(&repository.0, &refused);
    insta::assert_snapshot!(loaded.all_findings(), @"environments/prod/pins.toml:1:1: error: symbolic links are not followed");
}

#[test]
fn a_guardrail_does_not_vanish_by_being_unreadable() {
    for path in ["policies", "policies/guardrails", "policies/guardrails/freeze.cedar"] {
        let refused = [(path.to_owned(), "symbolic links are not followed".to_owned())].into();
        let loaded = load_with_refused(&Repository::prod().0, &refused);
        assert!(loaded.policies.is_empty() && !loaded.policies.is_none(), "{path}: nothing is allowed");
        assert_eq!(loaded.policy_findings.len(), 1, "{path}");
    }
}

#[test]
fn a_person_sees_the_line() {
    let repository = Repository::prod().edit("frontend-{version}", "frontend-{verison}").without("prod/pins.toml");
    insta::assert_snapshot!(render::graphical(&repository.load().all_findings(), false, 100), @r#"
    bad-placeholder

      × asg.web.ami.name: unknown placeholder {verison}
        ╭─[environments/prod/environment.toml:10:16]
      9 │ component = "frontend"
     10 │ ami = { name = "frontend-{verison}", owner = "333333333333" }
        ·                ────────────────────
     11 │ after = ["fargate/api"]
        ╰────
      help: did you mean {version}?

    missing-file

      × environments/prod/pins.toml: this file is missing
      help: add it; if the folder isn't meant to be an environment, move it out of environments/
    "#);
}

#[test]
fn a_program_gets_json() {
    let repository = Repository::prod().edit("group", "grup");
    insta::assert_snapshot!(render::json(&repository.load(), jiff::Timestamp::UNIX_EPOCH).unwrap(), @r#"
    {
      "valid": false,
      "environments": 1,
      "targets": 0,
      "pins": 0,
      "findings": [
        {
          "file": "environments/prod/environment.toml",
          "line": 8,
          "column": 1,
          "key": "asg.web.grup",
          "check": "unknown-key",
          "message": "unknown key `grup`",
          "help": "did you mean `group`?"
        }
      ],
      "warnings": [],
      "notes": []
    }
    "#);
}

/// The ten mistakes of one bad day, in three files.
#[test]
fn ten_mistakes_are_ten_findings() {
    let repository = Repository::prod()
        .edit("\"222222222222\"\nregion", "\"22222222222\"\nregion")
        .edit("group", "grup")
        .edit("frontend-{version}", "frontend-{tag}")
        .edit("[\"fargate/api\"]", "[\"fargate/backend\"]")
        .append("[asg.web.rollout]\nmin_healthy = \"90\"\ncheckpoints = [50]\ndeadline = \"45\"")
        .pins("frontend = \"1.4.2\"\nbackend = \"2.0.1+1\"\nworker = \"1\"")
        .with("prod/extra.toml", "");
    insta::assert_snapshot!(repository.findings(), @r#"
    environments/prod/environment.toml:3:6: error: account.id: `22222222222` is not an account id: it has exactly 12 digits
    environments/prod/environment.toml:8:1: error: asg.web.grup: unknown key `grup`; did you mean `group`?
    environments/prod/environment.toml:10:16: error: asg.web.ami.name: unknown placeholder {tag}; did you mean {version}?
    environments/prod/environment.toml:11:10: error: asg.web.after[0]: there is no target `fargate/backend` in this environment; it can wait for: fargate/api
    environments/prod/environment.toml:18:15: error: asg.web.rollout.min_healthy: expected an integer, found a string; write it without quotes: 90
    environments/prod/environment.toml:19:16: error: asg.web.rollout.checkpoints[0]: the last checkpoint isn't 100: some instances would never be replaced; end with 100
    environments/prod/environment.toml:20:12: error: asg.web.rollout.deadline: `45` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/prod/extra.toml:1:1: error: no file of this name is read; the files are environments/defaults.toml, environments/NAME/environment.toml and environments/NAME/pins.toml
    environments/prod/pins.toml:2:11: error: backend: fargate.api.image makes `333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:2.0.1+1` of this, which can't be used: an image's tag has at most 128 of letters, digits and _ . -, and starts with a letter, a digit or _; pin a version that is legal there
    environments/prod/pins.toml:3:10: error: worker: no target uses the component `worker`; remove it; components in use: backend, frontend
    "#);
    assert_eq!(repository.load().all_findings().len(), 10);
}

/// A untrusted person's word may be as long as a file; what is said of it isn't.
#[test]
fn what_is_said_of_long_words_is_short() {
    let long = "x".repeat(200_000);
    let repository = Repository::prod()
        .edit("component = \"frontend\"", &format!("component = \"{long}\""))
        .append(&format!("{long} = 1\n[promotion]\nfrom = \"{long}\""));
    let findings = repository.findings();
    assert!(findings.lines().count() >= 3, "{}", findings.lines().count());
    for line in findings.lines() {
        assert!(line.chars().count() < 3200, "{}", line.chars().count());
    }
}
