//! OpenPGP signatures by gpg.

use pinion::signature::{Commit, Keys, Trust};

use super::desk::{ADA, DAY, Desk, THEN, With, judged, keyring, now, verdict};

const USER: &str = "Ada Example <ada@example.com>";
const BORN: i64 = THEN - 100 * DAY;

fn ada() -> Result<String, &'static str> {
    Ok(ADA.to_owned())
}

#[test]
fn primary_keys_and_subkeys_verify() {
    let desk = Desk::new();
    let rsa = desk.openpgp_key(USER, "rsa2048", "sign", BORN);
    let commit = desk.made(With::OpenPgp(&rsa), ADA, THEN);
    let ring = desk.export(&[&rsa]);
    assert_eq!(verdict(keyring(&ring), &commit), ada());
    assert_eq!(verdict(keyring(&ring), &commit.replace("a change", "a chance")), Err("tampered"));
    assert_eq!(verdict(keyring(&ring), &desk.made(With::Nothing, ADA, THEN)), Err("unsigned"));
    assert_eq!(
        verdict(keyring(&ring), &desk.made(With::OpenPgp(&rsa), "bob@example.com", THEN)),
        Err("wrong-identity")
    );
    assert_eq!(verdict(keyring(&ring), &desk.made(With::OpenPgp(&rsa), ADA, THEN + 401 * DAY)), Err("future"));

    // A primary key that only certifies, and subkeys that sign and encrypt.
    let user = "A. Example <ADA@example.com>";
    let primary = desk.openpgp_key(user, "ed25519", "cert", BORN);
    desk.gpg(BORN, &["--quick-add-key", &primary, "ed25519", "sign", "never"], "");
    desk.gpg(BORN, &["--quick-add-key", &primary, "cv25519", "encr", "never"], "");
    desk.gpg(BORN, &["--quick-add-key", &primary, "nistp256/ecdsa", "sign", "never"], "");
    let all = desk.fingerprints(&primary);
    let ring = desk.export(&[&primary]);
    for subkey in [&all[1], &all[3]] {
        let commit = desk.made(With::OpenPgp(subkey), ADA, THEN);
        assert_eq!(verdict(keyring(&ring), &commit), ada(), "{subkey}");
        assert_eq!(verdict(keyring(&ring), &commit.replace("a change", "a chance")), Err("tampered"));
        assert_eq!(verdict(keyring(&desk.export(&[&rsa])), &commit), Err("unknown-key"));
    }
    // Both in one file, in one block or in two.
    let both = desk.export(&[&rsa, &primary]);
    let two = format!("{}\n\n{}", desk.export(&[&rsa]), ring);
    for ring in [both, two] {
        assert_eq!(keyring(&ring).unwrap().len(), 2);
        assert_eq!(verdict(keyring(&ring), &commit), ada());
    }
}

#[test]
fn keys_end_and_are_revoked() {
    let desk = Desk::new();
    let key = desk.openpgp_key(USER, "ed25519", "sign", BORN);
    let commit = desk.made(With::OpenPgp(&key), ADA, THEN);
    let ring = || desk.export(&[&key]);
    let good = ring();
    assert_eq!(verdict(keyring(&good), &commit), ada());
    // Its owner says later that it ended before.
    desk.gpg(THEN - 10 * DAY, &["--quick-set-expire", &key, "1d"], "");
    assert_eq!(verdict(keyring(&ring()), &commit), Err("expired"));
    // And then that it ends later: the newest word counts.
    desk.gpg(THEN - 9 * DAY, &["--quick-set-expire", &key, "1y"], "");
    assert_eq!(verdict(keyring(&ring()), &commit), ada());

    // A key that is retired doesn't take back what it signed before.
    let revoke = |reason: &str, at: i64| {
        let answers = format!("y\n{reason}\n\ny\n");
        desk.gpg(at, &["--no-batch", "--command-fd", "0", "--no-tty", "--armor", "--gen-revoke", &key], &answers)
    };
    let with = |revocation: &str| {
        desk.gpg(THEN, &["--import"], revocation);
        let ring = ring();
        desk.gpg(THEN, &["--yes", "--delete-keys", "--expert", &key], "");
        desk.gpg(THEN, &["--import"], &good);
        ring
    };
    let (retired, lost) = (revoke("3", THEN + DAY), revoke("1", THEN + DAY));
    let save = desk.gpg(THEN, &["--armor", "--export-secret-keys", &key], "");
    desk.gpg(THEN, &["--yes", "--delete-secret-keys", &key], "");
    let (retired, lost) = (with(&retired), with(&lost));
    desk.gpg(THEN, &["--import"], &save);
    assert_eq!(verdict(keyring(&retired), &commit), ada());
    let later = desk.made(With::OpenPgp(&key), ADA, THEN + 2 * DAY);
    assert_eq!(verdict(keyring(&retired), &later), Err("revoked"));
    // One that somebody else may have does.
    assert_eq!(verdict(keyring(&lost), &commit), Err("revoked"));
    let refusal = judged(keyring(&lost), &commit).unwrap_err().to_string();
    assert!(refusal.ends_with("which is revoked: somebody else may have it"), "{refusal}");
}

#[test]
fn weak_hashes_and_files_that_are_no_keyrings_do_not_count() {
    let desk = Desk::new();
    let key = desk.openpgp_key(USER, "rsa2048", "sign", BORN);
    let weak = desk.path("gpg");
    let script = std::fs::read_to_string(&weak).unwrap();
    std::fs::write(&weak, script.replace("$GPG_MORE", "--digest-algo SHA1")).unwrap();
    let commit = desk.made(With::OpenPgp(&key), ADA, THEN);
    std::fs::write(&weak, script).unwrap();
    let ring = desk.export(&[&key]);
    assert_eq!(verdict(keyring(&ring), &commit), Err("unsupported"));
    let short = desk.openpgp_key("Short <ada@example.com>", "rsa1024", "sign", BORN);
    assert_eq!(
        verdict(keyring(&desk.export(&[&short])), &desk.made(With::OpenPgp(&short), ADA, THEN)),
        Err("unsupported")
    );

    let error = |text: &str| keyring(text).unwrap_err().join("\n");
    assert_eq!(
        error(&desk.gpg(THEN, &["--armor", "--export-secret-keys", &key], "")),
        "it holds a private key; export public ones: gpg --armor --export"
    );
    assert!(error("nothing").starts_with("it holds no OpenPGP certificate"));
    assert!(error(&ring.replacen("\n\n", "\n\nAAAA", 1)).starts_with("a certificate in it can't be read"));
}

/// The same as for SSH keys, where the date of the signature is another one than the commit's.
#[test]
fn a_signature_is_no_older_than_its_commit_or_what_it_rests_on() {
    let desk = Desk::new();
    let key = desk.openpgp_key(USER, "ed25519", "sign", BORN);
    let commit = desk.made(With::OpenPgp(&key), ADA, THEN);
    desk.gpg(BORN + DAY, &["--quick-set-expire", &key, "1y"], "");
    let ring = desk.export(&[&key]);
    let ends = desk.gpg(THEN, &["--with-colons", "--list-keys", &key], "");
    let until: i64 =
        ends.lines().find(|line| line.starts_with("pub:")).unwrap().split(':').nth(6).unwrap().parse().unwrap();
    let judged = |newest: Option<i64>| {
        let trust = Trust { signers: keyring(&ring).unwrap(), forges: Keys::default() };
        let newest = newest.map(|at| jiff::Timestamp::from_second(at).unwrap());
        let commit = Commit::parse(commit.as_bytes()).unwrap();
        trust.verify_after(&commit, newest, now()).map(|_| ()).map_err(|refusal| refusal.as_str())
    };
    assert!(THEN < until, "{ends}");
    assert_eq!(judged(None), Ok(()));
    assert_eq!(judged(Some(until - 1)), Ok(()));
    assert_eq!(judged(Some(until)), Err("backdated"));
}
