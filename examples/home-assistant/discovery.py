#!/usr/bin/env python3
"""Shows devices of hepalert in Home Assistant: telemetry only, never a study or a finding.

Publishes one retained discovery message per device (device-based discovery, Home Assistant 2024.11 or
newer) on `homeassistant/device/hepalert_<device>/config`, again when Home Assistant says that it was
started, and takes it away when the device's `info` is cleared. The figures themselves Home Assistant
reads off the device's own topics.

    pip install 'paho-mqtt>=2,<3'
    python3 discovery.py --host broker
"""
import argparse
import json
import logging
import ssl
import sys

import paho.mqtt.client as mqtt

log = logging.getLogger("discovery")


def sensor(name, topic, template, **more):
    return {"p": "sensor", "name": name, "stat_t": topic, "val_tpl": "{{ " + template + " }}", **more}


def components(root, valid_for_s):
    """What is shown of a device. None of it is about a study: counts, disk, heat, self-test."""
    health = f"{root}/health"
    measured = {"stat_cla": "measurement", "exp_aft": valid_for_s, "ent_cat": "diagnostic"}
    return {
        "state": sensor(
            "State", f"{root}/status", "value_json.state", dev_cla="enum",
            ops=["online", "degraded", "draining", "stopped"],
            json_attr_t=f"{root}/status", json_attr_tpl="{{ {'reasons': value_json.reasons} | tojson }}",
        ),
        # `status` is said when it changes, so it cannot grow old. `health` can: this one goes first.
        "heard": {
            "p": "binary_sensor", "name": "Heard from", "stat_t": health, "dev_cla": "connectivity",
            "val_tpl": "{{ 'ON' if value_json.valid_for_s else 'OFF' }}",
            "exp_aft": valid_for_s, "ent_cat": "diagnostic",
        },
        "queued": sensor("Studies waiting", health, "value_json.queued", **measured),
        "running": sensor("Studies in work", health, "value_json.running", **measured),
        "dead": sensor("Studies given up", health, "value_json.dead", **measured),
        "backlog": sensor("Messages waiting", health, "value_json.outbox_backlog", **measured),
        "disk_free": sensor(
            "Free space", health, "value_json.disk_free_mib", dev_cla="data_size", unit_of_meas="MiB", **measured
        ),
        "temperature": sensor(
            "Temperature", health, "value_json.temperature_c | default(none)", dev_cla="temperature",
            unit_of_meas="°C", **measured
        ),
        # Older health than this is no health: the entity becomes unavailable, whatever the broker says.
        "self_test": {
            "p": "binary_sensor", "name": "Self-test", "stat_t": health, "dev_cla": "problem",
            "val_tpl": "{{ 'OFF' if (value_json.last_self_test | default({'passed': true})).passed else 'ON' }}",
            "exp_aft": valid_for_s, "ent_cat": "diagnostic",
        },
    }


def discovery(base, device, info, valid_for_s):
    """The discovery message of a device."""
    root = f"{base}/v1/{device}"
    engines = sorted({f"{engine['id']} {engine['version']}" for engine in info["engines"]})
    parts = components(root, valid_for_s)
    for name, part in parts.items():
        part["uniq_id"] = f"hepalert_{device}_{name}"
        part["def_ent_id"] = f"{part['p']}.hepalert_{device.replace('-', '_')}_{name}"
    return {
        "dev": {
            "ids": [f"hepalert_{device}"], "name": f"hepalert {device}", "mf": "hepalert",
            "mdl": ", ".join(engines) or "no engine", "sw": info["version"],
        },
        "o": {"name": "hepalert discovery example", "sw": info["version"]},
        "avty": [{"t": f"{root}/availability"}],
        "pl_avail": "online", "pl_not_avail": "offline",
        "qos": 1,
        "cmps": parts,
    }


class Discovery:
    def __init__(self, client, args):
        self.client, self.args = client, args
        self.infos, self.valid = {}, {}

    def connected(self, client, _user, _flags, reason, _properties):
        log.info("broker: %s", reason)
        base = f"{self.args.base}/v1/+"
        topics = [f"{base}/info", f"{base}/health", f"{self.args.prefix}/status"]
        client.subscribe([(topic, 1) for topic in topics])

    def message(self, _client, _user, message):
        try:
            self.take(message.topic, message.payload)
        except (ValueError, KeyError, TypeError) as error:
            log.error("%s: not as the contract says (%r)", message.topic, error)

    def take(self, topic, payload):
        if topic == f"{self.args.prefix}/status":
            if payload == b"online":
                for device in self.infos:
                    self.tell(device)
            return
        device, kind = topic.removeprefix(f"{self.args.base}/v1/").split("/", 1)
        if kind == "info" and not payload:
            self.infos.pop(device, None)
            self.publish(device, b"")
        elif kind == "info":
            self.infos[device] = json.loads(payload)
            self.tell(device)
        elif payload:
            valid = json.loads(payload)["valid_for_s"]
            if self.valid.get(device) != valid:
                self.valid[device] = valid
                if device in self.infos:
                    self.tell(device)

    def tell(self, device):
        message = discovery(self.args.base, device, self.infos[device], self.valid.get(device, 150))
        self.publish(device, json.dumps(message).encode())

    def publish(self, device, body):
        self.client.publish(f"{self.args.prefix}/device/hepalert_{device}/config", body, qos=1, retain=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--base", default="hepalert")
    parser.add_argument("--prefix", default="homeassistant", help="Home Assistant's discovery prefix")
    for name in ("username", "password-file", "ca-file", "cert-file", "key-file"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="hepalert-discovery", protocol=mqtt.MQTTv5)
    told = Discovery(client, args)
    client.on_connect, client.on_message = told.connected, told.message
    if args.username:
        with open(args.password_file) as file:
            client.username_pw_set(args.username, file.read().rstrip("\n"))
    if args.ca_file:
        client.tls_set(args.ca_file, args.cert_file, args.key_file, cert_reqs=ssl.CERT_REQUIRED)
    client.connect_async(args.host, args.port)
    client.loop_forever(retry_first_connection=True)


if __name__ == "__main__":
    main()
