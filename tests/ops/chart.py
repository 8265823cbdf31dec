"""The Helm chart: linted and rendered by Helm v4 itself, and what comes out held against Kubernetes' schemas.

    chart.py            runs the tests
    chart.py readme     writes the table of values into the chart's README
    chart.py render     prints each rendered pinion.toml as JSON, for Pinion's own reader to judge
"""

import copy
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import unittest

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml
from common import ROOT, promtool

CHART = ROOT / "charts/pinion"
README = CHART / "README.md"
# The oldest that `kubeVersion` in Chart.yaml admits, and the newest that there is.
KUBERNETES = ["1.27", kubernetes_validate.latest_version()]
# Kinds of the Prometheus Operator and of the Gateway API, whose schemas aren't Kubernetes' own.
OPERATOR = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}


def values(name):
    return yaml.safe_load((CHART / f"ci/{name}-values.yaml").read_text())


def render(given):
    """The rendered documents by kind and name, and the notes."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(given, name="rel", namespace="ns")
    notes = files.pop("pinion/templates/NOTES.txt")
    documents = [document for text in files.values() for document in yaml.safe_load_all(text) if document]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents), "two documents of one kind and name"
    return found, notes


def one(found, kind):
    matching = [document for (other, _), document in found.items() if other == kind]
    assert len(matching) == 1, (kind, len(matching))
    return matching[0]


def config(found):
    return next(d["data"]["pinion.toml"] for d in found.values() if "pinion.toml" in d.get("data", {}))


def container(found):
    return next(c for c in one(found, "Deployment")["spec"]["template"]["spec"]["containers"] if c["name"] == "pinion")


def chart_file():
    return yaml.safe_load((CHART / "Chart.yaml").read_text())


def paths(tree, prefix=""):
    """The paths of all keys below a mapping."""
    for key, value in tree.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


def described():
    """Each value that values.yaml describes: its path, and what is said."""
    parents, said, text = {}, {}, None
    for line in (CHART / "values.yaml").read_text().splitlines():
        indent, line = len(line) - len(line.lstrip()), line.strip()
        if line.startswith("# -- "):
            text = line.removeprefix("# -- ")
        elif line.startswith("# ") and text:
            text += " " + line.removeprefix("# ")
        elif match := re.match(r"(\w+):", line):
            parents = {depth: name for depth, name in parents.items() if depth < indent} | {indent: match[1]}
            if text:
                said[".".join(parents[depth] for depth in sorted(parents))] = text
            text = None
        else:
            text = None
    return said


def table():
    """The table of values, from the comments of values.yaml."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for path, text in described().items():
        value = defaults
        for part in path.split("."):
            value = value[part]
        inner = isinstance(value, dict) and value
        lines.append(f"| `{path}` | {'see [values.yaml](values.yaml)' if inner else f'`{json.dumps(value)}`'} | {text} |")
    return "\n".join(lines)


MARKS = re.compile(r"(<!-- values: .*? -->\n).*?(\n<!-- end -->)", re.DOTALL)


class Chart(unittest.TestCase):
    maxDiff = None

    def test_helm_lints_it_strictly(self):
        for given in [None, values("minimal"), values("full")]:
            report = helm.lint(CHART, given, strict=True)
            self.assertEqual(report["errors"], [])
            self.assertEqual([m for m in report["messages"] if m["severity"] > 1], [])

    def test_kubernetes_would_accept_it(self):
        count = 0
        for name in ["minimal", "full"]:
            found, _ = render(values(name))
            for (kind, document_name), document in found.items():
                if kind in OPERATOR:
                    continue
                for version in KUBERNETES:
                    with self.subTest(values=name, kind=kind, name=document_name, version=version):
                        kubernetes_validate.validate(document, version, strict=True)
                        count += 1
        self.assertGreater(count, 20)

    def test_minimal_values_make_what_is_needed_and_no_more(self):
        found, notes = render(values("minimal"))
        self.assertEqual(
            sorted(kind for kind, _ in found), ["ConfigMap", "Deployment", "NetworkPolicy", "Service", "ServiceAccount"]
        )
        self.assertIn("https://github.com/acme/environments.git (branch main)", notes)

    def test_full_values_say_everything(self):
        """Each value of values.yaml stands in ci/full-values.yaml, and differs from its default."""
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        full = values("full")
        # Without these, others of its values would say nothing.
        same = {"serviceAccount.create", "networkPolicy.enabled"}
        # Kubernetes' own, of which a part is said.
        laid_over = {"podSecurityContext", "securityContext", "livenessProbe", "readinessProbe"}

        def walk(default, given, prefix):
            for key, value in default.items():
                path = prefix + key
                if path in same or path.split(".")[0] in laid_over:
                    continue
                self.assertIn(key, given, path)
                if isinstance(value, dict) and value:
                    walk(value, given[key], path + ".")
                else:
                    self.assertNotEqual(value, given[key], path)

        for name in laid_over:
            self.assertNotEqual({**defaults[name], **full[name]}, defaults[name], name)
        walk(defaults, full, "")

    def test_every_value_has_an_effect(self):
        full, defaults = values("full"), yaml.safe_load((CHART / "values.yaml").read_text())
        whole = render(full)
        # A tag has none beside a digest, nor `maxUnavailable` beside `minAvailable`, nor the size of a volume beside a claim.
        unheard = {"image.tag", "podDisruptionBudget.maxUnavailable", "cache.sizeLimit"}
        same = {"serviceAccount.create", "networkPolicy.enabled"}
        required = {"image", "config", "config.repository", "secrets", "ingress.hosts", "httpRoute.parentRefs"}
        for path in sorted(described()):
            if path in unheard | same | required:
                continue
            with self.subTest(path):
                less, default = copy.deepcopy(full), defaults
                *outer, last = path.split(".")
                tree = less
                for part in outer:
                    tree, default = tree[part], default[part]
                tree[last] = default[last]
                self.assertTrue(render(less) != whole, "what is rendered is the same without it")

    def test_it_meets_the_restricted_profile(self):
        for name in ["minimal", "full"]:
            found, _ = render(values(name))
            pod, main = one(found, "Deployment")["spec"]["template"]["spec"], container(found)
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertNotEqual(pod["securityContext"]["runAsUser"], 0)
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertIs(main["securityContext"]["allowPrivilegeEscalation"], False)
            self.assertIs(main["securityContext"]["readOnlyRootFilesystem"], True)
            self.assertEqual(main["securityContext"]["capabilities"], {"drop": ["ALL"]})
            allowed = {"configMap", "emptyDir", "persistentVolumeClaim", "projected"}
            self.assertLessEqual({kind for volume in pod["volumes"] for kind in volume} - {"name"}, allowed)
            for key in ["hostNetwork", "hostPID", "hostIPC"]:
                self.assertNotIn(key, pod)

    def test_it_gets_no_token_for_kubernetes_unless_somebody_says_so(self):
        for name, expected in [("minimal", False), ("full", True)]:
            found, _ = render(values(name))
            pod = one(found, "Deployment")["spec"]["template"]["spec"]
            self.assertIs(pod["automountServiceAccountToken"], expected)
            self.assertIs(one(found, "ServiceAccount")["automountServiceAccountToken"], False)

    def test_there_is_never_more_than_one(self):
        spec = one(render(values("full"))[0], "Deployment")["spec"]
        self.assertEqual((spec["replicas"], spec["strategy"]), (1, {"type": "Recreate"}))

    def test_all_that_is_written_or_read_is_mounted(self):
        for name in ["minimal", "full"]:
            found, _ = render(values(name))
            pod, main = one(found, "Deployment")["spec"]["template"]["spec"], container(found)
            toml = tomllib.loads(config(found))
            mounts = {mount["mountPath"]: mount for mount in main["volumeMounts"]}
            volumes = {volume["name"]: volume for volume in pod["volumes"]}
            self.assertEqual({mount["name"] for mount in main["volumeMounts"]}, set(volumes))
            kept = {"minimal": "emptyDir", "full": "persistentVolumeClaim"}[name]
            self.assertIn(kept, volumes[mounts[toml["cache_dir"]]["name"]])
            files = set()
            for table in [toml["server"], *(repository.get("auth", {}) for repository in toml["repository"])]:
                files |= {value for key, value in table.items() if key in {"token_file", "ssh_key_file"}}
            sources = volumes["secrets"]["projected"]["sources"] if "secrets" in volumes else []
            items = {f"/run/secrets/pinion/{item['path']}" for source in sources for item in source["secret"]["items"]}
            self.assertEqual(files, items)
            port = int(toml["server"]["listen"].rsplit(":", 1)[1])
            self.assertEqual(main["ports"], [{"name": "http", "containerPort": port, "protocol": "TCP"}])
            self.assertIn({"name": "PINION_ADDRESS", "value": f"http://127.0.0.1:{port}"}, main["env"])
            grace = int(toml["grace_period"].removesuffix("s"))
            self.assertGreater(pod["terminationGracePeriodSeconds"], grace)

    def test_everything_finds_the_pod(self):
        found, _ = render(values("full"))
        labels = one(found, "Deployment")["spec"]["template"]["metadata"]["labels"].items()
        selectors = [
            one(found, "Deployment")["spec"]["selector"]["matchLabels"],
            one(found, "Service")["spec"]["selector"],
            one(found, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
            one(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        ]
        for selector in selectors:
            self.assertLessEqual(selector.items(), labels)
        monitor, service = one(found, "ServiceMonitor"), one(found, "Service")
        self.assertLessEqual(monitor["spec"]["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        endpoint = monitor["spec"]["endpoints"][0]
        self.assertIn(endpoint["port"], [port["name"] for port in service["spec"]["ports"]])
        # Else `service`, which is AWS's, would become Kubernetes'.
        self.assertIs(endpoint["honorLabels"], True)

    def test_what_is_outside_leads_in(self):
        found, _ = render(values("full"))
        service, ingress = one(found, "Service"), one(found, "Ingress")["spec"]
        self.assertEqual([rule["host"] for rule in ingress["rules"]], ["pinion.example.com", "pinion.example.org"])
        paths = [[(path["path"], path["pathType"]) for path in rule["http"]["paths"]] for rule in ingress["rules"]]
        self.assertEqual(paths, [[("/hooks/git", "Exact")], [("/hooks/git", "Prefix"), ("/metrics", "Prefix")]])
        for path in (path for rule in ingress["rules"] for path in rule["http"]["paths"]):
            self.assertEqual(path["backend"]["service"]["name"], service["metadata"]["name"])
            self.assertIn(path["backend"]["service"]["port"]["name"], [port["name"] for port in service["spec"]["ports"]])
        route = one(found, "HTTPRoute")
        self.assertEqual(route["apiVersion"], "gateway.networking.k8s.io/v1")
        given = values("full")["httpRoute"]
        self.assertEqual(route["spec"]["parentRefs"], given["parentRefs"])
        self.assertEqual(route["spec"]["hostnames"], given["hostnames"])
        backend = [{"name": service["metadata"]["name"], "port": service["spec"]["ports"][0]["port"]}]
        self.assertEqual(route["spec"]["rules"], [rule | {"backendRefs": backend} for rule in given["rules"]])

    def test_an_ingress_leads_everywhere_unless_somebody_says_where(self):
        given = values("minimal") | {"ingress": {"enabled": True, "hosts": [{"host": "pinion.example.com"}]}}
        given["httpRoute"] = {"enabled": True, "parentRefs": [{"name": "public"}]}
        found, _ = render(given)
        [path] = one(found, "Ingress")["spec"]["rules"][0]["http"]["paths"]
        self.assertEqual((path["path"], path["pathType"]), ("/", "Prefix"))
        [rule] = one(found, "HTTPRoute")["spec"]["rules"]
        self.assertEqual(rule["matches"], [{"path": {"type": "PathPrefix", "value": "/"}}])

    def test_what_others_read_is_where_they_look(self):
        elsewhere = {"ServiceMonitor": "monitoring", "PrometheusRule": "monitoring", "pinion-eu-dashboard": "grafana"}
        found, _ = render(values("full"))
        for (kind, name), document in found.items():
            wanted = elsewhere.get(kind) or elsewhere.get(name)
            if name.startswith("pinion-eu") and "namespace" in document["metadata"]:
                self.assertEqual(document["metadata"]["namespace"], wanted or "ns", (kind, name))
        # From there the operator wouldn't look for the Service in the release's namespace.
        self.assertEqual(one(found, "ServiceMonitor")["spec"]["namespaceSelector"], {"matchNames": ["ns"]})

    def test_a_changed_configuration_restarts_the_pod(self):
        given = values("minimal")
        before, _ = render(given)
        given["config"]["reconcile"] = {"interval": "2m"}
        after, _ = render(given)
        key = lambda found: one(found, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        self.assertNotEqual(key(before), key(after))

    def test_the_rules_are_those_of_the_plain_file(self):
        given = values("minimal")
        given["prometheusRule"] = {"enabled": True}
        plain = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
        expected = copy.deepcopy(plain)
        for group in expected["groups"]:
            for rule in group["rules"]:
                # Of this version, not of the branch.
                url = rule["annotations"]["runbook_url"].replace("/blob/main/", f"/blob/v{chart_file()['appVersion']}/")
                rule["annotations"]["runbook_url"] = url
        self.assertEqual(one(render(given)[0], "PrometheusRule")["spec"], expected)
        given["prometheusRule"] |= {"disabled": ["PinionDown"], "alertLabels": {"team": "a"}, "runbookUrl": "https://w/x"}
        spec = one(render(given)[0], "PrometheusRule")["spec"]
        expected = copy.deepcopy(plain)
        for group in expected["groups"]:
            group["rules"] = [rule for rule in group["rules"] if rule["alert"] != "PinionDown"]
            for rule in group["rules"]:
                rule["labels"]["team"] = "a"
                rule["annotations"]["runbook_url"] = "https://w/x#" + rule["alert"].lower()
        self.assertEqual(spec, expected)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(spec, file)
            file.flush()
            subprocess.run([promtool(), "check", "rules", file.name], check=True, capture_output=True)

    def test_the_dashboard_is_shipped_as_it_is(self):
        found, _ = render(values("full"))
        maps = [d for (kind, name), d in found.items() if kind == "ConfigMap" and name.endswith("-dashboard")]
        self.assertEqual(len(maps), 1)
        self.assertEqual(maps[0]["data"]["pinion.json"], (CHART / "files/dashboard.json").read_text())
        self.assertEqual(maps[0]["metadata"]["labels"]["grafana_dashboard"], "yes")

    def test_the_schema_of_config_is_pinions_own(self):
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]
        own = json.loads((ROOT / "schemas/pinion.schema.json").read_text())
        self.assertEqual(schema, {key: value for key, value in own.items() if key not in {"$id", "$schema", "title"}})

    def test_what_is_rendered_fits_pinions_schema(self):
        own = json.loads((ROOT / "schemas/pinion.schema.json").read_text())
        for name in ["minimal", "full"]:
            given = values(name)
            toml = tomllib.loads(config(render(given)[0]))
            jsonschema.validate(toml, own)
            defaults = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
            expected = {**defaults, **given["config"], "server": {**defaults["server"], **given["config"].get("server", {})}}
            # As text, because 16 and 16.0 are equal, but not to TOML.
            self.assertEqual(json.dumps(toml, sort_keys=True), json.dumps(expected, sort_keys=True))
            jsonschema.validate(given, json.loads((CHART / "values.schema.json").read_text()))

    def test_mistakes_are_said(self):
        def change(**changes):
            return {**values("minimal"), **changes}

        repository = {"url": "https://git.example.com/a.git"}
        auth = {"token_file": "/run/secrets/pinion/git-token"}
        for given, said in [
            ({}, "config.repository: name at least one repository"),
            (change(replicas=2), "replicas"),
            (change(config={"repository": [repository], "interval": "1m"}), "interval"),
            (change(config={"repository": [repository | {"token": "secret"}]}), "token"),
            (change(config={"repository": [repository | {"auth": auth}]}), "no entry of `secrets` has the path git-token"),
            (change(config={"repository": [repository], "server": {"listen": "127.0.0.1:9780"}}), "loopback"),
            (change(secrets=[{"secret": "a", "key": "b", "path": "../c"}]), "path"),
            (change(image={"repository": "a", "digest": "sha256:abc"}), "digest"),
            (change(ingress={"enabled": True}), "ingress.hosts: say at least one `host`"),
            (change(ingress={"enabled": True, "hosts": ["pinion.example.com"]}), "ingress/hosts/0"),
            (change(ingress={"enabled": True, "hosts": [{"host": "https://pinion.example.com/"}]}), "ingress/hosts/0/host"),
            (change(httpRoute={"enabled": True}), "httpRoute.parentRefs: name at least one Gateway"),
            (change(dnsPolicy="None"), "dnsConfig.nameservers"),
            (change(hostAliases=[{"ip": "10.0.0.20"}]), "hostnames"),
        ]:
            with self.subTest(said):
                with self.assertRaises(helm.HelmError) as raised:
                    with helm.Chart.load(CHART) as chart:
                        chart.validate_schema(given)
                        chart.render(given, name="rel", namespace="ns")
                self.assertIn(said, str(raised.exception))

    def test_every_value_is_described(self):
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        said = described()
        for path in paths(defaults):
            outer = [".".join(path.split(".")[:count]) for count in range(1, path.count(".") + 2)]
            inner = [other for other in said if other.startswith(path + ".")]
            self.assertTrue(inner or any(other in said for other in outer), f"{path} isn't described in values.yaml")
        top = json.loads((CHART / "values.schema.json").read_text())["properties"]
        self.assertEqual(set(top) - {"global"}, set(defaults))

    def test_descriptions_stand_alone(self):
        """In the table and in Artifact Hub's view of the schema, nothing stands above them that \"it\" could mean."""
        for path, text in described().items():
            self.assertNotRegex(text, r"^(Its?|They|Their|These|Whether|Who|Instead of|More [a-z]+\.)\b", path)
            self.assertNotRegex(text, r"\b(beside|with|before|without) (it|them)\b|that may take|as the operator", path)

    def test_the_readme_has_the_table(self):
        found = MARKS.search(README.read_text())
        self.assertTrue(found, "the marks of the table are missing")
        wanted = MARKS.sub(lambda match: match[1] + table() + match[2], README.read_text())
        self.assertEqual(README.read_text(), wanted, "run tests/ops/chart.py readme")

    def test_versions_are_the_programs(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
        wanted = (cargo["workspace"]["package"]["version"], cargo["package"]["description"])
        self.assertEqual((chart["appVersion"], chart["description"]), wanted)
        self.assertIn(f">={KUBERNETES[0]}.", chart["kubeVersion"])

    def test_artifact_hub_shows_what_there_is(self):
        chart, version = chart_file(), tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        repository = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["repository"]
        self.assertEqual((chart["home"], chart["sources"]), (repository, [repository]))
        # A team, not a person.
        self.assertEqual([sorted(maintainer) for maintainer in chart["maintainers"]], [["name", "url"]])
        self.assertTrue(chart["icon"].endswith("/main/charts/pinion/icon.svg") and (CHART / "icon.svg").exists())
        notes = {key.removeprefix("artifacthub.io/"): value for key, value in chart["annotations"].items()}
        self.assertEqual(set(notes), {"category", "images", "license", "links"})
        self.assertEqual(notes["license"], tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["license"])
        image = yaml.safe_load((CHART / "values.yaml").read_text())["image"]["repository"]
        self.assertEqual([one["image"] for one in yaml.safe_load(notes["images"])], [f"{image}:{version}"])
        for link in yaml.safe_load(notes["links"]):
            path = link["url"].removeprefix(f"{repository}/blob/main/").partition("#")[0]
            self.assertTrue((ROOT / path).exists(), link)


def main():
    match sys.argv[1:]:
        case ["readme"]:
            README.write_text(MARKS.sub(lambda match: match[1] + table() + match[2], README.read_text()))
        case ["render"]:
            print(json.dumps({name: config(render(values(name))[0]) for name in ["minimal", "full"]}))
        case _:
            unittest.main()


if __name__ == "__main__":
    main()
