"""How many voxels of `hepalert segment` equal nnU-Net v2's own predictor on the same network.

    python compare_nnunet.py BUNDLE IMAGE.nii.gz LABELS.nii.gz [--margin M.nii.gz] [--save R.nii.gz]

Needs nnunetv2 2.8, onnxruntime, SimpleITK and torch. Runs the whole of nnU-Net (preprocessor, sliding
window, export) with the bundle's ONNX file in place of its torch module; prints the share of equal labels,
per-class Dice and the margins of the voxels that differ.
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnxruntime
import SimpleITK as sitk
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager


class Onnx(torch.nn.Module):
    """An ONNX session that looks like a torch module."""

    def __init__(self, path, classes):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.tiles = 0

    def forward(self, x):
        self.tiles += 1
        return torch.from_numpy(self.session.run(None, {self.name: x.float().numpy()})[0])


def plans_of(network):
    scheme = network["normalisation"][0]
    assert scheme["scheme"] == "ct" and network["resampling"] == "default" and network["channels"] == 1
    resample = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    where = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 1,
        "patch_size": network["patch"], "spacing": network["spacing_mm"],
        "normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False],
        "median_image_size_in_voxels": network["patch"], "batch_dice": False,
        "resampling_fn_data": where, "resampling_fn_data_kwargs": {**resample, "order": 3},
        "resampling_fn_seg": where, "resampling_fn_seg_kwargs": {**resample, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": where, "resampling_fn_probabilities_kwargs": {**resample, "order": 1},
        "architecture": {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []}}
    intensities = {"mean": scheme["mean"], "std": scheme["std"], "percentile_00_5": scheme["lower"],
                   "percentile_99_5": scheme["upper"]}
    forward = network["transpose_forward"]
    return {"dataset_name": "x", "plans_name": "x", "image_reader_writer": "SimpleITKIO",
            "transpose_forward": forward, "transpose_backward": list(np.argsort(forward)),
            "label_manager": "LabelManager", "experiment_planner_used": "ExperimentPlanner",
            "foreground_intensity_properties_per_channel": {"0": intensities},
            "configurations": {"3d_fullres": configuration}}


def predict(bundle, image, spacing):
    network = json.loads((bundle / "manifest.json").read_text())["networks"]["segment"]
    dataset = {"labels": {name: i for i, name in enumerate(network["classes"])}, "channel_names": {"0": "CT"},
               "file_ending": ".nii.gz", "numTraining": 1}
    plans = PlansManager(plans_of(network))
    predictor = nnUNetPredictor(tile_step_size=network["tile_step"], use_mirroring=bool(network["mirror_axes"]),
                                device=torch.device("cpu"), perform_everything_on_device=False)
    module = Onnx(bundle / network["files"][0]["path"], len(network["classes"]))
    predictor.manual_initialization(module, plans, plans.get_configuration("3d_fullres"), [module.state_dict()],
                                    dataset, "nnUNetTrainer", tuple(network["mirror_axes"]) or None)
    started = time.time()
    labels = predictor.predict_single_npy_array(image[None], {"spacing": spacing}, None, None, False)
    print(f"nnU-Net: {module.tiles} tiles, {time.time() - started:.1f} s")
    return labels, network["classes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("image")
    parser.add_argument("labels")
    parser.add_argument("--margin")
    parser.add_argument("--save")
    args = parser.parse_args()
    scan = sitk.ReadImage(args.image)
    image = sitk.GetArrayFromImage(scan).astype(np.float32)
    expected, classes = predict(args.bundle, image, list(scan.GetSpacing())[::-1])
    ours = sitk.GetArrayFromImage(sitk.ReadImage(args.labels))
    differ = ours != expected
    print(f"equal labels: {100 * (1 - differ.mean()):.5f} % ({differ.sum()} of {differ.size} voxels differ)")
    for i, name in enumerate(classes):
        a, b = ours == i, expected == i
        if a.any() or b.any():
            print(f"  {name:16} {a.sum():9} {b.sum():9} Dice {2 * (a & b).sum() / (a.sum() + b.sum()):.6f}")
    if args.margin:
        margin = np.abs(sitk.GetArrayFromImage(sitk.ReadImage(args.margin)))[differ]
        print("margins of differing voxels (lesion against other only):", np.percentile(margin, [50, 90, 100])
              if margin.size else "none")
    if args.save:
        out = sitk.GetImageFromArray(expected.astype(np.uint8))
        out.CopyInformation(scan)
        sitk.WriteImage(out, args.save)


if __name__ == "__main__":
    main()
