//! What a forge's key may sign: merges by real `git` that hold what they merge, and none that somebody had a hand in.

use std::fs;

use crate::desk::{ADA, THEN, With};
use crate::history::{Branch, SIGNED, none, summary};

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
