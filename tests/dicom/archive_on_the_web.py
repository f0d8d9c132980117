"""An archive that speaks STOW-RS over TLS, as far as one needs to be sent to.

archive_on_the_web.py CERTIFICATE KEY FOLDER: prints its port, then serves until it is killed. What is
posted below /dicom-web is read by pydicom and kept in FOLDER; below /refuse it is refused with 0xC000,
below /busy the server is overloaded, below /there everything is there already. The token is "letmein".
"""

import http.server
import io
import json
import pathlib
import ssl
import sys

import pydicom

REASONS = {"refuse": 0xC000, "there": 0x0111}


class Archive(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, told=None):
        body = json.dumps(told).encode() if told is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def is_let_in(self):
        if self.headers.get("Authorization") == "Bearer letmein":
            return True
        self.answer(401)
        return False

    def do_GET(self):
        if self.is_let_in():
            self.answer(200, [])

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.is_let_in():
            return
        boundary = self.headers.get_param("boundary", header="content-type").encode()
        part = sent.split(b"--" + boundary)[1].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        read = pydicom.dcmread(io.BytesIO(part))
        reference = {
            "00081150": {"vr": "UI", "Value": [read.SOPClassUID]},
            "00081155": {"vr": "UI", "Value": [read.SOPInstanceUID]},
        }
        root = self.path.split("/")[1]
        if root == "busy":
            return self.answer(503)
        if root in REASONS:
            reference["00081197"] = {"vr": "US", "Value": [REASONS[root]]}
            return self.answer(409, {"00081198": {"vr": "SQ", "Value": [reference]}})
        pathlib.Path(FOLDER, f"{read.SOPInstanceUID}.dcm").write_bytes(part)
        self.answer(200, {"00081199": {"vr": "SQ", "Value": [reference]}})

    def log_message(self, *_):
        pass


CERTIFICATE, KEY, FOLDER = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERTIFICATE, KEY)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
