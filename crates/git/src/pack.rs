//! Looks through what a server sends while it is received, so that a pack that would take too much memory is refused before
//! any of its objects is inflated whole. gix knows how large an object is only when it makes room for it, and it keeps each one's
//! compressed bytes, however many there are. Files that are too large, which mostly nobody reads, are left out on the way to gix.

mod objects;

use objects::Pack;
pub(super) use objects::{LeftOut, Missing};

/// The longest listing of branches that is read, in bytes: some 60,000 branches. A server of protocol 2 lists only those that
/// begin like the ones that we follow.
pub(super) const MAX_LISTING: u64 = 4 << 20;

/// The most that is received of one fetch, in bytes.
pub(super) const MAX_FETCH: u64 = 256 << 20;

/// The largest object, in bytes, inflated.
pub(super) const MAX_OBJECT: u64 = 16 << 20;

/// The largest commit or tag, in bytes, inflated.
const MAX_COMMIT: u64 = 1 << 20;

/// The most that a server says beside a pack and its progress, in bytes: branches, acknowledgments, where the history ends.
const MAX_TALK: u64 = 2 * MAX_LISTING;

/// The most objects in one fetch. Each takes some 200 bytes while the pack is indexed.
const MAX_OBJECTS: u32 = 250_000;

/// The most that files which are left out may have, inflated, in bytes, and how many they may be in one fetch.
const MAX_LEFT_OUT: u64 = 8 << 30;
const MAX_FILES_LEFT_OUT: usize = 4096;

/// The most bytes of an object and all those that it is a delta of: while it is taken in they are all in memory.
const MAX_CHAIN: u64 = 48 << 20;

/// By how much an object may get larger by being compressed.
const SLACK: u64 = 64 << 10;

/// Why no more is received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is larger than is taken: what, and what to do about it.
    TooLarge {
        /// What is too large, and what is the most.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// It isn't what Git sends.
    Damaged(&'static str),
}

const SHRINK: &str = "remove large files from the history of the branches, say with `git filter-repo`, or use a repository of its own for the environments";

impl Refusal {
    /// More was sent than may be received in this phase.
    pub(super) fn sent(bound: u64) -> Self {
        let mib = bound >> 20;
        if bound == MAX_LISTING {
            let advice =
                "remove branches and tags that nobody needs, or use a repository of its own for the environments";
            return Self::TooLarge { what: format!("its listing of branches has more than {mib} MiB"), advice };
        }
        Self::TooLarge { what: format!("what is to be fetched has more than {mib} MiB"), advice: SHRINK }
    }

    /// An object is larger than is taken, and can't be left out.
    pub(super) fn object(size: u64) -> Self {
        let (size, most) = (size.div_ceil(1 << 20), MAX_OBJECT >> 20);
        Self::TooLarge {
            what: format!("a file or folder in its history has {size} MiB; the most is {most} MiB"),
            advice: SHRINK,
        }
    }

    fn left_out(what: &str) -> Self {
        let most = MAX_OBJECT >> 20;
        Self::TooLarge { what: format!("its files of more than {most} MiB {what}"), advice: SHRINK }
    }

    fn commit(size: u64) -> Self {
        let (size, most) = (size.div_ceil(1 << 20), MAX_COMMIT >> 20);
        let what = format!("a commit or tag in its history has {size} MiB; the most is {most} MiB");
        let advice =
            "shorten its message, say with `git filter-repo`, or use a repository of its own for the environments";
        Self::TooLarge { what, advice }
    }

    fn talk() -> Self {
        let what = format!("the server's answer has more than {} MiB beside the pack", MAX_TALK >> 20);
        let advice = "look at the server: a fetch takes a few KiB of that";
        Self::TooLarge { what, advice }
    }

    fn objects(count: u32) -> Self {
        let what = format!("there are {count} objects to be fetched; the most is {MAX_OBJECTS}");
        Self::TooLarge { what, advice: SHRINK }
    }

    fn chain() -> Self {
        let most = MAX_CHAIN >> 20;
        let what = format!("versions of a file that build on each other have more than {most} MiB together");
        Self::TooLarge { what, advice: SHRINK }
    }
}

/// What one connection or one HTTP answer carries: packet lines (gitprotocol-common(5)), and a pack in some of them.
#[derive(Debug, Default)]
pub(super) struct Wire {
    at: Place,
    pack: Pack,
    /// The bytes of lines that carry neither the pack nor its progress. gix keeps them all.
    talk: u64,
    /// What is to be sent on of the pack.
    data: Vec<u8>,
}

#[derive(Debug)]
enum Place {
    /// In the four digits of a packet line's length.
    Length { digits: [u8; 4], known: usize },
    /// At the first byte of a line, which says whether it carries the pack.
    Band { digits: [u8; 4], left: usize },
    /// In the rest of a line.
    Line { left: usize, pack: bool },
    /// In a pack that comes without packet lines, as from a server that can't show progress.
    Bare,
    /// In something else, which gix will refuse.
    Unknown,
}

impl Default for Place {
    fn default() -> Self {
        Self::Length { digits: [0; 4], known: 0 }
    }
}

/// The most bytes of a pack in one packet line, with its length and its band.
const MAX_LINE: usize = 65_515;

impl Wire {
    /// Looks at more of what was sent, and adds to `out` what gix is to see of it.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while let Some((&first, rest)) = bytes.split_first() {
            match &mut self.at {
                Place::Length { digits, known } => {
                    if let Some(digit) = digits.get_mut(*known) {
                        *digit = first;
                    }
                    *known += 1;
                    bytes = rest;
                    if *known == digits.len() {
                        let digits = *digits;
                        self.at = Self::after(digits);
                        match self.at {
                            Place::Bare => self.pack.feed(&digits, out)?,
                            Place::Band { .. } => {}
                            _ => out.extend(digits),
                        }
                    }
                }
                Place::Band { digits, left } => {
                    // Data is band 1; all other lines are text, or have a band of their own.
                    if !matches!(first, 1 | 2) {
                        self.talk += *left as u64;
                        if self.talk > MAX_TALK {
                            return Err(Refusal::talk());
                        }
                    }
                    let (pack, left) = (first == 1, *left - 1);
                    if !pack {
                        out.extend(*digits);
                        out.push(first);
                    }
                    self.at = if left == 0 { Place::default() } else { Place::Line { left, pack } };
                    bytes = rest;
                }
                Place::Line { left, pack } => {
                    let (line, rest) = bytes.split_at_checked(*left).unwrap_or((bytes, &[]));
                    if *pack {
                        self.pack.feed(line, &mut self.data)?;
                        for chunk in self.data.chunks(MAX_LINE) {
                            out.extend(format!("{:04x}\x01", chunk.len() + 5).bytes());
                            out.extend(chunk);
                        }
                        self.data.clear();
                    } else {
                        out.extend(line);
                    }
                    *left -= line.len();
                    if *left == 0 {
                        self.at = Place::default();
                    }
                    bytes = rest;
                }
                Place::Bare => return self.pack.feed(bytes, out),
                Place::Unknown => {
                    out.extend(bytes);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Knows that the server may build on these, though they were left out before.
    pub(super) fn lacks(&mut self, missing: Missing) {
        self.pack.lacks(missing);
    }

    /// What was left out since this was asked last.
    pub(super) fn left_out(&mut self) -> Vec<LeftOut> {
        self.pack.left_out()
    }

    /// Where four bytes lead that stand for a line's length.
    fn after(digits: [u8; 4]) -> Place {
        if &digits == PACK {
            return Place::Bare;
        }
        let length = std::str::from_utf8(&digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        match length {
            None => Place::Unknown,
            // Flush, delimiter, end, and a line with nothing in it.
            Some(0..=4) => Place::default(),
            Some(length) => Place::Band { digits, left: length - 4 },
        }
    }
}

const PACK: &[u8; 4] = b"PACK";

#[cfg(test)]
mod tests;
