//! The allowed-signers file of ssh-keygen(1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// One line: who may sign, with which key, when and for what.
#[derive(Debug, Clone)]
pub(super) struct AllowedSigner {
    /// Patterns of addresses, as they stand there.
    pub(super) principals: String,
    pub(super) key: KeyData,
    /// Whether the key signs certificates instead of commits.
    pub(super) authority: bool,
    /// Patterns of namespaces.
    pub(super) namespaces: Option<String>,
    pub(super) valid_after: Option<Timestamp>,
    pub(super) valid_before: Option<Timestamp>,
}

/// Reads a file; all that is wrong with it.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<AllowedSigner>, Vec<String>> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Err(vec!["it isn't UTF-8 text".to_owned()]) };
    let mut signers = Vec::new();
    let mut errors = Vec::new();
    // Some editors begin a file with a byte order mark.
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match signer(line) {
            Ok(signer) => signers.push(signer),
            Err(error) => errors.push(format!("line {}: {error}", at + 1)),
        }
    }
    if signers.is_empty() && errors.is_empty() {
        errors.push("it names nobody".to_owned());
    }
    if errors.is_empty() { Ok(signers) } else { Err(errors) }
}

fn signer(line: &str) -> Result<AllowedSigner, String> {
    let (principals, rest) = match line.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or("the quotation mark is never closed")?,
        None => line.split_once([' ', '\t']).ok_or("there is no key after the principals")?,
    };
    if principals.is_empty() {
        return Err("it names no principal".to_owned());
    }
    let rest = rest.trim_start();
    let (options, key) = if is_key(rest) { ("", rest) } else { split_options(rest)? };
    let mut words = key.split_ascii_whitespace();
    let (Some(kind), Some(data)) = (words.next(), words.next()) else {
        return Err("there is no key".to_owned());
    };
    let key = PublicKey::from_openssh(&format!("{kind} {data}"))
        .map_err(|error| format!("the key can't be read: {error}; it looks like `ssh-ed25519 AAAA…`"))?;
    let mut signer = AllowedSigner {
        principals: principals.to_owned(),
        key: key.key_data().clone(),
        authority: false,
        namespaces: None,
        valid_after: None,
        valid_before: None,
    };
    for option in split(options) {
        take(&mut signer, option)?;
    }
    if let (Some(after), Some(before)) = (signer.valid_after, signer.valid_before)
        && before <= after
    {
        return Err("valid-before isn't after valid-after".to_owned());
    }
    Ok(signer)
}

/// Whether a key begins here, and no option.
fn is_key(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-", "rsa-"].iter().any(|start| text.starts_with(start))
}

/// The options, up to the first blank outside of quotation marks, and what comes after.
fn split_options(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok(text.split_at_checked(at).unwrap_or((text, ""))),
            _ => {}
        }
    }
    Err(if quoted { "a quotation mark is never closed" } else { "there is no key" }.to_owned())
}

/// The options, at commas outside of quotation marks.
fn split(options: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let at_comma = move |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    };
    options.split(at_comma).filter(|option| !option.is_empty())
}

fn take(signer: &mut AllowedSigner, option: &str) -> Result<(), String> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(unquoted(value)?)),
        None => (option, None),
    };
    let twice = || format!("the option {name} stands there twice");
    match (name.to_ascii_lowercase().as_str(), value) {
        ("cert-authority", None) => signer.authority = true,
        ("namespaces", Some(value)) if !value.is_empty() => {
            signer.namespaces.replace(value.to_owned()).map_or(Ok(()), |_| Err(twice()))?;
        }
        ("valid-after", Some(value)) => {
            signer.valid_after.replace(time(value)?).map_or(Ok(()), |_| Err(twice()))?;
        }
        ("valid-before", Some(value)) => {
            signer.valid_before.replace(time(value)?).map_or(Ok(()), |_| Err(twice()))?;
        }
        _ => {
            return Err(format!(
                "`{option}` is not an option; known here: cert-authority, namespaces=\"…\", valid-after=\"…\", \
                 valid-before=\"…\""
            ));
        }
    }
    Ok(())
}

fn unquoted(value: &str) -> Result<&str, String> {
    match value.strip_prefix('"') {
        Some(value) => value.strip_suffix('"').ok_or_else(|| "a quotation mark is never closed".to_owned()),
        None => Err(format!("`{value}` is to stand in quotation marks")),
    }
}

/// `YYYYMMDD[HHMM[SS]][Z]`.
fn time(text: &str) -> Result<Timestamp, String> {
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let wrong = || format!("`{text}` is not a time; write it as 20261224 or 202612241800, in UTC");
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(wrong());
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |part| part.parse::<i8>().ok());
    let year = digits.get(..4).and_then(|year| year.parse().ok());
    let parsed = || {
        let date = DateTime::new(year?, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0);
        Some(date.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp())
    };
    parsed().ok_or_else(wrong)
}

/// Whether a text matches a list of patterns with `*` and `?`, as ssh_config(5) has them: one that begins with `!` and
/// matches settles it the other way.
pub(super) fn matches(text: &str, patterns: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if glob(text, pattern) => return false,
            Some(_) => {}
            None => found |= glob(text, pattern),
        }
    }
    found
}

/// Whether an address matches a list of patterns. Case doesn't count, as in the user ids of OpenPGP keys: an address is
/// written as its owner likes, and mail servers don't tell them apart.
pub(super) fn matches_address(address: &str, patterns: &str) -> bool {
    matches(&address.to_ascii_lowercase(), &patterns.to_ascii_lowercase())
}

/// In time that grows with the product of the lengths, whatever a untrusted person writes.
fn glob(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut of) = (0, 0);
    // Where the last star stood, and what it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(letter) = text.get(at) {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == letter => {
                at += 1;
                of += 1;
            }
            _ => match &mut star {
                Some((stood, taken)) => {
                    *taken += 1;
                    at = *taken;
                    of = *stood + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";

    fn one(line: &str) -> AllowedSigner {
        parse(line.as_bytes()).unwrap().remove(0)
    }

    fn error(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().join("\n")
    }

    #[test]
    fn lines_are_read_as_ssh_keygen_does() {
        let plain = one(&format!("ada@example.com,*@dev.example.com {KEY} a comment"));
        assert_eq!(plain.principals, "ada@example.com,*@dev.example.com");
        assert!(!plain.authority && plain.namespaces.is_none() && plain.valid_after.is_none());
        let full = one(&format!(
            "\"ada example\" cert-authority,namespaces=\"git,file\",VALID-AFTER=\"20240101Z\",valid-before=\"202501021530\" {KEY}"
        ));
        assert_eq!(full.principals, "ada example");
        assert!(full.authority);
        assert_eq!(full.namespaces.as_deref(), Some("git,file"));
        assert_eq!(full.valid_after.unwrap().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(full.valid_before.unwrap().to_string(), "2025-01-02T15:30:00Z");
        assert_eq!(one(&format!("\u{feff}ada@example.com {KEY}")).principals, "ada@example.com");
        assert_eq!(parse(format!("# nobody\n\n\ta\t{KEY}\n").as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = format!("a {KEY}\nb\nc no-such-option {KEY}\nd valid-after=\"2024\" {KEY}\ne ssh-ed25519 AAAA\n");
        assert_eq!(
            error(&text).lines().map(|line| line.split(':').next().unwrap()).collect::<Vec<_>>(),
            ["line 2", "line 3", "line 4", "line 5"]
        );
        assert_eq!(error("# nobody\n"), "it names nobody");
        let both = format!("a valid-after=\"20250101\",valid-before=\"20240101\" {KEY}");
        assert_eq!(error(&both), "line 1: valid-before isn't after valid-after");
        let twice = format!("a valid-after=\"20250101\",valid-after=\"20240101\" {KEY}");
        assert_eq!(error(&twice), "line 1: the option valid-after stands there twice");
        assert!(error(&format!("a valid-after=\"20241301\" {KEY}")).contains("is not a time"));
        assert_eq!(error(&format!("a namespaces=\"git {KEY}")), "line 1: a quotation mark is never closed");
    }

    #[test]
    fn patterns_match_as_in_ssh() {
        assert!(matches("ada@example.com", "ada@example.com"));
        assert!(matches("ada@example.com", "bob@example.com,*@example.com"));
        assert!(!matches("ada@example.com", "*@example.com,!ada@*"));
        assert!(!matches("ada@example.com", "!bob@example.com"), "a negation alone matches nobody");
        assert!(matches("a", "?") && !matches("", "?") && matches("", "*") && matches("abc", "a*b*c*"));
        assert!(!matches("Git", "git"), "a namespace is written as it is");
        assert!(matches_address("Ada@Example.com", "bob@example.com,ada@example.com"));
        assert!(matches_address("ada@example.com", "*@EXAMPLE.com"));
        assert!(
            !matches_address("ada@example.com", "*@example.com,!ADA@*"),
            "neither does case help against a negation"
        );
        let hard = "a".repeat(2000);
        assert!(!matches(&hard, &format!("{}b", "*a".repeat(200))), "and it doesn't take for ever");
    }
}
