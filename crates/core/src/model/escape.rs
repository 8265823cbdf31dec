//! Making text of untrusted people harmless.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text without everything that [`one_line`] escapes: for texts that are kept or compared. Where one is only shown,
/// escape it, so that people see what stands there.
#[must_use]
pub fn stripped(text: &str) -> String {
    text.chars().filter(|character| !is_harmful(*character)).collect()
}

/// The text with everything escaped that could end a line, move the cursor, change colours or turn the writing
/// direction, and what has no width and so could hide: control characters, line and paragraph separators, and Unicode's
/// formatting characters.
#[must_use]
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            harmful if is_harmful(harmful) => {
                // Writing into a string can't fail.
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(harmful));
            }
            plain => safe.push(plain),
        }
    }
    Cow::Owned(safe)
}

/// JSON that means the same, and has as JSON's own escapes what [`one_line`] escapes. Line breaks between values stay.
#[must_use]
pub fn plain_json(json: &str) -> Cow<'_, str> {
    let escaped = |character: char| character != '\n' && is_harmful(character);
    if !json.contains(escaped) {
        return Cow::Borrowed(json);
    }
    let mut safe = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if escaped(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing into a string can't fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Lines of a text, with a question mark for each byte of what [`one_line`] escapes: places in it stay what they are. Line
/// breaks and tabs stay, too.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let stays = |character: char| matches!(character, '\n' | '\t');
    if !text.contains(|character| is_harmful(character) && !stays(character)) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        let ends_line = character == '\r' && rest.peek() == Some(&'\n');
        if is_harmful(character) && !stays(character) && !ends_line {
            safe.extend(std::iter::repeat_n('?', character.len_utf8()));
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Whether a character could end a line, move the cursor, change colours, turn the writing direction, or hide.
#[must_use]
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_stays_and_harmful_text_is_escaped() {
        assert!(matches!(one_line("Füge 1.4.2 hinzu ✓"), Cow::Borrowed(_)));
        assert_eq!(one_line("a\nb\r\tc"), "a\\nb\\r\\tc");
        assert_eq!(one_line("\u{1b}[31mred\u{9b}"), "\\u{1b}[31mred\\u{9b}");
        assert_eq!(one_line("x\u{202e}y\u{2028}z"), "x\\u{202e}y\\u{2028}z");
        assert_eq!(stripped("Füge \u{1b}[31m1.4.2\u{9b}\r\n hinzu\u{202e}\u{200b} ✓"), "Füge [31m1.4.2 hinzu ✓");
    }

    #[test]
    fn lines_keep_their_places() {
        assert!(matches!(lines("a\n\tb ✓"), Cow::Borrowed(_)));
        assert_eq!(lines("a\u{1b}[2J\r\nb\rc\u{9b}d\u{202e}e\u{e0041}f\n"), "a?[2J\r\nb?c??d???e????f\n");
    }

    #[test]
    fn json_stays_what_it_is() {
        let value = serde_json::json!({ "Füge ✓": ["a\nb\u{1b}[2J\u{7f}\u{9b}2J\u{202e}\u{200b}\u{e0041}\\\"", 1] });
        for text in [value.to_string(), format!("{value:#}\n")] {
            let plain = plain_json(&text);
            assert!(!plain.chars().any(|character| character != '\n' && is_harmful(character)), "{plain}");
            assert!(plain.contains("Füge ✓") && plain.contains("\\u009b2J\\u202e\\u200b\\udb40\\udc41"), "{plain}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
        }
        assert!(matches!(plain_json("{\n  \"a\": 1\n}\n"), Cow::Borrowed(_)));
    }
}
