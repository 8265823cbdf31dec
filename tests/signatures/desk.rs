//! A desk at which commits are signed, with keys of its own and nobody else's configuration.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use pinion::signature::{Commit, Keys, Refusal, Trust};
use tempfile::TempDir;

use crate::support::stage::git::hermetic;

/// When commits are made unless a test says otherwise: 2025-06-01 00:00 UTC.
pub(crate) const THEN: i64 = 1_748_736_000;
pub(crate) const DAY: i64 = 24 * 3600;
pub(crate) const ADA: &str = "ada@example.com";

/// With what a commit is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum With<'a> {
    Nothing,
    /// The SSH key of this name.
    Ssh(&'a str),
    /// The OpenPGP key with this fingerprint or address.
    OpenPgp(&'a str),
}

pub(crate) struct Desk {
    folder: TempDir,
    agent: RefCell<bool>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self { folder: TempDir::new().unwrap(), agent: RefCell::new(false) };
        std::fs::create_dir(desk.path("work")).unwrap();
        std::fs::create_dir(desk.path("gnupg")).unwrap();
        set_mode(&desk.path("gnupg"), 0o700);
        // gpg signs at the time that the test says.
        let program = desk.path("gpg");
        let gpg = format!(
            "#!/bin/sh\nexec gpg --batch --quiet --homedir '{}' --faked-system-time \"$FAKED_TIME!\" \
             --ignore-time-conflict $GPG_MORE \"$@\"\n",
            desk.path("gnupg").display()
        );
        std::fs::write(&program, gpg).unwrap();
        set_mode(&program, 0o700);
        desk.git(ADA, THEN, &["init", "--quiet", "--initial-branch=main"]);
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// Runs git in the working copy as somebody at some time.
    pub(crate) fn git(&self, who: &str, at: i64, arguments: &[&str]) -> String {
        let (date, mut command) = (format!("{at} +0000"), Command::new("git"));
        let name = who.split('@').next().unwrap();
        hermetic(&mut command, self.folder.path())
            .args(["-c", &format!("gpg.openpgp.program={}", self.path("gpg").display())])
            .args(arguments)
            .current_dir(self.work())
            .env("FAKED_TIME", at.to_string())
            .env("GPG_MORE", "")
            .env("GIT_AUTHOR_NAME", name)
            .env("GIT_AUTHOR_EMAIL", who)
            .env("GIT_COMMITTER_NAME", name)
            .env("GIT_COMMITTER_EMAIL", who)
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_DATE", &date);
        run(&mut command, "")
    }

    /// Makes an SSH key and returns the line of its public half, without comment.
    pub(crate) fn ssh_key(&self, name: &str, kind: &[&str]) -> String {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", name, "-f"]).arg(self.path(name)).arg("-t").args(kind);
        run(&mut command, "");
        self.public(name)
    }

    /// The public half of a key.
    pub(crate) fn public(&self, name: &str) -> String {
        let line = std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap();
        line.split(' ').take(2).collect::<Vec<_>>().join(" ").trim().to_owned()
    }

    /// Has an authority certify a key for somebody.
    pub(crate) fn certify(&self, authority: &str, key: &str, more: &[&str]) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-s"]).arg(self.path(authority)).args(["-I", "a certificate"]).args(more);
        run(command.arg(self.path(&format!("{key}.pub"))), "");
    }

    /// Runs gpg at some time, with this as its input.
    pub(crate) fn gpg(&self, at: i64, arguments: &[&str], input: &str) -> String {
        self.agent.replace(true);
        let mut command = Command::new(self.path("gpg"));
        command.args(["--pinentry-mode", "loopback", "--passphrase", ""]).args(arguments);
        run(command.env("FAKED_TIME", at.to_string()).env("GPG_MORE", ""), input)
    }

    /// Makes an OpenPGP key; its fingerprint.
    pub(crate) fn openpgp_key(&self, user: &str, kind: &str, usage: &str, at: i64) -> String {
        self.gpg(at, &["--quick-generate-key", user, kind, usage, "never"], "");
        self.fingerprints(user).remove(0)
    }

    /// The fingerprints of a key and of its subkeys.
    pub(crate) fn fingerprints(&self, user: &str) -> Vec<String> {
        let listed = self.gpg(THEN, &["--with-colons", "--with-subkey-fingerprint", "--list-keys", user], "");
        let lines = listed.lines().filter(|line| line.starts_with("fpr:"));
        lines.map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
    }

    /// The certificates, armored.
    pub(crate) fn export(&self, users: &[&str]) -> String {
        self.gpg(THEN, &[&["--armor", "--export"], users].concat(), "")
    }

    /// Commits in the working copy; the id.
    pub(crate) fn commit(&self, with: With<'_>, who: &str, at: i64, message: &str) -> String {
        self.signed(with, who, at, &["commit", "--quiet", "--allow-empty", "--message", message]);
        self.git(who, at, &["rev-parse", "HEAD"])
    }

    /// Runs a command of git's that commits.
    pub(crate) fn signed(&self, with: With<'_>, who: &str, at: i64, arguments: &[&str]) {
        let key;
        let settings: Vec<&str> = match with {
            With::Nothing => vec![],
            With::Ssh(name) => {
                key = format!("user.signingkey={}", self.path(name).display());
                vec!["-c", "gpg.format=ssh", "-c", &key, "-c", "commit.gpgsign=true"]
            }
            With::OpenPgp(name) => {
                self.agent.replace(true);
                key = format!("user.signingkey={name}!");
                vec!["-c", "gpg.format=openpgp", "-c", &key, "-c", "commit.gpgsign=true"]
            }
        };
        self.git(who, at, &[&settings, arguments].concat());
    }

    /// Commits; the commit's bytes.
    pub(crate) fn made(&self, with: With<'_>, who: &str, at: i64) -> String {
        let id = self.commit(with, who, at, "a change");
        // A message ends with a line break that is not ours to lose.
        self.git(who, at, &["cat-file", "commit", &id]) + "\n"
    }

    /// What Git itself says of the commit that is checked out, by an allowed-signers file.
    pub(crate) fn git_accepts(&self, allowed_signers: &str) -> bool {
        let file = self.path("for-git");
        std::fs::write(&file, allowed_signers).unwrap();
        let mut command = Command::new("git");
        hermetic(&mut command, self.folder.path())
            .args(["-c", &format!("gpg.ssh.allowedSignersFile={}", file.display()), "verify-commit", "HEAD"])
            .current_dir(self.work())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().unwrap().success()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if *self.agent.borrow() {
            let mut command = Command::new("gpgconf");
            command.arg("--homedir").arg(self.path("gnupg")).args(["--kill", "all"]).status().ok();
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn run(command: &mut Command, input: &str) -> String {
    use std::io::Write as _;
    let what = format!("{command:?}");
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("{what}: {error}; `tests/tools/setup test` installs it"));
    // One that doesn't read its input may be gone already.
    child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The present, as far as the tests go.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(THEN + 400 * DAY).unwrap()
}

/// What becomes of a commit's bytes: who signed it, or the word for why that doesn't count.
pub(crate) fn verdict(keys: Result<Keys, Vec<String>>, bytes: &str) -> Result<String, &'static str> {
    judged(keys, bytes).map_err(|refusal| refusal.as_str())
}

/// The same, with the reason in full.
pub(crate) fn judged(keys: Result<Keys, Vec<String>>, bytes: &str) -> Result<String, Refusal> {
    let trust = Trust { signers: keys.unwrap(), forges: Keys::default() };
    trust.verify(&Commit::parse(bytes.as_bytes())?, now()).map(|signed| signed.signer.identity)
}

/// An allowed-signers file.
pub(crate) fn allowed(text: &str) -> Result<Keys, Vec<String>> {
    Keys::allowed_signers(text.as_bytes())
}

/// A keyring.
pub(crate) fn keyring(text: &str) -> Result<Keys, Vec<String>> {
    Keys::keyring(text.as_bytes())
}
