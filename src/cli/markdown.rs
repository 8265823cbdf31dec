//! Text of untrusted people in Markdown.

use crate::model::escape::one_line;

/// Longer text is cut, in characters.
const MAX_LENGTH: usize = 1_000;

/// Text as a code span: nothing in it is a link, a mention, HTML or the end of it. What has no width, turns the writing
/// direction or ends a line is escaped.
#[must_use]
pub fn code(text: &str) -> String {
    let line = one_line(text);
    let mut text: String = line.chars().take(MAX_LENGTH).collect();
    if text.len() < line.len() {
        text.push('…');
    }
    if text.trim().is_empty() {
        return "–".to_owned();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    // One blank at each end is taken off again if there is one at both.
    let pad = if text.starts_with(['`', ' ']) || text.ends_with(['`', ' ']) { " " } else { "" };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// The same for a cell of a table, which a `|` would end, escaped or not: parsers disagree on backslashes before it.
#[must_use]
pub fn cell(text: &str) -> String {
    code(&text.replace('|', "\\u{7c}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_hold_whatever_they_are_given() {
        assert_eq!(code("1.4.2"), "`1.4.2`");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("``"), "``` `` ```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(" a "), "`  a  `");
        assert_eq!(code("a\n\n# b\r@team"), "`a\\n\\n# b\\r@team`");
        assert_eq!(code("x\u{202e}y\u{200b}"), "`x\\u{202e}y\\u{200b}`");
        assert_eq!(code(""), "–");
        assert_eq!(code("  "), "–");
        assert_eq!(cell("a|b\\|c"), "`a\\u{7c}b\\\\u{7c}c`");
        assert_eq!(code(&"ü".repeat(2000)).chars().count(), MAX_LENGTH + 3);
    }
}
