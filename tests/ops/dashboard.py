"""The dashboard, and with it the alerts, against what a running controller exports.

    dashboard.py FILE    FILE is a scrape of a controller in whose life everything happened once
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

import yaml
from common import ROOT, promtool

DASHBOARD = ROOT / "charts/pinion/files/dashboard.json"
RULES = ROOT / "charts/pinion/files/alerts.yaml"
# Labels that Prometheus gives to whatever it scrapes, and that it makes of buckets.
SCRAPED = {"namespace", "job", "instance"}
FUNCTIONS_ON = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
VARIABLES = {"$__rate_interval": "5m", "$__interval": "5m"}


def scrape(path):
    """The values of each label of each metric: what a controller exports."""
    found = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if line and not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            known = found.setdefault(name, {})
            for label, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or ""):
                known.setdefault(label, set()).add(value)
    return found


def panels():
    def walk(panel):
        yield panel
        for inner in panel.get("panels", []):
            yield from walk(inner)

    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from walk(panel)


def queries():
    """Each expression of the dashboard and of the alerts, with what it is for and the labels that its legend names."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"], set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    for variable in json.loads(DASHBOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            yield f"variable {variable['name']}", f"sum by ({label}) ({metric})", set()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"], set()


class Dashboard(unittest.TestCase):
    exported = {}

    def test_every_metric_and_label_is_exported(self):
        looked_at = set()
        for where, expression, legend in queries():
            with self.subTest(where):
                used = set(re.findall(r"\b((?:pinion|process)_\w+)", expression))
                self.assertTrue(used, expression)
                self.assertLessEqual(used, set(self.exported))
                looked_at |= used
                for name, matchers in re.findall(r"\b(\w+)\{([^}]*)\}", expression):
                    for label, how, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
                        if label in SCRAPED:
                            continue
                        self.assertIn(label, self.exported[name])
                        if "$" not in value:
                            self.assertLessEqual(set(value.split("|")), self.exported[name][label], how)
                labels = set().union(*(self.exported[name] for name in used)) | SCRAPED
                grouped = [{label.strip() for label in group.split(",")} for group in FUNCTIONS_ON.findall(expression)]
                self.assertLessEqual(set().union(*grouped), labels)
                self.assertLessEqual(legend, set().union(*grouped) if grouped else labels)
        self.assertGreater(len(looked_at), 25)

    def test_every_exported_metric_is_documented(self):
        documented = (ROOT / "docs/metrics.md").read_text()
        for name in self.exported:
            plain = re.sub(r"_(bucket|sum|count)$", "", name) if name not in documented else name
            if not name.startswith("process_"):
                self.assertIn(f"`{plain}`", documented)

    def test_prometheus_takes_every_expression(self):
        rules = []
        for number, (_, expression, _) in enumerate(queries()):
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            rules.append({"record": f"x:{number}", "expr": expression})
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "x", "rules": rules}]}, file)
            file.flush()
            done = subprocess.run([promtool(), "check", "rules", file.name], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_it_is_in_order(self):
        dashboard = json.loads(DASHBOARD.read_text())
        numbers = [panel["id"] for panel in panels()]
        self.assertEqual(len(numbers), len(set(numbers)))
        rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
        self.assertEqual(rows, ["Fleet", "Environment: $environment", "Pinion itself"])
        self.assertEqual([it["name"] for it in dashboard["templating"]["list"]], ["datasource", "job", "environment"])
        taken = set()
        for panel in panels():
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(taken & cells, f"{panel['title']} lies over another")
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["description"], panel["title"])
                self.assertEqual(panel["datasource"]["uid"], "${datasource}")


if __name__ == "__main__":
    Dashboard.exported = scrape(sys.argv.pop())
    unittest.main()
