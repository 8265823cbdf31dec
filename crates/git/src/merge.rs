//! Whether a merge holds nothing but what follows from the commits that it merges. A forge signs whatever somebody does in
//! its browser or by its API, so of a commit that only a forge has signed this is asked; see `docs/signed-commits.md`.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice};
use gix::objs::tree::EntryMode;

use super::error::GitError;
use super::port::{FOLDERS, ReadPins};
use super::provenance::printable;
use super::tree::Objects;
use pinion_core::manifest::gather::TreeLimits;

/// The files that have pins.
const PINS: &[u8] = b"/pins.toml";

/// So many entries of folders that differ are compared at most.
const MAX_ENTRIES: usize = 100_000;

/// What a name stands for in a folder.
type Entry = (EntryMode, ObjectId);

/// One of the entries that a name has.
type Slot = fn(&mut Sides<Option<Entry>>) -> &mut Option<Entry>;

/// The same thing in the merge, in what its parents come from, and in its two parents.
#[derive(Clone, Copy)]
struct Sides<T> {
    merge: T,
    base: T,
    ours: T,
    theirs: T,
}

impl<T> Sides<T> {
    fn map<U>(self, to: impl Fn(T) -> U) -> Sides<U> {
        Sides { merge: to(self.merge), base: to(self.base), ours: to(self.ours), theirs: to(self.theirs) }
    }
}

impl<T: PartialEq + Copy> Sides<T> {
    /// Whether the merge has what follows: what both have, or that of the one who has changed it.
    fn follow(&self) -> bool {
        let expected = if self.ours == self.theirs || self.theirs == self.base {
            Some(self.ours)
        } else if self.ours == self.base {
            Some(self.theirs)
        } else {
            None
        };
        expected == Some(self.merge)
    }
}

/// Compares merges with what they merge.
#[derive(Debug)]
pub(super) struct Merges {
    read_pins: ReadPins,
    /// The folders and files that were read for that so far.
    pub(super) read: u64,
}

impl Merges {
    pub(super) fn new(read_pins: ReadPins) -> Self {
        Self { read_pins, read: 0 }
    }

    /// What in the folders that are read doesn't follow from the parents, as the end of a sentence about the commit;
    /// `None` if all does. Where the parents come from several commits alike, one of them has to explain everything.
    ///
    /// # Errors
    /// [`GitError::Object`] if something can't be read.
    pub(super) fn altered(
        &mut self,
        objects: &Objects,
        merge: ObjectId,
        parents: &[ObjectId],
    ) -> Result<Option<String>, GitError> {
        let &[ours, theirs] = parents else {
            return Ok(Some(format!("it has {} parents, and forges merge two", parents.len())));
        };
        let bases = objects.repository.merge_bases_many(ours, &[theirs]);
        // A history that holds a commit which gix can't read explains nothing.
        let Ok(bases) = bases else { return Ok(Some("the history of what it merges can't be read".to_owned())) };
        let mut bases: Vec<Option<ObjectId>> = bases.into_iter().map(|base| Some(base.detach())).collect();
        if bases.is_empty() {
            bases.push(None);
        }
        let tree = |commit: ObjectId| objects.tree_of(commit);
        let (merge, ours, theirs) = (tree(merge)?, tree(ours)?, tree(theirs)?);
        let mut found = None;
        for base in bases {
            let base = base.map(tree).transpose()?;
            let sides = Sides { merge: Some(merge), base, ours: Some(ours), theirs: Some(theirs) };
            let mut comparison = Comparison { objects, read_pins: self.read_pins, entries: 0, read: 0 };
            found = comparison.roots(sides)?;
            self.read += comparison.read;
            if found.is_none() {
                return Ok(None);
            }
        }
        Ok(found)
    }
}

struct Comparison<'a> {
    objects: &'a Objects,
    read_pins: ReadPins,
    entries: usize,
    read: u64,
}

impl<'a> Comparison<'a> {
    fn roots(&mut self, roots: Sides<Option<ObjectId>>) -> Result<Option<String>, GitError> {
        for folder in FOLDERS {
            let mut entry = |root: Option<ObjectId>| -> Result<Option<Entry>, GitError> {
                let Some(root) = root else { return Ok(None) };
                let tree = self.tree(root)?;
                Ok(tree.find_entry(folder).map(|entry| (entry.mode(), entry.object_id())))
            };
            let sides = Sides {
                merge: entry(roots.merge)?,
                base: entry(roots.base)?,
                ours: entry(roots.ours)?,
                theirs: entry(roots.theirs)?,
            };
            let found = self.entry(folder.into(), sides, 0)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn tree(&mut self, id: ObjectId) -> Result<gix::Tree<'a>, GitError> {
        self.read += 1;
        self.objects.tree(id)
    }

    /// Compares what a path stands for. Folders are opened only where neither parent explains them as a whole.
    fn entry(&mut self, path: &BStr, sides: Sides<Option<Entry>>, depth: usize) -> Result<Option<String>, GitError> {
        if sides.follow() {
            return Ok(None);
        }
        let files = sides.map(|entry| entry.filter(|(mode, _)| !mode.is_tree()));
        if !files.follow()
            && let Some(found) = self.text(path, files)?
        {
            return Ok(Some(found));
        }
        let folders = sides.map(|entry| entry.filter(|(mode, _)| mode.is_tree()).map(|(_, id)| id));
        if folders.follow() {
            return Ok(None);
        }
        if depth > TreeLimits::default().depth {
            return Ok(Some(format!("`{}` in it lies too deep to be compared", printable(path))));
        }
        let mut names: BTreeMap<BString, Sides<Option<Entry>>> = BTreeMap::new();
        let slots: [(Option<ObjectId>, Slot); 4] = [
            (folders.merge, |sides| &mut sides.merge),
            (folders.base, |sides| &mut sides.base),
            (folders.ours, |sides| &mut sides.ours),
            (folders.theirs, |sides| &mut sides.theirs),
        ];
        for (folder, slot) in slots {
            let Some(folder) = folder else { continue };
            let tree = self.tree(folder)?;
            for entry in tree.iter() {
                let Ok(entry) = entry else {
                    return Ok(Some(format!("folder `{}` in it can't be read", printable(path))));
                };
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    return Ok(Some(format!("more than {MAX_ENTRIES} entries of folders would have to be compared")));
                }
                let none = Sides { merge: None, base: None, ours: None, theirs: None };
                let sides = names.entry(entry.filename().to_owned()).or_insert(none);
                if slot(sides).replace((entry.mode(), entry.object_id())).is_some() {
                    return Ok(Some(format!("in `{}` two entries have one name", printable(path))));
                }
            }
        }
        for (name, sides) in names {
            let path = BString::from([path.as_bytes(), b"/", name.as_slice()].concat());
            let found = self.entry(path.as_bstr(), sides, depth + 1)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// What is wrong with a file that follows from neither parent alone: nothing if both have changed lines of a text that
    /// lie apart, the merge has the changes of both, and no pin has by that a value that nobody gave it.
    fn text(&mut self, path: &BStr, files: Sides<Option<Entry>>) -> Result<Option<String>, GitError> {
        let shown = printable(path);
        let altered = || Ok(Some(format!("`{shown}` in it follows from none of its parents")));
        let Sides { merge: Some(merge), base: Some(base), ours: Some(ours), theirs: Some(theirs) } = files else {
            return altered();
        };
        let sides = Sides { merge, base, ours, theirs };
        let modes = sides.map(|(mode, _)| mode);
        if !modes.follow() || [merge, base, ours, theirs].iter().any(|(mode, _)| !mode.is_blob()) {
            return altered();
        }
        let mut text = |(_, id): Entry| -> Result<Option<Vec<u8>>, GitError> {
            if self.objects.size(id, &shown)? > TreeLimits::default().file_bytes {
                return Ok(None);
            }
            self.read += 1;
            self.objects.blob(id, &shown).map(Some)
        };
        let (Some(merge), Some(base), Some(ours), Some(theirs)) =
            (text(merge)?, text(base)?, text(ours)?, text(theirs)?)
        else {
            return altered();
        };
        if merged(&base, &ours, &theirs).is_none_or(|expected| expected != merge) {
            return altered();
        }
        if !path.ends_with(PINS) {
            return Ok(None);
        }
        let found = mixed(self.read_pins, &shown, Sides { merge, base, ours, theirs });
        Ok(found.map(|key| format!("`{}` of `{shown}` in it is neither what one nor what the other has pinned", key)))
    }
}

/// A pin that has a value in the merge that doesn't follow from its values in the parents: lines of both are in it, such as
/// the version of one and the digest of the other.
fn mixed(read_pins: ReadPins, path: &str, texts: Sides<Vec<u8>>) -> Option<String> {
    let pins = texts.map(|text| read_pins(path, &text));
    let of = |key: &String| Sides {
        merge: pins.merge.get(key),
        base: pins.base.get(key),
        ours: pins.ours.get(key),
        theirs: pins.theirs.get(key),
    };
    pins.merge.keys().find(|key| !of(key).follow()).map(|key| printable(key.as_bytes().as_bstr()))
}

/// A text with the changes of two: each one's from the first line that it has changed to the last. `None` if these touch.
fn merged(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    let lines = |text| <[u8]>::split_inclusive(text, |byte| *byte == b'\n').collect::<Vec<_>>();
    let (base, ours, theirs) = (lines(base), lines(ours), lines(theirs));
    let (mut first, mut second) = (Hunk::between(&base, &ours), Hunk::between(&base, &theirs));
    if second.start < first.start {
        std::mem::swap(&mut first, &mut second);
    }
    // As Git has it: changes of neighbouring lines are a conflict.
    if first.end >= second.start {
        return None;
    }
    let parts = [
        base.get(..first.start)?,
        first.lines,
        base.get(first.end..second.start)?,
        second.lines,
        base.get(second.end..)?,
    ];
    Some(parts.concat().concat())
}

/// The lines from `start` to before `end` are replaced by others.
struct Hunk<'a> {
    start: usize,
    end: usize,
    lines: &'a [&'a [u8]],
}

impl<'a> Hunk<'a> {
    fn between(base: &[&[u8]], side: &'a [&'a [u8]]) -> Self {
        let start = base.iter().zip(side).take_while(|(one, other)| one == other).count();
        let rest = base.len().min(side.len()) - start;
        let backwards = base.iter().rev().zip(side.iter().rev()).take(rest);
        let same = backwards.take_while(|(one, other)| one == other).count();
        Self { start, end: base.len() - same, lines: side.get(start..side.len() - same).unwrap_or_default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(base: &str, ours: &str, theirs: &str) -> Option<String> {
        merged(base.as_bytes(), ours.as_bytes(), theirs.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn changes_that_lie_apart_are_merged_and_others_are_not() {
        let base = "a\nb\nc\nd\ne\n";
        assert_eq!(merge(base, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\n").as_deref(), Some("A\nb\nc\nd\nE\n"));
        assert_eq!(merge(base, "a\nb\nc\nD\ne\n", "a\nB\nc\nd\ne\n").as_deref(), Some("a\nB\nc\nD\ne\n"));
        assert_eq!(merge(base, "a\nc\nd\ne\n", "a\nb\nc\nd\ne\nf\n").as_deref(), Some("a\nc\nd\ne\nf\n"));
        assert_eq!(merge(base, "x\na\nb\nc\nd\ne\n", "a\nb\nc\nd\nE").as_deref(), Some("x\na\nb\nc\nd\nE"));
        for (ours, theirs, why) in [
            ("A\nb\nc\nd\ne\n", "1\nb\nc\nd\ne\n", "the same line"),
            ("a\nB\nc\nd\ne\n", "a\nb\nC\nd\ne\n", "neighbours"),
            ("A\nb\nc\nd\nE\n", "a\nb\nC\nd\ne\n", "one lies within the other"),
            ("a\nb\nc\nd\ne\nf\n", "a\nb\nc\nd\ne\ng\n", "two lines at one place"),
            ("", "a\nb\nc\nd\nE\n", "all is gone"),
        ] {
            assert_eq!(merge(base, ours, theirs), None, "{why}");
        }
    }
}
