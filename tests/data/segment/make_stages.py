"""Golden arrays of every step of the first stage, made by nnU-Net's own functions, for segment::tests::stages.

Run: python make_stages.py  (needs nnunetv2 2.8.1, nibabel, SimpleITK; writes the folder stages/ beside it)
Sources are formulas of whole numbers that both sides compute (`made`), so that only results are stored: .npy
files of f32 or u8, and tables of numbers as text. What nnU-Net gives as f16 is stored as f32.
"""
import os
import tempfile
from pathlib import Path

for name in ("raw", "preprocessed", "results"):
    os.environ.setdefault(f"nnUNet_{name}", tempfile.gettempdir())

import nibabel
import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape as export
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from nnunetv2.postprocessing.remove_connected_components import (
    apply_postprocessing, remove_all_but_largest_component_from_segmentation as keep_largest)
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.normalization import default_normalization_schemes as schemes
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape, determine_do_sep_z_and_axis
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

OUT = Path(__file__).parent / "stages"
READERS = {"sitk": SimpleITKIO, "nibabel": NibabelIO, "reorient": NibabelIOWithReorient}
CT = {"mean": 40.7, "std": 63.1, "percentile_00_5": -85.5, "percentile_99_5": 130.25}
HOUSE = {name: i for i, name in enumerate(["background"] + [f"class{i}" for i in range(1, 14)])}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3}
# Boundary of the sigmoid: zeros, the smallest f16 of both signs, one, minus one.
BITS = [0x0000, 0x8000, 0x0001, 0x0002, 0x0003, 0x8001, 0x3C00, 0xBC00]


def made(shape, modulus=29, scale=8.0, offset=-100.0):
    """`[c, z, y, x]` of f32: exact in f32 for the scales used here."""
    c, z, y, x = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    at = (31 * c + 7 * z * z + 3 * y + 5 * x + x * y + z * c) % modulus
    return (at * scale + offset).astype(np.float32)


def save(name, array):
    array = np.ascontiguousarray(array.numpy() if isinstance(array, torch.Tensor) else array)
    np.save(OUT / f"{name}.npy", array.astype(np.uint8 if array.dtype.kind in "iub" else "<f4"))


def plans(target, patch=(4, 8, 6), forward=(0, 1, 2), norm=("NoNormalization",), masked=False, torch_fn=False):
    kwargs = {"is_seg": False, "force_separate_z": None}
    where = "resample_torch_fornnunet" if torch_fn else "resample_data_or_seg_to_shape"
    third, first = ({}, {}) if torch_fn else ({"order": 3, "order_z": 0}, {"order": 1, "order_z": 0})
    configuration = {
        "data_identifier": "x", "preprocessor_name": "DefaultPreprocessor", "batch_size": 1, "batch_dice": False,
        "patch_size": list(patch), "spacing": list(target), "median_image_size_in_voxels": list(patch),
        "normalization_schemes": list(norm), "use_mask_for_norm": [masked] * len(norm),
        "resampling_fn_data": where, "resampling_fn_data_kwargs": {**kwargs, **third},
        "resampling_fn_seg": where, "resampling_fn_seg_kwargs": {**kwargs, **first, "is_seg": True},
        "resampling_fn_probabilities": where, "resampling_fn_probabilities_kwargs": {**kwargs, **first},
        "architecture": {"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []}}
    manager = PlansManager({
        "dataset_name": "x", "plans_name": "x", "image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager",
        "transpose_forward": list(forward), "transpose_backward": [int(i) for i in np.argsort(forward)],
        "experiment_planner_used": "x", "configurations": {"3d_fullres": configuration},
        "foreground_intensity_properties_per_channel": {str(i): CT for i in range(len(norm))}})
    return manager, manager.get_configuration("3d_fullres")


def dataset(labels, channels=1):
    order = {"regions_class_order": [1, 2, 3]} if labels is REGIONS else {}
    return {"labels": labels, "channel_names": {str(i): "x" for i in range(channels)}, "file_ending": ".nii.gz", **order}


def reading():
    c, s = np.cos(0.4), np.sin(0.4)
    d, t = np.cos(0.3), np.sin(0.3)
    oblique = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, d, -t], [0, t, d]])
    turns = {
        # x to the left, y to the back, as CT is stored; slope and intercept.
        "scaled": (np.diag([-0.7, -0.8, 5.0]), [90.0, 70.0, -300.0], (0.5, -12.25)),
        # Turned about two axes, slices 3 mm apart.
        "oblique": (oblique @ np.diag([-0.9, 1.1, 3.0]), [10.0, -20.0, 30.5], (None, None)),
        # x to the left, y to the feet, z to the front.
        "coronal": (np.array([[-1.5, 0, 0], [0, 0, 2.5], [0, -1.25, 0]]), [1.0, 2.0, 3.0], (None, None)),
    }
    lines = []
    for name, (matrix, origin, scaling) in turns.items():
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = matrix, origin
        image = nibabel.Nifti1Image(made((1, 5, 4, 6), scale=1, offset=0)[0].astype(np.int16).transpose(2, 1, 0), affine)
        # Where the header has a slope, nibabel writes voxels as they are.
        image.header.set_slope_inter(*scaling)
        path = str(OUT / f"{name}.nii.gz")
        nibabel.save(image, path)
        for short, reader in READERS.items():
            data, properties = reader().read_images([path])
            save(f"read_{name}_{short}", data[0])
            lines.append(f"{name} {short} " + " ".join(repr(float(s)) for s in properties["spacing"]))
    (OUT / "reading.txt").write_text("\n".join(lines) + "\n")


def padded(inner, before, after):
    return np.pad(inner, [(0, 0), *zip(before, after)])


def cropping():
    # Two channels that leave different borders zero; a hole that is filled; single zeros inside.
    data = padded(made((2, 4, 6, 5), modulus=7, scale=1, offset=0), (1, 2, 0), (2, 0, 3))
    data[0, :, :4] = 0
    data[1, 3:] = 0
    lines = []
    for name, array in (("two", data), ("nothing", np.zeros_like(data)), ("whole", made((1, 3, 4, 5)) + 1000)):
        cropped, seg, bbox = crop_to_nonzero(array.copy())
        lines.append(f"{name} " + " ".join(str(int(v)) for pair in bbox for v in pair))
    (OUT / "crop.txt").write_text("\n".join(lines) + "\n")
    masked = DefaultPreprocessor(verbose=False)
    for scheme in ("ZScoreNormalization", "CTNormalization"):
        manager, configuration = plans((1, 1, 1), norm=(scheme,) * 2, masked=scheme.startswith("Z"))
        voxels, _, _ = masked.run_case_npy(data, None, {"spacing": [1, 1, 1]}, manager, configuration, dataset(HOUSE))
        save(f"cropped_{scheme[:2].lower()}", voxels)


def normalisation():
    image = made((1, 4, 5, 6), modulus=101, scale=7.3, offset=-310.0)[0]
    for name in ("CT", "ZScore", "RescaleTo01", "No"):
        scheme = getattr(schemes, f"{name}Normalization")(use_mask_for_norm=False, intensityproperties=CT)
        save(f"norm_{name.lower()}", scheme.run(image.copy()))
    save("norm_constant", schemes.ZScoreNormalization(False, CT).run(np.full((2, 2, 2), 7.25, np.float32)))


def rules():
    """Shape and separate axis: shape, old spacing, new spacing, shape found, axis or -1."""
    random = np.random.default_rng(5)
    choices = [0.25, 0.5, 0.699999988079071, 0.75, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 2.999, 3.0, 3.001, 5.0]
    fixed = [((3.0, 1, 1), (1, 1, 1)), ((3.001, 1, 1), (1, 1, 1)), ((2.999, 1, 1), (1, 1, 1)), ((1, 1, 1), (1, 1, 3.001)),
             ((1, 3.001, 1), (5, 1, 1)), ((1, 4, 4), (5, 1, 1)), ((5, 5, 5), (1, 1, 1)), ((1, 1, 1), (4, 4, 1)),
             ((2.1, 0.7, 0.7), (1, 1, 1)), ((2.25, 0.75, 0.75), (3, 1, 1))]
    fixed += [tuple(tuple(float(v) for v in random.choice(choices, 3)) for _ in range(2)) for _ in range(60)]
    lines = []
    for old, new in fixed:
        shape = [int(n) for n in random.integers(1, 90, 3)]
        separate, axis = determine_do_sep_z_and_axis(None, old, new)
        found = [int(n) for n in compute_new_shape(shape, old, new)]
        axis = int(axis) if separate else -1
        lines.append(" ".join(map(str, [*shape, *map(float, old), *map(float, new), *found, axis])))
    (OUT / "rules.txt").write_text("\n".join(lines) + "\n")


# Name: shape, spacing, network spacing.
RESAMPLED = {
    "slices": ((7, 9, 8), (5.0, 0.8, 0.9), (4.1, 1.1, 0.7)),
    "below3": ((6, 9, 8), (2.999, 1.0, 1.0), (2.0, 1.3, 0.9)),
    "above3": ((6, 9, 8), (3.001, 1.0, 1.0), (2.0, 1.3, 0.9)),
    "last": ((7, 6, 8), (1.5, 1.2, 1.0), (1.0, 1.4, 4.5)),
    "isotropic": ((6, 7, 8), (1.5, 1.5, 1.5), (1.2, 2.0, 1.1)),
}


def resampling():
    for name, (shape, old, new) in RESAMPLED.items():
        for torch_fn, kind in ((False, "default"), (True, "torch")):
            _, configuration = plans(new, torch_fn=torch_fn)
            data = made((1, *shape))
            target = compute_new_shape(shape, old, new)
            save(f"data_{kind}_{name}", configuration.resampling_fn_data(data, target, old, new)[0])
            # The way back: logits in f16 at the network's spacing.
            logits = torch.from_numpy(made((1, *target), scale=0.37, offset=-4.1)).half()
            save(f"logits_{kind}_{name}", np.asarray(configuration.resampling_fn_probabilities(logits, shape, new, old)[0]).astype(np.float32))


def tiles():
    """Volume, patch, step: padded shape, first voxel of the volume, then the tiles in nnU-Net's order."""
    lines = []
    for volume, patch, step in (((6, 13, 9), (4, 8, 6), 0.5), ((3, 8, 20), (8, 8, 5), 0.5), ((9, 10, 11), (4, 5, 6), 0.3),
                                ((5, 7, 4), (8, 12, 9), 0.5), ((17, 16, 23), (16, 16, 16), 1.0), ((13, 9, 9), (4, 8, 6), 0.75)):
        predictor = nnUNetPredictor(tile_step_size=step, device=torch.device("cpu"), perform_everything_on_device=False)
        predictor.configuration_manager = plans((1, 1, 1), patch)[1]
        data, back = pad_nd_image(torch.ones((1, *volume)), patch, "constant", {"value": 0}, True, None)
        assert float(data.sum()) == np.prod(volume)
        tiles = predictor._internal_get_sliding_window_slicers(data.shape[1:])
        numbers = [*volume, *patch, step, *data.shape[1:], *[s.start for s in back[1:]]]
        numbers += [s.start for tile in tiles for s in tile[1:]]
        lines.append(" ".join(map(str, numbers)))
    (OUT / "tiles.txt").write_text("\n".join(lines) + "\n")
    for patch in ((4, 8, 6), (7, 10, 12)):
        save("weights_" + "_".join(map(str, patch)),
             compute_gaussian(patch, 1 / 8, 10, torch.float16, torch.device("cpu")).float())


def properties(shape, box, spacing, before):
    return {"spacing": spacing, "shape_before_cropping": before, "bbox_used_for_cropping": box,
            "shape_after_cropping_and_before_resampling": shape}


def deciding():
    """Logits `[class, z, y, x]` at the network's spacing to labels in the study's own axes."""
    box, cropped, before = [[1, 6], [0, 7], [2, 10]], (5, 7, 8), (7, 9, 10)
    spacing = [1.25, 4.5, 1.0]  # of the study; forward (1, 0, 2): of the network 4.5, 1.25, 1
    for name, network, target in (("same", cropped, (4.5, 1.25, 1.0)), ("resampled", (6, 5, 9), (3.75, 1.75, 0.89))):
        manager, configuration = plans(target, forward=(1, 0, 2))
        # Nine values for fourteen classes: ties everywhere.
        logits = torch.from_numpy(made((14, *network), modulus=9, scale=0.5, offset=-2.0)).half()
        labels = manager.get_label_manager(dataset(HOUSE))
        save(f"argmax_{name}", export(logits, manager, configuration, labels, properties(cropped, box, spacing, before)))
        labels = manager.get_label_manager(dataset(REGIONS))
        bits = np.array(BITS, np.uint16)[made((3, *network), modulus=8, scale=1, offset=0).astype(int)]
        logits = torch.from_numpy(bits.view(np.float16))
        save(f"regions_{name}", export(logits, manager, configuration, labels, properties(cropped, box, spacing, before)))
    manager, configuration = plans((3.75, 1.75, 0.89), forward=(1, 0, 2))
    logits = torch.from_numpy(made((14, 6, 5, 9), modulus=113, scale=0.0617, offset=-3.1)).half()
    _, probabilities = export(logits, manager, configuration, manager.get_label_manager(dataset(HOUSE)),
                              properties(cropped, box, spacing, before), return_probabilities=True)
    lesions = np.zeros((14, 1, 1, 1), np.float32)
    lesions[1:7] = 1
    for alpha in (1, 3, 20):
        save(f"gain_{alpha}", (probabilities.astype(np.float64) * np.where(lesions > 0, alpha, 1)).argmax(0).astype(np.uint8))
    inside = probabilities[:, 0:7, 1:6, 2:10].astype(np.float64)  # the box, in the study's axes
    other, lesion = np.where(lesions > 0, 0, inside).max(0), np.where(lesions > 0, inside, 0).max(0)
    save("margin", (np.log(other) - np.log(lesion)).astype(np.float32))


def postprocessing():
    labels = made((1, 6, 9, 10), modulus=13, scale=1, offset=-7)[0].clip(0, 3).astype(np.uint8)
    ties = np.zeros((3, 4, 9), np.uint8)
    ties[0, 0, :3], ties[2, 3, 6:], ties[2, 0, 4:6] = 1, 2, 1
    ties[1, 1, 3] = 2  # joined to the first by an edge
    ties[1, 2, 7] = 1  # and to the second by an edge
    for name, volume in (("many", labels), ("ties", ties)):
        save(f"before_{name}", volume)
        for steps in ([[1, 2]], [[1], [2], [3]], [[1, 2, 3], [2]]):
            kwargs = [{"labels_or_regions": step} for step in steps]
            word = "_".join("".join(map(str, step)) for step in steps)
            save(f"after_{name}_{word}", apply_postprocessing(volume, [keep_largest] * len(steps), kwargs))


class Network(torch.nn.Module):
    """Class c of fold k at a place of its patch: see `Analytic` in crates/cascade/src/segment/tests/stages/chain.rs."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.fold = classes, 0

    def load_state_dict(self, fold):
        self.fold = fold

    def forward(self, patch):
        z, y, x = np.meshgrid(*[np.arange(n) for n in patch.shape[2:]], indexing="ij")
        image = patch[0].numpy().sum(0)
        logits = [(((17 * c + 5 * z + 3 * y + 2 * x) % 23) - 11).astype(np.float32) * np.float32(0.17)
                  + image * np.float32((7 * c) % 5 - 2) + np.float32(0.3) * np.float32(self.fold * c)
                  for c in range(self.classes)]
        return torch.from_numpy(np.stack(logits)[None])


def predict(data, spacing, labels, folds=1, mirror=None, patch=(4, 8, 6), **options):
    manager, configuration = plans(patch=patch, **options)
    told = dataset(labels, data.shape[0])
    predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=mirror is not None, device=torch.device("cpu"),
                                perform_everything_on_device=False, allow_tqdm=False)
    heads = manager.get_label_manager(told).num_segmentation_heads
    predictor.manual_initialization(Network(heads), manager, configuration, list(range(folds)), told, "x", mirror)
    prepared, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
        data, None, {"spacing": list(spacing)}, manager, configuration, told)
    return prepared, predictor.predict_single_npy_array(data, {"spacing": list(spacing)}, None, None, False)


class Softmax(Network):
    def forward(self, patch):
        return torch.softmax(super().forward(patch), 1)


def fusion():
    """nnU-Net v1's mean of probabilities over tiles, mirrors and folds: v2's sliding window on a network that ends
    in a softmax, with sums in f32 as v1 has them."""
    half, torch.half = torch.half, torch.float32
    for kind, name in ((Network, "logits"), (Softmax, "probabilities")):
        _, configuration = plans((1, 1, 1))
        predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=True, device=torch.device("cpu"),
                                    perform_everything_on_device=False, allow_tqdm=False)
        predictor.network, predictor.configuration_manager = kind(3), configuration
        predictor.label_manager = plans((1, 1, 1))[0].get_label_manager(dataset({"background": 0, "a": 1, "b": 2}))
        predictor.allowed_mirroring_axes, predictor.list_of_parameters = (2,), [0, 3]
        image = torch.from_numpy(made((1, 6, 13, 9), scale=0.25, offset=-3.5))
        found = predictor.predict_logits_from_preprocessed_data(image).float()
        save(f"fusion_{name}", torch.softmax(found, 0) if kind is Network else found)
    torch.half = half


def chain():
    """Whole chains: preprocessor, sliding window, export, as nnU-Net's predictor calls them."""
    scan = padded(made((1, 7, 15, 14), modulus=61, scale=9, offset=-240.5), (1, 2, 0), (0, 3, 2))
    prepared, labels = predict(scan, (5, 0.8, 0.9), HOUSE, folds=2, mirror=(1, 2), target=(5, 1.1, 1.0),
                               norm=("CTNormalization",))
    save("chain_ct_prepared", prepared)
    save("chain_ct_labels", labels)
    two = padded(made((2, 7, 9, 8), modulus=37, scale=1.5, offset=-3.0), (0, 1, 1), (1, 0, 0))
    prepared, labels = predict(two, (1.2, 1.3, 1.1), HOUSE, mirror=(0,), patch=(6, 6, 6), target=(1, 1, 1.5), masked=True,
                               norm=("ZScoreNormalization", "RescaleTo01Normalization"), forward=(2, 0, 1))
    save("chain_iso_prepared", prepared)
    save("chain_iso_labels", apply_postprocessing(labels, [keep_largest], [{"labels_or_regions": [2, 5, 9]}]))
    # Read to the patient's axes, painted in regions, resampled by torch, written back as stored.
    io = NibabelIOWithReorient()
    data, stuff = io.read_images([str(OUT / "coronal.nii.gz")])
    prepared, labels = predict(data, stuff["spacing"], REGIONS, target=(1.0, 2.0, 1.3), norm=("ZScoreNormalization",),
                               torch_fn=True, forward=(1, 0, 2))
    save("chain_regions_prepared", prepared)
    with tempfile.TemporaryDirectory() as folder:
        io.write_seg(labels, f"{folder}/labels.nii.gz", stuff)
        written = nibabel.load(f"{folder}/labels.nii.gz")
        assert np.allclose(written.affine, nibabel.load(OUT / "coronal.nii.gz").affine)
        save("chain_regions_written", np.asarray(written.dataobj).transpose(2, 1, 0))


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for step in (reading, cropping, normalisation, rules, resampling, tiles, deciding, postprocessing, fusion, chain):
        step()
