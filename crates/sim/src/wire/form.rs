//! Query-form bodies: flat dotted keys to nested JSON.

use serde_json::{Map, Value};

/// Nests a form body. `A.B=x` becomes `{"A": {"B": "x"}}`; keys that are numbers become arrays in their order, and a
/// `member` between a list's name and its numbers is dropped.
pub(crate) fn decode(body: &[u8]) -> Map<String, Value> {
    let mut root = Map::new();
    for (key, value) in form_urlencoded::parse(body) {
        let path: Vec<&str> = key.split('.').collect();
        insert(&mut root, &path, &value);
    }
    root.into_iter().map(|(key, value)| (key, fold(value))).collect()
}

fn insert(map: &mut Map<String, Value>, path: &[&str], value: &str) {
    match path {
        [] => {}
        [last] => {
            map.insert((*last).to_owned(), Value::String(value.to_owned()));
        }
        [first, rest @ ..] => {
            let entry = map.entry((*first).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if !entry.is_object() {
                *entry = Value::Object(Map::new());
            }
            if let Some(inner) = entry.as_object_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

/// Turns objects whose keys are all numbers into arrays, from the leaves up.
fn fold(value: Value) -> Value {
    let Value::Object(map) = value else { return value };
    let map: Map<String, Value> = map.into_iter().map(|(key, value)| (key, fold(value))).collect();
    let mut numbered: Vec<(usize, &Value)> =
        map.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    if !map.is_empty() && numbered.len() == map.len() {
        numbered.sort_by_key(|(number, _)| *number);
        return Value::Array(numbered.into_iter().map(|(_, value)| value.clone()).collect());
    }
    match map.get("member") {
        Some(Value::Array(members)) if map.len() == 1 => Value::Array(members.clone()),
        _ => Value::Object(map),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::decode;

    #[test]
    fn forms_nest() {
        let body = b"Action=X&Filter.1.Name=tag%3Aa&Filter.1.Value.1=b&Filter.1.Value.2=c+d&P.Q=1\
            &Names.member.2=z&Names.member.1=y&Names.member.10=zz&Empty=";
        let expected = json!({
            "Action": "X",
            "Filter": [{ "Name": "tag:a", "Value": ["b", "c d"] }],
            "P": { "Q": "1" },
            "Names": ["y", "z", "zz"],
            "Empty": "",
        });
        assert_eq!(serde_json::Value::Object(decode(body)), expected);
    }
}
