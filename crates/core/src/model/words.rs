//! Words that messages of several rooms are made of.

use std::fmt::Display;
use std::time::Duration;

/// How many there are of a thing: `1 finding`, `3 findings`, `2 batches`.
pub fn count<N: Display + PartialEq + From<u8>>(number: N, thing: &str) -> String {
    let ending = match thing.as_bytes() {
        _ if number == N::from(1) => "",
        [.., b'c' | b's', b'h'] => "es",
        _ => "s",
    };
    format!("{number} {thing}{ending}")
}

/// Whether a text is like a pattern in which `*` stands for any text.
#[must_use]
pub fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A duration in its largest whole unit, as it is written in a file: `90s`, `5m`, `2h`.
#[must_use]
pub fn span(duration: Duration) -> String {
    match duration.as_secs() {
        0 => "0s".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

/// The beginning of a text that may be of any length, with `…` for the rest.
#[must_use]
pub fn shortened(mut text: String, longest: usize) -> String {
    if let Some((at, _)) = text.char_indices().nth(longest) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_counted_in_singular_and_plural() {
        let things = [count(0_usize, "finding"), count(1_u32, "finding"), count(2_u64, "finding")];
        assert_eq!(things, ["0 findings", "1 finding", "2 findings"]);
        assert_eq!([count(1_u32, "batch"), count(2_u32, "batch")], ["1 batch", "2 batches"]);
    }

    #[test]
    fn durations_are_as_in_files() {
        let shown = [0, 90, 300, 7200, u64::MAX].map(|seconds| span(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0s", "90s", "5m", "2h", "18446744073709551615s"]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü".to_owned(), 3), "äöü");
        assert_eq!(shortened("äöü".to_owned(), 2), "äö…");
    }
}
