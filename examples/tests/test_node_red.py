"""The flow: whole in itself; run where there is a Node-RED (HEPALERT_NODE_RED)."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from world import BASE, EXAMPLES, ROOT, Broker, Client, Device, free_port, wait

FLOW = json.loads((EXAMPLES / "node-red/flow.json").read_text())
NODE_RED = os.environ.get("HEPALERT_NODE_RED")


class Flow(unittest.TestCase):
    def test_every_wire_leads_somewhere_and_every_node_is_reached(self):
        ids = [node["id"] for node in FLOW]
        self.assertEqual(len(set(ids)), len(ids))
        nodes = [node for node in FLOW if "z" in node]
        targets = {target for node in nodes for wire in node["wires"] for target in wire}
        self.assertLessEqual(targets, set(ids))
        for node in nodes:
            self.assertEqual(node["z"], "hepalert-tab")
            self.assertTrue(node["id"] in targets or node["type"] == "mqtt in", node["name"])
            if node["type"] in ("mqtt in", "mqtt out"):
                self.assertIn(node["broker"], ids)
                self.assertEqual(node["qos"], "1")

    def test_it_listens_to_topics_of_the_contract_with_a_session_that_is_kept(self):
        contract = (ROOT / "docs/mqtt.md").read_text()
        for node in FLOW:
            if node["type"] == "mqtt in":
                tail = node["topic"].removeprefix("hepalert/v1/+/").split("/")[0]
                self.assertIn(f"`{tail}", contract)
        broker = next(node for node in FLOW if node["type"] == "mqtt-broker")
        self.assertEqual((broker["cleansession"], broker["protocolVersion"]), (False, "5"))

    @unittest.skipUnless(shutil.which("node"), "node is not installed")
    def test_its_functions_are_javascript(self):
        for node in FLOW:
            if node["type"] == "function":
                code = f"new Function('msg', 'node', 'context', {json.dumps(node['func'])})"
                ended = subprocess.run(["node", "-e", code], capture_output=True, text=True)
                self.assertEqual(ended.returncode, 0, ended.stderr)

    @unittest.skipUnless(NODE_RED, "HEPALERT_NODE_RED names no Node-RED")
    def test_an_alert_that_comes_twice_is_shown_once_in_words(self):
        broker = Broker()
        self.addCleanup(broker.close)
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        flow = json.loads(json.dumps(FLOW))
        next(node for node in flow if node["type"] == "mqtt-broker")["port"] = str(broker.port)
        (Path(folder.name) / "flows.json").write_text(json.dumps(flow))
        log = open(Path(folder.name) / "log", "w")
        self.addCleanup(log.close)
        words = ["node", f"{NODE_RED}/node_modules/node-red/red.js", "--userDir", folder.name, "-p", str(free_port())]
        program = subprocess.Popen([*words, "flows.json"], stdout=log, stderr=log, cwd=folder.name)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        read = lambda: (Path(folder.name) / "log").read_text()  # noqa: E731
        wait("the flow is connected", lambda: "Connected to broker" in read(), 60)
        display = Client(broker, "display/#")
        self.addCleanup(display.close)
        device = Device(broker)
        self.addCleanup(device.close)
        alert = device.event(1)
        device.say(*device.sent[1])
        device.say(f"{BASE}/ct-1/event/alert", {"no": "event"})
        device.event(2, kind="study")
        device.event(3)
        wait("both alerts", lambda: len(display.heard) >= 2)
        shown = [json.loads(body) for _, body, _ in display.heard]
        self.assertEqual([one["id"] for one in shown], [alert["id"], device.sent[3][1]["id"]])
        self.assertEqual(shown[0]["text"], f"ct-1: suspected, 1 findings, study {alert['data']['study_key']}")
        self.assertIn("absence of an alert", shown[0]["notice"])


if __name__ == "__main__":
    unittest.main()
