use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::objects::{COMMIT, ID_DELTA, OFFSET_DELTA, TAG};
use super::*;

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A number as in a delta's head.
fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// An entry of a pack: its kind, the size that it claims, what follows that, and its bytes before they are compressed.
fn entry(kind: u8, size: u64, base: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut entry = vec![kind << 4 | (size & 15) as u8];
    let rest = size >> 4;
    if rest > 0 {
        entry[0] |= 0x80;
        entry.extend(number(rest));
    }
    entry.extend(base);
    entry.extend(deflated(bytes));
    entry
}

fn header(count: u32) -> Vec<u8> {
    [b"PACK".as_slice(), &[0, 0, 0, 2], &count.to_be_bytes()].concat()
}

fn pack(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut pack = header(entries.len() as u32);
    pack.extend(entries.concat());
    let mut digest = gix::hash::hasher(gix::hash::Kind::Sha1);
    digest.update(&pack);
    pack.extend(digest.try_finalize().unwrap().as_slice());
    pack
}

/// A delta whose base has so many bytes, and whose outcome as well.
fn delta(size: u64) -> Vec<u8> {
    [number(size), number(size), vec![0x90, 1]].concat()
}

/// How far back a base is.
fn distance(mut distance: usize) -> Vec<u8> {
    let mut bytes = vec![(distance & 0x7f) as u8];
    while distance > 0x7f {
        distance = (distance >> 7) - 1;
        bytes.insert(0, 0x80 | (distance & 0x7f) as u8);
    }
    bytes
}

/// As a server sends it, in lines of at most so many bytes.
fn lines(pack: &[u8], width: usize) -> Vec<u8> {
    let mut wire = b"000dpackfile\n".to_vec();
    for chunk in pack.chunks(width) {
        wire.extend(format!("{:04x}", chunk.len() + 5).bytes());
        wire.push(1);
        wire.extend(chunk);
        wire.extend(b"000a\x02busy\n");
    }
    wire.extend(b"0000");
    wire
}

fn verdict(wire: &[u8], step: usize) -> Result<(), Refusal> {
    let mut looked = Wire::default();
    wire.chunks(step).try_for_each(|bytes| looked.feed(bytes, &mut Vec::new()))
}

/// What is said of a pack, however it is cut up.
fn judged(pack: &[u8]) -> Result<(), Refusal> {
    let expected = verdict(&lines(pack, 60_000), usize::MAX);
    for step in [1, 7, 4096] {
        assert_eq!(verdict(&lines(pack, 60_000), step), expected);
    }
    assert_eq!(verdict(&lines(pack, 3), 5), expected);
    assert_eq!(verdict(pack, 11), expected, "without packet lines");
    expected
}

fn too_large(pack: &[u8]) -> String {
    match judged(pack) {
        Err(Refusal::TooLarge { what, .. }) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_usual_passes() {
    let text = vec![b'x'; 5000];
    let blob = entry(3, 5000, &[], &text);
    let builds_on_it = entry(OFFSET_DELTA, delta(5000).len() as u64, &distance(blob.len()), &delta(5000));
    let by_id = entry(ID_DELTA, delta(5000).len() as u64, &[7; 20], &delta(5000));
    let usual = pack(&[entry(1, 3, &[], b"abc"), blob, builds_on_it, by_id, entry(2, 0, &[], b"")]);
    assert_eq!(judged(&usual), Ok(()));
    assert_eq!(judged(&pack(&[])), Ok(()));
    for step in [1, 5, usize::MAX] {
        assert_eq!(sent_on(&usual, step), (usual.clone(), Vec::new()), "as it came");
    }
    let mut damaged = usual;
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(judged(&damaged), Err(Refusal::Damaged("the pack isn't what its checksum says")));
    assert_eq!(verdict(b"001e# service=git-upload-pack\n0000000cversion2", 1), Ok(()));
}

/// What is sent on of a pack without packet lines, and what was left out of it.
fn sent_on(pack: &[u8], step: usize) -> (Vec<u8>, Vec<LeftOut>) {
    let (mut wire, mut out) = (Wire::default(), Vec::new());
    pack.chunks(step).try_for_each(|bytes| wire.feed(bytes, &mut out)).unwrap();
    (out, wire.left_out())
}

#[test]
fn large_files_are_left_out_and_what_is_behind_them_is_found() {
    let large = vec![0; 17 << 20];
    let id = gix::objs::compute_hash(gix::hash::Kind::Sha1, gix::objs::Kind::Blob, &large).unwrap();
    let small = delta(5000);
    let length = small.len() as u64;
    let first = entry(3, 5000, &[], &[b'x'; 5000]);
    let file = entry(3, large.len() as u64, &[], &large);
    let on_the_first = entry(OFFSET_DELTA, length, &distance(first.len() + file.len()), &small);
    let on_the_file = entry(OFFSET_DELTA, length, &distance(file.len() + on_the_first.len()), &small);
    let on_that = entry(OFFSET_DELTA, length, &distance(on_the_file.len()), &small);
    let by_id = entry(ID_DELTA, length, id.as_slice(), &small);
    // From something small to something large, and a difference that is itself large.
    let grows = delta(17 << 20);
    let grown = entry(ID_DELTA, grows.len() as u64, &[7; 20], &grows);
    let differs = entry(ID_DELTA, 17 << 20, &[7; 20], &[delta(10), vec![0; (17 << 20) - delta(10).len()]].concat());
    let last = entry(3, 3, &[], b"abc");
    let all = [first.clone(), file, on_the_first, on_the_file, on_that, by_id, grown, differs, last.clone()];
    let (sent, left_out) = sent_on(&pack(&all), 4096);
    assert_eq!(
        left_out,
        [(Some(id), 17 << 20), (None, 5000), (None, 5000), (None, 5000), (None, 17 << 20), (None, 10)]
            .map(|(id, size)| LeftOut { id, size })
    );
    // What is sent on is a whole pack; its checksum and all distances are looked at here once more.
    assert_eq!(sent_on(&sent, 7), (sent.clone(), Vec::new()));
    assert!(sent.len() < 1500, "{} bytes are sent on", sent.len());
    assert!(sent.starts_with(&[header(all.len() as u32), first].concat()));
    assert!(sent[..sent.len() - 20].ends_with(&last));
    // In packet lines, too.
    let (mut wire, mut out) = (Wire::default(), Vec::new());
    lines(&pack(&all), 60_000).chunks(1000).try_for_each(|bytes| wire.feed(bytes, &mut out)).unwrap();
    let (mut again, mut same) = (Wire::default(), Vec::new());
    again.feed(&out, &mut same).unwrap();
    assert_eq!((same.len(), again.left_out()), (out.len(), Vec::new()));
    assert!(out.len() < 60_000, "{} bytes are sent on", out.len());
    // What was left out of an earlier pack isn't there to build on either.
    let later = pack(&[entry(ID_DELTA, length, id.as_slice(), &small)]);
    assert_eq!(sent_on(&later, 1).1, []);
    let mut wire = Wire::default();
    wire.lacks(Missing::new(move |other| other == id));
    wire.feed(&later, &mut Vec::new()).unwrap();
    assert_eq!(wire.left_out(), [LeftOut { id: None, size: 5000 }]);
}

#[test]
fn only_files_are_left_out_and_not_without_an_end() {
    let folder = entry(2, 300 << 20, &[], b"");
    assert_eq!(too_large(&pack(&[folder])), "a file or folder in its history has 300 MiB; the most is 16 MiB");
    let small = entry(2, 4, &[], b"tree");
    let grows = delta(17 << 20);
    let grown = entry(OFFSET_DELTA, grows.len() as u64, &distance(small.len()), &grows);
    assert_eq!(too_large(&pack(&[small, grown])), "a file or folder in its history has 17 MiB; the most is 16 MiB");
    let many = vec![entry(ID_DELTA, grows.len() as u64, &[7; 20], &grows); MAX_FILES_LEFT_OUT + 1];
    assert_eq!(too_large(&pack(&many)), "its files of more than 16 MiB are more than 4096");
    // It says that it is large, and isn't; or that it is small, and isn't.
    let claims = entry(3, 300 << 20, &[], b"");
    assert_eq!(judged(&pack(&[claims])), Err(Refusal::Damaged("an object can't be inflated")));
    let lies = entry(3, 10, &[], &[0; 100]);
    assert_eq!(judged(&pack(&[lies])), Err(Refusal::Damaged("an object can't be inflated")));
}

#[test]
fn nothing_is_kept_of_bytes_that_inflate_to_nothing() {
    // Stored blocks of no bytes: 16 MiB of them, and the object never ends.
    let mut pack = header(1);
    pack.extend([3 << 4 | 1, 0x78, 0x9c]);
    pack.extend([0, 0, 0, 0xff, 0xff].repeat(4 << 20));
    let never = Refusal::Damaged("an object's compressed bytes never end");
    assert_eq!(verdict(&pack, 1 << 16), Err(never));
    // The same of one of which it isn't known yet how large it is.
    pack[12] = ID_DELTA << 4 | 1;
    pack.splice(13..13, [7; 20]);
    assert_eq!(verdict(&pack, 1 << 16), Err(Refusal::Damaged("an object can't be inflated")));
}

#[test]
fn too_many_objects_are_refused_before_the_first() {
    assert_eq!(too_large(&header(3_000_000)), "there are 3000000 objects to be fetched; the most is 250000");
}

#[test]
fn deltas_that_build_on_each_other_are_counted_together() {
    for by_id in [false, true] {
        let mut entries = vec![entry(3, 15 << 20, &[], &vec![0; 15 << 20])];
        for _ in 0..3 {
            let size = delta(15 << 20).len() as u64;
            let back = distance(entries.last().unwrap().len());
            let (kind, base) = if by_id { (ID_DELTA, vec![7; 20]) } else { (OFFSET_DELTA, back) };
            entries.push(entry(kind, size, &base, &delta(15 << 20)));
        }
        if by_id {
            assert_eq!(verdict(&pack(&entries), 1 << 16), Ok(()));
            entries.push(entries.last().unwrap().clone());
        }
        let said = verdict(&pack(&entries), 1 << 16);
        if by_id {
            assert_eq!(said, Err(Refusal::chain()));
        } else {
            // Versions of a file: the last one is left out.
            assert_eq!(said, Ok(()));
            let size = 15 << 20;
            assert_eq!(sent_on(&pack(&entries), 1 << 16).1, [LeftOut { id: None, size }]);
        }
    }
}

#[test]
fn what_is_no_pack_is_refused() {
    for (pack, why) in [
        (b"PACX\0\0\0\x02\0\0\0\x01".to_vec(), "what came in its place isn't a pack"),
        ([header(1), vec![5 << 4 | 1]].concat(), "an object is of no known kind"),
        ([header(1), vec![OFFSET_DELTA << 4 | 1, 1]].concat(), "a delta's base is nowhere"),
        ([header(1), vec![0xff; 20]].concat(), "an object's size makes no sense"),
    ] {
        assert_eq!(verdict(&lines(&pack, 100), 3), Err(Refusal::Damaged(why)));
    }
}

#[test]
fn a_commit_or_tag_is_far_smaller_than_a_file() {
    for (kind, taken) in [(COMMIT, false), (TAG, false), (2, true), (3, true)] {
        for size in [MAX_COMMIT, MAX_COMMIT + 1] {
            let bytes = vec![b'x'; usize::try_from(size).unwrap()];
            let said = verdict(&pack(&[entry(kind, size, &[], &bytes)]), usize::MAX);
            let expected = taken || size == MAX_COMMIT;
            assert_eq!(said, if expected { Ok(()) } else { Err(Refusal::commit(size)) }, "{kind} {size}");
        }
    }
}

#[test]
fn what_is_said_beside_a_pack_ends_somewhere() {
    let lines = |band: u8| {
        let mut line = b"fff0".to_vec();
        line.push(band);
        line.resize(0xfff0, b'x');
        let mut wire = Wire::default();
        (0..=MAX_TALK / 0xfff0).try_for_each(|_| wire.feed(&line, &mut Vec::new()))
    };
    assert_eq!(lines(b'A'), Err(Refusal::talk()), "acknowledgments");
    assert_eq!(lines(b's'), Err(Refusal::talk()), "where the history ends");
    assert_eq!(lines(2), Ok(()), "progress, which nobody keeps");
}
