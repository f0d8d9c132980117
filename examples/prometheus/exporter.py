#!/usr/bin/env python3
"""All devices at a broker as figures for Prometheus: one place to scrape for a fleet.

A device's own page (`[web]`, /metrics) has the same names without the label `device`. Here
`hepalert_alive` is 1 while a device's health is still to be believed (`valid_for_s`), whatever the
broker says of it.

    pip install 'paho-mqtt>=2,<3'
    python3 exporter.py --host broker --listen 127.0.0.1:9798
"""
import argparse
import datetime
import http.server
import json
import logging
import ssl
import sys
import threading
import time

import paho.mqtt.client as mqtt

# Clocks that differ by more are off, or the message was held back on its way.
CLOCK_OFF_S = 30

log = logging.getLogger("exporter")
TOPICS = ("availability", "status", "info", "health", "worklist")


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Fleet:
    """The newest message of each topic of each device."""

    def __init__(self, base):
        self.base, self.devices, self.lock = base, {}, threading.Lock()

    def take(self, topic, payload, retained, now):
        device, kind = topic.removeprefix(f"{self.base}/v1/").split("/", 1)
        message = (payload.decode() if kind == "availability" else json.loads(payload)) if payload else None
        if payload:
            # What cannot be shown takes the place of nothing: the last good one grows old.
            Figures().device(device, {kind: message}, now)
        with self.lock:
            known = self.devices.setdefault(device, {})
            if not payload:
                known.pop(kind, None)
                if set(known) <= {"ahead", "live"}:
                    self.devices.pop(device, None)
                return
            known[kind] = message
            if kind == "health" and not retained:
                self.came(known, seconds(known[kind]["time"]) - now, now)

    @staticmethod
    def came(known, ahead, now):
        """How far a message that came just now is ahead of our clock. Far off is the device's clock, or a bridge held the
        message back; two that came apart and are equally far off tell that it is the clock."""
        before, at = known.get("live", (0, now))
        if abs(ahead) <= CLOCK_OFF_S or (abs(ahead - before) <= 2 and now - at >= 5):
            known["ahead"] = ahead
        known["live"] = ahead, now

    def text(self, now):
        figures = Figures()
        with self.lock:
            for device, known in sorted(self.devices.items()):
                figures.device(device, known, now)
        return figures.text()


HELP = {
    "alive": "1 while the device's health is to be believed.",
    "online": "1 while nothing is wrong, by the device's own word.",
    "degraded_reason": "1 for each thing that is wrong.",
    "build_info": "The program's version.",
    "engine_info": "The networks in use.",
    "studies": "Studies in the store by the state of their jobs.",
    "open_alerts": "Alerts that nobody has acknowledged.",
    "outbox_messages": "Messages that the broker has not taken yet.",
    "outbox_oldest_seconds": "Age of the oldest of them.",
    "disk_free_bytes": "Free space in the store.",
    "temperature_celsius": "Hottest sensor.",
    "selftest_passed": "1 if the engine's last self-test passed.",
    "selftest_timestamp_seconds": "When that was.",
    "clock_ahead_seconds": "How far the device's clock is ahead of this machine's.",
}


class Figures:
    def __init__(self):
        self.lines = {name: [] for name in HELP}

    def add(self, name, value, **labels):
        quoted = {k: str(v).replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") for k, v in labels.items()}
        inside = ",".join(f'{k}="{v}"' for k, v in quoted.items())
        self.lines[name].append(f"hepalert_{name}{{{inside}}} {float(value):g}" if abs(value) < 1e6
                                else f"hepalert_{name}{{{inside}}} {float(value):.3f}")

    def device(self, device, known, now):
        health, status, info = (known.get(k) or {} for k in ("health", "status", "info"))
        age = now + known.get("ahead", 0) - seconds(health["time"]) if health else None
        alive = known.get("availability") != "offline" and age is not None and -CLOCK_OFF_S <= age <= min(health["valid_for_s"], 86400)
        self.add("alive", alive, device=device)
        if "ahead" in known:
            self.add("clock_ahead_seconds", known["ahead"], device=device)
        if status:
            self.add("online", alive and status["state"] == "online", device=device)
            for reason in status["reasons"]:
                self.add("degraded_reason", 1, device=device, reason=reason)
        if info:
            self.add("build_info", 1, device=device, version=info["version"])
            for engine in info["engines"]:
                labels = {k: engine[k] for k in ("role", "id", "version")}
                self.add("engine_info", 1, device=device, **labels)
        if known.get("worklist"):
            self.add("open_alerts", known["worklist"]["open_total"], device=device)
        if health:
            self.health(device, health, now)

    def health(self, device, health, now):
        for state in ("queued", "running", "dead"):
            self.add("studies", health[state], device=device, state=state)
        self.add("outbox_messages", health["outbox_backlog"], device=device)
        oldest = health.get("oldest_unsent")
        self.add("outbox_oldest_seconds", max(0, now - seconds(oldest)) if oldest else 0, device=device)
        if health.get("disk_free_mib") is not None:
            self.add("disk_free_bytes", health["disk_free_mib"] * 2**20, device=device)
        if health.get("temperature_c") is not None:
            self.add("temperature_celsius", health["temperature_c"], device=device)
        test = health.get("last_self_test")
        if test:
            self.add("selftest_passed", test["passed"], device=device)
            self.add("selftest_timestamp_seconds", seconds(test["at"]), device=device)

    def text(self):
        parts = []
        for name, lines in self.lines.items():
            if lines:
                parts += [f"# HELP hepalert_{name} {HELP[name]}", f"# TYPE hepalert_{name} gauge", *lines]
        return "\n".join(parts) + "\n"


def listen(args, fleet):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=args.client_id, protocol=mqtt.MQTTv5)

    def connected(client, _user, _flags, reason, _properties):
        log.info("broker: %s", reason)
        client.subscribe([(f"{args.base}/v1/+/{topic}", 1) for topic in TOPICS])

    def message(_client, _user, message):
        try:
            fleet.take(message.topic, message.payload, message.retain, time.time())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            log.error("%s: not as the contract says (%r)", message.topic, error)

    client.on_connect, client.on_message = connected, message
    if args.username:
        with open(args.password_file) as file:
            client.username_pw_set(args.username, file.read().rstrip("\n"))
    if args.ca_file:
        client.tls_set(args.ca_file, args.cert_file, args.key_file, cert_reqs=ssl.CERT_REQUIRED)
    client.connect_async(args.host, args.port)
    client.loop_start()
    return client


def server(address, fleet):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            found = self.path == "/metrics"
            body = fleet.text(time.time()).encode() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    host, port = address.rsplit(":", 1)
    return http.server.ThreadingHTTPServer((host, int(port)), Page)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--base", default="hepalert")
    parser.add_argument("--client-id", default="hepalert-exporter")
    parser.add_argument("--listen", default="127.0.0.1:9798")
    for name in ("username", "password-file", "ca-file", "cert-file", "key-file"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    fleet = Fleet(args.base)
    listen(args, fleet)
    server(args.listen, fleet).serve_forever()


if __name__ == "__main__":
    main()
