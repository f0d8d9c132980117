"""An engine pair whose answers are known: each class is linear in the voxel's own value.

Run: python make_bundle.py  (needs numpy, onnx). Writes bundle/: manifest.json and, for both
networks, NAME.onnx, NAME_input.f32 and NAME_expected.f32 (every fourth voxel).
Normalised value v (100 HU is 0, 20 HU are 1): cyst below -2.5, metastasis below -1, liver
above. The first network calls everything above 3 spleen.
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
LINES = {"Meta": (-4, -4), "Cyst": (-8, -14), "liver": (0, 0), "spleen": (4, -12)}

here = Path(__file__).parent / "bundle"
here.mkdir(exist_ok=True)


def entry(name, data):
    (here / name).write_bytes(data)
    return {"path": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def network(name, classes):
    lines = [LINES.get(one, (0, -50)) for one in NAMES[:classes]]
    slope, offset = (np.array(part, np.float32) for part in zip(*lines))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["patch", "w", "b"], ["logits"], kernel_shape=[1, 1, 1])],
        "linear",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, [1, 1, *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, classes, *SHAPE])],
        [numpy_helper.from_array(slope.reshape(classes, 1, 1, 1, 1), "w"), numpy_helper.from_array(offset, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    values = np.random.default_rng(1).normal(-1, 2, SHAPE).astype("<f4")
    logits = slope[:, None, None, None] * values + offset[:, None, None, None]
    golden = {
        "input": entry(f"{name}_input.f32", values.tobytes()),
        "expected": entry(f"{name}_expected.f32", logits[:, ::4, ::4, ::4].astype("<f4").tobytes()),
        "stride": [4, 4, 4],
    }
    return {
        "files": [entry(f"{name}.onnx", model.SerializeToString())], "classes": NAMES[:classes],
        "channels": 1, "patch": SHAPE, "spacing_mm": [5.0, 2.0, 2.0], "transpose_forward": [0, 1, 2],
        "normalisation": [{"scheme": "ct", "mean": 100.0, "std": 20.0, "lower": -100.0, "upper": 300.0}],
        "resampling": "default", "mirror_axes": [], "tile_step": 0.5, "mask_value": 0.0, "golden": golden,
    }


manifest = {
    "format": "hepalert-engine", "format_version": 1, "id": "linear", "version": 1, "created": "2026-11-23",
    "intended_use": "tests only", "licence": "Apache-2.0", "phases": ["vp"], "fusion": "logits",
    "lesion_gain": {"base": 1.0, "high": 100.0},
    "networks": {"segment": network("segment", 14), "reclassify": network("reclassify", 8)},
    "training": {},
}
(here / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
