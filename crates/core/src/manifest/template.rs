//! Text with placeholders.

use std::fmt;

/// What may stand in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Version,
    Environment,
    Account,
    Region,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 4] = [
        ("version", Self::Version),
        ("environment", Self::Environment),
        ("account", Self::Account),
        ("region", Self::Region),
    ];

    /// The placeholders, as they are written.
    pub(crate) fn known(with_version: bool) -> String {
        let known = Self::ALL.iter().filter(|(_, placeholder)| with_version || *placeholder != Self::Version);
        known.map(|(name, _)| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Placeholder(Placeholder),
}

/// Text with placeholders. `VERSION` says whether `{version}` may be one: it may not be in what must stay the same
/// when a pin changes, such as a group's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template<const VERSION: bool>(Vec<Segment>);

/// A template's text is wrong. Holds what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadTemplate(pub(crate) String);

/// What placeholders stand for. `None` is not known, because what would say it is broken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) environment: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

impl<const VERSION: bool> Template<VERSION> {
    pub(crate) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            if !before.is_empty() {
                segments.push(Segment::Text(before.to_owned()));
            }
            let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err(BadTemplate(format!("an unbalanced brace in `{text}`")));
            };
            match Placeholder::ALL.iter().find(|(known, _)| *known == name) {
                Some((_, Placeholder::Version)) if !VERSION => {
                    let message = "{version} can't be used here: this stays the same when a pin changes";
                    return Err(BadTemplate(message.to_owned()));
                }
                Some((_, placeholder)) => segments.push(Segment::Placeholder(*placeholder)),
                None => return Err(BadTemplate(format!("unknown placeholder {{{name}}}"))),
            }
            rest = after;
        }
        if !rest.is_empty() {
            segments.push(Segment::Text(rest.to_owned()));
        }
        Ok(Self(segments))
    }

    /// Whether `{version}` occurs.
    pub(crate) fn uses_version(&self) -> bool {
        self.0.contains(&Segment::Placeholder(Placeholder::Version))
    }

    /// The text with all placeholders filled in; `None` if one that occurs isn't known.
    pub(crate) fn expand(&self, scope: Scope<'_>) -> Option<String> {
        let mut text = String::new();
        for segment in &self.0 {
            text.push_str(match segment {
                Segment::Text(text) => text,
                Segment::Placeholder(Placeholder::Version) => scope.version?,
                Segment::Placeholder(Placeholder::Environment) => scope.environment,
                Segment::Placeholder(Placeholder::Account) => scope.account?,
                Segment::Placeholder(Placeholder::Region) => scope.region?,
            });
        }
        Some(text)
    }
}

impl fmt::Display for BadTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
