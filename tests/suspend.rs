//! `pinion suspend` and `pinion resume`: what they write, and not one other byte; what they commit, and what they refuse.

use std::process::Output;

use pinion::cli::suspend::edit::{self, Entry, What};
use pinion::model::LocalRef;

use crate::support::stage::git::{self, Repo};

const UNTIL: &str = "2036-01-01T00:00:00Z";

const ENVIRONMENT: &str = r#"# The one that counts.
[account]
id = "111111111111"
region = "us-west-1"
role = "arn:aws:iam::111111111111:role/pinion"

[asg.web]  # the front
ami = { name = "web-{version}" }

[ecs.api]
cluster = 'app'
image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/api:{version}"
"#;

const STOP: &str = "\n[suspend]\nowner = \"Grace Example <grace@example.com>\"\nreason = \"an incident\"\nuntil = 2036-01-01T00:00:00Z\n";

fn entry(reason: &str) -> Entry {
    Entry { owner: "ops".to_owned(), reason: reason.to_owned(), until: UNTIL.parse().unwrap() }
}

fn set(text: &str, target: &str, reason: &str) -> Result<String, String> {
    let local = LocalRef::try_from(target.to_owned()).ok();
    edit::set(text, local.as_ref().map_or(What::All, What::Target), &entry(reason)).map_err(|error| error.to_string())
}

fn clear(text: &str, target: &str) -> Result<Option<String>, String> {
    let local = LocalRef::try_from(target.to_owned()).ok();
    edit::clear(text, local.as_ref().map_or(What::All, What::Target)).map_err(|error| error.to_string())
}

#[test]
fn a_suspension_is_added_at_the_end_and_taken_out_without_a_trace() {
    let windows = ENVIRONMENT.replace('\n', "\r\n");
    let added =
        |header: &str| format!("\n[{header}]\nowner = \"ops\"\nreason = \"it's \\\"new\\\"\"\nuntil = {UNTIL}\n");
    for (target, header) in [
        ("", "suspend"),
        ("asg/web", "asg.web.suspend"),
        ("fargate/api", "ecs.api.suspend"),
        ("fargate/x", "fargate.x.suspend"),
    ] {
        let there = set(ENVIRONMENT, target, "it's \"new\"").unwrap();
        let expected = added(header).replace("\"it's \\\"new\\\"\"", &toml_text("it's \"new\""));
        assert_eq!(there, format!("{ENVIRONMENT}{expected}"));
        assert_eq!(clear(&there, target).unwrap().as_deref(), Some(ENVIRONMENT));
        let there = set(&windows, target, "x").unwrap();
        assert!(
            there.ends_with(&format!("until = {UNTIL}\r\n")) && !there.replace("\r\n", "").contains('\n'),
            "{there:?}"
        );
        assert_eq!(clear(&there, target).unwrap().as_deref(), Some(windows.as_str()));
        assert_eq!(clear(ENVIRONMENT, target).unwrap(), None);
    }
    assert!(set("", "", "x").unwrap().starts_with("[suspend]\n"));
    assert_eq!(clear(&set("", "", "x").unwrap(), "").unwrap().as_deref(), Some(""));
}

/// A text as TOML has it, in whatever quotes.
fn toml_text(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}

#[test]
fn one_that_is_there_is_changed_where_it_stands() {
    for before in [
        "suspend = { owner = 'a', reason = \"b\", until = 2030-01-01T00:00:00Z }  # for now\n[asg.web]\n",
        "[suspend]  # see the incident\nuntil = \"2030-01-01T00:00:00Z\"\n# whom to ask\nowner = 'a'\nreason = 'b'\n\n[asg.web]\n",
    ] {
        let after = set(before, "", "new").unwrap();
        let again = after.replace("\"ops\"", "'a'").replace(UNTIL, "2030-01-01T00:00:00Z");
        assert_eq!(
            again.replace(['"', '\''], ""),
            before.replace("= 'b'", "= new").replace("\"b\"", "new").replace(['"', '\''], "")
        );
        assert!(after.contains("for now") || after.contains("whom to ask"), "{after}");
        assert_eq!(clear(before, "").unwrap().unwrap().trim(), "[asg.web]");
    }
    let inner = "[asg.web]\nami = { id = \"x\" }\nsuspend = { owner = \"a\", reason = \"b\", until = 2030-01-01T00:00:00Z }\n# end\n";
    assert_eq!(clear(inner, "asg/web").unwrap().as_deref(), Some("[asg.web]\nami = { id = \"x\" }\n# end\n"));
}

#[test]
fn what_cannot_be_changed_safely_is_left_to_a_person() {
    let line = "asg = { web = { suspend = { owner = \"a\", reason = \"b\", until = 2030-01-01T00:00:00Z } } }\n";
    assert!(clear(line, "asg/web").unwrap_err().contains("[asg.web.suspend] has a form"));
    assert!(set("asg = { web = { component = 'x' } }\n", "asg/web", "x").unwrap_err().contains("by hand"));
    assert!(set("[suspend]\nowner = 'a'\n", "", "x").unwrap_err().contains("[suspend] has a form"));
    assert!(set("x = ", "", "x").unwrap_err().contains("not TOML"));
}

/// `dev` and `prod`, each with a group and a service.
fn repository() -> Repo {
    let repo = Repo::new();
    for name in ["dev", "prod"] {
        let text = ENVIRONMENT.replace("web-", &format!("{name}-")).replace("'app'", &format!("'{name}'"));
        let text = text.replace("[asg.web]  # the front\n", &format!("[asg.web]  # the front\ngroup = \"{name}\"\n"));
        repo.write(&format!("environments/{name}/environment.toml"), text);
        repo.write(&format!("environments/{name}/pins.toml"), "web = '1'\napi = '1'\n");
    }
    repo.commit("start");
    repo.push();
    repo
}

fn pinion(repo: &Repo, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"));
    git::hermetic(&mut command, repo.work().parent().unwrap())
        .args(arguments)
        .current_dir(repo.work())
        .env("GIT_AUTHOR_NAME", "Grace Example")
        .env("GIT_AUTHOR_EMAIL", "grace@example.com")
        .env("GIT_COMMITTER_NAME", "Grace Example")
        .env("GIT_COMMITTER_EMAIL", "grace@example.com")
        .output()
        .unwrap()
}

/// What was printed, to standard output and to standard error.
fn done(repo: &Repo, arguments: &[&str]) -> (String, String) {
    let output = pinion(repo, arguments);
    let (out, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    (out, errors)
}

/// Fails, and gives the words; nothing may have changed.
fn refused(repo: &Repo, code: i32, arguments: &[&str]) -> String {
    let state = || (repo.head(), repo.git(&["status", "--porcelain"]));
    let before = state();
    let output = pinion(repo, arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(state(), before);
    String::from_utf8(output.stderr).unwrap()
}

fn file(repo: &Repo, path: &str) -> String {
    std::fs::read_to_string(repo.work().join("environments").join(path)).unwrap_or_default()
}

#[test]
fn an_environment_is_suspended_and_resumed_by_a_commit_each() {
    let repo = repository();
    let before = file(&repo, "prod/environment.toml");
    let suspend = ["suspend", "-e", "prod", "--until", UNTIL, "--reason", "an incident", "--push"];
    let (out, _) = done(&repo, &suspend);
    assert_eq!(out, format!("prod: suspended until {UNTIL}\npushed to main of origin\n"));
    assert_eq!(file(&repo, "prod/environment.toml"), format!("{before}{STOP}"));
    assert_eq!(
        repo.git(&["log", "-1", "--format=%an: %B"]),
        format!(
            "Grace Example: suspend prod until {UNTIL}\n\nan incident\n\n- owner: Grace Example <grace@example.com>"
        )
    );
    assert!(repo.git(&["ls-remote", "origin", "refs/heads/main"]).starts_with(&repo.head()));
    let head = repo.head();
    let (out, errors) = done(&repo, &suspend[..7]);
    assert_eq!((out.as_str(), errors.as_str()), ("", "prod is suspended so already\n"));
    assert_eq!(repo.head(), head);

    let (out, errors) = done(&repo, &["resume", "-e", "prod"]);
    assert_eq!((out.as_str(), errors.as_str()), ("prod: resumed\n", ""));
    assert_eq!(file(&repo, "prod/environment.toml"), before);
    assert_eq!(repo.git(&["log", "-1", "--format=%s"]), "resume prod");
    let (out, errors) = done(&repo, &["resume", "-e", "prod"]);
    assert_eq!((out.as_str(), errors.as_str()), ("", "prod has no suspension of its own\n"));
}

#[test]
fn all_environments_are_suspended_by_a_file_that_goes_again() {
    let repo = repository();
    let (out, _) = done(&repo, &["suspend", "--all", "--for", "1d", "--reason", "a freeze", "--owner", "ops"]);
    assert!(out.starts_with("all environments: suspended until 20"), "{out}");
    let text = file(&repo, "defaults.toml");
    assert!(text.starts_with("[suspend]\nowner = \"ops\"\nreason = \"a freeze\"\nuntil = 20"), "{text}");
    let (out, errors) = done(&repo, &["validate"]);
    assert!(out.contains("no findings"), "{out}");
    assert!(
        errors.contains("environments/defaults.toml:1: note: suspend: all targets of all environments"),
        "{errors}"
    );

    done(&repo, &["suspend", "asg/web", "-e", "dev", "--until", UNTIL, "--reason", "mine"]);
    let (out, errors) = done(&repo, &["resume", "-e", "dev"]);
    assert_eq!(out, "");
    assert!(errors.contains("dev has no suspension of its own\n"), "{errors}");
    let own = format!("dev/asg/web stays suspended until {UNTIL}, by its own table: `pinion resume asg/web -e dev`\n");
    assert!(errors.contains(&own), "{errors}");
    assert!(errors.contains("by [suspend] in environments/defaults.toml: `pinion resume --all`\n"), "{errors}");

    let (out, errors) = done(&repo, &["resume", "--all"]);
    assert_eq!(out, "all environments: resumed\n");
    assert_eq!(errors, own);
    assert!(!repo.work().join("environments/defaults.toml").exists());
}

#[test]
fn who_stops_something_needs_not_put_all_else_right_first() {
    let repo = repository();
    repo.set("environments/prod/pins.toml", "web = 1\n");
    done(&repo, &["suspend", "-e", "prod,dev", "--until", UNTIL, "--reason", "an incident"]);
    assert!(
        file(&repo, "prod/environment.toml").ends_with(STOP) && file(&repo, "dev/environment.toml").ends_with(STOP)
    );
    done(&repo, &["suspend", "asg/web", "-e", "prod", "--until", UNTIL, "--reason", "an incident"]);
    let words = refused(&repo, 64, &["suspend", "asg/wob", "-e", "prod", "--for", "2h", "--reason", "x"]);
    assert!(words.contains("has no target `asg/wob`") && words.contains("its files are broken"), "{words}");
}

#[test]
fn what_is_meant_has_to_be_there() {
    let repo = repository();
    let suspend = |more: &[&str], code| refused(&repo, code, &[&["suspend", "--reason", "x"], more].concat());
    assert!(suspend(&["-e", "pord", "--for", "2h"], 64).contains("did you mean `prod`?"));
    assert!(suspend(&["asg/wob", "-e", "prod", "--for", "2h"], 64).contains("did you mean `asg/web`?"));
    assert!(suspend(&["-e", "prod"], 64).contains("--for"));
    assert!(suspend(&["--for", "2h"], 64).contains("--environment"));
    assert!(suspend(&["--all", "-e", "prod", "--for", "2h"], 64).contains("cannot be used with"));
    assert!(suspend(&["-e", "prod", "--until", "2001-01-01T00:00:00Z"], 64).contains("2001-01-01T00:00:00Z is past"));
    assert!(suspend(&["-e", "prod", "--until", "tomorrow"], 64).contains("RFC 3339"));
    assert!(suspend(&["-e", "prod", "--for", "tomorrow"], 64).contains("such as 3d, 9h or \"1h 30m\""));
    repo.write("environments/prod/environment.toml", file(&repo, "prod/environment.toml") + "# mine\n");
    assert!(suspend(&["-e", "prod", "--for", "2h"], 1).contains("changes that aren't committed"));
}

#[test]
fn a_push_that_comes_late_is_made_again_on_top() {
    let repo = repository();
    let other = Repo::new();
    other.git(&["remote", "set-url", "origin", repo.bare().to_str().unwrap()]);
    other.git(&["pull", "--quiet", "origin", "main"]);
    done(&other, &["suspend", "asg/web", "-e", "prod", "--until", UNTIL, "--reason", "theirs", "--push"]);
    let (out, errors) = done(&repo, &["suspend", "-e", "prod", "--until", UNTIL, "--reason", "an incident", "--push"]);
    assert!(out.ends_with("pushed to main of origin\n") && errors.contains("has moved"), "{out}{errors}");
    let text = file(&repo, "prod/environment.toml");
    assert!(text.contains("[asg.web.suspend]") && text.ends_with(STOP), "{text}");
}
