#!/usr/bin/env python3
"""A subscriber that loses nothing and hears nothing twice.

Keeps a persistent session at the broker, stores every event before it acknowledges it, knows events
by their `id`, and asks a device to send again (`cmd/replay`) what a gap in `seq` shows to be missing.
Every new event is printed as one JSON line.

    pip install 'paho-mqtt>=2,<3'
    python3 subscriber.py --host broker --client-id reading-room --database events.sqlite

What it does is in docs/dashboards.md.
"""
import argparse
import json
import logging
import sqlite3
import ssl
import sys
import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

log = logging.getLogger("subscriber")

# A device keeps what it sent for `store.keep_days`; what it cannot send again after this is lost.
MAX_ASKED = 3
ASK_AGAIN_S = 30.0
# A device sends no more than this for one question.
MAX_REPLAYED = 10_000


class Inbox:
    """The events that are known, in one SQLite file; safe against a power cut."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.db = sqlite3.connect(path, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.executescript(
            """
            CREATE TABLE IF NOT EXISTS event(
                id TEXT PRIMARY KEY, device TEXT NOT NULL, seq INTEGER NOT NULL, topic TEXT NOT NULL,
                body TEXT NOT NULL, handled INTEGER NOT NULL DEFAULT 0, UNIQUE(device, seq));
            CREATE TABLE IF NOT EXISTS device(
                name TEXT PRIMARY KEY, first INTEGER NOT NULL, next INTEGER NOT NULL);
            CREATE TABLE IF NOT EXISTS lost(device TEXT, seq INTEGER, PRIMARY KEY(device, seq));
            """
        )

    def take(self, device, topic, event):
        """Stores an event; True if it is new."""
        with self.lock, self.db:
            kept = self.db.execute(
                "INSERT OR IGNORE INTO event(id, device, seq, topic, body) VALUES(?, ?, ?, ?, ?)",
                (event["id"], device, event["seq"], topic, json.dumps(event)),
            )
            self._seen(device, event["seq"], event["seq"] + 1)
            self.db.execute("DELETE FROM lost WHERE device = ? AND seq = ?", (device, event["seq"]))
            return kept.rowcount == 1

    def expect(self, device, next_seq):
        """A device says which number its next event will have: those before it exist."""
        with self.lock, self.db:
            self._seen(device, next_seq, next_seq)

    def _seen(self, device, first, following):
        # Who comes new begins here; what was before is asked for with --from-beginning.
        self.db.execute(
            "INSERT INTO device(name, first, next) VALUES(?, ?, ?) ON CONFLICT(name) DO UPDATE "
            "SET next = max(next, excluded.next)",
            (device, first, following),
        )

    def wants(self, device, seq):
        """Whether an event that is sent again is one since this inbox began."""
        with self.lock:
            row = self.db.execute("SELECT first FROM device WHERE name = ?", (device,)).fetchone()
        return row is not None and seq >= row[0]

    def following(self, device):
        """The number that follows the last one known."""
        with self.lock:
            return self.db.execute("SELECT next FROM device WHERE name = ?", (device,)).fetchone()[0]

    def gaps(self, device):
        """Ranges of numbers that are missing, both ends included."""
        with self.lock:
            row = self.db.execute("SELECT first, next FROM device WHERE name = ?", (device,)).fetchone()
            if row is None:
                return []
            known = {
                seq
                for table in ("event", "lost")
                for (seq,) in self.db.execute(f"SELECT seq FROM {table} WHERE device = ?", (device,))
            }
        ranges = []
        for seq in range(row[0], row[1]):
            if seq in known:
                continue
            if ranges and ranges[-1][1] == seq - 1:
                ranges[-1][1] = seq
            else:
                ranges.append([seq, seq])
        return [tuple(one) for one in ranges]

    def give_up(self, device, first, last):
        """Numbers that the device cannot send any more."""
        with self.lock, self.db:
            self.db.executemany(
                "INSERT OR IGNORE INTO lost VALUES(?, ?)", [(device, seq) for seq in range(first, last + 1)]
            )

    def unhandled(self):
        """Stored and not yet passed on, oldest first."""
        with self.lock:
            rows = self.db.execute("SELECT id, topic, body FROM event WHERE handled = 0 ORDER BY rowid")
            return [(id, topic, json.loads(body)) for id, topic, body in rows]

    def handled(self, id):
        with self.lock, self.db:
            self.db.execute("UPDATE event SET handled = 1 WHERE id = ?", (id,))

    def devices(self):
        with self.lock:
            return [name for (name,) in self.db.execute("SELECT name FROM device ORDER BY name")]


class Subscriber:
    """Fills an inbox from a broker; `heard` is called with the topic and body of each new event."""

    def __init__(self, args, inbox, heard):
        self.args, self.inbox, self.heard = args, inbox, heard
        self.asked = {}
        # Whether the broker forgot the session: what came since the last event is not known then.
        self.forgotten = False
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=args.client_id,
            protocol=mqtt.MQTTv5,
            # Acknowledged once stored, not once received.
            manual_ack=True,
        )
        client.on_connect, client.on_message = self._connected, self._message
        client.on_disconnect = lambda *rest: log.warning("the line is down: %s", rest[3])
        if args.username:
            with open(args.password_file) as file:
                client.username_pw_set(args.username, file.read().rstrip("\n"))
        if args.ca_file:
            client.tls_set(args.ca_file, args.cert_file, args.key_file, cert_reqs=ssl.CERT_REQUIRED)
        client.reconnect_delay_set(1, 30)
        self.client = client

    def start(self):
        properties = Properties(PacketTypes.CONNECT)
        # The broker keeps what comes while this program is away: a week.
        properties.SessionExpiryInterval = 7 * 24 * 3600
        self.client.connect_async(
            self.args.host, self.args.port, keepalive=30, clean_start=False, properties=properties
        )
        self.client.loop_start()

    def stop(self):
        self.client.disconnect()
        self.client.loop_stop()

    def _connected(self, client, _user, flags, reason, _properties):
        if reason.is_failure:
            return log.error("the broker refuses: %s", reason)
        log.info("connected; session kept: %s", flags.session_present)
        # Who knows no device yet has missed nothing.
        self.forgotten = bool(self.inbox.devices()) and (self.forgotten or not flags.session_present)
        base = f"{self.args.base}/v1"
        topics = [f"{base}/+/event/#", f"{base}/+/info", f"{base}/+/reply/{self.args.client_id}"]
        client.subscribe([(topic, 1) for topic in topics])

    def _message(self, client, _user, message):
        try:
            self._take(message.topic, message.payload)
        except (ValueError, KeyError, TypeError) as error:
            # One message that is not as it should be holds up no other.
            log.error("%s: not as the contract says (%r)", message.topic, error)
        client.ack(message.mid, message.qos)

    def _take(self, topic, payload):
        device, kind = topic.removeprefix(f"{self.args.base}/v1/").split("/", 1)
        if not payload:
            return
        body = json.loads(payload)
        if kind == "info":
            # The number that followed when the device connected: others may have come since.
            if device in self.inbox.devices():
                self.inbox.expect(device, body["next_seq"])
            elif self.args.from_beginning:
                self.inbox.expect(device, 1)
                self.inbox.expect(device, body["next_seq"])
                self._ask(device, 1, MAX_REPLAYED)
        elif kind.startswith("event/"):
            # Somebody else asked for what was before this program came.
            if body.get("replay") and not self.inbox.wants(device, body["seq"]):
                return
            if self.inbox.take(device, topic, body):
                self.heard(topic, body)
        elif not body.get("ok"):
            log.warning("%s refuses a replay: %s", device, body.get("code"))

    def fill_gaps(self):
        """Asks every device for what is missing; to be called now and then."""
        now = time.monotonic()
        if self.forgotten and self.client.is_connected():
            self.forgotten = False
            for device in self.inbox.devices():
                gaps = self.inbox.gaps(device)
                # One question for all: a device answers one at a time.
                first = gaps[0][0] if gaps else self.inbox.following(device)
                self.asked.update({(device, *gap): (1, now) for gap in gaps})
                log.warning("%s: the broker kept no session; asking for what came from %d on", device, first)
                self._ask(device, first, first + MAX_REPLAYED)
        for device in self.inbox.devices():
            for first, last in self.inbox.gaps(device):
                count, when = self.asked.get((device, first, last), (0, -ASK_AGAIN_S))
                if now - when < self.args.ask_again_s:
                    continue
                if count >= MAX_ASKED:
                    log.error("%s: events %d to %d are lost", device, first, last)
                    self.inbox.give_up(device, first, last)
                    continue
                log.warning("%s: events %d to %d are missing; asking", device, first, last)
                self.asked[device, first, last] = (count + 1, now)
                self._ask(device, first, last)

    def _ask(self, device, first, last):
        base = f"{self.args.base}/v1/{device}"
        reply = f"{base}/reply/{self.args.client_id}"
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = reply
        # `reply_to` says the same to a device that speaks 3.1.1, or behind a bridge that does.
        body = json.dumps({"from_seq": first, "to_seq": last, "reply_to": reply})
        self.client.publish(f"{base}/cmd/replay", body, qos=1, properties=properties)


def arguments(parser):
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--base", default="hepalert", help="first part of the topics")
    parser.add_argument("--client-id", required=True, help="one per subscriber, always the same")
    parser.add_argument("--database", required=True, help="SQLite file of what is known")
    parser.add_argument("--username")
    parser.add_argument("--password-file")
    parser.add_argument("--ca-file", help="speak TLS; the authority of the broker's certificate")
    parser.add_argument("--cert-file")
    parser.add_argument("--key-file")
    parser.add_argument(
        "--from-beginning", action="store_true", help="of a device that is new here, ask for all it keeps"
    )
    parser.add_argument("--ask-again-s", type=float, default=ASK_AGAIN_S, help=argparse.SUPPRESS)
    return parser


def main():
    args = arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0])).parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")

    def heard(_topic, event):
        print(json.dumps(event), flush=True)

    subscriber = Subscriber(args, Inbox(args.database), heard)
    subscriber.start()
    try:
        while True:
            # A moment, so that what is on its way is not asked for.
            time.sleep(min(2.0, args.ask_again_s))
            subscriber.fill_gaps()
    except KeyboardInterrupt:
        subscriber.stop()


if __name__ == "__main__":
    main()
