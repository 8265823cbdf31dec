//! Commits as their bytes have them. gix refuses a commit as a whole whose author it can't read, and with it all that rests on
//! it; who wrote it is only shown, and nothing else hangs on it.

use std::collections::{BTreeSet, HashSet};

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};

use super::error::{Cause, GitError};
use super::tree::Objects;

/// The most that is kept of a message, in bytes; GitHub takes 64 KiB for a pull request's text. What stands behind it doesn't
/// count.
const MAX_MESSAGE: usize = 256 << 10;

/// The most that is kept of a name or an address, in bytes.
const MAX_NAME: usize = 512;

/// The beginning of a text that may be of any length.
fn beginning(text: &[u8], most: usize) -> BString {
    text.get(..most).unwrap_or(text).into()
}

/// A commit, as far as it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) tree: ObjectId,
    pub(super) parents: Vec<ObjectId>,
    pub(super) author: Person,
    pub(super) committer: Person,
    pub(super) message: BString,
}

/// Who made it, and when: each empty or `None` where it can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Person {
    pub(super) name: BString,
    pub(super) email: BString,
    /// Since 1970.
    pub(super) seconds: Option<i64>,
}

impl Commit {
    /// `None` without a tree, or with an id that is none: nothing of such a commit is of use.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (headers, message) = match bytes.find(b"\n\n") {
            Some(end) => (bytes.get(..end)?, bytes.get(end + 2..)?),
            None => (bytes, &b""[..]),
        };
        let (mut tree, mut parents) = (None, Vec::new());
        let (mut author, mut committer) = (None, None);
        for line in headers.split(|byte| *byte == b'\n') {
            let (key, value) = line.split_once_str(b" ").unwrap_or((line, b""));
            match key {
                b"tree" if tree.is_none() => tree = Some(ObjectId::from_hex(value).ok()?),
                // Git itself reads parents only where they belong.
                b"parent" if author.is_none() => parents.push(ObjectId::from_hex(value).ok()?),
                b"author" if author.is_none() => author = Some(Person::parse(value)),
                b"committer" if committer.is_none() => committer = Some(Person::parse(value)),
                _ => {}
            }
        }
        Some(Self {
            tree: tree?,
            parents,
            author: author.unwrap_or_default(),
            committer: committer.unwrap_or_default(),
            message: beginning(message, MAX_MESSAGE),
        })
    }

    /// The committer's time, in seconds since 1970.
    pub(super) fn seconds(&self) -> Option<i64> {
        self.committer.seconds
    }
}

impl Person {
    /// `Ada Example <ada@example.com> 1700000000 +0000`, or what there is of it.
    fn parse(line: &[u8]) -> Self {
        let (name, rest) = line.split_once_str(b"<").unwrap_or((line, b""));
        let email = match rest.find_byte(b'>') {
            Some(end) => rest.get(..end).unwrap_or_default(),
            // Without its end, an address is what stands before the first blank.
            None => rest.split(u8::is_ascii_whitespace).next().unwrap_or_default(),
        };
        let date = line.rfind_byte(b'>').and_then(|end| line.get(end + 1..)).unwrap_or(line);
        let mut words = date.split(u8::is_ascii_whitespace).rev().filter(|word| !word.is_empty());
        let number = |word: &[u8]| std::str::from_utf8(word).ok()?.parse().ok();
        // The zone stands last; some tools leave it out.
        let seconds = match (words.next(), words.next()) {
            (Some(zone), Some(seconds)) if zone.starts_with(b"+") || zone.starts_with(b"-") => number(seconds),
            (Some(seconds), _) => number(seconds),
            (None, _) => None,
        };
        Self { name: beginning(name.trim(), MAX_NAME), email: beginning(email.trim(), MAX_NAME), seconds }
    }
}

impl Objects {
    /// A commit that is there.
    ///
    /// # Errors
    /// [`GitError::Object`] if it can't be read. Only then, and not if it makes no sense, a new clone may help.
    pub(super) fn commit(&self, id: ObjectId) -> Result<Commit, GitError> {
        let object = self.repository.find_object(id);
        let object = object.map_err(|error| self.unreadable(format!("commit {id}"), &error))?;
        let wrong = |why: &str| GitError::Object {
            repository: self.place.clone(),
            what: format!("commit {id}"),
            source: Cause(why.to_owned()),
        };
        if object.kind != gix::object::Kind::Commit {
            return Err(wrong("it isn't a commit"));
        }
        Commit::parse(&object.data).ok_or_else(|| wrong("it isn't as Git writes commits"))
    }

    /// Whether `ancestor` is `commit` or one of its ancestors. No if it isn't there, or history can't be read so far.
    pub(super) fn descends(&self, commit: ObjectId, ancestor: ObjectId) -> bool {
        if commit == ancestor {
            return true;
        }
        // Newest first: what is looked for mostly lies near.
        let mut open: BTreeSet<(i64, ObjectId)> = BTreeSet::from([(i64::MAX, commit)]);
        let mut seen: HashSet<ObjectId> = HashSet::from([commit]);
        while let Some((_, id)) = open.pop_last() {
            let Ok(found) = self.commit(id) else { continue };
            for parent in found.parents {
                if parent == ancestor {
                    return self.repository.has_object(ancestor);
                }
                if seen.insert(parent) && self.repository.has_object(parent) {
                    let seconds = self.commit(parent).ok().and_then(|parent| parent.seconds());
                    open.insert((seconds.unwrap_or(i64::MAX), parent));
                }
            }
        }
        false
    }

    /// A commit and all its ancestors that are there, in no order, at most `most`; those of `hidden` and their ancestors are
    /// left out. For histories in which gix finds a commit that it can't read.
    pub(super) fn reachable(
        &self,
        tip: ObjectId,
        hidden: Option<ObjectId>,
        most: usize,
    ) -> Result<Vec<ObjectId>, GitError> {
        let mut left_out: HashSet<ObjectId> = HashSet::new();
        let mut open: Vec<ObjectId> = hidden.into_iter().collect();
        while let Some(id) = open.pop() {
            if self.repository.has_object(id) && left_out.insert(id) {
                open.extend(self.commit(id)?.parents);
            }
        }
        let mut found = Vec::new();
        let mut open = std::collections::VecDeque::from([tip]);
        while let Some(id) = open.pop_front().filter(|_| found.len() < most) {
            if self.repository.has_object(id) && left_out.insert(id) {
                found.push(id);
                open.extend(self.commit(id)?.parents);
            }
        }
        Ok(found)
    }
}

/// The first line of a message that isn't empty, or the beginning of it.
pub(super) fn subject(message: &BStr) -> &BStr {
    const MAX_SUBJECT: usize = 1_000;
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    BStr::new(line.get(..MAX_SUBJECT).unwrap_or(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_says_badly_who_wrote_it_says_what_it_can() {
        let person = |line: &str| {
            let Person { name, email, seconds } = Person::parse(line.as_bytes());
            format!("{name}|{email}|{seconds:?}")
        };
        for (line, expected) in [
            ("Ada Example <ada@example.com> 1700000000 +0000", "Ada Example|ada@example.com|Some(1700000000)"),
            ("Ada <ada@example.com 1700000000 +0000", "Ada|ada@example.com|Some(1700000000)"),
            ("Ada ada@example.com 1700000000 +0000", "Ada ada@example.com 1700000000 +0000||Some(1700000000)"),
            ("Ada <<ada@example.com>> 1700000000 -0230", "Ada|<ada@example.com|Some(1700000000)"),
            ("<> 1 +0000", "||Some(1)"),
            ("Ada <ada@example.com> 1700000000", "Ada|ada@example.com|Some(1700000000)"),
            ("Ada <ada@example.com> 99999999999999999999 +0000", "Ada|ada@example.com|None"),
            ("Ada <ada@example.com> yesterday +0000", "Ada|ada@example.com|None"),
            ("Ada <ada@example.com>", "Ada|ada@example.com|None"),
            ("", "||None"),
        ] {
            assert_eq!(person(line), expected, "{line}");
        }
    }

    #[test]
    fn parents_and_tree_are_read_beside_anything() {
        let (tree, parent) = ("4b825dc642cb6eb9a060e54bf8d69288fbee4904", "a".repeat(40));
        let commit = Commit::parse(
            format!("tree {tree}\nparent {parent}\nauthor x\ncommitter\ngpgsig A\n parent {parent}\n\nsubject\n\nbody")
                .as_bytes(),
        )
        .unwrap();
        assert_eq!((commit.tree.to_string(), commit.parents.len()), (tree.to_owned(), 1));
        assert_eq!(subject(commit.message.as_ref()), "subject");
        let long = "x".repeat(1 << 20);
        let text = format!("tree {tree}\nauthor {long} <{long}@example.com> 1 +0000\n\n{long}");
        let commit = Commit::parse(text.as_bytes()).unwrap();
        let kept = (commit.author.name.len(), commit.author.email.len(), commit.message.len());
        assert_eq!(kept, (MAX_NAME, MAX_NAME, MAX_MESSAGE), "nobody reads more of what has no end");
        assert_eq!((commit.author.seconds, subject(commit.message.as_ref()).len()), (Some(1), 1_000));
        assert_eq!(Commit::parse(b"author x\n\nsubject"), None);
        assert_eq!(Commit::parse(b"tree xyz\n\nsubject"), None);
        assert_eq!(Commit::parse(b""), None);
    }
}
