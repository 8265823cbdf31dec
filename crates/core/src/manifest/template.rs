//! Text with placeholders.

use super::shape::nearest;

/// What may stand in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Version,
    Environment,
    Account,
    Region,
    Component,
    Target,
}

impl Placeholder {
    const ALL: [(&'static str, Self); 6] = [
        ("version", Self::Version),
        ("environment", Self::Environment),
        ("account", Self::Account),
        ("region", Self::Region),
        ("component", Self::Component),
        ("target", Self::Target),
    ];

    /// Words that other tools have for them, too far from ours to be taken for misspellings.
    const OTHER_WORDS: [(&'static str, &'static str); 7] = [
        ("env", "environment"),
        ("account_id", "account"),
        ("tag", "version"),
        ("app", "component"),
        ("name", "target"),
        ("service", "target"),
        ("group", "target"),
    ];

    /// Why this can't be used in text of this kind; `None` if it can.
    fn refusal(self, in_target: bool, with_version: bool) -> Option<&'static str> {
        match self {
            Self::Version if !with_version => {
                Some("{version} can't be used here: this stays the same when a pin changes")
            }
            Self::Component | Self::Target if !in_target => {
                Some("{component} and {target} can't be used here: this is the same for all targets")
            }
            _ => None,
        }
    }

    /// The names of those that may be used.
    fn names(in_target: bool, with_version: bool) -> Vec<&'static str> {
        let known = Self::ALL.iter().filter(|(_, placeholder)| placeholder.refusal(in_target, with_version).is_none());
        known.map(|(name, _)| *name).collect()
    }

    /// The placeholders that may be used, as they are written.
    fn known(in_target: bool, with_version: bool) -> String {
        let names = Self::names(in_target, with_version).into_iter();
        format!("known here: {}", names.map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", "))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Text(String),
    Placeholder(Placeholder),
}

/// Text with placeholders. `IN_TARGET` says whether it belongs to a target, so that `{component}` and `{target}` have a
/// meaning. `VERSION` says whether `{version}` may be one: it may not be in what must stay the same when a pin changes, such
/// as a group's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template<const IN_TARGET: bool, const VERSION: bool>(Vec<Segment>);

/// A template's text is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadTemplate {
    /// What is wrong with it.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: String,
}

/// What placeholders stand for. `None` is not known, because what would say it is broken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) environment: &'a str,
    pub(crate) account: Option<&'a str>,
    pub(crate) region: Option<&'a str>,
    pub(crate) component: Option<&'a str>,
    pub(crate) target: Option<&'a str>,
    pub(crate) version: Option<&'a str>,
}

impl<const IN_TARGET: bool, const VERSION: bool> Template<IN_TARGET, VERSION> {
    pub(crate) fn parse(text: &str) -> Result<Self, BadTemplate> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            if !before.is_empty() {
                segments.push(Segment::Text(before.to_owned()));
            }
            let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                let message = format!("an unbalanced brace in `{text}`");
                return Err(BadTemplate { message, help: Placeholder::known(IN_TARGET, VERSION) });
            };
            if before.ends_with('$') && Placeholder::ALL.iter().any(|(known, _)| *known == name) {
                let message = format!("`${{{name}}}` has a $ that would become part of the text");
                return Err(BadTemplate { message, help: format!("write {{{name}}}") });
            }
            segments.push(Segment::Placeholder(Self::placeholder(name)?));
            rest = after;
        }
        if !rest.is_empty() {
            segments.push(Segment::Text(rest.to_owned()));
        }
        Ok(Self(segments))
    }

    fn placeholder(name: &str) -> Result<Placeholder, BadTemplate> {
        let known = Placeholder::ALL.iter().find(|(known, _)| *known == name).map(|(_, placeholder)| *placeholder);
        match known.map(|placeholder| (placeholder, placeholder.refusal(IN_TARGET, VERSION))) {
            Some((placeholder, None)) => Ok(placeholder),
            Some((_, Some(refusal))) => {
                Err(BadTemplate { message: refusal.to_owned(), help: Placeholder::known(IN_TARGET, VERSION) })
            }
            None => {
                let names = Placeholder::names(IN_TARGET, VERSION);
                let other = Placeholder::OTHER_WORDS.iter().find(|(word, ours)| *word == name && names.contains(ours));
                let near = other.map(|(_, ours)| *ours).or_else(|| nearest(name, &names));
                let help = near.map(|near| format!("did you mean {{{near}}}?"));
                Err(BadTemplate {
                    message: format!("unknown placeholder {{{name}}}"),
                    help: help.unwrap_or_else(|| Placeholder::known(IN_TARGET, VERSION)),
                })
            }
        }
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
                Segment::Placeholder(Placeholder::Component) => scope.component?,
                Segment::Placeholder(Placeholder::Target) => scope.target?,
            });
        }
        Some(text)
    }
}
