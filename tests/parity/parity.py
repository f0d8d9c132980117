"""hepalert's first stage against nnU-Net v2's own predictor, voxel by voxel.

    python tests/parity/parity.py --hepalert target/release/hepalert [--json OUT.json] [--only WORD] [--data DIR]

Every case is a results folder that nnU-Net's own code built and saved (see models.py), imported by
engines/recipe/export.py, and run by both on the same file: nnU-Net with its own reader, predictor,
postprocessing and writer, on the CPU, in f32; hepalert by `hepalert segment`. Labels must agree on
99.995 % of voxels, and both files must lie in the same place. Exit code 1 if any case falls short.
`--also BACKEND:PRECISION` adds a column, such as openvino:bf16, that is printed but not judged.
Needs nnunetv2, onnx, onnxruntime; see engines/recipe/requirements-parity.txt.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("nnUNet_def_n_proc", "1")
for name in ("raw", "preprocessed", "results"):
    os.environ.setdefault(f"nnUNet_{name}", tempfile.gettempdir())

import nibabel
import numpy as np
import torch

import models
import volumes
from models import Model

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engines/recipe"))
import nnunet_import

BAR = 0.99995
PHASES = {1: ["vp"], 4: ["nc", "ap", "vp", "dp"]}
TORCH = "resample_torch_fornnunet"
RESIDUAL = "ResidualEncoderUNet"


@dataclass(frozen=True)
class Case:
    name: str
    model: Model
    shape: tuple = (17, 61, 53)
    spacing: tuple = (4.0, 0.9, 0.8)
    orientation: str = "lps"
    padding: int = 0


PLAIN = Model()
CUBE = Model(plan="isotropic")
ISO = {"shape": (37, 41, 43), "spacing": (2.0, 1.3, 1.2)}
CASES = [
    Case("plain, anisotropic, 1 channel", PLAIN),
    Case("plain, anisotropic, 4 channels", replace(PLAIN, channels=4)),
    Case("plain, isotropic, 1 channel", CUBE, **ISO),
    Case("plain, isotropic, 4 channels", replace(CUBE, channels=4), **ISO),
    Case("residual, anisotropic, 1 channel", replace(PLAIN, kind=RESIDUAL)),
    Case("residual, anisotropic, 4 channels", replace(PLAIN, kind=RESIDUAL, channels=4)),
    Case("residual, isotropic, 1 channel", replace(CUBE, kind=RESIDUAL), **ISO),
    Case("residual, isotropic, 4 channels", replace(CUBE, kind=RESIDUAL, channels=4), **ISO),
    Case("smaller than the patch", PLAIN, shape=(5, 23, 19)),
    Case("smaller than the patch, isotropic", CUBE, shape=(7, 11, 29), spacing=(2.0, 1.3, 1.2)),
    Case("already at the network's spacing", PLAIN, shape=(13, 47, 37), spacing=(3.2, 1.0, 1.0)),
    Case("padded with zeros", PLAIN, shape=(23, 67, 59), padding=4),
    Case("ratio just below 3", CUBE, shape=(19, 59, 61), spacing=(2.99, 1.0, 1.0)),
    Case("ratio just above 3", CUBE, shape=(19, 59, 61), spacing=(3.01, 1.0, 1.0)),
    Case("torch resampling, anisotropic", replace(PLAIN, resampling=TORCH)),
    Case("torch resampling, isotropic", replace(CUBE, resampling=TORCH), **ISO),
    Case("mirrored over all axes", replace(PLAIN, mirror=(0, 1, 2))),
    Case("three folds", replace(PLAIN, folds=3)),
    Case("three folds, mirrored", replace(PLAIN, folds=3, mirror=(1, 2))),
    Case("regions", replace(PLAIN, regions=True)),
    Case("regions, torch resampling", replace(PLAIN, regions=True, resampling=TORCH)),
    Case("postprocessing", replace(PLAIN, postprocessing=([1, 2, 3], 2))),
    Case("z-score", replace(PLAIN, norm="ZScoreNormalization", channels=4)),
    Case("z-score of the nonzero", replace(PLAIN, norm="ZScoreNormalization", channels=4, masked=True), padding=4),
    Case("NibabelIO", replace(PLAIN, reader="NibabelIO"), orientation="las"),
    Case("reoriented, LPS", replace(PLAIN, reader="NibabelIOWithReorient"), padding=3),
    Case("reoriented, coronal", replace(PLAIN, reader="NibabelIOWithReorient"), shape=(53, 17, 61),
         spacing=(0.9, 4.0, 0.8), orientation="coronal"),
    Case("reoriented, oblique", replace(PLAIN, reader="NibabelIOWithReorient"), orientation="oblique"),
    Case("oblique, as stored", PLAIN, orientation="oblique"),
    Case("transposed", replace(PLAIN, transpose=(1, 0, 2)), shape=(53, 17, 61), spacing=(0.9, 4.0, 0.8)),
    Case("plans without architecture", replace(PLAIN, old_plans=True)),
]


def nnunet(results, images, out):
    """nnU-Net's whole way from files to a file."""
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.postprocessing import remove_connected_components as postprocessing
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    folds = tuple(sorted(int(path.name[5:]) for path in results.glob("fold_*")))
    predictor.initialize_from_trained_model_folder(str(results), folds)
    predictor.use_mirroring = predictor.allowed_mirroring_axes is not None
    reader = predictor.plans_manager.image_reader_writer_class()
    image, properties = reader.read_images([str(path) for path in images])
    labels = predictor.predict_single_npy_array(image, properties, None, None, False)
    steps = results / "postprocessing.json"
    if steps.is_file():
        found = json.loads(steps.read_text())
        functions = [getattr(postprocessing, name) for name in found["postprocessing_fns"]]
        labels = postprocessing.apply_postprocessing(labels, functions, found["postprocessing_kwargs"])
    reader.write_seg(np.asarray(labels), str(out), properties)


def import_bundle(results, bundle, phases):
    nnunet_import.main([str(results), "--bundle", str(bundle), "--id", "parity", "--phases", ",".join(phases)])


def run(words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


def in_f32(bundle, copy):
    """The same bundle with sums in f32: not nnU-Net's, but nearer to the network."""
    copy.mkdir()
    for path in bundle.iterdir():
        if path.name != "manifest.json":
            os.link(path, copy / path.name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["networks"]["segment"]["sums"] = "f32"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def hepalert(args, bundle, images, phases, out, extra=()):
    words = [str(args.hepalert), "segment", "--engine", str(bundle), "--out", str(out), *extra]
    for phase, path in zip(phases, images):
        words += ["--phase", f"{phase}={path}"]
    started = time.time()
    run(words)
    return time.time() - started


def compare(expected, found):
    """(share of equal voxels, number of different ones); the two files must lie in one place."""
    a, b = nibabel.load(expected), nibabel.load(found)
    if a.shape != b.shape or not np.allclose(a.affine, b.affine, atol=1e-3):
        raise SystemExit(f"{found}: not in the place of nnU-Net's file\n{a.affine}\n{b.affine}")
    differ = np.asanyarray(a.dataobj) != np.asanyarray(b.dataobj)
    return 1 - float(differ.mean()), int(differ.sum())


def judge(args, work, name, results, images, channels):
    """One line of the table."""
    phases = PHASES[channels]
    bundle = work / "bundle"
    import_bundle(results, bundle, phases)
    started = time.time()
    nnunet(results, images, work / "nnunet.nii.gz")
    line = {"case": name, "nnunet_s": round(time.time() - started, 2)}
    line["hepalert_s"] = round(hepalert(args, bundle, images, phases, work / "f16.nii.gz"), 2)
    line["agreement"], line["differ"] = compare(work / "nnunet.nii.gz", work / "f16.nii.gz")
    hepalert(args, in_f32(bundle, work / "bundle-f32"), images, phases, work / "f32.nii.gz")
    line["agreement_f32_sums"] = compare(work / "nnunet.nii.gz", work / "f32.nii.gz")[0]
    labels = np.asanyarray(nibabel.load(work / "nnunet.nii.gz").dataobj)
    line["voxels"], line["foreground"] = labels.size, int((labels > 0).sum())
    for other in args.also:
        backend, precision = other.split(":")
        hepalert(args, bundle, images, phases, work / "also.nii.gz", ["--backend", backend, "--precision", precision])
        line[other] = compare(work / "nnunet.nii.gz", work / "also.nii.gz")[0]
    line["good"] = line["agreement"] >= BAR
    return line


def synthetic(args, case):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models.write(case.model, work / "results")
        images = volumes.write(work, "scan", 7, case.shape, case.spacing, case.model.channels, case.orientation,
                               case.padding)
        return judge(args, work, case.name, work / "results", images, case.model.channels)


REAL = {"crlm-1004": "crlm-1004/ct.nii.gz", "chaos-ct3": "chaos-ct3/ct.nii.gz",
        "totalsegmentator-example": "totalsegmentator-example/example_ct.nii.gz"}


def real(args, name):
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        models.trained(ROOT / "engines/venous-demo", work / "results")
        return judge(args, work, f"venous-demo on {name}", work / "results", [args.data / REAL[name]], 1)


def row(line, also):
    shares = [line["agreement"], line["agreement_f32_sums"], *(line[other] for other in also)]
    cells = [line["case"], str(line["voxels"]), str(line["foreground"]), str(line["differ"]),
             *(f"{100 * share:.5f}" for share in shares), f"{line['nnunet_s']:.1f}", f"{line['hepalert_s']:.1f}",
             "yes" if line["good"] else "NO"]
    return "| " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--hepalert", type=Path, default=ROOT / "target/release/hepalert")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--no-real", action="store_true", help="leave real CT out")
    parser.add_argument("--also", action="append", default=[], metavar="BACKEND:PRECISION")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    head = ["case", "voxels", "foreground", "differ", "equal %", "f32 sums %", *args.also, "nnU-Net s", "hepalert s",
            f">= {100 * BAR} %"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    jobs = [(case.name, lambda case=case: synthetic(args, case)) for case in CASES]
    if not args.no_real:
        there = [name for name in REAL if (args.data / REAL[name]).is_file()]
        for name in set(REAL) - set(there):
            print(f"skipped: no {name} in {args.data}", file=sys.stderr)
        jobs += [(f"venous-demo on {name}", lambda name=name: real(args, name)) for name in there]
    lines = []
    for name, job in jobs:
        if args.only and args.only not in name:
            continue
        with open(os.devnull, "w") as silence:
            out, sys.stdout = sys.stdout, silence
            try:
                line = job()
            finally:
                sys.stdout = out
        lines.append(line)
        print(row(line, args.also), flush=True)
    if args.json:
        args.json.write_text(json.dumps({"bar": BAR, "cases": lines}, indent=1) + "\n")
    short = [line["case"] for line in lines if not line["good"]]
    if short or not lines:
        raise SystemExit(f"below the bar: {', '.join(short) or 'nothing was compared'}")


if __name__ == "__main__":
    main()
