//! The roles of an environment's account.

use std::collections::BTreeSet;

use super::policy::literal;
use super::{BadRoleName, Options, Policy, Role, Roles, Scope, Statement};
use crate::model::{AmiQuery, AsgSpec, FargateSpec, ImageReference, RoleArn, Session, TargetSpec};

/// What an update of a group mustn't say, as far as AWS has a condition key for it: sizes, subnets, what it launches on. The
/// desired capacity, health checks and cooldowns have none (docs/threat-model.md).
const UNTOUCHED: [&str; 6] = [
    "autoscaling:CapacityReservationIds",
    "autoscaling:CapacityReservationResourceGroupArns",
    "autoscaling:LaunchConfigurationName",
    "autoscaling:MaxSize",
    "autoscaling:MinSize",
    "autoscaling:VPCZoneIdentifiers",
];

/// Both roles of an environment.
pub(super) fn roles(scope: &Scope, options: &Options) -> Result<Roles, BadRoleName> {
    let place = Place::of(scope, options);
    let name = options.plan_role.as_str();
    let fits = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte));
    let arn = format!("arn:{}:iam::{}:role/{name}", place.partition, scope.account.id);
    let arn = RoleArn::try_from(arn).ok().filter(|_| fits).ok_or_else(|| BadRoleName { name: name.to_owned() })?;
    let mut reads = place.reads();
    let plan_reads = Policy::of(reads.iter().cloned().chain(place.plan_reads()).collect());
    let plan = Role {
        arn,
        trust: trust(&options.planners, scope, options, &[Session::Plan, Session::Bump]),
        permissions: plan_reads,
    };
    reads.extend(place.writes());
    let role = Role {
        arn: scope.account.role.clone(),
        trust: trust(&options.controllers, scope, options, &[Session::Run, Session::Plan, Session::Bump]),
        permissions: Policy::of(reads),
    };
    Ok(Roles { role, plan })
}

/// Who may assume a role: these identities, and only for its own environment, as the name of the session says. Who can change
/// the files of another environment can have Pinion assume that role there, too, but under that environment's name.
fn trust(principals: &BTreeSet<String>, scope: &Scope, options: &Options, sessions: &[Session]) -> Policy {
    let assume = Statement::allow("AssumedByPinion", ["sts:AssumeRole"]).for_whom(principals.iter().cloned()).only_if(
        "StringEquals",
        "sts:RoleSessionName",
        sessions.iter().map(|session| session.name(&scope.name)),
    );
    let assume = match &scope.account.external_id {
        Some(id) => assume.only_if("StringEquals", "sts:ExternalId", [id.as_str()]),
        None => assume,
    };
    let mut statements = vec![assume];
    if options.session_tags {
        let inherit = Statement::allow("InheritSessionTags", ["sts:TagSession"]);
        statements.push(inherit.for_whom(principals.iter().cloned()));
    }
    Policy::of(statements)
}

/// Roles that are given by name or ARN, as ARNs of an environment's account.
pub(super) fn role_arns(scope: &Scope, given: &BTreeSet<String>) -> Vec<String> {
    let partition = partition(scope);
    let account = scope.account.id.as_str();
    let arns = given.iter().filter_map(|role| match role.split(':').nth(4) {
        // One of another account's isn't passed on here.
        Some(other) if other != account => None,
        Some(_) => Some(role.clone()),
        None => Some(format!("arn:{partition}:iam::{account}:role/{role}")),
    });
    arns.collect()
}

fn partition(scope: &Scope) -> &str {
    scope.account.role.as_str().split(':').nth(1).unwrap_or("aws")
}

/// A repository as a policy's resource, and the account and region that it is in; none outside ECR.
pub(super) fn repository(image: &ImageReference, options: &Options) -> Option<(String, String, String)> {
    let (account, region) = image.ecr()?;
    Some((account.to_owned(), region.to_owned(), pattern(&image.repository, options)))
}

/// A parameter's ARN, from its name or ARN, with neither version nor label.
pub(super) fn parameter(scope: &Scope, named: &str, options: &Options) -> String {
    if named.starts_with("arn:") {
        let parts: Vec<&str> = named.splitn(7, ':').take(6).collect();
        return pattern(&parts.join(":"), options);
    }
    let name = pattern(named.split(':').next().unwrap_or(named), options);
    let (region, account) = (&scope.account.region, &scope.account.id);
    format!("arn:{}:ssm:{region}:{account}:parameter/{}", partition(scope), name.trim_start_matches('/'))
}

/// Text of a target with `*` where a version would be.
pub(super) fn pattern(text: &str, options: &Options) -> String {
    let text = literal(text);
    if options.any_version.is_empty() { text } else { text.replace(&options.any_version, "*") }
}

/// An environment's account and region, and what is in it.
struct Place<'a> {
    scope: &'a Scope,
    options: &'a Options,
    partition: &'a str,
    groups: Vec<&'a AsgSpec>,
    services: Vec<&'a FargateSpec>,
}

impl<'a> Place<'a> {
    fn of(scope: &'a Scope, options: &'a Options) -> Self {
        let (mut groups, mut services) = (Vec::new(), Vec::new());
        for target in &scope.targets {
            match target {
                TargetSpec::Asg(group) => groups.push(group),
                TargetSpec::Fargate(service) => services.push(service),
            }
        }
        Self { scope, options, partition: partition(scope), groups, services }
    }

    fn arn(&self, service: &str, rest: &str) -> String {
        let account = &self.scope.account;
        format!("arn:{}:{service}:{}:{}:{rest}", self.partition, account.region, account.id)
    }

    fn group_arns(&self) -> impl Iterator<Item = String> {
        // AWS makes up the part in the middle.
        let arn = |group: &&AsgSpec| {
            let name = literal(group.group.as_str());
            self.arn("autoscaling", &format!("autoScalingGroup:*:autoScalingGroupName/{name}"))
        };
        self.groups.iter().map(arn)
    }

    fn service_arns(&self, kind: &str, rest: &str) -> Vec<String> {
        let arn = |one: &&FargateSpec| self.arn("ecs", &format!("{kind}/{}/{}{rest}", one.cluster, one.service));
        self.services.iter().map(arn).collect()
    }

    /// For actions that have no resources: only in the environment's region.
    fn everywhere<const N: usize>(&self, sid: &str, actions: [&str; N]) -> Statement {
        let region = self.scope.account.region.as_str();
        Statement::allow(sid, actions).on(["*".to_owned()]).only_if("StringEquals", "aws:RequestedRegion", [region])
    }

    fn reads(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        if !self.groups.is_empty() {
            statements.push(self.everywhere(
                "ReadGroups",
                ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes"],
            ));
            let reads = ["ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions"];
            statements.push(self.everywhere("ReadImagesAndTemplates", reads));
        }
        if self.scope.newest {
            statements.push(self.everywhere("ReadNewestVersions", ["ec2:DescribeLaunchTemplates"]));
        }
        if self.scope.alarms {
            // On all: composite alarms are only in the answer for a role that may read every alarm (CloudWatch's API reference, DescribeAlarms).
            statements.push(self.everywhere("ReadAlarms", ["cloudwatch:DescribeAlarms"]));
        }
        let parameters = self.groups.iter().filter_map(|group| match &group.ami {
            AmiQuery::Parameter { parameter: named } => Some(parameter(self.scope, named, self.options)),
            AmiQuery::Name { .. } | AmiQuery::Tags { .. } | AmiQuery::Id { .. } => None,
        });
        let parameters: Vec<String> = parameters.collect();
        if !parameters.is_empty() {
            statements.push(Statement::allow("ReadParameters", ["ssm:GetParameters"]).on(parameters));
        }
        if !self.services.is_empty() {
            statements.push(
                Statement::allow("ReadServices", ["ecs:DescribeServices", "ecs:ListServiceDeployments"])
                    .on(self.service_arns("service", "")),
            );
            statements.push(
                Statement::allow("ReadDeployments", ["ecs:DescribeServiceDeployments"])
                    .on(self.service_arns("service", ""))
                    .on(self.service_arns("service-deployment", "/*")),
            );
            statements.push(
                Statement::allow("ReadRevisions", ["ecs:DescribeServiceRevisions"])
                    .on(self.service_arns("service", ""))
                    .on(self.service_arns("service-revision", "/*")),
            );
            statements.push(
                self.everywhere("ReadTaskDefinitions", ["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"]),
            );
        }
        let repositories = self.repositories();
        if !repositories.is_empty() {
            statements.push(Statement::allow("ReadContainerImages", ["ecr:BatchGetImage"]).on(repositories));
        }
        statements
    }

    /// What a plan shows people and a rollout doesn't need.
    fn plan_reads(&self) -> Option<Statement> {
        let repositories = self.repositories();
        let details = || Statement::allow("ReadContainerImageDetails", ["ecr:DescribeImages"]).on(repositories.clone());
        (!repositories.is_empty()).then(details)
    }

    fn repositories(&self) -> Vec<String> {
        let repositories = self.services.iter().filter_map(|one| repository(&one.image, self.options));
        let arn = |(account, region, name): (String, String, String)| {
            format!("arn:{}:ecr:{region}:{account}:repository/{name}", self.partition)
        };
        repositories.map(arn).collect()
    }

    fn writes(&self) -> Vec<Statement> {
        let mut statements = Vec::new();
        if !self.groups.is_empty() {
            statements.extend(self.write_groups());
        }
        if !self.services.is_empty() {
            statements.extend(self.write_services());
        }
        statements
    }

    fn write_groups(&self) -> Vec<Statement> {
        // Versions of another team's template would be what that team's groups on `$Latest` launch next.
        let ids = self.options.launch_templates.iter();
        let templates: Vec<String> =
            ids.map(|id| self.arn("ec2", &format!("launch-template/{}", literal(id)))).collect();
        let launched = ["instance", "network-interface", "volume"].map(|kind| self.arn("ec2", &format!("{kind}/*")));
        let given = ["capacity-reservation", "key-pair", "placement-group", "security-group", "subnet"]
            .map(|kind| self.arn("ec2", &format!("{kind}/*")));
        let unowned = |kind: &str| format!("arn:{}:ec2:{}::{kind}/*", self.partition, self.scope.account.region);
        let launch = Statement::allow("LaunchFromTemplates", ["ec2:RunInstances"])
            .on(launched.iter().chain(&given).cloned().chain(templates.clone()).chain([unowned("image")]))
            .only_if("ArnLike", "ec2:LaunchTemplate", templates.clone());
        // Snapshots have an owner, too, and that is another one than the images'.
        let snapshots = Statement::allow("LaunchFromSnapshots", ["ec2:RunInstances"])
            .on([unowned("snapshot")])
            .only_if("ArnLike", "ec2:LaunchTemplate", templates.clone());
        // Of these AWS doesn't say by which template they are asked for; all else that a launch takes is bound to ours.
        let spot = self.arn("ec2", "spot-instances-request/*");
        let bare = Statement::allow("LaunchOnSpotAndByLicence", ["ec2:RunInstances"])
            .on([
                self.arn("license-manager", "license-configuration:*"),
                self.arn("resource-groups", "group/*"),
                spot.clone(),
            ])
            .only_if("StringEquals", "aws:RequestedRegion", [self.scope.account.region.as_str()]);
        // Of the rest of what is launched only images have an owner.
        let launch = match self.owners() {
            Some(owners) => launch.only_if("StringEqualsIfExists", "ec2:Owner", owners),
            None => launch,
        };
        let refresh = ["CancelInstanceRefresh", "RollbackInstanceRefresh", "StartInstanceRefresh"]
            .map(|one| format!("autoscaling:{one}"));
        let refresh = refresh.each_ref().map(String::as_str);
        let nothing_but_the_template =
            UNTOUCHED.into_iter().fold(
                Statement::allow("NumberTemplates", ["autoscaling:UpdateAutoScalingGroup"])
                    .on(self.group_arns())
                    .only_if("Bool", "autoscaling:LaunchTemplateVersionSpecified", ["true"]),
                |statement, key| statement.only_if("Null", key, ["true"]),
            );
        let mut statements =
            vec![
                Statement::allow("RollOutGroups", refresh).on(self.group_arns()),
                nothing_but_the_template,
                Statement::allow("TagWhatIsLaunched", ["ec2:CreateTags"])
                    .on(launched.into_iter().chain([spot]))
                    .only_if("StringEquals", "ec2:CreateAction", ["RunInstances"]),
            ];
        if !templates.is_empty() {
            statements
                .push(Statement::allow("MakeTemplateVersions", ["ec2:CreateLaunchTemplateVersion"]).on(templates));
            statements.extend([launch, snapshots, bare]);
        }
        let roles = role_arns(self.scope, &self.options.instance_roles);
        if !roles.is_empty() {
            statements.push(Statement::allow("PassRolesToInstances", ["iam:PassRole"]).on(roles).only_if(
                "StringEquals",
                "iam:PassedToService",
                ["ec2.amazonaws.com"],
            ));
        }
        statements
    }

    /// The owners of the groups' AMIs, if the files say all of them.
    fn owners(&self) -> Option<BTreeSet<String>> {
        let owner = |group: &&AsgSpec| match &group.ami {
            AmiQuery::Name { owner, .. } | AmiQuery::Tags { owner, .. } => owner.as_ref().map(ToString::to_string),
            AmiQuery::Parameter { .. } | AmiQuery::Id { .. } => None,
        };
        self.groups.iter().map(owner).collect()
    }

    fn write_services(&self) -> Vec<Statement> {
        // Which family a service is of, only its task definition says.
        let definitions = [self.arn("ecs", "task-definition/*:*")];
        let mut statements = vec![
            Statement::allow("RollOutServices", ["ecs:UpdateService"]).on(self.service_arns("service", "")),
            Statement::allow("RollBackServices", ["ecs:StopServiceDeployment"])
                .on(self.service_arns("service", ""))
                .on(self.service_arns("service-deployment", "/*")),
            Statement::allow("RegisterTaskDefinitions", ["ecs:RegisterTaskDefinition"]).on(definitions.clone()),
            Statement::allow("TagTaskDefinitions", ["ecs:TagResource"]).on(definitions).only_if(
                "StringEquals",
                "ecs:CreateAction",
                ["RegisterTaskDefinition"],
            ),
        ];
        let given = self.options.task_roles.union(&self.options.execution_roles).cloned().collect();
        let roles = role_arns(self.scope, &given);
        if !roles.is_empty() {
            statements.push(Statement::allow("PassRolesToTasks", ["iam:PassRole"]).on(roles).only_if(
                "StringEquals",
                "iam:PassedToService",
                ["ecs-tasks.amazonaws.com"],
            ));
        }
        statements
    }
}
