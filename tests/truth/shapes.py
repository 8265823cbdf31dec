"""Holds answers against AWS's own models, as botocore ships them: shape, required members, enum values, nothing unknown."""

import json
import re
import xml.etree.ElementTree as ET

import botocore.model
import botocore.session
from dateutil import parser as dates

# Codes that any operation may answer with, after the services' "Common error types"; EC2 has no others in its model.
COMMON = {
    "sts": "AccessDenied ExpiredToken InvalidAction InvalidClientTokenId MissingAction MissingAuthenticationToken "
    "SignatureDoesNotMatch Throttling ValidationError InternalFailure",
    "autoscaling": "AccessDenied ExpiredToken InvalidAction InvalidClientTokenId MissingAction Throttling ValidationError "
    "InternalFailure ServiceUnavailable",
    "ec2": "AuthFailure RequestExpired UnauthorizedOperation RequestLimitExceeded DryRunOperation InvalidAction "
    "MissingAction MissingParameter InvalidParameterValue InvalidParameterCombination IdempotentParameterMismatch "
    "InvalidAMIID.Malformed InvalidAMIID.NotFound InvalidInstanceID.NotFound InvalidInstanceType "
    "InvalidLaunchTemplateId.NotFound InvalidLaunchTemplateId.VersionNotFound "
    "InvalidLaunchTemplateName.NotFoundException VersionLimitExceeded InternalFailure InternalError",
    "ecs": "AccessDeniedException ExpiredTokenException UnrecognizedClientException ThrottlingException "
    "UnknownOperationException SerializationException InvalidSignatureException InternalFailure",
    "ecr": "AccessDeniedException ExpiredTokenException UnrecognizedClientException ThrottlingException "
    "UnknownOperationException SerializationException InternalFailure",
    "cloudwatch": "AccessDeniedException ExpiredTokenException UnrecognizedClientException ThrottlingException "
    "UnknownOperationException SerializationException ValidationError InternalFailure",
    "ssm": "AccessDeniedException ExpiredTokenException UnrecognizedClientException ThrottlingException "
    "UnknownOperationException SerializationException ValidationException InternalFailure",
}
# Any operation of theirs may throw what some of them are modelled with.
EVERYWHERE = {"ecs": "AccessDeniedException ClientException InvalidParameterException ServerException", "ecr": ""}


class Checker:
    """Collects what deviates."""

    def __init__(self):
        self.models = {}
        self.session = botocore.session.get_session()
        self.deviations = {}
        self.calls = 0
        self.operations = set()
        self.codes = set()

    def model(self, service):
        if service not in self.models:
            self.models[service] = self.session.get_service_model(service)
        return self.models[service]

    def deviates(self, operation, what):
        self.deviations.setdefault(f"{operation}: {what}", 0)
        self.deviations[f"{operation}: {what}"] += 1

    def check(self, service, operation, status, body):
        """One answer: its status and the text of its body."""
        self.calls += 1
        model = self.model(service)
        # Of the protocols that a service speaks, the one that botocore chose.
        protocol = model.resolved_protocol
        label = f"{service}:{operation}"
        if status >= 300:
            self.check_error(service, operation, status, body, protocol, label)
            return
        self.operations.add(label)
        shape = model.operation_model(operation).output_shape
        if protocol == "json":
            parsed = json.loads(body)
            if shape is not None:
                self.walk_json(label, shape, parsed, "")
            elif parsed:
                self.deviates(label, "has members where there are none")
            return
        root = ET.fromstring(body)
        if local(root.tag) != f"{operation}Response":
            self.deviates(label, f"is called {local(root.tag)}")
        if protocol == "ec2":
            ids = [child for child in root if local(child.tag) == "requestId"]
            if len(ids) != 1:
                self.deviates(label, "has not one requestId")
            for child in ids:
                root.remove(child)
            if shape is not None:
                self.walk_xml(label, shape, root, "")
            return
        parts = {local(child.tag): child for child in root}
        result = parts.pop(f"{operation}Result", None)
        metadata = parts.pop("ResponseMetadata", None)
        if metadata is None or [local(one.tag) for one in metadata] != ["RequestId"] or parts:
            self.deviates(label, "has no proper ResponseMetadata, or more than that")
        if shape is not None:
            if result is None:
                self.deviates(label, "has no result")
            else:
                self.walk_xml(label, shape, result, "")

    def check_error(self, service, operation, status, body, protocol, label):
        modelled = {}
        try:
            for shape in self.model(service).operation_model(operation).error_shapes:
                modelled[shape.metadata.get("error", {}).get("code", shape.name)] = shape
        except botocore.model.OperationNotFoundError:
            pass
        if protocol == "json":
            parsed = json.loads(body)
            code = parsed.pop("__type", None)
            if code in modelled:
                self.walk_json(f"{label} {code}", modelled[code], parsed, "")
            elif set(parsed) != {"message"} or not isinstance(parsed["message"], str):
                self.deviates(label, f"error {code} has members {sorted(parsed)}")
        else:
            root = ET.fromstring(body)
            if protocol == "ec2":
                outline = [local(root.tag), [local(one.tag) for one in root], [local(one.tag) for one in root[0]]]
                if outline != ["Response", ["Errors", "RequestID"], ["Error"]]:
                    self.deviates(label, f"an error looks like {outline}")
                members = {local(one.tag): one.text for one in root[0][0]}
                expected = {"Code", "Message"}
            else:
                outline = [local(root.tag), [local(one.tag) for one in root]]
                if outline != ["ErrorResponse", ["Error", "RequestId"]]:
                    self.deviates(label, f"an error looks like {outline}")
                members = {local(one.tag): one.text for one in root[0]}
                expected = {"Type", "Code", "Message"}
                side = "Receiver" if status >= 500 else "Sender"
                if members.get("Type") != side:
                    self.deviates(label, f"an error of status {status} is the {members.get('Type')}'s")
            if set(members) != expected:
                self.deviates(label, f"an error has members {sorted(members)}")
            code = members.get("Code")
        if code in modelled:
            wanted = modelled[code].metadata.get("error", {}).get("httpStatusCode", status)
            if wanted != status:
                self.deviates(label, f"error {code} has status {status}, not {wanted}")
        elif code not in (COMMON[service] + " " + EVERYWHERE.get(service, "")).split():
            self.deviates(label, f"AWS knows no error {code}")
        self.codes.add(code)

    def walk_json(self, label, shape, value, path):
        kind = shape.type_name
        if value is None:
            self.deviates(label, f"{path} is null")
        elif kind == "structure":
            if not isinstance(value, dict):
                self.deviates(label, f"{path} is no object")
                return
            names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
            for key, inner in value.items():
                if key in names:
                    self.walk_json(label, shape.members[names[key]], inner, f"{path}.{key}")
                else:
                    self.deviates(label, f"{path}.{key} is unknown")
            for name in shape.required_members:
                if name not in value:
                    self.deviates(label, f"{path}.{name} is missing")
        elif kind == "list":
            if not isinstance(value, list):
                self.deviates(label, f"{path} is no list")
                return
            for inner in value:
                self.walk_json(label, shape.member, inner, f"{path}[]")
        elif kind == "map":
            for inner in value.values():
                self.walk_json(label, shape.value, inner, f"{path}{{}}")
        elif kind == "string":
            if not isinstance(value, str):
                self.deviates(label, f"{path} is no string")
            elif shape.enum and value not in shape.enum:
                self.deviates(label, f"{path} can't be {value!r}")
        elif kind in ("integer", "long"):
            if not isinstance(value, int) or isinstance(value, bool):
                self.deviates(label, f"{path} is no integer")
        elif kind in ("float", "double"):
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                self.deviates(label, f"{path} is no number")
        elif kind == "boolean":
            if not isinstance(value, bool):
                self.deviates(label, f"{path} is no boolean")
        elif kind == "timestamp":
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                self.deviates(label, f"{path} is no time")
        else:
            self.deviates(label, f"{path} is a {kind}, which this script can't check")

    def walk_xml(self, label, shape, element, path):
        kind = shape.type_name
        if kind == "structure":
            names = {}
            for name, member in shape.members.items():
                names[member.serialization.get("name", name)] = name
            seen = set()
            for child in element:
                tag = local(child.tag)
                if tag not in names:
                    self.deviates(label, f"{path}.{tag} is unknown")
                    continue
                if tag in seen:
                    self.deviates(label, f"{path}.{tag} is there twice")
                seen.add(tag)
                self.walk_xml(label, shape.members[names[tag]], child, f"{path}.{names[tag]}")
            for name in shape.required_members:
                if shape.members[name].serialization.get("name", name) not in seen:
                    self.deviates(label, f"{path}.{name} is missing")
        elif kind == "list":
            item = shape.member.serialization.get("name", "member")
            for child in element:
                if local(child.tag) != item:
                    self.deviates(label, f"{path} has an item {local(child.tag)}, not {item}")
                self.walk_xml(label, shape.member, child, f"{path}[]")
        else:
            text = element.text or ""
            if len(element):
                self.deviates(label, f"{path} has members, and is a {kind}")
            elif kind == "string":
                if shape.enum and text not in shape.enum:
                    self.deviates(label, f"{path} can't be {text!r}")
            elif kind in ("integer", "long"):
                if not re.fullmatch(r"-?\d+", text):
                    self.deviates(label, f"{path} is no integer: {text!r}")
            elif kind in ("float", "double"):
                if not re.fullmatch(r"-?\d+(\.\d+)?", text):
                    self.deviates(label, f"{path} is no number: {text!r}")
            elif kind == "boolean":
                if text not in ("true", "false"):
                    self.deviates(label, f"{path} is no boolean: {text!r}")
            elif kind == "timestamp":
                dates.isoparse(text)
            else:
                self.deviates(label, f"{path} is a {kind}, which this script can't check")

    def report(self, **more):
        """What was found, as one line of JSON."""
        print(
            json.dumps(
                {
                    "calls": self.calls,
                    "operations": sorted(self.operations),
                    "codes": sorted(self.codes),
                    "deviations": self.deviations,
                    **more,
                }
            )
        )


def local(tag):
    """A tag without its namespace."""
    return tag.rsplit("}", 1)[-1]
