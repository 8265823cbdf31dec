"""The ways to install: what the documentation tells people to copy is held against the tools that will read it.

    install.py          runs the tests; PINION_BIN is the program
    install.py render   prints each pinion.toml as JSON, for Pinion's own reader to judge
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import unittest

import botocore.session
import chart
import kubernetes_validate
import yaml
from botocore import xform_name
from botocore.validate import ParamValidator
from common import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("install-*.md")) + [DOCS / "install.md", DOCS / "runbook.md", ROOT / "charts/pinion/README.md"]
INSTALL = sorted(DOCS.glob("install-*.md"))
# What the pages' shell variables may hold.
VARIABLES = {
    "ACCOUNT": "222222222222",
    "AWS_REGION": "us-west-1",
    "CLUSTER": "app",
    "GIT_SECRET": "arn:aws:secretsmanager:us-west-1:222222222222:secret:pinion/git-token-AbCdEf",
    "GROUP": "frontend",
    "OIDC": "oidc.eks.us-west-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
    "REGISTRY": "222222222222.dkr.ecr.us-west-1.amazonaws.com",
    "SECURITY_GROUP": "sg-0123456789abcdef0",
    "SERVICE": "api",
    "SUBNET": "subnet-0123456789abcdef0",
    "TOKEN_SECRET": "arn:aws:secretsmanager:us-west-1:222222222222:secret:pinion/token-AbCdEf",
    "URL": "https://github.com/acme/environments.git",
}
# Options that the AWS command line has for every operation.
GLOBAL = {"--cli-input-json", "--filters", "--output", "--profile", "--query"}
# Its own commands, which are no operations, and their options.
CUSTOM = {
    ("configure", "set"): set(),
    ("ecr", "get-login-password"): set(),
    ("logs", "tail"): {"--follow"},
    ("sso", "login"): set(),
}
# What the tables of failures quote of other programs: AWS, ECS, Helm, Docker, systemd.
FOREIGN = {
    "CannotPullContainerError",
    "EntityAlreadyExists",
    "Failed to set up credentials",
    "ImagePullBackOff",
    "Invalid principal",
    "LimitExceeded",
    "MalformedPolicyDocument",
    "Principal not found",
    "Max attempts exceeded",
    "ResourceInitializationError: unable to pull secrets",
    "You are not authorized to use launch template:",
    "context deadline exceeded",
    "exec format error",
    "not authorized to perform: iam:PassRole on resource:",
    "status=243/CREDENTIALS",
}
HEREDOC = re.compile(r"(?:cat >>? |sudo tee )(\S+) <<('?)EOF'?(?: >/dev/null)?\n(.*?)^EOF$", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)


def files(page):
    """What the page's commands write: the texts by name, with the shell's variables put in."""
    found = {}
    for block in blocks(page, "sh"):
        for name, quoted, text in HEREDOC.findall(block):
            if not quoted:
                text = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda match: VARIABLES[match[1] or match[2]], text)
            found[name] = found.get(name, "") + text
    return found


def lines(page):
    """The command lines of a page, without the files that they write."""
    for block in blocks(page, "sh"):
        yield from HEREDOC.sub("", block).replace("\\\n", " ").splitlines()


def aws(page):
    """Each call of the AWS command line, as its words."""
    for line in lines(page):
        for start in re.finditer(r"(?<![\w./-])aws (?=[a-z0-9-]+ [a-z])", line):
            text = line[start.start() :]
            if line[: start.start()].endswith("$("):
                depth, quote = 1, ""
                for index, char in enumerate(text):
                    quote = "" if char == quote else quote or (char if char == "'" else "")
                    depth += not quote and {"(": 1, ")": -1}.get(char, 0)
                    if not depth:
                        text = text[:index]
                        break
            words = shlex.split(text)
            end = next((index for index, word in enumerate(words) if word in {"|", "&&", "||"}), len(words))
            yield words[1:end]


def commands():
    """The arguments of each call of `pinion` in the documentation, by page."""
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"^```(?:console|sh)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            block = HEREDOC.sub("", block).replace("\\\n", " ")
            for call in re.findall(r"(?:^(?:\$ )?|&& |-- |sudo |AWS_PROFILE=\w+ )pinion ([a-z][^#&|\n]*)", block, re.MULTILINE):
                yield page.name, call.split()
        for call in re.findall(r"`[^`\n]*?\bpinion ((?:status|plan|validate|resync|run|bump|iam|init|history)\b[^`…]*)`", text):
            yield page.name, call.split()


def helm_values():
    """The values that the page writes, with all that it says may be added."""
    added = [yaml.safe_load(block) for block in blocks("install-helm.md", "yaml")]
    return {key: value for part in [yaml.safe_load(files("install-helm.md")["values.yaml"]), *added] for key, value in part.items()}


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

    def test_policies_are_policies(self):
        seen = set()
        for page in INSTALL:
            for name, text in files(page.name).items():
                if not re.search(r"trust\.json$|execution\.json$", name):
                    continue
                with self.subTest(page=page.name, file=name):
                    policy = json.loads(text)
                    self.assertEqual(policy["Version"], "2012-10-17")
                    for statement in policy["Statement"]:
                        self.assertEqual(statement["Effect"], "Allow")
                        self.assertEqual("Principal" in statement, "trust" in name)
                        self.assertEqual("Resource" in statement, "trust" not in name)
                    seen.add((page.name, name.split("/")[-1]))
                    self.assertTrue(any(f"file://{name}" in line for line in lines(page.name)), f"nothing reads {name}")
        # Where Pinion runs says who may be its identity.
        self.assertGreaterEqual({page for page, name in seen if name.endswith("trust.json")}, {page.name for page in INSTALL})

    def test_aws_would_take_the_commands(self):
        session = botocore.session.get_session()
        seen = set()
        for page in INSTALL:
            for service, name, *words in aws(page.name):
                with self.subTest(page=page.name, command=f"aws {service} {name}"):
                    options = {word.split("=")[0] for word in words if word.startswith("--")}
                    seen.add((service, name))
                    if (service, name) in CUSTOM:
                        self.assertLessEqual(options, CUSTOM[service, name] | GLOBAL)
                        continue
                    if name == "wait":
                        waiter = session.get_waiter_model(service)
                        [name] = [waiter.get_waiter(one).operation for one in waiter.waiter_names if xform_name(one, "-") == words[0]]
                        name = xform_name(name, "-")
                    model = session.get_service_model(service)
                    operations = {xform_name(one, "-"): one for one in model.operation_names}
                    shape = model.operation_model(operations[name]).input_shape
                    members = {"--" + xform_name(member, "-") for member in shape.members} if shape else set()
                    required = {"--" + xform_name(member, "-") for member in shape.required_members} if shape else set()
                    switches = {word for word in options if word in {"--force", "--force-new-deployment"}}
                    self.assertLessEqual(options - GLOBAL, members | switches)
                    self.assertLessEqual(switches, members)
                    if "--cli-input-json" not in options:
                        self.assertLessEqual(required, options)
                    if "file://" in " ".join(words):
                        [path] = [word for word in words if "file://" in word]
                        written = files(page.name)
                        made = path.removeprefix("file://") in written or "policies/iam/" in path or path.endswith("git-token")
                        self.assertTrue(made, path)
        self.assertGreater(len(seen), 40)

    def test_any_shell_takes_the_commands(self):
        for page in INSTALL:
            for block in blocks(page.name, "sh"):
                with self.subTest(page=page.name, block=block):
                    for shell in [["bash", "-n"], ["sh", "-c", "command -v zsh >/dev/null || exit 0; exec zsh -n"]]:
                        done = subprocess.run(shell, input=block, capture_output=True, text=True)
                        self.assertEqual((done.returncode, done.stderr), (0, ""))
                    # To zsh, on a terminal, a comment is none, and what follows the colon is a modifier.
                    self.assertNotRegex(HEREDOC.sub("", block), r"(?m)(^|\s)#")
                    self.assertNotRegex(block, r"\$\w+:")

    def test_what_fails_is_quoted_as_it_is_said(self):
        said = "\n".join(path.read_text() for folder in ("src", "crates") for path in (ROOT / folder).rglob("*.rs"))
        seen = set()
        for page in INSTALL:
            rows = re.search(r"^\| what you see \|.*\n\| --- .*\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
            for row in rows[1].splitlines():
                for quoted in re.findall(r"`([^`]+)`", row.split("|")[1]):
                    for part in filter(None, (part.strip() for part in quoted.split("…"))):
                        # Single words are commands, codes and states.
                        if " " in part and part not in FOREIGN:
                            with self.subTest(page=page.name, quoted=part):
                                # The program fills in what differs.
                                wording = re.sub(r"127\.0\.0\.1:9780|\b401\b|sts:AssumeRole|AccessDenied", r"\\E", part)
                                pieces = [piece.strip(" :()") for piece in wording.split("\\E")]
                                self.assertTrue(all(piece in said for piece in pieces), pieces)
                        seen.add(part)
        self.assertLessEqual(FOREIGN, seen)

    def test_ecs_would_take_the_task_and_the_service(self):
        written = files("install-ecs.md")
        task, service = json.loads(written["task-definition.json"]), json.loads(written["service.json"])
        validate("ecs", "RegisterTaskDefinition", task)
        validate("ecs", "CreateService", service)
        [container] = task["containerDefinitions"]
        config = tomllib.loads(written["image/pinion.toml"])
        wanted = {config["repository"][0]["auth"]["token_env"], config["server"]["token_env"]}
        self.assertEqual({secret["name"] for secret in container["secrets"]}, wanted)
        self.assertEqual(container["portMappings"][0]["containerPort"], int(config["server"]["listen"].split(":")[1]))
        self.assertEqual(container["mountPoints"][0]["containerPath"], config["cache_dir"])
        self.assertEqual(container["mountPoints"][0]["sourceVolume"], task["volumes"][0]["name"])
        self.assertGreater(container["stopTimeout"], int(config["grace_period"].removesuffix("s")))
        self.assertEqual(service["taskDefinition"], task["family"])

    def test_systemd_would_take_the_unit(self):
        unit = files("install-systemd.md")["/etc/systemd/system/pinion.service"]
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
        config = tomllib.loads(files("install-systemd.md")["/etc/pinion/pinion.toml"])
        tokens = {config["repository"][0]["auth"]["token_file"], config["server"]["token_file"]}
        loaded = re.findall(r"^LoadCredential=([\w-]+):", unit, re.MULTILINE)
        self.assertEqual(tokens, {f"/run/credentials/pinion.service/{name}" for name in loaded})

    def test_helm_takes_the_values(self):
        found, _ = chart.render(helm_values())
        for (kind, _), document in found.items():
            if kind not in chart.OPERATOR:
                kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        self.assertGreaterEqual({kind for kind, _ in found}, {"PrometheusRule", "ServiceMonitor"})

    def test_pages_know_each_other(self):
        roles = (DOCS / "install-aws.md").read_text()
        for page in DOCS.glob("install-*.md"):
            if page.name != "install-aws.md":
                self.assertIn(f"({page.name})", roles)


def main():
    match sys.argv[1:]:
        case ["render"]:
            found = {page.name: text for page in INSTALL for name, text in files(page.name).items() if name.endswith("pinion.toml")}
            print(json.dumps(found | {"install-helm.md": chart.config(chart.render(helm_values())[0])}))
        case _:
            unittest.main()


if __name__ == "__main__":
    main()
