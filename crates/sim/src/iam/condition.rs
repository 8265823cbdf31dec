//! Conditions of statements.

use std::collections::BTreeMap;

use super::super::service::matches;

/// What a request says about itself: values by condition key, in lower case.
pub(crate) type Context = BTreeMap<String, Vec<String>>;

/// One operator on one key.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    operator: Operator,
    set: Set,
    if_exists: bool,
    /// In lower case: AWS doesn't tell them apart either.
    key: String,
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// Whether case counts, whether wildcards do, whether it is negated.
    Text {
        case: bool,
        wild: bool,
        not: bool,
    },
    Arn {
        not: bool,
    },
    Bool,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    One,
    ForAll,
    ForAny,
}

impl Condition {
    /// Reads an operator as AWS spells it. The error says which one isn't known.
    pub(crate) fn parse(name: &str, key: &str, values: Vec<String>) -> Result<Self, String> {
        let (set, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::ForAll, rest),
            Some(("ForAnyValue", rest)) => (Set::ForAny, rest),
            Some(_) => return Err(format!("the simulator has no condition operator {name}")),
            None => (Set::One, name),
        };
        let (if_exists, rest) = match rest.strip_suffix("IfExists") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let text = |case, wild, not| Operator::Text { case, wild, not };
        let operator = match rest {
            "StringEquals" => text(true, false, false),
            "StringNotEquals" => text(true, false, true),
            "StringEqualsIgnoreCase" => text(false, false, false),
            "StringNotEqualsIgnoreCase" => text(false, false, true),
            "StringLike" => text(true, true, false),
            "StringNotLike" => text(true, true, true),
            "ArnEquals" | "ArnLike" => Operator::Arn { not: false },
            "ArnNotEquals" | "ArnNotLike" => Operator::Arn { not: true },
            "Bool" => Operator::Bool,
            "Null" if !if_exists => Operator::Null,
            _ => return Err(format!("the simulator has no condition operator {name}")),
        };
        if !key.contains(':') {
            return Err(format!("{key} is no condition key"));
        }
        Ok(Self { operator, set, if_exists, key: key.to_ascii_lowercase(), values })
    }

    /// Whether a request meets it.
    pub(crate) fn holds(&self, context: &Context) -> bool {
        let given = context.get(&self.key).map(Vec::as_slice);
        if self.operator == Operator::Null {
            return self.values.iter().any(|value| (value == "true") == given.is_none());
        }
        let Some(given) = given else {
            return self.if_exists || self.set == Set::ForAll || (self.set == Set::One && self.is_negated());
        };
        let meets = |one: &String| {
            let equal = self.values.iter().any(|wanted| self.equal(&filled(wanted, context), one));
            equal != self.is_negated()
        };
        match self.set {
            // A key with one value needs no set operator; of several, one is enough, or for a negation all are needed.
            Set::One if self.is_negated() => given.iter().all(meets),
            Set::One | Set::ForAny => given.iter().any(meets),
            Set::ForAll => given.iter().all(meets),
        }
    }

    fn is_negated(&self) -> bool {
        matches!(self.operator, Operator::Text { not: true, .. } | Operator::Arn { not: true })
    }

    fn equal(&self, wanted: &str, given: &str) -> bool {
        match self.operator {
            Operator::Text { wild: true, .. } => matches(wanted, given),
            Operator::Text { case: true, .. } => wanted == given,
            Operator::Text { .. } | Operator::Bool => wanted.eq_ignore_ascii_case(given),
            Operator::Arn { .. } => same_arn(wanted, given),
            Operator::Null => false,
        }
    }
}

/// ARNs are compared part by part: a wildcard doesn't reach over a colon, but in the last part.
fn same_arn(wanted: &str, given: &str) -> bool {
    let (wanted, given): (Vec<&str>, Vec<&str>) = (wanted.splitn(6, ':').collect(), given.splitn(6, ':').collect());
    wanted.len() == 6 && given.len() == 6 && wanted.iter().zip(&given).all(|(wanted, given)| matches(wanted, given))
}

/// A value with policy variables such as `${aws:PrincipalAccount}` filled in. One that the request lacks matches nothing.
pub(super) fn filled(text: &str, context: &Context) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        filled.push_str(before);
        match (name, context.get(&name.to_ascii_lowercase()).map(Vec::as_slice)) {
            ("*" | "?" | "$", _) => filled.push_str(name),
            (_, Some([value])) => filled.push_str(value),
            _ => filled.push('\u{0}'),
        }
        rest = after;
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::{Condition, Context};

    #[test]
    fn operators() {
        let context: Context = [
            ("sts:externalid", vec!["pinion-7f3a"]),
            ("ecs:cluster", vec!["arn:aws:ecs:us-west-1:222222222222:cluster/app"]),
            ("aws:tagkeys", vec!["pinion:version", "team"]),
            ("autoscaling:launchtemplateversionspecified", vec!["true"]),
            ("aws:principalaccount", vec!["222222222222"]),
        ]
        .into_iter()
        .map(|(key, values)| (key.to_owned(), values.into_iter().map(str::to_owned).collect()))
        .collect();
        let cases: [(&str, &str, &[&str], bool); 24] = [
            ("StringEquals", "sts:ExternalId", &["pinion-7f3a"], true),
            ("StringEquals", "sts:ExternalId", &["PINION-7F3A"], false),
            ("StringEquals", "sts:ExternalId", &["other", "pinion-7f3a"], true),
            ("StringEqualsIgnoreCase", "sts:ExternalId", &["PINION-7F3A"], true),
            ("StringNotEquals", "sts:ExternalId", &["other"], true),
            ("StringNotEquals", "sts:ExternalId", &["other", "pinion-7f3a"], false),
            ("StringLike", "sts:externalid", &["pinion-*"], true),
            ("StringEquals", "sts:externalid", &["pinion-*"], false),
            ("StringEquals", "aws:nothing", &["x"], false),
            ("StringEqualsIfExists", "aws:nothing", &["x"], true),
            ("StringNotEquals", "aws:nothing", &["x"], true),
            ("Null", "aws:nothing", &["true"], true),
            ("Null", "sts:ExternalId", &["true"], false),
            ("Null", "sts:ExternalId", &["false"], true),
            ("Bool", "autoscaling:LaunchTemplateVersionSpecified", &["true"], true),
            ("Bool", "autoscaling:LaunchTemplateVersionSpecified", &["false"], false),
            ("ArnLike", "ecs:cluster", &["arn:aws:ecs:*:222222222222:cluster/*"], true),
            ("ArnEquals", "ecs:cluster", &["arn:aws:ecs:*:cluster/app"], false),
            ("ArnNotLike", "ecs:cluster", &["arn:aws:ecs:us-west-1:*:cluster/app"], false),
            ("ForAllValues:StringEquals", "aws:TagKeys", &["team", "pinion:version"], true),
            ("ForAllValues:StringEquals", "aws:TagKeys", &["team"], false),
            ("ForAllValues:StringEquals", "aws:nothing", &["team"], true),
            ("ForAnyValue:StringEquals", "aws:TagKeys", &["team"], true),
            ("ArnEquals", "ecs:cluster", &["arn:aws:ecs:us-west-1:${aws:PrincipalAccount}:cluster/app"], true),
        ];
        for (operator, key, values, expected) in cases {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            let condition = Condition::parse(operator, key, values).unwrap();
            assert_eq!(condition.holds(&context), expected, "{operator} {key}");
        }
        assert!(Condition::parse("NumericEquals", "a:b", Vec::new()).is_err(), "unknown ones aren't ignored");
    }
}
