"""The exporter at a real broker; rules and configuration by promtool, where it is installed."""
import json
import os
import re
import shutil
import subprocess
import sys
import time
import unittest
import urllib.request

from world import message, BASE, EXAMPLES, Broker, Device, Program, free_port, wait

HERE = EXAMPLES / "prometheus"


def promtool(*words):
    ended = subprocess.run(["promtool", *words], cwd=HERE, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def needs_promtool(test):
    if shutil.which("promtool") or os.environ.get("CI") == "true":
        return test
    return unittest.skip("promtool is not installed")(test)


class Exported(unittest.TestCase):
    def test_a_fleet_is_one_page_of_figures(self):
        broker = Broker()
        self.addCleanup(broker.close)
        port = free_port()
        program = Program("prometheus/exporter.py", "--port", broker.port, "--listen", f"127.0.0.1:{port}")
        self.addCleanup(program.kill)

        def page():
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
            except OSError:
                return ""

        devices = [Device(broker, name) for name in ("ct-1", "ct-2")]
        for device in devices:
            self.addCleanup(device.close)
            device.say(f"{BASE}/{device.name}/availability", "online", retain=True)
            device.say(f"{BASE}/{device.name}/status", {"schema": "", "state": "degraded", "reasons": ["disk_full"],
                                                        "since": "2026-11-29T00:00:00.000Z", "boot": 1}, retain=True)
            device.info(next_seq=1)
            device.health(queued=3, oldest_unsent="2026-11-29T00:00:00.000Z", temperature_c=51.5)
        wait("both are there", lambda: page().count("hepalert_alive{") == 2)
        text = page()
        self.assertIn('hepalert_alive{device="ct-1"} 1\n', text)
        self.assertIn('hepalert_studies{device="ct-1",state="queued"} 3\n', text)
        self.assertIn('hepalert_degraded_reason{device="ct-2",reason="disk_full"} 1\n', text)
        self.assertIn('hepalert_engine_info{device="ct-1",role="segment",id="liver",version="4"} 1\n', text)
        self.assertIn('hepalert_temperature_celsius{device="ct-1"} 51.5\n', text)
        for line in text.splitlines():
            if not line.startswith("#"):
                name = re.match(r"\w+", line)[0]
                self.assertIn(f"# TYPE {name} gauge", text)
                self.assertIn(f"# HELP {name} ", text)
        # Health that is too old is none, though the broker says online, and though it comes just now: a bridge may
        # have held it back.
        devices[0].health(time="2026-11-29T00:00:00.000Z", valid_for_s=150)
        wait("it is silent", lambda: 'hepalert_alive{device="ct-1"} 0\n' in page())
        self.assertIn('hepalert_alive{device="ct-2"} 1\n', page())
        # A device that is given up vanishes.
        for topic in ("availability", "status", "info", "health"):
            devices[0].say(f"{BASE}/ct-1/{topic}", b"", retain=True)
        wait("it is gone", lambda: "ct-1" not in page())

    def test_a_clock_that_is_off_is_told_from_a_message_that_is_late(self):
        sys.path.insert(0, str(HERE))
        from exporter import Fleet
        fleet = Fleet("hepalert")

        def ahead(sent, now):
            sent = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(sent))
            body = json.dumps({**message("health"), "time": sent, "valid_for_s": 150})
            fleet.take("hepalert/v1/ct-1/health", body.encode(), False, now)
            return fleet.devices["ct-1"].get("ahead")

        self.assertEqual([ahead(400, 1000), ahead(460, 1000)], [None, None])
        self.assertEqual([ahead(510, 1040), ahead(570, 1100)], [None, -530])

    def test_a_message_that_cannot_be_read_hides_no_device(self):
        sys.path.insert(0, str(HERE))
        from exporter import Fleet
        fleet = Fleet("hepalert")
        now = time.time()
        sent = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now))
        good = {**message("health"), "time": sent}
        fleet.take("hepalert/v1/ct-1/health", json.dumps(good).encode(), True, now)
        for wrong in ({**good, "time": "yesterday"}, {**good, "queued": "many"}, ["health"], {"time": sent}):
            with self.assertRaises((ValueError, KeyError, TypeError, AttributeError)):
                fleet.take("hepalert/v1/ct-1/health", json.dumps(wrong).encode(), True, now)
            with self.assertRaises((ValueError, KeyError, TypeError, AttributeError)):
                fleet.take("hepalert/v1/ct-9/health", json.dumps(wrong).encode(), True, now)
        self.assertIn('hepalert_alive{device="ct-1"} 1\n', fleet.text(now))
        self.assertNotIn("ct-9", fleet.text(now))

    @needs_promtool
    def test_rules_and_configuration_are_right(self):
        for words in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"],
                      ["test", "rules", "alerts_test.yml"]):
            code, said = promtool(*words)
            self.assertEqual(code, 0, said)

    def test_a_devices_own_page_speaks_of_the_same_figures(self):
        page = EXAMPLES.parent / "src/web/metrics.rs"
        if not page.exists():
            self.skipTest("this program has no page")
        own = set(re.findall(r'\.(?:head|one)\(\s*"(\w+)"', page.read_text()))
        exported = set(re.findall(r'^    "(\w+)":', (HERE / "exporter.py").read_text(), re.M))
        self.assertTrue(own)
        # What only one of the two can know.
        self.assertLessEqual(own - exported, {"broker_connected", "broker_messages_total"})
        self.assertLessEqual(exported - own, {"alive", "clock_ahead_seconds", "temperature_celsius"})

    def test_every_figure_in_a_rule_is_one_of_ours_and_every_rule_is_tested(self):
        rules = (HERE / "alerts.yml").read_text()
        exported = set(re.findall(r'^    "(\w+)":', (HERE / "exporter.py").read_text(), re.M))
        for name in re.findall(r"hepalert_(\w+)", re.sub(r"job=\"[^\"]*\"", "", "\n".join(re.findall(r"expr: (.*)", rules)))):
            self.assertIn(name, exported)
        tested = set(re.findall(r"alertname: (\w+)", (HERE / "alerts_test.yml").read_text()))
        self.assertEqual(set(re.findall(r"alert: (\w+)", rules)), tested)


if __name__ == "__main__":
    unittest.main()
