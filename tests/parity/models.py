"""Small nnU-Net v2 results folders, made by nnU-Net's own classes.

Plans are written in nnU-Net's format; networks are built by `nnUNetTrainer.build_network_architecture`
and trained for some seconds on synthetic volumes, so that their logits are as far apart as those of a
real model: the argmax of an untrained network is a tie nearly everywhere. `trained` puts the weights of
the demonstration engine into a results folder of the same architecture.
"""

import copy
import functools
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

import volumes

ANISOTROPIC = {"spacing": [3.2, 1.0, 1.0], "patch": [8, 32, 32], "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
               "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
ISOTROPIC = {"spacing": [1.5, 1.5, 1.5], "patch": [24, 24, 20], "kernels": [[3, 3, 3]] * 3,
             "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}
FEATURES = [8, 16, 32]
LABELS = {"background": 0, "ball": 1, "box": 2, "bar": 3}
REGIONS = {"background": 0, "any": [1, 2, 3], "edged": [2, 3], "bar": 3}
STEPS, BATCH = 60, 1


@dataclass(frozen=True)
class Model:
    """What a results folder is to be."""

    plan: str = "anisotropic"
    kind: str = "PlainConvUNet"
    channels: int = 1
    norm: str = "CTNormalization"
    masked: bool = False
    resampling: str = "resample_data_or_seg_to_shape"
    reader: str = "SimpleITKIO"
    mirror: tuple = ()
    folds: int = 1
    regions: bool = False
    transpose: tuple = (0, 1, 2)
    old_plans: bool = False
    postprocessing: tuple = field(default=())

    def weights_key(self):
        """The part on which weights depend."""
        plain = Model()
        return replace(self, resampling=plain.resampling, reader=plain.reader, mirror=(), folds=1,
                       transpose=plain.transpose, old_plans=False, postprocessing=(), masked=False)


def shape_of(model):
    return ANISOTROPIC if model.plan == "anisotropic" else ISOTROPIC


def resampling(model, order):
    if model.resampling == "resample_torch_fornnunet":
        return {"is_seg": False, "force_separate_z": None, "memefficient_seg_resampling": False}
    return {"is_seg": False, "order": order, "order_z": 0, "force_separate_z": None}


def architecture(model, shape):
    plain = model.kind == "PlainConvUNet"
    stages = len(FEATURES)
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{model.kind}",
        "arch_kwargs": {
            "n_stages": stages, "features_per_stage": FEATURES, "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": shape["kernels"], "strides": shape["strides"],
            "n_conv_per_stage" if plain else "n_blocks_per_stage": [2] * stages if plain else [1, 2, 2],
            "n_conv_per_stage_decoder": [2 if plain else 1] * (stages - 1), "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True}},
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]}


def old_architecture(config):
    """The keys that plans had before nnU-Net 2.3."""
    kwargs = config.pop("architecture")["arch_kwargs"]
    return config | {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": FEATURES[0],
        "unet_max_num_features": FEATURES[-1], "n_conv_per_stage_encoder": kwargs["n_conv_per_stage"],
        "n_conv_per_stage_decoder": kwargs["n_conv_per_stage_decoder"], "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": kwargs["strides"], "conv_kernel_sizes": kwargs["kernel_sizes"]}


def plans_of(model):
    shape = shape_of(model)
    config = {
        "data_identifier": "nnUNetPlans_3d_fullres", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": shape["patch"], "median_image_size_in_voxels": [float(n) for n in shape["patch"]],
        "spacing": shape["spacing"], "normalization_schemes": [model.norm] * model.channels,
        "use_mask_for_norm": [model.masked] * model.channels, "resampling_fn_data": model.resampling,
        "resampling_fn_seg": "resample_data_or_seg_to_shape", "resampling_fn_data_kwargs": resampling(model, 3),
        "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
        "resampling_fn_probabilities": model.resampling, "resampling_fn_probabilities_kwargs": resampling(model, 1),
        "architecture": architecture(model, shape), "batch_dice": False}
    if model.old_plans:
        config = old_architecture(config)
    figures = {"max": 900.0, "mean": 40.0, "median": 40.0, "min": -200.0, "percentile_00_5": -120.0,
               "percentile_99_5": 260.0, "std": 70.0}
    # The configuration in use inherits twice, as hand-edited plans do.
    base = {key: value for key, value in config.items() if key != "batch_size"}
    return {
        "dataset_name": "Dataset900_Shapes", "plans_name": "nnUNetPlans", "image_reader_writer": model.reader,
        "original_median_spacing_after_transp": shape["spacing"],
        "original_median_shape_after_transp": shape["patch"], "transpose_forward": list(model.transpose),
        "transpose_backward": [int(i) for i in np.argsort(model.transpose)],
        "experiment_planner_used": "ExperimentPlanner", "label_manager": "LabelManager",
        "configurations": {"base": base, "mid": {"inherits_from": "base", "batch_size": 2},
                           "3d_fullres": {"inherits_from": "mid", "batch_size": 4}},
        "foreground_intensity_properties_per_channel": {str(c): figures for c in range(model.channels)}}


def dataset_of(model):
    name = "CT" if model.norm == "CTNormalization" else "MR"
    dataset = {"channel_names": {str(c): name for c in range(model.channels)},
               "labels": REGIONS if model.regions else LABELS, "numTraining": 1, "file_ending": ".nii.gz"}
    return dataset | ({"regions_class_order": [1, 2, 3]} if model.regions else {})


def build(plans, dataset):
    manager = PlansManager(copy.deepcopy(plans))
    config = manager.get_configuration("3d_fullres")
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    return nnUNetTrainer.build_network_architecture(
        manager, config, len(dataset["channel_names"]), heads, enable_deep_supervision=False)


def batch(rng, model):
    """Patches of the synthetic world at the network's own spacing, normalised, and their truth."""
    images, truths = [], []
    for _ in range(BATCH):
        image, truth = volumes.world(rng, shape_of(model)["patch"], shape_of(model)["spacing"], model.channels)
        if model.norm == "CTNormalization":
            image = (image.clip(-120, 260) - 40) / 70
        else:
            image = (image - image.mean((1, 2, 3), keepdims=True)) / image.std((1, 2, 3), keepdims=True)
        images.append(image)
        truths.append(truth)
    return torch.from_numpy(np.stack(images).astype(np.float32)), torch.from_numpy(np.stack(truths).astype(np.int64))


def loss_of(model, logits, truth):
    if not model.regions:
        return torch.nn.functional.cross_entropy(logits, truth)
    target = torch.stack([truth >= 1, truth >= 2, truth == 3], 1).float()
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, target)


@functools.cache
def weights(model, fold):
    """Weights after a short training; always the same for the same arguments and machine."""
    torch.manual_seed(fold)
    rng = np.random.default_rng(1000 + fold)
    network = build(plans_of(model), dataset_of(model)).train()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(STEPS):
        images, truth = batch(rng, model)
        optimiser.zero_grad()
        loss_of(model, network(images), truth).backward()
        optimiser.step()
    return {name: value.clone() for name, value in network.eval().state_dict().items()}


def save(folder, plans, dataset, states, mirror, postprocessing=()):
    """A results folder as training leaves it."""
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold, state in enumerate(states):
        place = folder / f"fold_{fold}"
        place.mkdir()
        checkpoint = {
            "network_weights": state, "optimizer_state": {}, "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5)]}, "_best_ema": np.float64(0.5), "current_epoch": 1,
            "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": fold, "dataset_json": dataset},
            "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": tuple(mirror) or None}
        torch.save(checkpoint, place / "checkpoint_final.pth")
    if postprocessing:
        name = "remove_all_but_largest_component_from_segmentation"
        steps = {"postprocessing_fns": [name] * len(postprocessing),
                 "postprocessing_kwargs": [{"labels_or_regions": step} for step in postprocessing]}
        (folder / "postprocessing.json").write_text(json.dumps(steps))


def write(model, folder):
    """The results folder of a model."""
    states = [weights(model.weights_key(), fold) for fold in range(model.folds)]
    save(folder, plans_of(model), dataset_of(model), states, model.mirror, model.postprocessing)


def trained(bundle, folder, mirror=()):
    """The demonstration engine's first network as an nnU-Net results folder."""
    from bundle_files import bundle_weights
    network = json.loads((bundle / "manifest.json").read_text())["networks"]["segment"]
    given = bundle_weights(bundle / network["files"][0]["path"])
    stages = 1 + max(int(name.split(".")[1]) for name in given if name.startswith("encoder."))
    convolutions = [given[f"encoder.{i}.conv1.weight"] for i in range(stages)]
    model = Model()
    plans, dataset = plans_of(model), dataset_of(model)
    config = plans["configurations"]["base"]
    arch = config["architecture"]["arch_kwargs"]
    arch |= {"n_stages": stages, "features_per_stage": [len(w) for w in convolutions],
             "kernel_sizes": [list(w.shape[2:]) for w in convolutions], "n_conv_per_stage": [2] * stages,
             "strides": [[1, 1, 1]] + [list(given[f"up.{stages - 1 - i}.weight"].shape[2:]) for i in range(1, stages)],
             "n_conv_per_stage_decoder": [2] * (stages - 1)}
    config |= {"patch_size": network["patch"], "spacing": network["spacing_mm"]}
    scheme = network["normalisation"][0]
    plans["foreground_intensity_properties_per_channel"]["0"] = {
        "mean": scheme["mean"], "std": scheme["std"], "percentile_00_5": scheme["lower"],
        "percentile_99_5": scheme["upper"]}
    dataset["labels"] = {name: i for i, name in enumerate(network["classes"])}
    built = build(plans, dataset)
    state = built.state_dict()
    for name in state:
        part = name.removeprefix("decoder.encoder.").removeprefix("encoder.")
        in_encoder = part != name
        words = part.split(".")
        if name.startswith("decoder.transpconvs."):
            source = f"up.{words[2]}.{words[3]}"
        elif name.startswith("decoder.seg_layers."):
            source = f"head.{words[3]}"
            if state[name].shape != given[source].shape:
                continue  # heads of deep supervision, which inference does not use
        else:
            words = words[1:] if in_encoder else words[2:]
            stage, index = words[0], words[words.index("convs") + 1]
            layer = {"conv": "conv", "norm": "norm", "all_modules": "conv" if words[-2] == "0" else "norm"}
            layer = layer[words[words.index("convs") + 2]]
            source = f"{'encoder' if in_encoder else 'decoder'}.{stage}.{layer}{int(index) + 1}.{words[-1]}"
        state[name] = given[source]
    save(folder, plans, dataset, [state], mirror)
