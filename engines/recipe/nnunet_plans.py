"""Reads what an nnU-Net v2 results folder says of a model, and refuses what hepalert cannot do.

Owns plans.json, dataset.json and the postprocessing files: plain JSON and one pickle that is
read without running what is in it. Knows nothing of weights; see `nnunet_network.py`.
"""

import json
import pickle
from pathlib import Path

READERS = ("SimpleITKIO", "NibabelIO", "NibabelIOWithReorient")
RESAMPLING = {"resample_data_or_seg_to_shape": "default", "resample_torch_fornnunet": "torch"}
ARCHITECTURES = ("PlainConvUNet", "ResidualEncoderUNet")
# Spline orders of nnU-Net's own function that the daemon knows; along the separate axis nearest.
ORDER = {"resampling_fn_data": 3, "resampling_fn_probabilities": 1}
KEEP_LARGEST = "remove_all_but_largest_component_from_segmentation"


class Refused(SystemExit):
    """What cannot be imported, and what to do: one sentence, exit code 1."""


def read_json(path):
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise Refused(f"{path}: missing; give the folder that holds plans.json, dataset.json and fold_*")
    except ValueError as error:
        raise Refused(f"{path}: not JSON ({error})")


def one_of(what, found, known):
    if found not in known:
        raise Refused(f"{what} `{found}` is not known to hepalert; known are {', '.join(known)}")
    return found


def configuration(plans, name, visited=()):
    """The named configuration with everything it inherits."""
    if name not in plans["configurations"]:
        raise Refused(f"plans.json: no configuration `{name}`; there are {', '.join(plans['configurations'])}")
    if name in visited:
        raise Refused(f"plans.json: configurations inherit in a circle: {' -> '.join((*visited, name))}")
    own = plans["configurations"][name]
    if "inherits_from" not in own:
        return dict(own)
    return {**configuration(plans, own["inherits_from"], (*visited, name)), **own}


def architecture(config):
    """(class name, keyword arguments as JSON) of the network; also from plans before nnU-Net 2.3."""
    if "architecture" in config:
        found = config["architecture"]
        kind = one_of("network", found["network_class_name"].rsplit(".", 1)[-1], ARCHITECTURES)
        return kind, dict(found["arch_kwargs"])
    kind = one_of("network", config.get("UNet_class_name"), ARCHITECTURES)
    stages = len(config["n_conv_per_stage_encoder"])
    widths = [min(config["UNet_base_num_features"] * 2**i, config["unet_max_num_features"]) for i in range(stages)]
    per_stage = "n_conv_per_stage" if kind == "PlainConvUNet" else "n_blocks_per_stage"
    return kind, {
        "n_stages": stages, "features_per_stage": widths, "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": config["conv_kernel_sizes"], "strides": config["pool_op_kernel_sizes"],
        per_stage: config["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": config["n_conv_per_stage_decoder"], "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d", "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None, "dropout_op_kwargs": None, "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True}}


def resampling(config, field):
    """hepalert's name of a resampling function, after a look at its arguments."""
    name = one_of(f"{field}", config[field], RESAMPLING)
    kwargs = dict(config.get(f"{field}_kwargs") or {})
    allowed = {"is_seg": (False,), "force_separate_z": (None,), "separate_z_anisotropy_threshold": (3,)}
    if RESAMPLING[name] == "default":
        allowed |= {"order": (ORDER[field],), "order_z": (0,)}
        kwargs.setdefault("order", 3)
        kwargs.setdefault("force_separate_z", False)  # the function's own defaults
    else:
        allowed |= {"mode": ("linear",), "aniso_axis_mode": ("nearest-exact",)}
    ignored = ("num_threads", "device", "memefficient_seg_resampling")
    for key, value in kwargs.items():
        if key not in ignored and value not in allowed.get(key, ()):
            raise Refused(f"{field}: {name}({key}={value!r}) is not known to hepalert")
    return RESAMPLING[name]


def normalisation(plans, config, channels):
    """One scheme per channel, as a manifest has it."""
    figures = plans.get("foreground_intensity_properties_per_channel",
                        plans.get("foreground_intensity_properties_by_modality", {}))
    schemes = config["normalization_schemes"]
    masks = config.get("use_mask_for_norm") or [False] * len(schemes)
    if len(schemes) != channels or len(masks) != channels:
        raise Refused(f"plans.json: {len(schemes)} normalisations for {channels} channels")
    made = []
    for channel, (name, mask) in enumerate(zip(schemes, masks)):
        known = ("CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization", "NoNormalization")
        one_of(f"normalisation of channel {channel}", name, known)
        if name == "CTNormalization":
            own = figures.get(str(channel))
            if not own:
                raise Refused(f"plans.json: no foreground intensities for channel {channel}")
            made.append({"scheme": "ct", "mean": own["mean"], "std": own["std"],
                         "lower": own["percentile_00_5"], "upper": own["percentile_99_5"]})
        elif name == "ZScoreNormalization":
            made.append({"scheme": "zscore", "masked": True} if mask else {"scheme": "zscore"})
        else:
            made.append({"scheme": "rescale01" if name == "RescaleTo01Normalization" else "none"})
    return made


def labels(dataset):
    """(names of the channels in order, regions_class_order or None)."""
    given = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    regions = any(isinstance(value, (list, tuple)) and len(value) > 1 for value in given.values())
    if not regions:
        values = {name: int(value[0] if isinstance(value, (list, tuple)) else value) for name, value in given.items()}
        names = sorted(values, key=values.get)
        if [values[name] for name in names] != list(range(len(names))):
            raise Refused(f"dataset.json: labels must be 0, 1, 2, .. without gaps, found {sorted(values.values())}")
        return names, None
    order = dataset.get("regions_class_order")
    background = lambda value: set(value if isinstance(value, (list, tuple)) else [value]) == {0}
    names = [name for name, value in given.items() if not background(value)]
    if order is None or len(order) != len(names):
        raise Refused(f"dataset.json: regions_class_order must have one label per region ({len(names)})")
    return names, [int(label) for label in order]


class Inert(pickle.Unpickler):
    """Reads tuples, lists and dictionaries; of functions it keeps the name and runs nothing."""

    def find_class(self, module, name):
        if module.split(".")[0] == "nnunetv2":
            return name
        raise Refused(f"postprocessing: the pickle names {module}.{name}, which hepalert does not run")


def postprocessing(path):
    """Steps of a manifest, from postprocessing.json or postprocessing.pkl."""
    path = Path(path)
    if path.suffix == ".pkl":
        with path.open("rb") as file:
            names, arguments = Inert(file).load()
    else:
        found = read_json(path)
        names, arguments = found["postprocessing_fns"], found["postprocessing_kwargs"]
    steps = []
    for name, kwargs in zip(names, arguments, strict=True):
        one_of(f"{path.name}: function", name, (KEEP_LARGEST,))
        if set(kwargs) - {"labels_or_regions", "background_label"} or kwargs.get("background_label", 0) != 0:
            raise Refused(f"{path}: {name} with {kwargs} is not known to hepalert")
        steps.append({"keep_largest": sorted(flat(kwargs["labels_or_regions"]))})
    return steps


def flat(labels_or_regions):
    """Every label of a label, a region or a list of either: nnU-Net takes their union."""
    if isinstance(labels_or_regions, (list, tuple)):
        return set().union(*(flat(part) for part in labels_or_regions))
    return {int(labels_or_regions)}


def find_postprocessing(folder, folds):
    """The file that belongs to these folds: beside plans.json, or in crossval_results_folds_*."""
    names = ("postprocessing.pkl", "postprocessing.json")
    crossval = folder / f"crossval_results_folds_{'_'.join(map(str, folds))}"
    for place in (folder, crossval):
        for name in names:
            if (place / name).is_file():
                return place / name
    others = [path for name in names for path in folder.glob(f"crossval_results_folds_*/{name}")]
    if others:
        raise Refused(f"postprocessing of other folds was found ({others[0]}); "
                      "name the file with --postprocessing FILE, or none with --postprocessing none")
    return None


def describe(plans, dataset, name):
    """The part of a manifest's network that does not depend on weights."""
    config = configuration(plans, name)
    if config.get("previous_stage"):
        raise Refused(f"configuration `{name}` needs the result of `{config['previous_stage']}` (a cascade of "
                      "nnU-Net's own): hepalert runs single-stage models; export 3d_fullres or 3d_lowres")
    if len(config["patch_size"]) != 3:
        raise Refused(f"configuration `{name}` is two-dimensional: hepalert runs three-dimensional models")
    one_of("preprocessor", config.get("preprocessor_name", "DefaultPreprocessor"), ("DefaultPreprocessor",))
    one_of("label manager", plans.get("label_manager", "LabelManager"), ("LabelManager",))
    reader = one_of("image_reader_writer", plans["image_reader_writer"], READERS)
    channels = len(dataset["channel_names"] if "channel_names" in dataset else dataset["modality"])
    classes, regions = labels(dataset)
    network = {
        "classes": classes, "channels": channels, "patch": [int(n) for n in config["patch_size"]],
        "spacing_mm": [float(mm) for mm in config["spacing"]],
        "transpose_forward": [int(axis) for axis in plans["transpose_forward"]],
        "normalisation": normalisation(plans, config, channels),
        "resampling": resampling(config, "resampling_fn_data"),
        "resampling_logits": resampling(config, "resampling_fn_probabilities"), "reader": reader}
    if regions is not None:
        network["regions_class_order"] = regions
    return network, config
