//! What `validate`, `plan` and `run` refuse is the same, over all kinds of trees: read from a folder, from a commit, or from
//! neither.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use async_trait::async_trait;
use pinion::claims::Coverage;
use pinion::git::WorkingCopy;
use pinion::manifest::gather::{Entry, Listing, NodeKind, TreeLimits, TreeSource, gather};
use pinion::manifest::{self, Loaded};
use pinion::model::{CommitId, EnvironmentName, Files, PinKey, Provenance, RepositoryError, Tip, Trailer};
use pinion::plan::change_limit;
use pinion::ports::Repository;
use pinion::reconcile::follow::{Followed, Follower};
use proptest::prelude::*;

use super::files::{ENVIRONMENT, PINS};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    File(Vec<u8>),
    Link,
}

/// A tree, by paths. Folders are there by what is in them.
type Tree = BTreeMap<String, What>;

struct Memory<'a>(&'a Tree);

impl TreeSource for Memory<'_> {
    type Handle = String;
    type Error = std::convert::Infallible;

    fn list(&mut self, folder: Option<&String>) -> Result<Listing<String>, Self::Error> {
        let prefix = folder.map_or(String::new(), |folder| format!("{folder}/"));
        let mut entries: BTreeMap<String, NodeKind> = BTreeMap::new();
        for (path, what) in self.0 {
            let Some(inner) = path.strip_prefix(&prefix) else { continue };
            let (name, kind) = match (inner.split_once('/'), what) {
                (Some((name, _)), _) => (name, NodeKind::Folder),
                (None, What::File(_)) => (inner, NodeKind::File),
                (None, What::Link) => (inner, NodeKind::Link),
            };
            entries.insert(name.to_owned(), kind);
        }
        let entry = |(name, kind): (String, NodeKind)| {
            let handle = format!("{prefix}{name}");
            Entry { name, legible: true, kind, handle }
        };
        Ok(Ok(entries.into_iter().map(entry).collect()))
    }

    fn size(&mut self, file: &String) -> Result<u64, Self::Error> {
        self.read(file).map(|bytes| bytes.len() as u64)
    }

    fn read(&mut self, file: &String) -> Result<Vec<u8>, Self::Error> {
        let What::File(bytes) = &self.0[file] else { panic!("{file} is no file") };
        Ok(bytes.clone())
    }
}

/// A repository of one commit.
struct One(Files);

#[async_trait]
impl Repository for One {
    async fn poll(&self) -> Result<BTreeMap<String, Result<Tip, RepositoryError>>, RepositoryError> {
        Ok(BTreeMap::new())
    }

    async fn files(&self, _: &CommitId) -> Result<Files, RepositoryError> {
        Ok(self.0.clone())
    }

    async fn before(&self, _: &CommitId) -> Result<Option<CommitId>, RepositoryError> {
        Ok(None)
    }

    async fn trailers(&self, _: &str, _: &CommitId, _: &str) -> Result<Vec<Trailer>, RepositoryError> {
        Ok(Vec::new())
    }

    async fn provenance(
        &self,
        _: &str,
        _: &CommitId,
        pins: &BTreeMap<PinKey, String>,
    ) -> Result<BTreeMap<PinKey, Provenance>, RepositoryError> {
        let of = |key: &PinKey| (key.clone(), Provenance::uncommitted(jiff::Timestamp::UNIX_EPOCH));
        Ok(pins.keys().map(of).collect())
    }
}

/// What `run` would apply of these files: the environments, and whether their rollouts aren't all forbidden because the
/// policies make no sense.
fn applied(files: &Files) -> (BTreeSet<EnvironmentName>, bool) {
    let followed = followed(files);
    (followed.environments.into_keys().collect(), followed.policy_errors.is_empty())
}

/// What `run` makes of these files.
fn followed(files: &Files) -> Followed {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (repository, commit) = (One(files.clone()), CommitId::try_from("1".repeat(40)).unwrap());
    let mut follower = Follower::new("main", Coverage::All, change_limit::ChangeLimits::default());
    runtime.block_on(follower.read(&repository, &commit, None)).unwrap()
}

/// Runs Pinion in a folder, where there is no AWS.
fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pinion"));
    command.args(arguments).current_dir(folder).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").env("AWS_MAX_ATTEMPTS", "1");
    command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").output().unwrap()
}

/// Holds the rule for one tree.
fn agree(files: &Files) -> Loaded {
    let loaded = manifest::load_with_refused(&files.files, &files.refused);
    let (applied, allowed) = applied(files);
    let mut refused = false;
    for name in loaded.environments.keys() {
        let plan_refuses = !loaded.stops(std::slice::from_ref(name)).is_empty();
        let run_refuses = !applied.contains(name) || !allowed;
        assert_eq!(plan_refuses, run_refuses, "{name}: {}", loaded.all_findings());
        refused |= plan_refuses;
    }
    let validate_refuses = !loaded.stops(&[]).is_empty();
    assert!(validate_refuses || !refused, "validate accepts what run refuses");
    // Beyond that, validate refuses only what is in no environment that runs: a folder that can't be one, or nothing at all.
    for finding in loaded.findings.iter() {
        let folder = finding.file.strip_prefix("environments/").unwrap_or_default().split('/').next().unwrap();
        let runs = EnvironmentName::try_from(folder).is_ok_and(|name| applied.contains(&name));
        let is_defaults = folder == "defaults.toml";
        assert!(!runs && (!is_defaults || applied.is_empty()), "{finding}");
    }
    if validate_refuses && !refused {
        assert!(!loaded.findings.is_empty() || !allowed, "{}", loaded.all_findings());
    }
    loaded
}

fn other_region(text: &str) -> String {
    text.replace("us-west-1\"\nrole", "us-west-2\"\nrole")
}

/// What `environment.toml` may hold.
fn environments() -> Vec<String> {
    vec![
        ENVIRONMENT.to_owned(),
        other_region(ENVIRONMENT),
        format!("{ENVIRONMENT}[promotion]\nfrom = \"dev\""),
        ENVIRONMENT.replace("[fargate.api]", "[defaults.ecs]\ncontainer = \"{target}\"\n[ecs.api]"),
        format!("{ENVIRONMENT}[ecs.api]\n"),
        format!("{ENVIRONMENT}[promotion]\nfrom = \"prod\""),
        format!("{ENVIRONMENT}[promotion]\nfrom = \"nowhere\""),
        format!("{ENVIRONMENT}nonsense = 1"),
        ENVIRONMENT.replace("region = \"us-west-1\"\n", ""),
        ENVIRONMENT.replace("\"222222222222\"", "222222222222"),
        "[account".to_owned(),
        String::new(),
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n".to_owned(),
    ]
}

/// What `pins.toml` may hold.
const PIN_FILES: [&str; 6] = [
    PINS,
    "frontend = \"1\"\n",
    "frontend = 1.4.0\nbackend = \"1\"\n",
    "",
    "<<<<<<< HEAD\n",
    "\u{feff}frontend = \"2\"\nbackend = \"2\"\n",
];

/// What may lie elsewhere.
const OTHERS: [(&str, &str); 29] = [
    ("environments/dev/providers.tf", "x"),
    ("environments/dev/extra.toml", "x = 1"),
    ("environments/dev/environment.yaml", "x: 1"),
    ("environments/dev/modules/deep/down/pins.toml", "x"),
    ("environments/prod/modules/a.tf", "x"),
    ("environments/empty/modules/a.tf", "x"),
    ("environments/.hidden/pins.toml", "x"),
    ("environments/Dev/pins.toml", "x"),
    ("environments/defaults.toml", "[account]\nregion = \"eu-west-1\"\n"),
    ("environments/defaults.toml", "[asg.web]\ngroup = 7\n"),
    ("environments/defaults.toml", "[defaults.fargate]\ncontainer = \"{target}\"\n"),
    ("environments/defaults.toml", "[defaults.fargate]\ncontainer = \"{taget}\"\n"),
    ("environments/defaults.toml", "[ecs.x]\n[fargate.x]\n"),
    ("environments/defaults.toml", "[asg"),
    ("environments/default.toml", "x"),
    ("environment/prod/pins.toml", "x"),
    ("Environments/prod/pins.toml", "x"),
    ("env-a/environments/pins.toml", "x"),
    ("env/bin/activate", "x"),
    ("env/a-b/pins.toml", "x"),
    ("env/a/environment.toml", "x"),
    ("environments/dev/a-b/pins.toml", "x"),
    ("environments/defaults.yaml", "x: 1"),
    ("environments/prod/pins.json", "{}"),
    ("policy/guardrails/a.cedar", "forbid"),
    ("policies/a.cedar.bak", "forbid"),
    ("policies/a.cedar", "@id(\"a\") @reason(\"b\") forbid (principal, action, resource in Environment::\"staging\");"),
    ("policies/deep/b.cedar", "forbid"),
    ("policies/iam/trust.json", "{}"),
];

/// Where links may stand.
const LINKS: [&str; 6] = [
    "environments/dev/providers.tf",
    "environments/dev/pins.toml",
    "environments/prod/link",
    "environments/current",
    "environments/providers.tf",
    "policies/shared",
];

fn trees() -> impl Strategy<Value = Tree> {
    let folder = || (0..environments().len() + 2, 0..PIN_FILES.len() + 1);
    let more = prop::collection::vec(0..OTHERS.len(), 0..4);
    let links = prop::collection::vec(0..LINKS.len(), 0..2);
    (folder(), folder(), more, links).prop_map(|(dev, prod, more, links)| {
        let mut tree = Tree::new();
        for (name, (environment, pins)) in [("dev", dev), ("prod", prod)] {
            let environment = if environment < 2 {
                Some(&environments()[0]).cloned()
            } else {
                environments().get(environment - 2).cloned()
            };
            // Both claiming one thing is for other tests.
            let environment = environment.map(|text| if name == "dev" { other_region(&text) } else { text });
            if let Some(text) = environment {
                tree.insert(format!("environments/{name}/environment.toml"), What::File(text.into_bytes()));
            }
            if let Some(text) = PIN_FILES.get(pins) {
                tree.insert(format!("environments/{name}/pins.toml"), What::File(text.as_bytes().to_vec()));
            }
        }
        for (path, text) in more.into_iter().map(|at| OTHERS[at]) {
            tree.insert(path.to_owned(), What::File(text.as_bytes().to_vec()));
        }
        for path in links.into_iter().map(|at| LINKS[at]) {
            tree.insert(path.to_owned(), What::Link);
        }
        tree
    })
}

fn write(tree: &Tree, root: &Path) {
    for (path, what) in tree {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match what {
            What::File(bytes) => std::fs::write(path, bytes).unwrap(),
            What::Link => std::os::unix::fs::symlink("../elsewhere", path).unwrap(),
        }
    }
}

fn git(root: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments).current_dir(root);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn from_disk_and_git(tree: &Tree) -> (Files, Files) {
    let folder = tempfile::tempdir().unwrap();
    write(tree, folder.path());
    // Git doesn't know empty folders, and neither does reading the disk.
    std::fs::create_dir_all(folder.path().join("environments/hollow/inside")).unwrap();
    let disk = manifest::read::folder(folder.path()).unwrap();
    git(folder.path(), &["init", "--quiet"]);
    git(folder.path(), &["add", "--all", "--force"]);
    git(folder.path(), &["commit", "--quiet", "--allow-empty", "--message", "all"]);
    let copy = WorkingCopy::discover(folder.path()).unwrap();
    let commit = copy.head().unwrap().unwrap();
    (disk, copy.objects().files(&commit).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn validate_plan_and_run_refuse_the_same(tree in trees()) {
        let files = gather(&mut Memory(&tree), TreeLimits::default()).unwrap();
        agree(&files);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn a_folder_and_a_commit_are_read_alike(tree in trees()) {
        let memory = gather(&mut Memory(&tree), TreeLimits::default()).unwrap();
        let (disk, git) = from_disk_and_git(&tree);
        prop_assert_eq!(&disk, &memory);
        prop_assert_eq!(&git, &memory);
    }
}

/// Nothing that lies in dev's folder changes what is read of prod, in whatever number and depth it lies there.
#[test]
fn what_lies_in_one_folder_changes_nothing_of_another() {
    let good = |name: &str, text: &str| {
        [
            (format!("environments/{name}/environment.toml"), What::File(text.as_bytes().to_vec())),
            (format!("environments/{name}/pins.toml"), What::File(PINS.as_bytes().to_vec())),
        ]
    };
    let mut tree: Tree = good("prod", ENVIRONMENT).into_iter().chain(good("dev", &other_region(ENVIRONMENT))).collect();
    for index in 0..10_001 {
        tree.insert(format!("environments/dev/{index}.tf"), What::File(Vec::new()));
    }
    tree.insert(format!("environments/dev/{}x", "deep/".repeat(400)), What::File(Vec::new()));
    tree.insert("environments/dev/big.bin".to_owned(), What::File(vec![0; 2 << 20]));
    tree.insert("environments/dev/link".to_owned(), What::Link);
    let files = gather(&mut Memory(&tree), TreeLimits::default()).unwrap();
    let loaded = agree(&files);
    assert_eq!(loaded.all_findings().to_string(), "");
    assert_eq!((files.files.len(), loaded.environments.len()), (4, 2));
}

/// What isn't read though it was meant to be is said by all of them, and stops none.
#[test]
fn the_programs_notice_the_same() {
    let good = [("environments/prod/environment.toml", ENVIRONMENT), ("environments/prod/pins.toml", PINS)];
    let misplaced = [
        ("policy/freeze.cedar", "forbid"),
        ("guardrails/freeze.cedar", "forbid"),
        ("policies/guardrails/freeze.cedar.txt", "forbid"),
        ("environments/defaults.yml", "x: 1"),
        ("Environments/dev/pins.toml", "x"),
        ("envs/dev/pins.toml", "x"),
    ];
    let files = good.into_iter().chain(misplaced);
    let tree: Tree = files.map(|(path, text)| (path.to_owned(), What::File(text.as_bytes().to_vec()))).collect();
    let (disk, committed) = from_disk_and_git(&tree);
    assert_eq!(disk, committed);
    let folder = tempfile::tempdir().unwrap();
    write(&tree, folder.path());
    let said = followed(&disk).warnings;
    for (path, _) in misplaced {
        let path = path.strip_suffix("/dev/pins.toml").unwrap_or(path);
        assert!(
            said.iter().any(|warning| warning.starts_with(&format!("{path}:1: warning: this "))),
            "{path}: {said:?}"
        );
    }
    let validated = run(folder.path(), &["validate"]);
    assert_eq!(validated.status.code(), Some(0));
    for output in [validated, run(folder.path(), &["plan", "prod"])] {
        let errors = String::from_utf8(output.stderr).unwrap();
        let seen: Vec<&str> = errors.lines().filter(|line| line.contains(": warning: ")).collect();
        assert_eq!(seen, said, "{errors}");
    }
}

/// The same, by the programs that people run.
#[test]
fn the_programs_agree() {
    let good = [
        ("environments/dev/environment.toml", other_region(ENVIRONMENT)),
        ("environments/dev/pins.toml", PINS.to_owned()),
        ("environments/prod/environment.toml", format!("{ENVIRONMENT}[promotion]\nfrom = \"dev\"")),
        ("environments/prod/pins.toml", PINS.to_owned()),
    ];
    let promoted = other_region(ENVIRONMENT) + "[promotion]\nfrom = \"prod\"";
    // What dev's folder gets, and whether that stops dev.
    for (path, text, stops) in [
        ("environments/dev/providers.tf", "", false),
        ("environments/dev/environment.toml", promoted.as_str(), false),
        ("environments/dev/pins.toml", "frontend = 1.4.0\n", true),
        ("environments/dev/extra.toml", "", true),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut tree: Tree =
            good.iter().map(|(path, text)| ((*path).to_owned(), What::File(text.as_bytes().to_vec()))).collect();
        tree.insert(path.to_owned(), What::File(text.as_bytes().to_vec()));
        write(&tree, folder.path());
        let run = |arguments: &[&str]| run(folder.path(), arguments);
        let validated = run(&["validate"]);
        assert_eq!(validated.status.code(), Some(i32::from(stops)), "{path}");
        for (environment, refused) in [("dev", stops), ("prod", false)] {
            let planned = String::from_utf8(run(&["plan", environment]).stderr).unwrap();
            assert_eq!(planned.contains("nothing was planned"), refused, "{path}: {environment}: {planned}");
        }
        let files = manifest::read::folder(folder.path()).unwrap();
        let (applied, allowed) = applied(&files);
        assert_eq!((applied.len(), allowed), (if stops { 1 } else { 2 }, true), "{path}");
    }
}
