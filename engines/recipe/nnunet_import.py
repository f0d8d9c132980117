"""Turns an nnU-Net v2 results folder into an engine bundle.

    python export.py nnunet RESULTS_FOLDER --bundle OUT --id my-liver --phases vp

RESULTS_FOLDER holds plans.json, dataset.json and fold_*/checkpoint_final.pth. One ONNX file per
fold, its golden logits, and the manifest. What hepalert cannot run is refused by name. The bundle
appears whole or not at all.
"""

import argparse
import json
import shutil
from datetime import date, timezone, datetime
from pathlib import Path

import torch

import centre
import nnunet_merge
import nnunet_network as networks
import nnunet_plans as plans_of
import nnunet_winograd
from bundle_files import described
from nnunet_plans import Refused

PHASES = (["nc"], ["vp"], ["nc", "ap", "vp", "dp"])


def found_folds(folder, checkpoint):
    """Numbered folds that have the checkpoint; `fold_all` only where there is no other."""
    names = [path.name[5:] for path in sorted(folder.glob("fold_*")) if (path / checkpoint).is_file()]
    numbered = sorted((name for name in names if name.isdigit()), key=int)
    if numbered or names == ["all"]:
        return numbered or names
    raise Refused(f"{folder}: no fold_*/{checkpoint}; name the file with --checkpoint")


def read_folds(folder, folds, args):
    """Checkpoints of all folds, which must come from one trainer and one configuration."""
    read = [networks.read_checkpoint(folder / f"fold_{fold}" / args.checkpoint, args.trust_checkpoint) for fold in folds]
    first = facts(read[0])
    for fold, checkpoint in zip(folds, read):
        if facts(checkpoint) != first:
            raise Refused(f"fold {fold} says {facts(checkpoint)}, fold {folds[0]} says {first}: export them apart")
    return read, first


def facts(checkpoint):
    """What only the checkpoint knows."""
    axes = checkpoint.get("inference_allowed_mirroring_axes")
    return {"trainer": checkpoint["trainer_name"], "configuration": checkpoint["init_args"]["configuration"],
            "mirror_axes": sorted(int(axis) for axis in axes or ())}


def rewritten(model, args, image, channels, patch):
    """What is written: the same map as `model`, which is used up, computed otherwise."""
    centre.centre(model, image)
    graph = nnunet_merge.Merged(model, patch).eval() if args.merge_upsampling else model
    if args.winograd and not nnunet_winograd.across_slices(graph, channels, patch, args.winograd):
        raise Refused(f"--winograd {args.winograd}: no convolution has three taps across a multiple of four slices and "
                      "so many channels: leave it away, or give a smaller number")
    return graph


def write_folds(out, network, image, rewrite, architecture, folds, checkpoints, paths):
    """One ONNX file and one file of golden logits of `image` per fold; fills in `files` and `golden`."""
    channels, patch, heads = network["channels"], network["patch"], len(network["classes"])
    image.tofile(out / "segment.golden-in.f32")
    stride = networks.golden_stride(heads, patch)
    files, expected = [], []
    for fold, checkpoint, path in zip(folds, checkpoints, paths):
        model = networks.build(*architecture, channels, heads)
        networks.load(model, checkpoint["network_weights"], path)
        name = f"segment.fold-{fold}"
        with torch.no_grad():
            logits = model(torch.from_numpy(image)[None]).numpy()
        networks.export(rewrite(model), channels, patch, out / f"{name}.onnx")
        worst, agree = networks.compare_with_onnxruntime(out / f"{name}.onnx", image, logits)
        sampled = logits[0, :, :: stride[0], :: stride[1], :: stride[2]]
        sampled.astype("<f4").tofile(out / f"{name}.golden-out.f32")
        files.append(described(out, f"{name}.onnx"))
        expected.append(described(out, f"{name}.golden-out.f32"))
        print(f"fold {fold}: onnxruntime equals torch within {worst:.1e}, best class on {100 * agree:.3f} % of voxels")
    network["files"] = files
    network["golden"] = {"input": described(out, "segment.golden-in.f32"), "expected": expected, "stride": stride}


def manifest(args, network, source):
    return {
        "format": "hepalert-engine", "format_version": 2, "id": args.id, "version": args.version,
        "created": args.created, "intended_use": args.intended_use, "licence": args.licence,
        "phases": args.phases, "fusion": args.fusion, "lesion_gain": {"base": 1.0, "high": args.high_gain},
        "networks": {"segment": network}, "training": {"nnunet": source}}


def convert(args, out):
    folder = args.results
    plans, dataset = plans_of.read_json(folder / "plans.json"), plans_of.read_json(folder / "dataset.json")
    folds = args.folds or found_folds(folder, args.checkpoint)
    checkpoints, known = read_folds(folder, folds, args)
    network, config = plans_of.describe(plans, dataset, known["configuration"])
    if len(args.phases) != network["channels"]:
        raise Refused(f"the network has {network['channels']} channels, --phases names {len(args.phases)}")
    if args.fusion == "probabilities" and "regions_class_order" in network:
        raise Refused("--fusion probabilities: regions are painted from logits; leave it at logits")
    network |= {"mirror_axes": known["mirror_axes"], "tile_step": args.tile_step, "sums": args.sums}
    kind, arguments = plans_of.architecture(config)
    paths = [folder / f"fold_{fold}" / args.checkpoint for fold in folds]
    size = network["channels"], network["patch"]
    image = networks.golden_from(args.golden, *size) if args.golden else networks.golden_input(*size)
    write_folds(out, network, image, lambda model: rewritten(model, args, image, *size), (kind, arguments), folds,
                checkpoints, paths)
    steps = None
    if args.postprocessing != "none":
        steps = args.postprocessing or plans_of.find_postprocessing(folder, folds)
    if steps:
        network["postprocessing"] = plans_of.postprocessing(steps)
    source = {**known, "folds": folds, "checkpoint": args.checkpoint, "plans_name": plans.get("plans_name"),
              "dataset_name": plans.get("dataset_name"), "architecture": kind, "opset": networks.OPSET,
              "precision": "f32", "torch": torch.__version__.split("+")[0],
              "merged_upsampling": args.merge_upsampling, "winograd": args.winograd,
              "channel_names": dataset.get("channel_names", dataset.get("modality")),
              "postprocessing": Path(steps).name if steps else None}
    (out / "manifest.json").write_text(json.dumps(manifest(args, network, source), indent=1) + "\n")


def parser():
    made = argparse.ArgumentParser(prog="export.py nnunet", description=__doc__,
                                   formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("results", type=Path, metavar="RESULTS_FOLDER")
    made.add_argument("--bundle", required=True, type=Path, help="folder to make; must not exist")
    made.add_argument("--id", required=True, help="name of the engine: a-z, 0-9 and -")
    made.add_argument("--phases", required=True, type=lambda text: text.split(","),
                      help="phase of every channel, in order: nc, vp or nc,ap,vp,dp")
    made.add_argument("--folds", nargs="+", help="folds to take [default: all numbered ones]")
    made.add_argument("--checkpoint", default="checkpoint_final.pth")
    made.add_argument("--trust-checkpoint", action="store_true",
                      help="read checkpoints that hold more than weights; runs what is in them")
    made.add_argument("--postprocessing", help="postprocessing.json or .pkl, or `none` [default: the model's own]")
    made.add_argument("--tile-step", type=float, default=0.5)
    made.add_argument("--sums", choices=("f16", "f32"), default="f16", help="f16 rounds as nnU-Net does")
    made.add_argument("--fusion", choices=("logits", "probabilities"), default="logits",
                      help="what is averaged: logits as in nnU-Net v2, or probabilities as in v1")
    made.add_argument("--merge-upsampling", action="store_true",
                      help="same network, fewer multiplications: an eighth faster by OpenVINO; not tried on a GPU")
    made.add_argument("--winograd", type=int, nargs="?", const=nnunet_winograd.LEAST_CHANNELS, metavar="CHANNELS",
                      help="same network, half the multiplications of three-dimensional convolutions of so many "
                           f"channels\nand more [{nnunet_winograd.LEAST_CHANNELS}]: a tenth faster by OpenVINO; for f32 "
                           "only; not tried on a GPU")
    made.add_argument("--high-gain", type=float, default=100.0)
    made.add_argument("--golden", type=Path, metavar="IMAGE.npy",
                      help="a preprocessed image, whose middle is stored as the golden patch [default: made up]")
    made.add_argument("--version", type=int, default=1)
    made.add_argument("--created", default=datetime.now(timezone.utc).date().isoformat())
    made.add_argument("--intended-use", default="not stated")
    made.add_argument("--licence", default="not stated")
    return made


def main(words):
    args = parser().parse_args(words)
    if args.phases not in PHASES:
        raise Refused(f"--phases {','.join(args.phases)}: give nc, vp or nc,ap,vp,dp")
    if args.bundle.exists():
        raise Refused(f"{args.bundle}: exists; choose a folder that does not")
    date.fromisoformat(args.created)
    partial = args.bundle.with_name(args.bundle.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        convert(args, partial)
        partial.rename(args.bundle)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{args.bundle}: written; try it with `hepalert engine selftest {args.bundle}`")
