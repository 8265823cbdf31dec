//! What untrusted people wrote, as it stands in HTML.

use std::fmt;

use askama::filters::Escaper;

use crate::model::escape::is_harmful;

/// Escapes text for elements and for quoted attributes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Html;

impl Escaper for Html {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        let mut rest = string;
        while let Some(at) = rest.find(is_special) {
            let (plain, special) = rest.split_at(at);
            dest.write_str(plain)?;
            let mut characters = special.chars();
            dest.write_str(match characters.next() {
                Some('&') => "&amp;",
                Some('<') => "&lt;",
                Some('>') => "&gt;",
                Some('"') => "&quot;",
                Some('\'') => "&#39;",
                _ => "\u{fffd}",
            })?;
            rest = characters.as_str();
        }
        dest.write_str(rest)
    }
}

/// Marks that turn the writing direction could make one version look like another; what has no width could hide.
fn is_special(character: char) -> bool {
    matches!(character, '&' | '<' | '>' | '"' | '\'') || (is_harmful(character) && !matches!(character, '\n' | '\t'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_special_gets_through() {
        let mut text = String::new();
        Html.write_escaped_str(&mut text, "a<b> & \"c\" 'd'\u{202e}e\u{0}f\u{200b}\né").unwrap();
        assert_eq!(text, "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{fffd}e\u{fffd}f\u{fffd}\né");
    }
}
