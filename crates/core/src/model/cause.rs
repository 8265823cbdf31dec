//! What lies under an error.

use std::error::Error;

/// The last of an error's causes, or the error itself: libraries' outer ones mostly say only that something was tried.
#[must_use]
pub fn deepest<'e>(error: &'e (dyn Error + 'static)) -> &'e (dyn Error + 'static) {
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last
}

/// An error with its causes, on one line: each that isn't said already.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        append(&mut text, &cause.to_string());
        next = cause.source();
    }
    text
}

/// Adds a part to a chain, unless it is said there already.
pub fn append(text: &mut String, part: &str) {
    if text.is_empty() {
        text.push_str(part);
    } else if !text.contains(part) {
        text.push_str(": ");
        text.push_str(part);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("can't read {0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[test]
    fn causes_are_said_once() {
        let error = Outer("a", io::Error::other("the disk is gone"));
        assert_eq!(chain(&error), "can't read a: the disk is gone");
        assert_eq!(deepest(&error).to_string(), "the disk is gone");
        let said = Outer("a: no such file", io::Error::other("no such file"));
        assert_eq!(chain(&said), "can't read a: no such file");
        let alone = io::Error::other("alone");
        assert_eq!((chain(&alone).as_str(), deepest(&alone).to_string().as_str()), ("alone", "alone"));
    }
}
