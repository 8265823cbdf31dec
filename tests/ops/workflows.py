"""The workflows, judged by their linters, and what they call: the steps of a release, the action that sets Pinion up, the name of the
account that publishes it. What only the forge can do is in docs/releasing.md."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
import unittest

import yaml
from common import ROOT

TOOLS = pathlib.Path(os.environ.get("PINION_TOOLS") or ROOT / ".tools")
PROGRAMS = TOOLS / "python/bin"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml")) + [ROOT / "docs/examples/pinion-plan.yml"]
SCRIPTS = [".ci/run", ".ci/release", ".github/actions/setup-pinion/setup", *(f"tests/tools/{name}" for name in ("setup", "stage", "deny", "fuzz", "owner"))]
# What each job may do. Whatever may write or sign is here by name.
RIGHTS = {
    "ci.yml": {"test": {"contents": "read"}},
    "release.yml": {
        "check": {"contents": "read"},
        "test": {"contents": "read"},
        "programs": {"contents": "read"},
        "image-halves": {"contents": "read", "packages": "write"},
        "image": {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"},
        "chart": {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"},
        "release": {"contents": "write", "id-token": "write", "attestations": "write"},
    },
    "site.yml": {"build": {"contents": "read"}, "deploy": {"pages": "write", "id-token": "write"}},
    "pinion-plan.yml": {"plan": {"contents": "read", "id-token": "write"}, "comment": {"pull-requests": "write"}},
}
OURS = "/pinion/.github/actions/setup-pinion@v"
MANIFEST = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]
VERSION = MANIFEST["version"]
OWNER = MANIFEST["repository"].removeprefix("https://github.com/").split("/")[0]
PLATFORM = "-".join(os.uname()[index] for index in (0, 4)).lower()


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    return done.returncode, done.stdout + done.stderr


def lint(*files):
    """What both linters say, and whether each is content."""
    action = run(TOOLS / "bin/actionlint", "-no-color", "-shellcheck", PROGRAMS / "shellcheck", *files)
    z = run(PROGRAMS / "zizmor", "--offline", "--no-progress", "--color=never", *files, ROOT / ".github/actions/setup-pinion/action.yml")
    return action, z


def jobs(path):
    return yaml.safe_load(path.read_text())["jobs"]


class Workflows(unittest.TestCase):
    maxDiff = None

    def test_the_linters_find_nothing(self):
        for code, said in lint(*WORKFLOWS):
            self.assertEqual(code, 0, said)
        code, said = run(PROGRAMS / "shellcheck", "--severity=warning", *SCRIPTS, cwd=ROOT)
        self.assertEqual(code, 0, said)

    def test_the_linters_find_mistakes(self):
        text = (ROOT / ".github/workflows/ci.yml").read_text()
        self.assertIn("runs-on: ubuntu-24.04", text)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "ci.yml")
            path.write_text(text.replace("make test\n", "make test ${{ github.head_ref }}\n").replace("runs-on: ubuntu-24.04", "runs-on: ubuntu-20"))
            (action, one), (zizmor, other) = lint(path)
        self.assertTrue(action and "ubuntu-20" in one and "head_ref" in one, one)
        self.assertTrue(zizmor and "template-injection" in other, other)

    def test_each_job_may_do_what_it_must_and_no_more(self):
        for path in WORKFLOWS:
            workflow = yaml.safe_load(path.read_text())
            self.assertEqual(workflow["permissions"], {}, path.name)
            self.assertEqual({name: job["permissions"] for name, job in workflow["jobs"].items()}, RIGHTS[path.name])

    def test_actions_are_pinned_by_commit_and_agree(self):
        pinned = {}
        files = [*WORKFLOWS, *(ROOT / ".github/actions").rglob("action.yml")]
        for path in files:
            for line in re.findall(r"^\s*(?:- )?uses: (.*)$", path.read_text(), re.MULTILINE):
                if line.startswith("./") or OURS in line:
                    continue
                match = re.fullmatch(r"([\w./-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
                self.assertTrue(match, f"{path.name}: {line}")
                self.assertEqual(pinned.setdefault(match[1], match.groups()), match.groups())
        self.assertGreater(len(pinned), 4)

    def test_ci_runs_what_the_readme_names(self):
        [job] = jobs(ROOT / ".github/workflows/ci.yml").values()
        commands = [line for step in job["steps"] if "run" in step for line in step["run"].strip().splitlines()]
        done = [line for line in commands if not line.startswith(("apt-get ", "git config "))]
        self.assertEqual(done, ["make test"])
        self.assertIn("$ make test ", (ROOT / "README.md").read_text())

    def test_what_is_published_was_tested(self):
        every = jobs(ROOT / ".github/workflows/release.yml")

        def before(name):
            needs = every[name].get("needs", [])
            needs = [needs] if isinstance(needs, str) else needs
            return set(needs).union(*(before(one) for one in needs))

        self.assertEqual(every["test"]["uses"], "./.github/workflows/ci.yml")
        for name, rights in RIGHTS["release.yml"].items():
            if "id-token" in rights:
                self.assertLessEqual({"check", "test"}, before(name), name)
                self.assertEqual(every[name]["environment"], "release")
        self.assertEqual(before("release"), set(every) - {"release"})

    def test_what_is_called_is_there(self):
        called = set(re.findall(r"\.ci/release (\w+)", (ROOT / ".github/workflows/release.yml").read_text()))
        self.assertEqual(called, {"check", "notes", "tools", "binary", "chart", "checksums"})
        for step in called:
            self.assertIn(f"'{step} ", (ROOT / ".ci/release").read_text())


class Release(unittest.TestCase):
    """The steps that take seconds, in a copy with another changelog."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (self.folder / ".ci").mkdir()
        shutil.copy(ROOT / ".ci/release", self.folder / ".ci/release")
        shutil.copy(ROOT / "Cargo.toml", self.folder)
        self.changelog(f"## [{VERSION}] - 2026-12-01")

    def changelog(self, heading):
        text = f"# Changelog\n\n## [Unreleased]\n\n### Added\n\n- next\n\n{heading}\n\n### Added\n\n- one\n\n### Fixed\n\n- two\n\n## [0.0.9] - 2026-01-01\n\n- old\n\n[0.0.9]: https://example.com\n"
        (self.folder / "CHANGELOG.md").write_text(text)

    def release(self, *arguments):
        return run(self.folder / ".ci/release", *arguments)

    def test_the_notes_are_one_part_of_the_changelog(self):
        self.assertEqual(self.release("notes", VERSION), (0, "### Added\n\n- one\n\n### Fixed\n\n- two\n"))
        self.assertEqual(self.release("notes", "0.0.9"), (0, "- old\n"))

    def test_a_tag_that_does_not_fit_is_refused(self):
        self.assertEqual(self.release("check", f"v{VERSION}"), (0, ""))
        code, said = self.release("check", "v9.9.9")
        self.assertTrue(code and f"the tag is v9.9.9, but Cargo.toml says version {VERSION}" in said, said)
        for heading in (f"## [{VERSION}]", "## [0.0.8] - 2026-01-01"):
            self.changelog(heading)
            code, said = self.release("check", f"v{VERSION}")
            self.assertTrue(code and "CHANGELOG.md has no line" in said, said)

    def test_the_checksums_are_those_of_the_files(self):
        dist = self.folder / "dist"
        dist.mkdir()
        for name in ("pinion-1.tar.gz", "pinion-1.cdx.json"):
            (dist / name).write_text(name)
        code, said = self.release("checksums", dist)
        wanted = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in ("pinion-1.cdx.json", "pinion-1.tar.gz"))
        self.assertEqual((code, said, (dist / "SHA256SUMS").read_text()), (0, wanted, wanted))

    def test_a_target_that_is_none_is_refused(self):
        code, said = self.release("binary", "riscv64", "dist")
        self.assertTrue(code and "riscv64 is no target of a release" in said, said)
        self.assertEqual(self.release("nonsense")[0], 64)


class SetUp(unittest.TestCase):
    """The action, on a release that is a folder."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.name = f"pinion-{VERSION}-{PLATFORM}"
        published = self.folder / f"v{VERSION}"
        program = self.folder / self.name / "pinion"
        for made in (published, program.parent, self.folder / "bin", self.folder / "temp"):
            made.mkdir()
        program.write_text(f"#!/bin/sh\necho pinion {VERSION}\n")
        program.chmod(0o755)
        self.archive = published / f"{self.name}.tar.gz"
        with tarfile.open(self.archive, "w:gz") as tar:
            tar.add(program.parent, self.name)
        digest = hashlib.sha256(self.archive.read_bytes()).hexdigest()
        (published / "SHA256SUMS").write_text(f"{'0' * 64}  pinion-{VERSION}-other.tar.gz\n{digest}  {self.name}.tar.gz\n")
        self.gh('echo "$@" >>"$(dirname "$0")/../asked"')

    def gh(self, does):
        path = self.folder / "bin/gh"
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(0o755)

    def set_up(self, **given):
        paths = {"RUNNER_TEMP": self.folder / "temp", "GITHUB_PATH": self.folder / "path", "GITHUB_OUTPUT": self.folder / "output"}
        variables = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PINION_RELEASES": f"file://{self.folder}", "VERSION": "", "VERIFY": "true", **paths, **given}
        return run(ROOT / ".github/actions/setup-pinion/setup", env={name: str(value) for name, value in variables.items()})

    def installed(self):
        return (self.folder / "path").exists()

    def test_it_installs_the_version_that_it_is_from(self):
        code, said = self.set_up()
        self.assertEqual((code, said), (0, f"pinion {VERSION}\n"))
        self.assertEqual((self.folder / "path").read_text(), f"{self.folder}/temp/{self.name}\n")
        self.assertEqual((self.folder / "output").read_text(), f"version={VERSION}\n")
        asked = (self.folder / "asked").read_text().split()
        self.assertEqual(asked[:5], ["attestation", "verify", f"{self.name}.tar.gz", "--repo", f"{OWNER}/pinion"])
        self.assertEqual(asked[5:], ["--cert-identity", f"https://github.com/{OWNER}/pinion/.github/workflows/release.yml@refs/tags/v{VERSION}"])

    def test_another_file_is_refused(self):
        self.archive.write_bytes(self.archive.read_bytes() + b"x")
        code, said = self.set_up(VERIFY="false")
        self.assertTrue(code and "isn't what SHA256SUMS names" in said and not self.installed(), said)

    def test_another_origin_is_refused(self):
        self.gh("exit 1")
        code, said = self.set_up()
        self.assertTrue(code and "has no valid provenance" in said and not self.installed(), said)
        self.assertEqual(self.set_up(VERIFY="false"), (0, f"pinion {VERSION}\n"))

    def test_wrong_inputs_are_said(self):
        for given, wanted in [
            ({"VERSION": "latest"}, '"latest" is no version'),
            ({"VERSION": "9.9.9"}, "is 9.9.9 a release?"),
            ({"VERIFY": "no"}, 'verify is "no"; say true or false'),
        ]:
            code, said = self.set_up(**given)
            self.assertTrue(code and wanted in said and not self.installed(), said)


class Owner(unittest.TestCase):
    """The account that publishes is named in Cargo.toml; wherever else it stands, it is the same."""

    NAMED = re.compile(r"(?:github\.com|ghcr\.io|githubusercontent\.com)/([\w.-]+)/(?:pinion|charts)\b|(?<![$\w/.-])([\w-]+)/pinion/\.github|^OWNER=([\w-]+)$", re.MULTILINE)

    def texts(self, root):
        for name in run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)[1].split("\0"):
            path = pathlib.Path(root, name)
            if name and path.is_file() and b"\0" not in (data := path.read_bytes())[:1000]:
                yield name, data.decode()

    def test_every_file_names_the_same(self):
        seen = {name: {match[1] or match[2] or match[3] for match in self.NAMED.finditer(text)} for name, text in self.texts(ROOT) if name not in {"tests/ops/workflows.py", "tests/tools/owner"}}
        self.assertEqual({name: owners for name, owners in seen.items() if owners - {OWNER}}, {}, "run tests/tools/owner NAME")
        self.assertGreater(sum(map(bool, seen.values())), 3)

    def test_one_command_changes_it_everywhere(self):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in self.texts(ROOT):
                if OWNER in text or name == "tests/tools/owner":
                    copy = pathlib.Path(folder, name)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_text(text)
                    copy.chmod((ROOT / name).stat().st_mode)
            for command in ("init --quiet", "add --all"):
                self.assertEqual(run("git", *command.split(), cwd=folder)[0], 0)
            code, said = run(f"{folder}/tests/tools/owner", "acme-oss")
            self.assertEqual(code, 0, said)
            left = [path for path in pathlib.Path(folder).rglob("*") if path.is_file() and ".git/" not in str(path) and OWNER in path.read_text()]
            own = {"tests/tools/owner", "tests/ops/workflows.py"}
            self.assertEqual([str(path.relative_to(folder)) for path in left if str(path.relative_to(folder)) not in own], [])
            self.assertIn('repository = "https://github.com/acme-oss/pinion"', pathlib.Path(folder, "Cargo.toml").read_text())
        self.assertEqual(run(ROOT / "tests/tools/owner", "Not OK")[0], 64)


if __name__ == "__main__":
    unittest.main()
