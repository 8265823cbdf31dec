//! The trailers of a commit's message, also where a forge has put more below them.
//!
//! Git takes only the last paragraph for trailers. A squash merge moves them up: GitHub and Gitea put a line of dashes and
//! `Co-authored-by:` below the pull request's text, Gitea `Reviewed-on:`, GitLab `See merge request`; and where the messages
//! of several commits are joined, each begins with `* subject`. So here every paragraph counts that Git would take for
//! trailers if it were the last one: what a commit says before it is merged, it says afterwards. What is quoted, indented,
//! fenced or commented out is none.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use gix::bstr::ByteSlice;
use gix::objs::commit::message::BodyRef;

use super::provenance::printable;

/// The trailers that are read of one message at most.
const MAX_TRAILERS: usize = 256;

/// The trailers of a message by key, the first letter a capital and the others not. What stands there more than once has a
/// line for each.
#[must_use]
pub fn trailers(message: &[u8]) -> BTreeMap<String, String> {
    let message = gix::objs::commit::MessageRef::from_bytes(message);
    // A body in gix's sense ends where its trailers begin; the text is all of it.
    let Some(text) = message.body else { return BTreeMap::new() };
    let mut found = paragraphs(text);
    let last = found.pop();
    let mut trailers: BTreeMap<String, String> = BTreeMap::new();
    let blocks = last.into_iter().chain(found).flat_map(|lines| block(&lines));
    for (key, value) in blocks.take(MAX_TRAILERS) {
        let mut letters = key.chars();
        let Some(first) = letters.next() else { continue };
        let key = format!("{}{}", first.to_ascii_uppercase(), letters.as_str());
        match trailers.entry(key) {
            Entry::Vacant(entry) => drop(entry.insert(value)),
            Entry::Occupied(mut entry) => *entry.get_mut() += &format!("\n{value}"),
        }
    }
    trailers
}

type Paragraph<'a> = Vec<&'a [u8]>;

/// The paragraphs of a text. Fenced code and comments of Markdown are in none.
fn paragraphs(text: &[u8]) -> Vec<Paragraph<'_>> {
    let mut found: Vec<Paragraph<'_>> = Vec::new();
    let mut lines = Vec::new();
    let mut fence: Option<&[u8]> = None;
    let mut commented = false;
    for line in text.lines() {
        let line = line.trim_end();
        let bare = line.trim_start();
        let hidden = match fence {
            Some(mark) => {
                if bare.starts_with(mark) && bare.iter().all(|byte| mark.first() == Some(byte)) {
                    fence = None;
                }
                true
            }
            None if commented => {
                commented = bare.find(b"-->").is_none();
                true
            }
            None if bare.starts_with(b"<!--") => {
                commented = bare.find(b"-->").is_none();
                true
            }
            None => {
                fence = [&b"```"[..], b"~~~"].into_iter().find(|mark| opens(bare, mark));
                fence.is_some()
            }
        };
        let rule = bare.len() >= 3 && bare.iter().all(|byte| *byte == b'-');
        if hidden || line.is_empty() || rule {
            found.push(std::mem::take(&mut lines));
        } else {
            lines.push(line);
        }
    }
    found.push(lines);
    found.retain(|lines| !lines.is_empty());
    found
}

/// Whether a line opens a block of fenced code. Backticks that stand behind those of the fence make it code within a line
/// (CommonMark, fenced code blocks: the info string of a fence of backticks has none).
fn opens(line: &[u8], mark: &[u8]) -> bool {
    let Some(info) = line.strip_prefix(mark) else { return false };
    !mark.starts_with(b"`") || info.trim_start_with(|letter| letter == '`').find_byte(b'`').is_none()
}

/// The trailers of a paragraph, by Git's rule: each line is one, or one is of Git's own making (`Signed-off-by:`) and a quarter
/// of the lines are some.
fn block(lines: &[&[u8]]) -> Vec<(String, String)> {
    let text = lines.join(&b'\n');
    let trailers = BodyRef::from_bytes(&text)
        .trailers()
        .map(|trailer| (printable(trailer.token).to_ascii_lowercase(), printable(trailer.value.as_ref())));
    trailers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &str) -> Vec<String> {
        trailers(message.as_bytes()).into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    const ACKNOWLEDGED: &str = "Pinion-acknowledge=blast-radius";
    const CO: &str = "Co-authored-by=Bob <bob@example.com>";

    #[test]
    fn a_squash_merge_of_any_forge_keeps_trailers() {
        let co = "Co-authored-by: Bob <bob@example.com>\n";
        let text = "Nobody needs it any longer.\n\nPinion-Acknowledge: blast-radius\n";
        for (message, more) in [
            // GitHub, the description of the pull request; with the line ends of a browser; and without dashes.
            (format!("Remove old (#12)\n\n{text}\n---------\n\n{co}"), Some(CO)),
            (format!("Remove old (#12)\n\n{text}\n---------\n\n{co}").replace('\n', "\r\n"), Some(CO)),
            (format!("Remove old (#12)\n\n{text}\n{co}"), Some(CO)),
            // GitHub and GitLab's all_commits, the messages of several commits.
            (format!("Remove old (#12)\n\n* Remove old\n\n{text}\n* Fix a typo\n\nThe word was wrong.\n"), None),
            (format!("Remove old (#12)\n\n* Fix a typo\n\n* Remove old\n\n{text}\n---------\n\n{co}"), Some(CO)),
            (
                format!("Remove old (#12)\n\n* Remove old\n\nPinion-Acknowledge: blast-radius\n* Fix a typo\n\n{text}"),
                None,
            ),
            // GitLab, squash and merge.
            (format!("Remove old\n\n{text}\nSee merge request acme/environments!12"), None),
            (
                format!(
                    "Merge branch 'x' into 'main'\n\nRemove old\n\n{text}\nSee merge request acme/environments!12\n"
                ),
                None,
            ),
            // Gitea.
            (
                format!(
                    "Remove old (#12)\n\n{text}\n---------\n\n{co}Reviewed-on: https://git.example/acme/e/pulls/12\n"
                ),
                Some(CO),
            ),
            (format!("Remove old (#12)\n\n{text}\nReviewed-on: https://git.example/acme/e/pulls/12\n"), None),
            // And as Git has it.
            (format!("Remove old\n\n{text}"), None),
        ] {
            let found = of(&message);
            assert!(found.iter().any(|one| one == ACKNOWLEDGED), "{message}: {found:?}");
            assert!(more.is_none_or(|more| found.iter().any(|one| one == more)), "{message}: {found:?}");
        }
        let rollback =
            "web 1.0 (#3)\n\n* web 1.0\n\nRollback: from 1.1\n  to 1.0\n\n* a note\n\n---------\n\n".to_owned() + co;
        assert_eq!(of(&rollback), [CO, "Rollback=from 1.1 to 1.0"]);
    }

    #[test]
    fn code_within_a_line_opens_no_fence() {
        for line in ["```pinion run``` keeps it.", "````a`b```` keeps it."] {
            let message = format!("Remove old\n\n{line}\n\nPinion-Acknowledge: blast-radius\n");
            assert_eq!(of(&message), [ACKNOWLEDGED], "{line}");
        }
    }

    #[test]
    fn what_is_only_talked_about_is_no_trailer() {
        for text in [
            "To go on, write\n\n    Pinion-Acknowledge: blast-radius\n\nand push.",
            "To go on, write\n\n```\nPinion-Acknowledge: blast-radius\n```\n\nand push.",
            "To go on, write\n\n~~~ text\n\nPinion-Acknowledge: blast-radius\n\n~~~\n\nand push.",
            "> Pinion-Acknowledge: blast-radius\n\nis what Bob said.",
            "<!-- template:\n\nPinion-Acknowledge: blast-radius\n\n-->\n\nText.",
            "<!-- Pinion-Acknowledge: blast-radius -->\n\nText.",
            "We could write this\nPinion-Acknowledge: blast-radius\nbut don't.\n\nText.",
            "- Pinion-Acknowledge: blast-radius\n\nText.",
            "* Pinion-Acknowledge: blast-radius\n\nText.",
        ] {
            assert_eq!(of(&format!("Remove old\n\n{text}\n")), [""; 0], "{text}");
        }
        assert_eq!(of("Pinion-Acknowledge: blast-radius\n"), [""; 0], "a subject is none");
        assert_eq!(of("Pinion-Acknowledge: blast-radius\n\nText.\n"), [""; 0]);
    }

    /// What `plan` reads of a pull request's commit, `run` reads after the merge.
    #[test]
    fn a_commit_says_the_same_before_and_after_a_squash_merge() {
        for message in [
            "web 1.0\n\nRollback: from 1.1\n",
            "web 1.0\n\nIt is slow.\n\nRollback: from 1.1\n  on a Friday\nTicket : OPS-1\n",
            // Git takes a paragraph also if not every line is a trailer, where it has made one of them itself.
            "web 1.0\n\nIt is slow.\nSigned-off-by: Ada <ada@example.com>\nRollback: from 1.1\n",
            "web 1.0\n\nRollback: from 1.1\n(cherry picked from commit 0123456789012345678901234567890123456789)\n",
            "web 1.0\n\nRollback: from 1.1\nSigned-off-by: Ada <ada@example.com>\nas said.\n",
        ] {
            let before = of(message);
            assert!(before.iter().any(|trailer| trailer.starts_with("Rollback=from 1.1")), "{message}: {before:?}");
            let (subject, text) = message.split_once("\n\n").unwrap();
            for after in [
                format!("{subject} (#3)\n\n{text}\n---------\n\nCo-authored-by: Bob <bob@example.com>\n"),
                format!("Slow (#3)\n\n* {subject}\n\n{text}\n* Fix a typo\n\nThe word was wrong.\n"),
                format!("{subject}\n\n{text}\nSee merge request acme/environments!3\n"),
                format!("{subject} (#3)\n\n{text}\n---------\n\nReviewed-on: https://git.example/acme/e/pulls/3\n"),
                format!("{subject} (#3)\n\n{text}").replace('\n', "\r\n"),
            ] {
                let found = of(&after);
                assert!(before.iter().all(|trailer| found.contains(trailer)), "{after}: {found:?} lacks of {before:?}");
            }
        }
        let text = "web 1.0\n\nIt is slow.\nRollback: from 1.1\n";
        assert_eq!(of(text), [""; 0], "nor does Git take it for one");
    }

    #[test]
    fn many_lines_end_somewhere() {
        let many: String = (0..10_000).map(|n| format!("A{n}: b\n")).collect();
        assert_eq!(of(&format!("s\n\n{many}")).len(), MAX_TRAILERS);
        // The last paragraph comes first.
        assert!(of(&format!("s\n\n{many}\n\nRollback: x\n")).contains(&"Rollback=x".to_owned()));
    }
}
