#!/usr/bin/env python3
"""Makes the small seeds of the targets `syntaxes`, `command`, `labels`, `association`, `answers` and
`bodies`. Those of `syntaxes` are a frame of 16 x 16 in every coding that there is an encoder for, behind the
byte that names its syntax. Needs imagecodecs and numpy."""
import json
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np

HERE = Path(__file__).parent
Y, X = np.mgrid[0:16, 0:16]
IMAGE = ((Y * 131 + X * 57) % 4000).astype(np.uint16)
BYTES = (IMAGE >> 4).astype(np.uint8)


def data_set():
    """Explicit little endian, 16 bits."""
    def element(group, number, vr, value):
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        return struct.pack("<HH2sH", group, number, vr.encode(), len(value)) + value
    short = lambda n: struct.pack("<H", n)
    parts = [(8, 0x16, "UI", b"1.2.840.10008.5.1.4.1.1.2"), (8, 0x18, "UI", b"1.2.3.4"), (8, 0x60, "CS", b"CT"),
             (0x20, 0xd, "UI", b"1.2.3"), (0x20, 0xe, "UI", b"1.2.3.1"), (0x20, 0x32, "DS", b"0\\0\\0"),
             (0x20, 0x37, "DS", b"1\\0\\0\\0\\1\\0"), (0x28, 2, "US", short(1)), (0x28, 4, "CS", b"MONOCHROME2"),
             (0x28, 0x10, "US", short(16)), (0x28, 0x11, "US", short(16)), (0x28, 0x30, "DS", b"0.8\\0.8"),
             (0x28, 0x100, "US", short(16)), (0x28, 0x101, "US", short(12)), (0x28, 0x102, "US", short(11)),
             (0x28, 0x103, "US", short(0)), (0x28, 0x1052, "DS", b"-1024"), (0x28, 0x1053, "DS", b"1")]
    pixels = struct.pack("<HH2sHI", 0x7fe0, 0x10, b"OW", 0, 512) + IMAGE.tobytes()
    return b"".join(element(*part) for part in parts) + pixels


def rle():
    def plane(values):
        return b"".join(bytes([15]) + bytes(row) for row in values)
    high, low = plane(IMAGE >> 8), plane(IMAGE & 255)
    return struct.pack("<16I", 2, 64, 64 + len(high), *[0] * 13) + high + low


raw = zlib.compressobj(9, zlib.DEFLATED, -15)
SEEDS = {
    "explicit": (1, data_set()),
    "deflated": (3, raw.compress(data_set()) + raw.flush()),
    "wrapped": (4, IMAGE.tobytes()),
    "rle": (5, rle()),
    "jpeg": (6, imagecodecs.jpeg8_encode(BYTES)),
    "jpeg_lossless": (10, imagecodecs.ljpeg_encode(IMAGE, bitspersample=12)),
    "jpeg_lossless_first": (11, imagecodecs.ljpeg_encode(IMAGE, bitspersample=12)),
    "jpeg_ls": (12, imagecodecs.jpegls_encode(IMAGE)),
    "jpeg_ls_lossy": (13, imagecodecs.jpegls_encode(IMAGE, level=3)),
    "jpeg2000": (14, imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", reversible=True)),
    "jpeg2000_lossy": (15, imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", level=30)),
}
for name, (syntax, encoded) in SEEDS.items():
    (HERE / "syntaxes" / name).write_bytes(bytes([syntax]) + bytes(encoded))
ID = b"7f1c0000-0000-4000-8000-000000000001"
for name, (command, body) in {
    "ping": (0, b""), "ack": (1, b'{"id":"' + ID + b'","by":"desk-1"}'), "replay": (2, b'{"from_seq":1,"to_seq":9}'),
}.items():
    (HERE / "command" / name).write_bytes(bytes([command]) + body)

# `labels`: a form, a line of a history, a name, one operation of each kind.
OPERATIONS = [
    {"op": "relabel", "at": [0, 1, 1], "label": 4},
    {"op": "delete", "at": [0, 1, 1]},
    {"op": "merge", "at": [0, 1, 1], "with": [0, 3, 4]},
    {"op": "split_plane", "at": [0, 1, 1], "point_ras_mm": [1.2, 1, 5], "normal": [1, 0, 0.5], "label": 1},
    {"op": "split_seeds", "at": [0, 1, 1], "seeds": [{"at": [0, 1, 1], "label": 1}, {"at": [2, 2, 2], "label": 1}]},
    {"op": "paint", "runs": [[0, 0, 0, 5], [2, 3, 1, 2]], "label": 2, "over": [0, 7]},
    {"op": "fill", "at": [1, 0, 0], "within": "slices"},
    {"op": "fill", "at": [1, 0, 0], "within": "volume"},
    {"op": "interpolate", "at": [[0, 1, 1], [2, 2, 2]], "axis": "axial"},
    {"op": "grow", "at": [0, 1, 1], "label": 1, "hu": [5, 75], "reach_mm": 2.5, "inside": [7]},
    {"op": "copy_from", "phase": "ap", "at": [0, 1, 1], "label": 5},
]
ENTRY = {"when": "2026-01-02T03:04:05Z", "reader": "anna", "image": "vp", "what": {"op": "undo"}, "voxels": 3,
         "before": None, "revision": "0123456789abcdef"}
FORM = (b"--x\r\nContent-Disposition: form-data; name=\"params\"\r\n\r\n{}\r\n"
        b"--x\r\nContent-Disposition: form-data; name=\"label\"; filename=\"a.nii.gz\"\r\n\r\nabc\r\n--x--\r\n")
SEEDS = [bytes([1]) + FORM, bytes([2]) + json.dumps(ENTRY).encode(), bytes([3]) + b"p7_vp_liver.nii.gz"]
SEEDS += [bytes([0]) + json.dumps(operation).encode() for operation in OPERATIONS]
for number, seed in enumerate(SEEDS):
    (HERE / "labels").mkdir(exist_ok=True)
    (HERE / "labels" / f"{number:02}").write_bytes(seed)


# `association` and `answers`: what is said within an association, by either end, and answers over HTTP.
def command(field, *elements):
    """The group 0000 of a message, which is implicit VR (PS3.7 section 6.3.1)."""
    body = b""
    for number, value in [(0x100, struct.pack("<H", field)), *elements]:
        value += b"\0" * (len(value) % 2)
        body += struct.pack("<HHI", 0, number, len(value)) + value
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def spoken(context, control, data):
    """One P-DATA-TF PDU with one value."""
    value = struct.pack(">IBB", len(data) + 2, context, control) + data
    return struct.pack(">BBI", 4, 0, len(value)) + value


def said(context, words, data=b""):
    """A command, and a data set in two pieces."""
    half = len(data) // 2
    pieces = [spoken(context, 0, data[:half]), spoken(context, 2, data[half:])] if data else []
    return b"".join([spoken(context, 3, words), *pieces])


def short(number):
    return struct.pack("<H", number)


def text(group, number, value):
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, b"UI", len(value)) + value


CT, COMMITMENT = b"1.2.840.10008.5.1.4.1.1.2", b"1.2.840.10008.1.20.1"
RELEASE, RELEASED = struct.pack(">BBII", 5, 0, 4, 0), struct.pack(">BBII", 6, 0, 4, 0)
ABORT = struct.pack(">BBII", 7, 0, 4, 0)
ECHO = command(0x30, (2, b"1.2.840.10008.1.1"), (0x110, short(1)), (0x800, short(0x101)))
STORE = command(1, (2, CT), (0x110, short(1)), (0x700, short(0)), (0x800, short(0)), (0x1000, b"1.2.3.4"))
ACTION = command(0x130, (3, COMMITMENT), (0x110, short(2)), (0x800, short(0)), (0x1001, COMMITMENT + b".1"),
                 (0x1008, short(1)))
REFERENCE = text(8, 0x1150, CT) + text(8, 0x1155, b"1.2.3.4")
REFERENCES = (text(8, 0x1195, b"1.2.9") + struct.pack("<HH2sHI", 8, 0x1199, b"SQ", 0, len(REFERENCE) + 8)
              + struct.pack("<HHI", 0xfffe, 0xe000, len(REFERENCE)) + REFERENCE)
REPORTED = command(0x8100, (0x120, short(1)), (0x800, short(0x101)), (0x900, short(0)))


def item(kind, body):
    return struct.pack(">BBH", kind, 0, len(body)) + body


def negotiation(kind, contexts):
    body = struct.pack(">HH", 1, 0) + b"HEPALERT".ljust(16) + b"FUZZ".ljust(16) + bytes(32)
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(contexts)
    roles = struct.pack(">H", len(COMMITMENT)) + COMMITMENT + b"\1\1"
    body += item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3") + item(0x54, roles)
                 + item(0x55, b"FUZZ") + item(0x58, b"\1\0\0\4name\0\0"))
    return struct.pack(">BBI", kind, 0, len(body)) + body


ASKED = negotiation(1, [item(0x20, b"\1\0\0\0" + item(0x30, CT) + item(0x40, b"1.2.840.10008.1.2")
                             + item(0x40, b"1.2.840.10008.1.2.1"))])
GRANTED = negotiation(2, [item(0x21, b"\1\0\0\0" + item(0x40, b"1.2.840.10008.1.2.1"))])
REJECTED = struct.pack(">BBI4B", 3, 0, 4, 0, 1, 1, 7)
STORED = command(0x8001, (2, CT), (0x120, short(1)), (0x800, short(0x101)), (0x900, short(0)), (0x1000, b"1.2.3.4"))
KEPT = json.dumps({"00081199": {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3.4"]}}]}}).encode()
FAILED = json.dumps({"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [273]}}]}}).encode()
HTTP = b"HTTP/1.1 %s\r\nContent-Type: application/dicom+json\r\n%s\r\n\r\n%s"
PIECES = b"%x\r\n%s\r\n%x;x=1\r\n%s\r\n0\r\n\r\n" % (40, KEPT[:40], len(KEPT) - 40, KEPT[40:])
PEERS = {
    "association": {
        "echo": said(1, ECHO) + RELEASE, "store": said(1, STORE, data_set()) + RELEASE,
        "commit": said(3, ACTION, REFERENCES) + said(3, REPORTED) + RELEASE, "request": ASKED, "abort": ABORT,
        "whole": ASKED + said(1, ECHO) + said(1, STORE, data_set()) + RELEASE,
    },
    "answers": {
        "kept": b"\0" + HTTP % (b"200 OK", b"Connection: close", KEPT),
        "failed": b"\0" + HTTP % (b"409 Conflict", b"Connection: close", FAILED),
        "pieces": b"\0" + HTTP % (b"200 OK", b"Transfer-Encoding: chunked", PIECES),
        "granted": b"\1" + GRANTED + said(1, STORED) + RELEASED, "rejected": b"\1" + REJECTED,
        "stored": b"\2" + said(1, STORED) + RELEASED, "aborted": b"\2" + ABORT,
    },
}

# `bodies`: what is sent to the page, by the number of its place in the table of `fuzz/page.rs`.
TEXT = lambda value: json.dumps(value).encode()
BODIES = {
    "request": (0, b"GET /api/v1/studies?page=0&from=2026-01-02 HTTP/1.1\r\nHost: localhost\r\n"
                   b"Connection: close\r\n\r\n"),
    "login": (1, TEXT({"name": "anna", "password": "a password"})),
    "engine": (2, (HERE / "package" / "tiny.hepengine").read_bytes()),
    "use": (3, TEXT({"target": "before"})), "requeue": (4, b""),
    "desk": (5, TEXT({"start": "labels:labels"})),
    "edit": (6, TEXT({"on": "new", "operation": OPERATIONS[0]})),
    "paint": (6, TEXT({"on": "new", "operation": OPERATIONS[5]})),
    "undo": (7, TEXT({"on": "new"})), "redo": (8, TEXT({"on": "new"})),
    "aside": (9, TEXT({"on": "new", "labels": [{"label": 1, "runs": [[0, 1, 1, 2]]}], "operation": OPERATIONS[1]})),
    "given": (10, TEXT({"labels": "labels", "values": [[1, 1], [7, 0]]})),
    "token": (11, b"grant_type=&username=anna&password=a%20password"),
    "label": (12, FORM), "infer": (13, FORM), "next": (14, TEXT({"client_id": "x"})), "session": (15, FORM),
}
PEERS["bodies"] = {name: bytes([place]) + body for name, (place, body) in BODIES.items()}
for folder, seeds in PEERS.items():
    (HERE / folder).mkdir(exist_ok=True)
    for name, seed in seeds.items():
        (HERE / folder / name).write_bytes(seed)
