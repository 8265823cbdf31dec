"""What moto holds at the start, and a look at it that doesn't go through Pinion. Prints JSON.

    world.py URL setup     makes an account with two groups, a service and its registry
    world.py URL look      the service, and its task definitions
"""

import json
import sys

import botocore.session

REGION = "us-west-1"
DEV = "222222222222"
REPOSITORY = f"{DEV}.dkr.ecr.{REGION}.amazonaws.com/backend"


def clients(url, account):
    """Clients of an account: moto knows accounts by the role that was assumed."""
    session = botocore.session.get_session()

    def client(service, **keys):
        return session.create_client(service, region_name=REGION, endpoint_url=url, **keys)

    sts = client("sts", aws_access_key_id="test", aws_secret_access_key="test")
    role = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/pinion", RoleSessionName="setup")["Credentials"]
    keys = {
        "aws_access_key_id": role["AccessKeyId"],
        "aws_secret_access_key": role["SecretAccessKey"],
        "aws_session_token": role["SessionToken"],
    }
    return lambda service: client(service, **keys)


def push(ecr, tag):
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "size": 7023,
            "digest": "sha256:" + tag.replace(".", "0").ljust(64, "a"),
        },
        "layers": [],
    }
    ecr.put_image(repositoryName="backend", imageManifest=json.dumps(manifest), imageTag=tag)


def setup(url):
    dev = clients(url, DEV)
    # In the same account: moto looks for a repository in the caller's account, whatever registryId says.
    ecr = dev("ecr")
    ecr.create_repository(repositoryName="backend")
    for tag in ["2.0.0", "2.0.1"]:
        push(ecr, tag)

    ec2, asg, ssm = dev("ec2"), dev("autoscaling"), dev("ssm")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    firewall = ec2.create_security_group(GroupName="api", Description="api")["GroupId"]
    images = {}
    for name in ["web", "worker"]:
        image = ec2.register_image(Name=f"{name}-1.4.0", Architecture="x86_64", RootDeviceName="/dev/xvda")
        images[name] = image["ImageId"]
        ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData={"ImageId": images[name], "InstanceType": "t3.small"},
        )
        asg.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": name, "Version": "1"},
            MinSize=1,
            MaxSize=4,
            DesiredCapacity=2,
            VPCZoneIdentifier=subnet,
        )
    ssm.put_parameter(Name="/DeploymentConfig/dev/Worker/AmiId", Value=images["worker"], Type="String")

    ecs = dev("ecs")
    ecs.create_cluster(clusterName="app")
    ecs.register_task_definition(
        family="api",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=f"arn:aws:iam::{DEV}:role/api-execution",
        taskRoleArn=f"arn:aws:iam::{DEV}:role/api",
        containerDefinitions=[
            {
                "name": "app",
                "image": f"{REPOSITORY}:2.0.0",
                "essential": True,
                "portMappings": [{"containerPort": 8080, "hostPort": 8080, "protocol": "tcp"}],
                "environment": [{"name": "STAGE", "value": "dev"}, {"name": "FEATURES", "value": ""}],
                "secrets": [
                    {"name": "DATABASE_URL", "valueFrom": f"arn:aws:ssm:{REGION}:{DEV}:parameter/api/database-url"}
                ],
            },
            {"name": "forwarder", "image": "public.ecr.aws/aws-observability/aws-for-fluent-bit:2.32.0", "essential": False},
        ],
        tags=[{"key": "team", "value": "backend"}],
    )
    ecs.create_service(
        cluster="app",
        serviceName="api",
        taskDefinition="api:1",
        desiredCount=2,
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {"subnets": [subnet], "securityGroups": [firewall], "assignPublicIp": "DISABLED"}
        },
    )
    return images


def look(url):
    ecs = clients(url, DEV)("ecs")
    service = ecs.describe_services(cluster="app", services=["api"])["services"][0]
    arns = ecs.list_task_definitions(familyPrefix="api")["taskDefinitionArns"]
    definitions = [ecs.describe_task_definition(taskDefinition=arn, include=["TAGS"]) for arn in arns]
    return {
        "service": {key: service.get(key) for key in ["taskDefinition", "desiredCount", "networkConfiguration"]},
        "definitions": [
            {"definition": one["taskDefinition"], "tags": one.get("tags", [])} for one in definitions
        ],
    }


if __name__ == "__main__":
    print(json.dumps({"setup": setup, "look": look}[sys.argv[2]](sys.argv[1]), default=str))
