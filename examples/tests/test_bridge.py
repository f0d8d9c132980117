"""The bridge: each message by its parts, and all four targets against servers that refuse at first."""
import email
import hashlib
import hmac
import http.server
import json
import re
import socketserver
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

from world import EXAMPLES, Broker, Device, Program, message, wait

sys.path.insert(0, str(EXAMPLES / "bridge"))
import bridge  # noqa: E402


def segments(text):
    """HL7 by segment and field, `OBR[25]` being OBR-25; MSH-1 is the delimiter itself."""
    found = {}
    for line in text.rstrip("\r").split("\r"):
        fields = line.split("|")
        if fields[0] == "MSH":
            fields.insert(1, "|")
        found.setdefault(fields[0], []).append(fields)
    return found


class Messages(unittest.TestCase):
    def setUp(self):
        self.event = message("alert")

    def test_hl7_has_its_fields_where_they_belong(self):
        self.event["data"]["link"] = {"study_uid": "1.2.3", "accession_number": "A^1|2"}
        found = segments(bridge.hl7(self.event, {}))
        msh, obr, obx = found["MSH"][0], found["OBR"][0], found["OBX"]
        self.assertEqual((msh[2], msh[9], msh[12]), ("^~\\&", "ORU^R01^ORU_R01", "2.5.1"))
        self.assertEqual(msh[7], "20261129213439+0000")
        self.assertTrue(re.fullmatch("[0-9a-f]{20}", msh[10]))
        self.assertEqual((obr[2], obr[18], obr[20]), ("A\\S\\1\\F\\2", "A\\S\\1\\F\\2", "1.2.3"))
        self.assertEqual((obr[4].split("^")[2], obr[25], len(obr)), ("LN", "P", 26))
        # An accession number is no patient's number.
        self.assertEqual(found["PID"][0][3:6], [f"{self.event['data']['study_key']}^^^HEPALERT^U", "", "^^^^^^U"])
        self.assertEqual([one[1] for one in obx], [str(n) for n in range(1, len(obx) + 1)])
        self.assertEqual((obx[0][2], obx[0][8], obx[0][11]), ("TX", "A", "P"))
        self.assertIn("Meta, 9.2 cm3", obx[1][5])
        self.assertEqual(obx[-1][5], self.event["data"]["notice"])

    def test_a_revision_is_a_correction_and_without_a_link_there_is_only_the_key(self):
        self.event["supersedes"] = "x"
        found = segments(bridge.hl7(self.event, {}))
        self.assertEqual((found["OBR"][0][25], found["OBR"][0][2]), ("C", ""))
        self.assertEqual(found["PID"][0][3].split("^")[0], self.event["data"]["study_key"])

    def test_hl7_delimiters_cannot_break_out_of_a_field(self):
        self.assertEqual(bridge.escaped("a|b^c&d~e\\f\rg"), "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f g")

    def test_fhir_is_preliminary_and_whole(self):
        report = bridge.fhir(self.event, {})
        self.assertEqual((report["resourceType"], report["status"]), ("DiagnosticReport", "preliminary"))
        self.assertEqual(report["identifier"][0]["value"], self.event["id"])
        inside = {f"#{one['id']}": one for one in report["contained"]}
        self.assertEqual([one["reference"] for one in report["result"]], list(inside))
        for one in inside.values():
            self.assertEqual((one["status"], one["resourceType"]), ("preliminary", "Observation"))
            self.assertIn("coding", one["code"])
        self.assertIn("absence of an alert", report["conclusion"])
        self.assertNotIn("imagingStudy", report)
        self.event["data"]["link"] = {"study_uid": "1.2.3"}
        study = bridge.fhir(self.event, {})["imagingStudy"][0]["identifier"]
        self.assertEqual(study, {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"})
        self.event["data"].update(lesions=[], lesions_total=0)
        self.assertNotIn("contained", bridge.fhir(self.event, {}))

    def test_others_can_read_what_is_written(self):
        import hl7
        from fhir.resources.R4B.diagnosticreport import DiagnosticReport

        self.event["data"]["link"] = {"study_uid": "1.2.3", "accession_number": "A|1"}
        report = DiagnosticReport.model_validate(bridge.fhir(self.event, {}))
        self.assertEqual((report.status, len(report.contained)), ("preliminary", 1))
        read = hl7.parse(bridge.hl7(self.event, {}))
        self.assertEqual((str(read.segment("OBR")[25]), read.unescape(str(read.segment("OBR")[18]))), ("P", "A|1"))

    def test_a_reminder_goes_by_mail_and_no_report_is_made_of_it(self):
        data = {"alert_id": "9f", "study_key": "ab" * 16, "verdict": "suspected", "raised": "2026-11-29T21:34:39.000Z",
                "reminder": 1, "reminders": 2, "notice": "Triage aid."}
        reminder = {**self.event, "type": "hepalert.escalation.v1", "data": data}
        self.assertIn("Reminder 1 of 2", bridge.mail(reminder, {"from": "a@b", "to": ["c@d"]}).get_content())
        for kind, takes in bridge.TAKES.items():
            shown = self.command("--show", kind, stdin=json.dumps(reminder))
            self.assertEqual(shown.returncode == 0, "escalation" in takes, shown.stderr)
            self.assertNotIn("Traceback", shown.stderr)

    def test_a_target_that_cannot_take_an_event_is_refused_at_the_start(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([{"name": "ris", "kind": "hl7", "events": ["alert", "escalation"]}], file)
            file.flush()
            refused = self.command("--config", file.name, "--client-id", "a", "--database", "/nonexistent/b")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("ris: port is missing", refused.stderr.replace("host", "port"))
        mail = {"name": "m", "kind": "smtp", "host": "h", "from": "a@b", "to": ["c@d"]}
        self.assertIsNone(bridge.fault([mail]))
        for wrong, why in [
            ([], "at least one"), ([{**mail, "events": ["alrt"]}], "alrt cannot go"), ([{**mail, "events": []}], "events must"),
            ([{**mail, "to": "c@d"}], "to must be of type list"), ([mail, mail], "two targets"),
            ([{**mail, "startls": True}], "startls is no key"), ([{**mail, "port": "25"}], "port must be of type int"),
            ([{"name": "w", "kind": "webhook", "url": "ftp://x"}], "url must begin"), (["m"], "a name and a kind"),
            ([{"name": "w", "kind": "webhook", "url": "https://x", "secret_file": "/nonexistent"}], "there is no file"),
            ([{"name": "h", "kind": "hl7", "host": "h", "port": 1, "events": ["escalation"]}], "escalation cannot go to hl7"),
        ]:
            self.assertIn(why, bridge.fault(wrong) or "taken", wrong)

    def command(self, *words, stdin=""):
        words = [sys.executable, bridge.__file__, *words]
        return subprocess.run(words, input=stdin, capture_output=True, text=True)

    def test_mail_carries_no_patient(self):
        text = bridge.mail(self.event, {"from": "a@b", "to": ["c@d"]}).as_string()
        parsed = email.message_from_string(text)
        self.assertEqual(parsed["Message-ID"], f"<{self.event['id']}@hepalert>")
        self.assertIn("suspected", parsed["Subject"])
        self.assertIn("Suspected finding", parsed.get_payload())

    def test_what_is_suspected_is_never_called_a_diagnosis(self):
        for verdict in bridge.WORDS:
            self.event["data"]["verdict"] = verdict
            words = " ".join(bridge.sentences(self.event)).lower()
            self.assertNotIn("diagnos", words)


class Web(http.server.BaseHTTPRequestHandler):
    """Refuses the first request."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.heard.append((self.path, dict(self.headers), body))
        self.send_response(503 if len(self.server.heard) == 1 else 201)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Mllp(socketserver.StreamRequestHandler):
    """Says AE first, then AA."""

    def handle(self):
        text = b""
        while not text.endswith(b"\x1c\r"):
            text += self.request.recv(4096)
        text = text.strip(b"\x0b\x1c\r").decode()
        self.server.heard.append(text)
        control = text.split("|")[9]
        word = "AE" if len(self.server.heard) == 1 else "AA"
        self.request.sendall(f"\x0bMSH|^~\\&|RIS||HEPALERT||||ACK|1|P|2.5.1\rMSA|{word}|{control}\r\x1c\r".encode())


class Mail(socketserver.StreamRequestHandler):
    """As much of SMTP as a client needs; turns the first letter away."""

    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")  # noqa: E731
        say("220 here")
        while line := self.rfile.readline().decode().strip():
            word = line.split()[0].upper()
            if word == "DATA":
                say("354 go on")
                letter = b""
                while (part := self.rfile.readline()) != b".\r\n":
                    letter += part
                self.server.heard.append(letter.decode())
                say("451 later" if len(self.server.heard) == 1 else "250 taken")
            elif word == "QUIT":
                return say("221 bye")
            else:
                say("250 fine")


class Passed(unittest.TestCase):
    def server(self, handler, kind=socketserver.ThreadingTCPServer):
        kind.allow_reuse_address = True
        server = kind(("127.0.0.1", 0), handler)
        server.heard, server.daemon_threads = [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def test_each_target_gets_each_alert_though_it_refuses_first(self):
        broker = Broker()
        self.addCleanup(broker.close)
        web, fhir = (self.server(Web, http.server.ThreadingHTTPServer) for _ in range(2))
        ris, post = self.server(Mllp), self.server(Mail)
        port = lambda server: server.server_address[1]  # noqa: E731
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        here = Path(folder.name)
        (here / "secret").write_text("key\n")
        targets = [
            {"name": "web", "kind": "webhook", "url": f"http://127.0.0.1:{port(web)}/in",
             "secret_file": str(here / "secret"), "events": ["alert", "study"]},
            {"name": "fhir", "kind": "fhir", "url": f"http://127.0.0.1:{port(fhir)}/r4"},
            {"name": "ris", "kind": "hl7", "host": "127.0.0.1", "port": port(ris)},
            {"name": "mail", "kind": "smtp", "host": "127.0.0.1", "port": port(post), "starttls": False,
             "from": "a@b.example", "to": ["c@d.example"]},
        ]
        (here / "bridge.json").write_text(json.dumps(targets))
        words = ["bridge/bridge.py", "--config", here / "bridge.json", "--port", broker.port,
                 "--client-id", "bridge", "--database", here / "b.sqlite"]
        program = Program(*words)
        self.addCleanup(program.kill)
        wait("it is connected", lambda: program.said("connected"))
        device = Device(broker)
        self.addCleanup(device.close)
        alert = device.event(1)
        wait("all were tried", lambda: all(s.heard for s in (web, fhir, ris, post)))
        # Killed with everything still to be passed on; it begins anew and knows what is open.
        program.kill()
        program = Program(*words)
        self.addCleanup(program.kill)
        wait("all have taken it", lambda: all(len(s.heard) == 2 for s in (web, fhir, ris, post)))
        device.event(2, kind="study")
        wait("the step of a study goes to the web alone", lambda: len(web.heard) == 3)
        self.assertEqual([len(s.heard) for s in (fhir, ris, post)], [2, 2, 2])
        _path, headers, body = web.heard[1]
        headers = {name.lower(): value for name, value in headers.items()}
        signed = "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()
        self.assertEqual((headers["x-hepalert-signature"], headers["idempotency-key"]), (signed, alert["id"]))
        self.assertEqual(json.loads(body)["id"], alert["id"])
        path, headers, body = fhir.heard[1]
        self.assertEqual((path, json.loads(body)["resourceType"]), ("/r4/DiagnosticReport", "DiagnosticReport"))
        self.assertIn(alert["data"]["study_key"], ris.heard[1])
        self.assertIn(alert["id"], post.heard[1])


if __name__ == "__main__":
    unittest.main()
