#!/usr/bin/env python3
"""Passes alerts on: to a webhook, by e-mail, as HL7 v2 ORU^R01 over MLLP, as FHIR R4 DiagnosticReport.

Built on ../subscriber: an alert is stored before it is acknowledged, and passed on until the other side
has taken it, oldest first, each target by itself. No target sees an alert twice unless it took one and
its answer was lost; each message carries the event's id for that.

    pip install 'paho-mqtt>=2,<3'
    python3 bridge.py --config bridge.json --host broker --client-id ris-bridge --database bridge.sqlite

`python3 bridge.py --show hl7 < alert.json` prints what a target would get. Triage aid: every message
carries the notice, results are preliminary, and nothing here is a diagnosis.
"""
import argparse
import email.message
import hashlib
import hmac
import http.client
import json
import logging
import smtplib
import socket
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "subscriber"))
import subscriber  # noqa: E402

log = logging.getLogger("bridge")

RETRY_S = (5, 30, 120, 600)
TIMEOUT_S = 20
# LOINC: diagnostic imaging study; the text of a finding.
REPORT_CODE = ("18748-4", "Diagnostic imaging study")
FINDING_CODE = ("59776-5", "Procedure findings Narrative")
WORDS = {
    "suspected": "Suspected finding: malignant liver lesion suspected",
    "uncertain": "Suspected finding: the two views disagree, worth a look",
    "not_suspected": "No malignant liver lesion suspected",
}


def sentences(event):
    """What a person reads: verdict, lesions, how to find the study, what this is not."""
    data = event["data"]
    if "alert_id" in data:
        return [f"Reminder {data['reminder']} of {data['reminders']}: nobody has acknowledged this alert of {data['raised']}",
                WORDS[data["verdict"]], f"alert {data['alert_id']}", data["notice"]]
    lines = [WORDS[data["verdict"]]]
    for lesion in data["lesions"]:
        lines.append(
            f"{'suspected finding' if lesion['malignant'] else 'finding'} {lesion['id']}: {lesion['class']}, "
            f"{lesion['volume_cm3']:.1f} cm3, longest {lesion['max_diameter_mm']:.0f} mm"
        )
    if data["lesions_total"] > len(data["lesions"]):
        lines.append(f"{data['lesions_total'] - len(data['lesions'])} further findings")
    if data["quality"]:
        lines.append("quality: " + ", ".join(data["quality"]))
    lines.append(data["notice"])
    return lines


def link(event):
    """Study UID and accession number, as far as the device's privacy profile lets them out."""
    found = event["data"].get("link") or {}
    return found.get("study_uid"), found.get("accession_number")


def stamp(time_text):
    """HL7's form of a time of ours, which is UTC."""
    return time_text[:19].replace("-", "").replace("T", "").replace(":", "") + "+0000"


def escaped(text):
    """HL7's delimiters as HL7 writes them inside a field."""
    for char, code in (("\\", "E"), ("|", "F"), ("^", "S"), ("&", "T"), ("~", "R")):
        if char == "\\":
            text = text.replace("\\", "\x00")
        else:
            text = text.replace(char, f"\\{code}\\")
    return text.replace("\x00", "\\E\\").replace("\r", " ").replace("\n", " ")


def numbered(name, fields):
    """A segment by the numbers of its fields."""
    return [name] + [fields.get(number, "") for number in range(1, max(fields) + 1)]


def hl7(event, target):
    """ORU^R01, version 2.5.1: preliminary results of one order, text per line."""
    study_uid, accession = link(event)
    data, when = event["data"], stamp(event["time"])
    sender, receiver = escaped(target.get("sender", "HEPALERT")), escaped(target.get("receiver", "RIS"))
    filler = f"{data['study_key']}^HEPALERT"
    corrected = "C" if event.get("supersedes") else "P"
    segments = [
        ["MSH", "^~\\&", sender, escaped(target.get("facility", "")), receiver, "", when, "",
         "ORU^R01^ORU_R01", event["id"].replace("-", "")[:20], "P", "2.5.1", "", "", "AL", "NE", "",
         "UNICODE UTF-8"],
        # Who it is, hepalert does not know: the receiver finds the patient by the order's number (OBR-2
        # and OBR-18). An accession number here would file a result under a patient of that number. Type U of
        # table 0203 and of table 0200: unspecified.
        ["PID", "1", "", f"{data['study_key']}^^^HEPALERT^U", "", "^^^^^^U"],
        numbered("OBR", {1: "1", 2: escaped(accession or ""), 3: filler, 4: f"{REPORT_CODE[0]}^{REPORT_CODE[1]}^LN",
                         7: when, 18: escaped(accession or ""), 20: escaped(study_uid or ""), 22: when, 24: "RAD",
                         25: corrected}),
    ]
    for number, line in enumerate(sentences(event), 1):
        flag = "A" if number == 1 and data["verdict"] != "not_suspected" else ""
        segments.append(
            numbered("OBX", {1: str(number), 2: "TX", 3: f"{FINDING_CODE[0]}^{FINDING_CODE[1]}^LN", 4: str(number),
                             5: escaped(line), 8: flag, 11: corrected, 14: when})
        )
    return "".join("|".join(fields) + "\r" for fields in segments)


def fhir(event, _target):
    """DiagnosticReport with an Observation per finding inside; status preliminary."""
    study_uid, accession = link(event)
    data = event["data"]
    identifiers = [{"system": "urn:hepalert:v1:event", "value": event["id"]},
                   {"system": "urn:hepalert:v1:study_key", "value": data["study_key"]}]
    if accession:
        code = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}
        identifiers.append({"type": {"coding": [code]}, "value": accession})

    def coded(code, display):
        return {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]}

    observations = [
        {
            "resourceType": "Observation",
            "id": f"lesion-{lesion['id']}",
            "status": "preliminary",
            "code": coded(*FINDING_CODE),
            "valueString": f"{lesion['class']}, longest {lesion['max_diameter_mm']:.0f} mm",
            "component": [
                {
                    "code": {"text": "volume"},
                    "valueQuantity": {"value": lesion["volume_cm3"], "unit": "cm3",
                                      "system": "http://unitsofmeasure.org", "code": "cm3"},
                },
                {
                    "code": {"text": "longest diameter"},
                    "valueQuantity": {"value": lesion["max_diameter_mm"], "unit": "mm",
                                      "system": "http://unitsofmeasure.org", "code": "mm"},
                },
            ],
        }
        for lesion in data["lesions"]
    ]
    report = {
        "resourceType": "DiagnosticReport",
        "identifier": identifiers,
        "status": "preliminary",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074", "code": "RAD"}]}],
        "code": coded(*REPORT_CODE),
        "effectiveDateTime": data["timing"].get("acquired") or event["time"],
        "issued": event["time"],
        "conclusion": "\n".join(sentences(event)),
    }
    if study_uid:
        report["imagingStudy"] = [
            {"identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{study_uid}"}}
        ]
    if observations:
        report["contained"] = observations
        report["result"] = [{"reference": f"#{one['id']}"} for one in observations]
    return report


def mail(event, target):
    """An e-mail: no patient, no link that opens by itself."""
    message = email.message.EmailMessage()
    message["From"], message["To"] = target["from"], ", ".join(target["to"])
    message["Subject"] = f"hepalert: {event['data']['verdict'].replace('_', ' ')} ({event['data']['study_key'][:8]})"
    message["Message-ID"] = f"<{event['id']}@hepalert>"
    _study_uid, accession = link(event)
    lines = sentences(event) + ["", f"study key {event['data']['study_key']}"]
    if accession:
        lines.append(f"accession number {accession}")
    lines.append(f"device {event['source'].rsplit('/', 1)[-1]}, event {event['id']}")
    message.set_content("\n".join(lines) + "\n")
    return message


def post(url, body, headers):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        if answer.status >= 300:
            raise OSError(f"{url}: {answer.status}")


def send_webhook(event, target):
    body = json.dumps(event).encode()
    headers = {"content-type": "application/cloudevents+json", "idempotency-key": event["id"]}
    if "secret_file" in target:
        secret = Path(target["secret_file"]).read_bytes().strip()
        headers["x-hepalert-signature"] = "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()
    post(target["url"], body, headers)


def send_fhir(event, target):
    headers = {"content-type": "application/fhir+json",
               # Sent twice, it is made once.
               "if-none-exist": f"identifier=urn:hepalert:v1:event|{event['id']}"}
    if "token_file" in target:
        headers["authorization"] = "Bearer " + Path(target["token_file"]).read_text().strip()
    post(target["url"].rstrip("/") + "/DiagnosticReport", json.dumps(fhir(event, target)).encode(), headers)


def send_hl7(event, target):
    """MLLP; done once the receiver says AA (or CA) to this message's own control id."""
    text = hl7(event, target)
    with socket.create_connection((target["host"], target["port"]), timeout=TIMEOUT_S) as line:
        line.sendall(b"\x0b" + text.encode() + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            part = line.recv(4096)
            if not part or len(answer) > 65536:
                raise OSError("no acknowledgement")
            answer += part
    control = text.split("|")[9]
    said = [s.split("|") for s in answer.strip(b"\x0b\x1c\r").decode().split("\r")]
    if not any(s[0] == "MSA" and s[1] in ("AA", "CA") and s[2] == control for s in said):
        raise OSError(f"refused: {said}")


def send_mail(event, target):
    with smtplib.SMTP(target["host"], target.get("port", 25), timeout=TIMEOUT_S) as server:
        if target.get("starttls", True):
            server.starttls()
        if "username" in target:
            server.login(target["username"], Path(target["password_file"]).read_text().strip())
        server.send_message(mail(event, target))


SENDERS = {"webhook": send_webhook, "smtp": send_mail, "hl7": send_hl7, "fhir": send_fhir}
# What each can say. A report is made of findings, and a reminder holds none.
TAKES = {
    "webhook": ["alert", "escalation", "result", "study", "engine"],
    "smtp": ["alert", "escalation", "result"],
    "hl7": ["alert", "result"],
    "fhir": ["alert", "result"],
}


# What a target must and may say, and of which kind each is.
NEEDS = {
    "webhook": {"url": str},
    "smtp": {"host": str, "from": str, "to": list},
    "hl7": {"host": str, "port": int},
    "fhir": {"url": str},
}
MAY = {
    "webhook": {"secret_file": str},
    "smtp": {"port": int, "starttls": bool, "username": str, "password_file": str},
    "hl7": {"facility": str, "sender": str, "receiver": str},
    "fhir": {"token_file": str},
}


def fault(targets):
    """Why a configuration cannot work, or None."""
    if not isinstance(targets, list) or not targets:
        return "a list of at least one target"
    names = [target.get("name") if isinstance(target, dict) else None for target in targets]
    for name, target in zip(names, targets):
        if not isinstance(name, str) or target.get("kind") not in SENDERS:
            return f"a target needs a name and a kind of {', '.join(SENDERS)}"
        if names.count(name) > 1:
            return f"{name}: two targets of one name"
        kind = target["kind"]
        known = {"name": str, "kind": str, "events": list, **NEEDS[kind], **MAY[kind]}
        for key in NEEDS[kind].keys() - target.keys():
            return f"{name}: {key} is missing"
        for key, value in target.items():
            if key not in known:
                return f"{name}: {key} is no key of {kind}, which has {', '.join(known)}"
            if not isinstance(value, known[key]) or isinstance(value, bool) != (known[key] is bool):
                return f"{name}: {key} must be of type {known[key].__name__}"
            if key == "url" and not value.startswith(("http://", "https://")):
                return f"{name}: url must begin with https:// or http://"
            if key in ("events", "to") and (not value or not all(isinstance(one, str) for one in value)):
                return f"{name}: {key} must be a list of at least one text"
            if key.endswith("_file") and not Path(value).is_file():
                return f"{name}: {key}: there is no file {value}"
        for event in set(target.get("events", [])) - set(TAKES[kind]):
            return f"{name}: {event} cannot go to {kind}, which takes {', '.join(TAKES[kind])}"
    return None


class Bridge:
    """Passes events on, to each target until it has taken them."""

    def __init__(self, inbox, targets):
        self.inbox, self.targets = inbox, targets
        self.failed = {}
        with inbox.lock, inbox.db:
            inbox.db.execute(
                "CREATE TABLE IF NOT EXISTS passed(id TEXT, target TEXT, PRIMARY KEY(id, target))"
            )

    def is_for(self, event, target):
        kinds = target.get("events", {"alert", "escalation"} & set(TAKES[target["kind"]]))
        return event["type"].split(".")[1] in kinds

    def pass_on(self, now=None):
        """Tries what is due; returns how many were taken."""
        now = time.monotonic() if now is None else now
        taken = 0
        for id, _topic, event in self.inbox.unhandled():
            open_targets = 0
            for target in self.targets:
                name = target["name"]
                if not self.is_for(event, target) or self._is_passed(id, name):
                    continue
                count, due = self.failed.get((id, name), (0, now))
                if due > now or not self._try(event, target, count, now):
                    open_targets += 1
                else:
                    taken += 1
            if not open_targets:
                self.inbox.handled(id)
        return taken

    def _try(self, event, target, count, now):
        try:
            SENDERS[target["kind"]](event, target)
        except (OSError, http.client.HTTPException, smtplib.SMTPException, KeyError, IndexError, ValueError, TypeError) as error:
            wait = RETRY_S[min(count, len(RETRY_S) - 1)]
            log.warning("%s does not take %s (%s); again in %d s", target["name"], event["id"], error, wait)
            self.failed[event["id"], target["name"]] = (count + 1, now + wait)
            return False
        with self.inbox.lock, self.inbox.db:
            self.inbox.db.execute("INSERT OR IGNORE INTO passed VALUES(?, ?)", (event["id"], target["name"]))
        self.failed.pop((event["id"], target["name"]), None)
        return True

    def _is_passed(self, id, name):
        with self.inbox.lock:
            found = self.inbox.db.execute("SELECT 1 FROM passed WHERE id = ? AND target = ?", (id, name))
            return found.fetchone() is not None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    if "--show" in sys.argv:
        parser.add_argument("--show", choices=list(SENDERS))
        args = parser.parse_args()
        event = json.load(sys.stdin)
        kind = event["type"].split(".")[1] if isinstance(event, dict) and "type" in event else "no event"
        if kind not in TAKES[args.show]:
            sys.exit(f"a target of kind {args.show} takes {', '.join(TAKES[args.show])}; this is {kind}")
        target = {"from": "hepalert@example.org", "to": ["reading-room@example.org"]}
        shown = {
            "webhook": lambda: json.dumps(event, indent=1),
            "hl7": lambda: hl7(event, target).replace("\r", "\n"),
            "fhir": lambda: json.dumps(fhir(event, target), indent=1),
            "smtp": lambda: mail(event, target).as_string(),
        }
        return print(shown[args.show]().rstrip("\n"))
    parser.add_argument("--config", required=True, help="JSON: a list of targets, see README.md")
    args = subscriber.arguments(parser).parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        targets = json.loads(Path(args.config).read_text())
    except (OSError, ValueError) as error:
        sys.exit(f"{args.config}: {error}")
    if why := fault(targets):
        sys.exit(f"{args.config}: {why}")
    inbox = subscriber.Inbox(args.database)
    listener = subscriber.Subscriber(args, inbox, lambda *_: None)
    bridge = Bridge(inbox, targets)
    listener.start()
    try:
        while True:
            time.sleep(1)
            listener.fill_gaps()
            bridge.pass_on()
    except KeyboardInterrupt:
        listener.stop()


if __name__ == "__main__":
    main()
