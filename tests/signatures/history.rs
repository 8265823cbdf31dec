//! What signatures mean for a branch: every commit counts, not only the tip.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use pinion::config::Verify;
use pinion::git::{Auth, Mirror, Mirrors, Programs, RepositorySource, Verifier};
use pinion::manifest;
use pinion::model::{CommitId, Provenance, Trailer, Verified};
use pinion::plan::change_limit;

use super::desk::{ADA, DAY, Desk, THEN, With, now};
use crate::support::stage::process;

pub(crate) const SIGNED: With<'_> = With::Ssh("ada");

/// A branch whose commits Ada signs.
pub(crate) struct Branch {
    pub(crate) desk: Desk,
    mirror: Arc<Mirror>,
    policy: Verify,
    /// When the last commit was made.
    clock: Cell<i64>,
}

impl Branch {
    pub(crate) fn new() -> Self {
        let desk = Desk::new();
        let line = format!("{ADA} {}\n", desk.ssh_key("ada", &["ed25519"]));
        desk.ssh_key("outsider", &["ed25519"]);
        std::fs::write(desk.path("allowed_signers"), line).unwrap();
        let mirrors = Mirrors::new(desk.path("cache"), Programs::default());
        let source = RepositorySource {
            url: format!("file://{}", desk.work().display()),
            branches: BTreeSet::from(["main".to_owned()]),
            auth: Auth::None,
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            poll_timeout: Duration::from_secs(600),
        };
        let mirror = mirrors.open(&source).unwrap();
        let allowed_signers = Some(desk.path("allowed_signers"));
        let policy = Verify { allowed_signers, keyring: None, forge_keys: None, since: None };
        Self { desk, mirror, policy, clock: Cell::new(THEN) }
    }

    pub(crate) fn commit(&self, with: With<'_>, message: &str) -> String {
        self.clock.set(self.clock.get() + 60);
        let id = self.desk.commit(with, ADA, self.clock.get(), message);
        println!("{} {message}", &id[..8]);
        id
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.desk.git(ADA, THEN, arguments)
    }

    pub(crate) fn merge(&self, with: With<'_>, branches: &[&str]) -> String {
        self.desk.signed(with, ADA, THEN, &[&["merge", "--quiet", "--no-ff", "-m", "Merge"], branches].concat());
        self.git(&["rev-parse", "HEAD"])
    }

    /// Polls; the branch's tip.
    pub(crate) fn poll(&self) -> CommitId {
        self.mirror.poll(&AtomicBool::new(false)).unwrap().branches["main"].clone().unwrap().commit
    }

    /// Polls, and asks a verifier what counts.
    pub(crate) fn verify(&self, verifier: &mut Verifier, last: Option<&str>) -> Verified {
        let (tip, interrupt) = (self.poll(), AtomicBool::new(false));
        let last = last.map(|last| CommitId::try_from(last.to_owned()).unwrap());
        verifier.verify(&self.mirror.objects().unwrap(), &tip, last.as_ref(), now(), &interrupt).unwrap()
    }

    /// A forge's key, which may sign merges from now on; its fingerprint.
    pub(crate) fn forge(&mut self) -> String {
        let forge = self.desk.openpgp_key("The forge <noreply@forge.example.com>", "rsa2048", "sign", THEN - DAY);
        std::fs::write(self.desk.path("forge.asc"), self.desk.export(&[&forge])).unwrap();
        self.policy.forge_keys = Some(self.desk.path("forge.asc"));
        forge
    }

    /// The commits since another whose messages have an acknowledgement, each with whether that is honored.
    pub(crate) fn acknowledged(&self, verifier: &mut Verifier, since: &str) -> Vec<(String, bool)> {
        let tip = self.verify(verifier, None).accepted.unwrap();
        let (objects, since) = (self.mirror.objects().unwrap(), CommitId::try_from(since.to_owned()).unwrap());
        let mut found = objects.trailers_since(Some(&since), &tip, change_limit::TRAILER).unwrap();
        verifier.honor(&objects, &mut found, now()).unwrap();
        let mut found: Vec<_> =
            found.into_iter().map(|Trailer { commit, honored, .. }| (commit.to_string(), honored)).collect();
        found.sort();
        found
    }

    /// What is known of a commit that sets pins.
    pub(crate) fn vouched(&self, verifier: &mut Verifier, commit: &str) -> Provenance {
        let mut found = Provenance::uncommitted(now());
        found.commit = CommitId::try_from(commit.to_owned()).unwrap();
        found.trailers.insert("Rollback".to_owned(), "it loses orders".to_owned());
        verifier.vouch(&self.mirror.objects().unwrap(), &mut found, now()).unwrap();
        found
    }

    /// All up to here counts as it is.
    pub(crate) fn trust(&mut self, commit: &str) {
        self.policy.since = Some(CommitId::try_from(commit.to_owned()).unwrap());
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier::new(self.policy.clone(), |_, bytes| manifest::pin_values(bytes)).unwrap()
    }

    /// What a process that has just started finds: what counts, and what is refused.
    pub(crate) fn found(&self) -> (Option<String>, Vec<String>) {
        summary(&self.verify(&mut self.verifier(), None))
    }
}

pub(crate) fn summary(verified: &Verified) -> (Option<String>, Vec<String>) {
    assert!(verified.checked);
    assert_eq!(verified.refused, verified.commits.len());
    let refused = verified.commits.iter().map(|commit| format!("{} {}", commit.kind, commit.commit));
    (verified.accepted.as_ref().map(ToString::to_string), refused.collect())
}

pub(crate) fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn an_unsigned_commit_under_a_signed_tip_is_found() {
    let branch = Branch::new();
    let first = branch.commit(SIGNED, "first");
    assert_eq!(branch.found(), (Some(first.clone()), none()));
    let hidden = branch.commit(With::Nothing, "hidden");
    let foreign = branch.commit(With::Ssh("outsider"), "by somebody else");
    branch.commit(SIGNED, "tip");
    let refused = vec![format!("unsigned {hidden}"), format!("unknown-key {foreign}")];
    assert_eq!(branch.found(), (Some(first), refused));
}

#[test]
fn unsigned_commits_come_in_by_no_parent_of_a_merge() {
    let branch = Branch::new();
    let first = branch.commit(SIGNED, "first");
    let side = |name: &str, with: With<'_>| {
        branch.git(&["checkout", "--quiet", "-b", name, &first]);
        branch.commit(with, name)
    };
    side("good", SIGNED);
    side("fine", SIGNED);
    let hidden = side("bad", With::Nothing);
    branch.commit(SIGNED, "over it");
    branch.git(&["checkout", "--quiet", "main"]);
    let merged = branch.merge(SIGNED, &["good"]);
    assert_eq!(branch.found(), (Some(merged.clone()), none()));
    let octopus = branch.merge(SIGNED, &["fine", "bad"]);
    assert_eq!(branch.git(&["rev-list", "--parents", "-1", "HEAD"]).split(' ').count(), 4, "an octopus");
    assert_eq!(branch.found(), (Some(merged.clone()), vec![format!("unsigned {hidden}")]));
    // Nor by the first, where the branch itself is merged into something else and then moved there.
    branch.git(&["checkout", "--quiet", "-B", "turned", "bad"]);
    branch.merge(SIGNED, &[merged.as_str()]);
    branch.git(&["branch", "--quiet", "--force", "main", "turned"]);
    assert_eq!(branch.found(), (Some(first), vec![format!("unsigned {hidden}")]), "{octopus}");
}

#[test]
fn what_came_before_signing_is_trusted_if_it_is_named() {
    let mut branch = Branch::new();
    let old = branch.commit(With::Nothing, "old");
    let last_old = branch.commit(With::Nothing, "the last unsigned one");
    let signed = branch.commit(SIGNED, "signed");
    assert_eq!(branch.found(), (None, vec![format!("unsigned {old}"), format!("unsigned {last_old}")]));
    branch.policy.since = Some(CommitId::try_from(last_old.clone()).unwrap());
    assert_eq!(branch.found(), (Some(signed.clone()), none()));
    branch.policy.since = Some(CommitId::try_from(old.clone()).unwrap());
    assert_eq!(branch.found(), (Some(old), vec![format!("unsigned {last_old}")]));
    // One that isn't there makes nothing trusted.
    branch.policy.since = Some(CommitId::try_from("a".repeat(40)).unwrap());
    assert_eq!(branch.found().0, None);
}

#[test]
fn what_counted_stays_while_the_tip_is_refused() {
    let branch = Branch::new();
    let first = branch.commit(SIGNED, "first");
    let second = branch.commit(SIGNED, "second");
    let mut running = branch.verifier();
    assert_eq!(summary(&branch.verify(&mut running, Some(&first))).0, Some(second.clone()));
    // A refused commit on top; signed ones under it count, in a process that runs as in one that starts.
    let third = branch.commit(SIGNED, "third");
    let bad = branch.commit(With::Nothing, "bad");
    for verified in [branch.verify(&mut running, Some(&second)), branch.verify(&mut branch.verifier(), None)] {
        assert_eq!(summary(&verified), (Some(third.clone()), vec![format!("unsigned {bad}")]));
    }
    // A rewritten history whose tip is refused takes nothing back.
    branch.git(&["reset", "--quiet", "--hard", &first]);
    let rewritten = branch.commit(With::Nothing, "rewritten");
    let verified = branch.verify(&mut running, Some(&third));
    assert_eq!(summary(&verified), (Some(third.clone()), vec![format!("unsigned {rewritten}")]));
    // One whose tip is good does: an allowed signer may do so.
    branch.git(&["reset", "--quiet", "--hard", &first]);
    let repaired = branch.commit(SIGNED, "repaired");
    assert_eq!(summary(&branch.verify(&mut running, Some(&third))), (Some(repaired), none()));
}

#[test]
fn keys_are_read_anew_when_they_change() {
    let branch = Branch::new();
    let first = branch.commit(SIGNED, "first");
    let second = branch.commit(With::Ssh("outsider"), "by somebody new");
    let mut running = branch.verifier();
    assert_eq!(summary(&branch.verify(&mut running, None)).0, Some(first.clone()));
    let file = branch.desk.path("allowed_signers");
    let ada = std::fs::read_to_string(&file).unwrap();
    let both = format!("{ada}{ADA} {}\n", branch.desk.public("outsider"));
    std::fs::write(&file, &both).unwrap();
    assert_eq!(summary(&branch.verify(&mut running, Some(&first))), (Some(second.clone()), none()));
    // Somebody leaves: what they signed before still counts if the line ends, and doesn't if it is gone.
    let left = both.replace(
        &format!("{ADA} {}", branch.desk.public("outsider")),
        &format!("{ADA} valid-before=\"20250602Z\" {}", branch.desk.public("outsider")),
    );
    std::fs::write(&file, left).unwrap();
    assert_eq!(summary(&branch.verify(&mut running, Some(&second))), (Some(second.clone()), none()));
    std::fs::write(&file, &ada).unwrap();
    let verified = branch.verify(&mut running, Some(&second));
    assert_eq!(summary(&verified), (Some(second.clone()), vec![format!("unknown-key {second}")]));
    // A broken file changes nothing but that it is said.
    std::fs::write(&file, "nonsense\n").unwrap();
    let interrupt = AtomicBool::new(false);
    let tip = CommitId::try_from(second.clone()).unwrap();
    let error = running.verify(&branch.mirror.objects().unwrap(), &tip, Some(&tip), now(), &interrupt).unwrap_err();
    assert!(
        error.to_string().ends_with("allowed_signers can't be used: line 1: there is no key after the principals"),
        "{error}"
    );
    std::fs::write(&file, &both).unwrap();
    assert_eq!(summary(&branch.verify(&mut running, Some(&second))), (Some(second), none()));
}

#[test]
fn a_forge_may_sign_merges_and_nothing_else() {
    let mut branch = Branch::new();
    let first = branch.commit(SIGNED, "first");
    let forge = branch.forge();
    let trusted = branch.policy.forge_keys.take();
    branch.git(&["checkout", "--quiet", "-b", "side"]);
    branch.commit(SIGNED, "side");
    branch.git(&["checkout", "--quiet", "main"]);
    let merged = branch.merge(With::OpenPgp(&forge), &["side"]);
    assert_eq!(branch.found(), (Some(first), vec![format!("unknown-key {merged}")]));
    branch.policy.forge_keys = trusted;
    assert_eq!(branch.found(), (Some(merged.clone()), none()));
    let edited = branch.commit(With::OpenPgp(&forge), "edited in the browser");
    assert_eq!(branch.found(), (Some(merged), vec![format!("unknown-key {edited}")]));
}

#[test]
fn where_history_is_cut_off_nothing_counts_without_a_commit_that_is_trusted() {
    let mut branch = Branch::new();
    let old = branch.commit(With::Nothing, "old");
    let second = branch.commit(SIGNED, "second");
    let third = branch.commit(SIGNED, "third");
    let work = branch.desk.path("work");
    std::fs::rename(&work, branch.desk.path("whole")).unwrap();
    let whole = format!("file://{}", branch.desk.path("whole").display());
    std::fs::create_dir(&work).unwrap();
    branch.git(&["clone", "--quiet", "--depth=2", &whole, "."]);
    let (counts, refused) = branch.found();
    assert_eq!((counts, refused), (None, vec![format!("malformed {second}")]));
    let mut running = branch.verifier();
    assert_eq!(summary(&branch.verify(&mut running, None)).0, None);
    branch.policy.since = Some(CommitId::try_from(second).unwrap());
    assert_eq!(branch.found(), (Some(third.clone()), none()));
    let mut trusting = branch.verifier();
    assert_eq!(summary(&branch.verify(&mut trusting, None)).0, Some(third.clone()));

    // Polls that bring nothing leave nothing behind.
    let packs = || {
        let folder = std::fs::read_dir(branch.mirror.folder().join("objects/pack")).unwrap();
        folder.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
    };
    let before = packs();
    for _ in 0..3 {
        branch.verify(&mut running, None);
    }
    assert_eq!(packs(), before);

    // The server's history is completed; its branch stays where it is.
    branch.git(&["fetch", "--quiet", "--unshallow", "origin"]);
    assert_eq!(summary(&branch.verify(&mut running, None)), (None, vec![format!("unsigned {old}")]));
    assert_eq!(summary(&branch.verify(&mut trusting, None)), (Some(third), none()));
    let fetched = branch.mirror.poll(&AtomicBool::new(false)).unwrap().fetched;
    assert!(!fetched, "what is whole is not asked for any more");
    // And what is older than what is trusted is now known to be: a branch from there may be merged.
    branch.git(&["checkout", "--quiet", "-b", "side", &old]);
    branch.commit(SIGNED, "on old ground");
    branch.git(&["checkout", "--quiet", "main"]);
    let merged = branch.merge(SIGNED, &["side"]);
    assert_eq!(summary(&branch.verify(&mut trusting, None)), (Some(merged), none()));
}

/// A long history costs its reading once, and each poll next to nothing. By hand: `SIGNED_COMMITS=10000`, with a release
/// build for figures.
#[test]
fn a_long_history_is_quick() {
    let trusted = 10_000;
    let mut branch = Branch::new();
    let mut stream = String::new();
    for number in 1..=trusted {
        stream.push_str(&format!(
            "commit refs/heads/main\nmark :{number}\ncommitter Ada <{ADA}> {THEN} +0000\ndata 3\nold\n"
        ));
    }
    std::fs::write(branch.desk.path("stream"), stream).unwrap();
    let import = format!("git fast-import --quiet < '{}'", branch.desk.path("stream").display());
    branch.git(&["-c", &format!("alias.import=!{import}"), "import"]);
    branch.git(&["reset", "--quiet", "--hard"]);
    branch.policy.since = Some(CommitId::try_from(branch.git(&["rev-parse", "HEAD"])).unwrap());
    let signed = std::env::var("SIGNED_COMMITS").map_or(20, |count| count.parse().unwrap());
    let mut tip = String::new();
    for number in 0..signed {
        tip = branch.desk.commit(SIGNED, ADA, THEN, &number.to_string());
    }
    let mut verifier = branch.verifier();
    branch.mirror.poll(&AtomicBool::new(false)).unwrap();
    let start = process::now();
    assert_eq!(summary(&branch.verify(&mut verifier, None)), (Some(tip.clone()), none()));
    let first = start.elapsed();
    let start = process::now();
    assert_eq!(summary(&branch.verify(&mut verifier, None)).0, Some(tip));
    let again = start.elapsed();
    println!("{trusted} trusted and {signed} signed commits: {first:?} at first, {again:?} at the next poll");
    assert!(first < Duration::from_secs(60) && again < first);
}

/// With a key that has ended nobody can sign by giving a commit an old date: it rests on newer ones.
#[test]
fn a_key_that_has_ended_cannot_sign_by_an_old_date() {
    const BOB: &str = "bob@example.com";
    let branch = || {
        let branch = Branch::new();
        let bob = branch.desk.ssh_key("bob", &["ed25519"]);
        let line = format!("{BOB} valid-before=\"20250501Z\" {bob}\n");
        let file = branch.desk.path("allowed_signers");
        let ada = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, ada + &line).unwrap();
        branch
    };
    let old = THEN - 60 * DAY;
    let by_bob = |branch: &Branch, at: i64| branch.desk.commit(With::Ssh("bob"), BOB, at, "by bob");
    // On top of a signed commit of today.
    let on_top = branch();
    let good = on_top.commit(SIGNED, "today");
    let forged = by_bob(&on_top, old);
    assert_eq!(on_top.found(), (Some(good), vec![format!("backdated {forged}")]));
    // Dated today it is simply over.
    let honest = branch();
    let good = honest.commit(SIGNED, "today");
    let late = by_bob(&honest, THEN + DAY);
    assert_eq!(honest.found(), (Some(good), vec![format!("expired {late}")]));
    // On top of one that is trusted unsigned, and with another of his own between.
    let mut trusted = branch();
    let good = trusted.commit(With::Nothing, "trusted");
    trusted.trust(&good);
    let (one, two) = (by_bob(&trusted, old), by_bob(&trusted, old + 60));
    let (accepted, mut refused) = trusted.found();
    refused.sort();
    let mut expected = vec![format!("backdated {one}"), format!("backdated {two}")];
    expected.sort();
    assert_eq!((accepted, refused), (Some(good), expected));
    // What he signed while the key was good counts on, also below newer ones, and where these are merged.
    let kept = branch();
    let first = by_bob(&kept, old);
    kept.git(&["branch", "side"]);
    let today = kept.commit(SIGNED, "today");
    assert_eq!(kept.found(), (Some(today), none()));
    kept.git(&["checkout", "--quiet", "side"]);
    by_bob(&kept, old + 60);
    kept.git(&["checkout", "--quiet", "main"]);
    let merged = kept.merge(SIGNED, &["side"]);
    assert_eq!(kept.found(), (Some(merged.clone()), none()));
    // But a merge of his rests on both sides.
    kept.git(&["checkout", "--quiet", "-B", "main", &first]);
    let message = ["merge", "--quiet", "--no-ff", "-m", "by bob", &merged];
    kept.desk.signed(With::Ssh("bob"), BOB, old + 120, &message);
    let forged = kept.git(&["rev-parse", "HEAD"]);
    assert_eq!(kept.found(), (Some(first), vec![format!("backdated {forged}")]));
}
