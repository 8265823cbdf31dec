//! Looks through what a server sends while it is received, so that a pack that would take too much memory is refused before
//! any of its objects is inflated whole. gix knows how large an object is only when it makes room for it, and it keeps each one's
//! compressed bytes, however many there are.

use flate2::{Decompress, FlushDecompress, Status};

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

    /// An object is larger than is taken.
    pub(super) fn object(size: u64) -> Self {
        let (size, most) = (size.div_ceil(1 << 20), MAX_OBJECT >> 20);
        Self::TooLarge { what: format!("a file in its history has {size} MiB; the most is {most} MiB"), advice: SHRINK }
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
}

#[derive(Debug)]
enum Place {
    /// In the four digits of a packet line's length.
    Length { digits: [u8; 4], known: usize },
    /// At the first byte of a line, which says whether it carries the pack.
    Band { left: usize },
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

impl Wire {
    /// Looks at more of what was sent.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
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
                        if matches!(self.at, Place::Bare) {
                            self.pack.feed(&digits)?;
                        }
                    }
                }
                Place::Band { left } => {
                    // Data is band 1; all other lines are text, or have a band of their own.
                    if !matches!(first, 1 | 2) {
                        self.talk += *left as u64;
                        if self.talk > MAX_TALK {
                            return Err(Refusal::talk());
                        }
                    }
                    let (pack, left) = (first == 1, *left - 1);
                    self.at = if left == 0 { Place::default() } else { Place::Line { left, pack } };
                    bytes = rest;
                }
                Place::Line { left, pack } => {
                    let (line, rest) = bytes.split_at_checked(*left).unwrap_or((bytes, &[]));
                    if *pack {
                        self.pack.feed(line)?;
                    }
                    *left -= line.len();
                    if *left == 0 {
                        self.at = Place::default();
                    }
                    bytes = rest;
                }
                Place::Bare => return self.pack.feed(bytes),
                Place::Unknown => return Ok(()),
            }
        }
        Ok(())
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
            Some(length) => Place::Band { left: length - 4 },
        }
    }
}

const PACK: &[u8; 4] = b"PACK";

/// A pack, byte by byte (gitformat-pack(5)).
#[derive(Debug)]
struct Pack {
    at: Part,
    /// How many bytes there were so far.
    offset: u64,
    /// How many objects are still to come.
    left: u32,
    entry: Entry,
    inflater: Decompress,
    /// Of each object, where it begins, and the bytes of its chain.
    chains: Vec<(u64, u64)>,
    /// The bytes of all deltas that name what they build on by its id. That may be any of them.
    by_id: u64,
}

impl Default for Pack {
    fn default() -> Self {
        Self {
            at: Part::Header(Vec::new()),
            offset: 0,
            left: 0,
            entry: Entry::default(),
            inflater: Decompress::new(true),
            chains: Vec::new(),
            by_id: 0,
        }
    }
}

#[derive(Debug)]
enum Part {
    Header(Vec<u8>),
    Kind,
    Size {
        shift: u32,
    },
    /// How far back a delta's base is.
    Distance {
        so_far: Option<u64>,
    },
    /// The id of a delta's base.
    Id {
        left: usize,
    },
    Data,
    End,
}

/// The object that is being received.
#[derive(Debug, Default)]
struct Entry {
    start: u64,
    kind: u8,
    /// As it says itself.
    size: u64,
    compressed: u64,
    inflated: u64,
    /// The bytes of the chain that it builds on.
    below: u64,
    /// A delta's first bytes, which say how large its base and its outcome are.
    head: Vec<u8>,
}

const COMMIT: u8 = 1;
const TAG: u8 = 4;
const OFFSET_DELTA: u8 = 6;
const ID_DELTA: u8 = 7;

/// Two numbers of 64 bits take no more.
const MAX_HEAD: usize = 20;

impl Pack {
    fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while let Some((&first, rest)) = bytes.split_first() {
            if let Part::End = self.at {
                return Ok(());
            }
            if let Part::Data = self.at {
                let taken = self.inflate(bytes)?;
                bytes = bytes.get(taken..).unwrap_or_default();
                continue;
            }
            self.head(first)?;
            self.offset += 1;
            bytes = rest;
        }
        Ok(())
    }

    /// Takes one byte of what isn't compressed.
    fn head(&mut self, byte: u8) -> Result<(), Refusal> {
        let more = byte & 0x80 != 0;
        match &mut self.at {
            Part::Header(header) => {
                header.push(byte);
                if let [b'P', b'A', b'C', b'K', _, _, _, _, a, b, c, d] = header[..] {
                    self.left = u32::from_be_bytes([a, b, c, d]);
                    if self.left > MAX_OBJECTS {
                        return Err(Refusal::objects(self.left));
                    }
                    self.at = if self.left == 0 { Part::End } else { Part::Kind };
                } else if header.len() >= 12 {
                    return Err(Refusal::Damaged("what came in its place isn't a pack"));
                }
            }
            Part::Kind => {
                let (kind, size) = (byte >> 4 & 7, u64::from(byte & 15));
                self.entry = Entry { start: self.offset, kind, size, ..Entry::default() };
                self.at = if more { Part::Size { shift: 4 } } else { self.begun()? };
            }
            Part::Size { shift } => {
                let part = u64::from(byte & 0x7f);
                if *shift > 56 {
                    return Err(Refusal::Damaged("an object's size makes no sense"));
                }
                self.entry.size |= part << *shift;
                *shift += 7;
                if !more {
                    self.at = self.begun()?;
                }
            }
            Part::Distance { so_far } => {
                let part = u64::from(byte & 0x7f);
                let distance = so_far.map_or(Some(part), |so_far| (so_far + 1).checked_mul(128)?.checked_add(part));
                let distance = distance.ok_or(Refusal::Damaged("a delta's base is nowhere"))?;
                if more {
                    *so_far = Some(distance);
                } else {
                    let base = self.entry.start.checked_sub(distance);
                    let found = base.and_then(|base| self.chains.binary_search_by_key(&base, |chain| chain.0).ok());
                    let chain = found.and_then(|index| self.chains.get(index));
                    self.entry.below = chain.ok_or(Refusal::Damaged("a delta's base is nowhere"))?.1;
                    self.at = self.data();
                }
            }
            Part::Id { left } => {
                *left -= 1;
                if *left == 0 {
                    self.entry.below = self.by_id;
                    self.at = self.data();
                }
            }
            Part::Data | Part::End => {}
        }
        Ok(())
    }

    /// What follows an object's kind and size.
    fn begun(&mut self) -> Result<Part, Refusal> {
        if self.entry.size > MAX_OBJECT {
            return Err(Refusal::object(self.entry.size));
        }
        match self.entry.kind {
            COMMIT | TAG if self.entry.size > MAX_COMMIT => Err(Refusal::commit(self.entry.size)),
            1..=4 => Ok(self.data()),
            OFFSET_DELTA => Ok(Part::Distance { so_far: None }),
            ID_DELTA => Ok(Part::Id { left: 20 }),
            _ => Err(Refusal::Damaged("an object is of no known kind")),
        }
    }

    fn data(&mut self) -> Part {
        self.inflater.reset(true);
        Part::Data
    }

    /// Takes as much of an object's compressed bytes as is there, and says how many that was.
    fn inflate(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        const DAMAGED: Refusal = Refusal::Damaged("an object can't be inflated");
        let mut scratch = [0; 16 << 10];
        let (before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
        let status = self.inflater.decompress(bytes, &mut scratch, FlushDecompress::None).map_err(|_| DAMAGED)?;
        let taken = self.inflater.total_in() - before;
        let inflated = self.inflater.total_out() - out_before;
        self.offset += taken;
        self.entry.compressed += taken;
        self.entry.inflated += inflated;
        if self.entry.kind >= OFFSET_DELTA {
            let length = usize::try_from(inflated).unwrap_or(usize::MAX);
            let room = MAX_HEAD.saturating_sub(self.entry.head.len());
            self.entry.head.extend(scratch.iter().take(length.min(room)));
        }
        if self.entry.inflated > self.entry.size || (taken == 0 && inflated == 0 && status != Status::StreamEnd) {
            return Err(DAMAGED);
        }
        if self.entry.compressed > MAX_OBJECT + SLACK {
            return Err(Refusal::object(self.entry.compressed));
        }
        if status == Status::StreamEnd {
            self.received()?;
        }
        usize::try_from(taken).map_err(|_| DAMAGED)
    }

    /// An object is there to its end.
    fn received(&mut self) -> Result<(), Refusal> {
        let entry = std::mem::take(&mut self.entry);
        let size = if entry.kind >= OFFSET_DELTA {
            let size = outcome(&entry.head).ok_or(Refusal::Damaged("a delta makes no sense"))?;
            if size > MAX_OBJECT {
                return Err(Refusal::object(size));
            }
            size
        } else {
            entry.size
        };
        let chain = entry.below + size;
        if chain > MAX_CHAIN {
            return Err(Refusal::chain());
        }
        if entry.kind == ID_DELTA {
            self.by_id += size;
        }
        self.chains.push((entry.start, chain));
        self.left -= 1;
        self.at = if self.left == 0 { Part::End } else { Part::Kind };
        Ok(())
    }
}

/// How large a delta's outcome is, by its first bytes.
fn outcome(head: &[u8]) -> Option<u64> {
    let mut bytes = head.iter();
    let mut number = || {
        let mut number = 0_u64;
        for shift in (0..=56).step_by(7) {
            let byte = bytes.next()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    };
    number()?;
    number()
}

#[cfg(test)]
mod tests;
