//! Answers of EC2 and Auto Scaling as AWS sent them: a tree of elements, so that a member that this SDK doesn't know is seen,
//! compared and sent back like any other.

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use xmlparser::{ElementEnd, Token, Tokenizer};

/// How deep an answer may be nested. AWS's deepest member here is eight levels down.
const DEEPEST: usize = 64;

/// How a service's requests spell what its answers say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// What the elements of a list are called in an answer.
    pub(super) element: &'static str,
    /// What stands before their numbers in a request.
    pub(super) before: &'static str,
    /// A member's name in a request.
    pub(super) name: fn(&str) -> String,
    /// The member that says something by being empty. All others that are empty are left out.
    pub(super) said_by_nothing: &'static str,
}

/// An element: either its children or its text count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// Reads a document. `None` if it isn't one.
    pub(super) fn parse(document: &str) -> Option<Self> {
        let mut open: Vec<Self> = vec![Self::default()];
        for token in Tokenizer::from(document) {
            match token.ok()? {
                Token::ElementStart { local, .. } => {
                    if open.len() > DEEPEST {
                        return None;
                    }
                    open.push(Self { name: local.as_str().to_owned(), ..Self::default() });
                }
                Token::ElementEnd { end: ElementEnd::Close(_, local), .. } => {
                    let closed = open.pop().filter(|closed| closed.name == local.as_str())?;
                    open.last_mut()?.children.push(closed);
                }
                Token::ElementEnd { end: ElementEnd::Empty, .. } => {
                    let closed = open.pop()?;
                    open.last_mut()?.children.push(closed);
                }
                Token::Text { text } => open.last_mut()?.text.push_str(&unescaped(text.as_str())?),
                Token::Cdata { text, .. } => open.last_mut()?.text.push_str(text.as_str()),
                _ => {}
            }
        }
        match open.as_mut_slice() {
            [whole] => whole.children.pop().filter(|_| whole.children.is_empty()),
            _ => None,
        }
    }

    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    pub(super) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        self.children.iter_mut().find(|child| child.name == name)
    }

    /// The text of the first child of this name; `None` if it is empty, as for AWS.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str()).filter(|text| !text.is_empty())
    }

    /// All elements of this name, however deep.
    pub(super) fn all<'a>(&'a self, name: &str) -> Vec<&'a Self> {
        let mut found = Vec::new();
        let mut rest = vec![self];
        while let Some(element) = rest.pop() {
            if element.name == name {
                found.push(element);
            }
            rest.extend(element.children.iter().rev());
        }
        found
    }

    /// What it says, the same however AWS orders members and lists.
    pub(super) fn canonical(&self) -> String {
        if self.children.is_empty() {
            return format!("{}={:?}", self.name, self.text);
        }
        let mut children: Vec<String> = self.children.iter().map(Self::canonical).collect();
        children.sort_unstable();
        format!("{}{{{}}}", self.name, children.join(","))
    }

    /// The parameters of a request that say the same, below `prefix`, as AWS's query protocol has it.
    pub(super) fn parameters(&self, prefix: &str, style: Style) -> Vec<(String, String)> {
        if self.children.is_empty() {
            let said = !self.text.is_empty() || style.said_by_nothing == self.name;
            return if said { vec![(prefix.to_owned(), self.text.clone())] } else { Vec::new() };
        }
        let is_list = self.children.iter().all(|child| child.name == style.element);
        let named = |(index, child): (usize, &Self)| {
            let prefix = if is_list {
                format!("{prefix}{}.{}", style.before, index + 1)
            } else {
                format!("{prefix}.{}", (style.name)(&child.name))
            };
            child.parameters(&prefix, style)
        };
        self.children.iter().enumerate().flat_map(named).collect()
    }
}

/// Text with its entities resolved; `None` for one that XML itself doesn't know.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = after.split_once(';')?;
        let code = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        plain.push(match entity {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => match other.strip_prefix("#x") {
                Some(digits) => code(digits, 16)?,
                None => code(other.strip_prefix('#')?, 10)?,
            },
        });
        rest = after;
    }
    Some(plain + rest)
}

/// Adds parameters to a request of AWS's query protocols, before it is signed.
pub(super) fn add_parameters(http: &mut HttpRequest, parameters: &[(String, String)]) {
    let Some(mut body) = http.body().bytes().map(<[u8]>::to_vec) else { return };
    for (name, value) in parameters {
        body.extend(format!("&{}={}", encoded(name), encoded(value)).bytes());
    }
    http.headers_mut().insert("content-length", body.len().to_string());
    *http.body_mut() = SdkBody::from(body);
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0"?>
        <Policy xmlns="urn:x"><Overrides><member><InstanceType>a&amp;b &#60;</InstanceType><Future/></member>
        <member><Deep><Unknown><![CDATA[<x>]]></Unknown></Deep></member></Overrides><Empty></Empty></Policy>"#;

    #[test]
    fn an_answer_becomes_the_parameters_that_say_the_same() {
        let answer = Element::parse(ANSWER).unwrap();
        let parameters = answer.parameters(
            "Mixed",
            Style { element: "member", before: ".member", name: str::to_owned, said_by_nothing: "" },
        );
        let said: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said, ["Mixed.Overrides.member.1.InstanceType=a&b <", "Mixed.Overrides.member.2.Deep.Unknown=<x>"]);
        assert_eq!(encoded("a b&c=é"), "a%20b%26c%3D%C3%A9");
    }

    #[test]
    fn order_makes_no_difference_and_content_does() {
        let of = |text: &str| Element::parse(text).unwrap().canonical();
        let one = of("<a><i><d>1</d><s>x</s></i><i><d>2</d><s>y</s></i></a>");
        assert_eq!(one, of("<a><i><s>y</s><d>2</d></i><i><d>1</d><s>x</s></i></a>"));
        assert_ne!(one, of("<a><i><d>1</d><s>y</s></i><i><d>2</d><s>x</s></i></a>"), "each value stays with its own");
        assert_ne!(of("<a><b/></a>"), of("<a/>"));
    }

    #[test]
    fn what_is_no_document_is_none() {
        for text in ["", "<a>", "<a></b>", "<a>&nbsp;</a>", "<a/><b/>", "text", &"<a>".repeat(100)] {
            assert_eq!(Element::parse(text), None, "{text}");
        }
    }
}
