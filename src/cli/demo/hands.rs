//! Somebody's hands in the AWS console: calls that Pinion doesn't make, and looks at the fleet that don't go through it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cli::error::{CliError, ResultExt as _};

/// A person with access to the accounts of the simulator.
#[derive(Debug, Clone)]
pub(super) struct Hands {
    endpoint: String,
    client: reqwest::Client,
}

impl Hands {
    pub(super) fn new(endpoint: String) -> Result<Self, CliError> {
        Ok(Self { endpoint, client: reqwest::Client::builder().no_proxy().build()? })
    }

    /// Where the simulator is.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The images that run in a group or service of an account, each with how many instances or tasks run it, by the
    /// simulator's own account.
    pub(super) async fn running(&self, account: &str, kind: &str) -> Result<Vec<(String, usize)>, CliError> {
        let fleet: Value = self.get("/_sim/fleet").await?;
        let (owners, members, image) =
            if kind == "asg" { ("groups", "instances", "ami") } else { ("services", "tasks", "image") };
        let regions = fleet.get("accounts").and_then(|accounts| accounts.get(account)?.get("regions")?.as_object());
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for region in regions.into_iter().flat_map(|regions| regions.values()) {
            let owners = region.get(owners).and_then(Value::as_object).into_iter().flat_map(|owners| owners.values());
            for member in owners.filter_map(|owner| owner.get(members)?.as_array()).flatten().filter(|one| runs(one)) {
                let image = member.get(image).and_then(Value::as_str).unwrap_or("?");
                *counts.entry(image.to_owned()).or_default() += 1;
            }
        }
        Ok(counts.into_iter().collect())
    }

    /// Puts the service `api` of an account back on the first revision of its task definition, as somebody in a hurry
    /// would in the console.
    pub(super) async fn meddle(&self, account: &str) -> Result<(), CliError> {
        let role = format!("arn:aws:iam::{account}:role/pinion");
        let form = [
            ("Action", "AssumeRole"),
            ("Version", "2011-06-15"),
            ("RoleArn", role.as_str()),
            ("RoleSessionName", "somebody"),
            ("ExternalId", "pinion-demo"),
        ];
        let request = self
            .client
            .post(&self.endpoint)
            .header("authorization", signature("AKIADEMOSOMEBODY0000", "sts"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish());
        let answer = request.send().await?.error_for_status()?.text().await?;
        let member = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
        };
        let (Some(key), Some(token)) = (member("AccessKeyId"), member("SessionToken")) else {
            return Err(CliError::failed("the simulator gave no credentials"));
        };
        let body = json!({"cluster": "app", "service": "api", "taskDefinition": "api:1"}).to_string();
        let request = self
            .client
            .post(&self.endpoint)
            .header("authorization", signature(key, "ecs"))
            .header("x-amz-security-token", token)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.UpdateService")
            .body(body);
        request.send().await?.error_for_status().context(|| "the simulator refused the change".to_owned())?;
        Ok(())
    }

    async fn get(&self, path: &str) -> Result<Value, CliError> {
        let answer = self.client.get(format!("{}{path}", self.endpoint)).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}

/// Whether an instance or task serves: it hasn't stopped, and isn't about to.
fn runs(member: &Value) -> bool {
    let word = |key: &str| member.get(key).and_then(Value::as_str);
    word("lifecycle").or(word("status")).is_some_and(|state| matches!(state, "InService" | "RUNNING"))
}

/// The part of a signature that says who calls and which service; the simulator checks no more.
fn signature(key: &str, service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/us-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}
