//! What is said once: the defaults of each kind, and of each target only what differs from them and from defaults.toml.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::render::quoted;
use crate::manifest::Inherited;
use crate::manifest::inherited::{Ami, Key, Said};
use crate::model::{Kind, LocalRef};

const VERSION: &str = "{version}";
const TARGET: &str = "{target}";
const COMPONENT: &str = "{component}";

/// What may be said of all targets of a kind. A component isn't: a target that is added later would quietly run it.
const SHARED: [(Kind, Key); 4] = [
    (Kind::Asg, Key::Ami),
    (Kind::Fargate, Key::Cluster),
    (Kind::Fargate, Key::Container),
    (Kind::Fargate, Key::Image),
];

/// The value that a key of a target has to come to.
pub(super) struct Wish {
    pub(super) key: Key,
    pub(super) said: Said,
    /// Whether it comes to that as well if nothing is said.
    pub(super) optional: bool,
}

/// A target, and what has to come of its table.
pub(super) struct Row<'a> {
    pub(super) local: &'a LocalRef,
    pub(super) component: &'a str,
    /// In the order in which they are written.
    pub(super) wishes: Vec<Wish>,
}

/// The defaults that the environment itself has.
pub(super) type Defaults = BTreeMap<(Kind, Key), Said>;

impl Row<'_> {
    /// The keys that the target's own table has to have, so that each comes to what it has to.
    pub(super) fn differing(&self, defaults: &Defaults, inherited: &Inherited) -> impl Iterator<Item = &Wish> {
        self.wishes.iter().filter(move |wish| self.differs(wish, defaults.get(&(self.local.kind, wish.key)), inherited))
    }

    fn differs(&self, wish: &Wish, default: Option<&Said>, inherited: &Inherited) -> bool {
        let said = inherited
            .own(self.local, wish.key, self.component)
            .or_else(|| Some(self.filled_in(default?)))
            .or_else(|| inherited.all(self.local, wish.key, self.component));
        match said {
            Some(said) => said != wish.said,
            None => match wish.key {
                Key::Group | Key::Service | Key::Component => wish.said != Said::Text(self.local.name.clone()),
                Key::Cluster | Key::Container | Key::Image | Key::Ami => !wish.optional,
            },
        }
    }

    fn filled_in(&self, pattern: &Said) -> Said {
        pattern.map(|text| text.replace(TARGET, &self.local.name).replace(COMPONENT, self.component))
    }

    /// The patterns that come to what this key has to, each with its rank: the lowest one is taken where others do as well.
    fn patterns(&self, wish: &Wish) -> Vec<(u8, Said)> {
        let rank = |of: &str| match (wish.key, of) {
            // A literal image would be released under whatever component a target that is added later has.
            (Key::Image | Key::Ami, COMPONENT) | (Key::Container, TARGET) | (Key::Cluster, "") => 0,
            (_, "") => 1,
            _ => 2,
        };
        let with = |word: &str, placeholder: &'static str| {
            let pattern = wish.said.map(|text| match text.split_once('/').filter(|_| wish.key == Key::Image) {
                Some((host, rest)) => format!("{host}/{}", put(rest, word, placeholder)),
                None => put(text, word, placeholder),
            });
            (pattern != wish.said).then(|| (rank(placeholder), pattern))
        };
        let mut patterns = vec![(rank(""), wish.said.clone())];
        patterns.extend(with(self.component, COMPONENT));
        patterns.extend(with(&self.local.name, TARGET));
        patterns
    }
}

/// Which defaults make the file shorter: of each key the value that most targets share, if fewer lines are needed with it.
pub(super) fn defaults(rows: &[Row<'_>], inherited: &Inherited) -> Defaults {
    let mut defaults = Defaults::new();
    for (kind, key) in SHARED {
        let of_kind = rows.iter().filter(|row| row.local.kind == kind);
        // What a table of defaults.toml says itself comes before any default.
        let open = of_kind.filter(|row| inherited.own(row.local, key, row.component).is_none());
        let open: Vec<(&Row<'_>, &Wish)> =
            open.filter_map(|row| Some((row, row.wishes.iter().find(|wish| wish.key == key)?))).collect();
        let mut votes: BTreeMap<Said, (usize, u8)> = BTreeMap::new();
        for (row, wish) in &open {
            for (rank, pattern) in row.patterns(wish) {
                let (count, best) = votes.entry(pattern).or_insert((0, rank));
                *count += 1;
                *best = rank.min(*best);
            }
        }
        // What names one image may be said of all only where it is most of them.
        let names_one = |pattern: &Said| {
            matches!(key, Key::Image | Key::Ami) && ![COMPONENT, TARGET].iter().any(|one| pattern.has_placeholder(one))
        };
        votes.retain(|pattern, (count, _)| !names_one(pattern) || 2 * *count > open.len());
        let most = votes.into_iter().min_by_key(|(_, (count, rank))| (Reverse(*count), *rank));
        let lines =
            |default: Option<&Said>| open.iter().filter(|(row, wish)| row.differs(wish, default, inherited)).count();
        if let Some((pattern, _)) = most
            && 1 + lines(Some(&pattern)) < lines(None)
        {
            defaults.insert((kind, key), pattern);
        }
    }
    defaults
}

/// A text with a placeholder wherever a word stands as one.
fn put(text: &str, word: &str, placeholder: &str) -> String {
    let in_part = |part: &str| {
        let mut made = String::new();
        let (mut from, mut before) = (0, None);
        for (at, _) in part.match_indices(word) {
            let between = part.get(from..at).unwrap_or_default();
            let after = part.get(at + word.len()..).and_then(|rest| rest.chars().next());
            let left = between.chars().next_back().or(before);
            let is_word = |beside: Option<char>| !beside.is_some_and(char::is_alphanumeric);
            made.push_str(between);
            made.push_str(if is_word(left) && is_word(after) { placeholder } else { word });
            from = at + word.len();
            before = word.chars().next_back();
        }
        made.push_str(part.get(from..).unwrap_or_default());
        made
    };
    if word.is_empty() {
        return text.to_owned();
    }
    // What stands in braces already isn't touched.
    text.split(VERSION).map(in_part).collect::<Vec<_>>().join(VERSION)
}

impl Said {
    fn map(&self, change: impl Fn(&str) -> String) -> Self {
        match self {
            Self::Text(text) => Self::Text(change(text)),
            Self::Names(names) => Self::Names(names.iter().map(|name| change(name)).collect()),
            Self::Ami(ami) => Self::Ami(Ami {
                name: ami.name.as_deref().map(&change),
                tags: ami
                    .tags
                    .as_ref()
                    .map(|tags| tags.iter().map(|(key, value)| (key.clone(), change(value))).collect()),
                parameter: ami.parameter.as_deref().map(&change),
                ..ami.clone()
            }),
        }
    }

    /// As TOML has it.
    pub(super) fn toml(&self) -> String {
        match self {
            Self::Text(text) => quoted(text),
            Self::Names(names) => match names.as_slice() {
                [only] => quoted(only),
                several => format!("[{}]", several.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
            },
            Self::Ami(ami) => {
                let text = |key: &str, value: &Option<String>| {
                    value.as_ref().map(|value| format!("{key} = {}", quoted(value)))
                };
                let tags = ami.tags.as_ref().map(|tags| {
                    let tags = tags.iter().map(|(key, value)| format!("{} = {}", bare(key), quoted(value)));
                    format!("tags = {{ {} }}", tags.collect::<Vec<_>>().join(", "))
                });
                let members = [text("name", &ami.name), tags, text("parameter", &ami.parameter), text("id", &ami.id)];
                let members = members.into_iter().chain([text("owner", &ami.owner)]).flatten();
                format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// Whether a placeholder of targets is in it.
    pub(super) fn has_placeholder(&self, placeholder: &str) -> bool {
        self.toml().contains(placeholder)
    }
}

/// A key as TOML has it.
fn bare(key: &str) -> String {
    let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if is_bare { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_whole_words_outside_of_braces() {
        for (text, word, expected) in [
            ("team/api", "api", "team/{component}"),
            ("api/api-api", "api", "{component}/{component}-{component}"),
            ("rapid/api2/apiapi", "api", "rapid/api2/apiapi"),
            ("api/apiapi/api", "api", "{component}/apiapi/{component}"),
            ("version-{version}", "version", "{component}-{version}"),
            ("größe-ß", "ß", "größe-{component}"),
            ("api", "", "api"),
        ] {
            assert_eq!(put(text, word, COMPONENT), expected, "{text} {word}");
        }
    }
}
