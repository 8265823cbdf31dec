//! `pinion bump`: the pinned value changes and not one other byte; commits, branches, downgrades, and what goes wrong.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::process::Output;

use pinion::cli::bump::edit::{self, EditError};
use pinion::model::{Component, Digest, Version};

#[path = "support/git.rs"]
mod git;

use git::Repo;

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
    assert_eq!(message("web = \"1"), "it is not TOML");
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
        .env("GIT_AUTHOR_NAME", "Grace Hopper")
        .env("GIT_AUTHOR_EMAIL", "grace@example.com")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("GIT_COMMITTER_NAME", "Grace Hopper")
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
    let state = || (repo.head(), repo.git(&["status", "--porcelain"]), repo.git(&["branch", "--list"]));
    let before = state();
    let output = bump(repo, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
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
    let printed = bumped(&repo, &["web", "1.5.0", "--environment", "prod", "dev"]);
    assert_eq!(printed, "dev: web 1.4.2 → 1.5.0\nprod: web 1.4.1 → 1.5.0\n");
    assert_eq!(pins(&repo, "dev"), "# dev\nweb = '1.5.0'  # now\n");
    assert_eq!(pins(&repo, "prod"), "# prod\nweb = '1.5.0'  # now\n");
    assert_eq!(repo.git(&["rev-parse", "HEAD^"]), before);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");
    assert_eq!(
        repo.git(&["show", "--no-patch", "--format=%an <%ae>%n%B"]),
        "Grace Hopper <grace@example.com>\nweb 1.5.0 in dev, prod\n\n- dev: 1.4.2 → 1.5.0\n- prod: 1.4.1 → 1.5.0"
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
}

#[test]
fn a_downgrade_wants_to_be_meant_and_then_says_so() {
    let repo = repository();
    let words = refused(&repo, &["web", "1.4.1", "-e", "dev", "prod"]);
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
    assert!(words.contains("with this version there would be 1 finding(s): nothing was changed"), "{words}");
    assert!(words.contains("environments/dev/pins.toml:2:7: error: web:"), "{words}");
    let words = refused(&repo, &["api", "1.5.0", "-e", "dev"]);
    assert!(words.contains("there is no pin of `api`; pins: web"), "{words}");
    let words = refused(&repo, &["web", "1.5.0", "-e", "staging"]);
    assert!(words.contains("environments/staging/pins.toml"), "{words}");
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
