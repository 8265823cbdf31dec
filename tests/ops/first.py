"""docs/install-aws.md, followed to the letter: every command of its way to a first release, in order, in one shell.

The aws command line is the real one. IAM is moto's; the rest of AWS is the stand-in, which from the step on that makes the
roles enforces their very policies. What the page shows below a command has to come out of it.

    first.py [SHELL]     runs the test in this shell (otherwise bash, and zsh if it is there); PINION_BIN is the program
    first.py --show      also prints what came out, for the page
"""

import json
import logging
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ACCOUNT = "222222222222"
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT

import boto3
from common import ROOT
from moto.server import ThreadedMotoServer

PAGE = ROOT / "docs/install-aws.md"
WORLD = (ROOT / "tests/ops/first.toml").read_text()
PINION = os.environ["PINION_BIN"]
SHOW = "--show" in sys.argv
SPEED = "20"
PATIENCE = 60


def steps():
    """The page's blocks, as heading, language and text, without the ways that branch off."""
    heading = ""
    for line, language, text in re.findall(r"^(#+ [^\n]*)$|^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE):
        heading = line if line.startswith("## ") else heading
        if not line and (re.match(r"## [2-7]\. |## Taking it back", heading)):
            yield heading.lstrip("# "), language, text


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


def free():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def until(what, check):
    end = time.monotonic() + PATIENCE
    last = None
    while time.monotonic() < end:
        done, now = check()
        if SHOW and now != last:
            print(now)
        last = now
        if done:
            return last
        time.sleep(0.1)
    raise AssertionError(f"{what} didn't come in {PATIENCE} s; the last was:\n{last}")


class Walk:
    def __init__(self, shell, folder):
        self.folder = folder
        self.started = []
        self.sim_port, self.port = free(), free()
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.moto.start()
        host, port = self.moto.get_host_and_port()
        self.moto_url = f"http://{host}:{port}"
        self.iam = boto3.client(
            "iam",
            endpoint_url=self.moto_url,
            region_name="us-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        (folder / "home/.aws").mkdir(parents=True)
        (folder / "home/.aws/credentials").write_text("[default]\naws_access_key_id = AKIAADMIN\naws_secret_access_key = test\n")
        # Version 2 of the command line hears AWS_REGION; this one, of the package index, only this.
        (folder / "home/.aws/config").write_text("[default]\nregion = us-west-1\n")
        (folder / "bin").mkdir()
        (folder / "bin/pinion").symlink_to(PINION)
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
        self.stand_in(WORLD)
        self.shell = self.start([shell], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        # What waits for IAM needn't here, and nothing is installed.
        self.run("set -e -o pipefail\nsleep() { :; }\nsudo() { :; }")

    def start(self, command, **options):
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **options)
        self.started.append(process)
        return process

    def end(self):
        for process in self.started:
            process.kill()
            process.wait()
        self.moto.stop()

    def stand_in(self, world):
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

        until("the stand-in", listens)

    def enforce(self):
        """The stand-in goes on with the roles that were made, and with what they may and who may be them."""
        roles = ""
        for name in ["pinion-controller", "pinion"]:
            trust = self.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
            policy = self.iam.get_role_policy(RoleName=name, PolicyName="pinion")["PolicyDocument"]
            quoted = [f"'''{json.dumps(document)}'''" for document in [trust, policy]]
            roles += f'\n[[account.role]]\nname = "{name}"\ntrust = {quoted[0]}\npolicies = [{quoted[1]}]\n'
        self.stand_in(WORLD + roles)

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
        with open(self.folder / "pinion.log", "w") as log:
            self.controller = self.start(
                ["bash", "-c", f"cd pinion-first && export {text.replace(' pinion run', '; exec pinion run', 1)}"],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return lambda: re.sub(r"\x1b\[[0-9;]*m", "", (self.folder / "pinion.log").read_text())

    def release(self, component, version):
        """A release that the page tells of and doesn't ask for."""
        self.run(f"AWS_PROFILE=pinion pinion bump {component} {version} --environment dev --allow-downgrade --push")
        self.controller.send_signal(signal.SIGUSR1)

    def shown(self, text, came=None):
        """Waits until the text is shown, by the status unless something else is given."""
        came = came or (lambda: self.run("pinion status"))
        until(text, lambda: (lambda now: (shows(text, now), now))(came()))

    def go(self):
        came = None
        count = 0
        for heading, language, text in steps():
            text = text.replace("127.0.0.1:9780", f"127.0.0.1:{self.port}")
            if language == "sh":
                text = text.replace("https://github.com/acme/environments.git", f"{self.folder}/remote.git")
                # A path takes no token.
                text = re.sub(r'\n\[repository\.auth\]\ntoken_file = ".*"\n', "\n", text)
                if "pinion run" in text:
                    came = self.control(text)
                else:
                    said = self.run(text.replace("pinion status --watch", "pinion status"))
                    if "aws iam create-role --role-name pinion " in text:
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
                    self.shown("dev/asg/web in-sync 1.4.1 1.4.1 3/3 …")
                    self.release("frontend", "1.4.0")
                    self.shown("dev/asg/web in-sync 1.4.0 1.4.0 3/3 …")
                    self.release("backend", "2.1.1")
                    came = None
                self.shown(text, came)
                if told:
                    self.release("backend", "2.0.1")
                    self.shown("dev/fargate/api in-sync 2.0.1 2.0.1 2/2 …")
            count += 1
        assert count > 30, count
        assert {role["RoleName"] for role in self.iam.list_roles()["Roles"]} == {"frontend"}
        left = sorted(path.name for path in self.folder.iterdir())
        assert left == ["bin", "home", "pinion.log", "remote.git", "sim.log", "world.toml"], left


def walk(shell):
    with tempfile.TemporaryDirectory() as folder:
        walk = Walk(shell, pathlib.Path(folder))
        # A command that waits for ever fails, too.
        watchdog = threading.Timer(8 * PATIENCE, walk.shell.kill)
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
        case [shell]:
            walk(shell)
        case _:
            # A moto is a process's.
            shells = [name for name in ["bash", "zsh"] if shutil.which(name)]
            walks = [subprocess.Popen([sys.executable, __file__, shell, *sys.argv[1:]]) for shell in shells]
            failed = [shell for shell, one in zip(shells, walks) if one.wait()]
            assert shells and not failed, f"the page doesn't hold in {failed or 'any shell'}"


if __name__ == "__main__":
    main()
