"""Builds the images of the Dockerfile with buildah, and runs them as a cluster would: as a user without rights, on a root
file system that can't be written to, against the simulator.

No registry is asked for the base images. They are made here, of Debian's own packages: what the Dockerfile builds in is
Debian with a C compiler and the Rust of this machine.

    check.py            `release` if `released.json` is of another Dockerfile, Cargo.lock or release profile, else `ci`; `ci` as well, and it
                        says so, as long as there is no `released.json` at all
    check.py ci         everything, with the profile `ci`, which compiles quickly
    check.py release    everything, with the profile `release`, which is what is delivered; and twice: the second image must be the
                        same. Writes down, in `released.json` beside this file, what it was made of and what it weighs.

It works in $CARGO_TARGET_DIR/image, which is kept and makes the next time short.
"""

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve()
KEPT = TARGET / "image"
RELEASE = "bookworm"
NONROOT = 65532
# What is built without the simulator.
OURS = {"pinion", "pinion-aws", "pinion-clock", "pinion-core", "pinion-git"}
RELEASED = HERE / "released.json"
# What the image without a shell may weigh, unpacked, by the profile. With `ci` nothing is optimised; its limit shows growth in each run
# of `make test`. Raise it with the change that needs it.
MAX_BYTES = {"release": 30_000_000, "ci": 70_000_000}
SHELLS = {"sh", "bash", "dash", "ash", "busybox", "zsh", "apt", "apt-get", "dpkg", "perl", "python3"}


def run(*command, **options):
    """Runs a command; what it says is shown only if it fails."""
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-60:])
        sys.exit(f"image: `{' '.join(str(part) for part in command)}` ended with {done.returncode}:\n{tail}")
    return done.stdout


@functools.cache
def driver():
    """How layers are kept: `overlay`, where the file system can; else each layer is a copy of all below it, which takes gigabytes."""
    with tempfile.TemporaryDirectory(dir=KEPT) as folder:
        lower, upper, work, merged = (pathlib.Path(folder, name) for name in ("lower", "upper", "work", "merged"))
        for path in (lower, upper, work, merged):
            path.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], capture_output=True).returncode:
            return "vfs"
        run("umount", merged)
        return "overlay"


def buildah(*arguments, **options):
    storage = ("--root", KEPT / f"storage-{driver()}", "--runroot", KEPT / f"run-{driver()}", "--storage-driver", driver())
    return run("buildah", *storage, *arguments, **options)


def say(text):
    print(f"image: {text}", flush=True)


def have_image(name):
    return name in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()


def base(name, folder, *config):
    """An image of one folder."""
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, folder, "/")
    if config:
        buildah("config", *config, container)
    buildah("commit", "--quiet", "--rm", container, name)


def debian():
    """Debian's smallest system, once."""
    folder = KEPT / "debian"
    if not folder.exists():
        say(f"unpacking Debian {RELEASE}")
        # It gets its name when it is whole: an earlier run may have been interrupted.
        part = KEPT / "debian.part"
        shutil.rmtree(part, ignore_errors=True)
        run("debootstrap", "--variant=minbase", "--include=ca-certificates", RELEASE, part, "http://deb.debian.org/debian")
        shutil.rmtree(part / "var/cache/apt", ignore_errors=True)
        part.rename(folder)
    return folder


def bases():
    """The two bases, as `localhost/pinion-base/…`."""
    folder = debian()
    if not have_image("localhost/pinion-base/debian:latest"):
        base("localhost/pinion-base/debian", folder, "--env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    if not have_image("localhost/pinion-base/rust:latest"):
        say("adding a C compiler")
        container = buildah("from", "localhost/pinion-base/debian").strip()
        for command in ("apt-get update -qq", "apt-get install -qq -y --no-install-recommends gcc libc6-dev"):
            buildah("run", "--isolation", "chroot", container, "--", "env", "DEBIAN_FRONTEND=noninteractive", *command.split())
        buildah("config", "--env", "PATH=/usr/local/rust/bin:/usr/local/bin:/usr/bin:/bin", "--env", "CARGO_HOME=/usr/local/cargo", container)
        buildah("commit", "--quiet", "--rm", container, "localhost/pinion-base/rust")


def build(target, name, profile, *options, context=ROOT):
    """One target of the Dockerfile; what was said meanwhile. What cargo makes is kept outside the image, as a cached layer would be."""
    sysroot = run("rustc", "--print", "sysroot", cwd=ROOT).strip()
    cargo = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    for folder in (KEPT / "cargo", cargo / "registry"):
        folder.mkdir(parents=True, exist_ok=True)
    arguments = ["--build-arg", f"PROFILE={profile}"]
    if profile == "ci":
        # Compiling it takes longer than what it does here.
        arguments += ["--build-arg", "AUDITABLE="]
    for argument, image in (("RUST", "rust"), ("DEBIAN", "debian")):
        arguments += ["--build-arg", f"{argument}=localhost/pinion-base/{image}"]
    start = time.time()
    said = buildah(
        "bud", "--layers", "--isolation", "chroot", "--timestamp", "0", "--pull-never", *arguments, *options,
        "--volume", f"{sysroot}:/usr/local/rust:ro",
        "--volume", f"{cargo / 'registry'}:/usr/local/cargo/registry",
        "--volume", f"{KEPT / 'cargo'}:/pinion/target",
        "--target", target, "--tag", name, "--file", context / "Dockerfile", context,
    )
    # Nothing else compiles Pinion without the simulator: what only that one uses is found here. The empty sources of the other layer don't count.
    warnings = [line for step, lines in steps(said).items() if "touch src/main.rs" in step for line in lines if line.startswith("warning: ")]
    if warnings:
        sys.exit("image: without the simulator there are warnings:\n" + "\n".join(warnings))
    say(f"built {name} in {time.time() - start:.0f} s")
    return said


def steps(said):
    """The lines that each step of a build printed."""
    found, step = {}, ""
    for line in said.splitlines():
        step = line if line.startswith("STEP ") else step
        found.setdefault(step, []).append(line)
    return found


def compiled(said):
    """What cargo compiled in each step, by the step."""
    names = {step: {found[1] for line in lines if (found := re.match(r"\s*Compiling (\S+) v", line))} for step, lines in steps(said).items()}
    return {step: crates for step, crates in names.items() if crates}


def check_layers(said, profile):
    """The layer of the dependencies has all of them, and lasts while only Pinion's own sources change."""
    for step, crates in compiled(said).items():
        if "touch src/main.rs" in step and crates != OURS:
            sys.exit(f"image: these should be in the layer of the dependencies: {sorted(crates - OURS)}")
    with tempfile.TemporaryDirectory() as folder:
        context = pathlib.Path(folder)
        for name in ("Dockerfile", "Cargo.toml", "Cargo.lock"):
            shutil.copyfile(ROOT / name, context / name)
        for name in ("crates", "src"):
            shutil.copytree(ROOT / name, context / name)
        with (context / "src/main.rs").open("a") as file:
            file.write("// Another.\n")
        again = build("dependencies", "localhost/pinion-dependencies", profile, context=context)
    made = [line for line in again.splitlines() if line.startswith("STEP ") and ": FROM " not in line and ": COMMIT" not in line]
    if again.count("--> Using cache") < len(made) or len(made) < 4 or compiled(again):
        sys.exit(f"image: the layer of the dependencies is made again when src/main.rs changes:\n{again}")
    say("the layer of the dependencies lasts while src/main.rs changes")


@contextlib.contextmanager
def mounted(name):
    """The files of an image, and its configuration."""
    container = buildah("from", "--pull-never", name).strip()
    try:
        shown = json.loads(buildah("inspect", "--type", "image", name))
        yield pathlib.Path(buildah("mount", container).strip()), shown["OCIv1"]["config"]
    finally:
        buildah("rm", container)


def size_of(folder):
    """The bytes of the files below a folder, each counted once."""
    seen, total = set(), 0
    for path in folder.rglob("*"):
        stat = path.lstat()
        if stat.st_ino not in seen:
            seen.add(stat.st_ino)
            total += stat.st_size if not path.is_dir() else 0
    return total


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def get(url):
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)
    except (OSError, ValueError):
        return None


def until(what, seconds, probe):
    """Waits until `probe` gives something; what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = probe()
        if found:
            return found
        time.sleep(0.1)
    sys.exit(f"image: {what}: not within {seconds} s")


def repository(folder):
    """An environments repository with one environment, which is to go to the next version; its bare copy."""
    work, bare = folder / "work", folder / "served/environments.git"
    dev = work / "environments/dev"
    dev.mkdir(parents=True)
    (dev / "environment.toml").write_text(
        '[account]\nid = "222222222222"\nregion = "us-west-1"\nrole = "arn:aws:iam::222222222222:role/pinion"\n\n'
        '[fargate.api]\ncluster = "app"\nservice = "api"\ncomponent = "backend"\n'
        'image = "111111111111.dkr.ecr.us-west-1.amazonaws.com/backend:{version}"\n'
    )
    (dev / "pins.toml").write_text('backend = "2.1.0"\n')
    settings = ["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]
    run("git", "init", "--quiet", "--initial-branch=main", work)
    run("git", "-C", work, "add", ".")
    run("git", "-C", work, *settings, "commit", "--quiet", "--message", "Backend 2.1.0")
    run("git", "clone", "--quiet", "--bare", work, bare)
    return bare


@contextlib.contextmanager
def server(*command, **options):
    """A program that runs meanwhile."""
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()


@contextlib.contextmanager
def git_server(folder):
    port = free_port()
    command = ("git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}", f"--base-path={folder}", folder)
    with server(*command):
        yield f"git://127.0.0.1:{port}/environments.git", {}


@contextlib.contextmanager
def ssh_server(folder):
    """OpenSSH's server, for the user who runs this, with a key of its own."""
    ssh = folder.parent / "ssh"
    ssh.mkdir()
    for name in ("host", "client"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ssh / name)
    shutil.copy(ssh / "client.pub", ssh / "authorized_keys")
    port = free_port()
    (ssh / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {ssh / 'host'}\nAuthorizedKeysFile {ssh / 'authorized_keys'}\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\n"
        f"UsePAM no\nPidFile none\n"
    )
    pathlib.Path("/run/sshd").mkdir(exist_ok=True)
    host = (ssh / "host.pub").read_text().split()
    files = {
        "home/nonroot/.ssh/known_hosts": f"[127.0.0.1]:{port} {host[0]} {host[1]}\n",
        "etc/pinion/key": (ssh / "client").read_text(),
    }
    user = run("id", "-un").strip()
    with server("/usr/sbin/sshd", "-D", "-f", ssh / "config"):
        yield f"ssh://{user}@127.0.0.1:{port}{folder / 'environments.git'}", files


def in_container(root, files, command):
    """The command that runs `command` in the image: own mount namespace, root file system read-only, no rights, and memory
    to write to in /tmp, /cache and the home folder alone."""
    script = [
        "set -e", f"mount --bind {root} {root}", f"mount -o remount,bind,ro {root}", f"mount -t proc proc {root}/proc",
    ]
    for path in ("tmp", "cache", "home/nonroot", "etc/pinion"):
        script.append(f"mount -t tmpfs -o mode=755,uid={NONROOT},gid={NONROOT} tmpfs {root}/{path}")
    for path, file in files.items():
        script += [f"install -D -o {NONROOT} -g {NONROOT} -m 600 {file} {root}/{path}"]
    script += [f"mount -t tmpfs tmpfs {root}/dev", f"mknod -m 666 {root}/dev/null c 1 3", f"mknod -m 666 {root}/dev/urandom c 1 9"]
    environment = "HOME=/home/nonroot PATH=/usr/local/bin:/usr/bin:/bin AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test"
    # Another user's capabilities are gone with `--userspec`.
    script.append(
        f"exec env -i {environment} setpriv --no-new-privs {shutil.which('chroot')} --userspec={NONROOT}:{NONROOT} --groups= {root} {command}"
    )
    return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", "\n".join(script)]


def prepare(root):
    """The mount points, as a container's runtime makes them."""
    for path in ("proc", "dev", "tmp", "cache", "home/nonroot", "etc/pinion"):
        (root / path).mkdir(parents=True, exist_ok=True)


def check_pass(name, root, serve, pinion):
    """A rollout by the image's binary."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        folder = pathlib.Path(folder)
        bare = repository(folder)
        url, files = stack.enter_context(serve(bare.parent))
        aws, port = free_port(), free_port()
        stack.enter_context(server(pinion, "sim", "--world", HERE / "world.toml", "--listen", f"127.0.0.1:{aws}", "--speed", "40"))
        auth = '[repository.auth]\nssh_key_file = "/etc/pinion/key"\n' if "etc/pinion/key" in files else ""
        files["etc/pinion/pinion.toml"] = (
            f'cache_dir = "/cache"\n[[repository]]\nurl = "{url}"\ninterval = "1s"\n{auth}'
            f'[reconcile]\ninterval = "1s"\nin_flight_interval = "1s"\n[server]\nlisten = "127.0.0.1:{port}"\n'
            f'[aws]\nendpoint_url = "http://127.0.0.1:{aws}"\n'
        )
        written = {}
        for number, (path, text) in enumerate(files.items()):
            written[path] = folder / f"file{number}"
            written[path].write_text(text)
        until("the simulator answers", 20, lambda: get(f"http://127.0.0.1:{aws}/_sim/fleet"))
        log = folder / "log"
        with log.open("wb") as output:
            command = in_container(root, written, "/usr/local/bin/pinion run --config /etc/pinion/pinion.toml")
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            start = time.monotonic()

            def in_sync():
                if process.poll() is not None:
                    sys.exit(f"image: pinion in {name} ended with {process.returncode}:\n{log.read_text()[-4000:]}")
                status = get(f"http://127.0.0.1:{port}/api/v1/status") or {}
                targets = status.get("environments", {}).get("dev", {}).get("targets", {})
                return [target["state"] for target in targets.values()] == ["in-sync"]

            end = time.monotonic() + 60
            while not in_sync():
                if time.monotonic() > end:
                    sys.exit(f"image: {name}: not in sync within 60 s:\n{log.read_text()[-4000:]}")
                time.sleep(0.1)
            took = time.monotonic() - start
            (uid,) = {line.split()[1] for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines() if line.startswith("Uid:")}
            if int(uid) != NONROOT:
                sys.exit(f"image: {name} runs as user {uid}")
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
            if code:
                sys.exit(f"image: {name} ended with {code} after SIGTERM:\n{log.read_text()[-4000:]}")
        finally:
            process.kill()
        say(f"{name}: a rollout from {url.split(':')[0]} was in sync after {took:.1f} s; as user {uid}, root file system read-only; SIGTERM ended it with 0")


def check_files(name, root, config, shell, profile):
    """What is in the image and what isn't; the bytes of the binary and of all, and of all as it is pulled."""
    if config.get("User") not in (f"{NONROOT}:{NONROOT}", str(NONROOT)):
        sys.exit(f"image: {name} runs as {config.get('User')!r}, not as {NONROOT}")
    if config.get("Entrypoint") != ["/usr/local/bin/pinion"] or config.get("Cmd") != ["run"]:
        sys.exit(f"image: {name} starts {config.get('Entrypoint')} {config.get('Cmd')}")
    found = sorted(path.name for path in root.rglob("*") if path.name in SHELLS and path.is_file())
    if bool(found) != shell:
        sys.exit(f"image: {name} has {found or 'no shell'}")
    binary, whole = (root / "usr/local/bin/pinion").stat().st_size, size_of(root)
    if whole > MAX_BYTES[profile] and not shell:
        sys.exit(f"image: {name} has {whole:,} bytes, {binary:,} of them the binary; with the profile {profile} it may have {MAX_BYTES[profile]:,}")
    # Else two images of the same sources would differ. What has a shell has the files of a base that isn't ours, with their times.
    late = [path for path in root.rglob("*") if path.lstat().st_mtime and not shell]
    if late:
        sys.exit(f"image: {name} says of {len(late)} files when they were made, such as {late[0].relative_to(root)}")
    home, tmp = (root / "home/nonroot").stat(), (root / "tmp").stat()
    if (home.st_uid, home.st_gid) != (NONROOT, NONROOT) or tmp.st_mode & 0o7777 != 0o1777:
        sys.exit(f"image: {name}: its home folder belongs to {home.st_uid}:{home.st_gid}, /tmp has the mode {tmp.st_mode & 0o7777:o}")
    # Where scanners look for what may have holes.
    packages = [path.read_text() for path in (root / "var/lib/dpkg").glob("status*/*")] or [(root / "var/lib/dpkg/status").read_text()]
    for package in ("libc6", "libgcc-s1", "ca-certificates"):
        if not any(f"Package: {package}\n" in text and "\nVersion: " in text for text in packages):
            sys.exit(f"image: {name} doesn't say which {package} it has")
    # As it is pulled: what registries keep is compressed.
    packed = int(run("sh", "-c", f"tar -C {root} --exclude=./proc --exclude=./dev -c . | gzip -c | wc -c"))
    say(
        f"{name}: binary {binary / 1e6:.1f} MB; the image {whole / 1e6:.1f} MB, {packed / 1e6:.1f} MB to pull; "
        f"{'with' if shell else 'without'} a shell"
    )
    return {"binary": binary, "image": whole, "compressed": packed}


def check_commands(name, root):
    prepare(root)
    version = run(*in_container(root, {}, "/usr/local/bin/pinion --version")).strip()
    expected = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    if version != f"pinion {expected}":
        sys.exit(f"image: {name}: `pinion --version` says {version!r}")
    for command in ("sim", "demo"):
        done = subprocess.run(in_container(root, {}, f"/usr/local/bin/pinion {command} --help"), capture_output=True, text=True)
        if done.returncode != 64:
            sys.exit(f"image: {name}: `pinion {command}` is in it: {done.stdout}{done.stderr}")
    say(f"{name}: {version}; no simulator, no demo")


def release_inputs():
    """The hash of what decides how a release is built, besides its sources."""
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    inputs = hashlib.sha256()
    for part in ((ROOT / "Dockerfile").read_bytes(), (ROOT / "Cargo.lock").read_bytes(), json.dumps(manifest["profile"]["release"], sort_keys=True).encode()):
        inputs.update(hashlib.sha256(part).digest())
    return inputs.hexdigest()


def is_stale():
    """Whether `released.json` is of something else."""
    try:
        return json.loads(RELEASED.read_text())["inputs"] != release_inputs()
    except (OSError, ValueError, KeyError):
        return True


def image_id(name):
    return buildah("images", "--quiet", "--no-trunc", name).strip()


def check_again(name, profile):
    """The same sources give the same image: all layers are made again, with Pinion's crates compiled again."""
    first = image_id(name)
    build("default", f"{name}-again", profile, "--no-cache")
    if image_id(f"{name}-again") != first:
        sys.exit(f"image: {name} differs when it is built again: {first} and {image_id(f'{name}-again')}")
    say(f"{name}: the same again, {first}")


def main():
    arguments = sys.argv[1:]
    if arguments not in ([], ["ci"], ["release"]):
        sys.exit("usage: check.py [ci | release]")
    if os.geteuid():
        # Building an image without a daemon, and a root file system of its own, need root.
        if not shutil.which("sudo"):
            sys.exit("image: building an image without a daemon needs root; run this as root, or install sudo")
        kept = [f"{name}={os.environ[name]}" for name in ("PATH", "HOME", "CARGO_HOME", "CARGO_TARGET_DIR", "RUSTUP_HOME") if name in os.environ]
        os.execvp("sudo", ["sudo", "env", *kept, sys.executable, __file__, *arguments])
    profile = arguments[0] if arguments else "release" if RELEASED.exists() and is_stale() else "ci"
    if not arguments and not RELEASED.exists():
        say(f"release NOT CHECKED: {RELEASED.name} is missing; `make release-check` makes it, commit it")
    if profile == "release" and not arguments:
        say("Dockerfile, Cargo.lock or the release profile has changed: checking the release; `make release-check`, committed, spares it")
    KEPT.mkdir(parents=True, exist_ok=True)
    pinion = TARGET / "debug/pinion"
    if not pinion.exists():
        sys.exit(f"image: {pinion} is missing; `cargo build` makes it")
    # Containers that an interrupted run left, and an earlier run's images: their layers would pile up. What takes time to
    # compile is kept beside them.
    buildah("rm", "--all")
    buildah("rmi", "--prune", "--force")
    bases()
    weights = {}
    for target, name, shell, serve in (("default", "localhost/pinion", False, git_server), ("ssh", "localhost/pinion-ssh", True, ssh_server)):
        said = build(target, name, profile)
        if target == "default":
            check_layers(said, profile)
        with mounted(name) as (root, config):
            weights[target] = check_files(name, root, config, shell, profile)
            check_commands(name, root)
            check_pass(name, root, serve, pinion)
    if profile == "release":
        check_again("localhost/pinion", profile)
        RELEASED.write_text(json.dumps({"inputs": release_inputs(), "bytes": weights}, indent=2) + "\n")
        say(f"wrote {RELEASED.relative_to(ROOT)}; commit it")
    say("2 passed, 0 failed")


if __name__ == "__main__":
    main()
