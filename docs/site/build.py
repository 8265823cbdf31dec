"""Builds the documentation as a site, with Sphinx: `make site`. A link that leads nowhere, a page that no menu names, or Markdown that
can't be read is an error.

    build.py FOLDER     puts the site there

The pages are written for GitHub. Here the README becomes the first page, and links to files that aren't pages lead to the repository.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
HERE = DOCS / "site"
REPOSITORY = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["repository"]
MENU = {
    "Start": "install install-aws six-services install-helm install-ecs install-systemd iam",
    "Moving to it": "comparison migrate/terraform migrate/codepipeline migrate/ecspresso migrate/pipecd migrate/jenkins",
    "Does it fit": "supported-configurations scenarios/README performance threat-model",
    "Releasing": "command-line bump promotion plan base-revision configuration-and-secrets",
    "Who may release, and when": "approvals guardrails change-limits signed-commits",
    "Operating": "stop runbook failure-modes status-page status-api metrics history hooks notifications",
    "Looking things up": "configuration glossary",
    "Developing": "architecture development simulator fuzzing releasing",
}
SCENARIOS = "frontend-and-backend common-registry probed-url two-branches parameter-store"
CODE = re.compile(r"(^( *)```.*?^\2```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")


def rewritten(text, folder, home):
    """A page's text with links that work on the site. `folder` is the one that its links start from, `home` the one that the page gets."""

    def link(match):
        if "://" in match[2]:
            return match[0]
        path = (folder / match[2]).resolve()
        if path == ROOT / "README.md":
            path = DOCS / "index.md"
        elif not path.is_relative_to(DOCS) or path.suffix not in {".md", ".webp"}:
            kind = "tree" if path.is_dir() else "blob"
            return f"{match[1]}{REPOSITORY}/{kind}/main/{path.relative_to(ROOT)}{match[3]}"
        return f"{match[1]}{up(path, home)}{match[3]}"

    parts, at = [], 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(link, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*parts, LINK.sub(link, text[at:])])


def up(path, home):
    """The way from `home` to `path`."""
    depth = len(home.relative_to(DOCS).parts)
    return "../" * depth + str(path.relative_to(DOCS))


def toctree(names, caption=None):
    head = f":caption: {caption}\n" if caption else ""
    return "\n```{toctree}\n:hidden:\n" + head + "\n" + "\n".join(names.split()) + "\n```\n"


def main(site):
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder, "source")
        for path in DOCS.rglob("*"):
            if path.suffix not in {".md", ".webp"}:
                continue
            copy = source / path.relative_to(DOCS)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                text = rewritten(path.read_text(), path.parent, path.parent)
                copy.write_text(text + toctree(SCENARIOS) if copy.name == "README.md" else text)
            else:
                shutil.copy(path, copy)
        index = rewritten((ROOT / "README.md").read_text(), ROOT, DOCS)
        (source / "index.md").write_text(index + "".join(toctree(names, caption) for caption, names in MENU.items()))
        shutil.copy(HERE / "conf.py", source)
        shutil.copy(ROOT / "charts/pinion/icon.svg", source)
        command = [sys.executable, "-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", source, site]
        done = subprocess.run([*map(str, command), "--doctree-dir", f"{folder}/trees"], capture_output=True, text=True)
    # Sphinx names the copies.
    sys.stderr.write(done.stderr.replace(f"{source}/", "docs/"))
    return done.returncode


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: build.py FOLDER")
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
