"""Compares `hepalert segment` with nnU-Net v2's own predictor: same machine, weights and study.

    compare_nnunet.py [--slices 60] [--rounds 1] [--json]
    compare_nnunet.py --slices 30,60,120,240        hepalert alone: does time grow with slices?

Needs engines/recipe/requirements-parity.txt; the rows of OpenVINO need `pip install openvino` too,
in the same Python. Everything is made here: a synthetic CT of four phases, 512 x 512,
0.75 x 0.75 x 5 mm, a body with air around; and a U-Net of nnU-Net's kind, 16 to 128 features,
patch 16 x 128 x 128 at 5 x 0.8 x 0.8 mm, 14 classes, no mirroring. Its weights are random, but for
one channel and the last layer: they tell what is dark in a patch from what is bright, in a noisy
image, so near ties are many and labels that agree mean something. How bf16 does on a trained
network, this does not say.

Both run by turns, each in a process of its own. nnU-Net is timed by wrapping its functions;
hepalert says its own. `study` is from reading to the written label map, without starting Python,
importing torch or loading engines; `process` is all of it. `network` is the time the network is at
work, `rest` is everything outside of it. `GFLOP/s` are products and sums of the network's convolutions as they
are defined, by `network`; Winograd's filters do fewer, so a share of what the machine can at most (measured at
the beginning of every round, the best counts) may pass 100 %. `cores` is processor time by wall time of the whole
process: how many were busy. Bundles for OpenVINO are imported with merged upsampling, those for
f32 with Winograd's filters too; the built-in engine has such filters of its own and takes the plain network.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "engines/recipe"), str(ROOT / "tests/parity")]

PATCH, SPACING, CLASSES = (16, 128, 128), (5.0, 0.8, 0.8), 14
KERNELS = [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]]
STRIDES = [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2]]
FEATURES = [16, 32, 64, 128, 128]
PHASES = {"nc": 0.0, "ap": 0.6, "vp": 1.0, "dp": 0.7}
HU = {"mean": 60.0, "std": 60.0, "percentile_00_5": -160.0, "percentile_99_5": 300.0}
ROWS = [("native", "f32"), ("native", "bf16"), ("openvino", "f32"), ("openvino", "bf16")]
# How the importer is asked to rewrite the network: for precisions of OpenVINO, and for all others.
GRAPHS = {"f32": ["--merge-upsampling", "--winograd"], "bf16": ["--merge-upsampling"], "plain": []}
STAGES = ["read", "preprocess", "network", "blend", "resample", "write"]


def abdomen(shape, spacing, enhancement, seed):
    """Hounsfield units of an oval body with fat, muscle, organs, vessels and a spine, in air."""
    z, y, x = (np.arange(n, dtype=np.float32) * s for n, s in zip(shape, spacing))
    z, y, x = z[:, None, None] - z.mean(), y[None, :, None] - y.mean(), x[None, None, :] - x.mean()

    def oval(cz, cy, cx, rz, ry, rx):
        return ((z - cz) / rz) ** 2 + ((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 < 1

    hu = np.full(shape, -1000.0, np.float32)
    everywhere = 1e4
    parts = [(-100, oval(0, 0, 0, everywhere, 115, 160)), (50, oval(0, 0, 0, everywhere, 100, 145)),
             (55 + 60 * enhancement, oval(10, -15, -60, 90, 75, 75)),
             (50 + 70 * enhancement, oval(0, 40, 95, 60, 35, 30)),
             (35 + 130 * enhancement, oval(-40, 45, -70, 60, 25, 25)),
             (35 + 130 * enhancement, oval(-40, 45, 70, 60, 25, 25)),
             (45 + 150 * enhancement, oval(0, 30, 15, everywhere, 11, 11)),
             (400, oval(0, 65, 0, everywhere, 20, 20)),
             (30 + 20 * enhancement, oval(0, -5, -40, 20, 12, 12))]
    for value, where in parts:
        hu[np.broadcast_to(where, shape)] = value
    return hu + np.random.default_rng(seed).normal(0, 8, shape).astype(np.float32)


def make_study(folder, slices):
    """Four NIfTI files `study_0000.nii.gz` on, as scanners write them: 16 bit, compressed."""
    import SimpleITK

    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"study_{i:04d}.nii.gz" for i in range(len(PHASES))]
    for i, (file, enhancement) in enumerate(zip(files, PHASES.values())):
        if not file.exists():
            hu = abdomen((slices, 512, 512), (5.0, 0.75, 0.75), enhancement, i)
            image = SimpleITK.GetImageFromArray(np.clip(hu, -1024, 3071).astype(np.int16))
            image.SetSpacing((0.75, 0.75, 5.0))
            SimpleITK.WriteImage(image, str(file), useCompression=True)
    return files


def normalised(hu):
    hu = np.clip(hu, HU["percentile_00_5"], HU["percentile_99_5"])
    return np.ascontiguousarray((hu - HU["mean"]) / HU["std"], dtype="<f4")


def golden_input():
    """A patch across the skin, half of it air: wide margins, whatever the engine."""
    image = normalised(np.stack([abdomen(PATCH, SPACING, e, 100 + i) for i, e in enumerate(PHASES.values())]))
    image[:, :, :, :48] = normalised(np.float32(-1000))
    return image


def make_network():
    """Random weights, but for one channel and the last layer, which tell dark from bright."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(20261125)
    network = PlainConvUNet(len(PHASES), len(FEATURES), FEATURES, torch.nn.Conv3d, KERNELS, STRIDES,
                            [2] * len(FEATURES), CLASSES, [2] * (len(FEATURES) - 1), **architecture_words(torch)).eval()
    first, last, head = network.encoder.stages[0][0], network.decoder.stages[-1], network.decoder.seg_layers[-1]
    with torch.no_grad():
        # One channel carries the venous phase through; above all zeros, where LeakyReLU is linear.
        taken = [(first.convs[0], list(PHASES).index("vp")), (first.convs[1], 0), (last.convs[0], FEATURES[0]),
                 (last.convs[1], 0)]
        for block, source in taken:
            block.conv.weight[0] = 0.0
            block.conv.weight[0, source, 0, 1, 1] = 1.0
            block.norm.bias[0] = 4.0
        head.weight.zero_()
        head.bias.fill_(-100.0)
        for label, sign in ((0, -1.0), (7, 1.0)):
            head.weight[label, 0] = sign
            head.bias[label] = -sign * 3.2
    return network


def architecture_words(torch):
    return {"conv_bias": True, "norm_op": torch.nn.InstanceNorm3d, "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "nonlin": torch.nn.LeakyReLU, "nonlin_kwargs": {"inplace": True}, "deep_supervision": False}


def plans():
    kwargs = {"force_separate_z": None}
    resampling = "resample_data_or_seg_to_shape"
    named = {"n_stages": len(FEATURES), "features_per_stage": FEATURES, "conv_op": "torch.nn.modules.conv.Conv3d",
             "kernel_sizes": KERNELS, "strides": STRIDES, "n_conv_per_stage": [2] * len(FEATURES),
             "n_conv_per_stage_decoder": [2] * (len(FEATURES) - 1), "conv_bias": True,
             "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
             "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
             "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}}
    full = {"data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
            "patch_size": list(PATCH), "median_image_size_in_voxels": [60, 480, 480], "spacing": list(SPACING),
            "normalization_schemes": ["CTNormalization"] * len(PHASES), "use_mask_for_norm": [False] * len(PHASES),
            "resampling_fn_data": resampling, "resampling_fn_seg": resampling, "resampling_fn_probabilities": resampling,
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, **kwargs},
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, **kwargs},
            "resampling_fn_probabilities_kwargs": {"is_seg": False, "order": 1, "order_z": 0, **kwargs},
            "architecture": {"network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                             "arch_kwargs": named, "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
            "batch_dice": False}
    return {"dataset_name": "Dataset001_Bench", "plans_name": "nnUNetPlans", "image_reader_writer": "SimpleITKIO",
            "original_median_spacing_after_transp": [5.0, 0.75, 0.75],
            "original_median_shape_after_transp": [60, 512, 512], "transpose_forward": [0, 1, 2],
            "transpose_backward": [0, 1, 2], "configurations": {"3d_fullres": full},
            "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {str(i): HU for i in range(len(PHASES))}}


def dataset():
    return {"channel_names": {str(i): "CT" for i in range(len(PHASES))}, "file_ending": ".nii.gz", "numTraining": 1,
            "labels": {"background": 0, **{f"class_{i}": i for i in range(1, CLASSES)}}}


def count_operations(network):
    """Products and sums of all convolutions for one patch."""
    import torch
    from layers import seen

    kinds = (torch.nn.Conv3d, torch.nn.ConvTranspose3d)
    convs = [layer for layer in network.modules() if isinstance(layer, kinds)]

    zeros = torch.zeros(len(PHASES), *PATCH)
    voxels = seen(network, convs, zeros, lambda given, made: (given.shape[2:].numel(), made.shape[2:].numel()))
    # A transposed one is applied to each voxel that enters, another for each that leaves.
    return sum(2 * conv.weight.numel() * (given if isinstance(conv, kinds[1]) else made)
               for conv, (given, made) in voxels.items())


def make_models(results, bundles):
    """The same weights as nnU-Net's results folder and, by the importer, as an engine bundle per precision."""
    import torch

    (results / "fold_0").mkdir(parents=True, exist_ok=True)
    (results / "plans.json").write_text(json.dumps(plans()))
    (results / "dataset.json").write_text(json.dumps(dataset()))
    network = make_network()
    (results / "operations.json").write_text(json.dumps(count_operations(network)))
    torch.save({"network_weights": network.state_dict(), "trainer_name": "nnUNetTrainer",
                "init_args": {"configuration": "3d_fullres"}, "inference_allowed_mirroring_axes": None},
               results / "fold_0" / "checkpoint_final.pth")
    golden = results / "golden.npy"
    np.save(golden, golden_input())
    import nnunet_import

    for precision, bundle in bundles.items():
        shutil.rmtree(bundle, ignore_errors=True)
        words = GRAPHS[precision]
        with contextlib.redirect_stdout(sys.stderr):
            nnunet_import.main([str(results), "--bundle", str(bundle), "--id", "bench", "--phases", ",".join(PHASES),
                                "--golden", str(golden), "--intended-use", "benchmark only", *words])


def bundles_in(work):
    return {name: work / f"bundle-{name}" for name in GRAPHS}


def bundle_for(work, backend, precision, graph=None):
    usual = precision if backend == "openvino" else "plain"
    return bundles_in(work)[graph or usual]


class Clock:
    """Adds up the time spent in wrapped functions."""

    def __init__(self):
        self.seconds = {}

    def wrap(self, owner, name, stage):
        inner = getattr(owner, name)

        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started

        setattr(owner, name, timed)


def child(results, out, threads, files):
    """nnU-Net's predictor on one study, in a process of its own; prints its times."""
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference import export_prediction
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    torch.set_num_threads(threads)
    clock = Clock()
    clock.wrap(SimpleITKIO, "read_images", "read")
    clock.wrap(SimpleITKIO, "write_seg", "write")
    clock.wrap(DefaultPreprocessor, "run_case_npy", "preprocess")
    clock.wrap(export_prediction, "convert_predicted_logits_to_segmentation_with_correct_shape", "convert")
    clock.wrap(nnUNetPredictor, "predict_sliding_window_return_logits", "window")
    clock.wrap(nnUNetPredictor, "_internal_maybe_mirror_and_predict", "network")
    plain = ConfigurationManager.resampling_fn_probabilities.fget

    def resampling(manager):
        inner = plain(manager)

        def timed(*args, **kwargs):
            started = time.perf_counter()
            done = inner(*args, **kwargs)
            clock.seconds["resample"] = time.perf_counter() - started
            return done

        return timed

    ConfigurationManager.resampling_fn_probabilities = property(resampling)
    predictor = nnUNetPredictor(use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"),
                                allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(results, (0,))
    started = time.perf_counter()
    predictor.predict_from_files_sequential([files], [out], save_probabilities=False, overwrite=True)
    study = time.perf_counter() - started
    seconds = clock.seconds
    seconds["blend"] = seconds.pop("window") - seconds["network"]
    # Argmax and putting back into the image count as writing.
    seconds["write"] += seconds.pop("convert") - seconds["resample"]
    print("TIMES " + json.dumps({"study": study, **seconds}))


def measure(command):
    """Runs a command and prints one more line: its wall time, peak memory and exit code."""
    started = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    code = process.returncode = os.waitstatus_to_exitcode(status)
    wall, busy = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    print("\n" + json.dumps([wall, usage.ru_maxrss / 1024, busy / wall, code]), flush=True)


def run(command, environment=None):
    """Wall time, peak memory of the process in MiB, processor time by wall time, and its output.

    Linux counts the peak of whoever starts a process as the process's own. This program's is large, so
    a small one stands between.
    """
    between = [sys.executable, __file__, "--measure", *map(str, command)]
    output = subprocess.run(between, stdout=subprocess.PIPE, text=True, env=environment, check=True).stdout
    output, line = output.rstrip("\n").rsplit("\n", 1)
    wall, memory, cores, code = json.loads(line)
    if code != 0:
        raise SystemExit(f"failed with {code}: {' '.join(map(str, command))}")
    return wall, memory, cores, output


def nnunet(args, files, work):
    out = work / "nnunet-labels"
    words = [sys.executable, __file__, "--child", str(work / "results"), str(out), str(args.threads), *map(str, files)]
    environment = {**os.environ, "nnUNet_def_n_proc": str(args.threads), "OMP_NUM_THREADS": str(args.threads),
                   **{name: str(work) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}}
    wall, memory, cores, output = run(words, environment)
    line = next(line for line in output.splitlines() if line.startswith("TIMES "))
    seconds = json.loads(line[6:])
    return {"name": "nnU-Net", "process": wall, "memory_mib": memory, "cores": cores, "precision": "f32",
            "labels": Path(f"{out}.nii.gz"),
            **seconds, "rest": seconds["study"] - seconds["network"]}


def hepalert(args, files, work, row, skip_air):
    backend, precision, *_ = row
    bundle, out = bundle_for(work, *row), work / f"{'-'.join(row)}{'-air' if skip_air else ''}.nii.gz"
    words = [str(args.hepalert), "--json", "segment", "--engine", str(bundle), "--out", str(out),
             "--backend", backend, "--precision", precision, "--threads", str(args.threads), *args.extra.split()]
    for phase, file in zip(PHASES, files):
        words += ["--phase", f"{phase}={file}"]
    wall, memory, cores, output = run(words + (["--skip-air"] if skip_air else []))
    said = json.loads(output)
    seconds = said["seconds"]
    study = seconds["total"] - seconds["load_engine"]
    found = {stage: seconds[stage] for stage in STAGES if stage in seconds}
    # Finished slices go to the study's grid and are labelled in one step.
    found |= {"resample": seconds["export"]} if "export" in seconds else {}
    found |= {"rest": study - seconds["network"]} if "network" in seconds else {}
    return {"name": f"hepalert {' '.join(row)}" + (", air once" if skip_air else ""), "process": wall,
            "memory_mib": memory, "cores": cores, "precision": precision, "labels": out, "study": study,
            "load_engine": seconds["load_engine"], "tiles": said["tiles"], "tiles_run": said.get("tiles_run", said["tiles"]), **found}


def can_skip_air(program):
    return "--skip-air" in subprocess.run([program, "segment", "--help"], capture_output=True, text=True).stdout


def rows(args):
    chosen = [tuple(row.split(":")) for row in args.rows.split(",")] if args.rows else ROWS
    import ours

    there = ours.find_openvino()
    missing = [row for row in chosen if row[0] == "openvino" and not there]
    if missing:
        print("OpenVINO is not in this Python: its rows are left out", file=sys.stderr)
    air = (False, True) if can_skip_air(args.hepalert) and not args.no_air else (False,)
    return [(row, skip) for row in chosen if row not in missing for skip in air]


def agreement(ours, theirs):
    """Share of equal voxels, and the lowest Dice of a class that either has."""
    import SimpleITK

    a, b = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in (ours, theirs))
    present = np.union1d(np.unique(a), np.unique(b))
    dice = [2.0 * np.sum((a == c) & (b == c)) / (np.sum(a == c) + np.sum(b == c)) for c in present]
    return float((a == b).mean()), float(min(dice))


def median_of(rounds):
    figures = {key for one in rounds for key, value in one.items() if isinstance(value, (int, float))}
    return rounds[0] | {key: statistics.median(one[key] for one in rounds) for key in figures}


def peak(args):
    """What the machine multiplies and adds at most, in GFLOP/s by precision; empty if it cannot be asked."""
    if not args.peak.exists():
        print(f"{args.peak} is not built: no share of the machine's peak", file=sys.stderr)
        return {}
    return json.loads(subprocess.run([args.peak, str(args.threads)], stdout=subprocess.PIPE, check=True).stdout)


def add_speed(found, operations, peaks):
    """Speed of the network alone, and its share of the best peak."""
    tiles = max(one.get("tiles", 0) for one in found)
    for one in (one for one in found if "network" in one):
        one["gflops"] = operations * one.get("tiles_run", tiles) / one["network"] / 1e9
        best = max((peak.get(one["precision"]) or 0 for peak in peaks), default=0)
        one |= {"share": one["gflops"] / best} if best else {}


def compare(args, work, slices):
    files = make_study(work / f"study-{slices}", slices)
    chosen = rows(args)
    alone = args.ours_only or len(args.slices) > 1
    runs = [[] for _ in range(len(chosen) + (not alone))]
    peaks = []
    for _ in range(args.rounds):
        peaks.append(peak(args))
        for at, row in enumerate(chosen):
            runs[at].append(hepalert(args, files, work, *row))
        if not alone:
            runs[-1].append(nnunet(args, files, work))
    found = [median_of(one) for one in runs]
    peer = None if alone else found[-1]
    reference = (peer or found[0])["labels"]
    add_speed(found, json.loads((work / "results/operations.json").read_text()), peaks)
    for one in found:
        one["agreement"], one["least_dice"] = agreement(one["labels"], reference)
        one["labels"] = one["labels"].name
        if peer:
            one["times_faster"] = {part: peer[part] / one[part] for part in ("study", "rest", "process") if part in one}
    return {"slices": slices, "threads": args.threads, "rounds": args.rounds, "peaks": peaks, "rows": found}


def table(result):
    lines = [f"\n4 phases 512 x 512 x {result['slices']}, {result['threads']} threads, {result['rounds']} round(s), seconds"]
    columns = [*STAGES, "rest", "study", "process"]
    rest = "   peak MiB   equal  least Dice  cores  GFLOP/s  of peak"
    lines.append(f"{'':34}" + "".join(f"{column:>11}" for column in columns) + rest)
    for one in result["rows"]:
        cells = "".join(f"{one[column]:11.2f}" if column in one else f"{'-':>11}" for column in columns)
        share = f"{100 * one['share']:7.0f} %" if "share" in one else f"{'-':>9}"
        lines.append(f"{one['name']:34}{cells}{one['memory_mib']:11.0f}{100 * one['agreement']:8.3f}{one['least_dice']:12.5f}"
                     f"{one['cores']:7.2f}{one.get('gflops', 0):9.0f}{share}")
    for one in result["rows"]:
        faster = one.get("times_faster")
        if faster and one["name"] != "nnU-Net":
            said = ", ".join(f"{part} {times:.1f}" for part, times in faster.items())
            lines.append(f"{one['name']}: times faster than nnU-Net: {said}")
    return "\n".join(lines)


def arguments():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    made.add_argument("--hepalert", type=Path, default=ROOT / "target/release/hepalert", help="the program")
    made.add_argument("--peak", type=Path, default=ROOT / "target/release/examples/peak", help="says the machine's peak")
    made.add_argument("--slices", type=lambda text: [int(n) for n in text.split(",")], default=[60])
    made.add_argument("--rounds", type=int, default=1, help="runs of each, by turns; medians are told")
    made.add_argument("--threads", type=int, default=os.cpu_count())
    made.add_argument("--work", type=Path, default=ROOT / "target/compare-nnunet", help="where studies and models go")
    made.add_argument("--rows", help="like tract:f32,openvino:bf16 [default: native and openvino]; "
                      "a third word is another graph, as in openvino:f32:plain")
    made.add_argument("--extra", default="", help="more words for hepalert segment, like '--batch 4'")
    made.add_argument("--no-air", action="store_true", help="leave out the rows with --skip-air")
    made.add_argument("--ours-only", action="store_true", help="leave nnU-Net out")
    made.add_argument("--json", action="store_true", help="one JSON document instead of tables")
    return made.parse_args()


def main():
    if sys.argv[1:2] == ["--child"]:
        return child(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5:])
    if sys.argv[1:2] == ["--measure"]:
        return measure(sys.argv[2:])
    args = arguments()
    work = args.work
    work.mkdir(parents=True, exist_ok=True)
    # What an older version of this script left may be of another form.
    bundles = bundles_in(work)
    made = [work / "results/golden.npy", work / "results/operations.json", *(b / "manifest.json" for b in bundles.values())]
    if not all(path.exists() for path in made):
        make_models(work / "results", bundles)
    found = []
    for slices in args.slices:
        found.append(compare(args, work, slices))
        if not args.json:
            print(table(found[-1]), flush=True)
    if args.json:
        print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
