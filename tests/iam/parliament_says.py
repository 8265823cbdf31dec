"""Shows policies to parliament: parliament_says.py FILE, a JSON object of policies by name.

Parliament knows policies of identities. In a trust policy, and in a repository's, the resource goes without saying:
it is what the policy is attached to. It is said here, so that actions are checked against it.
"""

import json
import sys

import parliament

ATTACHED = {"sts": "arn:aws:iam::111111111111:role/pinion", "ecr": "arn:aws:ecr:us-west-1:111111111111:repository/app"}
# What every launch takes. Parliament wants it in each statement, and knows nothing of what other statements allow.
LAUNCH = [
    "arn:aws:ec2:us-west-1::image/*",
    *(f"arn:aws:ec2:us-west-1:111111111111:{kind}/*" for kind in ("instance", "network-interface", "security-group", "subnet", "volume")),
]
# Operations that AWS added after parliament's list of them was made; botocore has them.
NEWER = ["Unknown action ecs:StopServiceDeployment"]
# Read on all resources on purpose: of composite alarms AWS's answer has none for a role that may read single alarms only.
EVERYWHERE = ["cloudwatch:DescribeAlarms"]


def findings(policy):
    for statement in policy["Statement"]:
        if "Principal" in statement:
            assert "Resource" not in statement, statement
            statement["Resource"] = ATTACHED[statement["Action"][0].split(":")[0]]
        elif statement["Action"] == ["ec2:RunInstances"] and not any("::image/" in one for one in statement["Resource"]):
            statement["Resource"] = statement["Resource"] + LAUNCH
    # Its community's auditors are left out: they object to sts:AssumeRole and iam:PassRole as such.
    found = parliament.analyze_policy_string(json.dumps(policy)).findings
    return [finding for finding in found if finding.detail not in NEWER and not (finding.issue == "RESOURCE_STAR" and finding.detail == EVERYWHERE)]


def main():
    with open(sys.argv[1]) as file:
        policies = json.load(file)
    # A check that could not fail would be none.
    wrong = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["ecs:Updateservices"], "Resource": "*"}]}
    assert findings(wrong), "parliament lets everything pass"
    said = [f"{name}: {finding}" for name, policy in policies.items() for finding in findings(policy)]
    statements = sum(len(policy["Statement"]) for policy in policies.values())
    print(f"{len(policies)} policies, {statements} statements, {len(said)} findings")
    print("\n".join(said))
    sys.exit(bool(said))


main()
