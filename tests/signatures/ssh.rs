//! SSH signatures, and that we agree with Git and ssh-keygen about them.

use std::process::Command;

use super::desk::{ADA, DAY, Desk, THEN, With, allowed, judged, verdict};

const BOB: &str = "bob@example.com";

fn ada() -> Result<String, &'static str> {
    Ok(ADA.to_owned())
}

#[test]
fn every_kind_of_key_verifies() {
    let desk = Desk::new();
    let kinds: [(&str, &[&str]); 6] = [
        ("ed25519", &["ed25519"]),
        ("p256", &["ecdsa", "-b", "256"]),
        ("p384", &["ecdsa", "-b", "384"]),
        ("p521", &["ecdsa", "-b", "521"]),
        ("rsa2048", &["rsa", "-b", "2048"]),
        ("rsa4096", &["rsa", "-b", "4096"]),
    ];
    for (name, kind) in kinds {
        let line = format!("{ADA} {}\n", desk.ssh_key(name, kind));
        let commit = desk.made(With::Ssh(name), ADA, THEN);
        assert_eq!(verdict(allowed(&line), &commit), ada(), "{name}");
        assert!(desk.git_accepts(&line), "{name}: Git agrees");
        let changed = commit.replace("a change", "a chance");
        assert_eq!(verdict(allowed(&line), &changed), Err("tampered"), "{name}");
    }
    let line = format!("{ADA} {}\n", desk.ssh_key("rsa1024", &["rsa", "-b", "1024"]));
    let commit = desk.made(With::Ssh("rsa1024"), ADA, THEN);
    let refusal = judged(allowed(&line), &commit).unwrap_err().to_string();
    assert!(refusal.ends_with("is an RSA key of 1024 bits; 2048 to 4096 are needed"), "{refusal}");
}

#[test]
fn lines_of_the_file_decide_as_for_ssh_keygen() {
    let desk = Desk::new();
    let (key, other) = (desk.ssh_key("ada", &["ed25519"]), desk.ssh_key("other", &["ed25519"]));
    let commit = desk.made(With::Ssh("ada"), ADA, THEN);
    // What Git itself says is the third column. It doesn't ask whether the committer is the principal.
    let cases = [
        (format!("{ADA} {key}"), ada(), true),
        (format!("*@example.com {key} with a comment"), ada(), true),
        (format!("{BOB},{ADA} namespaces=\"file,git\" {key}"), ada(), true),
        (format!("{ADA} valid-after=\"20250601Z\",valid-before=\"20250602Z\" {key}"), ada(), true),
        (format!("{ADA} valid-after=\"20250602Z\" {key}"), Err("not-yet-valid"), false),
        (format!("{ADA} valid-before=\"20250601Z\" {key}"), ada(), true),
        (format!("{ADA} valid-before=\"20250531Z\" {key}"), Err("expired"), false),
        (format!("{ADA} namespaces=\"file\" {key}"), Err("wrong-namespace"), false),
        (format!("{ADA} {other}"), Err("unknown-key"), false),
        (format!("{ADA} cert-authority {key}"), Err("unknown-key"), false),
        (format!("{BOB} {key}"), Err("wrong-identity"), true),
        (format!("*,!{ADA} {key}"), Err("wrong-identity"), true),
        (format!("{BOB} {other}\n{BOB} {key}\n{ADA} valid-before=\"20200101Z\" {key}\n{ADA} {key}"), ada(), true),
    ];
    for (file, ours, git) in cases {
        assert_eq!(verdict(allowed(&file), &commit), ours, "{file}");
        assert_eq!(desk.git_accepts(&file), git, "Git, by {file}");
    }
    let file = format!("{ADA} {key}");
    assert_eq!(verdict(allowed(&file), &desk.made(With::Nothing, ADA, THEN)), Err("unsigned"));
    let refusal = judged(allowed(&format!("{BOB} {key}")), &commit).unwrap_err().to_string();
    assert!(refusal.ends_with(&format!("of {BOB}, but its committer is `{ADA}`")), "{refusal}");
    // A day after the tests' present.
    assert_eq!(verdict(allowed(&file), &desk.made(With::Ssh("ada"), ADA, THEN + 401 * DAY)), Err("future"));
}

#[test]
fn what_was_signed_for_something_else_does_not_count() {
    let desk = Desk::new();
    let file = format!("{ADA} {}", desk.ssh_key("ada", &["ed25519"]));
    let commit = desk.made(With::Nothing, ADA, THEN);
    let sign = |namespace: &str| {
        std::fs::write(desk.path("payload"), &commit).unwrap();
        std::fs::remove_file(desk.path("payload.sig")).ok();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]).arg(desk.path("ada")).arg(desk.path("payload"));
        assert!(command.output().unwrap().status.success());
        let signature = std::fs::read_to_string(desk.path("payload.sig")).unwrap();
        let header = signature.trim_end().replace('\n', "\n ");
        let (head, message) = commit.split_once("\n\n").unwrap();
        format!("{head}\ngpgsig {header}\n\n{message}")
    };
    assert_eq!(verdict(allowed(&file), &sign("git")), ada());
    assert_eq!(verdict(allowed(&file), &sign("file")), Err("wrong-namespace"));
    // Nor does what makes no sense.
    let signed = sign("git");
    let broken = [
        signed.replace("-----END SSH SIGNATURE-----", ""),
        signed.replace("U1NIU0lH", "U1NIU0lI"),
        signed.replacen("\n AAA", "\n !!!", 1).replacen("\n U1NI", "\n !!!!", 1),
        signed.replace("BEGIN SSH SIGNATURE", "BEGIN SOMETHING"),
    ];
    for commit in broken {
        assert_eq!(verdict(allowed(&file), &commit), Err("malformed"), "{commit}");
    }
    assert_eq!(
        verdict(allowed(&file), &signed.replace("BEGIN SSH SIGNATURE", "BEGIN SIGNED MESSAGE")),
        Err("unsupported")
    );
}

#[test]
fn certificates_of_an_authority_count() {
    let desk = Desk::new();
    let authority = desk.ssh_key("authority", &["ed25519"]);
    desk.ssh_key("impostor", &["ed25519"]);
    let file = format!("*@example.com cert-authority {authority}");
    let signed = |name: &str, authority: &str, more: &[&str]| {
        let public = desk.ssh_key(name, &["ed25519"]);
        desk.certify(authority, name, more);
        // ssh-keygen finds the private half beside the certificate.
        (public, desk.made(With::Ssh(&format!("{name}-cert.pub")), ADA, THEN))
    };
    let week = ["-V", "20250530Z:20250606Z"];
    let (public, good) = signed("good", "authority", &["-n", ADA, week[0], week[1]]);
    assert_eq!(verdict(allowed(&file), &good), ada());
    assert!(desk.git_accepts(&file), "Git agrees");
    assert_eq!(
        verdict(allowed(&format!("{ADA} {public}")), &good),
        Err("unknown-key"),
        "the bare key isn't what signed"
    );
    let (_, forever) = signed("forever", "authority", &["-n", ADA]);
    assert_eq!(verdict(allowed(&file), &forever), ada());
    let cases: [(&str, &str, &[&str], &str); 6] = [
        ("nameless", "authority", &week, "unsupported"),
        ("old", "authority", &["-n", ADA, "-V", "20240530Z:20240606Z"], "expired"),
        ("young", "authority", &["-n", ADA, "-V", "20250602Z:20250606Z"], "not-yet-valid"),
        ("bob", "authority", &["-n", BOB, week[0], week[1]], "wrong-identity"),
        ("foreign", "impostor", &["-n", ADA, week[0], week[1]], "unknown-key"),
        ("limited", "authority", &["-n", ADA, week[0], week[1], "-O", "source-address=10.0.0.0/8"], "unsupported"),
    ];
    for (name, by, more, why) in cases {
        assert_eq!(verdict(allowed(&file), &signed(name, by, more).1), Err(why), "{name}");
    }
    assert_eq!(verdict(allowed(&format!("{BOB} cert-authority {authority}")), &good), Err("wrong-identity"));
}
