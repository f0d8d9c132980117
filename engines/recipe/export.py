"""Writes a trained pair as an engine bundle: two ONNX files, golden patches, manifest.

    python export.py --run RUN --bundle ../venous-demo --version 1
    python export.py --run RUN --bundle ../venous-demo --version 4 --after ../venous-demo --keep reclassify
    python export.py --engine phantom-diagnosis --run RUN --bundle ../phantom-diagnosis --version 1 --phantom-seeds 10001-10072
    python export.py nnunet RESULTS_FOLDER --bundle OUT --id NAME --phases vp   (see nnunet_import.py)

The graph of a trained pair is built node by node: five operators for the network, three for the image's two parts
(`Graph.image_parts`), static shapes.
`--after` is the bundle that was continued: its figures go into the manifest, and what is in `--keep`
comes from it byte for byte. Kernels and biases of convolutions are written as bfloat16 holds them (in f32):
that is what training under autocast computed with, and bf16 inference then rounds none that matters.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import centre
import parts
from bundle_files import described
from net import HU_LOWER, HU_STD, HU_UPPER, PHANTOM_PHASES, PLANS, UNet, normalise, plans_of

OPSET, IR = 17, 8
GOLDEN_STRIDE = (2, 4, 4)


class Graph:
    """Collects nodes and initialisers; every method returns the name of its output."""

    def __init__(self, weights):
        self.weights, self.nodes, self.constants = weights, [], {}

    def constant(self, name):
        self.constants[name] = numpy_helper.from_array(self.weights[name].numpy().astype(np.float32), name)
        return name

    def add(self, kind, inputs, name, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def image_parts(self, x, conv):
        """The image in two parts, as parts.py makes them; the kernel `conv` takes both."""
        self.weights = {**self.weights, conv: torch.cat([self.weights[conv]] * 2, 1),
                        "image.steps": torch.tensor(parts.STEPS), "image.step": torch.tensor(1 / parts.STEPS)}
        scaled = self.add("Mul", [x, self.constant("image.steps")], "image.scaled.out")
        floor = self.add("Floor", [scaled], "image.floor.out")
        coarse = self.add("Mul", [floor, self.constant("image.step")], "image.coarse.out")
        fine = self.add("Sub", [x, coarse], "image.fine.out")
        return self.add("Concat", [coarse, fine], "image.parts.out", axis=1)

    def conv(self, x, prefix, kernel, stride, kind="Conv"):
        pad = [k // 2 for k in kernel] if kind == "Conv" else [0, 0, 0]
        inputs = [x, self.constant(f"{prefix}.weight"), self.constant(f"{prefix}.bias")]
        return self.add(kind, inputs, f"{prefix}.out", kernel_shape=list(kernel), strides=list(stride),
                        pads=pad + pad, dilations=[1, 1, 1], group=1)

    def stage(self, x, prefix, kernel, stride):
        for i, s in ((1, stride), (2, (1, 1, 1))):
            x = self.conv(x, f"{prefix}.conv{i}", kernel, s)
            norm = f"{prefix}.norm{i}"
            x = self.add("InstanceNormalization", [x, self.constant(f"{norm}.weight"), self.constant(f"{norm}.bias")],
                         f"{norm}.out", epsilon=1e-5)
            x = self.add("LeakyRelu", [x], f"{prefix}.act{i}.out", alpha=0.01)
        return x


def build(plan, weights, name):
    graph, skips = Graph(weights), []
    x = graph.image_parts("image", "encoder.0.conv1.weight")
    for i, (kernel, stride) in enumerate(zip(plan.kernels, plan.strides)):
        x = graph.stage(x, f"encoder.{i}", kernel, stride)
        skips.append(x)
    skips.pop()
    for j, i in enumerate(range(len(plan.features) - 1, 0, -1)):
        x = graph.conv(x, f"up.{j}", plan.strides[i], plan.strides[i], "ConvTranspose")
        x = graph.add("Concat", [x, skips.pop()], f"join.{j}.out", axis=1)
        x = graph.stage(x, f"decoder.{j}", plan.kernels[i - 1], (1, 1, 1))
    x = graph.conv(x, "head", (1, 1, 1), (1, 1, 1))
    # The identity. OpenVINO takes it into the convolution, which then writes f32 also where it computes in bf16.
    graph.add("LeakyRelu", [x], "logits", alpha=1.0)
    shape_in, shape_out = [1, plan.channels, *plan.patch], [1, len(plan.classes), *plan.patch]
    model = helper.make_model(
        helper.make_graph(graph.nodes, name,
                          [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape_in)],
                          [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape_out)],
                          list(graph.constants.values())),
        producer_name="hepalert recipe", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model


def golden_input(plan):
    """A made-up abdomen from a formula: an ellipsoid liver with a dark ball, fat and air. No real CT.

    `[channel, z, y, x]`; later channels are a little brighter, as if contrast came in.
    """
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in plan.patch), indexing="ij")
    hu = np.where(x**2 + y**2 < 0.95, -90.0, -900.0)
    liver = ((x + 0.2) / 0.6) ** 2 + (y / 0.7) ** 2 + (z / 1.4) ** 2 < 1
    lesion = (x + 0.3) ** 2 + (y - 0.1) ** 2 + (0.6 * z) ** 2 < 0.04
    hu = np.where(liver, 115.0 + 6 * np.sin(9 * x + 4 * z) * np.cos(7 * y), hu)
    hu = np.where(lesion, 60.0 + 4 * np.sin(23 * y), hu)
    hu = np.where(((x - 0.7) / 0.2) ** 2 + (y / 0.3) ** 2 < 1, 130.0, hu)
    hu = hu + 5 * np.sin(31 * x + 17 * y + 5 * z)
    hu = np.stack([hu + 12.0 * channel * (hu > -200) for channel in range(plan.channels)])
    return normalise(hu, plan.hu_mean).astype("<f4")


def on_bfloat16_grid(weights):
    """Kernels and biases of convolutions rounded to bfloat16, normalisation as it is."""
    return {k: v if ".norm" in k else v.to(torch.bfloat16).to(v.dtype) for k, v in weights.items()}


def export_network(name, plan, run, bundle):
    """Writes one network with its golden pair and returns its manifest entry and training figures."""
    import onnxruntime
    state = torch.load(run / f"{name}.pt", weights_only=False)
    model, weights = UNet(plan).eval(), on_bfloat16_grid(state["average"])
    model.load_state_dict(weights)
    patch = golden_input(plan)
    centre.centre(model, patch)
    onnx.save(build(plan, model.state_dict(), name), bundle / f"{name}.onnx")
    with torch.no_grad():
        expected = model(torch.from_numpy(patch)[None]).numpy()
    got = onnxruntime.InferenceSession(str(bundle / f"{name}.onnx"), providers=["CPUExecutionProvider"]).run(
        None, {"image": patch[None]})[0]
    worst = float(np.abs(got - expected).max() / np.abs(expected).max())
    agree = float((got.argmax(1) == expected.argmax(1)).mean())
    if worst > 1e-3 or agree < 0.9999:
        raise SystemExit(f"{name}: onnxruntime differs from torch by {worst} of the largest logit, argmax {agree}")
    print(f"{name}: onnxruntime equals torch within {worst:.1e} of {np.abs(expected).max():.1f}, "
          f"argmax {agree:.6f}, step {state['step']}")
    patch.tofile(bundle / f"{name}.golden-in.f32")
    s = GOLDEN_STRIDE
    expected[0, :, :: s[0], :: s[1], :: s[2]].astype("<f4").tofile(bundle / f"{name}.golden-out.f32")
    entry = {
        "files": [described(bundle, f"{name}.onnx")], "classes": list(plan.classes), "channels": plan.channels,
        "patch": list(plan.patch), "spacing_mm": list(plan.spacing_mm), "transpose_forward": [0, 1, 2],
        "normalisation": [{"scheme": "ct", "mean": plan.hu_mean, "std": HU_STD, "lower": HU_LOWER, "upper": HU_UPPER}
                          for _ in range(plan.channels)],
        "resampling": "default", "mirror_axes": [], "tile_step": 0.5,
        "golden": {"input": described(bundle, f"{name}.golden-in.f32"),
                   "expected": described(bundle, f"{name}.golden-out.f32"), "stride": list(s)}}
    if name == "reclassify":
        entry["mask_value"] = 0.0
    return entry, {"iterations": state["step"], "minutes": round(state["spent"] / 60, 1), "seed": state["seed"]}


def kept_network(name, source, bundle):
    """A network of another bundle with its golden pair: files copied, entry and figures as they stand."""
    manifest = json.loads((source / "manifest.json").read_text())
    entry = manifest["networks"][name]
    for file in [*entry["files"], entry["golden"]["input"], entry["golden"]["expected"]]:
        if source.resolve() != bundle.resolve():
            shutil.copyfile(source / file["path"], bundle / file["path"])
        if described(bundle, file["path"]) != file:
            raise SystemExit(f"{source / file['path']} is not what its manifest says; take an intact bundle")
    return entry, manifest["training"]["per_network"][name]


def continued(figures, source, name):
    """Training figures of a network that went on from another bundle's: its own part, then the sum."""
    manifest = json.loads((source / "manifest.json").read_text())
    before = manifest["training"]["per_network"][name]
    return {"iterations": before["iterations"] + figures["iterations"],
            "minutes": round(before["minutes"] + figures["minutes"], 1), "seed": figures["seed"],
            "continued_from": {"id": manifest["id"], "version": manifest["version"], **before},
            "continuation": figures}


DATA = [
    {"name": "chaos-ct3", "licence": "CC BY-SA 4.0", "role": "healthy liver (expert), organs (machine)",
     "own_training_case": True},
    {"name": "crlm-1004", "licence": "CC BY 4.0", "role": "pseudo-labels of machine masks", "own_training_case": True},
    {"name": "lits-117", "licence": "MIT package data; scan from LiTS/MSD", "role": "liver and tumours (expert)",
     "own_training_case": True},
    {"name": "totalsegmentator-example", "licence": "Apache-2.0", "role": "organs (machine), non-contrast, weak",
     "own_training_case": True},
    {"name": "phantoms", "licence": "generated", "role": "synthetic patients, all lesion types",
     "own_training_case": True},
]


# Of an engine that has seen phantoms alone, and of the one that has seen patients.
NOTES = ["trained on synthetic patients alone; figures on real ones say nothing",
         "chaos-ct3, crlm-1004 and lits-117 are its own training cases; figures on them say nothing about other patients"]


def about(engine):
    """Licence, phases and slices of an engine, as its manifest has them."""
    if engine in PHANTOM_PHASES:
        return {"licence": "Apache-2.0 (trained on generated data)", "phases": list(PHANTOM_PHASES[engine]),
                "trained_for": {"slice_mm": [4.0, 6.0]}}
    return {"licence": "CC BY-SA 4.0 (trained in part on CHAOS, CC BY-SA 4.0)", "phases": ["vp"],
            "trained_for": {"slice_mm": [2.0, 5.0]}}


def data_of(engine):
    return DATA[-1:] if engine in PHANTOM_PHASES else DATA


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--run", required=True, type=Path)
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--version", required=True, type=int)
    parser.add_argument("--engine", default="venous-demo", choices=["venous-demo", *PHANTOM_PHASES])
    parser.add_argument("--created", default="2026-11-23")
    parser.add_argument("--gain", type=float, default=100.0, help="lesion gain of the high-sensitivity view")
    parser.add_argument("--base-gain", type=float, default=1.0, help="lesion gain of the base view")
    parser.add_argument("--after", type=Path, help="bundle whose networks were continued, or are kept")
    parser.add_argument("--keep", nargs="*", default=[], choices=list(PLANS), help="networks taken from --after")
    parser.add_argument("--teacher", default="", help="what chose among classes that labels do not tell apart")
    parser.add_argument("--phantom-seeds", default="", help="which phantom seeds were trained on, for the manifest")
    args = parser.parse_args()
    args.bundle.mkdir(parents=True, exist_ok=True)
    networks, figures = {}, {}
    if args.keep and not args.after:
        parser.error("--keep needs --after")
    for name in PLANS:
        if name in args.keep:
            networks[name], figures[name] = kept_network(name, args.after, args.bundle)
            continue
        networks[name], figures[name] = export_network(name, plans_of(args.engine)[name], args.run, args.bundle)
        if args.after:
            figures[name] = continued(figures[name], args.after, name)
    manifest = {
        "format": "hepalert-engine", "format_version": 3, "id": args.engine, "version": args.version,
        "created": args.created, "intended_use": "demonstration only", **about(args.engine),
        # Patients and phantoms are read as axial DICOM series store them: to the left, the back, the head.
        "orientation": "LPS", "fusion": "logits", "lesion_gain": {"base": args.base_gain, "high": args.gain},
        "networks": networks,
        "training": {"data": data_of(args.engine), "iterations": sum(f["iterations"] for f in figures.values()),
                     "seed": figures["segment"]["seed"],
                     "minutes": round(sum(f["minutes"] for f in figures.values()), 1),
                     "per_network": figures, "phantom_seeds": args.phantom_seeds,
                     **({"teacher": args.teacher} if args.teacher else {}),
                     "notes": NOTES[args.engine not in PHANTOM_PHASES]}}
    (args.bundle / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["nnunet"]:
        import nnunet_import
        nnunet_import.main(sys.argv[2:])
    else:
        main()
