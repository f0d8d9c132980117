"""hepalert's first stage against nnU-Net's own predictor, voxel by voxel.

    python tests/parity/parity.py --hepalert target/release/hepalert [--json OUT.json] [--only WORD] [--data DIR]

Every case is a results folder that nnU-Net's own code built and saved (see models.py), imported by
engines/recipe/export.py, and run by both on the same file: nnU-Net with its own reader, predictor,
postprocessing and writer, on the CPU, in f32; hepalert by `hepalert segment`. Labels must agree on
99.995 % of voxels, and both files must lie in the same place. `--skip-air` must change no voxel.
Exit code 1 if any case falls short. `--results FOLDER --image CT.nii.gz` does so with your own model;
of its postprocessing nnU-Net's side knows only a postprocessing.json beside plans.json.

Cases `v1:` compare fusion `probabilities` with nnU-Net v1 (see peers.py). They need
`pip install --no-deps nnunet==1.7.1` and are left out without it.

Printed beside the bar, not judged:
- other rule: v2's cases with sums in f32, which nnU-Net rounds to f16; v1's cases with fusion `logits`.
- air: tiles run of all with `--skip-air`, and voxels that it changed.
- all real CT: Dice of every class over the voxels of the real scans together, per backend and precision.
- BACKEND:PRECISION: agreement with nnU-Net, and the lowest Dice of a class, and which, against
  hepalert's own labels in f32. OpenVINO in f32 and bf16, where it is there and the processor has bf16;
  `--also BACKEND:PRECISION` names others instead. "refused" is an engine that fails its golden patch so. That patch is
  the middle of the case's own image, or made up by the importer where a patch does not fit into it.

Needs nnunetv2, onnx, onnxruntime; see engines/recipe/requirements-parity.txt.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import nibabel
import numpy as np
import torch

import models
import ours
import peers
import volumes
from cases import CASES, REAL, V1

BAR = 0.99995
ON_REAL = "venous-demo on "
USUAL = ["openvino:f32", "openvino:bf16"]


def read(path, place):
    """The labels of a file, which must lie where `place` lies."""
    found, asked = nibabel.load(path), nibabel.load(place)
    if found.shape != asked.shape or not np.allclose(found.affine, asked.affine, atol=1e-3):
        raise SystemExit(f"{path}: not in the place of nnU-Net's file\n{found.affine}\n{asked.affine}")
    return np.asanyarray(found.dataobj)


def agreement(a, b):
    return 1 - float((a != b).mean())


def dice(a, b):
    """Dice of every class but the background that either has, how many voxels each has of it, and both at one place."""
    found = {}
    for label in (int(label) for label in np.union1d(np.unique(a), np.unique(b)) if label > 0):
        counts, common = (int((a == label).sum()), int((b == label).sum())), int(((a == label) & (b == label)).sum())
        found[label] = {"dice": 2 * common / sum(counts), "voxels": counts, "common": common}
    return found


def pooled(lines, name):
    """Dice of every class over the voxels of all these scans together, for one backend and precision."""
    sums = {}
    for line in lines:
        for label, found in line["also"][name].get("classes", {}).items():
            common, counted = sums.get(label, (0, 0))
            sums[label] = common + found["common"], counted + sum(found["voxels"])
    return {label: {"dice": 2 * common / counted, "changed": counted - 2 * common, "voxels": counted // 2}
            for label, (common, counted) in sorted(sums.items())}


def other_rule(manifest):
    """Turns a manifest's rule of summing into the one that is not the peer's."""
    if manifest["fusion"] == V1:
        manifest["fusion"] = "logits"
    else:
        manifest["networks"]["segment"]["sums"] = "f32"


def without_air(study, work, labels):
    """What `--skip-air` saves and changes."""
    said = study.segment(work / "air.nii.gz", "--skip-air")
    found = read(work / "air.nii.gz", work / "f32.nii.gz")
    return {"tiles": said["tiles"], "tiles_run": said["tiles_run"], "differ": int((found != labels).sum())}


def otherwise(study, work, name, expected, labels):
    """What another backend or precision changes."""
    backend, precision = name.split(":")
    out = work / f"{backend}-{precision}.nii.gz"
    try:
        said = study.segment(out, "--backend", backend, "--precision", precision)
    except ours.Unusable as reason:
        return {"refused": str(reason)}
    found = read(out, work / "f32.nii.gz")
    return {"agreement": agreement(found, expected), "classes": dice(found, labels), "process_s": said["process_s"]}


def judge(args, work, name, results, images, fusion="logits", importer=()):
    """One line of the table: a results folder on the files of a scan, one per channel."""
    peer = work / "nnunet.nii.gz"
    golden = peers.golden(results, images, work / "image.npy")
    ours.import_bundle(results, work / "bundle", len(images), fusion, golden, importer)
    started = time.time()
    (peers.nnunet_v1 if fusion == V1 else peers.nnunet)(results, images, peer)
    line = {"case": name, "nnunet_s": time.time() - started}
    study = ours.Study(args.hepalert, work / "bundle", tuple(images))
    said = study.segment(work / "f32.nii.gz")
    expected, labels = read(peer, peer), read(work / "f32.nii.gz", peer)
    line |= {"hepalert_s": said["process_s"], "voxels": labels.size, "foreground": int((expected > 0).sum()),
             "agreement": agreement(labels, expected), "differ": int((labels != expected).sum())}
    other = ours.Study(args.hepalert, ours.changed(work / "bundle", work / "other", other_rule), study.images)
    other.segment(work / "other.nii.gz")
    line["other_rule"] = agreement(read(work / "other.nii.gz", peer), expected)
    line["air"] = without_air(study, work, labels)
    line["also"] = {name: otherwise(study, work, name, expected, labels) for name in args.also}
    line["good"] = line["agreement"] >= BAR and line["air"]["differ"] == 0
    return line


def synthetic(args, case):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models.write(case.model, work / "results")
        images = volumes.write(work, "scan", 7, case)
        return judge(args, work, case.name, work / "results", images, case.fusion, case.importer)


def real(args, name):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models.trained(ours.ROOT / "engines/venous-demo", work / "results")
        return judge(args, work, ON_REAL + name, work / "results", [args.data / REAL[name]])


def own(args):
    with tempfile.TemporaryDirectory() as folder:
        name = f"{args.results.name} on {args.image[0].name}"
        return judge(args, Path(folder), name, args.results, args.image)


def cells_of(found):
    """The cells of one backend and precision."""
    if "refused" in found:
        return ["refused", "-"]
    worst = min(found["classes"].items(), key=lambda item: item[1]["dice"], default=None)
    least = f"{worst[1]['dice']:.5f} ({worst[0]})" if worst else "-"
    return [f"{100 * found['agreement']:.5f}", least]


def row(line):
    air = line["air"]
    cells = [line["case"], str(line["voxels"]), str(line["foreground"]), str(line["differ"]),
             f"{100 * line['agreement']:.5f}", f"{100 * line['other_rule']:.5f}",
             f"{air['tiles_run']}/{air['tiles']}, {air['differ']}"]
    for found in line["also"].values():
        cells += cells_of(found)
    cells += [f"{line['nnunet_s']:.1f}", f"{line['hepalert_s']:.1f}", "yes" if line["good"] else "NO"]
    return "| " + " | ".join(cells) + " |"


def head(also):
    cells = ["case", "voxels", "foreground", "differ", "equal %", "other rule %", "air"]
    for name in also:
        cells += [f"{name} equal %", "least Dice"]
    cells += ["nnU-Net s", "hepalert s", f">= {100 * BAR} %"]
    return "| " + " | ".join(cells) + " |\n|" + "---|" * len(cells)


def jobs(args):
    """(name, function) of every case that can be run here; says which are left out."""
    if args.results:
        return [(args.results.name, lambda: own(args))]
    chosen = [case for case in CASES if case.fusion != V1 or peers.v1_is_there()]
    if len(chosen) < len(CASES):
        print("left out: cases of v1; try `pip install --no-deps nnunet==1.7.1`", file=sys.stderr)
    made = [(case.name, lambda case=case: synthetic(args, case)) for case in chosen]
    for name in () if args.no_real else REAL:
        if (args.data / REAL[name]).is_file():
            made.append((ON_REAL + name, lambda name=name: real(args, name)))
        else:
            print(f"left out: no {name} in {args.data}", file=sys.stderr)
    return [(name, job) for name, job in made if not args.only or args.only in name]


def usual(program):
    """The backends and precisions that can be tried here."""
    ours.find_openvino()
    reasons = {name: ours.why_not(program, *name.split(":")) for name in USUAL}
    for name, reason in reasons.items():
        if reason:
            print(f"left out: {name}: {reason}", file=sys.stderr)
    return [name for name, reason in reasons.items() if reason is None]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hepalert", type=Path, default=ours.ROOT / "target/release/hepalert")
    parser.add_argument("--data", type=Path, default=ours.ROOT.parent / "shared/data")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--no-real", action="store_true", help="leave real CT out")
    parser.add_argument("--also", action="append", metavar="BACKEND:PRECISION",
                        help=f"[default: of {' and '.join(USUAL)} what runs here]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--results", type=Path, help="instead of all cases: your own results folder, on --image")
    parser.add_argument("--image", type=Path, action="append", default=[], help="its scan, one file per channel")
    args = parser.parse_args()
    if args.results and len(args.image) not in ours.PHASES:
        parser.error("--results needs --image, once per channel: 1 or 4")
    return args


def main():
    args = arguments()
    args.also = usual(args.hepalert) if args.also is None else args.also
    torch.set_num_threads(1)
    print(head(args.also), flush=True)
    lines = []
    for name, job in jobs(args):
        with peers.silence():
            lines.append(job())
        print(row(lines[-1]), flush=True)
    scans = [line for line in lines if line["case"].startswith(ON_REAL)]
    together = {name: pooled(scans, name) for name in args.also}
    for name, classes in together.items():
        for label, found in classes.items():
            print(f"all real CT, {name}, class {label}: Dice {found['dice']:.5f}, {found['changed']} changed "
                  f"of {found['voxels']} voxels")
    if args.json:
        args.json.write_text(json.dumps({"bar": BAR, "cases": lines, "real": together}, indent=1) + "\n")
    short = [line["case"] for line in lines if not line["good"]]
    if short or not lines:
        raise SystemExit(f"below the bar: {', '.join(short) or 'nothing was compared'}")


if __name__ == "__main__":
    main()
