"""What Pinion costs, and what the usual alternatives cost on the same simulator, side by side in one run.

    bench.py --pinion BINARY --sim BINARY [--only 10,100] [--write]

Worlds of 10, 100 and 1,000 targets over 1, 10 and 50 accounts, half of them groups, half services. Every answer of the
simulator takes LATENCY longer, as AWS's do. For each world and phase: the AWS calls, the wall clock, the processor time and
the memory of the process, and the bytes that came from the Git server. `--write` puts the tables into docs/performance.md.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs/performance.md"
# accounts, groups and services of each.
WORLDS = [(1, 5, 5), (10, 5, 5), (50, 10, 10)]
LATENCY_MS = 40
SPEED = 30
TOOLS = "000000000000"
# The other tools start a process for each step; more of them would tell nothing new, so the cost is taken of so many and
# given for each.
SAMPLE = 10
TICK = os.sysconf("SC_CLK_TCK")


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit(f"bench: `{' '.join(str(part) for part in command)}` ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def ask(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
        return json.loads(text) if text else None


def until(what, seconds, probe, pause=0.1):
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(OSError, ValueError, KeyError):
            found = probe()
            if found:
                return found
        if time.monotonic() > end:
            sys.exit(f"bench: {what}: not within {seconds} s")
        time.sleep(pause)


class Counter(socketserver.ThreadingTCPServer):
    """Passes connections on to the Git server and counts the bytes that come back."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), None)
        self.upstream, self.received, self.lock = port, 0, threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def finish_request(self, request, address):
        with socket.create_connection(("127.0.0.1", self.upstream)) as upstream:
            def send():
                with contextlib.suppress(OSError):
                    while data := request.recv(65536):
                        upstream.sendall(data)
                    upstream.shutdown(socket.SHUT_WR)
            threading.Thread(target=send, daemon=True).start()
            with contextlib.suppress(OSError):
                while data := upstream.recv(65536):
                    with self.lock:
                        self.received += len(data)
                    request.sendall(data)


class Process:
    """A program, and what the kernel says of it."""

    def __init__(self, command, log, **options):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=subprocess.STDOUT, **options)

    def seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self, key):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1]) / 1024
        raise KeyError(key)

    def alive(self):
        if self.process.poll() is not None:
            sys.exit(f"bench: it ended with {self.process.returncode}:\n{pathlib.Path(self.log).read_text()[-3000:]}")
        return True

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.process.kill()
        self.process.wait()


class World:
    """The simulator, with one fleet."""

    def __init__(self, binary, folder, accounts, groups, services):
        self.accounts = [f"{number:012}" for number in range(1, accounts + 1)]
        self.groups, self.services = groups, services
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        size = f"{accounts},{groups},{services}"
        command = [binary, "sim", "--fleet", size, "--listen", f"127.0.0.1:{port}", "--speed", str(SPEED)]
        self.process = Process(command, folder / f"sim-{port}.log")
        fleet = until("the simulator", 60, lambda: ask(f"{self.url}/_sim/fleet"))
        ask(f"{self.url}/_sim/faults", {"kind": "delay", "millis": LATENCY_MS})
        self.controller = ask(f"{self.url}/_sim/state").get("controller") if "controller" not in fleet else fleet["controller"]

    def calls(self):
        return ask(f"{self.url}/_sim/journal?since=999999999")["last"]

    def stop(self):
        self.process.stop()


def environment(world, account):
    text = f'[account]\nid = "{account}"\nregion = "us-west-1"\nrole = "arn:aws:iam::{account}:role/pinion"\n'
    for number in range(world.groups):
        text += (
            f'[asg.group-{number}]\ncomponent = "frontend"\n'
            f'ami = {{ name = "frontend-{{version}}", owner = "{world.controller}" }}\n'
        )
    for number in range(world.services):
        text += (
            f'[fargate.service-{number}]\ncomponent = "backend"\ncluster = "app"\n'
            f'image = "{world.controller}.dkr.ecr.us-west-1.amazonaws.com/backend:{{version}}"\n'
        )
    return text


class Git:
    """A Git server with the environments repository of a world, behind a counter."""

    def __init__(self, world, folder):
        self.work, self.bare = folder / "work", folder / "served/environments.git"
        for account in world.accounts:
            place = self.work / "environments" / f"env-{account}"
            place.mkdir(parents=True)
            (place / "environment.toml").write_text(environment(world, account))
        self.pin(world, "1.0.0")
        run("git", "init", "--quiet", "--initial-branch=main", self.work)
        self.commit("The fleet")
        run("git", "clone", "--quiet", "--bare", self.work, self.bare)
        run("git", "-C", self.work, "remote", "add", "origin", self.bare)
        port = free_port()
        command = ["git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder / 'served'}"]
        self.process = Process(command, folder / "git.log", start_new_session=True)
        until("git daemon", 20, lambda: socket.create_connection(("127.0.0.1", port), 1))
        self.counter = Counter(port)
        self.url = f"git://127.0.0.1:{self.counter.server_address[1]}/environments.git"

    def pin(self, world, version):
        for account in world.accounts:
            (self.work / "environments" / f"env-{account}" / "pins.toml").write_text(
                f'frontend = "{version}"\nbackend = "{version}"\n'
            )

    def commit(self, subject):
        settings = ["-c", "user.name=Bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false"]
        run("git", "-C", self.work, "add", ".")
        run("git", "-C", self.work, *settings, "commit", "--quiet", "--message", subject)

    def push(self):
        run("git", "-C", self.work, "push", "--quiet", "origin", "main")

    def stop(self):
        os.killpg(self.process.process.pid, signal.SIGTERM)
        self.process.process.wait()
        self.counter.shutdown()


def pinion(binary, world, folder):
    """The three phases."""
    git = Git(world, folder)
    port = free_port()
    config = folder / "pinion.toml"
    interval = 20
    config.write_text(
        f'cache_dir = "{folder}/cache"\n[[repository]]\nurl = "{git.url}"\ninterval = "1s"\n'
        f'[reconcile]\ninterval = "{interval}s"\nin_flight_interval = "1s"\n[server]\nlisten = "127.0.0.1:{port}"\n'
        f'[aws]\nendpoint_url = "{world.url}"\n[log]\nfilter = "warn"\n'
    )
    variables = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def status():
        held = ask(f"http://127.0.0.1:{port}/api/v1/status")["environments"]
        return {name: (env["passes"], [t["state"] for t in env["targets"].values()], [t.get("running") for t in env["targets"].values()]) for name, env in held.items()}

    def settled():
        held = process.alive() and status()
        total = len(world.accounts) * (world.groups + world.services)
        states = [state for _, states, _ in held.values() for state in states]
        return len(states) == total and all(state == "in-sync" for state in states) and held

    def take():
        return time.monotonic(), world.calls(), process.seconds(), git.counter.received

    rows, begin = [], None

    def row(phase, before, after):
        rows.append({
            "phase": phase, "calls": after[1] - before[1], "wall": after[0] - before[0], "cpu": after[2] - before[2],
            "rss": process.memory("VmRSS"), "peak": process.memory("VmHWM"), "git": after[3] - before[3],
        })

    begin = (time.monotonic(), world.calls(), 0.0, git.counter.received)
    process = Process([binary, "run", "--config", config], folder / "pinion.log", env=variables)
    until("the first pass", 600, settled)
    row("first pass", begin, take())

    # One pass of every environment that has nothing to do, from a quiet moment to a quiet moment.
    def quiet():
        last = world.calls()
        time.sleep(1.0)
        return last == world.calls()

    until("a quiet moment", 120, quiet)
    def polls():
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
        return sum(float(m[1]) for m in re.finditer(r"^pinion_git_polls_total\S* (\S+)$", text, re.M))

    polled = polls()
    passes = {name: count for name, (count, _, _) in status().items()}
    before = take()
    until("an idle pass", 120, lambda: all(count > passes[name] for name, (count, _, _) in status().items()))
    until("a quiet moment", 120, quiet)
    after = take()
    made = sum(count - passes[name] for name, (count, _, _) in status().items()) / len(passes)
    row("idle pass", before, after)
    # Of `made` passes of each environment; what comes from Git is of one poll.
    idle = rows[-1]
    for key in ("calls", "cpu"):
        idle[key] = idle[key] / made
    idle["git"] = idle["git"] / max(polls() - polled, 1)
    idle["wall"] = None

    git.pin(world, "1.1.0")
    git.commit("Everything to 1.1.0")
    before = take()
    git.push()

    def bumped():
        held = process.alive() and status()
        return held and all(all(s == "in-sync" for s in states) and all("1.1.0" in str(r) for r in running) for _, states, running in held.values())

    until("the bump", 3600, bumped, 0.25)
    row("fleet-wide bump", before, take())
    process.stop()
    git.stop()
    return rows


@contextlib.contextmanager
def children():
    """The processor time of the processes that run meanwhile."""
    before, used = resource.getrusage(resource.RUSAGE_CHILDREN), {}
    start = time.monotonic()
    yield used
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["wall"] = time.monotonic() - start
    used["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def others(tools, world):
    """`aws` in a loop, as a pipeline's check has it; and `ecs deploy` for each service, as its deployment has it."""
    account = world.accounts[0]
    base = {
        **os.environ, "AWS_ENDPOINT_URL": world.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-west-1", "AWS_DEFAULT_REGION": "us-west-1", "AWS_PAGER": "",
    }
    aws, ecs = tools / "bin/aws", tools / "bin/ecs"
    rows = []

    def assume():
        answer = json.loads(run(aws, "sts", "assume-role", "--role-arn", f"arn:aws:iam::{account}:role/pinion", "--role-session-name", "bench", env=base))
        keys = answer["Credentials"]
        return {**base, "AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"], "AWS_SESSION_TOKEN": keys["SessionToken"]}

    groups, services = min(SAMPLE // 2, world.groups), min(SAMPLE // 2, world.services)
    before = world.calls()
    with children() as used:
        env = assume()
        for number in range(groups):
            run(aws, "autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", f"group-{number}", env=env)
            run(aws, "ec2", "describe-images", "--owners", world.controller, "--filters", "Name=name,Values=frontend-1.0.0", env=env)
        for number in range(services):
            shown = json.loads(run(aws, "ecs", "describe-services", "--cluster", "app", "--services", f"service-{number}", env=env))
            run(aws, "ecs", "describe-task-definition", "--task-definition", shown["services"][0]["taskDefinition"], env=env)
    rows.append({"phase": "check, `aws` in a loop", "targets": groups + services, "calls": world.calls() - before, **used})

    before = world.calls()
    with children() as used:
        env = assume()
        for number in range(services):
            run(ecs, "deploy", "app", f"service-{number}", "--tag", "1.1.0", "--timeout", "600", "--no-deregister", env=env)
    rows.append({"phase": "bump of services, `ecs deploy` in a loop", "targets": services, "calls": world.calls() - before, **used})
    return rows


def number(value, digits=1):
    return "–" if value is None else f"{value:,.{digits}f}"


def tables(results):
    lines = [
        "| targets | accounts | phase | AWS calls | wall s | CPU s | memory MiB | peak MiB | KiB from Git |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        for row in result["pinion"]:
            lines.append(
                f"| {result['targets']:,} | {result['accounts']} | {row['phase']} | {number(row['calls'], 0)} | {number(row['wall'])} "
                f"| {number(row['cpu'], 2)} | {number(row['rss'])} | {number(row['peak'])} | {number(row['git'] / 1024)} |"
            )
    lines += [
        "", "The others, on the same simulator, for each target:", "",
        "| world | tool | targets tried | AWS calls | wall s | CPU s |", "| ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        for row in result["others"]:
            n = row["targets"]
            lines.append(
                f"| {result['targets']:,} | {row['phase']} | {n} | {row['calls'] / n:.2f} | {row['wall'] / n:.2f} | {row['cpu'] / n:.3f} |"
            )
    lines += ["", "Pinion against them, for each target:", "", "| | AWS calls | CPU ms | theirs ÷ ours: calls | theirs ÷ ours: CPU |", "| --- | ---: | ---: | ---: | ---: |"]
    for result in results:
        n = result["targets"]
        for phase, other in (("idle pass", 0), ("fleet-wide bump", 1)):
            ours = next(row for row in result["pinion"] if row["phase"] == phase)
            theirs = result["others"][other]
            m = theirs["targets"]
            lines.append(
                f"| {phase} of {n:,} | {ours['calls'] / n:.2f} | {ours['cpu'] / n * 1000:.1f} "
                f"| {theirs['calls'] / m / max(ours['calls'] / n, 1e-9):.1f} | {theirs['cpu'] / m / max(ours['cpu'] / n, 1e-9):.0f} |"
            )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pinion", type=pathlib.Path, required=True, help="the binary to measure: a release build")
    parser.add_argument("--sim", type=pathlib.Path, required=True, help="the binary with the simulator")
    parser.add_argument("--only", help="numbers of targets, such as 10,100")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    arguments = parser.parse_args()
    tools = pathlib.Path(os.environ.get("PINION_TOOLS") or ROOT / ".tools") / "python"
    wanted = arguments.only and {int(text) for text in arguments.only.split(",")}
    results = []
    for accounts, groups, services in WORLDS:
        targets = accounts * (groups + services)
        if wanted and targets not in wanted:
            continue
        print(f"bench: {targets} targets in {accounts} accounts", flush=True)
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            folder = pathlib.Path(folder)
            world = World(arguments.sim.resolve(), folder, accounts, groups, services)
            stack.callback(world.stop)
            ours = pinion(arguments.pinion.resolve(), world, folder)
            for row in ours:
                print(f"bench:   {row}", flush=True)
        with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
            world = World(arguments.sim.resolve(), pathlib.Path(folder), accounts, groups, services)
            stack.callback(world.stop)
            theirs = others(tools, world)
            for row in theirs:
                print(f"bench:   {row}", flush=True)
        results.append({"targets": targets, "accounts": accounts, "pinion": ours, "others": theirs})
    table = tables(results)
    print(f"\n{table}")
    if arguments.write:
        text = DOCUMENT.read_text()
        begin, end = "<!-- bench: begin -->", "<!-- bench: end -->"
        head, rest = text.split(begin)
        DOCUMENT.write_text(f"{head}{begin}\n{table}\n{end}{rest.split(end)[1]}")


if __name__ == "__main__":
    main()
