//! Files and folders that aren't read, though somebody meant them to be.

use std::path::Path;

use pinion_core::manifest::{self, read, render};

use super::sample::{ENVIRONMENT, PINS};

const FREEZE: &str = "@id(\"freeze\") @reason(\"b\") forbid (principal, action, resource);";

/// All that is said of a folder that holds these files.
fn said_of(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(""))).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let read = read::folder(folder.path()).unwrap();
    let loaded = manifest::load_with_refused(&read.files, &read.refused);
    let warnings = render::warnings(&loaded, jiff::Timestamp::UNIX_EPOCH);
    let lines = loaded.all_findings().iter().map(ToString::to_string).collect::<Vec<_>>();
    lines.into_iter().chain(warnings.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

/// What is said if these files lie beside a good environment.
fn beside(more: &[(&str, &str)]) -> String {
    let good = [("environments/prod/environment.toml", ENVIRONMENT), ("environments/prod/pins.toml", PINS)];
    said_of(&[&good, more].concat())
}

#[test]
fn a_guardrail_in_a_folder_of_another_name_is_noticed() {
    assert_eq!(beside(&[("policies/guardrails/freeze.cedar", FREEZE)]), "");
    insta::assert_snapshot!(beside(&[("policy/freeze.cedar", FREEZE)]), @"policy/freeze.cedar:1: warning: this guardrail isn't read, and so forbids nothing; guardrails are read below policies/: move it to policies/guardrails/freeze.cedar");
    for path in [
        "policy/guardrails/freeze.cedar",
        "Policies/freeze.cedar",
        "POLICIES/guardrails/freeze.cedar",
        "polices/freeze.cedar",
        "guardrails/freeze.cedar",
        "guardrail/freeze.cedar",
        "freeze.cedar",
        "environments/freeze.cedar",
        "environments/prod/freeze.cedar",
    ] {
        // Beside policies/ and instead of it.
        for other in [None, Some(("policies/guardrails/other.cedar", FREEZE))] {
            let files: Vec<_> = other.into_iter().chain([(path, FREEZE)]).collect();
            assert_eq!(
                beside(&files),
                format!(
                    "{path}:1: warning: this guardrail isn't read, and so forbids nothing; guardrails are read below policies/: move it to \
                     policies/guardrails/freeze.cedar"
                )
            );
        }
    }
    // Other tools' folders of these names, and other folders with what looks like one.
    assert_eq!(beside(&[("policy/deny.rego", ""), ("rules/a/b/x.yaml", ""), ("docs/freeze.cedar", FREEZE)]), "");
}

#[test]
fn a_guardrail_with_one_ending_too_many_is_noticed() {
    insta::assert_snapshot!(beside(&[("policies/guardrails/freeze.cedar.txt", FREEZE)]), @"policies/guardrails/freeze.cedar.txt:1: warning: this isn't read, and so forbids nothing: a guardrail's name ends in .cedar; rename it to policies/guardrails/freeze.cedar, or remove it");
    for ending in [".bak", "~", ".orig", ".disabled", ".json"] {
        let path = format!("policies/guardrails/Freeze.Cedar{ending}");
        let said = beside(&[(&path, FREEZE)]);
        assert!(said.contains("rename it to policies/guardrails/Freeze.Cedar, or remove it"), "{said}");
    }
    let both = [("policies/a.cedar", FREEZE), ("policies/a.cedar.bak", FREEZE)];
    insta::assert_snapshot!(beside(&both), @"policies/a.cedar.bak:1: warning: this isn't read, and so forbids nothing: a guardrail's name ends in .cedar; remove it: policies/a.cedar is read");
    let fine =
        [("policies/guardrails/pinion.cedarschema", ""), ("policies/iam/trust.json", "{}"), ("policies/README.md", "")];
    assert_eq!(beside(&fine), "");
}

#[test]
fn defaults_of_another_name_are_noticed() {
    insta::assert_snapshot!(beside(&[("environments/defaults.yaml", "a: 1")]), @"environments/defaults.yaml:1: warning: this file isn't read; the files are TOML: write it as environments/defaults.toml");
    for name in ["defaults.yml", "defaults.json", "Defaults.YAML", "default.yaml", "defaults", "defaults.toml.txt"] {
        let path = format!("environments/{name}");
        assert!(beside(&[(&path, "")]).contains("write it as environments/defaults.toml"), "{name}");
        // Beside the real one it is another tool's, or a copy.
        assert_eq!(
            beside(&[(&path, ""), ("environments/defaults.toml", "[account]\nregion = \"us-west-1\"")]),
            "",
            "{name}"
        );
    }
    insta::assert_snapshot!(beside(&[("defaults.toml", "")]), @"defaults.toml:1: warning: this file isn't read; move it to environments/defaults.toml");
}

#[test]
fn a_folder_of_environments_by_another_name_is_noticed() {
    for name in ["Environments", "ENVIRONMENTS", "environment", "enviroments", "envs", "env", "Env"] {
        let paths = [format!("{name}/dev/environment.toml"), format!("{name}/dev/pins.toml")];
        let files = [(paths[0].as_str(), ENVIRONMENT), (paths[1].as_str(), PINS)];
        assert_eq!(
            said_of(&files),
            format!(
                "environments:1:1: error: there is no environment; there is a folder {name}/: rename it to environments/"
            )
        );
        assert_eq!(
            beside(&files),
            format!(
                "{name}:1: warning: this folder isn't read; environments are the folders of environments/: move what is in it there"
            )
        );
        // Another tool's.
        assert_eq!(beside(&[(&format!("{name}/bin/activate"), "")]), "", "{name}");
    }
}

#[test]
fn environments_that_lie_elsewhere_are_noticed() {
    let infra =
        [("infra/environments/prod/environment.toml", ENVIRONMENT), ("infra/environments/prod/pins.toml", PINS)];
    insta::assert_snapshot!(said_of(&infra), @"environments:1:1: error: there is no environment; there is a folder infra/environments/: environments/ is read at the root of the repository: name the folder that it is in, or move it");
    // Where somebody stands in an environment's folder.
    insta::assert_snapshot!(said_of(&[("environment.toml", ENVIRONMENT), ("pins.toml", PINS)]), @"environments:1:1: error: there is no environment; there is environment.toml itself: an environment's files are environments/NAME/environment.toml below the root of the repository: name that folder, or move them");
    // Where they stand in `environments/`, or have no such folder.
    let bare = [("prod/environment.toml", ENVIRONMENT), ("prod/pins.toml", PINS), ("terraform/main.tf", "")];
    insta::assert_snapshot!(said_of(&bare), @"environments:1:1: error: there is no environment; there is prod/environment.toml: environments are the folders of environments/: name the folder that environments/ is in, or move them into one");
    let deep = [("environments/eu/prod/environment.toml", ENVIRONMENT), ("environments/eu/prod/pins.toml", PINS)];
    insta::assert_snapshot!(said_of(&deep), @r#"
    environments/eu/environment.toml:1:1: error: this file is missing; environments/eu/prod/environment.toml isn't read: environments aren't put below each other; move its folder to environments/
    environments/eu/pins.toml:1:1: error: this file is missing; environments/eu/prod/environment.toml isn't read: environments aren't put below each other; move its folder to environments/
    "#);
}

#[test]
fn an_environments_file_by_another_name_is_named() {
    for (right, other) in [
        ("environment.toml", "environment.yml"),
        ("environment.toml", "environment.tml"),
        ("environment.toml", "environment.toml.txt"),
        ("environment.toml", "environment"),
        ("environment.toml", "env.yaml"),
        ("pins.toml", "pins.json"),
        ("pins.toml", "pins.toml.orig"),
        ("pins.toml", "Pins.yaml"),
        ("pins.toml", "pin.yaml"),
    ] {
        let paths = ["environment.toml", "pins.toml"]
            .map(|name| format!("environments/prod/{}", if name == right { other } else { name }));
        assert_eq!(
            said_of(&[(&paths[0], ENVIRONMENT), (&paths[1], PINS)]),
            format!(
                "environments/prod/{right}:1:1: error: this file is missing; environments/prod/{other} isn't read: the files are TOML; \
                 write it as environments/prod/{right}"
            )
        );
    }
}
