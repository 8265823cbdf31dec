//! How deeply a policy is nested. Cedar reads, checks and drops what is nested by recursion, and the stack of a thread is
//! finite: what goes deeper than anybody writes is refused before Cedar sees it.

use std::ops::Range;

/// Brackets within brackets. Each costs Cedar's parser some twenty calls.
const BRACKETS: usize = 24;

/// Operators, keywords and accesses of one policy, each of which may stand on the one before it.
const STEPS: usize = 400;

/// The words that make an expression deeper.
const WORDS: &[&str] = &["if", "then", "else", "in", "is", "has", "like", "when", "unless"];

/// The first place at which a text is nested too deeply, and what is wrong there.
pub(super) fn too_deep(text: &str) -> Option<(Range<usize>, String)> {
    let (mut depth, mut steps) = (0_usize, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let at = text.len() - rest.len();
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '"' => string(rest),
            _ if is_word(first) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                steps += usize::from(rest.get(..length).is_some_and(|word| WORDS.contains(&word)));
                length
            }
            '(' | '[' | '{' => {
                depth += 1;
                1
            }
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                1
            }
            // Between policies; a policy holds none.
            ';' => {
                (depth, steps) = (0, 0);
                1
            }
            '&' | '|' | '=' | '!' | '<' | '>' | '+' | '-' | '*' | '.' => {
                // Two of `&&` count twice; that is as well.
                steps += 1;
                1
            }
            other => other.len_utf8(),
        };
        let place = || at..at + length;
        if depth > BRACKETS {
            return Some((place(), format!("this is nested more than {BRACKETS} brackets deep")));
        }
        if steps > STEPS {
            return Some((place(), format!("this policy has more than {STEPS} operators")));
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    None
}

/// The length of the string at the start.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_too_deep() {
        let nested = |open: &str, close: &str, times: usize| format!("{}1{}", open.repeat(times), close.repeat(times));
        assert_eq!(too_deep(&nested("(", ")", BRACKETS)), None);
        assert_eq!(too_deep(&nested("[{a:(", ")}]", 9)).unwrap().0, 40..41);
        assert!(too_deep(&nested("!", "", 401)).is_some());
        assert!(too_deep(&nested("if a then b else ", "", 200)).is_some());
        assert_eq!(too_deep(&format!("{};", nested("a.b && ", "", 100)).repeat(50)), None, "each policy by itself");
        assert_eq!(too_deep(&format!("// {}\n\"\\\"{}\"", "(".repeat(99), "!".repeat(999))), None);
        assert_eq!(too_deep(&format!("[{}]", "\"a\", ".repeat(5000))), None, "a long list isn't deep");
        assert_eq!(too_deep("\"never closed (((((((((((((((((((((((((("), None);
    }
}
