#!/usr/bin/env python3
"""Makes the small seeds of the targets `syntaxes`, `command` and `labels`: a frame of 16 x 16 in every coding
that there is an encoder for, behind the byte that names its syntax. Needs imagecodecs and numpy."""
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
