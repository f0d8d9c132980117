"""What the tests of the examples share: a real mosquitto, a device that speaks the contract, waiting."""
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import paho.mqtt.client as mqtt

EXAMPLES = Path(__file__).resolve().parent.parent
ROOT = EXAMPLES.parent
MESSAGES = ROOT / "tests/data/mqtt"
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
BASE = "hepalert/v1"


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait(what, done, patience=20):
    """Waits until `done()` is true and returns what it said."""
    until = time.monotonic() + patience
    while True:
        found = done()
        if found:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"never: {what}")
        time.sleep(0.05)


class Broker:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.port = free_port()
        path = Path(self.folder.name)
        (path / "conf").write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {path}/\nautosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\n"
        )
        self.start()

    def start(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([MOSQUITTO, "-c", f"{self.folder.name}/conf"], **quiet)
        wait("the broker is up", self._answers)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def close(self):
        self.kill()
        self.folder.cleanup()


class Client:
    """A client that remembers what it hears."""

    def __init__(self, broker, *topics):
        self.heard = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = self._message
        subscribed = threading.Event()
        self.client.on_connect = lambda *_: self.client.subscribe([(topic, 1) for topic in topics]) if topics else subscribed.set()
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.connect("127.0.0.1", broker.port)
        self.client.loop_start()
        assert subscribed.wait(10)

    def _message(self, _client, _user, message):
        self.heard.append((message.topic, message.payload, message.properties))
        self.on(message)

    def on(self, message):
        pass

    def say(self, topic, body, retain=False):
        body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        self.client.publish(topic, body, qos=1, retain=retain).wait_for_publish(10)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def message(name):
    return json.loads((MESSAGES / f"{name}.json").read_text())


class Device(Client):
    """Speaks as a device does, and sends again on request; what is in `gone` it no longer has."""

    def __init__(self, broker, name="ct-1", gone=()):
        self.name, self.sent, self.gone = name, {}, set(gone)
        super().__init__(broker, f"{BASE}/{name}/cmd/replay")

    def event(self, seq, kind="alert", say=True, **data):
        event = message("alert" if kind == "alert" else "study")
        event.update(seq=seq, id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.name} {seq}")),
                     source=f"/{BASE}/{self.name}", type=f"hepalert.{kind}.v1")
        event["data"].update(data)
        self.sent[seq] = (f"{BASE}/{self.name}/event/{kind}", event)
        if say:
            self.say(*self.sent[seq])
        return event

    def info(self, next_seq, **more):
        info = {"schema": "urn:hepalert:v1:info", "version": "0.1.0", "schemas": [], "engines": [
            {"role": "segment", "id": "liver", "version": "4", "sha256": "ab" * 32},
            {"role": "reclassify", "id": "liver", "version": "4", "sha256": "ab" * 32}],
            "config_sha256": "cd" * 32, "boot": 1, "next_seq": next_seq, "clock_synced": True, **more}
        self.say(f"{BASE}/{self.name}/info", info, retain=True)

    def health(self, **more):
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
        self.say(f"{BASE}/{self.name}/health", {**message("health"), "time": now, **more}, retain=True)

    def on(self, message):
        asked = json.loads(message.payload)
        numbers = range(asked["from_seq"], asked["to_seq"] + 1)
        reply = message.properties.ResponseTopic
        # paho's callbacks may not wait.
        for seq in numbers:
            if seq in self.sent and seq not in self.gone:
                topic, event = self.sent[seq]
                self.client.publish(topic, json.dumps({**event, "replay": True}), qos=1)
        self.client.publish(reply, json.dumps({"schema": "urn:hepalert:v1:reply", "ok": True, "time": "", "events": len(numbers)}), qos=1)


class Program:
    """An example as a user starts it; its lines as they come."""

    def __init__(self, path, *words):
        words = [sys.executable, "-u", str(EXAMPLES / path), *map(str, words)]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.out, self.err = [], []
        for stream, lines in ((self.process.stdout, self.out), (self.process.stderr, self.err)):
            threading.Thread(target=self._read, args=(stream, lines), daemon=True).start()

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def said(self, words):
        return any(words in line for line in self.err)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
