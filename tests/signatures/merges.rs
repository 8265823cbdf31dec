//! What a forge's key may sign: merges by real `git` that hold what they merge, and none that somebody had a hand in.

use std::fs;

use pinion::plan::change_limit::LINE;

use super::desk::{ADA, THEN, With};
use super::history::{Branch, SIGNED, none, summary};
use crate::support::stage::process;

const DEV: &str = "environments/dev/pins.toml";
const PROD: &str = "environments/prod/pins.toml";
const FREEZE: &str = "policies/guardrails/freeze.cedar";
const PINS: &str = "api = \"1.0.0\"\n\n# The shop's pages.\nweb = \"1.0.0\"\n";

/// Changes of the working copy: a path, and the text that it has from then on, if any.
type Changes<'a> = &'a [(&'a str, Option<&'a str>)];

const API: &str = "api = \"1.1.0\"\n\n# The shop's pages.\nweb = \"1.0.0\"\n";
const WEB: &str = "api = \"1.0.0\"\n\n# The shop's pages.\nweb = \"1.1.0\"\n";
const BOTH: &str = "api = \"1.1.0\"\n\n# The shop's pages.\nweb = \"1.1.0\"\n";

impl Branch {
    fn change(&self, changes: Changes<'_>) {
        for (path, text) in changes {
            let path = self.desk.work().join(path);
            match text {
                Some(text) => {
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, text).unwrap();
                }
                None => fs::remove_file(path).unwrap(),
            }
        }
        self.git(&["add", "--all"]);
    }

    /// A history of so many commits, each of which changes one of so many environments.
    fn grow(&self, commits: usize, environments: usize) {
        let mut stream = String::new();
        for number in 1..=commits.max(environments) {
            let path = format!("environments/e{}/pins.toml", (number - 1) % environments + 1);
            let text = if number + environments > commits { PINS.to_owned() } else { format!("api = \"{number}\"\n") };
            stream.push_str(&format!(
                "commit refs/heads/main\ncommitter Ada <{ADA}> {THEN} +0000\ndata 3\nold\nM 100644 inline {path}\ndata {}\n{text}\n",
                text.len()
            ));
        }
        fs::write(self.desk.path("stream"), stream).unwrap();
        let import = format!("git fast-import --quiet < '{}'", self.desk.path("stream").display());
        self.git(&["-c", &format!("alias.import=!{import}"), "import"]);
        self.git(&["reset", "--quiet", "--hard"]);
    }

    /// A merge of a branch with what it changes into main with what that changes, by the forge, in which somebody changes
    /// something else. Where Git can't merge by itself, main's is taken.
    fn merged_by(&self, forge: &str, first: &str, main: Changes<'_>, side: Changes<'_>, hand: Changes<'_>) -> String {
        self.git(&["checkout", "--quiet", "-B", "side", first]);
        self.change(side);
        self.commit(SIGNED, "side");
        self.git(&["checkout", "--quiet", "-B", "main", first]);
        self.change(main);
        self.commit(SIGNED, "main");
        self.git(&["merge", "--quiet", "--no-ff", "--no-commit", "--strategy-option=ours", "side"]);
        self.change(hand);
        self.desk.signed(With::OpenPgp(forge), ADA, THEN, &["commit", "--quiet", "--message", "Merge"]);
        let merge = self.git(&["rev-parse", "HEAD"]);
        assert_eq!(self.git(&["rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 3);
        merge
    }
}

#[test]
fn a_merge_by_a_forge_holds_what_it_merges_and_nothing_else() {
    let mut branch = Branch::new();
    let forge = branch.forge();
    branch.change(&[(DEV, Some(PINS)), (PROD, Some(PINS)), (FREEZE, Some("// none\n")), ("README.md", Some("pins\n"))]);
    let first = branch.commit(SIGNED, "first");

    let good: [(&str, Changes<'_>, Changes<'_>, Changes<'_>); 9] = [
        ("two files", &[(DEV, Some(API))], &[(PROD, Some(API))], &[]),
        ("two places of one file", &[(DEV, Some(API))], &[(DEV, Some(WEB))], &[]),
        ("the same twice", &[(DEV, Some(API))], &[(DEV, Some(API)), (PROD, Some(WEB))], &[]),
        ("a new environment", &[(DEV, Some(API))], &[("environments/test/pins.toml", Some(PINS))], &[]),
        ("one that is gone", &[(DEV, Some(API))], &[(PROD, None)], &[]),
        ("each takes one", &[(DEV, None)], &[(PROD, None)], &[]),
        ("a file is a folder", &[(PROD, Some(API))], &[(DEV, None), (&format!("{DEV}/a"), Some("a"))], &[]),
        ("only one side has changes", &[], &[(DEV, Some(BOTH)), (FREEZE, None)], &[]),
        ("what isn't read", &[(DEV, Some(API))], &[(PROD, Some(API))], &[("README.md", Some("changed by hand\n"))]),
    ];
    for (what, main, side, hand) in good {
        let merge = branch.merged_by(&forge, &first, main, side, hand);
        assert_eq!(branch.found(), (Some(merge), none()), "{what}");
    }

    let evil = "api = \"6.6.6\"\n";
    let bad: [(&str, Changes<'_>, Changes<'_>, Changes<'_>, &str); 8] = [
        ("a pin is changed", &[(DEV, Some(API))], &[(PROD, Some(API))], &[(PROD, Some(evil))], PROD),
        ("both are merged and one is changed", &[(DEV, Some(API))], &[(DEV, Some(WEB))], &[(DEV, Some(evil))], DEV),
        (
            "an environment is added",
            &[(DEV, Some(API))],
            &[(PROD, Some(API))],
            &[("environments/evil/pins.toml", Some(evil))],
            "environments/evil/pins.toml",
        ),
        ("a policy is taken out", &[(DEV, Some(API))], &[(PROD, Some(API))], &[(FREEZE, None)], FREEZE),
        ("a change is undone", &[(DEV, Some(API))], &[(PROD, Some(API))], &[(DEV, Some(PINS))], DEV),
        ("what one took out is back", &[(DEV, Some(API))], &[(FREEZE, None)], &[(FREEZE, Some("// none\n"))], FREEZE),
        ("a conflict is resolved", &[(DEV, Some(API))], &[(DEV, Some(evil))], &[], DEV),
        (
            "a file becomes a folder",
            &[(PROD, Some(API))],
            &[],
            &[(FREEZE, None), (&format!("{FREEZE}/a"), Some("a"))],
            FREEZE,
        ),
    ];
    for (what, main, side, hand, path) in bad {
        let merge = branch.merged_by(&forge, &first, main, side, hand);
        let verified = branch.verify(&mut branch.verifier(), None);
        let before = branch.git(&["rev-parse", "main^1"]);
        assert_eq!(summary(&verified), (Some(before), vec![format!("altered {merge}")]), "{what}");
        let reason = &verified.commits[0].reason;
        assert!(
            reason.contains(&format!("`{path}` in it follows from none of its parents; merge on your")),
            "{what}: {reason}"
        );
    }
    // Somebody who may sign answers for it.
    branch.desk.signed(SIGNED, ADA, THEN, &["commit", "--quiet", "--amend", "--no-edit"]);
    assert_eq!(branch.found(), (Some(branch.git(&["rev-parse", "HEAD"])), none()));

    // A file that may be run isn't the file that was there.
    let merge = branch.merged_by(&forge, &first, &[(DEV, Some(API))], &[(PROD, Some(API))], &[]);
    branch.git(&["update-index", "--chmod=+x", FREEZE]);
    branch.desk.signed(With::OpenPgp(&forge), ADA, THEN, &["commit", "--quiet", "--amend", "--no-edit"]);
    let altered = branch.git(&["rev-parse", "HEAD"]);
    assert_ne!(altered, merge);
    assert_eq!(branch.found().1, [format!("altered {altered}")]);
}

#[test]
fn a_forge_merges_two_branches_however_often_they_met() {
    let mut branch = Branch::new();
    let forge = branch.forge();
    branch.change(&[(DEV, Some(PINS)), (PROD, Some(PINS))]);
    let first = branch.commit(SIGNED, "first");
    let crossed = branch.merged_by(&forge, &first, &[(DEV, Some(API))], &[(PROD, Some(API))], &[]);
    // The other way round at the same time: what the two come from are then two commits.
    branch.git(&["checkout", "--quiet", "side"]);
    branch.merge(With::OpenPgp(&forge), &["main^1"]);
    branch.change(&[(PROD, Some(BOTH))]);
    branch.commit(SIGNED, "side goes on");
    branch.git(&["checkout", "--quiet", "main"]);
    let merge = branch.merge(With::OpenPgp(&forge), &["side"]);
    assert_eq!(branch.git(&["merge-base", "--all", "main^1", "main^2"]).lines().count(), 2);
    assert_eq!(branch.found(), (Some(merge), none()));

    // Forges don't merge three.
    branch.git(&["reset", "--quiet", "--hard", &crossed]);
    for name in ["one", "two"] {
        branch.git(&["checkout", "--quiet", "-B", name, &first]);
        branch.commit(SIGNED, name);
    }
    branch.git(&["checkout", "--quiet", "main"]);
    let octopus = branch.merge(With::OpenPgp(&forge), &["one", "two"]);
    let verified = branch.verify(&mut branch.verifier(), None);
    assert_eq!(summary(&verified), (Some(crossed), vec![format!("altered {octopus}")]));
    assert!(verified.commits[0].reason.contains("it has 3 parents, and forges merge two"), "{verified:?}");
}

#[test]
fn a_merge_by_a_forge_mixes_no_pin() {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let pin = |version: &str, letter: &str, more: &str| {
        format!(
            "web = \"1.0.0\"\n\n[api]\nversion = \"{version}\"\n# What was tested.\ndigest = \"{}\"\n{more}",
            digest(letter)
        )
    };
    let (base, version, both) = (pin("1.0.0", "a", ""), pin("1.1.0", "a", ""), pin("1.1.0", "b", ""));
    let other = pin("1.0.0", "b", "");
    let web = base.replace("web = \"1.0.0\"", "web = \"1.1.0\"");
    let mut branch = Branch::new();
    let forge = branch.forge();
    branch.change(&[(DEV, Some(&base)), ("environments/dev/environment.toml", Some(&base))]);
    let first = branch.commit(SIGNED, "first");

    // Git merges the version of one with the digest of the other, and nobody has signed the two together.
    let merge = branch.merged_by(&forge, &first, &[(DEV, Some(&version))], &[(DEV, Some(&other))], &[]);
    assert_eq!(branch.git(&["show", &format!("HEAD:{DEV}")]), both.trim_end());
    let verified = branch.verify(&mut branch.verifier(), None);
    assert_eq!(summary(&verified).1, [format!("altered {merge}")]);
    let told =
        format!("`api` of `{DEV}` in it is neither what one nor what the other has pinned; merge on your machine");
    assert!(verified.commits[0].reason.contains(&told), "{verified:?}");
    // A whole pin of each is what they have signed, and what holds no pins is read as a text.
    for (what, main, side) in [
        ("two pins", (DEV, version.as_str()), (DEV, web.as_str())),
        ("no pins", ("environments/dev/environment.toml", &version), ("environments/dev/environment.toml", &other)),
        // That is broken, and stays without effect by itself.
        (
            "twice the same pin",
            (DEV, &format!("\"api\" = \"2.0.0\"\n{base}")),
            (DEV, &pin("1.0.0", "a", "\n[db]\nversion = \"2\"\n")),
        ),
    ] {
        let merge = branch.merged_by(&forge, &first, &[(main.0, Some(main.1))], &[(side.0, Some(side.1))], &[]);
        assert_eq!(branch.found(), (Some(merge), none()), "{what}");
    }
}

#[test]
fn a_message_that_only_a_forge_has_signed_acknowledges_nothing() {
    let mut branch = Branch::new();
    let old = branch.commit(With::Nothing, &format!("old\n\n{LINE}"));
    branch.trust(&old);
    let forge = branch.forge();
    branch.change(&[(DEV, Some(PINS))]);
    let first = branch.commit(SIGNED, "first");
    let merge_saying = |with: With<'_>, side: &str, merge: &str| {
        branch.git(&["checkout", "--quiet", "-B", "side", "main"]);
        branch.change(&[(PROD, Some(&format!("# {side}\n{PINS}")))]);
        let signed = branch.commit(SIGNED, side);
        branch.git(&["checkout", "--quiet", "main"]);
        branch.desk.signed(with, ADA, THEN, &["merge", "--quiet", "--no-ff", "-m", merge, "side"]);
        (signed, branch.git(&["rev-parse", "HEAD"]))
    };
    let word = |what: &str| format!("{what}\n\n{LINE}");
    let by_forge = With::OpenPgp(&forge);
    let (_, forged) = merge_saying(by_forge, "nothing said", &word("Merge"));
    let (said, silent) = merge_saying(by_forge, &word("said by a person"), "Merge");
    let (_, signed) = merge_saying(SIGNED, "nothing said again", &word("Merge by a person"));

    let mut verifier = branch.verifier();
    let mut expected = vec![(forged.clone(), false), (said.clone(), true), (signed.clone(), true)];
    expected.sort();
    assert_eq!(branch.acknowledged(&mut verifier, &first), expected);
    // Nor does such a merge say why a pin goes back, should it ever be one that sets it.
    for (commit, trailers, signer) in
        [(&forged, 0, true), (&silent, 0, true), (&said, 1, true), (&signed, 1, true), (&old, 1, false)]
    {
        let found = branch.vouched(&mut verifier, commit);
        assert_eq!((found.trailers.len(), found.signer.is_some()), (trailers, signer), "{commit}");
    }
    // What is trusted as it is counts with its messages, no matter who wrote them.
    branch.trust(&signed);
    let mut verifier = branch.verifier();
    let trusted: Vec<_> = expected.into_iter().map(|(commit, _)| (commit, true)).collect();
    assert_eq!(branch.acknowledged(&mut verifier, &first), trusted);
}

/// What a merge costs goes with what was changed, not with how much there is. By hand: `MERGED_COMMITS=10000` and
/// `MERGED_ENVIRONMENTS=500`, with a release build for figures.
#[test]
fn comparing_a_merge_reads_what_was_changed() {
    let read = |commits: usize, environments: usize| {
        let mut branch = Branch::new();
        let forge = branch.forge();
        branch.grow(commits, environments);
        branch.trust(&branch.git(&["rev-parse", "HEAD"]));
        let first = branch.commit(SIGNED, "first");
        let mut read = Vec::new();
        let pins = |number: usize| format!("environments/e{number}/pins.toml");
        let (one, other) = (pins(1), pins(2));
        for (main, side) in [
            (vec![(one.as_str(), Some(API))], vec![(other.as_str(), Some(API))]),
            (vec![(one.as_str(), Some(API))], vec![(one.as_str(), Some(WEB))]),
            (vec![], vec![(one.as_str(), Some(API))]),
        ] {
            // What came before is looked at before.
            branch.git(&["checkout", "--quiet", "-B", "main", &first]);
            let mut verifier = branch.verifier();
            branch.verify(&mut verifier, None);
            let merge = branch.merged_by(&forge, &first, &main, &side, &[]);
            branch.poll();
            let start = process::now();
            assert_eq!(summary(&branch.verify(&mut verifier, None)), (Some(merge), none()));
            println!(
                "{commits} commits, {environments} environments: {} read, {:?}",
                verifier.compared(),
                start.elapsed()
            );
            read.push(verifier.compared());
        }
        read
    };
    let given = |name: &str, usual: usize| std::env::var(name).map_or(usual, |count| count.parse().unwrap());
    let small = read(10, 3);
    // The roots, twice; the folder of environments, and for one that both have changed, its folder and its file.
    assert_eq!(small, [8 + 4, 8 + 4 + 4 + 4, 8]);
    assert_eq!(read(given("MERGED_COMMITS", 1000), given("MERGED_ENVIRONMENTS", 500)), small);
}
