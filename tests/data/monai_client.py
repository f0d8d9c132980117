"""The calls that 3D Slicer's MONAI Label module makes, in its order, with Python's own library.

Written from the list of calls and their pitfalls, not from the module's code.
usage: monai_client.py SERVER FOLDER
"""

import email
import email.policy
import http.client
import json
import os
import re
import re
import sys
from urllib.parse import quote_plus, urlparse

SERVER, FOLDER = urlparse(sys.argv[1]), sys.argv[2]
os.makedirs(FOLDER, exist_ok=True)


def call(method, selector, body=None, content_type="application/json"):
    connection = http.client.HTTPConnection(SERVER.hostname, SERVER.port, timeout=30)
    headers = {"content-type": content_type} if body is not None else {}
    connection.request(method, selector, body, headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def asked(method, selector, body=None):
    status, _, content = call(method, selector, json.dumps(body) if body is not None else None)
    assert status == 200, (selector, status, content)
    return json.loads(content)


def form(fields, files):
    limit = "----------lImIt_of_THE_fIle_eW_$"
    body = b""
    for name, value in fields.items():
        head = f'--{limit}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
        body += head.encode() + value.encode() + b"\r\n"
    for name, (filename, content) in files.items():
        head = f'--{limit}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        body += head.encode() + b"Content-Type: application/x-gzip\r\n\r\n" + content + b"\r\n"
    return f"multipart/form-data; boundary={limit}", body + f"--{limit}--\r\n".encode()


assert asked("GET", "/auth/") == {"enabled": False}
info = asked("GET", "/info/")
(model,) = info["models"]
numbers = info["models"][model]["labels"]
first = asked("POST", "/activelearning/first", {"client_id": "user-xyz"})
assert first["name"].endswith(".nii.gz") and "path" not in first
status, _, image = call("GET", f"/datastore/image?image={quote_plus(first['id'])}")
assert status == 200
with open(os.path.join(FOLDER, first["name"]), "wb") as file:
    file.write(image)
assert first["id"] in asked("GET", "/datastore/?output=all")["objects"]
status, headers, label = call("GET", f"/datastore/label?label={quote_plus(first['id'])}&tag=original")
headers = {name.lower(): value for name, value in headers.items()}
# As Slicer's own client reads it: without quotation marks it finds no name, and no label.
named = re.findall('filename="(.+)"', headers["content-disposition"])
assert status == 200 and named and named[0].endswith(".nii.gz"), headers

kind, body = form({"params": "{}"}, {})
status, headers, content = call("POST", f"/infer/{model}?image={quote_plus(first['id'])}", body, kind)
headers = {name.lower(): value for name, value in headers.items()}
assert status == 200
whole = b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + content
parts = email.message_from_bytes(whole, policy=email.policy.HTTP).get_payload()
params = json.loads(parts[0].get_payload(decode=True))
inferred = parts[1].get_payload(decode=True)
assert params["label_names"] == numbers and parts[1].get_filename().endswith(".nii.gz")

names = [{"name": name, "idx": number} for name, number in numbers.items()]
fields = {"params": json.dumps({"label_info": names, "client_id": "user-xyz"})}
kind, body = form(fields, {"label": ("label.nii.gz", inferred)})
status, _, content = call("PUT", f"/datastore/label?image={quote_plus(first['id'])}", body, kind)
assert status == 200, content
second = asked("POST", "/activelearning/first", {"client_id": "user-xyz"})
print(json.dumps({"next": [first["id"], second["id"]]}))
