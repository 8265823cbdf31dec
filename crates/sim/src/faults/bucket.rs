//! Token buckets, one for each account, region and family of operations, as AWS keeps them.

use std::collections::BTreeMap;

use super::Struck;
use crate::wire::Service;

/// The buckets that calls have been taken from.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<(String, String, &'static str), Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Wall-clock milliseconds.
    filled: i64,
}

/// The family of an operation, how many calls it has at once, and how many a second after that. The figures are those
/// that AWS documents; it publishes none for Auto Scaling, STS, SSM and ECR, where EC2's of reading stand in.
fn family(service: Service, operation: &str) -> (&'static str, f64, f64) {
    let reads = ["Describe", "List", "Get", "BatchGet"].iter().any(|verb| operation.starts_with(verb));
    match (service, operation) {
        (Service::Ec2, "CreateLaunchTemplateVersion") => ("ec2 CreateLaunchTemplateVersion", 100.0, 5.0),
        (Service::Ec2, _) if reads => ("ec2 read", 100.0, 20.0),
        (Service::Ec2, _) => ("ec2 write", 50.0, 5.0),
        (Service::Ecs, _) if operation.contains("TaskDefinition") && reads => ("ecs definition read", 50.0, 20.0),
        (Service::Ecs, _) if operation.contains("TaskDefinition") => ("ecs definition write", 20.0, 1.0),
        (Service::Ecs, _) if operation.contains("ServiceDeployment") || operation.contains("ServiceRevision") => {
            ("ecs deployment", 50.0, 20.0)
        }
        (Service::Ecs, _) if operation.contains("Cluster") && reads => ("ecs cluster read", 50.0, 20.0),
        (Service::Ecs, "DescribeTasks" | "ListTasks") => ("ecs cluster resource read", 100.0, 20.0),
        (Service::Ecs, "RunTask" | "StartTask" | "StopTask") => ("ecs cluster resource modify", 100.0, 40.0),
        (Service::Ecs, _) if operation.contains("Tag") => ("ecs tags", 50.0, 20.0),
        (Service::Ecs, _) if reads => ("ecs service read", 100.0, 20.0),
        (Service::Ecs, _) => ("ecs service write", 50.0, 5.0),
        (Service::AutoScaling, _) => ("autoscaling", 100.0, 20.0),
        (Service::Sts, _) => ("sts", 100.0, 20.0),
        (Service::Ecr, _) => ("ecr", 100.0, 20.0),
        (Service::Ssm, _) => ("ssm", 100.0, 20.0),
    }
}

impl Buckets {
    /// Takes a token, at a wall-clock time in milliseconds. Says whether there was one.
    pub(super) fn take(&mut self, call: Struck<'_>, burst: Option<f64>, refill: Option<f64>, wall: i64) -> bool {
        let (name, usual_burst, usual_refill) = family(call.service, call.operation);
        let (burst, refill) = (burst.unwrap_or(usual_burst), refill.unwrap_or(usual_refill));
        let key = (call.account.to_owned(), call.region.to_owned(), name);
        let bucket = self.0.entry(key).or_insert(Bucket { tokens: burst, filled: wall });
        let passed = (wall - bucket.filled).max(0) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed * refill).min(burst);
        bucket.filled = wall;
        let there = bucket.tokens >= 1.0;
        if there {
            bucket.tokens -= 1.0;
        }
        there
    }
}
