//! What the fuzzers do, without libFuzzer and for a moment: their corpus, and what comes of it by small changes.
//! `make fuzz` runs the fuzzers themselves; see docs/fuzzing.md.

#[path = "../../../fuzz/entries.rs"]
mod entries;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// The inputs that the repository keeps for a fuzzer.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds something", folder.display());
    paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One small change of an input.
#[derive(Debug, Clone)]
enum Change {
    Put(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    // What has a meaning somewhere is likelier than what has none.
    let telling = prop::sample::select(b"\n\r\t \0\"'=[]{}()<>#,.;:-+*?!/\\@0129azAZ\x7f\x80\xff".to_vec());
    let byte = prop_oneof![telling, any::<u8>()];
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), prop::collection::vec(byte, 1..8)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        any::<(Index, Index)>().prop_map(|(from, to)| Change::Cut(from, to)),
        (any::<Index>(), any::<Index>(), 1_usize..20).prop_map(|(from, to, times)| Change::Repeat(from, to, times)),
    ]
}

fn apply(change: &Change, bytes: &mut Vec<u8>) {
    let span = |from: &Index, to: &Index, length: usize| {
        let (one, other) = (from.index(length + 1), to.index(length + 1));
        one.min(other)..one.max(other).min(one.min(other) + 200)
    };
    match change {
        Change::Put(at, byte) => {
            if let Some(old) = (!bytes.is_empty()).then(|| at.index(bytes.len())).and_then(|at| bytes.get_mut(at)) {
                *old = *byte;
            }
        }
        Change::Insert(at, more) => {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..at, more.iter().copied());
        }
        Change::Cut(from, to) => drop(bytes.drain(span(from, to, bytes.len()))),
        Change::Repeat(from, to, times) => {
            let span = span(from, to, bytes.len());
            let more = bytes.get(span.clone()).unwrap_or_default().repeat(*times);
            bytes.splice(span.start..span.start, more);
        }
    }
}

/// Replays a fuzzer's corpus, then `cases` of its changed inputs.
fn replay(name: &'static str, entry: fn(&[u8]), cases: u32) {
    let corpus = corpus(name);
    corpus.iter().for_each(|input| entry(input));
    entry(b"");
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let inputs = (prop::sample::select(corpus), prop::collection::vec(change(), 1..6));
    let tried = TestRunner::new(config).run(&inputs, |(mut input, changes)| {
        changes.iter().for_each(|change| apply(change, &mut input));
        entry(&input);
        Ok(())
    });
    tried.unwrap_or_else(|error| panic!("{name}: put what is smallest into fuzz/corpus/{name}/: {error}"));
}

macro_rules! replays {
    ($($name:ident: $cases:literal,)*) => {$(
        #[test]
        fn $name() {
            replay(stringify!($name), entries::$name, $cases);
        }
    )*};
}

replays! {
    manifest: 200,
    pins: 300,
    config: 300,
    policy: 150,
    commit: 400,
    signature: 400,
    keys: 200,
    names: 2000,
    status: 500,
    push: 1000,
}

/// What is nested deeply is refused, or read; the stack holds either way.
#[test]
fn nothing_is_too_deep() {
    let deep = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times)).into_bytes()
    };
    for times in [100, 1_000, 50_000] {
        let toml = [b"a = ".to_vec(), deep("[", "", "]", times)].concat();
        let tables = [b"a = ".to_vec(), deep("{a=", "1", "}", times)].concat();
        let dotted = [deep("a.", "a", "", times), b" = 1".to_vec()].concat();
        for input in [&toml, &tables, &dotted] {
            entries::manifest(input);
            entries::pins(input);
            entries::config(input);
        }
        entries::status(&deep("[", "", "]", times));
        entries::status(&deep("{\"environments\":", "1", "}", times));
        entries::push(&deep("{\"repository\":", "1", "}", times));
    }
    for times in [100, 1_000, 20_000] {
        let head = b"@id(\"a\") @reason(\"a\") forbid (principal, action, resource) when { ".to_vec();
        for (open, inner, close) in [
            ("(", "true", ")"),
            ("!", "true", ""),
            ("[", "", "]"),
            ("{a:", "1", "}"),
            ("if true then ", "true", " else false"),
            ("true && ", "true", ""),
            ("-", "1", ""),
            ("", "context", ".a"),
            ("{a: [(", "1", ")]}"),
        ] {
            entries::policy(&[head.clone(), deep(open, inner, close, times), b" };".to_vec()].concat());
        }
    }
}
