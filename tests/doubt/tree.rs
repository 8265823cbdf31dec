//! An answer of AWS's as a tree, JSON or XML, and what can be missing in it.

use serde_json::Value;

/// What happens to a part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It isn't there.
    Drop,
    /// It is a list of nothing.
    Empty,
    /// It is a word that this build doesn't know.
    Unknown,
}

/// A part of an answer, by its places in what holds it.
pub(crate) type Place = Vec<usize>;

/// An answer.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    Json(Value),
    Xml(Element),
}

/// An element of XML, as the simulator writes it.
#[derive(Debug, Clone)]
pub(crate) struct Element {
    name: String,
    attributes: String,
    text: String,
    children: Vec<Element>,
}

impl Tree {
    pub(crate) fn parse(text: &str) -> Self {
        if text.trim_start().starts_with('<') {
            let mut rest = text.trim_start();
            if let Some((_, after)) = rest.strip_prefix("<?").and_then(|rest| rest.split_once("?>")) {
                rest = after.trim_start();
            }
            return Self::Xml(element(&mut rest));
        }
        Self::Json(serde_json::from_str(text).unwrap())
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Json(value) => value.to_string(),
            Self::Xml(root) => root.written(),
        }
    }

    /// All that can be changed.
    pub(crate) fn changes(&self) -> Vec<(Place, Change)> {
        let mut found = Vec::new();
        match self {
            Self::Json(value) => of_json(value, &mut Vec::new(), &mut found),
            Self::Xml(root) => of_xml(root, &mut Vec::new(), &mut found),
        }
        found
    }

    /// The names on the way to a place.
    pub(crate) fn name(&self, place: &[usize]) -> String {
        let mut names = String::new();
        match self {
            Self::Json(value) => {
                let mut at = value;
                for index in place {
                    let (name, next) = match at {
                        Value::Object(map) => {
                            map.iter().nth(*index).map(|(name, value)| (name.clone(), value)).unwrap()
                        }
                        Value::Array(all) => (index.to_string(), &all[*index]),
                        _ => unreachable!("nothing is below"),
                    };
                    names += &format!("/{name}");
                    at = next;
                }
            }
            Self::Xml(root) => {
                let mut at = root;
                for index in place {
                    at = &at.children[*index];
                    names += &format!("/{}", at.name);
                }
            }
        }
        names
    }

    /// The answer with one change.
    pub(crate) fn changed(&self, place: &[usize], change: Change) -> Self {
        let mut changed = self.clone();
        let (last, way) = place.split_last().unwrap();
        match &mut changed {
            Self::Json(value) => {
                let mut at = value;
                for index in way {
                    at = match at {
                        Value::Object(map) => map.values_mut().nth(*index).unwrap(),
                        Value::Array(all) => &mut all[*index],
                        _ => unreachable!("nothing is below"),
                    };
                }
                match (at, change) {
                    (Value::Object(map), Change::Drop) => {
                        let name = map.keys().nth(*last).cloned().unwrap();
                        map.remove(&name);
                    }
                    (Value::Object(map), _) => *map.values_mut().nth(*last).unwrap() = other(change),
                    (Value::Array(all), _) => all[*last] = other(change),
                    _ => unreachable!("nothing is below"),
                }
            }
            Self::Xml(root) => {
                let mut at = root;
                for index in way {
                    at = &mut at.children[*index];
                }
                match change {
                    Change::Drop => drop(at.children.remove(*last)),
                    Change::Empty => at.children[*last].children.clear(),
                    Change::Unknown => at.children[*last].text = UNKNOWN.to_owned(),
                }
            }
        }
        changed
    }
}

const UNKNOWN: &str = "SOMETHING_NEW";

fn other(change: Change) -> Value {
    if change == Change::Empty { Value::Array(Vec::new()) } else { Value::from(UNKNOWN) }
}

/// Whether a text looks like a word of an enumeration: `InService`, `ACTIVE`, `ROLLBACK_SUCCESSFUL`.
fn is_word(text: &str) -> bool {
    let letters = |text: &str| text.chars().all(|one| one.is_ascii_alphabetic() || one == '_');
    text.len() > 1 && text.starts_with(|first: char| first.is_ascii_uppercase()) && letters(text)
}

fn of_json(value: &Value, place: &mut Place, found: &mut Vec<(Place, Change)>) {
    let below: Vec<(bool, &Value)> = match value {
        Value::Object(map) => map.values().map(|value| (true, value)).collect(),
        Value::Array(all) => all.iter().map(|value| (false, value)).collect(),
        _ => return,
    };
    for (index, (member, value)) in below.into_iter().enumerate() {
        place.push(index);
        if member {
            found.push((place.clone(), Change::Drop));
        }
        match value {
            Value::Array(all) if !all.is_empty() => found.push((place.clone(), Change::Empty)),
            Value::String(text) if is_word(text) => found.push((place.clone(), Change::Unknown)),
            _ => {}
        }
        of_json(value, place, found);
        place.pop();
    }
}

fn of_xml(parent: &Element, place: &mut Place, found: &mut Vec<(Place, Change)>) {
    for (index, child) in parent.children.iter().enumerate() {
        place.push(index);
        let is_item = |element: &Element| matches!(element.name.as_str(), "member" | "item");
        if !is_item(child) {
            found.push((place.clone(), Change::Drop));
        }
        if child.children.first().is_some_and(is_item) {
            found.push((place.clone(), Change::Empty));
        }
        if child.children.is_empty() && is_word(&child.text) {
            found.push((place.clone(), Change::Unknown));
        }
        of_xml(child, place, found);
        place.pop();
    }
}

/// Reads one element, and leaves what comes after it.
fn element(rest: &mut &str) -> Element {
    let (head, after) = rest.strip_prefix('<').unwrap().split_once('>').unwrap();
    *rest = after;
    let empty = head.ends_with('/');
    let head = head.trim_end_matches('/');
    let (name, attributes) = head.split_once(' ').unwrap_or((head, ""));
    let mut read =
        Element { name: name.to_owned(), attributes: attributes.to_owned(), text: String::new(), children: Vec::new() };
    if empty {
        return read;
    }
    loop {
        let (text, _) = rest.split_once('<').unwrap();
        read.text.push_str(text.trim());
        *rest = &rest[text.len()..];
        if let Some(after) = rest.strip_prefix("</") {
            *rest = after.split_once('>').unwrap().1;
            return read;
        }
        read.children.push(element(rest));
    }
}

impl Element {
    fn written(&self) -> String {
        let attributes = if self.attributes.is_empty() { String::new() } else { format!(" {}", self.attributes) };
        let children: String = self.children.iter().map(Self::written).collect();
        format!("<{0}{attributes}>{1}{children}</{0}>", self.name, self.text)
    }
}
