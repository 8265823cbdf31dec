"""docs/install-aws.md, followed to the letter: every command of its way to a first release, in order, in one shell. One walk goes
on to the next environment, in an account of its own; another finds its images in an account that isn't its own.

The aws command line is the real one. IAM is moto's, and what the images' account shares; the rest of AWS is the simulator, which
from the step on that makes the roles enforces their very policies. What the page shows below a command has to come out of it.

    first.py [SHELL [elsewhere]]     runs the test in this shell, with images elsewhere if so said (otherwise in bash, in zsh if it
                                     is there, and with images elsewhere); PINION_BIN is the program
    first.py --show                  also prints what came out, for the page
"""

import contextlib
import json
import logging
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ACCOUNT, PROD, IMAGES = "222222222222", "444444444444", "333333333333"

import boto3
from common import ROOT
from moto.server import ThreadedMotoServer

PAGE = ROOT / "docs/install-aws.md"
WORLD = (ROOT / "tests/ops/first.toml").read_text()
HEAD = WORLD[: WORLD.index("[[account]]")]
PINION = os.environ["PINION_BIN"]
SHOW = "--show" in sys.argv
SPEED = "20"
TIMEOUT = 60


def blocks():
    """The page's blocks, as the nearest heading, language and text."""
    heading = ""
    for line, language, text in re.findall(r"^(#+ [^\n]*)$|^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        heading = line.lstrip("# ") or heading
        if not line:
            yield heading, language, text


def steps(elsewhere):
    """The blocks of one way through the page, in order."""
    aside = [block for block in blocks() if block[0] == "Images in another account"] if elsewhere else []
    way = r"[2-7]\. |Uninstall" + ("" if elsewhere else "|The next environment")
    for block in blocks():
        if re.match(way, block[0]):
            if block[2] == "AWS_PROFILE=pinion pinion plan\n":
                yield from aside
            yield block


def accounts(elsewhere):
    """The accounts of the world file, and what is in each."""
    of, *parts = WORLD.removeprefix(HEAD).split("\n\n")
    if not elsewhere:
        there = "\n\n".join([of, *parts]).replace(ACCOUNT, PROD)
        # An AMI is one account's.
        there = re.sub(r"(ami-\w+)aa", r"\1bb", there)
        return {ACCOUNT: "\n\n".join([of, *parts]), PROD: there}
    images = [part for part in parts if re.match(r"\[\[account\.(image|repository)\]\]", part)]
    rest = "\n\n".join([of, *(part for part in parts if part not in images)])
    there = "\n\n".join([f'[[account]]\nid = "{IMAGES}"\nname = "images"', *images])
    return {ACCOUNT: rest.replace(f"{ACCOUNT}.dkr", f"{IMAGES}.dkr"), IMAGES: there}


def even(text):
    """A text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?", "@time", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(ms|s|min|m|h|d)\b", "@took", text)
    text = re.sub(r"\b[0-9a-f]{7,40}\b", lambda found: "@id" if found[0] != ACCOUNT else found[0], text)
    return [re.sub(r"\s+", " ", line).strip() for line in text.splitlines() if line.strip()]


def shows(expected, came):
    """Whether every expected line came, in that order."""
    rest = iter(even(came))
    return all(
        any(re.fullmatch(".*".join(map(re.escape, line.split("…"))), other) for other in rest) for line in even(expected)
    )


def quoted(document):
    return f"'''{json.dumps(document)}'''"


def free():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def until(what, check):
    end = time.monotonic() + TIMEOUT
    last = None
    while time.monotonic() < end:
        done, now = check()
        if SHOW and now != last:
            print(now)
        last = now
        if done:
            return last
        time.sleep(0.1)
    raise AssertionError(f"{what} didn't come in {TIMEOUT} s; the last was:\n{last}")


class Walk:
    def __init__(self, shell, folder, elsewhere):
        self.folder = folder
        self.elsewhere = elsewhere
        self.started = []
        self.sim_port, self.port = free(), free()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.moto.start()
        host, port = self.moto.get_host_and_port()
        self.moto_url = f"http://{host}:{port}"
        # In moto a key is an account's if it is of a session there.
        self.keys = {account: self.key(account) for account in [ACCOUNT, PROD, IMAGES]}
        self.iam = self.moto_client("iam", self.keys[ACCOUNT])
        (folder / "home/.aws").mkdir(parents=True)
        profiles = {"default": self.keys[ACCOUNT], "admin-prod": self.keys[PROD], "admin-images": self.keys[IMAGES]}
        credentials = [f"[{name}]\naws_access_key_id = {key}\naws_secret_access_key = test\n" for name, key in profiles.items()]
        (folder / "home/.aws/credentials").write_text("".join(credentials))
        # Version 2 of the command line hears AWS_REGION; this one, of the package index, only this.
        sections = ["default", "profile admin-prod", "profile admin-images"]
        (folder / "home/.aws/config").write_text("".join(f"[{name}]\nregion = us-west-1\n" for name in sections))
        (folder / "bin").mkdir()
        (folder / "bin/pinion").symlink_to(PINION)
        # What the images' account shares is moto's to judge.
        (folder / "bin/aws").write_text(
            f"""#!/bin/sh
case " $* " in *" --profile admin-images "*) export AWS_ENDPOINT_URL={self.moto_url} ;; esac
exec {shlex.quote(str(pathlib.Path(sys.executable).parent / "aws"))} "$@"
"""
        )
        (folder / "bin/aws").chmod(0o755)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PINION_", "GIT_"))}
        self.environment = inherited | {
            "HOME": str(folder / "home"),
            "PATH": f"{folder}/bin:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.sim_port}",
            "AWS_ENDPOINT_URL_IAM": self.moto_url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "PINION_LISTEN": f"127.0.0.1:{self.port}",
            "PINION_ADDRESS": f"http://127.0.0.1:{self.port}",
            "PINION_LOG_FORMAT": "human",
            "PINION_IN_FLIGHT_INTERVAL": "1s",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ada",
            "GIT_AUTHOR_EMAIL": "ada@example.com",
            "GIT_COMMITTER_NAME": "Ada",
            "GIT_COMMITTER_EMAIL": "ada@example.com",
        }
        subprocess.run(["git", "init", "--quiet", "--bare", folder / "remote.git"], check=True, env=self.environment)
        self.sim = self.controller = None
        self.accounts = accounts(elsewhere)
        self.accounts = {account: text.replace("AKIAADMIN", self.keys[account]) for account, text in self.accounts.items()}
        self.amis = self.images() if elsewhere else []
        # What runs was shared once.
        self.simulator(self.world(f'allowed = ["{ACCOUNT}"]', {ami: [ACCOUNT] for ami in self.amis}, {}))
        self.shell = self.start([shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # What waits for IAM needn't here, and nothing is installed.
        self.run("set -e -o pipefail\nsleep() { :; }\nsudo() { :; }")

    def moto_client(self, service, key):
        return boto3.client(
            service,
            endpoint_url=self.moto_url,
            region_name="us-west-1",
            aws_access_key_id=key,
            aws_secret_access_key="test",
        )

    def key(self, account):
        sts = self.moto_client("sts", "test")
        session = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/admin", RoleSessionName="ada")
        return session["Credentials"]["AccessKeyId"]

    def images(self):
        """Puts the images into their own account, too; the AMIs' ids."""
        self.moto_client("ecr", self.keys[IMAGES]).create_repository(repositoryName="backend")
        there = self.moto_client("ec2", self.keys[IMAGES])
        amis = []
        for old, name in re.findall(r'id = "(ami-\w+)"\nname = "(.*)"', self.accounts[IMAGES]):
            amis.append(there.register_image(Name=name)["ImageId"])
            self.accounts = {account: text.replace(old, amis[-1]) for account, text in self.accounts.items()}
        return amis

    def start(self, command, **options):
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **options)
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            process.kill()
            process.wait()
        self.moto.stop()

    def simulator(self, world):
        if self.sim:
            self.sim.kill()
            self.sim.wait()
        (self.folder / "world.toml").write_text(world)
        command = [PINION, "sim", "--world", "world.toml", "--listen", f"127.0.0.1:{self.sim_port}", "--speed", SPEED]
        with open(self.folder / "sim.log", "w") as log:
            self.sim = self.start(command, stdout=log, stderr=subprocess.STDOUT)

        def listens():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.sim_port}/_sim/fleet") as answer:
                    return answer.status == 200, ""
            except OSError as error:
                return False, error

        until("the simulator", listens)

    def enforce(self):
        """The simulator goes on with the roles that were made, with what they may and who may be them, and with what is shared."""
        policy, users = "", {}
        if self.elsewhere:
            ecr, ec2 = self.moto_client("ecr", self.keys[IMAGES]), self.moto_client("ec2", self.keys[IMAGES])
            with contextlib.suppress(ecr.exceptions.RepositoryPolicyNotFoundException):
                policy = f"policy = {quoted(json.loads(ecr.get_repository_policy(repositoryName='backend')['policyText']))}"
            for ami in self.amis:
                given = ec2.describe_image_attribute(ImageId=ami, Attribute="launchPermission")["LaunchPermissions"]
                users[ami] = [one["UserId"] for one in given]
        roles = {}
        for account in self.accounts.keys() - {IMAGES}:
            iam = self.moto_client("iam", self.keys[account])
            for name in sorted({role["RoleName"] for role in iam.list_roles()["Roles"]} - {"frontend"}):
                trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
                may = iam.get_role_policy(RoleName=name, PolicyName="pinion")["PolicyDocument"]
                role = f'\n[[account.role]]\nname = "{name}"\ntrust = {quoted(trust)}\npolicies = [{quoted(may)}]\n'
                roles[account] = roles.get(account, "") + role
        self.simulator(self.world(policy, users, roles))
        if self.controller:
            # Another simulator knows none of its sessions.
            self.controller.terminate()
            self.controller.wait()
            self.control(self.running)

    def world(self, repository, users, roles):
        """The world file: with what the images' account shares, and with the roles of the others."""
        world = {account: text + roles.get(account, "") for account, text in self.accounts.items()}
        if self.elsewhere:
            world[IMAGES] = world[IMAGES].replace('name = "backend"\n', f'name = "backend"\n{repository}\n')
            for ami, given in users.items():
                world[IMAGES] = world[IMAGES].replace(f'id = "{ami}"\n', f'id = "{ami}"\nshared_with = {json.dumps(given)}\n')
        return HEAD + "\n".join(world.values())

    def run(self, text):
        """What the shell prints, of both streams. Anything that fails ends it."""
        self.shell.stdin.write(f"{{\n{text}\n}} </dev/null\nprintf '\\n@@\\n'\n")
        self.shell.stdin.flush()
        lines = []
        while (line := self.shell.stdout.readline()) != "@@\n":
            assert line, f"the shell ended in\n{text}\nand said\n{''.join(lines)}"
            lines.append(line)
        return "".join(lines).rstrip("\n") + "\n"

    def control(self, text):
        self.running = text
        with open(self.folder / "pinion.log", "w") as log:
            self.controller = self.start(
                ["bash", "-c", f"cd pinion-first && export {text.replace(' pinion run', '; exec pinion run', 1)}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return lambda: re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / "pinion.log").read_text())

    def release(self, component, version, environment="dev"):
        """A release that the page tells of and doesn't ask for."""
        self.run(f"AWS_PROFILE=pinion pinion bump {component} {version} --environment {environment} --allow-downgrade --push")
        self.controller.send_signal(signal.SIGUSR1)

    def shown(self, text, came=None):
        """Waits until the text is shown, by the status unless something else is given."""
        came = came or (lambda: self.run("pinion status"))
        until(text, lambda: (lambda now: (shows(text, now), now))(came()))

    def said_elsewhere(self, text):
        """The page's text where the images are in another account, as it says that they may be."""
        text = text.replace(f"{ACCOUNT}.dkr", f"{IMAGES}.dkr").replace(f'owner = "{ACCOUNT}"', f'owner = "{IMAGES}"')
        if "get-repository-policy" in text:
            # There is none, as the page says that it may be.
            return f"{{ {text.rstrip()} 2>&1 || :; }} | grep RepositoryPolicyNotFoundException"
        if "modify-image-attribute" in text:
            return "\n".join(text.replace("ami-0123456789abcdef0", ami) for ami in self.amis)
        return text

    def go(self):
        came = None
        count = 0
        for heading, language, text in steps(self.elsewhere):
            text = text.replace("127.0.0.1:9780", f"127.0.0.1:{self.port}")
            if self.elsewhere:
                text = self.said_elsewhere(text)
            if language == "sh":
                text = text.replace("https://github.com/acme/environments.git", f"{self.folder}/remote.git")
                # A path takes no token.
                text = re.sub(r'\n\[repository\.auth\]\ntoken_file = ".*"\n', "\n", text)
                if "pinion run" in text:
                    came = self.control(text)
                else:
                    said = self.run(text.replace("pinion status --watch", "pinion status"))
                    if "aws iam create-role --role-name pinion " in text or "modify-image-attribute" in text:
                        self.enforce()
                    if "git push" in text or "--push" in text:
                        self.controller and self.controller.send_signal(signal.SIGUSR1)
                    asks = re.search(r"^pinion status", text, re.MULTILINE)
                    came = None if asks else (lambda said=said: said)
                    if SHOW:
                        print(f"=== {heading}\n{text}--- gives\n{said}")
            else:
                told = heading.startswith("7. ") and "quarantined" in text
                if told:
                    # With the group's, too: its rollouts need rights of their own.
                    self.release("frontend", "1.4.1")
                    self.shown("dev/asg/frontend in-sync 1.4.1 1.4.1 3/3 …")
                    self.release("frontend", "1.4.0")
                    self.shown("dev/asg/frontend in-sync 1.4.0 1.4.0 3/3 …")
                    self.release("backend", "2.1.1")
                    came = None
                self.shown(text, came)
                if "prod/fargate/api" in text and heading == "The next environment" and "DESIRED" in text:
                    # Its role may do what it is for.
                    for component, version, target, size in [("backend", "2.0.1", "fargate/api", 2), ("frontend", "1.4.1", "asg/frontend", 3)]:
                        self.release(component, version, "prod")
                        self.shown(f"prod/{target} in-sync {version} {version} {size}/{size} …")
                if told:
                    self.release("backend", "2.0.1")
                    self.shown("dev/fargate/api in-sync 2.0.1 2.0.1 2/2 …")
            count += 1
        assert count > 30, count
        # What the page says in words.
        left = [("pinion-plan", self.iam)] if self.elsewhere else [("pinion", self.moto_client("iam", self.keys[PROD]))]
        for role, iam in left:
            iam.delete_role_policy(RoleName=role, PolicyName="pinion")
            iam.delete_role(RoleName=role)
        assert {role["RoleName"] for role in self.iam.list_roles()["Roles"]} == {"frontend"}
        files = sorted(path.name for path in self.folder.iterdir())
        assert files == ["bin", "home", "pinion.log", "remote.git", "sim.log", "world.toml"], files


def walk(shell, elsewhere):
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(shell, pathlib.Path(folder), elsewhere)
        # A command that waits for ever fails, too.
        watchdog = threading.Timer(8 * TIMEOUT, walk.shell.kill)
        watchdog.start()
        try:
            trust = {"Version": "2012-10-17", "Statement": []}
            walk.iam.create_role(RoleName="frontend", AssumeRolePolicyDocument=json.dumps(trust))
            walk.iam.create_instance_profile(InstanceProfileName="frontend")
            walk.iam.add_role_to_instance_profile(InstanceProfileName="frontend", RoleName="frontend")
            walk.go()
        finally:
            watchdog.cancel()
            walk.end()


def main():
    match [name for name in sys.argv[1:] if not name.startswith("-")]:
        case [shell, *more]:
            walk(shell, bool(more))
        case _:
            # A moto is a process's.
            shells = [name for name in ["bash", "zsh"] if shutil.which(name)]
            ways = [[shell] for shell in shells] + [[shells[0], "elsewhere"]]
            walks = [subprocess.Popen([sys.executable, __file__, *way, *sys.argv[1:]]) for way in ways]
            failed = [" ".join(way) for way, one in zip(ways, walks) if one.wait()]
            assert not failed, f"the page doesn't hold in {failed}"


if __name__ == "__main__":
    main()
