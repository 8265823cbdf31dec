"""The ways to install: what the documentation tells people to copy is held against the tools that will read it.

    install.py          runs the tests; PINION_BIN is the program
    install.py render   prints each pinion.toml as JSON, for Pinion's own reader to judge
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest

import botocore.session
import chart
import kubernetes_validate
import yaml
from botocore.validate import ParamValidator
from common import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("install-*.md")) + [DOCS / "runbook.md", ROOT / "charts/pinion/README.md"]
# What AWS asks of the caller without a call of that name.
IMPLIED = {"ec2:CreateTags", "ec2:RunInstances", "ecs:TagResource", "iam:PassRole"}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def commands():
    """The arguments of each call of `pinion` in the documentation, by page."""
    for page in PAGES:
        for block in re.findall(r"^```console\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            for call in re.findall(r"(?:^\$ |&& |-- |sudo )pinion ([a-z][^#&|\n]*)", block, re.MULTILINE):
                yield page.name, call.split()
        for call in re.findall(r"`[^`\n]*?\bpinion ((?:status|plan|validate|resync)[^`]*)`", page.read_text()):
            yield page.name, call.split()


def operations():
    """The calls that Pinion makes, as IAM's actions."""
    text = (ROOT / "src/aws/operation.rs").read_text()
    return {f"{service}:{name}" for service, name in re.findall(r'^    \w+ = "(\w+)" "(\w+)" \w+,$', text, re.MULTILINE)}


def validate(service, operation, given):
    model = botocore.session.get_session().get_service_model(service)
    report = ParamValidator().validate(given, model.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


class Install(unittest.TestCase):
    maxDiff = None

    def test_links_lead_somewhere(self):
        for page in PAGES:
            for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
                path, _, anchor = target.partition("#")
                if "://" in path:
                    continue
                with self.subTest(page=page.name, target=target):
                    linked = (page.parent / path).resolve() if path else page
                    self.assertTrue(linked.exists())
                    if anchor:
                        headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
                        anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
                        self.assertIn(anchor, anchors)

    def test_commands_exist(self):
        known, seen = {}, 0
        for page, (command, *arguments) in commands():
            # One that only has commands of its own, such as `policy explain`.
            if self.help_of(known, command)[1]:
                command = f"{command} {arguments.pop(0)}"
            with self.subTest(page=page, command=command):
                options = {argument.split("=")[0] for argument in arguments if argument.startswith("-")}
                self.assertLessEqual(options, self.help_of(known, command)[0])
                seen += 1
        self.assertGreater(seen, 20)
        self.assertGreaterEqual(set(known), {"status", "plan", "validate", "resync", "policy explain"})

    def help_of(self, known, command):
        """The options of a command, and whether it has commands of its own."""
        if command not in known:
            done = subprocess.run([os.environ["PINION_BIN"], *command.split(), "--help"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout))
            known[command] = options, "\nCommands:\n" in done.stdout
        return known[command]

    def test_policies_allow_what_pinion_calls_and_no_more(self):
        identity, trust, role = [json.loads(block) for block in blocks("install-aws.md", "json")]
        actions = lambda policy: [
            action
            for statement in policy["Statement"]
            for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        ]
        self.assertEqual(set(actions(identity)), {"sts:AssumeRole"})
        self.assertEqual(actions(trust), ["sts:AssumeRole"])
        self.assertEqual(sorted(actions(role)), sorted(operations() - {"sts:AssumeRole"} | IMPLIED))
        for policy in [identity, trust, role]:
            self.assertEqual(policy["Version"], "2012-10-17")
            for statement in policy["Statement"]:
                self.assertEqual(statement["Effect"], "Allow")
                self.assertTrue("Principal" in statement or "Resource" in statement)

    def test_ecs_would_take_the_task_and_the_service(self):
        task, service = [json.loads(block) for block in blocks("install-ecs.md", "json")]
        validate("ecs", "RegisterTaskDefinition", task)
        validate("ecs", "CreateService", service)
        [container] = task["containerDefinitions"]
        config = tomllib.loads(blocks("install-ecs.md", "toml")[0])
        wanted = {config["repository"][0]["auth"]["token_env"], config["server"]["token_env"]}
        self.assertEqual({secret["name"] for secret in container["secrets"]}, wanted)
        self.assertEqual(container["portMappings"][0]["containerPort"], int(config["server"]["listen"].split(":")[1]))
        self.assertEqual(container["mountPoints"][0]["containerPath"], config["cache_dir"])
        self.assertEqual(container["mountPoints"][0]["sourceVolume"], task["volumes"][0]["name"])
        self.assertGreater(container["stopTimeout"], int(config["grace_period"].removesuffix("s")))
        self.assertEqual(service["taskDefinition"], task["family"])

    def test_systemd_would_take_the_unit(self):
        [unit] = blocks("install-systemd.md", "ini")
        self.assertIn("/usr/local/bin/pinion", unit)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/pinion.service"
            with open(path, "w") as file:
                file.write(unit.replace("/usr/local/bin/pinion", os.environ["PINION_BIN"]))
            done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
            ours = [line for line in done.stderr.splitlines() if "pinion.service" in line]
            self.assertEqual((done.returncode, ours), (0, []), done.stderr)
            # 0 is all that systemd can shield, 100 nothing.
            secure = ["systemd-analyze", "security", "--offline=true", "--threshold=20", path]
            done = subprocess.run(secure, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr)
        config = tomllib.loads(blocks("install-systemd.md", "toml")[0])
        files = {config["repository"][0]["auth"]["token_file"], config["server"]["token_file"]}
        loaded = re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE)
        self.assertEqual(files, {f"/run/credentials/pinion.service/{name}" for name in loaded})

    def test_helm_takes_the_values(self):
        [given] = [yaml.safe_load(block) for block in blocks("install-helm.md", "yaml")]
        found, _ = chart.render(given)
        for (kind, _), document in found.items():
            if kind not in chart.OPERATOR:
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        self.assertGreaterEqual({kind for kind, _ in found}, chart.OPERATOR)

    def test_pages_know_each_other(self):
        roles = (DOCS / "install-aws.md").read_text()
        for page in DOCS.glob("install-*.md"):
            if page.name != "install-aws.md":
                self.assertIn(f"({page.name})", roles)


def main():
    match sys.argv[1:]:
        case ["render"]:
            texts = {page.name: blocks(page.name, "toml") for page in DOCS.glob("install-*.md")}
            found = {f"{name} {number}": text for name, many in texts.items() for number, text in enumerate(many)}
            [given] = [yaml.safe_load(block) for block in blocks("install-helm.md", "yaml")]
            print(json.dumps(found | {"install-helm.md": chart.config(chart.render(given)[0])}))
        case _:
            unittest.main()


if __name__ == "__main__":
    main()
