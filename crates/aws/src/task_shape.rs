//! In what two task definitions differ, for people: never by the value of a variable, a secret or an option.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::task_definition::READ_ONLY;

/// Members whose values are sizes, and may be shown.
const SIZES: [&str; 3] = ["cpu", "memory", "memoryReservation"];

/// In what `new` differs from `old`, each in a few words; the images of `ours` aside. Both are the `taskDefinition` of
/// `DescribeTaskDefinition`; what is empty is the same as what is absent.
pub(super) fn changes(old: &Value, new: &Value, ours: &[String]) -> Vec<String> {
    let mut changes = Vec::new();
    let nothing = Map::new();
    let (before, after) = (old.as_object().unwrap_or(&nothing), new.as_object().unwrap_or(&nothing));
    for key in keys(before, after) {
        // The family is where it is registered, and no part of what runs.
        if !READ_ONLY.contains(&key.as_str()) && !["containerDefinitions", "family"].contains(&key.as_str()) {
            changes.extend(change(key, "", before.get(key), after.get(key)));
        }
    }
    let (before, after) =
        (by_name(old.get("containerDefinitions"), "name"), by_name(new.get("containerDefinitions"), "name"));
    for name in before.keys().chain(after.keys()).copied().collect::<BTreeSet<_>>() {
        match (before.get(name), after.get(name)) {
            (None, Some(_)) => changes.push(format!("+ container {name}")),
            (Some(_), None) => changes.push(format!("− container {name}")),
            (Some(old), Some(new)) => changes.extend(of_container(name, old, new, ours)),
            (None, None) => {}
        }
    }
    changes
}

fn of_container(name: &str, old: &Value, new: &Value, ours: &[String]) -> Vec<String> {
    let nothing = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&nothing), new.as_object().unwrap_or(&nothing));
    // Of one container nobody needs to say which.
    let of = if ours.first().is_some_and(|first| first == name) { String::new() } else { format!(" of {name}") };
    let mut changes = Vec::new();
    for key in keys(old, new) {
        let (before, after) = (old.get(key), new.get(key));
        match key.as_str() {
            "name" => {}
            "image" if ours.iter().any(|one| one == name) => {}
            "environment" => changes.extend(named("env", &of, before, after)),
            "secrets" => changes.extend(named("secret", &of, before, after)),
            _ => changes.extend(change(key, &of, before, after)),
        }
    }
    changes
}

/// A list of things with names, such as variables.
fn named(what: &str, of: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<String> {
    let (before, after) = (by_name(before, "name"), by_name(after, "name"));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let change = |name| match (before.get(name), after.get(name)) {
        (None, _) => Some(format!("+ {what} {name}{of}")),
        (_, None) => Some(format!("− {what} {name}{of}")),
        (old, new) if old != new => Some(format!("{what} {name}{of} changed")),
        _ => None,
    };
    names.into_iter().filter_map(change).collect()
}

fn change(key: &str, of: &str, before: Option<&Value>, after: Option<&Value>) -> Option<String> {
    let given = |value: Option<&Value>| value.filter(|value| !is_empty(value)).cloned();
    let (before, after) = (given(before), given(after));
    if before == after {
        return None;
    }
    let size = |value: &Option<Value>| match value {
        Some(Value::String(text)) if text.len() < 20 => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => "none".to_owned(),
    };
    let name = called(key);
    Some(match SIZES.contains(&key) {
        true => format!("{name}{of} {} → {}", size(&before), size(&after)),
        false => format!("{name}{of} changed"),
    })
}

/// A member in plain words.
fn called(key: &str) -> &str {
    match key {
        "taskRoleArn" => "task role",
        "executionRoleArn" => "execution role",
        "portMappings" => "ports",
        "healthCheck" => "health check",
        "logConfiguration" => "log configuration",
        "ephemeralStorage" => "ephemeral storage",
        "runtimePlatform" => "runtime platform",
        "networkMode" => "network mode",
        "memoryReservation" => "memory reservation",
        other => other,
    }
}

/// The items of a list by their names. Of two with one name AWS takes the last.
fn by_name<'a>(list: Option<&'a Value>, key: &str) -> BTreeMap<&'a str, &'a Value> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(|item| Some((item.get(key)?.as_str()?, item))).collect()
}

fn keys<'a>(one: &'a Map<String, Value>, other: &'a Map<String, Value>) -> BTreeSet<&'a String> {
    one.keys().chain(other.keys()).collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn old() -> Value {
        json!({
            "taskDefinitionArn": "arn:1", "revision": 1, "family": "api", "cpu": "256", "memory": "512", "volumes": [],
            "taskRoleArn": "arn:role/a",
            "containerDefinitions": [
                { "name": "app", "image": "registry/app:1", "environment": [
                    { "name": "SAME", "value": "planted-1" }, { "name": "OTHER", "value": "planted-2" },
                ], "secrets": [{ "name": "OLD_KEY", "valueFrom": "planted-3" }], "command": ["planted-4"] },
                { "name": "proxy", "image": "registry/proxy:1", "memory": 64 },
            ],
        })
    }

    #[test]
    fn names_and_sizes_but_no_values() {
        let new = json!({
            "taskDefinitionArn": "arn:2", "revision": 2, "family": "infra", "cpu": "512", "memory": "512",
            "taskRoleArn": "planted-5", "runtimePlatform": { "cpuArchitecture": "ARM64" },
            "containerDefinitions": [
                { "name": "app", "image": "registry/app:2", "environment": [
                    { "name": "OTHER", "value": "planted-6" }, { "name": "SAME", "value": "planted-1" },
                    { "name": "LOG_LEVEL", "value": "planted-7" },
                ], "command": ["planted-8"], "portMappings": [{ "containerPort": 80 }], "secrets": [] },
                { "name": "proxy", "image": "registry/proxy:2", "memory": 128 },
                { "name": "agent", "image": "registry/agent:1" },
            ],
        });
        let found = changes(&old(), &new, &["app".to_owned()]);
        assert_eq!(
            found,
            [
                "cpu 256 → 512",
                "runtime platform changed",
                "task role changed",
                "+ container agent",
                "command changed",
                "+ env LOG_LEVEL",
                "env OTHER changed",
                "ports changed",
                "− secret OLD_KEY",
                "image of proxy changed",
                "memory of proxy 64 → 128"
            ]
        );
        assert!(!found.concat().contains("planted"));
    }

    #[test]
    fn our_images_and_what_aws_adds_are_no_change() {
        let mut new = old();
        new["containerDefinitions"][0]["image"] = "registry/app:2".into();
        new["containerDefinitions"][0]["portMappings"] = json!([]);
        new["registeredAt"] = json!(1);
        new["volumes"] = Value::Null;
        assert_eq!(changes(&old(), &new, &["app".to_owned()]), [""; 0]);
    }
}
