"""Discovery messages as they lie at a real broker: by our schema, and by hepalert's own."""
import json
import re
import unittest

import jsonschema
from world import BASE, EXAMPLES, ROOT, Broker, Client, Device, Program, wait

TOPIC = "homeassistant/device/hepalert_ct-1/config"


class Discovered(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.close)
        self.device = Device(self.broker)
        self.addCleanup(self.device.close)
        self.home = Client(self.broker, "homeassistant/#")
        self.addCleanup(self.home.close)
        program = Program("home-assistant/discovery.py", "--port", self.broker.port)
        self.addCleanup(program.kill)

    def told(self):
        return [json.loads(body) if body else None for topic, body, _ in self.home.heard if topic == TOPIC]

    def test_a_device_is_shown_told_again_and_taken_away(self):
        self.device.info(next_seq=1)
        self.device.health(valid_for_s=45)
        wait("it is shown", lambda: self.told() and self.told()[-1]["cmps"]["queued"]["exp_aft"] == 45)
        message = self.told()[-1]
        schema = json.loads((EXAMPLES / "home-assistant/discovery.schema.json").read_text())
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(message, schema)
        ids = [part["uniq_id"] for part in message["cmps"].values()]
        self.assertEqual(len(set(ids)), len(ids))
        # A later Home Assistant gets it from the broker's memory.
        late = Client(self.broker, "homeassistant/#")
        self.addCleanup(late.close)
        wait("it is retained", lambda: any(topic == TOPIC for topic, _, _ in late.heard))
        count = len(self.told())
        late.say("homeassistant/status", "online")
        wait("it is told again", lambda: len(self.told()) > count)
        self.device.say(f"{BASE}/ct-1/info", b"", retain=True)
        wait("it is taken away", lambda: self.told()[-1] is None)

    def test_every_value_is_one_that_the_device_sends_and_none_is_of_a_patient(self):
        self.device.info(next_seq=1)
        wait("it is shown", self.told)
        message = self.told()[-1]
        said = json.dumps(message).lower()
        for word in ('"alert', " alert", "study_key", "verdict", "lesion", "worklist", "event/"):
            self.assertNotIn(word, said)
        for part in message["cmps"].values():
            kind = part["stat_t"].rsplit("/", 1)[1]
            self.assertEqual(part["stat_t"], f"{BASE}/ct-1/{kind}")
            fields = json.loads((ROOT / f"config/schemas/{kind}.json").read_text())["properties"]
            named = re.findall(r"value_json\.(\w+)", part["val_tpl"] + part.get("json_attr_tpl", ""))
            self.assertTrue(named)
            for name in named:
                self.assertIn(name, fields, f"{kind} has no {name}")
        states = json.loads((ROOT / "config/schemas/status.json").read_text())["$defs"]["State"]["oneOf"]
        self.assertEqual(message["cmps"]["state"]["ops"], [one["const"] for one in states])


if __name__ == "__main__":
    unittest.main()
