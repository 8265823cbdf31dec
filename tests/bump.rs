//! `pinion bump`: the pinned value changes and not one other byte; commits, branches, downgrades, and what goes wrong.

use std::path::Path;
use std::process::Output;

use pinion::cli::bump::edit::{self, EditError};
use pinion::model::{Component, Digest, Version};

use crate::support::python;
use crate::support::stage;
use crate::support::stage::git::{self, Repo};

const OLD: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const NEW: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

fn pin(text: &str, version: &str, digest: Option<&str>) -> Result<edit::Edit, EditError> {
    let digest = digest.map(|digest| Digest::try_from(digest).unwrap());
    edit::pin(text, &Component::try_from("web").unwrap(), &Version::try_from(version).unwrap(), digest.as_ref())
}

/// Oddly formatted files: `‹old|new›` is what changes.
const FILES: &[&str] = &[
    "web = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "web = ‹\"1.4.2\"|\"1.5.0\"›",
    "web=‹\"1.4.2\"|\"1.5.0\"›\n",
    "  web\t =\t  ‹\"1.4.2\"|\"1.5.0\"›   \n",
    "\n\n\n# web = \"1.4.2\"\nweb = ‹\"1.4.2\"|\"1.5.0\"› # was \"1.4.2\"\n\n\n",
    "web = ‹'1.4.2'|'1.5.0'›\n",
    "web = ‹\"\"\"1.4.2\"\"\"|\"\"\"1.5.0\"\"\"›\n",
    "web = ‹'''1.4.2'''|'''1.5.0'''›\n",
    "\"web\" = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "'web' = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "web = ‹\"1\\u002E4.2\"|\"1.5.0\"›\n",
    "# one\r\nweb = ‹\"1.4.2\"|\"1.5.0\"›\r\napi = \"1.4.2\"\r\n",
    "api = '1.4.2' # same\nweb = ‹\"1.4.2\"|\"1.5.0\"›\r\nworker = \"1.4.2\"\n",
    "\u{feff}web = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "web = {version=‹\"1.4.2\"|\"1.5.0\"›}\n",
    "web = {   version   =   ‹'1.4.2'|'1.5.0'›   }   # inline\n",
    "web.version = ‹\"1.4.2\"|\"1.5.0\"›\n",
    " \"web\" . 'version' = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "api = \"1\"\n\n[web] # a table\n  version = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "# ünïcödé ✓ \"1.4.2\"\n#:schema ../../schemas/pins.schema.json\nweb = ‹\"1.4.2\"|\"1.5.0\"› # ✓\n",
    "web-2 = \"1.4.2\"\nweb_2 = \"1.4.2\"\nweb = ‹\"1.4.2\"|\"1.5.0\"›\nwebs = \"1.4.2\"\n",
    "\t\tapi = { version = \"1.4.2\" }\n\t\tweb = ‹\"1.4.2\"|\"1.5.0\"›\n\t# end",
];

/// The same with a digest.
const DIGESTS: &[&str] = &[
    "web = { version = ‹\"1.4.2\"|\"1.5.0\"›, digest = ‹\"OLD\"|\"NEW\"› } # both\n",
    "web={digest='‹OLD|NEW›',version=‹\"1.4.2\"|\"1.5.0\"›}\r\n",
    "web.digest = ‹\"OLD\"|\"NEW\"›\nweb.version = ‹\"1.4.2\"|\"1.5.0\"›\n",
    "[web]\n\n  digest = ‹\"OLD\"|\"NEW\"› # of the image\n  version = ‹\"1.4.2\"|\"1.5.0\"›",
    "web = ‹\"1.4.2\"|{ version = \"1.5.0\", digest = \"NEW\" }› # none yet\n",
    "web = ‹'1.4.2'|{ version = '1.5.0', digest = 'NEW' }›\n",
    "web = { version = ‹\"1.4.2\"|\"1.5.0\", digest = \"NEW\"› }\n",
    "  web.version = ‹\"1.4.2\"|\"1.5.0\"› # dotted‹|\n  web.digest = \"NEW\"›\napi = \"1\"\n",
    "[web]\r\nversion = ‹\"1.4.2\"|\"1.5.0\"›‹|\r\ndigest = \"NEW\"›\r\n",
    "web . \"version\" = ‹\"1.4.2\"|\"1.5.0\"›‹|\nweb . \"digest\" = \"NEW\"›",
];

/// A file before and after.
fn sides(marked: &str) -> (String, String) {
    let marked = marked.replace("OLD", OLD).replace("NEW", NEW);
    let (mut old, mut new) = (String::new(), String::new());
    for (index, part) in marked.split(['‹', '›']).enumerate() {
        let (before, after) = if index % 2 == 1 { part.split_once('|').unwrap() } else { (part, part) };
        old += before;
        new += after;
    }
    (old, new)
}

#[test]
fn the_pinned_value_changes_and_not_one_other_byte() {
    assert!(FILES.len() >= 20);
    for marked in FILES {
        let (old, new) = sides(marked);
        let edit = pin(&old, "1.5.0", None).unwrap();
        assert_eq!(edit.text, new, "{marked:?}");
        assert_eq!(edit.before, "1.4.2");
        assert_eq!(pin(&new, "1.5.0", None).unwrap().text, new, "a second time changes nothing");
        assert_eq!(pin(&new, "1.4.2", None).unwrap().text.replace("\\u002E", "."), old.replace("\\u002E", "."));
    }
}

#[test]
fn a_digest_is_set_with_its_version() {
    for marked in DIGESTS {
        let (old, new) = sides(marked);
        assert_eq!(pin(&old, "1.5.0", Some(NEW)).unwrap().text, new, "{marked:?}");
        assert_eq!(pin(&new, "1.5.0", Some(NEW)).unwrap().text, new, "a second time changes nothing");
        let pinned = pinion::manifest::pin_values(new.as_bytes());
        assert_eq!(pinned["web"], format!("1.5.0@{NEW}"), "{marked:?}");
        if old.contains(OLD) {
            let error = pin(&old, "1.5.0", None).unwrap_err();
            assert!(matches!(error, EditError::Digest(_)), "the digest of another version can't stay");
            assert_eq!(pin(&old, "1.4.2", None).unwrap().text, old);
        }
    }
}

#[test]
fn versions_that_need_it_are_escaped() {
    for (old, version, new) in [
        ("web = '1'\n", "it's", "web = \"it's\"\n"),
        ("web = \"1\"\n", "a\"b\\c", "web = \"a\\\"b\\\\c\"\n"),
        ("web = '''1'''\n", "a\"b", "web = '''a\"b'''\n"),
    ] {
        let text = pin(old, version, None).unwrap().text;
        assert_eq!(text, new);
        assert_eq!(pinion::manifest::pin_values(text.as_bytes())["web"], version);
    }
}

#[test]
fn what_is_no_pin_is_refused() {
    let message = |text: &str| pin(text, "2", None).unwrap_err().to_string();
    assert_eq!(message("api = \"1\"\nb = \"2\"\n"), "there is no pin of `web`; pins: api, b");
    for odd in ["web = 1\n", "web = [\"1\"]\n", "web = { digest = \"x\" }\n", "[[web]]\nversion = \"1\"\n"] {
        assert!(message(odd).starts_with("the pin of `web` is neither a version nor a table"), "{odd}");
    }
    assert_eq!(message("web = \"1"), "this is not TOML");
}

#[test]
fn the_template_changes_by_its_values_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("environments");
    for environment in ["dev", "prod"] {
        let text = std::fs::read_to_string(root.join(environment).join("pins.toml")).unwrap();
        let component = Component::try_from("frontend").unwrap();
        let edit = edit::pin(&text, &component, &Version::try_from("9.9.9").unwrap(), None).unwrap();
        let old = format!("frontend = \"{}\"", edit.before);
        assert_eq!(edit.text, text.replace(&old, "frontend = \"9.9.9\""));
    }
}

const ENVIRONMENT: &str = r#"
[account]
id = "111111111111"
region = "us-west-1"
role = "arn:aws:iam::111111111111:role/pinion"
[fargate.web]
cluster = "app"
service = "SERVICE"
image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/web:{version}"
"#;

/// A repository with `dev` on 1.4.2 and `prod` on 1.4.1, each with a comment.
fn repository() -> Repo {
    let repo = Repo::new();
    for (name, version) in [("dev", "1.4.2"), ("prod", "1.4.1")] {
        repo.write(&format!("environments/{name}/environment.toml"), ENVIRONMENT.replace("SERVICE", name));
        repo.write(&format!("environments/{name}/pins.toml"), format!("# {name}\nweb = '{version}'  # now\n"));
    }
    repo.commit("start");
    repo
}

fn bump(repo: &Repo, arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pinion"));
    git::hermetic(&mut command, repo.work().parent().unwrap())
        .arg("bump")
        .args(arguments)
        .current_dir(repo.work())
        .env("GIT_AUTHOR_NAME", "Grace Example")
        .env("GIT_AUTHOR_EMAIL", "grace@example.com")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("GIT_COMMITTER_NAME", "Grace Example")
        .env("GIT_COMMITTER_EMAIL", "grace@example.com")
        .output()
        .unwrap()
}

/// Bumps, and gives what was printed.
fn bumped(repo: &Repo, arguments: &[&str]) -> String {
    let output = bump(repo, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Fails to bump with 1, and gives the words; nothing may have changed.
fn refused(repo: &Repo, arguments: &[&str]) -> String {
    refused_with(1, repo, arguments)
}

fn refused_with(code: i32, repo: &Repo, arguments: &[&str]) -> String {
    let state = || (repo.head(), repo.git(&["status", "--porcelain"]), repo.git(&["branch", "--list"]));
    let before = state();
    let output = bump(repo, arguments);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(state(), before);
    String::from_utf8(output.stderr).unwrap()
}

fn pins(repo: &Repo, environment: &str) -> String {
    std::fs::read_to_string(repo.work().join(format!("environments/{environment}/pins.toml"))).unwrap()
}

#[test]
fn several_environments_are_one_commit_with_a_useful_message() {
    let repo = repository();
    let before = repo.head();
    let printed = bumped(&repo, &["web", "1.5.0", "--environment", "prod,dev"]);
    assert_eq!(printed, "dev: web 1.4.2 → 1.5.0\nprod: web 1.4.1 → 1.5.0\n");
    assert_eq!(pins(&repo, "dev"), "# dev\nweb = '1.5.0'  # now\n");
    assert_eq!(pins(&repo, "prod"), "# prod\nweb = '1.5.0'  # now\n");
    assert_eq!(repo.git(&["rev-parse", "HEAD^"]), before);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    assert_eq!(
        repo.git(&["show", "--no-patch", "--format=%an <%ae>%n%B"]),
        "Grace Example <grace@example.com>\nweb 1.5.0 in dev, prod\n\n- dev: 1.4.2 → 1.5.0\n- prod: 1.4.1 → 1.5.0"
    );
    assert_eq!(bumped(&repo, &["web", "1.5.0", "-e", "dev"]), "", "it is so already");
    assert_eq!(repo.git(&["rev-list", "--count", "HEAD"]), "2");
}

#[test]
fn a_branch_leaves_the_other_one_alone() {
    let repo = repository();
    let main = repo.head();
    bumped(&repo, &["web", "1.5.0", "-e", "dev", "--branch", "web-1.5.0"]);
    assert_eq!(repo.git(&["branch", "--show-current"]), "web-1.5.0");
    assert_eq!(repo.git(&["rev-parse", "main"]), main);
    assert_eq!(repo.git(&["rev-parse", "HEAD^"]), main);
    let words = refused(&repo, &["web", "1.6.0", "-e", "dev", "--branch", "main"]);
    assert!(words.contains("already exists"), "{words}");
}

#[test]
fn editing_only_commits_nothing_and_needs_no_git() {
    let repo = repository();
    let before = repo.head();
    bumped(&repo, &["web", "1.5.0", "-e", "dev", "--no-commit"]);
    assert_eq!(repo.head(), before);
    assert_eq!(repo.git(&["status", "--porcelain"]), " M environments/dev/pins.toml");
    std::fs::remove_dir_all(repo.work().join(".git")).unwrap();
    bumped(&repo, &["web", "1.6.0", "-e", "dev", "--no-commit"]);
    assert_eq!(pins(&repo, "dev"), "# dev\nweb = '1.6.0'  # now\n");
    // A commit needs one.
    let output = bump(&repo, &["web", "1.7.0", "-e", "dev"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("hint: change into a clone of your environments repository, or name it with --dir\n"),
        "{said}"
    );
    assert_eq!(pins(&repo, "dev"), "# dev\nweb = '1.6.0'  # now\n", "nothing has changed");
}

#[test]
fn a_downgrade_wants_to_be_meant_and_then_says_so() {
    let repo = repository();
    let words = refused(&repo, &["-e", "dev", "-e", "prod", "web", "1.4.1"]);
    assert!(words.contains("1.4.1 is older than 1.4.2, which dev has"), "{words}");
    assert!(words.contains("--allow-downgrade"), "{words}");
    bumped(&repo, &["web", "1.4.1", "-e", "dev", "--allow-downgrade"]);
    assert_eq!(repo.git(&["show", "--no-patch", "--format=%(trailers)"]), "Rollback: from 1.4.2");
    let words = refused(&repo, &["web", "1.4.1-rc.1", "-e", "dev"]);
    assert!(words.contains("is older"), "{words}");
    bumped(&repo, &["web", "nightly", "-e", "dev"]);
    bumped(&repo, &["web", "0.1.0", "-e", "dev"]);
    assert_eq!(repo.git(&["show", "--no-patch", "--format=%(trailers)"]), "", "no order is known of `nightly`");
}

#[test]
fn what_is_staged_or_changed_elsewhere_is_not_committed_with_it() {
    let repo = repository();
    repo.write("other.txt", "mine");
    repo.git(&["add", "other.txt"]);
    bumped(&repo, &["web", "1.5.0", "-e", "dev"]);
    assert_eq!(repo.git(&["show", "--name-only", "--format="]), "environments/dev/pins.toml");
    assert_eq!(repo.git(&["status", "--porcelain"]), "A  other.txt");
    repo.write("environments/dev/pins.toml", "web = \"1.5.0\"\n");
    let words = refused(&repo, &["web", "1.6.0", "-e", "dev"]);
    assert!(words.contains("there are changes that aren't committed"), "{words}");
}

#[test]
fn a_version_that_would_break_an_environment_is_refused() {
    let repo = repository();
    let words = refused(&repo, &["web", "not/a/tag", "-e", "dev"]);
    assert!(words.contains("with this version there would be 1 finding: nothing was changed"), "{words}");
    assert!(words.contains("environments/dev/pins.toml:2:7: error: web:"), "{words}");
    let words = refused(&repo, &["api", "1.5.0", "-e", "dev"]);
    assert!(words.contains("there is no pin of `api`; pins: web"), "{words}");
    let words = refused_with(64, &repo, &["web", "1.5.0", "-e", "prud"]);
    assert!(words.contains("there is no environment `prud`\nhint: did you mean `prod`?"), "{words}");
    let words = refused_with(64, &repo, &["web", "--latest", "-e", "staging"]);
    assert!(words.contains("there is no environment `staging`\nhint: environments: dev, prod"), "{words}");
    assert_eq!(bump(&repo, &["web", "1.5.0"]).status.code(), Some(64), "no environment is named");
    assert_eq!(bump(&repo, &["web", "1.5.0", "-e", "No"]).status.code(), Some(64));
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind() {
    let repo = repository();
    let hook = repo.work().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'not on a Friday' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let words = refused(&repo, &["web", "1.5.0", "-e", "dev", "--branch", "release"]);
    assert!(words.contains("not on a Friday"), "{words}");
    assert_eq!(pins(&repo, "dev"), "# dev\nweb = '1.4.2'  # now\n");
    assert_eq!(repo.git(&["branch", "--show-current"]), "main");
}

/// A second clone of the same repository: somebody else.
fn clone(repo: &Repo) -> Repo {
    let other = Repo::new();
    other.git(&["remote", "set-url", "origin", repo.bare().to_str().unwrap()]);
    other.git(&["pull", "--quiet", "origin", "main"]);
    other
}

#[test]
fn a_push_that_comes_late_is_made_again_on_top() {
    let repo = repository();
    repo.write("environments/dev/pins.toml", "api = \"1\"\nweb = \"1.4.2\"\n");
    repo.write(
        "environments/dev/environment.toml",
        ENVIRONMENT.replace("SERVICE", "dev")
            + "[fargate.api]\ncluster = \"app\"\nimage = \"111111111111.dkr.ecr.us-west-1.amazonaws.com/api:{version}\"\n",
    );
    repo.commit("two of them");
    repo.push();
    let other = clone(&repo);

    // Neighbouring lines: Git itself would find a conflict.
    let printed = bumped(&other, &["api", "2", "-e", "dev", "--push"]);
    assert_eq!(printed, "dev: api 1 → 2\npushed to main of origin\n");
    let printed = bumped(&repo, &["web", "1.5.0", "-e", "dev", "--push"]);
    assert_eq!(printed, "dev: web 1.4.2 → 1.5.0\npushed to main of origin\n");
    assert_eq!(pins(&repo, "dev"), "api = \"2\"\nweb = \"1.5.0\"\n");
    let there = |repo: &Repo| repo.git(&["ls-remote", "origin", "refs/heads/main"]);
    assert!(there(&repo).starts_with(&repo.head()));
    assert_eq!(repo.git(&["rev-list", "--count", "HEAD"]), "4");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");

    // Somebody has pinned something newer meanwhile: it isn't undone.
    other.git(&["pull", "--quiet", "origin", "main"]);
    bumped(&other, &["web", "1.7.0", "-e", "dev", "--push"]);
    let before = there(&repo);
    let late = bump(&repo, &["web", "1.6.0", "-e", "dev", "--push"]);
    assert_eq!(late.status.code(), Some(1));
    let words = String::from_utf8(late.stderr).unwrap();
    assert!(words.contains("1.6.0 is older than 1.7.0, which dev has"), "{words}");
    assert_eq!(there(&repo), before);
    assert_eq!(pins(&repo, "dev"), "api = \"2\"\nweb = \"1.7.0\"\n");
    // What was committed before is said, and can be had back.
    assert!(words.contains(&format!("this branch is where main of origin is, at {}", &repo.head()[..8])), "{words}");
    let (_, command) = words.split_once("`git reset --keep ").unwrap();
    let mine = command.split('`').next().unwrap();
    assert_eq!(repo.git(&["show", "--no-patch", "--format=%s", mine]), "web 1.6.0 in dev");
    assert!(words.contains(&format!("`git branch NAME {mine}` keeps it")), "{words}");
    repo.git(&["reset", "--quiet", "--keep", mine]);
    assert_eq!(pins(&repo, "dev"), "api = \"2\"\nweb = \"1.6.0\"\n");
    repo.git(&["reset", "--quiet", "--keep", "FETCH_HEAD"]);

    // A file that somebody has broken meanwhile: the same.
    let good = pins(&other, "dev");
    other.set("environments/dev/pins.toml", "api = \"2\"\nweb = \"1.7.0\"\nelsewhere = \"1\"\n");
    other.push();
    let late = bump(&repo, &["web", "1.7.1", "-e", "dev", "--push"]);
    let words = String::from_utf8(late.stderr).unwrap();
    assert!(words.contains("there would be 1 finding:") && words.contains("`git reset --keep "), "{words}");
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    other.set("environments/dev/pins.toml", &good);
    other.push();
    repo.git(&["pull", "--quiet", "origin", "main"]);

    // A branch of its own, and commits of one's own below it.
    repo.set("notes.txt", "mine\n");
    other.set("other.txt", "theirs\n");
    other.push();
    bumped(&repo, &["web", "1.8.0", "-e", "dev", "--push"]);
    assert!(repo.work().join("other.txt").exists() && there(&repo).starts_with(&repo.head()));
    bumped(&repo, &["web", "1.9.0", "-e", "dev", "--push", "--branch", "web-1.9.0"]);
    assert!(repo.git(&["ls-remote", "origin", "refs/heads/web-1.9.0"]).starts_with(&repo.head()));

    // A server that refuses for reasons of its own.
    let hook = repo.bare().join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\necho 'by pull request only' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let refused = bump(&repo, &["web", "2.0.0", "-e", "dev", "--push"]);
    assert_eq!(refused.status.code(), Some(1));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("by pull request only") && words.contains("it is committed, but not pushed"), "{words}");
}

const WORLD: &str = r#"
controller = "111111111111"
region = "us-west-1"
[[account]]
id = "111111111111"
name = "tools"
image = [
    { name = "web-1.4.2", shared_with = ["222222222222", "444444444444"] },
    { name = "web-1.4.10", shared_with = ["222222222222", "444444444444"] },
    { name = "web-1.5.0", shared_with = ["222222222222"] },
    { name = "web-1.6.0-rc.1", shared_with = ["222222222222", "444444444444"] },
    { name = "web-2.0.0", shared_with = ["222222222222", "444444444444"] },
    { name = "web-3.0.0", shared_with = ["222222222222", "444444444444"], state = "pending" },
    { name = "web-nightly", shared_with = ["222222222222", "444444444444"] },
]
repository = [{ name = "api", allowed = ["222222222222", "444444444444"], image = [{ tags = ["v1.0.0"] }, { tags = ["v1.2.0"] }, { tags = ["v1.10.0", "latest"] }] }]
[[account]]
id = "222222222222"
name = "dev"
role = [{ name = "pinion" }, { name = "reader" }]
[[account]]
id = "444444444444"
name = "prod"
role = [{ name = "pinion" }]
"#;

fn with_world() -> stage::Stage {
    let environment = |account: &str| {
        format!(
            "[account]\nid = \"{account}\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n[asg.web]\n\
             ami = {{ name = \"web-{{version}}\", owner = \"111111111111\" }}\n[fargate.api]\ncluster = \"app\"\nimage = \
             \"111111111111.dkr.ecr.us-west-1.amazonaws.com/api:{{version}}\"\n"
        )
    };
    stage::Stage::of(WORLD)
        .environments([
            ("environments/dev/environment.toml", environment("222222222222")),
            ("environments/dev/pins.toml", "api = \"v1.0.0\"\nweb = \"1.4.2\"\n".to_owned()),
            ("environments/prod/environment.toml", environment("444444444444")),
            ("environments/prod/pins.toml", "api = \"v1.0.0\"\nweb = \"1.4.2\"\n".to_owned()),
        ])
        .without_controller()
        .start()
}

#[test]
fn the_newest_is_the_one_that_all_may_use() {
    let stage = with_world();
    let work = stage.repo().work().display().to_string();
    let latest = |arguments: &[&str]| {
        let mut all = vec!["bump", "--no-commit", "--dir", &work];
        all.extend(arguments);
        let output = stage.run(&all);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, text, _) = latest(&["web", "--latest", "--range", "^1.4", "-e", "dev"]);
    assert_eq!((code, text.as_str()), (Some(0), "dev: web 1.4.2 → 1.5.0\n"));
    let (_, text, _) = latest(&["web", "--latest", "--range", "^1.4", "-e", "prod"]);
    assert_eq!(text, "prod: web 1.4.2 → 1.4.10\n", "1.5.0 isn't shared with prod, and 10 is more than 2");
    let (_, text, _) = latest(&["web", "--latest", "-e", "dev", "-e", "prod"]);
    assert_eq!(text, "dev: web 1.5.0 → 2.0.0\nprod: web 1.4.10 → 2.0.0\n");
    let (code, _, words) = latest(&["api", "--latest", "-e", "dev", "--role", "nobody"]);
    assert!(code == Some(1) && words.contains("arn:aws:iam::222222222222:role/nobody"), "{words}");
    let (_, text, _) = latest(&["api", "--latest", "-e", "dev", "--role", "reader"]);
    assert_eq!(text, "dev: api v1.0.0 → v1.10.0\n");
    // The digest comes along where one is pinned.
    let digest = format!("sha256:{}", "a".repeat(64));
    let pinned = format!("api = {{ version = \"v1.0.0\", digest = \"{digest}\" }}\nweb = \"1.4.2\"\n");
    stage.repo().write("environments/prod/pins.toml", pinned);
    latest(&["api", "--latest", "--range", "~1.2", "-e", "prod"]);
    let now = std::fs::read_to_string(stage.repo().work().join("environments/prod/pins.toml")).unwrap();
    assert!(now.starts_with("api = { version = \"v1.2.0\", digest = \"sha256:") && !now.contains(&digest), "{now}");
    let (code, _, words) = latest(&["web", "--latest", "--range", "^4", "-e", "dev"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("no version of web within ^4 can be used in dev"), "{words}");
    let (code, _, words) = latest(&["web", "--latest", "--range", "^1", "-e", "dev"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("1.5.0 is older than 2.0.0, which dev has"), "{words}");
    assert_eq!(latest(&["web", "--range", "^1", "-e", "dev"]).0, Some(64));

    // What was rolled back isn't pinned again by a schedule, until somebody pins it on purpose.
    let pin = |version: &str, message: &str| {
        stage.repo().write("environments/dev/pins.toml", format!("web = \"{version}\"\napi = \"v1.0.0\"\n"));
        stage.repo().git(&["commit", "--quiet", "--all", "--message", message]);
    };
    pin("1.5.0", "dev: back\n\nRollback: from 2.0.0");
    let (code, text, words) = latest(&["web", "--latest", "-e", "dev"]);
    assert_eq!((code, text.as_str()), (Some(0), ""), "{words}");
    assert!(words.contains("web 2.0.0 was rolled back: skipped"), "{words}");
    let (_, text, _) = latest(&["web", "--latest", "--include-rolled-back", "-e", "dev"]);
    assert_eq!(text, "dev: web 1.5.0 → 2.0.0\n");
    pin("2.0.0", "dev: it wasn't its fault");
    pin("1.5.0", "dev: something else");
    let (_, text, _) = latest(&["web", "--latest", "-e", "dev"]);
    assert_eq!(text, "dev: web 1.5.0 → 2.0.0\n");
}

#[test]
fn an_artifact_that_is_not_there_is_not_pinned() {
    let stage = with_world();
    let work = stage.repo().work().display().to_string();
    let run = |arguments: &[&str]| {
        let mut all = vec!["bump", "--no-commit", "--dir", &work];
        all.extend(arguments);
        let output = stage.run(&all);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, words) = run(&["web", "1.5.0", "-e", "dev", "-e", "prod"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("prod: there is no AMI named `web-1.5.0` of account 111111111111"), "{words}");
    assert!(words.contains("--no-check"), "{words}");
    assert_eq!(stage.repo().git(&["status", "--porcelain"]), "");
    let (code, words) = run(&["web", "1.5.0", "-e", "dev"]);
    assert_eq!((code, words.as_str()), (Some(0), ""));
    let (code, words) = run(&["api", "v9", "-e", "dev"]);
    assert_eq!(code, Some(1), "{words}");
    assert_eq!(run(&["api", "v9", "-e", "dev", "--no-check"]), (Some(0), String::new()));
    // Without access it is said, and pinned all the same.
    let repo = repository();
    let blind = bump(&repo, &["web", "1.5.0", "-e", "dev"]);
    let words = String::from_utf8(blind.stderr).unwrap();
    assert!(blind.status.success() && words.contains("dev: no access to see whether the artifact exists"), "{words}");
}

#[test]
fn renovate_and_bump_change_the_same_bytes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let config = read("docs/examples/renovate.json");
    assert!(read("docs/bump.md").contains("examples/renovate.json"));
    let paths = ["environments/dev/pins.toml", "environments/prod/pins.toml", "environments/defaults.toml"];
    let files: serde_json::Map<String, serde_json::Value> =
        paths.iter().map(|path| ((*path).to_owned(), read(path).into())).collect();
    let asked = serde_json::json!({
        "config": serde_json::from_str::<serde_json::Value>(&config).unwrap(), "files": files,
        "newValue": "9.9.9", "newDigest": NEW,
    });
    let script = root.join("tests/bump/renovate.py").display().to_string();
    let answer: serde_json::Value = serde_json::from_str(&python::run(&[&script], &asked.to_string())).unwrap();
    for path in &paths[..2] {
        assert_eq!(answer[path]["found"].as_array().unwrap().len(), 2, "each pin is found once: {answer}");
        let version = Version::try_from("9.9.9").unwrap();
        let mut text = read(path);
        for name in ["frontend", "backend"] {
            let component = Component::try_from(name).unwrap();
            let digest = text.lines().any(|line| line.starts_with(name) && line.contains("digest"));
            let digest = digest.then(|| Digest::try_from(NEW).unwrap());
            text = edit::pin(&text, &component, &version, digest.as_ref()).unwrap().text;
        }
        assert_eq!(answer[path]["text"].as_str().unwrap(), text);
    }
    assert_eq!(answer["environments/defaults.toml"]["found"], serde_json::json!([]), "other files stay alone");
}
