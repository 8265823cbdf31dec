//! A commit object, taken apart into what was signed and the signature.

use jiff::Timestamp;

use super::Refusal;

/// Git's names for the headers that hold a signature: of this object, and of its twin in a repository with SHA-256 ids,
/// which isn't looked at. Neither is part of what is signed.
const SIGNATURE: &[u8] = b"gpgsig";
const OTHER_SIGNATURE: &[u8] = b"gpgsig-sha256";

/// What a signature of a commit is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The parents' ids.
    pub parents: Vec<String>,
    /// The committer's address. A untrusted person's text.
    pub committer: String,
    /// The committer's time.
    pub time: Timestamp,
    pub(super) signature: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
}

impl Commit {
    /// Whether the same would be signed in both.
    #[must_use]
    pub fn is_same_content(&self, other: &Self) -> bool {
        self.payload == other.payload
    }

    /// Takes a commit object apart, given without Git's own header. Headers have to stand in the order in which Git writes
    /// them: what isn't signed (the signature itself) can then hide none of what is.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] if it isn't as Git writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = |what: &str| Refusal::Malformed(format!("the commit isn't as Git writes it: {what}"));
        let mut payload = Vec::with_capacity(bytes.len());
        let mut signature: Option<Vec<u8>> = None;
        let mut parents = Vec::new();
        let mut committer = None;
        let mut stage = Stage::Tree;
        // Which header a line that begins with a blank goes on with.
        let mut going_on = Header::Signed;
        let mut rest = bytes;
        loop {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return Err(bad("it has no message"));
            };
            let (line, after) = rest.split_at_checked(end + 1).ok_or_else(|| bad("it is cut off"))?;
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if text.is_empty() {
                break;
            }
            rest = after;
            if let Some(more) = text.strip_prefix(b" ") {
                match going_on {
                    _ if stage != Stage::Rest => return Err(bad("it has a header in a wrong place")),
                    Header::Signed => payload.extend_from_slice(line),
                    Header::Signature => {
                        let signature = signature.get_or_insert_default();
                        signature.extend_from_slice(more);
                        signature.push(b'\n');
                    }
                    Header::OtherSignature => {}
                }
                continue;
            }
            let (name, value) = match text.iter().position(|byte| *byte == b' ') {
                Some(at) => text.split_at_checked(at).unwrap_or((text, &[])),
                None => (text, &[][..]),
            };
            let value = value.strip_prefix(b" ").unwrap_or(value);
            stage = stage.after(name).ok_or_else(|| bad("its headers are in another order"))?;
            going_on = match name {
                SIGNATURE => Header::Signature,
                OTHER_SIGNATURE => Header::OtherSignature,
                _ if name.starts_with(SIGNATURE) => return Err(bad("it has a signature of an unknown kind")),
                _ => Header::Signed,
            };
            match going_on {
                Header::Signature if signature.is_some() => return Err(bad("it has two signatures")),
                Header::Signature => {
                    let signature = signature.get_or_insert_default();
                    signature.extend_from_slice(value);
                    signature.push(b'\n');
                }
                Header::OtherSignature => {}
                Header::Signed => payload.extend_from_slice(line),
            }
            match name {
                b"parent" => parents.push(id(value).ok_or_else(|| bad("a parent isn't an id"))?),
                b"tree" => drop(id(value).ok_or_else(|| bad("its tree isn't an id"))?),
                b"committer" => committer = Some(person(value).ok_or_else(|| bad("its committer can't be read"))?),
                _ => {}
            }
        }
        payload.extend_from_slice(rest);
        let (committer, time) = committer.ok_or_else(|| bad("it has no committer"))?;
        Ok(Self { parents, committer, time, signature, payload })
    }
}

enum Header {
    Signed,
    Signature,
    OtherSignature,
}

/// How far the headers have been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Tree,
    Parents,
    Committer,
    Rest,
}

impl Stage {
    /// What comes after a header of this name, if it may stand here.
    fn after(self, name: &[u8]) -> Option<Self> {
        match (self, name) {
            (Self::Tree, b"tree") | (Self::Parents, b"parent") => Some(Self::Parents),
            (Self::Parents, b"author") => Some(Self::Committer),
            (Self::Committer, b"committer") => Some(Self::Rest),
            (Self::Rest, b"tree" | b"parent" | b"author" | b"committer") => None,
            (Self::Rest, _) => Some(Self::Rest),
            _ => None,
        }
    }
}

fn id(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let good = text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    good.then(|| text.to_owned())
}

/// `Ada Example <ada@example.com> 1700000000 +0000`: the address and the time. Only where there can be no doubt.
fn person(value: &[u8]) -> Option<(String, Timestamp)> {
    let text = String::from_utf8_lossy(value);
    let (_, rest) = text.split_once('<')?;
    let (address, date) = rest.split_once('>')?;
    if date.contains(['<', '>']) || address.contains('<') {
        return None;
    }
    let seconds = date.split_ascii_whitespace().next()?.parse().ok()?;
    Some((address.trim().to_owned(), Timestamp::from_second(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNED: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
        parent aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n\
        author A <a@example.com> 1700000000 +0000\n\
        committer C <c@example.com> 1700000060 +0100\n";

    fn parse(text: &str) -> Result<Commit, String> {
        Commit::parse(text.as_bytes()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn the_signature_is_cut_out_and_nothing_else() {
        let commit = parse(&format!(
            "{SIGNED}gpgsig BEGIN\n one\n \n END\ngpgsig-sha256 X\n Y\nencoding latin1\nmergetag a\n b\n\nsubject\n\ngpgsig no\n"
        ))
        .unwrap();
        assert_eq!(commit.signature.unwrap(), b"BEGIN\none\n\nEND\n");
        let payload = format!("{SIGNED}encoding latin1\nmergetag a\n b\n\nsubject\n\ngpgsig no\n");
        assert_eq!(String::from_utf8(commit.payload).unwrap(), payload);
        assert_eq!(commit.committer, "c@example.com");
        assert_eq!(commit.time.as_second(), 1_700_000_060);
        assert_eq!(commit.parents, ["a".repeat(40)]);
        let unsigned = parse(&format!("{SIGNED}\nsubject")).unwrap();
        assert_eq!(unsigned.signature, None);
        assert_eq!(unsigned.payload, format!("{SIGNED}\nsubject").as_bytes());
    }

    #[test]
    fn what_git_does_not_write_is_refused() {
        let head = "the commit isn't as Git writes it:";
        let other_order = format!("{head} its headers are in another order");
        let (tree, rest) = SIGNED.split_once('\n').unwrap();
        // Without its signature this is the signed text; Git itself would see no parent here.
        assert_eq!(parse(&format!("{tree}\ngpgsig X\n{rest}\nm")).unwrap_err(), other_order);
        assert_eq!(parse(&format!("{SIGNED}parent {}\n\nm", "b".repeat(40))).unwrap_err(), other_order);
        assert_eq!(
            parse(&format!("{tree}\n more\n{rest}\nm")).unwrap_err(),
            format!("{head} it has a header in a wrong place")
        );
        assert_eq!(
            parse(&format!("{SIGNED}gpgsig A\ngpgsig B\n\nm")).unwrap_err(),
            format!("{head} it has two signatures")
        );
        let unknown = format!("{SIGNED}gpgsig-sha3 A\n\nm");
        assert_eq!(parse(&unknown).unwrap_err(), format!("{head} it has a signature of an unknown kind"));
        assert_eq!(parse(SIGNED).unwrap_err(), format!("{head} it has no message"));
        assert_eq!(parse("").unwrap_err(), format!("{head} it has no message"));
        let two = SIGNED.replace("<c@example.com>", "<a@example.com> <c@example.com>");
        assert_eq!(parse(&format!("{two}\nm")).unwrap_err(), format!("{head} its committer can't be read"));
    }
}
