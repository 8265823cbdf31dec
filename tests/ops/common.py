"""Where things are."""

import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parents[2]


def promtool():
    """`promtool`, from where `make setup` puts it or from the machine's packages."""
    tools = pathlib.Path(os.environ.get("PINION_TOOLS") or ROOT / ".tools")
    ours = tools / "prometheus/usr/bin/promtool"
    found = str(ours) if ours.exists() else shutil.which("promtool")
    if not found:
        raise RuntimeError("promtool is missing; `make setup` installs it")
    return found
