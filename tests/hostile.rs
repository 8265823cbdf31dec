//! Nothing that a untrusted person can put into a commit, a version, a branch's name, a policy or a push event breaks out of Markdown, HTML, a
//! terminal, a log line, a metric or JSON. Tries it with the built binary, everywhere such text is shown.

mod push;

use pinion::cli::markdown::{cell, code};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

use crate::support::promtool;
use crate::support::python;
use crate::support::stage::Stage;

const ACCOUNT: &str = "222222222222";
/// No blanks, or it is no version; and an AMI's tag may hold it.
const VERSION: &str = "1.4.1|](http://evil.example)<img/src=x/onerror=alert(1)>`@team:tada:#1\u{202e}\u{200b}";
const NEXT: &str = "1.4.2|`</td></table><script>alert(1)</script>@team&lt;\u{2066}";
/// A version as TOML has it: none, as it would be lines of its own and steer the terminal.
const STEERS: &str = r#""1.0\n::error title=pinion::all is lost\u001b]0;evil\u0007\u001b[2J\u009b2J\u202e""#;
/// What an artifact says that it was built from. No control characters, as AWS has none of them in tags.
const SOURCE: &str = "deadbeef|`](http://evil.example)<script>alert(1)</script>@team\u{202e}\u{2028}\u{200b}";
/// Longer than a line of anything, too.
const SUBJECT: &str = "fix | [x](http://evil.example) <script>alert(1)</script> `@team` \u{1b}[31mred\u{1b}]8;;http://evil.example\u{7} \
                       \u{9b}2J\r12:30:05 ERROR all is lost \u{202e}{\"level\":\"error\"} ```` --> <!-- </details>";
const AUTHOR: &str = "Mallory | `](http://evil.example)\u{1b}[2J @team \u{2028}\u{200f}";
const BRANCH: &str = "evil|`@team`<img/src=x>](http";
const POLICY: &str = "@id(\"odd\")\n@owner(\"<b>@team</b>\")\n@reason(\"no | `](http://evil.example) <img src=x> \\u{1b}[31m @team \\u{202e}\")\n\
                      forbid (principal, action == Action::\"rollout\", resource) when { resource.name == \"api\" };\n";

const ENVIRONMENT: &str = r#"
[account]
id = "222222222222"
region = "us-west-1"
role = "arn:aws:iam::222222222222:role/pinion"

[asg.web]
ami = { tags = { version = "{version}" } }

[asg.api]
component = "web"
group = "web"
ami = { tags = { version = "{version}" } }
[asg.api.suspend]
owner = "Eve <script>alert(1)</script> | `"
reason = "[x](http://evil.example) \u202e @team"
until = 2099-01-01T00:00:00Z
"#;

fn world() -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    format!(
        "controller = \"111111111111\"\nregion = \"us-west-1\"\n[[account]]\nid = \"{ACCOUNT}\"\nname = \"dev\"\nrole = [{{ \
         name = \"pinion\" }}]\nimage = [\n{{ id = \"ami-0f000000000001400\", name = \"web-1.4.0\", tags = {{ version = {}, revision = {} }} }},\n\
         {{ id = \"ami-0f000000000001401\", name = \"web-1.4.1\", tags = {{ version = {}, commit = {} }} }},\n]\nlaunch_template = [{{ \
         name = \"web\", version = [{{ data = {{ ImageId = \"ami-0f000000000001400\", InstanceType = \"t3.small\" }} }}] }}, {{ \
         name = \"api\", version = [{{ data = {{ ImageId = \"ami-0f000000000001400\", InstanceType = \"t3.small\" }} }}] }}]\n\
         group = [{{ name = \"web\", launch_template = \"web\", desired = 1, warmup = 5 }}, {{ name = \"api\", \
         launch_template = \"api\", desired = 1, warmup = 5 }}]\n",
        quoted(VERSION),
        quoted(SOURCE),
        quoted(NEXT),
        quoted(SOURCE)
    )
}

fn pins(version: &str) -> String {
    format!("web = {}\n", serde_json::to_string(version).unwrap())
}

/// What could steer a terminal, forge a line or hide.
fn steers(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn is_tame(what: &str, text: &str) {
    let found: Vec<char> = text.chars().filter(|c| steers(*c)).collect();
    assert!(found.is_empty(), "{what} has {found:?}:\n{text}");
}

/// Renders Markdown as GitHub's flavour, and fails unless nothing is in it but our own tags, and what untrusted people wrote
/// stands in code.
fn is_harmless_markdown(texts: &[String]) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/rendered.py");
    python::run(&[script, "markdown"], &serde_json::to_string(texts).unwrap());
}

fn is_harmless_page(page: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/rendered.py");
    python::run(&[script, "page"], &serde_json::to_string(&[page]).unwrap());
}

fn said(output: &std::process::Output) -> (String, String) {
    (String::from_utf8(output.stdout.clone()).unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn untrusted_text_stays_what_it_is() {
    let environment = ENVIRONMENT.replace("group = \"web\"\nami", "ami");
    let mut stage = Stage::of(&world())
        .environments([
            ("environments/dev/environment.toml", environment.as_str()),
            ("environments/dev/pins.toml", pins(VERSION).as_str()),
            ("policies/guardrails/odd.cedar", POLICY),
        ])
        .start();
    stage.wait_for_sync(&["dev/asg/web"]);
    let repo = stage.repo();
    let commit = |message: &str| {
        repo.git(&["add", "--all"]);
        let author = format!("--author={AUTHOR} <mallory@example.com>");
        repo.git(&["commit", "--quiet", "--cleanup=verbatim", &author, "--message", message]);
    };

    // On a pull request, from a branch with a name.
    repo.branch(BRANCH);
    repo.write("environments/dev/pins.toml", pins(NEXT));
    repo.write("environments/dev/environment.toml", environment.split("[asg.api.suspend]").next().unwrap());
    commit(SUBJECT);
    let work = repo.work().display().to_string();
    let plan = |format: &str| {
        let output = stage.run(&["plan", "--dir", &work, "--base", "main", "--output", format]);
        assert!(output.status.success(), "{output:?}");
        said(&output)
    };
    let (text, errors) = plan("text");
    is_tame("the plan", &text);
    is_tame("the plan's errors", &errors);
    assert!(text.contains("deadbeef|"), "what an artifact says of its source: {text}");
    assert!(text.contains("dev/asg/web") && text.contains("forbidden") && text.contains("\\u{202e}"), "{text}");
    let (comment, _) = plan("markdown");
    is_tame("the comment", &comment);
    let backwards = stage.run(&["plan", "--dir", &work, "--base", BRANCH, "--output", "markdown"]);
    is_harmless_markdown(&[comment, said(&backwards).0]);
    let (json, _) = plan("json");
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["environments"]["dev"]["targets"].as_array().unwrap()[1]["to"], NEXT);
    is_tame("the plan as JSON", &json);

    // What is wrong with a file is a untrusted person's text, too.
    repo.write("environments/dev/pins.toml", format!("web = {STEERS}\n\"{NEXT}\" = 1\n"));
    let broken = stage.run(&["plan", "--dir", &work, "--output", "markdown"]);
    assert_eq!(broken.status.code(), Some(1));
    let (comment, errors) = said(&broken);
    is_tame("the comment about findings", &comment);
    is_tame("the findings", &errors);
    is_harmless_markdown(&[comment]);
    let (text, errors) = said(&stage.run(&["validate", &work]));
    is_tame("validate", &text);
    // A line of its own would be a command to the forge's runner.
    assert!(text.contains("::error") && text.lines().all(|line| !line.trim_start().starts_with("::")), "{text}");
    is_tame("validate's errors", &errors);

    // A hook that says such things.
    repo.git(&["checkout", "--quiet", "--", "."]);
    let hook = repo.work().join(".git/hooks/pre-commit");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, "#!/bin/sh\nprintf '\\033[31mno\\r\\n\\033]0;x\\007' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bump = stage.run(&["bump", "web", VERSION, "-e", "dev", "--dir", &work]);
    let (text, errors) = said(&bump);
    assert_eq!(bump.status.code(), Some(1), "{errors}");
    is_tame("bump", &text);
    is_tame("bump's errors", &errors);
    std::fs::remove_file(&hook).unwrap();
    let bump = stage.run(&["bump", "web", VERSION, "-e", "dev", "--dir", &work, "--no-commit"]);
    assert!(bump.status.success(), "{bump:?}");
    is_tame("bump", &said(&bump).0);
    repo.git(&["checkout", "--quiet", "--", "."]);

    // And merged.
    repo.checkout("main");
    repo.git(&["merge", "--quiet", "--ff-only", BRANCH]);
    repo.git(&["push", "--quiet", "origin", "main"]);
    stage.wait_until("it rolls out", |stage| stage.target("dev/asg/web")["desired"] == NEXT);
    stage.wait_for("dev/asg/api", "pending");
    stage.wait_for_sync(&["dev/asg/web"]);
    for arguments in [vec!["status"], vec!["policy", "explain", "dev/asg/api", "--dir", &work]] {
        let output = stage.run(&arguments);
        assert!(output.status.success(), "{output:?}");
        is_tame(arguments[0], &said(&output).0);
        let mut json = arguments.clone();
        json.extend(["--output", "json"]);
        let (text, _) = said(&stage.run(&json));
        serde_json::from_str::<Value>(&text).unwrap();
        is_tame(arguments[0], &text);
    }
    // Those who ask the API look at it on a terminal, or have a program read it.
    for path in ["/api/v1/status", "/api/v1/history", "/api/v1/dora"] {
        let text = stage.get(path).unwrap().1;
        is_tame(path, &text);
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
    assert_eq!(stage.target("dev/asg/web")["desired"], NEXT);
    is_harmless_page(&stage.get("/").unwrap().1);
    let scrape = stage.get("/metrics").unwrap().1;
    promtool::check(&scrape);
    for line in scrape.lines() {
        assert!(line.starts_with("pinion_") || line.starts_with("process_") || line.starts_with("# "), "{line}");
    }
    let log = stage.controller().output();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?} is no event"));
        assert!(event["level"].is_string() && event["message"].is_string(), "{line}");
        is_tame("the log", line);
    }
    assert!(log.contains("dev/asg/web"));
}

#[test]
fn no_text_at_all_breaks_out_of_a_code_span() {
    let pieces = prop::sample::select(vec![
        "`",
        "``",
        "|",
        "\\",
        "\\|",
        "<",
        ">",
        "](",
        "http://evil.example",
        "@team",
        "\n",
        "\r",
        "\n\n",
        "- ",
        "# ",
        "***",
        "~~",
        "&lt;",
        "<!--",
        "-->",
        "</details>",
        "<script>",
        " ",
        "\t",
        "a",
        "ü",
        "\u{202e}",
        "\u{0}",
        "![",
        "www.evil.example",
        "$$",
    ]);
    let texts = prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    let texts = prop_oneof![texts, any::<String>()];
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let collected = std::cell::RefCell::new(Vec::new());
    runner
        .run(&texts, |text| {
            let (one, two) = (code(&text), cell(&text));
            prop_assert!(!one.chars().chain(two.chars()).any(|c| steers(c) || c == '\n'));
            collected.borrow_mut().push(format!(
                "before {one} after\n\n- **Key:** yes: {one}\n\n| a | b |\n| --- | --- |\n| {two} | {two}: {two} |\n\nthe end\n"
            ));
            Ok(())
        })
        .unwrap();
    is_harmless_markdown(&collected.into_inner());
}
