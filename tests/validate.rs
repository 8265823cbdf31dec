//! Configuration, schemas, and the files that the repository ships.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pinion::cli::schema::Name;
use pinion::config::{Address, Auth, Config, ConfigError, Format, LogFormat, Overrides, Secret};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn environment(variable: &str) -> Option<String> {
    match variable {
        "GIT_TOKEN" => Some("hunter2".to_owned()),
        "HOME" => Some("/home/ada".to_owned()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("/etc/pinion/pinion.toml"), text.as_bytes(), &Overrides::default(), &environment)
}

fn findings(text: &str) -> String {
    match parse(text) {
        Err(ConfigError::Invalid { findings, .. }) => findings.to_string(),
        other => panic!("{other:?}"),
    }
}

fn pinion(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pinion")).args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn validate_passes_what_is_good() {
    let (code, stdout, stderr) = pinion(&["validate"], root());
    assert_eq!((code, stdout.as_str(), &*stderr), (Some(0), "2 environments, 4 targets, 4 pins: no findings\n", ""));
}

/// Ten mistakes in five files, and each is located.
#[test]
fn validate_finds_ten_mistakes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("defaults.toml", "[account]\nregion = \"uswest\"\n[asg.web.rollout]\nmin_helthy = 90\nbake = \"10\"\n"),
        (
            "dev/environment.toml",
            "[account]\nid = \"1111\"\nrole = \"arn:aws:iam::{acount}:role/pinion\"\n\
             [asg.web]\nami = { name = \"web-{version}\" }\nafter = [\"asg/wep\"]\n",
        ),
        ("dev/pins.toml", "web = \"1\"\nworker = \"1\"\n"),
        (
            "prod/environment.toml",
            "[account]\nid = \"222222222222\"\nrole = \"arn:aws:iam::333333333333:role/pinion\"\n\
             [asg.web]\nami = { id = \"{version}\" }\ncomponent = 7\n",
        ),
        ("prod/pins.toml", "web = \"1\"\nweb = \"2\"\n"),
    ] {
        let path = folder.path().join("environments").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let (code, stdout, stderr) = pinion(&["validate"], folder.path());
    insta::assert_snapshot!(stdout, @r#"
    environments/defaults.toml:2:10: error: account.region: `uswest` is not a region: it looks like `us-west-1`: lower-case words and a number, joined by -
    environments/defaults.toml:4:1: error: asg.web.rollout.min_helthy: unknown key `min_helthy`; did you mean `min_healthy`?
    environments/defaults.toml:5:8: error: asg.web.rollout.bake: `10` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    environments/dev/environment.toml:2:6: error: account.id: `1111` is not an account id: it has exactly 12 digits
    environments/dev/environment.toml:3:8: error: account.role: unknown placeholder {acount}; did you mean {account}?
    environments/dev/environment.toml:6:10: error: asg.web.after[0]: there is no target `asg/wep` in this environment; there is none that it could wait for: remove it
    environments/dev/pins.toml:2:10: error: worker: no target uses the component `worker`; remove it; components in use: web
    environments/prod/environment.toml:3:8: error: account.role: this role belongs to account 333333333333, the environment to 222222222222; correct the role, or `account.id`; `{account}` in the role keeps them equal
    environments/prod/environment.toml:6:13: error: asg.web.component: expected a string, found an integer; write it in quotes: "7"
    environments/prod/pins.toml:2:1: error: duplicate key `web`
    "#);
    assert_eq!((code, stdout.lines().count(), &*stderr), (Some(1), 10, "error: 10 findings\n"));

    let (code, stdout, _) = pinion(&["validate", "--output", "json", "."], folder.path());
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, &report["valid"], report["findings"].as_array().map(Vec::len)),
        (Some(1), &false.into(), Some(10))
    );
}

/// What is right but may make somebody wonder is said, and is neither a finding nor a warning.
#[test]
fn validate_explains_the_other_word_for_services() {
    let folder = tempfile::tempdir().unwrap();
    let dev = folder.path().join("environments/dev");
    std::fs::create_dir_all(&dev).unwrap();
    std::fs::write(dev.join("pins.toml"), "api = \"1\"\n").unwrap();
    let write = |more: &str| {
        let settings = "[account]\nid = \"222222222222\"\nregion = \"us-west-1\"\nrole = \"arn:aws:iam::{account}:role/pinion\"\n\
                        [defaults.ecs]\ncluster = \"app\"\nimage = \"docker.io/acme/{target}:{version}\"\n[ecs.api]\n";
        std::fs::write(dev.join("environment.toml"), format!("{settings}{more}")).unwrap();
    };
    write("");
    let (code, stdout, stderr) = pinion(&["validate"], folder.path());
    assert_eq!((code, stdout.as_str()), (Some(0), "1 environment, 1 target, 1 pin: no findings\n"));
    insta::assert_snapshot!(stderr, @"environments/dev/environment.toml:8: note: ecs: [ecs.NAME] is another word for [fargate.NAME]; everywhere else the target is called fargate/NAME: [ecs.api] is fargate/api");
    let (_, stdout, _) = pinion(&["validate", "--output", "json"], folder.path());
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["warnings"], &report["notes"][0]["check"]), (&serde_json::json!([]), &"alias".into()));

    write("[fargate.api]\ncluster = \"other\"\n");
    let (code, stdout, _) = pinion(&["validate"], folder.path());
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(stdout, @"environments/dev/environment.toml:8:6: error: ecs.api: [ecs.api] and [fargate.api] (environments/dev/environment.toml:9) are one target, fargate/api; `ecs` is another word for `fargate`: put both into one table");
}

#[test]
fn validate_needs_a_folder() {
    let (code, stdout, stderr) = pinion(&["validate", "nowhere"], root());
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("can't read nowhere") && stderr.contains("hint:"), "{stderr}");
}

#[test]
fn schema_prints_and_writes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(pinion(&["schema", "--write", "made"], folder.path()), (Some(0), String::new(), String::new()));
    let (code, stdout, _) = pinion(&["schema", "pins"], folder.path());
    let written = std::fs::read_to_string(folder.path().join("made/pins.schema.json")).unwrap();
    assert_eq!((code, stdout), (Some(0), written));
}

#[test]
fn hosts_that_probes_may_ask_are_as_a_url_has_them() {
    let with =
        |hosts: &str| format!("[[repository]]\nurl = 'https://example.com/a.git'\n[probes]\nallow = [{hosts}]\n");
    let good = parse(&with("'169.254.170.2', 'Metadata.Internal', '0xa9fea9fe', '[FD00:EC2:0::254]'")).unwrap();
    let hosts: Vec<&str> = good.probe_hosts.iter().map(String::as_str).collect();
    assert_eq!(hosts, ["169.254.169.254", "169.254.170.2", "[fd00:ec2::254]", "metadata.internal"]);
    for bad in ["'http://a'", "'a/b'", "'a:81'", "'me@a'", "'fd00:ec2::254'"] {
        let said = findings(&with(bad));
        assert!(said.contains("probes.allow[0]") && said.contains("is not a host"), "{said}");
    }
}

#[test]
fn the_shortest_configuration() {
    let config = parse("[[repository]]\nurl = 'https://example.com/a.git'").unwrap();
    insta::assert_debug_snapshot!(config, @r#"
    Config {
        repositories: [
            Repository {
                url: "https://example.com/a.git",
                branch: "main",
                interval: 30s,
                environments: None,
                auth: None,
                forge: None,
                connect_timeout: 10s,
                stall_timeout: 30s,
                poll_timeout: 600s,
                verify: None,
            },
        ],
        reconcile: Reconcile {
            interval: 60s,
            in_flight_interval: 5s,
            base_interval: 300s,
            concurrency: 16,
        },
        installation: "pinion",
        change_limits: ChangeLimits {
            max_percent: 50,
            always_allowed: 4,
            removals: true,
        },
        server: Server {
            listen: 127.0.0.1:9780,
            token: None,
        },
        hooks: None,
        notify: [],
        probe_hosts: {},
        aws: Aws {
            endpoint_url: None,
        },
        history: History {
            keep: 34560000s,
            events: 20000,
        },
        log: Log {
            format: None,
            filter: None,
        },
        cache_dir: "/home/ada/.cache/pinion",
        grace_period: 30s,
    }
    "#);
}

#[test]
fn all_that_can_be_said() {
    let config = parse(
        r#"
cache_dir = "cache"
installation = "acme-2"
grace_period = "5s"
[[repository]]
url = "https://example.com/a.git"
branch = "dev"
environments = ["dev"]
interval = "1m 30s"
auth = { token_env = "GIT_TOKEN" }
[[repository]]
url = "git@example.com:a.git"
branch = "prod"
environments = ["prod"]
auth = { ssh_key_file = "key" }
[[repository]]
url = "../environments"
[repository.verify]
allowed_signers = "allowed_signers"
merges = "forge"
forge_keys = "/keys/forge.asc"
since = "0123456789abcdef0123456789abcdef01234567"
[reconcile]
interval = "2m"
in_flight_interval = "1s"
concurrency = 2
[server]
listen = "[::1]:80"
token_file = "/run/secrets/token"
[aws]
endpoint_url = "http://127.0.0.1:4566"
[log]
format = "json"
filter = "debug"
"#,
    )
    .unwrap();
    insta::assert_debug_snapshot!(config, @r#"
    Config {
        repositories: [
            Repository {
                url: "https://example.com/a.git",
                branch: "dev",
                interval: 90s,
                environments: Some(
                    {
                        "dev",
                    },
                ),
                auth: Token(
                    Environment {
                        variable: "GIT_TOKEN",
                        value: SecretBox<str>([REDACTED]),
                    },
                ),
                forge: None,
                connect_timeout: 10s,
                stall_timeout: 30s,
                poll_timeout: 600s,
                verify: None,
            },
            Repository {
                url: "git@example.com:a.git",
                branch: "prod",
                interval: 30s,
                environments: Some(
                    {
                        "prod",
                    },
                ),
                auth: SshKeyFile(
                    "/etc/pinion/key",
                ),
                forge: None,
                connect_timeout: 10s,
                stall_timeout: 30s,
                poll_timeout: 600s,
                verify: None,
            },
            Repository {
                url: "/etc/pinion/../environments",
                branch: "main",
                interval: 30s,
                environments: None,
                auth: None,
                forge: None,
                connect_timeout: 10s,
                stall_timeout: 30s,
                poll_timeout: 600s,
                verify: Some(
                    Verify {
                        allowed_signers: Some(
                            "/etc/pinion/allowed_signers",
                        ),
                        keyring: None,
                        forge_keys: Some(
                            "/keys/forge.asc",
                        ),
                        since: Some(
                            "0123456789abcdef0123456789abcdef01234567",
                        ),
                    },
                ),
            },
        ],
        reconcile: Reconcile {
            interval: 120s,
            in_flight_interval: 1s,
            base_interval: 300s,
            concurrency: 2,
        },
        installation: "acme-2",
        change_limits: ChangeLimits {
            max_percent: 50,
            always_allowed: 4,
            removals: true,
        },
        server: Server {
            listen: [::1]:80,
            token: Some(
                File(
                    "/run/secrets/token",
                ),
            ),
        },
        hooks: None,
        notify: [],
        probe_hosts: {},
        aws: Aws {
            endpoint_url: Some(
                "http://127.0.0.1:4566",
            ),
        },
        history: History {
            keep: 34560000s,
            events: 20000,
        },
        log: Log {
            format: Some(
                Json,
            ),
            filter: Some(
                "debug",
            ),
        },
        cache_dir: "/etc/pinion/cache",
        grace_period: 5s,
    }
    "#);
    let Auth::Token(Secret::Environment { value, .. }) = &config.repositories[0].auth else { panic!("no token") };
    assert_eq!(secrecy::ExposeSecret::expose_secret(value), "hunter2");
}

#[test]
fn flags_beat_the_file() {
    let overrides = Overrides {
        listen: Some("0.0.0.0:1".parse().unwrap()),
        interval: Some(Duration::from_secs(1)),
        log_format: Some(LogFormat::Human),
        ..Overrides::default()
    };
    let text = "[[repository]]\nurl = '/srv/a.git'\n[server]\nlisten = '127.0.0.1:2'\n[log]\nformat = 'json'";
    let config = Config::parse(Path::new("pinion.toml"), text.as_bytes(), &overrides, &environment).unwrap();
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:1");
    assert_eq!(config.reconcile.interval, Duration::from_secs(1));
    assert_eq!(config.log.format, Some(LogFormat::Human));
    assert_eq!(config.repositories[0].url, "/srv/a.git");
}

#[test]
fn everything_wrong_is_said_at_once() {
    insta::assert_snapshot!(findings(
        r#"
grace_period = 30
[[repository]]
url = "https://ada:hunter2@example.com/a.git"
branch = "refs/heads/main"
environments = ["dev", "prod"]
verify = { keyring = "x", merges = "forge" }
auth = { token = "hunter2" }
[[repository]]
environments = ["prod"]
auth = { github_app = 1, token_env = "NOT_SET" }
[[repository]]
url = "ssh://git@example.com/a.git"
environments = []
auth = { token_file = "x", ssh_key_file = "y" }
[[repository]]
url = "ftp://example.com/a.git"
interval = "0s"
[reconcile]
concurency = 4
[server]
listen = "localhost"
[aws]
endpoint_url = "aws"
[log]
format = "xml"
"#
    ), @r#"
    /etc/pinion/pinion.toml:2:16: error: grace_period: expected a duration, found an integer; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    /etc/pinion/pinion.toml:4:7: error: repository[0].url: this URL holds a password; take it out, and name it in [repository.auth], by file or variable
    /etc/pinion/pinion.toml:5:10: error: repository[0].branch: `refs/heads/main` is not a branch's name; write it without refs/heads/
    /etc/pinion/pinion.toml:7:1: error: repository[0].verify: the forge's keys are missing; name the file that holds them with `forge_keys`
    /etc/pinion/pinion.toml:8:1: error: repository[0].auth: this names no credentials; set exactly one of token_file, token_env, ssh_key_file
    /etc/pinion/pinion.toml:8:10: error: repository[0].auth.token: unknown key `token`; a token doesn't belong in this file; name a file (`token_file`) or a variable (`token_env`)
    /etc/pinion/pinion.toml:9:1: error: repository[1].url: the key `url` is missing
    /etc/pinion/pinion.toml:10:17: error: repository[1].environments[0]: the environment `prod` is named at /etc/pinion/pinion.toml:6, too; one branch feeds an environment
    /etc/pinion/pinion.toml:11:10: error: repository[1].auth.github_app: unknown key `github_app`; this version of Pinion doesn't know GitHub App credentials yet; use a token
    /etc/pinion/pinion.toml:11:38: error: repository[1].auth.token_env: the environment variable `NOT_SET` isn't set, or is empty; set it before Pinion starts
    /etc/pinion/pinion.toml:14:16: error: repository[2].environments: this list is empty; name one, or leave the key out to take all that the branch has
    /etc/pinion/pinion.toml:15:1: error: repository[2].auth: this names several credentials; set exactly one of token_file, token_env, ssh_key_file
    /etc/pinion/pinion.toml:17:7: error: repository[3].url: `ftp` is not a scheme of a repository's URL; use https, ssh or file
    /etc/pinion/pinion.toml:18:12: error: repository[3].interval: this must be from 1s to 24h
    /etc/pinion/pinion.toml:20:1: error: reconcile.concurency: unknown key `concurency`; did you mean `concurrency`?
    /etc/pinion/pinion.toml:22:10: error: server.listen: `localhost` is not an address and port; write it such as "127.0.0.1:9780" or "[::1]:9780"
    /etc/pinion/pinion.toml:24:16: error: aws.endpoint_url: `aws` is not an http or https URL
    /etc/pinion/pinion.toml:26:10: error: log.format: `xml` is not a log format; write "human" or "json"
    "#);
}

#[test]
fn a_configuration_has_a_repository() {
    insta::assert_snapshot!(findings("[server]"), @"/etc/pinion/pinion.toml:1:1: error: repository: the key `repository` is missing");
    insta::assert_snapshot!(findings(""), @"/etc/pinion/pinion.toml:1:1: error: the file is empty; restore its content; to remove it on purpose, delete the file");
    insta::assert_snapshot!(findings("repository = []"), @"/etc/pinion/pinion.toml:1:14: error: repository: there is no repository");
    let twice = "[[repository]]\nurl = 'https://example.com/a.git'\n";
    insta::assert_snapshot!(findings(&twice.repeat(2)), @"/etc/pinion/pinion.toml:3:1: error: repository[1]: this branch of this repository is at /etc/pinion/pinion.toml:1, too; remove one of them");
}

#[test]
fn who_is_told_what_and_by_whom_pinion_is_told() {
    let config = parse(
        r#"
[[repository]]
url = "git@github.com:acme/environments.git"
[repository.forge]
kind = "github"
token_env = "GIT_TOKEN"
[[repository]]
url = "https://git.example.com:8443/group/sub/environments.git"
auth = { token_file = "token" }
forge = { kind = "gitlab", target_url = "https://pinion.example.com" }
[hooks]
secret_env = "GIT_TOKEN"
[[notify]]
name = "all"
url = "http://hooks.example.com/x"
[[notify]]
name = "slack"
url_file = "slack-url"
format = "slack"
secret_file = "secret"
events = ["quarantined", "overdue"]
environments = ["prod"]
"#,
    )
    .unwrap();
    let forges: Vec<_> = config.repositories.iter().map(|repository| repository.forge.as_ref().unwrap()).collect();
    assert_eq!(
        (forges[0].api_url.as_str(), forges[0].project.as_str()),
        ("https://api.github.com", "acme/environments")
    );
    let gitlab = (forges[1].api_url.as_str(), forges[1].project.as_str());
    assert_eq!(gitlab, ("https://git.example.com:8443/api/v4", "group/sub/environments"));
    assert!(
        matches!(&forges[1].token, Secret::File(path) if path == Path::new("/etc/pinion/token")),
        "the repository's"
    );
    assert_eq!(forges[1].target_url.as_deref(), Some("https://pinion.example.com/"));
    assert!(config.hooks.is_some() && !format!("{config:?}").contains("hunter2"));
    let [all, slack] = config.notify.as_slice() else { panic!("{:?}", config.notify) };
    assert!(matches!(&all.url, Address::Url(url) if url == "http://hooks.example.com/x"), "{all:?}");
    assert_eq!((all.format, all.events.is_none(), all.environments.is_none()), (Format::Json, true, true));
    assert!(matches!(&slack.url, Address::Secret(Secret::File(path)) if path == Path::new("/etc/pinion/slack-url")));
    assert!(matches!(&slack.secret, Some(Secret::File(path)) if path == Path::new("/etc/pinion/secret")));
    let events: Vec<_> = slack.events.iter().flatten().map(|event| event.as_str()).collect();
    assert_eq!((slack.format, events), (Format::Slack, vec!["quarantined", "overdue"]));
    assert_eq!(slack.environments.iter().flatten().map(|name| name.as_str()).collect::<Vec<_>>(), ["prod"]);
}

#[test]
fn what_is_wrong_with_them() {
    let found = findings(
        r#"
[[repository]]
url = "/srv/environments.git"
forge = { kind = "github" }
[[repository]]
url = "ssh://git@example.com/a/b.git"
[repository.forge]
kind = "gitlabs"
api_url = "http://git.example.com/api/v4"
token = "hunter2"
target_url = "pinion"
[hooks]
[[notify]]
url = "https://ada:hunter2@example.com/"
events = ["quarantine", "started"]
environments = []
[[notify]]
name = "a"
format = "xml"
url = "https://example.com/"
url_env = "GIT_TOKEN"
[[notify]]
name = "a"
events = []
"#,
    );
    let wanted = [
        "repository[0].forge: the repository's URL doesn't hold the repository's name",
        "repository[0].forge: the repository's URL doesn't say where the forge's API is",
        "repository[0].forge: there is no token for the forge",
        "repository[1].forge.kind: `gitlabs` isn't known here; did you mean \"gitlab\"?",
        "repository[1].forge.api_url: a token isn't sent in clear text over the network",
        "repository[1].forge.token: unknown key `token`; a token doesn't belong in this file",
        "repository[1].forge.target_url: this is not an http or https URL",
        "repository[1].forge: there is no token for the forge",
        "hooks: there is no secret for push events",
        "notify[0].name: the key `name` is missing",
        "notify[0].url: this is not an http or https URL",
        "notify[0].events[0]: `quarantine` isn't known here; did you mean \"quarantined\"?",
        "notify[0].events[1]: `started` isn't known here; known here: pin-changed, ",
        "notify[0].environments: this list is empty",
        "notify[1].format: `xml` isn't known here; known here: json, slack",
        "notify[1]: this must name exactly one URL to send to",
        "notify[2].name: `a` is the name of another [[notify]], too",
        "notify[2].events: this list is empty",
        "notify[2]: this must name exactly one URL to send to",
    ];
    for wanted in wanted {
        assert!(found.contains(wanted), "{wanted}\n{found}");
    }
    assert!(found.lines().count() == wanted.len() && !found.contains("hunter2"), "{found}");
}

#[test]
fn a_token_needs_http_and_a_key_needs_ssh() {
    insta::assert_snapshot!(findings("[[repository]]\nurl = 'https://a.b/c'\nauth = { ssh_key_file = 'x' }"), @"/etc/pinion/pinion.toml:3:25: error: repository[0].auth.ssh_key_file: an SSH key doesn't open an http or https URL; use a token, or an ssh URL");
    insta::assert_snapshot!(findings("[[repository]]\nurl = 'git@a.b:c'\nauth = { token_file = 'x' }"), @"/etc/pinion/pinion.toml:3:1: error: repository[0].auth: a token opens only http and https URLs; use ssh_key_file, or an https URL");
}

#[test]
fn who_may_sign_is_said_once_and_in_full() {
    let of = |verify: &str| findings(&format!("[[repository]]\nurl = 'https://a.b/c'\nverify = {{ {verify} }}"));
    insta::assert_snapshot!(of("merges = 'verify'"), @"/etc/pinion/pinion.toml:3:1: error: repository[0].verify: this names nobody who may sign; name a file with `allowed_signers` (SSH) or `keyring` (OpenPGP)");
    insta::assert_snapshot!(of("keyring = 'x', forge_keys = 'y'"), @"/etc/pinion/pinion.toml:3:1: error: repository[0].verify: `forge_keys` means nothing without `merges = \"forge\"`; set that, or leave `forge_keys` out");
    insta::assert_snapshot!(of("keyring = 'x', merges = 'all'"), @"/etc/pinion/pinion.toml:3:36: error: repository[0].verify.merges: `all` is not a way to check merges; write \"verify\" or \"forge\"");
    assert!(of("keyring = 'x', since = 'v1.0'").contains("repository[0].verify.since"));
    let block = |environment: &str, verify: &str| {
        format!("[[repository]]\nurl = 'https://a.b/c'\nenvironments = ['{environment}']\n{verify}\n")
    };
    let two = format!("{}{}", block("dev", ""), block("prod", "verify = { keyring = 'x' }"));
    insta::assert_snapshot!(findings(&two), @"/etc/pinion/pinion.toml:5:1: error: repository[1]: the same branch is at /etc/pinion/pinion.toml:1, too, with another [repository.verify]; make both the same");
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nowhere/pinion.toml"), &Overrides::default()).unwrap_err();
    insta::assert_snapshot!(error, @"can't read the configuration /nowhere/pinion.toml; name another file with --config");
}

#[test]
fn the_example_is_good() {
    let path = root().join("docs/examples/pinion.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let config = Config::parse(&path, text.as_bytes(), &Overrides::default(), &environment).unwrap();
    assert_eq!(config.repositories.len(), 1);
    // What is commented out is as good.
    let all = text.replace("# cache_dir", "cache_dir").replace("# [", "[").replace("# endpoint", "endpoint");
    let all = all.replace("# allowed_signers =", "allowed_signers =").replace("# since =", "since =");
    let all =
        all.replace("# format", "format").replace("# filter", "filter").replace("# environments =", "environments =");
    let mut all = all;
    for key in ["kind", "target_url", "secret_file", "name", "url_file", "events"] {
        all = all.replace(&format!("# {key} ="), &format!("{key} ="));
    }
    Config::parse(&path, all.as_bytes(), &Overrides::default(), &environment).unwrap();
}

#[test]
fn the_reference_of_the_configuration_is_current() {
    let (code, made, _) = pinion(&["schema", "--markdown"], root());
    let page = std::fs::read_to_string(root().join("docs/configuration.md")).unwrap_or_default();
    assert!(code == Some(0) && page == made, "run `pinion schema --markdown >docs/configuration.md`");
    // Every table and every key of the example stands there.
    let example = std::fs::read_to_string(root().join("docs/examples/pinion.toml")).unwrap();
    let mut tables = 0;
    for line in example.lines().map(|line| line.trim_start_matches("# ")).filter(|line| line.starts_with('[')) {
        let head = line.split_once(" #").map_or(line, |(head, _)| head).trim();
        assert!(page.contains(&format!("### `{head}`\n")), "{head}");
        tables += 1;
    }
    assert!(tables >= 5, "{tables}");
}

#[test]
fn the_schemas_are_current() {
    for name in Name::ALL {
        let path = root().join("schemas").join(name.file());
        let file = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(file == name.text().unwrap(), "{}: run `pinion schema --write schemas`", path.display());
    }
}

#[test]
fn every_key_is_described() {
    fn visit(path: &str, schema: &serde_json::Value) {
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(property["description"].as_str().is_some_and(|text| text.ends_with('.')), "{path}");
            visit(&path, property);
            visit(&path, &property["items"]);
            visit(&path, &property["additionalProperties"]);
        }
    }
    for name in Name::ALL {
        visit(name.file(), &name.schema());
    }
}

#[test]
fn numbers_and_durations_have_bounds_wherever_they_are_said() {
    let found = findings(
        r#"
grace_period = "9223372036854775807s"
[[repository]]
url = "/srv/environments.git"
interval = "18446744073709551615h"
connect_timeout = "1ns"
[reconcile]
interval = "-1s"
concurrency = 9223372036854775807
[history]
keep = "1000000h"
events = -9223372036854775808
"#,
    );
    insta::assert_snapshot!(found, @r#"
    /etc/pinion/pinion.toml:2:16: error: grace_period: this must be from 1s to 1h
    /etc/pinion/pinion.toml:5:12: error: repository[0].interval: `18446744073709551615h` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    /etc/pinion/pinion.toml:6:19: error: repository[0].connect_timeout: `1ns` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    /etc/pinion/pinion.toml:8:12: error: reconcile.interval: `-1s` is not a duration in whole seconds; write it in hours, minutes and seconds, such as "90s", "45m" or "1h 30m"
    /etc/pinion/pinion.toml:9:15: error: reconcile.concurrency: this must be from 1 to 1024
    /etc/pinion/pinion.toml:11:8: error: history.keep: this must be from 1h to 87840h
    /etc/pinion/pinion.toml:12:10: error: history.events: this must be from 100 to 1000000
    "#);
    let folder = tempfile::tempdir().unwrap();
    for (arguments, wanted) in [
        (&["run", "--interval", "5124095576030431h"][..], "write a duration from 1s to 24h"),
        (&["run", "--in-flight-interval", "18446744073709551615s"], "write a duration from 1s to 24h"),
        (&["run", "--grace-period", "2h"], "write a duration from 1s to 1h"),
        (&["resync", "--timeout", "18446744073709551615"], "is not in 0..=86400"),
        (&["history", "--limit", "0"], "0 is not in 1..=100000"),
        (&["history", "--since", "9223372036854775807d"], "is not a time"),
        (&["history", "--since", "19999y"], "is not a time"),
        (&["policy", "explain", "prod/asg/web", "--at", "+999999-01-01T00:00:00Z"], "invalid value"),
        (&["sim", "--listen", "127.0.0.1:0", "--speed", "1e300"], "give 0 to 1000000 seconds per second"),
        (&["status", "--address", "localhost:9780"], "write it like http://127.0.0.1:9780"),
    ] {
        let (code, _, stderr) = pinion(arguments, folder.path());
        assert!(stderr.contains(wanted), "{arguments:?}: {stderr}");
        assert_eq!(code, Some(64), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_usage_error_shows_the_usage_and_not_what_variables_give() {
    let usage = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("PINION_ADDRESS", "http://127.0.0.1:1");
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let said = String::from_utf8(output.stderr).unwrap();
        said.lines().find(|line| line.starts_with("Usage:")).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    assert_eq!(usage(&["bump"]), "Usage: pinion bump [OPTIONS] --environment <ENV> <COMPONENT> [VERSION]");
    assert_eq!(usage(&["policy", "explain", "a", "b"]), "Usage: pinion policy explain [OPTIONS] <ENV/TARGET>");
    assert_eq!(usage(&["apply"]), "Usage: pinion <COMMAND>");
}

#[test]
fn a_token_in_a_url_is_refused_and_not_repeated() {
    for url in ["https://hunter2@example.com/a.git", "https://ada:hunter2@example.com/a.git"] {
        let found = findings(&format!("[[repository]]\nurl = \"{url}\"\n"));
        assert!(found.contains("repository[0].url: this URL holds a ") && !found.contains("hunter2"), "{found}");
    }
    assert!(parse("[[repository]]\nurl = \"ssh://git@example.com/a.git\"\n").is_ok());
    let folder = tempfile::tempdir().unwrap();
    let address = "http://ada:hunter2@127.0.0.1:1";
    let (code, _, stderr) = pinion(&["status", "--address", address], folder.path());
    assert!(stderr.contains("can't reach the controller at http://127.0.0.1:1\n"), "{stderr}");
    assert!(code == Some(1) && !stderr.contains("hunter2"), "{stderr}");
}
