"""Drives the simulator with AWS's own clients, and holds every answer against AWS's models: drive.py PINION FOLDER.

All operations of the simulator in success, every error code that it has, botocore's waiters and paginators, and the AWS
command line. Prints one line of JSON; the test beside this file reads it.
"""

import datetime
import json
import os
import subprocess
import sys
import urllib.request

import boto3
import botocore.exceptions
from botocore.config import Config

from shapes import Checker

REGION = "us-west-1"
DEV = "222222222222"
COMMON = "333333333333"
READ_ONLY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["ecs:Describe*", "sts:*"], "Resource": "*"}],
}
TASK = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
    "executionRoleArn": f"arn:aws:iam::{DEV}:role/app-execution",
}


def world():
    """The world file."""
    many = ",\n".join('{ data = { ImageId = "ami-0000000000000140" } }' for _ in range(10_000))
    image = f"{COMMON}.dkr.ecr.{REGION}.amazonaws.com/backend:2.0.0"
    container = f'{{ name = "app", essential = true, image = "{image}", healthCheck = {{ command = ["CMD", "true"] }} }}'
    task = (
        'networkMode = "awsvpc"\nrequiresCompatibilities = ["FARGATE"]\ncpu = "256"\nmemory = "512"\n'
        f'executionRoleArn = "arn:aws:iam::{DEV}:role/app-execution"\ncontainerDefinitions = [{container}]\n'
    )
    ids = {version: f"ami-000000000000{version.replace('.', ''):0<5}" for version in ("1.4.0", "1.4.1", "1.4.2")}
    images = "".join(
        f'[[account.image]]\nid = "{ids[version]}"\nname = "frontend-{version}"\nshared_with = ["{DEV}"]\n'
        f'tags = {{ role = "frontend", version = "{version}" }}\n'
        for version in ids
    )
    return f"""
controller = "111111111111"
region = "{REGION}"

[[account]]
id = "111111111111"
name = "tools"
key = [{{ id = "AKIAREADER", user = "reader" }}]
user = [{{ name = "reader", policies = ['''{json.dumps(READ_ONLY)}'''] }}]

[[account]]
id = "{COMMON}"
name = "common"
{images}
[[account.repository]]
name = "backend"
allowed = ["{DEV}"]
image = [{{ tags = ["2.0.0"] }}, {{ tags = ["2.1.0"] }}, {{ tags = ["2.1.1"], behaviour = "exits" }}]
[[account.repository]]
name = "secret"
image = [{{ tags = ["1"] }}]

[[account]]
id = "{DEV}"
name = "dev"
role = [
    {{ name = "pinion", external_id = "pinion-7f3a" }},
    {{ name = "read-only", policies = ['''{json.dumps(READ_ONLY)}'''] }},
]
parameter = [{{ name = "/App/AmiId", data_type = "aws:ec2:image", versions = ["{ids['1.4.0']}"], labels = {{ stable = 1 }} }}]
repository = [{{ name = "own", image = [{{ tags = ["1"] }}] }}, {{ name = "other" }}]

[[account.launch_template]]
name = "web"
tags = {{ team = "web" }}
[[account.launch_template.version]]
description = "the first"
data = {{ ImageId = "{ids['1.4.0']}", InstanceType = "t3.small", KeyName = "ops", SecurityGroupIds = ["sg-1"], UserData = "YQ==", EbsOptimized = true, IamInstanceProfile = {{ Name = "web" }}, Monitoring = {{ Enabled = true }}, MetadataOptions = {{ HttpTokens = "required", HttpPutResponseHopLimit = 1 }}, TagSpecifications = [{{ ResourceType = "instance", Tags = [{{ Key = "Name", Value = "<&>" }}] }}], BlockDeviceMappings = [{{ DeviceName = "/dev/xvda", Ebs = {{ VolumeSize = 8, Encrypted = true }} }}] }}
[[account.launch_template]]
name = "alias"
version = [{{ data = {{ ImageId = "resolve:ssm:/App/AmiId", InstanceType = "t3.small" }} }}]
[[account.launch_template]]
name = "full"
version = [
{many}
]

[[account.group]]
name = "web"
launch_template = "web"
desired = 3
warmup = 5
maintenance = [90, 120]
suspended = ["AZRebalance"]
protected = 1
target_groups = ["arn:aws:elasticloadbalancing:{REGION}:{DEV}:targetgroup/web/0123456789abcdef"]
tags = {{ team = "web" }}
[[account.group]]
name = "hooked"
launch_template = "web"
desired = 1
hooks = {{ launching = {{ name = "boot" }}, terminating = {{ name = "drain" }} }}
warm_pool = {{ min = 1 }}
[[account.group]]
name = "mixed"
launch_template = "web"
desired = 1
mixed = {{ overrides = [{{ InstanceType = "m7i.large" }}], distribution = {{ OnDemandBaseCapacity = 1 }} }}
[[account.group]]
name = "old"
launch_configuration = {{ name = "old", image = "{ids['1.4.0']}" }}
desired = 1
[[account.group]]
name = "latest"
launch_template = "web"
version = "$Latest"
desired = 1
[[account.group]]
name = "alias"
launch_template = "alias"
desired = 1

[[account.task_definition]]
tags = {{ team = "backend" }}
[account.task_definition.definition]
family = "api"
{task}
[[account.cluster]]
name = "app"
[[account.cluster.service]]
name = "api"
task_definition = "api"
desired = 2
load_balancer = true
tags = {{ team = "backend" }}
configuration = {{ deploymentCircuitBreaker = {{ enable = true, rollback = true }} }}
[[account.cluster.service]]
name = "deployed"
task_definition = "api"
desired = 1
controller = "CODE_DEPLOY"
[[account.cluster.service]]
name = "gone"
task_definition = "api"
desired = 0
active = false
"""


class Sim:
    """A simulator, whose time only this script moves."""

    def __init__(self, pinion, folder):
        self.pinion, self.folder, self.process = pinion, folder, None
        with open(os.path.join(folder, "world.toml"), "w") as file:
            file.write(world())
        self.start()

    def start(self):
        arguments = ["sim", "--world", "world.toml", "--listen", "127.0.0.1:0", "--speed", "0", "--state", "world.json"]
        self.process = subprocess.Popen(
            [self.pinion, *arguments], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for line in self.process.stdout:
            if "AWS_ENDPOINT_URL=" in line:
                self.endpoint = line.split("=", 1)[1].strip()
            if line.startswith("What runs"):
                return
        raise RuntimeError("the simulator doesn't start")

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def post(self, path, body):
        url = f"{self.endpoint}/_sim/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def delete(self, path):
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/_sim/{path}", method="DELETE")) as answer:
            answer.read()

    def advance(self, seconds):
        self.post("advance", {"seconds": seconds})


class Clients:
    """boto3's clients, with each answer checked as it comes."""

    def __init__(self, sim, checker):
        self.sim, self.checker = sim, checker

    def client(self, service, key="test", secret="test", token=None):
        client = boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.sim.endpoint,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            # Faulty parameters are the simulator's to refuse.
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
        )

        def check(http_response, model, **_):
            self.checker.check(service, model.name, http_response.status_code, http_response.content.decode())

        client.meta.events.register("after-call.*.*", check)
        return client

    def assume(self, role, external_id=None, **more):
        arguments = {"ExternalId": external_id} if external_id else {}
        sts = self.client("sts")
        answer = sts.assume_role(
            RoleArn=f"arn:aws:iam::{DEV}:role/{role}", RoleSessionName="truth", **arguments, **more
        )
        issued = answer["Credentials"]
        return issued["AccessKeyId"], issued["SecretAccessKey"], issued["SessionToken"]


def refused(code, call, *arguments, **named):
    """The call is answered with this code."""
    try:
        call(*arguments, **named)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, f"{error} is not {code}"
        return
    raise AssertionError(f"{code} was expected of {call}")


def drive_sts(clients):
    sts = clients.client("sts")
    sts.get_caller_identity()
    clients.assume("pinion", "pinion-7f3a", Tags=[{"Key": "team", "Value": "web"}], DurationSeconds=900)
    refused("AccessDenied", clients.assume, "pinion")
    refused("AccessDenied", clients.assume, "nobody")
    refused("ValidationError", sts.assume_role, RoleArn=f"arn:aws:iam::{DEV}:role/pinion", RoleSessionName="?")
    refused("ValidationError", sts.assume_role, RoleSessionName="x")
    refused("InvalidClientTokenId", clients.client("sts", "ASIAUNKNOWN", "x", "x").get_caller_identity)
    refused("InvalidAction", sts.get_session_token)


def drive_ec2(clients, keys, sim):
    ec2 = clients.client("ec2", *keys)
    ec2.describe_images(Owners=[COMMON], Filters=[{"Name": "name", "Values": ["frontend-*"]}])
    ec2.describe_images(IncludeDeprecated=True, IncludeDisabled=True)
    ec2.describe_instances(Filters=[{"Name": "tag:aws:autoscaling:groupName", "Values": ["web"]}])
    ec2.describe_instance_types(InstanceTypes=["t4g.small", "m7i.large"])
    ec2.describe_launch_templates()
    ec2.describe_launch_template_versions(LaunchTemplateName="web")
    ec2.describe_launch_template_versions(Versions=["$Latest", "$Default"])
    ec2.describe_launch_template_versions(LaunchTemplateName="alias", Versions=["1"], ResolveAlias=True)
    made = ec2.create_launch_template_version(
        LaunchTemplateName="web",
        SourceVersion="1",
        VersionDescription="<the second>",
        ClientToken="token",
        LaunchTemplateData={
            "ImageId": "ami-00000000000014100",
            "NetworkInterfaces": [{"DeviceIndex": 0, "Groups": ["sg-1"], "SubnetId": "subnet-1"}],
        },
    )
    assert made["LaunchTemplateVersion"]["VersionNumber"] == 2
    ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData={"ImageId": "ami-00000000000099900"})
    ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="1")
    names = {"LaunchTemplateName": "web"}
    data = {"LaunchTemplateData": {"ImageId": "ami-00000000000014200"}}
    create = ec2.create_launch_template_version
    refused("IdempotentParameterMismatch", create, **names, ClientToken="token", **data)
    refused("InvalidParameterValue", create, **names, ClientToken="x" * 129, **data)
    refused("MissingParameter", create, **data)
    refused("InvalidParameterCombination", create, LaunchTemplateId="lt-1", **names, **data)
    refused("InvalidLaunchTemplateId.NotFound", create, LaunchTemplateId="lt-0123456789abcdef0", **data)
    refused("InvalidLaunchTemplateName.NotFoundException", create, LaunchTemplateName="no", **data)
    refused("InvalidLaunchTemplateId.VersionNotFound", create, **names, SourceVersion="99", **data)
    refused("VersionLimitExceeded", create, LaunchTemplateName="full", **data)
    refused("DryRunOperation", create, **names, **data, DryRun=True)
    refused("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["image"])
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=["ami-00000000000000000"])
    refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=["i-00000000000000000"])
    refused("InvalidInstanceType", ec2.describe_instance_types, InstanceTypes=["large"])
    refused("InvalidParameterValue", ec2.describe_images, Filters=[{"Name": "colour", "Values": ["red"]}])
    refused("InvalidAction", ec2.describe_vpcs)
    refused("AuthFailure", clients.client("ec2", "ASIAUNKNOWN", "x", "x").describe_images)
    refused("UnauthorizedOperation", clients.client("ec2", "AKIAREADER").describe_images)
    # What is deregistered lingers, then is empty, then unknown.
    gone = {"id": "ami-00000000000014900", "name": "gone", "state": "deregistered", "shared_with": [DEV]}
    sim.post("images", {"account": COMMON, "image": gone})
    for _ in range(2):
        ec2.describe_images(ImageIds=[gone["id"]])
        sim.advance(100)
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[gone["id"]])


def drive_autoscaling(clients, keys, sim):
    asg = clients.client("autoscaling", *keys)
    asg.describe_auto_scaling_groups()
    asg.describe_auto_scaling_groups(AutoScalingGroupNames=["web"], IncludeInstances=False)
    target = {"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "2"}}
    preferences = {
        "AutoRollback": True,
        "SkipMatching": True,
        "MinHealthyPercentage": 90,
        "MaxHealthyPercentage": 120,
        "CheckpointPercentages": [50, 100],
        "CheckpointDelay": 10,
        "BakeTime": 10,
        "ScaleInProtectedInstances": "Refresh",
        "StandbyInstances": "Ignore",
        "AlarmSpecification": {"Alarms": ["web-5xx"]},
    }
    web = {"AutoScalingGroupName": "web"}

    def look():
        """What all operations that read say."""
        asg.describe_auto_scaling_groups()
        clients.client("ec2", *keys).describe_instances()
        return asg.describe_instance_refreshes(**web)["InstanceRefreshes"][0]["Status"]

    statuses = set()

    def until(*wanted):
        for _ in range(200):
            status = look()
            statuses.add(status)
            if status in wanted:
                return
            sim.advance(5)
        raise AssertionError(f"it stays {status}, and was to be {wanted}")

    refused("ActiveInstanceRefreshNotFound", asg.cancel_instance_refresh, **web)
    asg.start_instance_refresh(**web, DesiredConfiguration=target, Preferences=preferences)
    refused("InstanceRefreshInProgress", asg.start_instance_refresh, **web)
    until("InProgress")
    refused("ValidationError", asg.update_auto_scaling_group, **web, LaunchTemplate=target["LaunchTemplate"])
    until("Baking")
    asg.rollback_instance_refresh(**web)
    refused("IrreversibleInstanceRefresh", asg.rollback_instance_refresh, **web)
    until("RollbackSuccessful")
    asg.start_instance_refresh(**web, DesiredConfiguration=target, Preferences=preferences)
    sim.advance(10)
    asg.cancel_instance_refresh(**web)
    until("Cancelled")
    # An alarm, and a version that can't be launched at all.
    asg.start_instance_refresh(**web, DesiredConfiguration=target, Preferences=preferences)
    sim.advance(5)
    sim.post("alarms", {"account": DEV, "name": "web-5xx", "raised": True})
    until("RollbackSuccessful")
    sim.post("alarms", {"account": DEV, "name": "web-5xx", "raised": False})
    broken = {"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "3"}}
    asg.start_instance_refresh(**web, DesiredConfiguration=broken, Preferences={"ScaleInProtectedInstances": "Refresh"})
    sim.advance(3600)
    until("Failed")
    asg.start_instance_refresh(**web, DesiredConfiguration=target, Preferences=preferences)
    until("Successful")
    asg.set_desired_capacity(**web, DesiredCapacity=4)
    asg.update_auto_scaling_group(
        AutoScalingGroupName="mixed",
        MixedInstancesPolicy={
            "LaunchTemplate": {
                "LaunchTemplateSpecification": {"LaunchTemplateName": "web", "Version": "1"},
                "Overrides": [{"InstanceType": "t3.large"}],
            },
            "InstancesDistribution": {"OnDemandBaseCapacity": 1},
        },
    )
    asg.describe_auto_scaling_groups()
    # Hooks, and a warm pool from which the group scales out.
    hooked = {"AutoScalingGroupName": "hooked"}
    asg.describe_lifecycle_hooks(**hooked)
    asg.describe_warm_pool(**hooked)
    asg.set_desired_capacity(**hooked, DesiredCapacity=2)
    sim.advance(30)
    instances = asg.describe_auto_scaling_groups(AutoScalingGroupNames=["hooked"])["AutoScalingGroups"][0]["Instances"]
    (waiting,) = (one["InstanceId"] for one in instances if one["LifecycleState"] == "Pending:Wait")
    action = {**hooked, "LifecycleHookName": "boot", "InstanceId": waiting}
    asg.record_lifecycle_action_heartbeat(**action)
    asg.complete_lifecycle_action(**action, LifecycleActionResult="CONTINUE")
    sim.advance(2)
    refused("ValidationError", asg.complete_lifecycle_action, **action, LifecycleActionResult="CONTINUE")
    asg.describe_warm_pool(**hooked)
    refused("ValidationError", asg.start_instance_refresh, AutoScalingGroupName="no")
    refused("ValidationError", asg.start_instance_refresh, **web, Preferences={"AutoRollback": True})
    refused("ValidationError", asg.start_instance_refresh, **web, Preferences={"MaxHealthyPercentage": 120})
    rollback = {"Preferences": {"AutoRollback": True}, "DesiredConfiguration": target}
    refused("ValidationError", asg.start_instance_refresh, AutoScalingGroupName="latest", **rollback)
    refused("ValidationError", asg.set_desired_capacity, **web, DesiredCapacity=99)
    refused("InvalidNextToken", asg.describe_auto_scaling_groups, NextToken="?")
    refused("InvalidAction", asg.describe_policies)
    refused("AccessDenied", clients.client("autoscaling", "AKIAREADER").describe_auto_scaling_groups)
    return statuses


def drive_ecs(clients, keys, sim):
    ecs = clients.client("ecs", *keys)
    api = {"cluster": "app", "service": "api"}

    def look():
        """What all operations that read say."""
        ecs.describe_services(cluster="app", services=["api", "deployed", "gone", "no"], include=["TAGS"])
        for status in ("RUNNING", "STOPPED"):
            tasks = ecs.list_tasks(cluster="app", desiredStatus=status)["taskArns"]
            if tasks:
                ecs.describe_tasks(cluster="app", tasks=[*tasks[:90], "no"])
        listed = ecs.list_service_deployments(**api, createdAt={"after": datetime.datetime(2026, 1, 1)})
        arns = [brief["serviceDeploymentArn"] for brief in listed["serviceDeployments"]][:20]
        if not arns:
            return None
        described = ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"]
        ecs.describe_service_revisions(serviceRevisionArns=[described[0]["targetServiceRevision"]["arn"], "no/no/no"])
        return next(one["status"] for one in described if one["serviceDeploymentArn"] == arns[0])

    statuses = set()

    def until(*wanted):
        for _ in range(200):
            status = look()
            statuses.add(status)
            if status in wanted:
                return
            sim.advance(5)
        raise AssertionError(f"it stays {status}, and was to be {wanted}")

    def register(tag, **more):
        image = f"{COMMON}.dkr.ecr.{REGION}.amazonaws.com/backend:{tag}"
        container = {"name": "app", "image": image, "environment": [{"name": "EMPTY", "value": ""}], **more}
        tags = [{"key": "team", "value": "backend"}]
        made = ecs.register_task_definition(family="api", containerDefinitions=[container], tags=tags, **TASK)
        return made["taskDefinition"]["taskDefinitionArn"]

    look()
    ecs.describe_clusters(clusters=["app", "no"])
    ecs.list_services(cluster="app")
    assert [arn.split("/")[-1] for arn in ecs.list_clusters()["clusterArns"]] == ["app"]
    arn = register("2.1.0", portMappings=[{"containerPort": 80}])
    ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"])
    ecs.update_service(**api, taskDefinition=arn)
    until("SUCCESSFUL")
    ecs.update_service(**api, taskDefinition=register("2.1.1"))
    until("ROLLBACK_SUCCESSFUL")
    for kind, end in (("ABORT", "STOPPED"), ("ROLLBACK", "ROLLBACK_SUCCESSFUL")):
        ecs.update_service(**api, forceNewDeployment=True)
        running = ecs.list_service_deployments(**api)["serviceDeployments"][0]["serviceDeploymentArn"]
        ecs.stop_service_deployment(serviceDeploymentArn=running, stopType=kind)
        until(end)
    refused("ConflictException", ecs.stop_service_deployment, serviceDeploymentArn=running)
    ecs.tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
    ecs.list_tags_for_resource(resourceArn=arn)
    ecs.list_task_definitions(familyPrefix="api", sort="DESC", status="ACTIVE")
    old = register("2.0.0")
    ecs.deregister_task_definition(taskDefinition=old)
    ecs.stop_task(cluster="app", task=ecs.list_tasks(cluster="app", serviceName="api")["taskArns"][0])
    look()
    update = ecs.update_service
    refused("ClusterNotFoundException", ecs.describe_services, cluster="no", services=["api"])
    refused("ServiceNotFoundException", update, cluster="app", service="no", desiredCount=1)
    refused("ServiceNotFoundException", ecs.list_service_deployments, cluster="app", service="no")
    refused("ServiceNotFoundException", ecs.list_tasks, cluster="app", serviceName="no")
    refused("ServiceNotActiveException", update, cluster="app", service="gone", desiredCount=1)
    refused("ClientException", update, **api, taskDefinition="no:1")
    refused("ClientException", update, **api, taskDefinition=old)
    refused("ClientException", ecs.describe_task_definition, taskDefinition="no")
    refused("ClientException", ecs.register_task_definition, family="api", containerDefinitions=[])
    refused("InvalidParameterException", update, cluster="app", service="deployed", taskDefinition=arn)
    refused("InvalidParameterException", ecs.describe_services, cluster="app", services=[])
    refused("InvalidParameterException", ecs.describe_tasks, cluster="app", tasks=["x"] * 101)
    missing = f"arn:aws:ecs:{REGION}:{DEV}:service-deployment/app/api/0123456789abcdefghijk"
    refused("ServiceDeploymentNotFoundException", ecs.stop_service_deployment, serviceDeploymentArn=missing)
    refused("UnknownOperationException", ecs.list_account_settings)
    refused("UnrecognizedClientException", clients.client("ecs", "ASIAUNKNOWN", "x", "x").list_services)
    reader = clients.client("ecs", *clients.assume("read-only"))
    reader.describe_services(cluster="app", services=["api"])
    refused("AccessDeniedException", reader.update_service, **api, desiredCount=3)
    return statuses


def drive_ecr_and_ssm(clients, keys, sim):
    ecr, ssm = clients.client("ecr", *keys), clients.client("ssm", *keys)
    backend = {"registryId": COMMON, "repositoryName": "backend"}
    ecr.describe_images(**backend)
    ecr.batch_get_image(**backend, imageIds=[{"imageTag": "2.0.0"}, {"imageTag": "no"}])
    ecr.describe_repositories()
    refused("ImageNotFoundException", ecr.describe_images, **backend, imageIds=[{"imageTag": "no"}])
    refused("RepositoryNotFoundException", ecr.describe_images, repositoryName="backend")
    refused("AccessDeniedException", ecr.describe_images, registryId=COMMON, repositoryName="secret")
    refused("InvalidParameterException", ecr.batch_get_image, **backend, imageIds=[{"imageTag": "x"}] * 101)
    refused("UnknownOperationException", ecr.describe_registry)
    sim.post("parameters", {"account": DEV, "name": "/App/AmiId", "value": "ami-00000000000014100", "labels": ["next"]})
    ssm.get_parameters(Names=["/App/AmiId:next", "/App/AmiId", "/no"])
    ssm.get_parameter(Name="/App/AmiId:1")
    ssm.get_parameter(Name=f"arn:aws:ssm:{REGION}:{DEV}:parameter/App/AmiId")
    refused("ParameterNotFound", ssm.get_parameter, Name="/no")
    refused("ParameterVersionNotFound", ssm.get_parameter, Name="/App/AmiId:9")
    refused("ValidationException", ssm.get_parameters, Names=["x"] * 11)
    images = {"Key": "DataType", "Option": "Equals", "Values": ["aws:ec2:image"]}
    assert [one["Name"] for one in ssm.describe_parameters(ParameterFilters=[images])["Parameters"]] == ["/App/AmiId"]
    assert ssm.describe_parameters(ParameterFilters=[{"Key": "DataType", "Values": ["text"]}])["Parameters"] == []
    refused("InvalidFilterKey", ssm.describe_parameters, ParameterFilters=[{"Key": "Colour", "Values": ["red"]}])
    refused("InvalidFilterOption", ssm.describe_parameters, ParameterFilters=[{**images, "Option": "Sideways"}])
    refused("UnknownOperationException", ssm.get_parameter_history, Name="/App/AmiId")


def drive_cloudwatch(clients, keys, sim):
    cloudwatch = clients.client("cloudwatch", *keys)
    for state in ("ALARM", "INSUFFICIENT_DATA", "OK"):
        given = {"raised": False} if state == "OK" else {"state": state}
        sim.post("alarms", {"account": DEV, "region": REGION, "name": "slow", **given})
        alarms = cloudwatch.describe_alarms(AlarmNames=["slow", "other"])["MetricAlarms"]
        assert [alarm["StateValue"] for alarm in alarms] == [state, "OK"], alarms
    refused("ValidationError", cloudwatch.describe_alarms, AlarmNames=["x"] * 101)
    refused("UnknownOperationException", cloudwatch.list_dashboards)
    refused("AccessDeniedException", clients.client("cloudwatch", *clients.assume("read-only")).describe_alarms)


def drive_faults(clients, keys, sim):
    """What comes over any service: throttling, and AWS's own failures."""
    calls = {
        "sts": lambda client: client.get_caller_identity,
        "ec2": lambda client: client.describe_images,
        "autoscaling": lambda client: client.describe_auto_scaling_groups,
        "ecs": lambda client: client.list_task_definitions,
        "ecr": lambda client: client.describe_repositories,
        "ssm": lambda client: lambda: client.get_parameters(Names=["/App/AmiId"]),
        "cloudwatch": lambda client: client.describe_alarms,
    }
    throttles = {"ec2": "RequestLimitExceeded", "sts": "Throttling", "autoscaling": "Throttling"}
    for kind, code in (("throttle", None), ("error", "InternalFailure")):
        sim.post("faults", {"kind": kind})
        for service, call in calls.items():
            expected = code or throttles.get(service, "ThrottlingException")
            refused(expected, call(clients.client(service, *keys)))
        sim.delete("faults")


def drive_raw(sim, checker):
    """Requests that botocore never makes."""
    signed = "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-1/{}/aws4_request, SignedHeaders=host, Signature=0"

    def post(service, headers, body):
        request = urllib.request.Request(f"{sim.endpoint}/", body.encode(), headers)
        try:
            urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            checker.check(service, "none", error.code, error.read().decode())
            return
        raise AssertionError("it was to be refused")

    form, target = {"content-type": "application/x-www-form-urlencoded"}, "AmazonEC2ContainerServiceV20141113."
    post("sts", form, "Action=GetCallerIdentity")
    post("sts", {**form, "authorization": signed.format("iam")}, "Action=ListRoles")
    post("ec2", {**form, "authorization": signed.format("ec2")}, "Version=2016-11-15")
    json_form = {"content-type": "application/x-amz-json-1.1", "x-amz-target": target + "DescribeServices"}
    post("ecs", {**json_form, "authorization": signed.format("ecs")}, "{")
    post("ecs", {**json_form, "authorization": signed.format("lambda")}, "{}")


def drive_expiry(clients, sim):
    """Credentials that have run out: the simulator's state is made older than it is."""
    keys = clients.assume("pinion", "pinion-7f3a")
    sim.stop()
    path = os.path.join(sim.folder, "world.json")
    with open(path) as file:
        state = json.load(file)
    state["sessions"][keys[0]]["expires"] = 0
    with open(path, "w") as file:
        json.dump(state, file)
    sim.start()
    refused("ExpiredToken", clients.client("sts", *keys).get_caller_identity)
    refused("ExpiredToken", clients.client("autoscaling", *keys).describe_auto_scaling_groups)
    refused("RequestExpired", clients.client("ec2", *keys).describe_images)
    reads = {
        "ecs": "list_task_definitions",
        "ecr": "describe_repositories",
        "ssm": "get_parameter",
        "cloudwatch": "describe_alarms",
    }
    for service, call in reads.items():
        client = clients.client(service, *keys)
        refused("ExpiredTokenException", getattr(client, call), **({"Name": "x"} if service == "ssm" else {}))


def waiters(clients, keys):
    ecs, ec2 = clients.client("ecs", *keys), clients.client("ec2", *keys)
    tasks = ecs.list_tasks(cluster="app", serviceName="api")["taskArns"]
    instances = [
        instance["InstanceId"] for one in ec2.describe_instances()["Reservations"] for instance in one["Instances"]
    ]
    quick = {"WaiterConfig": {"Delay": 1, "MaxAttempts": 3}}
    waits = [
        (ecs, "services_stable", {"cluster": "app", "services": ["api"]}),
        (ecs, "services_inactive", {"cluster": "app", "services": ["gone"]}),
        (ecs, "tasks_running", {"cluster": "app", "tasks": tasks}),
        (ec2, "image_available", {"ImageIds": ["ami-00000000000014000"]}),
        (ec2, "image_exists", {"ImageIds": ["ami-00000000000014000"]}),
        (ec2, "instance_running", {"InstanceIds": instances}),
        (ec2, "instance_exists", {"InstanceIds": instances}),
    ]
    for client, name, arguments in waits:
        client.get_waiter(name).wait(**arguments, **quick)
    try:
        ecs.get_waiter("services_stable").wait(cluster="app", services=["no"], **quick)
        raise AssertionError("a service that isn't there is not stable")
    except botocore.exceptions.WaiterError:
        pass
    return [name for _, name, _ in waits]


def paginators(clients, keys):
    pages = {}
    wanted = {
        "ec2": {
            "describe_images": {"Owners": [COMMON]},
            "describe_instances": {},
            "describe_instance_types": {},
            "describe_launch_templates": {},
            "describe_launch_template_versions": {"LaunchTemplateName": "web"},
        },
        "autoscaling": {"describe_auto_scaling_groups": {}, "describe_instance_refreshes": {"AutoScalingGroupName": "web"}},
        "ecs": {
            "list_services": {"cluster": "app"},
            "list_tasks": {"cluster": "app"},
            "list_task_definitions": {"familyPrefix": "api"},
            "list_service_deployments": {"cluster": "app", "service": "api"},
        },
        "ecr": {"describe_images": {"registryId": COMMON, "repositoryName": "backend"}, "describe_repositories": {}},
    }
    for service, operations in wanted.items():
        client = clients.client(service, *keys)
        for operation, arguments in operations.items():
            if not client.can_paginate(operation):
                continue
            paginator = client.get_paginator(operation)
            key = paginator.result_keys[0].expression
            few = [one for page in paginator.paginate(**arguments, PaginationConfig={"PageSize": 2}) for one in page[key]]
            whole = [one for page in paginator.paginate(**arguments) for one in page[key]]
            assert few == whole and len(whole) > 1, f"{service} {operation}: {len(few)} of {len(whole)}"
            count = sum(1 for _ in paginator.paginate(**arguments, PaginationConfig={"PageSize": 2}))
            assert operation == "list_tasks" or count == -(-len(whole) // 2), f"{service} {operation}: {count} pages"
            pages[f"{service} {operation}"] = count
    return pages


def command_lines(sim, keys):
    """The AWS command line, as people use it."""
    aws = os.path.join(os.path.dirname(sys.executable), "aws")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": sim.folder,
        "AWS_ENDPOINT_URL": sim.endpoint,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_SESSION_TOKEN": keys[2],
        "AWS_MAX_ATTEMPTS": "1",
    }
    lines = [
        ("sts get-caller-identity --query Account --output text", lambda said: said.strip() == DEV),
        ("ecs describe-services --cluster app --services api --query services[0].status", lambda said: "ACTIVE" in said),
        ("ecs wait services-stable --cluster app --services api", lambda said: said == ""),
        ("ecs list-service-deployments --cluster app --service api --output table", lambda said: "SUCCESSFUL" in said),
        ("autoscaling describe-instance-refreshes --auto-scaling-group-name web", lambda said: "Successful" in said),
        ("autoscaling describe-auto-scaling-groups --no-paginate --output text", lambda said: "web" in said),
        ("ec2 describe-launch-template-versions --launch-template-name web --versions $Latest", lambda said: "ami-" in said),
        ("ec2 wait image-available --image-ids ami-00000000000014000", lambda said: said == ""),
        ("ecr batch-get-image --registry-id 333333333333 --repository-name backend --image-ids imageTag=2.0.0", None),
        ("ssm get-parameter --name /App/AmiId --query Parameter.Value --output text", lambda said: said.startswith("ami-")),
        ("autoscaling set-desired-capacity --auto-scaling-group-name web --desired-capacity 3", lambda said: said == ""),
        ("ecs update-service --cluster app --service api --force-new-deployment", lambda said: "PRIMARY" in said),
    ]
    for line, good in lines:
        ran = subprocess.run([aws, *line.split()], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"aws {line}: {ran.stderr}"
        assert good is None or good(ran.stdout), f"aws {line}: {ran.stdout}"
    wrong = "ecs update-service --cluster app --service no --desired-count 1"
    ran = subprocess.run([aws, *wrong.split()], env=environment, capture_output=True, text=True)
    assert ran.returncode in (254, 255) and "ServiceNotFoundException" in ran.stderr, ran.stderr
    return len(lines) + 1


def main():
    pinion, folder = sys.argv[1:3]
    checker = Checker()
    sim = Sim(pinion, folder)
    try:
        clients = Clients(sim, checker)
        drive_sts(clients)
        keys = clients.assume("pinion", "pinion-7f3a")
        drive_ec2(clients, keys, sim)
        refreshes = drive_autoscaling(clients, keys, sim)
        deployments = drive_ecs(clients, keys, sim)
        drive_ecr_and_ssm(clients, keys, sim)
        drive_cloudwatch(clients, keys, sim)
        drive_faults(clients, keys, sim)
        drive_raw(sim, checker)
        sim.advance(120)
        waited = waiters(clients, keys)
        pages = paginators(clients, keys)
        commands = command_lines(sim, keys)
        drive_expiry(clients, sim)
    finally:
        sim.stop()
    statuses = sorted(refreshes | deployments)
    checker.report(waiters=waited, paginators=pages, command_lines=commands, statuses=statuses)


main()
