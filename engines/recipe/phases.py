"""Makes the bundle that tells contrast phases apart: a small network on the densities of organs.

    python phases.py --bundle ../ct-phase --version 1

The program measures the organs itself (`crates/phases`); this network says what a set of densities means. It has seen no
patient and no phantom: it learns from simulated densities, made from textbook curves of enhancement after a bolus, with
every patient's dose, circulation, liver and kidneys drawn anew, and with the mistakes that looking for organs makes: an
organ missed, bowel with oral contrast taken for a kidney, stomach taken for the spleen. So every real examination and
every phantom is a test. About one minute on one core.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from bundle_files import described

CLASSES = ["native", "early_arterial", "late_arterial", "portal_venous", "delayed", "none"]
FEATURES = 20
# Seconds after the start of an injection of 30 s, and HU above native at an average dose.
SECONDS = [0, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90, 120, 150, 180, 240, 300, 420, 600]
CURVES = {
    "aorta": [0, 60, 180, 290, 330, 315, 280, 245, 212, 173, 149, 134, 123, 104, 94, 86, 74, 66, 55, 45],
    "liver": [0, 0, 1, 2, 4, 7, 12, 19, 27, 43, 53, 57, 56, 51, 46, 41, 35, 31, 25, 20],
    "spleen": [0, 5, 20, 48, 72, 85, 92, 95, 94, 86, 78, 72, 68, 59, 53, 48, 41, 37, 30, 24],
    "kidney": [0, 3, 15, 35, 60, 80, 95, 108, 118, 135, 148, 156, 160, 158, 148, 138, 120, 105, 85, 70],
    "cortex": [0, 8, 40, 90, 130, 152, 165, 170, 172, 172, 172, 172, 170, 162, 150, 140, 120, 105, 85, 70],
    "lower_cava": [0, 0, 0, 0, 0, 1, 3, 6, 10, 20, 32, 44, 54, 76, 84, 82, 73, 66, 55, 45],
    "upper_cava": [0, 0, 3, 10, 25, 45, 60, 68, 74, 88, 98, 102, 100, 92, 86, 80, 72, 65, 54, 44],
}
ORGANS = ["aorta", "liver", "spleen", "kidney", "cortex", "pelvis", "lower_cava", "upper_cava"]
# How often an organ is not found, and how often something else is taken for it.
MISSED = [0.03, 0.02, 0.12, 0.14, 0.0, 0.0, 0.5, 0.2]
MISTAKEN = [0.04, 0.01, 0.08, 0.08, 0.0, 0.0, 0.3, 0.2]


def seconds(rng, classes):
    """When each was scanned: protocols differ, and so do hearts."""
    n = len(classes)
    delayed = np.where(rng.random(n) < 0.7, rng.normal(190, 35, n), rng.uniform(130, 600, n))
    # Chest, abdomen and pelvis in one run, or a slow injection: the liver is met late.
    portal = np.where(rng.random(n) < 0.7, rng.normal(70, 10, n), rng.normal(94, 14, n))
    drawn = [np.zeros(n), rng.normal(22, 3.5, n), rng.normal(37, 5, n), portal, np.maximum(delayed, 120), np.zeros(n)]
    return np.clip(np.choose(classes, drawn), 0, 600)


def densities(rng, classes):
    """HU of every organ, [n, organ]."""
    n = len(classes)
    time = seconds(rng, classes) * np.exp(rng.normal(0, 0.10, n))
    dose = np.exp(rng.normal(0.0, 0.33, n)) * (classes != 0)
    share = lambda spread: np.exp(rng.normal(0, spread, n))
    curve = lambda name: np.interp(time, SECONDS, CURVES[name]) * dose
    blood = rng.normal(42, 5, n)
    liver = np.where(rng.random(n) < 0.16, rng.uniform(0, 46, n), rng.normal(56, 7, n))
    kidney = np.where(rng.random(n) < 0.08, rng.uniform(0.25, 0.8, n), 1.0) * share(0.13)
    cortex = rng.normal(42, 6, n) + curve("cortex") * kidney
    middle = rng.normal(32, 5, n) + curve("kidney") * kidney * share(0.1)
    urine = np.clip(time - rng.uniform(80, 170, n), 0, 200) * rng.uniform(0.5, 6, n) * (dose > 0)
    # Narrow collecting systems, and those that the discs miss: nothing brighter than the cortex is seen. What tells
    # such a delayed scan from a portal venous one is that aorta and cava are alike.
    urine = np.where(rng.random(n) < 0.35, 0, urine)
    # Stones, and contrast of another examination an hour ago.
    other = np.where(rng.random(n) < 0.08, rng.uniform(60, 400, n), 0)
    found = np.stack([
        blood + curve("aorta") * share(0.08),
        liver + curve("liver") * share(0.2),
        rng.normal(48, 5, n) + curve("spleen") * share(0.15),
        middle,
        cortex,
        cortex + rng.uniform(3, 30, n) + urine + other,
        blood + curve("lower_cava") * share(0.3),
        blood + curve("upper_cava") * share(0.2),
    ], 1)
    return found + rng.normal(0, 3, found.shape)


def mistakes(rng, found):
    """What is not found, and what is taken for it."""
    n, organs = found.shape
    aorta, liver = found[:, :1], found[:, 1:2]
    soft = rng.uniform(10, 70, (n, organs)) + rng.random((n, organs)) * (0.6 * np.abs(aorta - 42) + np.abs(liver - 55))
    wrong = rng.random((n, organs)) < MISTAKEN
    # A kidney that is none is wrong in all its three densities; bowel may hold oral contrast.
    wrong[:, 4] = wrong[:, 5] = wrong[:, 3]
    bowel = rng.uniform(120, 520, n) * (rng.random(n) < 0.5) + rng.uniform(5, 60, n)
    soft[:, 3], soft[:, 4], soft[:, 5] = bowel * 0.9, bowel * 1.05 + 5, bowel * 1.1 + 15
    found = np.where(wrong, soft, found)
    oral = rng.random(n) < 0.07
    found[:, 5] = np.where(oral, rng.uniform(200, 700, n), found[:, 5])
    there = rng.random((n, organs)) >= MISSED
    there[:, 4] = there[:, 5] = there[:, 3]
    return found, there


def vector(found, there):
    """As `Organs::vector`: pairs of density and presence, then organs against the aorta."""
    out = np.zeros((len(found), FEATURES), np.float32)
    out[:, 0:16:2] = np.where(there, np.clip(found, -50, 500) / 100, 0)
    out[:, 1:16:2] = there
    gain = np.maximum(found[:, 0] - 42, 20)
    for at, organ, plain in ((16, 1, 54), (17, 2, 47), (18, 4, 40), (19, 6, 42)):
        both = there[:, 0] & there[:, organ]
        out[:, at] = np.where(both, np.clip((found[:, organ] - plain) / gain, -1, 4), 0)
    return out


def draw(rng, n):
    classes = rng.choice(len(CLASSES), n, p=[0.25, 0.12, 0.19, 0.2, 0.18, 0.06])
    found, there = mistakes(rng, densities(rng, classes))
    none = classes == 5
    found[none] = rng.uniform(-50, 450, (none.sum(), found.shape[1]))
    there[none] = rng.random((none.sum(), found.shape[1])) < 0.7
    # Nothing to go by is no phase.
    blind = ~(there[:, 0] & there[:, 1]) & (there.sum(1) < 4)
    return vector(found, there), np.where(blind, 5, classes)


class Net(torch.nn.Module):
    """Three layers; as convolutions of one voxel, since that is what engines run."""

    def __init__(self):
        super().__init__()
        sizes = [FEATURES, 48, 32, len(CLASSES)]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = torch.nn.functional.leaky_relu(layer(x), 0.01)
        return self.layers[-1](x)


def train(seed, steps):
    rng, net = np.random.default_rng(seed), Net()
    best = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=1e-4)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(best, steps)
    for _ in range(steps):
        x, y = draw(rng, 1024)
        # A little smoothing: textbook curves are not every patient's.
        loss = torch.nn.functional.cross_entropy(net(torch.tensor(x)), torch.tensor(y), label_smoothing=0.02)
        best.zero_grad()
        loss.backward()
        best.step()
        plan.step()
    x, y = draw(np.random.default_rng(seed + 1), 20000)
    with torch.no_grad():
        right = (net(torch.tensor(x)).argmax(1).numpy() == y)
    shares = {name: round(float(right[y == i].mean()), 4) for i, name in enumerate(CLASSES)}
    print("simulated, unseen:", shares)
    return net, shares


def export(net, folder):
    nodes, constants, x = [], [], "organs"
    last = len(net.layers) - 1
    for i, layer in enumerate(net.layers):
        weight = layer.weight.detach().numpy()[:, :, None, None, None].astype(np.float32)
        constants += [numpy_helper.from_array(weight, f"layer{i}.weight"),
                      numpy_helper.from_array(layer.bias.detach().numpy().astype(np.float32), f"layer{i}.bias")]
        out = "logits" if i == last else f"layer{i}.out"
        nodes.append(helper.make_node("Conv", [x, f"layer{i}.weight", f"layer{i}.bias"], [out], name=out,
                                      kernel_shape=[1, 1, 1], strides=[1, 1, 1], pads=[0] * 6, dilations=[1, 1, 1], group=1))
        x = out
        if i < last:
            nodes.append(helper.make_node("LeakyRelu", [x], [f"act{i}.out"], name=f"act{i}.out", alpha=0.01))
            x = f"act{i}.out"
    shape = lambda name, channels: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 1, 1, 1])
    graph = helper.make_graph(nodes, "ct-phase", [shape("organs", FEATURES)], [shape("logits", len(CLASSES))], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, folder / "phases.onnx")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--bundle", type=Path, required=True)
    args.add_argument("--version", type=int, default=2)
    args.add_argument("--created", default="2026-11-30")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--steps", type=int, default=4000)
    args = args.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    args.bundle.mkdir(parents=True, exist_ok=True)
    net, shares = train(args.seed, args.steps)
    export(net, args.bundle)
    x, _ = draw(np.random.default_rng(99), 1)
    with torch.no_grad():
        logits = net(torch.tensor(x)).numpy()
    x.astype("<f4").tofile(args.bundle / "phases.golden-in.f32")
    logits.astype("<f4").tofile(args.bundle / "phases.golden-out.f32")
    network = {
        "files": [described(args.bundle, "phases.onnx")], "classes": CLASSES, "channels": FEATURES,
        "patch": [1, 1, 1], "spacing_mm": [1.0, 1.0, 1.0], "transpose_forward": [0, 1, 2], "normalisation": [],
        "resampling": "default", "mirror_axes": [], "tile_step": 1.0,
        "golden": {"input": described(args.bundle, "phases.golden-in.f32"),
                   "expected": described(args.bundle, "phases.golden-out.f32"), "stride": [1, 1, 1]},
    }
    manifest = {
        "format": "hepalert-engine", "format_version": 2, "id": "ct-phase", "version": args.version,
        "created": args.created, "intended_use": "tells contrast phases of abdominal CT apart; demonstration only",
        "licence": "Apache-2.0", "phases": ["nc", "ap", "vp", "dp"], "fusion": "logits",
        "networks": {"phases": network},
        "training": {"data": "simulated densities of organs; no patient, no phantom", "seed": args.seed,
                     "steps": args.steps, "right_on_unseen_simulated": shares},
    }
    (args.bundle / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
