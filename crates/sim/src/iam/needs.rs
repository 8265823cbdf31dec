//! What AWS asks permission for: for each operation its action, on which resources, with which condition keys. After AWS's
//! service authorization reference.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::wire::{Args, Call, Service, as_text};
use super::super::world::{Group, LaunchTemplate, World};
use super::{Context, as_role_arn, tags_of};

/// One permission that a call needs.
#[derive(Debug, Clone)]
pub(super) struct Need {
    pub(super) action: String,
    pub(super) resource: String,
    pub(super) context: Context,
    /// The launch template for whose sake Auto Scaling asks.
    pub(super) template: Option<String>,
}

impl Need {
    fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: Context::new(), template: None }
    }

    fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.insert(key.to_ascii_lowercase(), vec![value.into()]);
        self
    }

    /// The resource has these tags; `prefixes` are the services' own spellings of the key.
    fn tagged(mut self, tags: &BTreeMap<String, String>, prefixes: &[&str]) -> Self {
        for (key, value) in tags {
            for prefix in ["aws"].iter().chain(prefixes) {
                self = self.with(&format!("{prefix}:ResourceTag/{key}"), value);
            }
        }
        self
    }

    /// The request gives these tags.
    fn tagging(mut self, tags: &BTreeMap<String, String>) -> Self {
        for (key, value) in tags {
            self = self.with(&format!("aws:RequestTag/{key}"), value);
        }
        if !tags.is_empty() {
            self.context.insert("aws:tagkeys".to_owned(), tags.keys().cloned().collect());
        }
        self
    }
}

/// The permissions that a call needs of its caller. What lacks a parameter needs none: it is refused for that.
pub(super) fn of(world: &World, call: &Call) -> Vec<Need> {
    match call.service {
        // Trust comes into it; see `of_assume_role`. Who one is, everybody may ask.
        Service::Sts => Vec::new(),
        Service::Ec2 => ec2(world, call),
        Service::AutoScaling => autoscaling(world, call),
        Service::Ecs => ecs(world, call),
        Service::Ecr => ecr(call),
        Service::Ssm => ssm(call),
        Service::CloudWatch => vec![Need::new(action(call), "*")],
    }
}

/// The permissions that assuming a role takes.
pub(super) fn of_assume_role(call: &Call, role_arn: &str) -> Vec<Need> {
    let args = call.args();
    let (tags, transitive) = (tags_of(args.list("Tags")), args.texts("TransitiveTagKeys"));
    let name = args.text("RoleSessionName").unwrap_or_default();
    let need = |action: &str| {
        let mut need = Need::new(action, role_arn).with("sts:RoleSessionName", name).tagging(&tags);
        for (key, value) in [("sts:ExternalId", "ExternalId"), ("sts:SourceIdentity", "SourceIdentity")] {
            if let Some(value) = args.text(value) {
                need = need.with(key, value);
            }
        }
        need
    };
    let mut needs = vec![need("sts:AssumeRole")];
    if !tags.is_empty() || !call.caller.transitive.is_empty() {
        let mut need = need("sts:TagSession");
        if !transitive.is_empty() {
            need.context.insert("sts:transitivetagkeys".to_owned(), transitive);
        }
        needs.push(need);
    }
    if args.has("SourceIdentity") {
        needs.push(need("sts:SetSourceIdentity"));
    }
    needs
}

fn action(call: &Call) -> String {
    format!("{}:{}", call.service.name(), call.operation)
}

/// The ARN of something of the caller's account and the call's region.
fn arn(call: &Call, service: &str, rest: &str) -> String {
    format!("arn:aws:{service}:{}:{}:{rest}", call.region, call.caller.account)
}

fn find_template<'w>(world: &'w World, call: &Call, args: Args<'_>) -> Option<&'w LaunchTemplate> {
    let (id, name) = (args.text("LaunchTemplateId"), args.text("LaunchTemplateName"));
    let held = world.region(&call.caller.account, &call.region)?;
    held.templates.values().find(|one| Some(one.id.as_str()) == id || Some(one.name.as_str()) == name)
}

fn ec2(world: &World, call: &Call) -> Vec<Need> {
    let args = call.args();
    let need = |resource: String| Need::new(action(call), resource).with("ec2:Region", &call.region);
    match call.operation.as_str() {
        "CreateLaunchTemplateVersion" | "ModifyLaunchTemplate" => {
            let found = find_template(world, call, args);
            let id = found.map(|one| one.id.as_str()).or(args.text("LaunchTemplateId")).unwrap_or("*");
            let tags = found.map(|one| one.tags.clone()).unwrap_or_default();
            vec![need(arn(call, "ec2", &format!("launch-template/{id}"))).tagged(&tags, &["ec2"])]
        }
        "DescribeLaunchTemplateVersions" if args.flag("ResolveAlias") == Some(true) => {
            vec![need("*".to_owned()), Need::new("ssm:GetParameters", arn(call, "ssm", "parameter/*"))]
        }
        _ => vec![need("*".to_owned())],
    }
}

fn autoscaling(world: &World, call: &Call) -> Vec<Need> {
    let args = call.args();
    if call.operation.starts_with("Describe") {
        return vec![Need::new(action(call), "*")];
    }
    let Some(name) = args.text("AutoScalingGroupName") else { return Vec::new() };
    let group = world.region(&call.caller.account, &call.region).and_then(|held| held.groups.get(name));
    let unknown = || arn(call, "autoscaling", &format!("autoScalingGroup:*:autoScalingGroupName/{name}"));
    let resource = group.map_or_else(unknown, |group| group.arn.clone());
    let tags = group.map(|group| group.tags.clone()).unwrap_or_default();
    let mut need = Need::new(action(call), resource).tagged(&tags, &["autoscaling"]);

    let at = if call.operation == "StartInstanceRefresh" { args.at("DesiredConfiguration") } else { Some(args) };
    let templates = at.map(templates_in).unwrap_or_default();
    if !templates.is_empty() && call.operation == "UpdateAutoScalingGroup" {
        let numbered = |given: &Args<'_>| given.text("Version").is_some_and(|version| version.parse::<u64>().is_ok());
        let all = templates.iter().all(numbered).to_string();
        need = need.with("autoscaling:LaunchTemplateVersionSpecified", all);
    }
    if call.operation == "UpdateAutoScalingGroup" {
        need = changed(need, args);
    }
    let launches = templates.into_iter().flat_map(|given| launch(world, call, given, group));
    std::iter::once(need).chain(launches).collect()
}

/// The condition keys of what an update changes: those that AWS has. For the desired capacity it has none.
fn changed(mut need: Need, args: Args<'_>) -> Need {
    for (key, member) in [
        ("autoscaling:MinSize", "MinSize"),
        ("autoscaling:MaxSize", "MaxSize"),
        ("autoscaling:LaunchConfigurationName", "LaunchConfigurationName"),
    ] {
        if let Some(value) = args.value.get(member).and_then(as_text) {
            need = need.with(key, value);
        }
    }
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    if let Some(subnets) = args.text("VPCZoneIdentifier") {
        need.context.insert("autoscaling:vpczoneidentifiers".to_owned(), list(subnets));
    }
    let target = args.at("CapacityReservationSpecification").and_then(|given| given.at("CapacityReservationTarget"));
    for (key, member) in [
        ("autoscaling:capacityreservationids", "CapacityReservationIds"),
        ("autoscaling:capacityreservationresourcegrouparns", "CapacityReservationResourceGroupArns"),
    ] {
        let given = target.map(|target| target.texts(member)).unwrap_or_default();
        if !given.is_empty() {
            need.context.insert(key.to_owned(), given);
        }
    }
    need
}

/// All launch templates that a request or a desired configuration names.
fn templates_in(args: Args<'_>) -> Vec<Args<'_>> {
    let policy = args.at("MixedInstancesPolicy").and_then(|policy| policy.at("LaunchTemplate"));
    let overrides = policy.map(|policy| policy.list("Overrides")).unwrap_or_default();
    let overrides = overrides.iter().map(|value| Args { service: args.service, value });
    let whole = policy.and_then(|policy| policy.at("LaunchTemplateSpecification"));
    let named = overrides.filter_map(|one| one.at("LaunchTemplateSpecification"));
    args.at("LaunchTemplate").into_iter().chain(whole).chain(named).collect()
}

/// Setting a launch template takes all that launching an instance from it would.
fn launch(world: &World, call: &Call, given: Args<'_>, group: Option<&Group>) -> Vec<Need> {
    let Some(template) = find_template(world, call, given) else { return Vec::new() };
    let number = template.number(given.text("Version").unwrap_or("$Default"));
    let Some(version) = number.and_then(|number| template.versions.get(&number)) else { return Vec::new() };
    let data = Args { service: Service::Ec2, value: &Value::Object(version.data.clone()) };
    let template_arn = arn(call, "ec2", &format!("launch-template/{}", template.id));
    let mut needs = Vec::new();
    let mut run = |resource: String, from_template: bool, more: &[(&str, &str)]| {
        let mut need = Need::new("ec2:RunInstances", resource)
            .with("ec2:Region", &call.region)
            .with("ec2:LaunchTemplate", &template_arn)
            .with("ec2:IsLaunchTemplateResource", from_template.to_string());
        for (key, value) in more {
            need = need.with(key, *value);
        }
        needs.push(need);
    };
    run(template_arn.clone(), false, &[]);
    let image = data.text("ImageId").and_then(|named| world.resolve_image(&call.caller.account, &call.region, named));
    if let Some(image) = image {
        let held = world.image(&call.region, &image);
        let owner = held.map(|image| image.owner.as_str()).unwrap_or_default();
        let public = held.is_some_and(|image| image.public).to_string();
        let arn = format!("arn:aws:ec2:{}::image/{image}", call.region);
        run(arn, true, &[("ec2:Owner", owner), ("ec2:Public", &public)]);
    }
    let kind = data.text("InstanceType").unwrap_or_default();
    run(arn(call, "ec2", "instance/*"), true, &[("ec2:InstanceType", kind)]);
    run(arn(call, "ec2", "volume/*"), true, &[]);
    run(arn(call, "ec2", "network-interface/*"), true, &[]);
    for subnet in group.map(|group| group.subnets.as_str()).unwrap_or_default().split(',').filter(|one| !one.is_empty())
    {
        run(arn(call, "ec2", &format!("subnet/{subnet}")), false, &[]);
    }
    let interfaces = data.list("NetworkInterfaces").iter().map(|value| Args { service: Service::Ec2, value });
    let mut security: Vec<String> = interfaces.flat_map(|one| one.texts("Groups")).collect();
    security.extend(data.texts("SecurityGroupIds"));
    if security.is_empty() {
        // The network's default one.
        security.push("sg-0default".to_owned());
    }
    for one in security {
        run(arn(call, "ec2", &format!("security-group/{one}")), data.has("SecurityGroupIds"), &[]);
    }
    if let Some(key) = data.text("KeyName") {
        run(arn(call, "ec2", &format!("key-pair/{key}")), true, &[]);
    }
    let devices = data.list("BlockDeviceMappings").iter().map(|value| Args { service: Service::Ec2, value });
    for snapshot in devices.filter_map(|device| device.at("Ebs")?.text("SnapshotId").map(str::to_owned)) {
        let arn = format!("arn:aws:ec2:{}::snapshot/{snapshot}", call.region);
        run(arn, true, &[("ec2:Owner", &call.caller.account)]);
    }
    if let Some(placement) = data.at("Placement").and_then(|placement| placement.text("GroupName")) {
        run(arn(call, "ec2", &format!("placement-group/{placement}")), true, &[]);
    }
    let target = data.at("CapacityReservationSpecification").and_then(|given| given.at("CapacityReservationTarget"));
    if let Some(reservation) = target.and_then(|target| target.text("CapacityReservationId")) {
        run(arn(call, "ec2", &format!("capacity-reservation/{reservation}")), true, &[]);
    }
    // These have no key that says by which template: AWS's service authorization reference lists none for them.
    let bare = |resource: String| Need::new("ec2:RunInstances", resource).with("aws:RequestedRegion", &call.region);
    if let Some(group) = target.and_then(|target| target.text("CapacityReservationResourceGroupArn")) {
        needs.push(bare(group.to_owned()));
    }
    let licences = data.list("LicenseSpecifications").iter().map(|value| Args { service: Service::Ec2, value });
    needs.extend(licences.filter_map(|one| Some(bare(one.text("LicenseConfigurationArn")?.to_owned()))));
    if data.at("InstanceMarketOptions").is_some_and(|options| options.text("MarketType") == Some("spot")) {
        needs.push(bare(arn(call, "ec2", "spot-instances-request/*")));
    }
    for specification in data.list("TagSpecifications") {
        let specification = Args { service: Service::Ec2, value: specification };
        let kind = specification.text("ResourceType").unwrap_or("instance");
        let need = Need::new("ec2:CreateTags", arn(call, "ec2", &format!("{kind}/*")))
            .with("ec2:CreateAction", "RunInstances")
            .tagging(&tags_of(specification.list("Tags")));
        needs.push(need);
    }
    if let Some(profile) = data.at("IamInstanceProfile") {
        // A profile has the name of its role here, as it has when the console makes it.
        let named = profile.text("Name").or_else(|| profile.text("Arn")?.rsplit('/').next()).unwrap_or("*");
        let need = Need::new("iam:PassRole", as_role_arn(&call.caller.account, named))
            .with("iam:PassedToService", "ec2.amazonaws.com");
        needs.push(need);
    }
    for need in &mut needs {
        need.template = Some(template.id.clone());
    }
    needs
}

/// The last part of an ARN, or the name itself.
fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn ecs(world: &World, call: &Call) -> Vec<Need> {
    let args = call.args();
    let name = short(args.text("cluster").unwrap_or("default"));
    let cluster_arn = arn(call, "ecs", &format!("cluster/{name}"));
    let held = world.region(&call.caller.account, &call.region);
    let need = |resource: String| Need::new(action(call), resource).with("ecs:cluster", &cluster_arn);
    let service = |asked: &str| {
        let asked = short(asked);
        let found = held.and_then(|held| held.clusters.get(name)?.services.get(asked));
        let tags = found.map(|service| tags_of(&service.tags)).unwrap_or_default();
        need(arn(call, "ecs", &format!("service/{name}/{asked}"))).tagged(&tags, &["ecs"])
    };
    let task = |asked: &str| need(arn(call, "ecs", &format!("task/{name}/{}", short(asked))));
    match call.operation.as_str() {
        "DescribeClusters" => {
            let named = args.texts("clusters").into_iter();
            named.map(|one| Need::new(action(call), arn(call, "ecs", &format!("cluster/{}", short(&one))))).collect()
        }
        "DescribeServices" => args.texts("services").iter().map(|asked| service(asked)).collect(),
        "UpdateService" | "ListServiceDeployments" => {
            let need = args.text("service").map(service);
            let definition = args.text("taskDefinition").and_then(|asked| {
                world.task_definition(&call.caller.account, &call.region, asked).map(|found| found.arn.clone())
            });
            let with_definition = |need: Need| match definition {
                Some(definition) => need.with("ecs:task-definition", definition),
                None => need,
            };
            need.map(with_definition).into_iter().collect()
        }
        "DescribeServiceDeployments" => parts(call, &args.texts("serviceDeploymentArns")),
        "DescribeServiceRevisions" => parts(call, &args.texts("serviceRevisionArns")),
        "StopServiceDeployment" | "ContinueServiceDeployment" => {
            parts(call, args.text("serviceDeploymentArn").map(str::to_owned).as_slice())
        }
        "DescribeTasks" => args.texts("tasks").iter().map(|asked| task(asked)).collect(),
        "StopTask" => args.text("task").map(task).into_iter().collect(),
        "ListServices" | "ListTasks" => vec![need("*".to_owned())],
        "RegisterTaskDefinition" => register(call),
        "TagResource" | "ListTagsForResource" => {
            let tags = tags_of(args.list("tags"));
            args.text("resourceArn").map(|arn| Need::new(action(call), arn).tagging(&tags)).into_iter().collect()
        }
        _ => vec![Need::new(action(call), "*")],
    }
}

/// Service deployments and revisions: each needs its own ARN, and its service's.
fn parts(call: &Call, arns: &[String]) -> Vec<Need> {
    let needs = arns.iter().flat_map(|asked| {
        let mut names = asked.split('/').skip(1);
        let (cluster, service) = (names.next().unwrap_or("*"), names.next().unwrap_or("*"));
        let cluster_arn = arn(call, "ecs", &format!("cluster/{cluster}"));
        let service_arn = arn(call, "ecs", &format!("service/{cluster}/{service}"));
        [service_arn.clone(), asked.clone()].map(|resource| {
            Need::new(action(call), resource).with("ecs:cluster", &cluster_arn).with("ecs:service", &service_arn)
        })
    });
    needs.collect()
}

/// Registering passes the task's roles on, and tags need a permission of their own.
fn register(call: &Call) -> Vec<Need> {
    let args = call.args();
    let Some(family) = args.text("family") else { return Vec::new() };
    let resource = arn(call, "ecs", &format!("task-definition/{family}:*"));
    let tags = tags_of(args.list("tags"));
    let mut needs = vec![Need::new(action(call), &resource).tagging(&tags)];
    if !tags.is_empty() {
        let need = Need::new("ecs:TagResource", &resource).tagging(&tags);
        needs.push(need.with("ecs:CreateAction", "RegisterTaskDefinition"));
    }
    for role in ["taskRoleArn", "executionRoleArn"].iter().filter_map(|member| args.text(member)) {
        let need = Need::new("iam:PassRole", as_role_arn(&call.caller.account, role));
        needs.push(need.with("iam:PassedToService", "ecs-tasks.amazonaws.com"));
    }
    needs
}

fn ecr(call: &Call) -> Vec<Need> {
    let args = call.args();
    let owner = args.text("registryId").unwrap_or(&call.caller.account);
    let names = match args.text("repositoryName") {
        Some(name) => vec![name.to_owned()],
        None => args.texts("repositoryNames"),
    };
    let names = if names.is_empty() { vec!["*".to_owned()] } else { names };
    let arn = |name: &String| format!("arn:aws:ecr:{}:{owner}:repository/{name}", call.region);
    names.iter().map(|name| Need::new(action(call), arn(name))).collect()
}

fn ssm(call: &Call) -> Vec<Need> {
    // AWS's service authorization reference names no resource for it.
    if call.operation == "DescribeParameters" {
        return vec![Need::new(action(call), "*")];
    }
    let args = call.args();
    let mut names: Vec<String> = args.list("Names").iter().filter_map(as_text).collect();
    names.extend(args.text("Name").map(str::to_owned));
    let resource = |name: &String| {
        // Without version or label: those are no part of the resource.
        if name.starts_with("arn:") {
            return name.splitn(7, ':').take(6).collect::<Vec<_>>().join(":");
        }
        let name = name.split(':').next().unwrap_or(name);
        arn(call, "ssm", &format!("parameter/{}", name.trim_start_matches('/')))
    };
    names.iter().map(|name| Need::new(action(call), resource(name))).collect()
}
