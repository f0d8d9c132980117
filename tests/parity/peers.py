"""The other side: nnU-Net v2 from files to a file, and nnU-Net v1's prediction of the same networks.

v1 (PyPI `nnunet` 1.7.1, its own code, not a copy of it) takes the softmax of every mirrored tile before it
averages anything. It cannot read v2's results folders, so its part is what fusion is about: from the
preprocessed image to labels on the scan's grid. Reading and preprocessing are v2's, as hepalert's are.
"""

import contextlib
import importlib.util
import json
import os
import sys
import tempfile

os.environ.setdefault("nnUNet_def_n_proc", "1")
for name in ("raw", "preprocessed", "results"):
    os.environ.setdefault(f"nnUNet_{name}", tempfile.gettempdir())

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.postprocessing import remove_connected_components as postprocessing


def v1_is_there():
    return importlib.util.find_spec("nnunet") is not None


@contextlib.contextmanager
def silence():
    """nnU-Net talks on standard output, where the table goes."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield


def predictor_of(results):
    """nnU-Net v2's predictor on the CPU with all folds of a results folder."""
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    names = [path.name[5:] for path in results.glob("fold_*")]
    folds = sorted(int(name) for name in names if name.isdigit()) or names
    predictor.initialize_from_trained_model_folder(str(results), tuple(folds))
    predictor.use_mirroring = predictor.allowed_mirroring_axes is not None
    return predictor


def nnunet(results, images, out):
    """nnU-Net v2's whole way from files to a file."""
    predictor = predictor_of(results)
    reader = predictor.plans_manager.image_reader_writer_class()
    image, properties = reader.read_images([str(path) for path in images])
    labels = predictor.predict_single_npy_array(image, properties, None, None, False)
    steps = results / "postprocessing.json"
    if steps.is_file():
        found = json.loads(steps.read_text())
        functions = [getattr(postprocessing, name) for name in found["postprocessing_fns"]]
        labels = postprocessing.apply_postprocessing(labels, functions, found["postprocessing_kwargs"])
    reader.write_seg(np.asarray(labels), str(out), properties)


def preprocessed(predictor, images):
    """The image `[channel, z, y, x]` as v2 gives it to the network, and what it noted of the scan."""
    plans, config, dataset = predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
    reader = plans.image_reader_writer_class()
    image, properties = reader.read_images([str(path) for path in images])
    preprocessor = config.preprocessor_class(verbose=False)
    image, _, properties = preprocessor.run_case_npy(image, None, properties, plans, config, dataset)
    return np.asarray(image, np.float32), properties


def golden(results, images, out):
    """Writes the preprocessed image as the importer takes it; None if a patch is larger."""
    predictor = predictor_of(results)
    image, _ = preprocessed(predictor, images)
    if any(n < patch for n, patch in zip(image.shape[1:], predictor.configuration_manager.patch_size)):
        return None
    np.save(out, image)
    return out


def nnunet_v1(results, images, out):
    """v1's tiles, mirrors, folds and export of v2's networks on an image that v2 preprocessed."""
    from nnunet.inference.segmentation_export import save_segmentation_nifti_from_softmax
    predictor = predictor_of(results)
    config = predictor.configuration_manager
    image, properties = preprocessed(predictor, images)
    softmax = [predict_v1(predictor, weights, image) for weights in predictor.list_of_parameters]
    save_segmentation_nifti_from_softmax(sum(softmax) / len(softmax), str(out), as_v1_says(properties, config),
                                         verbose=False)


def predict_v1(predictor, weights, image):
    """Mean probabilities `[class, z, y, x]` of one fold, by v1's sliding window, in f32 on the CPU."""
    from nnunet.network_architecture.neural_network import SegmentationNetwork
    from nnunet.utilities.nd_softmax import softmax_helper

    class Wrapped(SegmentationNetwork):
        def __init__(self, network):
            super().__init__()
            self.network, self.conv_op = network, torch.nn.Conv3d
            self.num_classes = predictor.label_manager.num_segmentation_heads
            self.inference_apply_nonlin = softmax_helper

        def forward(self, patches):
            return self.network(patches)

    predictor.network.load_state_dict(weights)
    axes = predictor.allowed_mirroring_axes or ()
    wrapped = Wrapped(predictor.network).eval()
    return wrapped.predict_3D(
        image, do_mirroring=bool(axes), mirror_axes=axes, use_sliding_window=True, step_size=0.5,
        patch_size=tuple(predictor.configuration_manager.patch_size), use_gaussian=True, verbose=False,
        mixed_precision=False)[1]


def as_v1_says(properties, config):
    """What v2 noted of a scan, under v1's names."""
    stored = properties["sitk_stuff"]
    return {
        "size_after_cropping": properties["shape_after_cropping_and_before_resampling"],
        "original_size_of_raw_data": properties["shape_before_cropping"],
        "original_spacing": properties["spacing"], "spacing_after_resampling": config.spacing,
        "crop_bbox": [list(side) for side in properties["bbox_used_for_cropping"]],
        "itk_spacing": stored["spacing"], "itk_origin": stored["origin"], "itk_direction": stored["direction"]}
