//! Holds what can be held by reading of the voice that Pinion speaks to people with: errors, hints, findings and log lines
//! begin small, end without a full stop, are one sentence, and show neither Rust's types nor `thing(s)`.

use super::{is_word, raw_string, sources, string, without_tests};

/// What comes before a text that is a message, or the beginning of one. Blanks are left out.
const OPENERS: &[&str] = &[
    "#[error(",
    "CliError::failed(",
    "CliError::usage(",
    ".hint(",
    ".hint(||",
    ".context(",
    ".context(||",
    "letmessage=",
    "letreason=",
    "lethelp=",
    "lethint=",
    "letwhy=",
];

/// Calls in which every text is a message, or the name of something.
const CALLS: &[&str] =
    &["tracing::info!(", "tracing::warn!(", "tracing::error!(", ".report(", ".report_with_help(", ".at("];

/// Names that begin large wherever they stand.
const NAMES: &[&str] = &["AWS", "Cedar", "CloudWatch", "ECS", "Git", "HTTP", "Pinion"];

#[test]
fn messages_speak_with_one_voice() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for (path, text) in sources() {
        // What the simulator says is AWS's, word for word; and a page is prose.
        if path.starts_with("crates/sim") || path.starts_with("src/server/page") {
            continue;
        }
        for (line, message) in messages(without_tests(&text)) {
            count += 1;
            wrong.extend(mistakes(&message).map(|why| format!("{}:{line}: {why}: {message}", path.display())));
        }
    }
    assert!(count > 250, "only {count} messages are found: has the way to write them changed?");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn a_message_in_another_voice_is_seen() {
    let count = |source: &str| messages(source).iter().flat_map(|(_, message)| mistakes(message)).count();
    assert_eq!(count("#[error(\"Can't read {path}\")]"), 1);
    assert_eq!(count("    #[error(\n        \"can't read {path}.\"\n    )]"), 1);
    assert_eq!(count("Err(CliError::failed(format!(\"{count} finding(s)\", count = 1)))"), 1);
    assert_eq!(count("result.context(|| format!(\"what is {:?} here\", what))?"), 1);
    assert_eq!(count(".hint(\"fix that. Then come back!\")"), 2);
    assert_eq!(count("tracing::warn!(target = %name, error = \"a\", \"It is gone\");"), 1);
    assert_eq!(count("findings.report_with_help(&place, \"check\", \"this is wrong\", \"please fix it\");"), 1);
    assert_eq!(count("let message = \\n\"two  blanks\";".replace("\\n", "\n").as_str()), 1);

    assert_eq!(count("#[error(\"can't read {}: {what}\", path.display())]"), 0);
    assert_eq!(count("#[error(\"Pinion's own credentials are gone; see {path:>3}\")]"), 0);
    assert_eq!(count("// #[error(\"A comment.\")]\nlet other = \"A text that is none.\";"), 0);
    assert_eq!(count("tracing::warn!(\"it is gone\");\nlet other = \"A text that is none.\";"), 0);
}

/// What is wrong with a message.
fn mistakes(message: &str) -> impl Iterator<Item = &'static str> {
    let capital = message.starts_with(|first: char| first.is_uppercase())
        && !NAMES.iter().any(|name| message.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word)));
    let sentences = message.match_indices(". ").any(|(at, _)| {
        message[..at].ends_with(|last: char| last.is_lowercase() || "`)}".contains(last))
            && message[at + 2..].starts_with(char::is_uppercase)
    });
    let lower = message.to_lowercase();
    [
        (capital, "begins large"),
        (message.ends_with(['.', '!']), "ends with a full stop"),
        (sentences, "is more than one sentence: join them with a semicolon"),
        (message.contains(":?}") || message.contains(":#?}"), "shows a type as Rust does"),
        (message.contains("(s)"), "has no singular or plural: see `model::words::count`"),
        (message.contains("  "), "has two blanks"),
        (["please", "sorry", "oops"].iter().any(|word| lower.contains(word)), "begs"),
    ]
    .into_iter()
    .filter_map(|(is, why)| is.then_some(why))
}

/// The messages in a source, each with its line: the texts of several words that come where messages come.
fn messages(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    // What came before without comments, blanks and texts.
    let mut before = String::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(length) = raw_string(rest).filter(|_| !before.ends_with(is_word)) {
            length
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else if first == '"' {
            let length = string(rest);
            let text = joined(&rest[1..length - 1]);
            if text.contains(' ') && is_message(&before) {
                found.push((source[..at].matches('\n').count() + 1, text));
            }
            before.push('"');
            length
        } else {
            if !first.is_whitespace() {
                before.push(first);
            }
            first.len_utf8()
        };
        at += skipped;
    }
    found
}

fn is_message(before: &str) -> bool {
    let before = before.strip_suffix("format!(").unwrap_or(before);
    let statement = before.rsplit([';', '{', '}']).next().unwrap();
    OPENERS.iter().any(|opener| before.ends_with(opener))
        || CALLS.iter().any(|call| statement.rsplit_once(call).is_some_and(|(_, given)| !given.contains(')')))
}

/// A text without its line breaks.
fn joined(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let mut joined = lines.next().unwrap().to_owned();
    lines.for_each(|line| joined.push_str(line.trim_start()));
    joined
}
