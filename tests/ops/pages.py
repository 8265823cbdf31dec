"""The documentation as a whole: each page says whom it is for, every link leads somewhere, every command and every file that it shows is one
that Pinion takes, and from the README one gets everywhere."""

import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from common import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
# Those of the repository itself, without a line that says whom they are for.
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "charts/pinion/README.md")]
README_LINES = 120
# Pages with the files of a whole environments repository, each in a block that begins with its name.
WHOLE = ["six-services.md"]
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def prose(text):
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


def anchors(text):
    """What GitHub calls the headings; each one that is there again gets a number."""
    found = []
    for heading in re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE):
        heading = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        count = sum(other == name or re.fullmatch(re.escape(name) + r"-\d+", other) is not None for other in found)
        found.append(f"{name}-{count}" if count else name)
    return set(found)


def links(page):
    return re.findall(r"\]\(([^)\s]+)\)", BLOCK.sub("", page.read_text()))


def calls(page):
    """The arguments of each call of `pinion` on a page."""
    text = page.read_text()
    for _, language, block in BLOCK.findall(text):
        if language in {"sh", "console", "yaml", "groovy"}:
            for call in re.findall(r"(?:^\s*|&& |-- |sudo )(?:\$ |- |run: )?(?:\w+=\S+ )*pinion ([a-z][^#&|\n)]*)", block.replace("\\\n", " "), re.MULTILINE):
                yield call.split()
    for call in re.findall(r"`(?:\w+=\S+ )?pinion ([a-z][^`…|]*)`", BLOCK.sub("", text).replace("\n", " ")):
        yield call.split()


class Pages(unittest.TestCase):
    maxDiff = None

    def test_each_page_says_whom_it_is_for(self):
        for page in PAGES:
            if page.parent.name == "scenarios" and page.name != "README.md":
                continue
            with self.subTest(page=page.name):
                title, _, whom, blank, first, *_ = page.read_text().split("\n")
                self.assertRegex(title, r"^# \S")
                self.assertRegex(whom, r"^\*For [a-z].*\.\*$")
                self.assertEqual(blank, "")
                self.assertGreater(len(first), 50, "what it is for comes next, as a sentence")
                self.assertNotRegex(first, r"^([|#!-]|```)")

    def test_links_lead_somewhere(self):
        count = 0
        for page in [*PAGES, *OTHERS]:
            for target in links(page):
                path, _, anchor = target.partition("#")
                # `make release-check` writes the last one.
                if "://" in path or path.startswith("mailto:") or path.endswith("/released.json"):
                    continue
                count += 1
                with self.subTest(page=str(page.relative_to(ROOT)), target=target):
                    linked = (page.parent / path).resolve() if path else page
                    self.assertTrue(linked.exists())
                    if anchor and linked.suffix == ".md":
                        self.assertIn(anchor, anchors(linked.read_text()))
        self.assertGreater(count, 300)

    def test_the_readme_is_short_and_leads_everywhere(self):
        self.assertLessEqual(len((ROOT / "README.md").read_text().splitlines()), README_LINES)
        seen, left = set(), [ROOT / "README.md"]
        while left:
            page = left.pop()
            if page not in seen:
                seen.add(page)
                linked = ((page.parent / target.partition("#")[0]).resolve() for target in links(page) if "://" not in target)
                left.extend(path for path in linked if path.suffix == ".md" and path.exists())
        self.assertEqual([str(page) for page in PAGES if page not in seen], [])

    def test_commands_exist(self):
        known, seen = {}, 0
        for page in [*PAGES, *OTHERS]:
            for command, *arguments in calls(page):
                if command == "policy" and arguments:
                    command = f"policy {arguments.pop(0)}"
                if command == "help":
                    continue
                if command not in known:
                    done = subprocess.run([os.environ["PINION_BIN"], *command.split(), "--help"], capture_output=True, text=True)
                    self.assertEqual(done.returncode, 0, f"{page.name}: pinion {command}: {done.stderr}")
                    known[command] = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout))
                with self.subTest(page=page.name, command=command, arguments=arguments):
                    options = {argument.split("=")[0] for argument in arguments if argument.startswith("-") and argument != "-"}
                    self.assertLessEqual(options, known[command])
                    seen += 1
        self.assertGreater(seen, 100)

    def test_the_command_line_is_complete(self):
        said = subprocess.run([os.environ["PINION_BIN"], "--help"], capture_output=True, text=True, check=True).stdout
        commands = set(re.findall(r"^  ([a-z]+)  ", said.split("Commands:")[1].split("Options:")[0], re.MULTILINE)) - {"help"}
        page = (DOCS / "command-line.md").read_text()
        self.assertEqual({command for command in commands if f"| `pinion {command}" not in page}, set())

    def test_the_site_builds_and_its_links_lead_somewhere(self):
        python = pathlib.Path(os.environ.get("PINION_TOOLS") or ROOT / ".tools", "site/bin/python")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([python, DOCS / "site/build.py", folder], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            pages = {page.relative_to(DOCS).with_suffix(".html") for page in PAGES} | {pathlib.Path("index.html")}
            self.assertEqual({page for page in pages if not pathlib.Path(folder, page).exists()}, set())
            first = pathlib.Path(folder, "index.html").read_text()
            self.assertIn('href="install-aws.html"', first)
            # Nothing is loaded from elsewhere.
            self.assertEqual(re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"https?://[^>]*rel=\"stylesheet|<script[^>]*src=\"https?://", first), [])

    def test_pinion_takes_the_files(self):
        for name in WHOLE:
            with self.subTest(page=name), tempfile.TemporaryDirectory() as folder:
                written = 0
                for _, language, block in BLOCK.findall((DOCS / name).read_text()):
                    first, _, rest = block.partition("\n")
                    path = re.fullmatch(r"(?:#|//) ((?:environments|policies)/\S+)", first)
                    if path and language in {"toml", "cedar"}:
                        file = pathlib.Path(folder, path[1])
                        file.parent.mkdir(parents=True, exist_ok=True)
                        file.write_text(rest)
                        written += 1
                self.assertGreater(written, 4)
                done = subprocess.run([os.environ["PINION_BIN"], "validate", folder], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn("no findings", done.stdout)


if __name__ == "__main__":
    unittest.main()
