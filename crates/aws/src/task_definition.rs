//! Task definitions: read once each as the JSON that AWS sent, and cloned as JSON, so that a field that this SDK doesn't
//! know survives.

use std::sync::Arc;

use aws_sdk_ecs::types::TaskDefinitionField;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::retry::RetryConfig;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::capture::Capture;
use super::connection::{Connection, ours};
use super::operation::Operation;
use super::services::timestamp;
use pinion_core::model::{Container, ErrorClass, Marker, PortError, TaskDefinition};

/// What `DescribeTaskDefinition` says and `RegisterTaskDefinition` doesn't take.
pub(super) const READ_ONLY: [&str; 9] = [
    "compatibilities",
    "deleteRequestedAt",
    "deregisteredAt",
    "registeredAt",
    "registeredBy",
    "requiresAttributes",
    "revision",
    "status",
    "taskDefinitionArn",
];

/// A task-definition revision: what planning needs of it, and all that AWS said of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Definition {
    pub(super) summary: TaskDefinition,
    /// The answer of `DescribeTaskDefinition`: `taskDefinition` and `tags`.
    answer: Value,
}

/// Why a task definition can't be cloned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum CloneError {
    #[error("the answer has no task definition")]
    Empty,
    #[error("it has no container {wanted}, only {}; name one of them as `container` in environment.toml", .there.join(", "))]
    NoSuchContainer { wanted: String, there: Vec<String> },
}

impl Definition {
    /// Reads an answer of `DescribeTaskDefinition`. `None` if it isn't one.
    fn read(answer: Value) -> Option<Self> {
        let definition = answer.get("taskDefinition")?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let containers = definition.get("containerDefinitions").and_then(Value::as_array).into_iter().flatten();
        let containers = containers.map(|container| Container {
            name: text(container, "name").unwrap_or_default(),
            image: text(container, "image").unwrap_or_default(),
            // AWS's default where it isn't said.
            essential: container.get("essential").and_then(Value::as_bool).unwrap_or(true),
        });
        let others = tags_of(&answer).iter().filter(|tag| is_others(tag)).count();
        let tags = tags_of(&answer).iter();
        let tags = tags.filter_map(|tag| Some((tag.get("key")?.as_str()?, tag.get("value")?.as_str()?)));
        let summary = TaskDefinition {
            arn: text(definition, "taskDefinitionArn")?,
            containers: containers.collect(),
            architecture: definition.get("runtimePlatform").and_then(|platform| text(platform, "cpuArchitecture")),
            marker: Marker::from_tags(tags),
            active: text(definition, "status").is_none_or(|status| status == "ACTIVE"),
            tags: others,
            made: definition.get("registeredAt").and_then(time),
            made_by: text(definition, "registeredBy").filter(|by| !by.is_empty()),
        };
        Some(Self { summary, answer })
    }

    /// What AWS said of it: `taskDefinition`.
    pub(super) fn body(&self) -> &Value {
        self.answer.get("taskDefinition").unwrap_or(&Value::Null)
    }

    /// `runtimePlatform.cpuArchitecture`, where it is said.
    pub(super) fn processor(&self) -> Option<&str> {
        self.answer.pointer("/taskDefinition/runtimePlatform/cpuArchitecture")?.as_str()
    }

    /// The request that registers this definition in a family, with another image in some containers, and the marker as tags. All else
    /// is as AWS said it, empty values and unknown members too.
    pub(super) fn clone_with(
        &self,
        family: &str,
        containers: &[String],
        image: &str,
        marker: &Marker,
    ) -> Result<Value, CloneError> {
        let mut request = clone_task_definition(&self.answer, containers, image, marker)?;
        if let Some(members) = request.as_object_mut() {
            members.insert("family".to_owned(), family.into());
        }
        Ok(request)
    }

    /// The request that registers this definition once more as it is, in its own family, with the marker as tags.
    pub(super) fn copy_with(&self, marker: &Marker) -> Result<Value, CloneError> {
        clone_task_definition(&self.answer, &[], "", marker)
    }
}

/// A time as JSON carries it: seconds since 1970, with a fraction.
fn time(value: &Value) -> Option<Timestamp> {
    timestamp(&DateTime::from_secs_f64(value.as_f64()?))
}

fn tags_of(answer: &Value) -> &[Value] {
    answer.get("tags").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a tag is another team's: neither Pinion's, nor one of those that AWS sets and refuses to be given.
fn is_others(tag: &Value) -> bool {
    let key = tag.get("key").and_then(Value::as_str).unwrap_or_default();
    !key.starts_with("pinion:") && !key.to_ascii_lowercase().starts_with("aws:")
}

fn clone_task_definition(
    answer: &Value,
    containers: &[String],
    image: &str,
    marker: &Marker,
) -> Result<Value, CloneError> {
    let definition = answer.get("taskDefinition").and_then(Value::as_object).ok_or(CloneError::Empty)?;
    let mut request: Map<String, Value> = definition
        .iter()
        .filter(|(key, _)| !READ_ONLY.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();

    let mut there = Vec::new();
    for candidate in request.get_mut("containerDefinitions").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(candidate) = candidate.as_object_mut() else { continue };
        let name = candidate.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        if containers.contains(&name) {
            candidate.insert("image".to_owned(), Value::from(image));
        }
        there.push(name);
    }
    if let Some(wanted) = containers.iter().find(|wanted| !there.contains(wanted)) {
        return Err(CloneError::NoSuchContainer { wanted: wanted.clone(), there });
    }

    // Another team's tags are kept; AWS refuses those that it set itself.
    let foreign = tags_of(answer).iter().filter(|tag| is_others(tag));
    let ours = marker.tags().into_iter().map(|(key, value)| json!({ "key": key, "value": value }));
    request.insert("tags".to_owned(), foreign.cloned().chain(ours).collect());
    Ok(Value::Object(request))
}

impl Connection {
    /// A task definition, by its ARN.
    pub(super) async fn definition(&self, arn: &str) -> Result<Arc<Definition>, PortError> {
        if let Some(known) = self.cache.definitions.get(&arn.to_owned()) {
            return Ok(known);
        }
        let capture = Capture::default();
        self.call(Operation::DescribeTaskDefinition, || {
            self.ecs
                .describe_task_definition()
                .task_definition(arn)
                .include(TaskDefinitionField::Tags)
                .customize()
                .interceptor(capture.clone())
                .send()
        })
        .await?;
        let definition = capture.json().and_then(Definition::read).map(Arc::new).ok_or_else(|| {
            let message = format!("the answer about {arn} isn't a task definition");
            ours(Operation::DescribeTaskDefinition, ErrorClass::Retry, "UnreadableResponse", message)
        })?;
        // One of which AWS has left something out is asked for again.
        let containers = &definition.summary.containers;
        let said = |container: &Container| !container.name.is_empty() && !container.image.is_empty();
        if !containers.is_empty() && containers.iter().all(said) {
            self.cache.definitions.put(arn.to_owned(), Arc::clone(&definition));
        }
        Ok(definition)
    }

    /// Forgets a task definition that a call has refused: it may have been deregistered since it was read.
    pub(super) fn forget_definition(&self, arn: &str, error: &PortError) {
        if error.class == ErrorClass::Invalid {
            self.cache.definitions.remove(&arn.to_owned());
        }
    }

    /// Registers a request made by [`Definition::clone_with`] or [`Definition::copy_with`]; the ARN of the new revision.
    pub(super) async fn register(&self, request: &Value) -> Result<Option<String>, PortError> {
        let body = request.to_string();
        let family = request.get("family").and_then(Value::as_str).unwrap_or_default();
        let answer = self
            .call(Operation::RegisterTaskDefinition, || {
                let body = body.clone();
                // This call has no client token: where the answer is lost, the next pass looks for the revision instead of
                // the SDK registering another one.
                let once = aws_sdk_ecs::config::Builder::new().retry_config(RetryConfig::disabled());
                // The SDK makes the request and signs it; only what it says is replaced, before it is signed.
                let request = self.ecs.register_task_definition().family(family).customize();
                let request = request.config_override(once).mutate_request(move |http| {
                    http.headers_mut().insert("content-length", body.len().to_string());
                    *http.body_mut() = SdkBody::from(body.clone());
                });
                request.send()
            })
            .await?;
        Ok(answer.task_definition.and_then(|definition| definition.task_definition_arn))
    }
}

/// A task definition's family and revision, from its ARN.
pub(super) fn family_and_revision(arn: &str) -> Option<(&str, u64)> {
    let (_, short) = arn.rsplit_once('/')?;
    let (family, revision) = short.rsplit_once(':')?;
    Some((family, revision.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pinion_core::model::{CommitId, Version};

    fn marker() -> Marker {
        Marker {
            owner: None,
            version: Version::try_from("1.4.2").unwrap(),
            commit: CommitId::try_from("a".repeat(40)).unwrap(),
            base: "api:7".to_owned(),
            from: None,
        }
    }

    fn answer() -> Value {
        json!({
            "taskDefinition": {
                "taskDefinitionArn": "arn:aws:ecs:us-west-1:222222222222:task-definition/api:7",
                "family": "api",
                "revision": 7,
                "status": "ACTIVE",
                "registeredAt": 1_700_000_000.123,
                "registeredBy": "arn:aws:iam::222222222222:root",
                "compatibilities": ["EC2", "FARGATE"],
                "requiresAttributes": [{ "name": "com.amazonaws.ecs.capability.docker-remote-api.1.18" }],
                "pidMode": "task",
                "cpu": "256",
                "volumes": [],
                "fieldFromTheFuture": { "nested": [1, 2.5, null, ""] },
                "containerDefinitions": [
                    {
                        "name": "app",
                        "image": "registry/api:1.4.1",
                        "environment": [{ "name": "EMPTY", "value": "" }],
                        "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-prefix": "" } },
                        "essential": true,
                        "futureSwitch": false
                    },
                    { "name": "sidecar", "image": "registry/proxy:3", "essential": false }
                ]
            },
            "tags": [
                { "key": "team", "value": "payments" },
                { "key": "empty", "value": "" },
                { "key": "pinion:version", "value": "1.4.1" },
                { "key": "pinion:commit", "value": "b".repeat(40) },
                { "key": "pinion:base", "value": "api:6" },
                { "key": "aws:cloudformation:stack-name", "value": "app" }
            ]
        })
    }

    #[test]
    fn a_clone_differs_in_the_image_and_our_tags_only() {
        let clone = clone_task_definition(&answer(), &["app".to_owned()], "registry/api:1.4.2", &marker()).unwrap();
        assert_eq!(
            clone,
            json!({
                "family": "api",
                "pidMode": "task",
                "cpu": "256",
                "volumes": [],
                "fieldFromTheFuture": { "nested": [1, 2.5, null, ""] },
                "containerDefinitions": [
                    {
                        "name": "app",
                        "image": "registry/api:1.4.2",
                        "environment": [{ "name": "EMPTY", "value": "" }],
                        "logConfiguration": { "logDriver": "awslogs", "options": { "awslogs-prefix": "" } },
                        "essential": true,
                        "futureSwitch": false
                    },
                    { "name": "sidecar", "image": "registry/proxy:3", "essential": false }
                ],
                "tags": [
                    { "key": "team", "value": "payments" },
                    { "key": "empty", "value": "" },
                    { "key": "pinion:version", "value": "1.4.2" },
                    { "key": "pinion:commit", "value": "a".repeat(40) },
                    { "key": "pinion:base", "value": "api:7" }
                ]
            })
        );
    }

    #[test]
    fn a_clone_changes_all_containers_that_are_ours() {
        let ours = ["app".to_owned(), "sidecar".to_owned()];
        let clone = clone_task_definition(&answer(), &ours, "registry/api:1.4.2", &marker()).unwrap();
        for container in clone["containerDefinitions"].as_array().unwrap() {
            assert_eq!(container["image"], "registry/api:1.4.2");
        }
        let ours = ["app".to_owned(), "none".to_owned()];
        assert!(clone_task_definition(&answer(), &ours, "registry/api:1.4.2", &marker()).is_err());
    }

    #[test]
    fn a_clone_needs_its_container() {
        let error = clone_task_definition(&answer(), &["web".to_owned()], "registry/api:1.4.2", &marker()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it has no container web, only app, sidecar; name one of them as `container` in environment.toml"
        );
        assert_eq!(clone_task_definition(&json!({}), &["web".to_owned()], "x", &marker()), Err(CloneError::Empty));
    }

    #[test]
    fn a_summary_has_containers_and_marker() {
        let definition = Definition::read(answer()).unwrap();
        assert_eq!(definition.summary.arn, "arn:aws:ecs:us-west-1:222222222222:task-definition/api:7");
        assert_eq!(definition.summary.marker.map(|marker| marker.base), Some("api:6".to_owned()));
        let essential: Vec<bool> = definition.summary.containers.iter().map(|container| container.essential).collect();
        assert_eq!(essential, [true, false]);
    }

    #[test]
    fn arns_have_family_and_revision() {
        assert_eq!(family_and_revision("arn:aws:ecs:us-west-1:1:task-definition/api:7"), Some(("api", 7)));
        assert_eq!(family_and_revision("api"), None);
    }
}
