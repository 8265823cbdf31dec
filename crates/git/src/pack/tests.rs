use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

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
    pack.extend([0; 20]);
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
    wire.chunks(step).try_for_each(|bytes| looked.feed(bytes))
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
    assert_eq!(judged(&pack(&[entry(1, 3, &[], b"abc"), blob, builds_on_it, by_id, entry(2, 0, &[], b"")])), Ok(()));
    assert_eq!(judged(&pack(&[])), Ok(()));
    assert_eq!(verdict(b"001e# service=git-upload-pack\n0000000cversion2", 1), Ok(()));
}

#[test]
fn a_large_object_is_refused_by_what_it_says_of_itself() {
    let claims = entry(3, 300 << 20, &[], b"");
    assert_eq!(too_large(&pack(&[claims])), "a file in its history has 300 MiB; the most is 16 MiB");
    // It says that it is small, and isn't.
    let lies = entry(3, 10, &[], &[0; 100]);
    assert_eq!(judged(&pack(&[lies])), Err(Refusal::Damaged("an object can't be inflated")));
    let grows = entry(ID_DELTA, delta(17 << 20).len() as u64, &[7; 20], &delta(17 << 20));
    assert_eq!(too_large(&pack(&[grows])), "a file in its history has 17 MiB; the most is 16 MiB");
}

#[test]
fn nothing_is_kept_of_bytes_that_inflate_to_nothing() {
    // Stored blocks of no bytes: 16 MiB of them, and the object never ends.
    let mut pack = header(1);
    pack.extend([3 << 4 | 1, 0x78, 0x9c]);
    pack.extend([0, 0, 0, 0xff, 0xff].repeat(4 << 20));
    assert!(matches!(verdict(&pack, 1 << 16), Err(Refusal::TooLarge { .. })));
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
        assert_eq!(said, Err(Refusal::chain()), "by id: {by_id}");
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
            let said = Pack::default().feed(&pack(&[entry(kind, size, &[], &bytes)]));
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
        (0..=MAX_TALK / 0xfff0).try_for_each(|_| wire.feed(&line))
    };
    assert_eq!(lines(b'A'), Err(Refusal::talk()), "acknowledgments");
    assert_eq!(lines(b's'), Err(Refusal::talk()), "where the history ends");
    assert_eq!(lines(2), Ok(()), "progress, which nobody keeps");
}
