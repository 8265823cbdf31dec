//! What the simulator shows of itself.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// The region of everything on a stage.
pub(crate) const REGION: &str = "us-west-1";

/// An AWS call that was made.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Call {
    pub(crate) sequence: u64,
    /// The account that the caller's credentials belong to.
    pub(crate) account: Option<String>,
    pub(crate) service: String,
    pub(crate) operation: String,
    /// Whether it changes anything.
    pub(crate) write: bool,
    pub(crate) params: Value,
    pub(crate) status: u16,
    pub(crate) code: Option<String>,
    /// The action that no policy allows, if it was refused for that.
    pub(crate) denied: Option<String>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (account, code) = (self.account.as_deref().unwrap_or("?"), self.code.as_deref().unwrap_or_default());
        let (sequence, service, operation, status) = (self.sequence, &self.service, &self.operation, self.status);
        write!(f, "{sequence:5} {account} {service}:{operation} {status} {code}")?;
        if self.write { write!(f, " {}", self.params) } else { Ok(()) }
    }
}

/// An instance of a group.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: String,
    pub(crate) ami: String,
    pub(crate) lifecycle: String,
    pub(crate) health: String,
}

/// A task of a service.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Task {
    pub(crate) arn: String,
    pub(crate) image: String,
    pub(crate) digest: Option<String>,
    pub(crate) status: String,
}

/// What runs where.
#[derive(Debug, Clone)]
pub(crate) struct Fleet(pub(crate) Value);

impl Fleet {
    /// A group: `desired`, `template`, `instances`, `refreshes`.
    pub(crate) fn group(&self, account: &str, name: &str) -> &Value {
        let group = &self.0["accounts"][account]["regions"][REGION]["groups"][name];
        assert!(group.is_object(), "there is no group {name} in account {account}");
        group
    }

    /// A service, `cluster/name`: `desired`, `task_definition`, `tasks`, `deployments`, `service_deployments`.
    pub(crate) fn service(&self, account: &str, name: &str) -> &Value {
        let service = &self.0["accounts"][account]["regions"][REGION]["services"][name];
        assert!(service.is_object(), "there is no service {name} in account {account}");
        service
    }

    /// The instances of a group.
    pub(crate) fn instances(&self, account: &str, group: &str) -> Vec<Instance> {
        serde_json::from_value(self.group(account, group)["instances"].clone()).unwrap()
    }

    /// The ids of the instances of a group.
    pub(crate) fn ids(&self, account: &str, group: &str) -> Vec<String> {
        self.instances(account, group).into_iter().map(|instance| instance.id).collect()
    }

    /// The tasks of a service that run.
    pub(crate) fn tasks(&self, account: &str, service: &str) -> Vec<Task> {
        let tasks: Vec<Task> = serde_json::from_value(self.service(account, service)["tasks"].clone()).unwrap();
        tasks.into_iter().filter(|task| task.status != "STOPPED").collect()
    }

    /// The statuses of a group's refreshes, oldest first.
    pub(crate) fn refreshes(&self, account: &str, group: &str) -> Vec<String> {
        let all = self.group(account, group)["refreshes"].as_array().unwrap();
        all.iter().map(|refresh| refresh["status"].as_str().unwrap().to_owned()).collect()
    }

    /// Whether a group has as many instances as it is to have, all in service and on this AMI, and no refresh runs.
    pub(crate) fn group_runs(&self, account: &str, group: &str, ami: &str) -> bool {
        let instances = self.instances(account, group);
        let ended = ["Successful", "Failed", "Cancelled", "RollbackFailed", "RollbackSuccessful"];
        instances.len() as u64 == self.group(account, group)["desired"].as_u64().unwrap()
            && instances.iter().all(|one| one.ami == ami && one.lifecycle == "InService" && one.health == "Healthy")
            && self.refreshes(account, group).iter().all(|status| ended.contains(&status.as_str()))
    }

    /// Whether a service runs as many tasks as it is to run, all with this image, and its one deployment is complete.
    pub(crate) fn service_runs(&self, account: &str, service: &str, image: &str) -> bool {
        let tasks = self.tasks(account, service);
        let held = self.service(account, service);
        let deployments = held["deployments"].as_array().unwrap();
        tasks.len() as u64 == held["desired"].as_u64().unwrap()
            && tasks.iter().all(|task| task.image == image && task.status == "RUNNING")
            && matches!(deployments.as_slice(), [only] if only["rollout_state"] == "COMPLETED")
    }
}
