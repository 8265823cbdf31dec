"""Reads a folder of Terraform's files as Terraform would: terraform_says.py FOLDER.

Prints each resource with its arguments, as they are once all that is filled in is. A reference to another resource comes out as
`type.name`.
"""

import json
import re
import sys

import tfparse

# What the AWS provider's documentation says of each resource: the arguments that it must have, and may have besides.
ARGUMENTS = {
    "aws_iam_role": ({"assume_role_policy"}, {"name", "path"}),
    "aws_iam_role_policy": ({"policy", "role"}, {"name"}),
    "aws_iam_policy": ({"policy"}, {"name", "path"}),
    "aws_ecr_repository_policy": ({"policy", "repository"}, set()),
    "aws_ram_resource_share": ({"name"}, {"allow_external_principals"}),
    "aws_ram_resource_association": ({"resource_arn", "resource_share_arn"}, set()),
    "aws_ram_principal_association": ({"principal", "resource_share_arn"}, set()),
}


def main():
    resources = [resource for found in tfparse.load_from_path(sys.argv[1]).values() for resource in found]
    # Until there is a real one, each resource has a made-up id, and its ARN is that, too.
    addresses = {resource["id"]: resource["__tfmeta"]["path"] for resource in resources}
    said = {}
    for resource in resources:
        about, identity = resource.pop("__tfmeta"), resource.pop("id")
        required, optional = ARGUMENTS[about["label"]]
        assert required <= set(resource) <= required | optional, (about["path"], sorted(resource))
        assert re.fullmatch(r"[a-z_]+\.[A-Za-z_][\w-]*", about["path"], re.ASCII), about["path"]
        said[addresses[identity]] = {name: addresses.get(value, value) for name, value in resource.items()}
    assert len(said) == len(resources), "two resources of one address"
    print(json.dumps(said))


main()
