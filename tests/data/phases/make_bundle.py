"""Engines for several phases whose answers are known: each class is linear in the venous voxel.

Run: python make_bundle.py  (needs numpy, onnx). Writes nc_ap_vp/ and nc_vp/ with a first network
each: manifest.json, segment.onnx, segment_input.f32, segment_expected.f32 (every fourth voxel).
Normalised value v of the portal venous phase (100 HU is 0, 20 HU are 1): metastasis below -1,
liver above. Where the arterial phase is air, the voxel is background: what a phase does not show
can be seen in the answer.
"""
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = [4, 16, 16]
NAMES = ["background", "HCC", "ICC", "Meta", "Hem", "Other", "Cyst", "liver", "hepatic_vessels",
         "portal_vein", "gallbladder", "spleen", "pancreas", "stomach"]
LINES = {"Meta": (-4, -4), "liver": (0, 0)}


def entry(folder, name, data):
    (folder / name).write_bytes(data)
    return {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def network(folder, phases):
    channels = len(phases)
    slope = np.zeros((14, channels), np.float32)
    offset = np.full(14, -50, np.float32)
    for name, (steep, lift) in LINES.items():
        slope[NAMES.index(name), phases.index("vp")] = steep
        offset[NAMES.index(name)] = lift
    if "ap" in phases:
        # Air is -200 HU after clipping, which is -15: 15 * 40 beats any lesion.
        slope[0, phases.index("ap")], offset[0] = -40, -450
    graph = helper.make_graph(
        [helper.make_node("Conv", ["patch", "w", "b"], ["logits"], kernel_shape=[1, 1, 1])],
        "linear",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, [1, channels, *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 14, *SHAPE])],
        [numpy_helper.from_array(slope.reshape(14, channels, 1, 1, 1), "w"),
         numpy_helper.from_array(offset, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    values = np.random.default_rng(1).normal(-1, 2, [channels, *SHAPE]).astype("<f4")
    logits = np.einsum("kc,czyx->kzyx", slope, values) + offset[:, None, None, None]
    ct = {"scheme": "ct", "mean": 100.0, "std": 20.0, "lower": -200.0, "upper": 300.0}
    golden = {
        "input": entry(folder, "segment_input.f32", values.tobytes()),
        "expected": entry(folder, "segment_expected.f32",
                          logits[:, ::4, ::4, ::4].astype("<f4").tobytes()),
        "stride": [4, 4, 4],
    }
    return {
        "files": [entry(folder, "segment.onnx", model.SerializeToString())], "classes": NAMES,
        "channels": channels, "patch": SHAPE, "spacing_mm": [4.0, 2.0, 2.0],
        "transpose_forward": [0, 1, 2], "normalisation": [ct] * channels,
        "resampling": "default", "mirror_axes": [], "tile_step": 0.5, "golden": golden,
    }


for phases in (["nc", "ap", "vp"], ["nc", "vp"]):
    folder = Path(__file__).parent / "_".join(phases)
    folder.mkdir(exist_ok=True)
    manifest = {
        "format": "hepalert-engine", "format_version": 1, "id": "linear-" + "-".join(phases),
        "version": 1, "created": "2026-11-29", "intended_use": "tests only",
        "licence": "Apache-2.0", "phases": phases, "fusion": "logits",
        "lesion_gain": {"base": 1.0, "high": 100.0},
        "networks": {"segment": network(folder, phases)}, "training": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
