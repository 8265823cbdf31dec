//! Token buckets, one for each account, region and family of operations, as AWS keeps them.

use std::collections::BTreeMap;

use super::Struck;
use crate::wire::Service;

/// The buckets that calls have been taken from.
#[derive(Debug, Default)]
pub(super) struct Buckets(BTreeMap<(String, String, String), Bucket>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    /// Wall-clock milliseconds.
    filled: i64,
}

/// The bucket of an operation, how many calls it has at once, and how many a second after that. The figures are those that
/// AWS documents: for EC2 each operation has a bucket of its own ("Request throttling for the Amazon EC2 API"), ECS's
/// operations share them by families ("Throttling for the Amazon ECS API"). It publishes none for Auto Scaling, whose
/// operations share one, nor for STS, SSM and ECR, where EC2's of reading stand in.
fn bucket(service: Service, operation: &str) -> (String, f64, f64) {
    let (family, burst, refill) = family(service, operation);
    let name = if service == Service::Ec2 { format!("ec2 {operation}") } else { family.to_owned() };
    (name, burst, refill)
}

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
        (Service::CloudWatch, _) => ("cloudwatch", 9.0, 9.0),
    }
}

impl Buckets {
    /// Takes a token, at a wall-clock time in milliseconds. Says whether there was one.
    pub(super) fn take(&mut self, call: Struck<'_>, burst: Option<f64>, refill: Option<f64>, wall: i64) -> bool {
        let (name, usual_burst, usual_refill) = bucket(call.service, call.operation);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_of_ec2_has_a_bucket_of_its_own_and_those_of_auto_scaling_share_one() {
        let mut buckets = Buckets::default();
        let mut until_empty = |service: Service, operation: &str| {
            let call = Struck { account: "1", region: "r", service, operation };
            (0..1000).take_while(|_| buckets.take(call, None, None, 0)).count()
        };
        assert_eq!(until_empty(Service::Ec2, "DescribeImages"), 100);
        assert_eq!(until_empty(Service::Ec2, "DescribeLaunchTemplateVersions"), 100, "not what images have used up");
        assert_eq!(until_empty(Service::Ec2, "CreateLaunchTemplateVersion"), 100);
        assert_eq!(until_empty(Service::Ec2, "ModifyLaunchTemplate"), 50);
        assert_eq!(until_empty(Service::AutoScaling, "DescribeAutoScalingGroups"), 100);
        assert_eq!(until_empty(Service::AutoScaling, "StartInstanceRefresh"), 0);
        assert_eq!(until_empty(Service::Ecs, "RegisterTaskDefinition"), 20);
        assert_eq!(until_empty(Service::Ecs, "DeregisterTaskDefinition"), 0);
    }
}
