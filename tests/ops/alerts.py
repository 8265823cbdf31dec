"""The alerts: promtool's own checks and tests of them, their runbook, and that what they look at exists."""

import re
import subprocess
import unittest

import yaml
from common import ROOT, promtool

RULES = ROOT / "charts/pinion/files/alerts.yaml"
TESTS = ROOT / "tests/ops/alerts_test.yaml"
RUNBOOK = ROOT / "docs/runbook.md"
# Labels that Prometheus gives to whatever it scrapes.
SCRAPED = {"namespace", "job"}


def rules():
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def documented():
    """The labels of each metric, and the values that its meaning names, from docs/metrics.md."""
    metrics = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        if line.startswith("| `pinion_"):
            name, _, labels, _ = [cell.strip() for cell in line.strip("|").split("|")]
            metrics[name.strip("`")] = set(re.findall(r"`(\w+)`", labels))
    return metrics


def states():
    """The words for states, from the table of the status API's description."""
    table = (ROOT / "docs/status-api.md").read_text().split("\n### States\n")[1].split("\n## ")[0]
    return set(re.findall(r"(?m)^\| `([\w-]+)` \|", table))


class Alerts(unittest.TestCase):
    maxDiff = None

    def test_promtool_checks_the_rules(self):
        done = subprocess.run([promtool(), "check", "rules", "--lint=all", "--lint-fatal", RULES], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_promtool_tests_the_rules(self):
        done = subprocess.run([promtool(), "test", "rules", TESTS], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_each_alert_is_tested_to_fire_and_to_keep_quiet(self):
        fires, quiet = set(), set()
        for test in yaml.safe_load(TESTS.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case.get("exp_alerts") else quiet).add(case["alertname"])
        names = {rule["alert"] for rule in rules()}
        self.assertEqual(fires, names)
        self.assertEqual(quiet, names)

    def test_each_alert_says_what_people_need(self):
        names = [rule["alert"] for rule in rules()]
        self.assertEqual(len(names), len(set(names)))
        for rule in rules():
            with self.subTest(rule["alert"]):
                self.assertRegex(rule["alert"], "^Pinion[A-Z]")
                self.assertIn(rule["labels"]["severity"], {"critical", "warning", "info"})
                self.assertEqual(set(rule["annotations"]), {"summary", "description", "runbook_url"})
                self.assertEqual(rule["annotations"]["runbook_url"].split("#")[1], rule["alert"].lower())

    def test_runbook_has_an_entry_for_each_alert_and_no_other(self):
        sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
        entries = {section.splitlines()[0]: section for section in sections}
        self.assertEqual([name for name in entries if name.startswith("Pinion")], [rule["alert"] for rule in rules()])
        for name, section in entries.items():
            with self.subTest(name):
                self.assertIn("```console\n$ ", section, "an entry says which commands to run")
        anchors = {heading.lower().replace(" ", "-").replace(",", "") for heading in entries}
        self.assertLessEqual(set(re.findall(r"\]\(#([\w-]+)\)", RUNBOOK.read_text())), anchors)

    def test_the_runbook_says_how_to_put_its_address_in(self):
        [block] = [b for b in re.findall(r"```console\n(.*?)```", RUNBOOK.read_text(), re.DOTALL) if "$ sed " in b]
        script = "\n".join(line.removeprefix("$ ") for line in block.splitlines()).replace(">alerts.yaml", "")
        done = subprocess.run(["sh", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True)
        address = re.search(r"RUNBOOK=(\S+)", script)[1]
        changed = [rule for group in yaml.safe_load(done.stdout)["groups"] for rule in group["rules"]]
        self.assertEqual(len(changed), len(rules()))
        for rule in changed:
            self.assertEqual(rule["annotations"]["runbook_url"], f"{address}#{rule['alert'].lower()}")

    def test_every_metric_and_label_exists(self):
        metrics, states_known = documented(), states()
        for rule in rules():
            expression, alert = rule["expr"], rule["alert"]
            with self.subTest(alert):
                used = set(re.findall(r"\bpinion_\w+", expression))
                self.assertTrue(used)
                self.assertLessEqual(used, set(metrics))
                for name, matchers in re.findall(r"\b(pinion_\w+)\{([^}]*)\}", expression):
                    for label, value in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', matchers):
                        self.assertIn(label, metrics[name])
                        if label == "state":
                            self.assertLessEqual(set(value.split("|")), states_known)
                labels = set().union(*(metrics[name] for name in used)) | SCRAPED
                grouped = re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", expression)
                grouped = [{label.strip() for label in group.split(",")} for group in grouped]
                self.assertLessEqual(set().union(*grouped), labels)
                text = " ".join(rule["annotations"].values())
                told = set(re.findall(r"\$labels\.(\w+)", text))
                self.assertLessEqual(told, set().union(*grouped), "a label that the expression drops is empty in the text")

    def test_metrics_named_in_the_runbook_exist(self):
        names = set(re.findall(r"\bpinion_[a-z_]+[a-z]\b", re.sub(r"https://\S+", "", RUNBOOK.read_text())))
        # An alternative in a pattern: pinion_aws_(throttles|requests)_total.
        names -= {"pinion_aws"}
        self.assertLessEqual(names, set(documented()))


if __name__ == "__main__":
    unittest.main()
