//! Who sets a pin doesn't choose where images come from: `{version}` stands behind the registry, the repository, the account.

use super::sample::{Repository, findings};

const IMAGE: &str = "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version}";

findings! {
    the_version_as_registry: Repository::prod().edit(IMAGE, "{version}.dkr.ecr.us-west-1.amazonaws.com/backend:1") => @"environments/prod/environment.toml:16:9: error: fargate.api.image: the version is part of the registry or the repository here; a pin must not choose where images come from; write both out, and put {version} into the tag: `registry.example.com/repository:{version}`";
    the_version_as_all_of_it: Repository::prod().edit(IMAGE, "{version}") => @"environments/prod/environment.toml:16:9: error: fargate.api.image: the version is part of the registry or the repository here; a pin must not choose where images come from; write both out, and put {version} into the tag: `registry.example.com/repository:{version}`";
    the_version_as_account_of_a_parameter: Repository::prod().edit("{ name = \"frontend-{version}\", owner = \"333333333333\" }", "{ parameter = \"arn:aws:ssm:us-west-1:{version}:parameter/App\" }").pins("frontend = \"444444444444\"\nbackend = \"1\"") => @"environments/prod/environment.toml:10:21: error: asg.web.ami.parameter: the version is part of the parameter's account or region here; a pin must not choose where images come from; write them out, and use {version} behind them, in the parameter's name, its version or its label";
}

/// Who sets a pin doesn't choose where its image comes from.
#[test]
fn the_version_stands_in_the_tag_and_nowhere_before() {
    let with = |image: &str| Repository::prod().edit(IMAGE, image).findings();
    const MESSAGE: &str = "environments/prod/environment.toml:16:9: error: fargate.api.image: the version is part of the registry or the \
                           repository here; a pin must not choose where images come from; write both out, and put {version} into the \
                           tag: `registry.example.com/repository:{version}`\n";
    for bad in [
        "{version}.dkr.ecr.us-west-1.amazonaws.com/backend:1",
        "333333333333.dkr.ecr.{version}.amazonaws.com/backend:{version}",
        "registry.example.com:{version}/backend:1",
        "registry.{version}/backend:1",
        "{version}/app",
        "{version}/app:1",
        "{version}",
        "registry.example.com/{version}:1",
        "registry.example.com/{version}/backend:1",
        "registry.example.com/team/backend-{version}:{version}",
        "registry.example.com/backend{version}",
        "registry.example.com/{version}",
        "registry.example.com{version}",
    ] {
        assert_eq!(with(bad), MESSAGE, "{bad}");
    }
    for good in [
        "333333333333.dkr.ecr.us-west-1.amazonaws.com/backend:{version}",
        "{account}.dkr.ecr.{region}.amazonaws.com/{environment}/{component}-{target}:{target}-{version}",
        "localhost:5000/backend:v{version}-{version}",
    ] {
        assert_eq!(with(good), "", "{good}");
    }
    // A version with what could be another registry in it stays one tag, and none that is legal.
    for version in ["5000/evil:1", "1/../evil:1", "1@sha256:2"] {
        let found = Repository::prod().pins(&format!("frontend = \"1\"\nbackend = \"{version}\"")).findings();
        assert!(found.starts_with("environments/prod/pins.toml:2:11: error: backend: "), "{found}");
    }
}

#[test]
fn the_version_does_not_choose_whose_parameter_is_read() {
    let way = "{ name = \"frontend-{version}\", owner = \"333333333333\" }";
    let with = |parameter: &str, version: &str| {
        let repository = Repository::prod().edit(way, &format!("{{ parameter = \"{parameter}\" }}"));
        repository.pins(&format!("frontend = \"{version}\"\nbackend = \"1\"")).findings()
    };
    let foreign = "arn:aws:ssm:us-west-1:444444444444:parameter/App";
    for (parameter, version) in [
        ("arn:aws:ssm:us-west-1:{version}:parameter/App", "444444444444"),
        ("arn:aws:ssm:{version}:333333333333:parameter/App", "us-west-1"),
        ("{version}", foreign),
    ] {
        let found = with(parameter, version);
        assert!(found.contains("a pin must not choose where images come from"), "{parameter}: {found}");
    }
    for (parameter, version) in [
        ("/App/AmiId:{version}", "7"),
        ("/App/{version}/AmiId", "1.4"),
        ("{version}", "AmiId"),
        ("arn:aws:ssm:us-west-1:333333333333:parameter/App/{version}", "1.4"),
    ] {
        assert_eq!(with(parameter, version), "", "{parameter}");
    }
}
