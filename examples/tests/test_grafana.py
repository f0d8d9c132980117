"""The dashboard: as written, drawable on a grid, and asking only for figures that are there."""
import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from world import EXAMPLES
from test_prometheus import needs_promtool

sys.path.insert(0, str(EXAMPLES / "grafana"))
import make_dashboard  # noqa: E402

DASHBOARD = json.loads((EXAMPLES / "grafana/dashboard.json").read_text())


class Drawn(unittest.TestCase):
    def test_it_is_what_the_script_writes(self):
        self.assertEqual(DASHBOARD, make_dashboard.DASHBOARD)

    def test_panels_have_their_own_place_and_number(self):
        taken = set()
        for panel in DASHBOARD["panels"]:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells
        ids = [panel["id"] for panel in DASHBOARD["panels"]]
        self.assertEqual(len(set(ids)), len(ids))

    def test_every_figure_exists_and_no_panel_is_tied_to_one_site(self):
        exported = set(re.findall(r'^    "(\w+)":', (EXAMPLES / "prometheus/exporter.py").read_text(), re.M))
        for panel in DASHBOARD["panels"]:
            self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
            for target in panel["targets"]:
                names = re.findall(r"hepalert_(\w+)", target["expr"])
                self.assertTrue(names and set(names) <= exported, target["expr"])
        variables = {one["name"] for one in DASHBOARD["templating"]["list"]}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD["panels"])))
        self.assertEqual(used, variables)

    @needs_promtool
    def test_prometheus_can_read_every_query(self):
        queries = [t["expr"].replace("$device", ".*") for p in DASHBOARD["panels"] for t in p["targets"]]
        rules = [{"record": f"x:{n}", "expr": expr} for n, expr in enumerate(queries)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "queries.yml"
            file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
            ended = subprocess.run(["promtool", "check", "rules", file], capture_output=True, text=True)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)


if __name__ == "__main__":
    unittest.main()
