//! The objects of a pack, byte by byte (gitformat-pack(5)). Those that are too large are replaced by a few bytes that nobody
//! asks for, so that the others can be read; what builds on them can't be known without them, and is left out as well.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use flate2::write::ZlibEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use gix::ObjectId;
use gix::hash::{Hasher, Kind, hasher};

use super::{MAX_CHAIN, MAX_COMMIT, MAX_FILES_LEFT_OUT, MAX_LEFT_OUT, MAX_OBJECT, MAX_OBJECTS, Refusal, SLACK};

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOut {
    /// Its id; `None` of one that builds on another that was left out.
    pub(crate) id: Option<ObjectId>,
    /// Its size in bytes, as far as that is known.
    pub(crate) size: u64,
}

/// Says of a file that a server may build on whether it was left out before.
#[derive(Clone, Default)]
pub(crate) struct Missing(Option<Arc<dyn Fn(ObjectId) -> bool + Send + Sync>>);

impl Missing {
    pub(crate) fn new(missing: impl Fn(ObjectId) -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(missing)))
    }

    fn has(&self, id: ObjectId) -> bool {
        self.0.as_ref().is_some_and(|missing| missing(id))
    }
}

impl std::fmt::Debug for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Missing")
    }
}

/// A SHA-1 digest in the making.
struct Sum(Hasher);

impl Sum {
    fn new() -> Self {
        Self(hasher(Kind::Sha1))
    }
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sum")
    }
}

/// A pack on its way to gix.
#[derive(Debug)]
pub(super) struct Pack {
    at: Part,
    /// How many bytes there were so far, and how many were sent on.
    offset: u64,
    sent: u64,
    /// How many objects are still to come.
    left: u32,
    entry: Entry,
    inflater: Decompress,
    objects: Vec<Known>,
    /// The bytes of all deltas that name what they build on by its id. That may be any of them.
    by_id: u64,
    /// The digests of what came and of what was sent on; `None` when they are done.
    sums: Option<(Sum, Sum)>,
    /// What was left out before, and the ids of what is left out now.
    missing: Missing,
    lacking: BTreeSet<ObjectId>,
    left_out: Vec<LeftOut>,
    left_out_bytes: u64,
    left_out_count: usize,
}

impl Default for Pack {
    fn default() -> Self {
        Self {
            at: Part::Header(Vec::new()),
            offset: 0,
            sent: 0,
            left: 0,
            entry: Entry::default(),
            inflater: Decompress::new(true),
            objects: Vec::new(),
            by_id: 0,
            sums: Some((Sum::new(), Sum::new())),
            missing: Missing::default(),
            lacking: BTreeSet::new(),
            left_out: Vec::new(),
            left_out_bytes: 0,
            left_out_count: 0,
        }
    }
}

/// An object that was received.
#[derive(Debug)]
struct Known {
    /// Where it begins, and where in what was sent on.
    start: u64,
    sent: u64,
    /// The bytes of its chain; `None` if it was left out.
    chain: Option<u64>,
    /// The kind of the object at the end of its chain, as far as that is in this pack.
    kind: u8,
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
    Id(Vec<u8>),
    Data,
    /// The digest of all that came before.
    Sum(Vec<u8>),
    End,
}

/// The object that is being received.
#[derive(Debug, Default)]
struct Entry {
    start: u64,
    /// As it says itself.
    kind: u8,
    size: u64,
    compressed: u64,
    inflated: u64,
    base: Base,
    /// A delta's first bytes, which say how large its base and its outcome are.
    head: Vec<u8>,
    fate: Fate,
}

/// What an object builds on.
#[derive(Debug, Default)]
struct Base {
    /// The bytes of the chain below; `None` if some of it was left out.
    chain: Option<u64>,
    /// The kind of the object at the end of the chain; 0 if it isn't in this pack.
    kind: u8,
    /// How it is named in what is sent on.
    name: Vec<u8>,
}

/// What becomes of an object.
#[derive(Debug)]
enum Fate {
    /// That isn't known yet: its bytes are held back.
    Open(Vec<u8>),
    /// It is sent on.
    Taken,
    /// It is left out; its digest tells its id, if it builds on nothing.
    LeftOut(Option<Box<Sum>>),
}

impl Default for Fate {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

pub(super) const COMMIT: u8 = 1;
const BLOB: u8 = 3;
pub(super) const TAG: u8 = 4;
pub(super) const OFFSET_DELTA: u8 = 6;
pub(super) const ID_DELTA: u8 = 7;

/// Two numbers of 64 bits take no more.
const MAX_HEAD: usize = 20;

/// The bytes of an object that are held back at most until it is known how large it is.
const MAX_HELD: usize = 64 << 10;

const NOWHERE: Refusal = Refusal::Damaged("a delta's base is nowhere");

impl Pack {
    pub(super) fn lacks(&mut self, missing: Missing) {
        self.missing = missing;
    }

    pub(super) fn left_out(&mut self) -> Vec<LeftOut> {
        std::mem::take(&mut self.left_out)
    }

    /// Takes more bytes, and adds to `out` what is sent on of them.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        while let Some((&first, rest)) = bytes.split_first() {
            match self.at {
                // gix refuses what comes after a pack.
                Part::End => {
                    out.extend(bytes);
                    return Ok(());
                }
                Part::Data => {
                    let taken = self.inflate(bytes, out)?;
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
                _ => {
                    if !matches!(self.at, Part::Sum(_)) {
                        self.came(&[first]);
                    }
                    self.offset += 1;
                    self.head(first, out)?;
                    bytes = rest;
                }
            }
        }
        Ok(())
    }

    fn came(&mut self, bytes: &[u8]) {
        if let Some((came, _)) = &mut self.sums {
            came.0.update(bytes);
        }
    }

    fn send(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if let Some((_, sent)) = &mut self.sums {
            sent.0.update(bytes);
        }
        self.sent += bytes.len() as u64;
        out.extend(bytes);
    }

    /// Takes one byte of what isn't compressed.
    fn head(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let more = byte & 0x80 != 0;
        match &mut self.at {
            Part::Header(header) => {
                header.push(byte);
                if let [b'P', b'A', b'C', b'K', _, _, _, _, a, b, c, d] = header[..] {
                    self.left = u32::from_be_bytes([a, b, c, d]);
                    if self.left > MAX_OBJECTS {
                        return Err(Refusal::objects(self.left));
                    }
                    let header = std::mem::take(header);
                    self.at = if self.left == 0 { Part::Sum(Vec::new()) } else { Part::Kind };
                    self.send(&header, out);
                } else if header.len() >= 12 {
                    return Err(Refusal::Damaged("what came in its place isn't a pack"));
                }
            }
            Part::Kind => {
                let (kind, size) = (byte >> 4 & 7, u64::from(byte & 15));
                self.entry = Entry { start: self.offset - 1, kind, size, ..Entry::default() };
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
                let distance = distance.ok_or(NOWHERE)?;
                if more {
                    *so_far = Some(distance);
                } else {
                    let base = self.entry.start.checked_sub(distance);
                    let found =
                        base.and_then(|base| self.objects.binary_search_by_key(&base, |known| known.start).ok());
                    let base = found.and_then(|index| self.objects.get(index)).ok_or(NOWHERE)?;
                    let name = distance_as_written(self.sent - base.sent);
                    self.entry.base = Base { chain: base.chain, kind: base.kind, name };
                    self.at = self.data()?;
                }
            }
            Part::Id(id) => {
                id.push(byte);
                if id.len() == 20 {
                    let id = std::mem::take(id);
                    let lacking = ObjectId::try_from(id.as_slice())
                        .is_ok_and(|id| self.lacking.contains(&id) || self.missing.has(id));
                    self.entry.base = Base { chain: (!lacking).then_some(self.by_id), kind: 0, name: id };
                    self.at = self.data()?;
                }
            }
            Part::Sum(sum) => {
                sum.push(byte);
                if sum.len() == 20 {
                    let sum = std::mem::take(sum);
                    self.at = Part::End;
                    self.ended(&sum, out)?;
                }
            }
            Part::Data | Part::End => {}
        }
        Ok(())
    }

    /// What follows an object's kind and size.
    fn begun(&mut self) -> Result<Part, Refusal> {
        match self.entry.kind {
            COMMIT | TAG if self.entry.size > MAX_COMMIT => Err(Refusal::commit(self.entry.size)),
            BLOB if self.entry.size > MAX_OBJECT => {
                let mut digest = Sum::new();
                digest.0.update(format!("blob {}\0", self.entry.size).as_bytes());
                self.entry.base = Base { chain: None, kind: BLOB, name: Vec::new() };
                self.leave_out(Some(digest), self.entry.size)?;
                self.data()
            }
            kind @ 1..=4 if self.entry.size <= MAX_OBJECT => {
                self.entry.base = Base { chain: Some(0), kind, name: Vec::new() };
                self.data()
            }
            1..=4 => Err(Refusal::object(self.entry.size)),
            OFFSET_DELTA => Ok(Part::Distance { so_far: None }),
            ID_DELTA => Ok(Part::Id(Vec::new())),
            _ => Err(Refusal::Damaged("an object is of no known kind")),
        }
    }

    fn data(&mut self) -> Result<Part, Refusal> {
        self.inflater.reset(true);
        if self.entry.kind >= OFFSET_DELTA && (self.entry.base.chain.is_none() || self.entry.size > MAX_OBJECT) {
            self.leave_out(None, self.entry.size)?;
        }
        if let Fate::Open(held) = &mut self.entry.fate {
            *held = entry_head(self.entry.kind, self.entry.size);
            held.extend(&self.entry.base.name);
        }
        Ok(Part::Data)
    }

    /// From now on the object is left out. A folder or a commit never is, as far as it is known what it is.
    fn leave_out(&mut self, digest: Option<Sum>, size: u64) -> Result<(), Refusal> {
        if !matches!(self.entry.base.kind, 0 | BLOB) {
            return Err(Refusal::object(size));
        }
        self.left_out_count += 1;
        if self.left_out_count > MAX_FILES_LEFT_OUT {
            return Err(Refusal::left_out(&format!("are more than {MAX_FILES_LEFT_OUT}")));
        }
        self.entry.fate = Fate::LeftOut(digest.map(Box::new));
        Ok(())
    }

    /// Takes as much of an object's compressed bytes as is there, and says how many that was.
    fn inflate(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Refusal> {
        const DAMAGED: Refusal = Refusal::Damaged("an object can't be inflated");
        let mut scratch = [0; 16 << 10];
        let (before, out_before) = (self.inflater.total_in(), self.inflater.total_out());
        let status = self.inflater.decompress(bytes, &mut scratch, FlushDecompress::None).map_err(|_| DAMAGED)?;
        let taken = self.inflater.total_in() - before;
        let inflated = self.inflater.total_out() - out_before;
        self.offset += taken;
        self.entry.compressed += taken;
        self.entry.inflated += inflated;
        let length = usize::try_from(inflated).map_err(|_| DAMAGED)?;
        let inflated_bytes = scratch.get(..length).ok_or(DAMAGED)?;
        let taken = usize::try_from(taken).map_err(|_| DAMAGED)?;
        let bytes = bytes.get(..taken).ok_or(DAMAGED)?;
        self.came(bytes);
        if self.entry.inflated > self.entry.size || (taken == 0 && inflated == 0 && status != Status::StreamEnd) {
            return Err(DAMAGED);
        }
        if self.entry.kind >= OFFSET_DELTA {
            let room = MAX_HEAD.saturating_sub(self.entry.head.len());
            self.entry.head.extend(inflated_bytes.iter().take(room));
        }
        match &mut self.entry.fate {
            Fate::LeftOut(digest) => {
                self.left_out_bytes += inflated;
                if self.left_out_bytes > MAX_LEFT_OUT {
                    let most = MAX_LEFT_OUT >> 30;
                    return Err(Refusal::left_out(&format!("have more than {most} GiB together")));
                }
                if let Some(digest) = digest {
                    digest.0.update(inflated_bytes);
                }
            }
            Fate::Taken => self.send(bytes, out),
            Fate::Open(held) => {
                held.extend(bytes);
                if held.len() > MAX_HELD + bytes.len() {
                    return Err(DAMAGED);
                }
                self.decide(status == Status::StreamEnd, out)?;
            }
        }
        if matches!(self.entry.fate, Fate::Taken) && self.entry.compressed > MAX_OBJECT + SLACK {
            return Err(Refusal::Damaged("an object's compressed bytes never end"));
        }
        if status == Status::StreamEnd {
            self.received(out)?;
        }
        Ok(taken)
    }

    /// Whether an object is taken, as soon as it is known how large it is.
    fn decide(&mut self, ended: bool, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let size = if self.entry.kind < OFFSET_DELTA {
            self.entry.size
        } else {
            match outcome(&self.entry.head) {
                Some(size) => size,
                None if ended || self.entry.head.len() >= MAX_HEAD => {
                    return Err(Refusal::Damaged("a delta makes no sense"));
                }
                None => return Ok(()),
            }
        };
        let chain = self.entry.base.chain.unwrap_or_default() + size;
        if size > MAX_OBJECT || (chain > MAX_CHAIN && self.entry.kind != ID_DELTA) {
            return self.leave_out(None, size);
        }
        if chain > MAX_CHAIN {
            return Err(Refusal::chain());
        }
        self.entry.base.chain = Some(chain);
        if self.entry.kind == ID_DELTA {
            self.by_id += size;
        }
        if let Fate::Open(held) = std::mem::replace(&mut self.entry.fate, Fate::Taken) {
            let start = self.sent;
            self.send(&held, out);
            self.objects.push(Known {
                start: self.entry.start,
                sent: start,
                chain: Some(chain),
                kind: self.entry.base.kind,
            });
        }
        Ok(())
    }

    /// An object is there to its end.
    fn received(&mut self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let entry = std::mem::take(&mut self.entry);
        if entry.inflated != entry.size {
            return Err(Refusal::Damaged("an object can't be inflated"));
        }
        if let Fate::LeftOut(digest) = entry.fate {
            let id = digest.map(|digest| digest.0.try_finalize()).transpose();
            let id = id.map_err(|_| Refusal::Damaged("a file's SHA-1 digest was tampered with"))?;
            let size = if entry.kind < OFFSET_DELTA { entry.size } else { outcome(&entry.head).unwrap_or_default() };
            self.lacking.extend(id);
            self.left_out.push(LeftOut { id, size });
            let sent = self.sent;
            // Each of its own, as objects are found by what is in them.
            let text = format!("pinion: left out, {id:?} {size} {}\n", entry.start);
            self.send(&small(text.as_bytes())?, out);
            self.objects.push(Known { start: entry.start, sent, chain: None, kind: BLOB });
        }
        self.left -= 1;
        self.at = if self.left == 0 { Part::Sum(Vec::new()) } else { Part::Kind };
        Ok(())
    }

    /// The pack is there to its end.
    fn ended(&mut self, sum: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        let Some((came, sent)) = self.sums.take() else { return Ok(()) };
        const DAMAGED: Refusal = Refusal::Damaged("the pack isn't what its checksum says");
        let came = came.0.try_finalize().map_err(|_| DAMAGED)?;
        if came.as_slice() != sum {
            return Err(DAMAGED);
        }
        out.extend(sent.0.try_finalize().map_err(|_| DAMAGED)?.as_slice());
        Ok(())
    }
}

/// A small file, as an entry of a pack.
fn small(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    const NO_ROOM: Refusal = Refusal::Damaged("a file can't be compressed");
    let mut deflater = ZlibEncoder::new(entry_head(BLOB, bytes.len() as u64), Compression::fast());
    deflater.write_all(bytes).map_err(|_| NO_ROOM)?;
    deflater.finish().map_err(|_| NO_ROOM)
}

/// An object's kind and size, as an entry begins.
fn entry_head(kind: u8, size: u64) -> Vec<u8> {
    let mut rest = size >> 4;
    let mut bytes = vec![kind << 4 | (size & 15) as u8];
    while rest > 0 {
        if let Some(last) = bytes.last_mut() {
            *last |= 0x80;
        }
        bytes.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    bytes
}

/// How far back a delta's base is, as it is written.
fn distance_as_written(mut distance: u64) -> Vec<u8> {
    let mut bytes = vec![(distance & 0x7f) as u8];
    while distance > 0x7f {
        distance = (distance >> 7) - 1;
        bytes.push(0x80 | (distance & 0x7f) as u8);
    }
    bytes.reverse();
    bytes
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
