"""Blended logits of nnU-Net's own sliding window, sums in f16, for segment::window.

Run: python make_window.py  (needs numpy, torch, nnunetv2 2.8)
The image is (7z + 3y + 5x) mod 13 over [6, 13, 9]; the network, in f32, gives class c at place (z, y, x) of a
4 x 8 x 6 patch: ((17c + 5z + 3y + 2x) mod 23 - 11) * 0.37 + image * (c + 1). Three classes, mirrored along x.
Fold k adds 0.3kc. Writes window.f32 [3, 6, 13, 9], the f16 result of fold 0 as f32, and window_folds.f32, that
of folds 0 to 2.
"""
import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

PATCH, SHAPE, CLASSES = (4, 8, 6), (6, 13, 9), 3


class Network(torch.nn.Module):
    fold = 0

    def load_state_dict(self, fold):
        self.fold = fold

    def forward(self, x):
        z, y, x_ = np.meshgrid(*[np.arange(n) for n in PATCH], indexing="ij")
        image = x[0, 0].numpy()
        logits = [(((17 * c + 5 * z + 3 * y + 2 * x_) % 23) - 11).astype(np.float32) * np.float32(0.37)
                  + image * np.float32(c + 1) + np.float32(0.3) * np.float32(self.fold * c) for c in range(CLASSES)]
        return torch.from_numpy(np.stack(logits)[None])


class Named:
    def __init__(self, **names):
        self.__dict__.update(names)


z, y, x = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
image = ((7 * z + 3 * y + 5 * x) % 13).astype(np.float32)
predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=True, device=torch.device("cpu"),
                            perform_everything_on_device=False, allow_tqdm=False)
predictor.network = Network()
predictor.configuration_manager = Named(patch_size=PATCH)
predictor.label_manager = Named(num_segmentation_heads=CLASSES)
predictor.allowed_mirroring_axes = (2,)
for folds, name in (([0], "window"), ([0, 1, 2], "window_folds")):
    predictor.list_of_parameters = folds
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image[None]))
    assert logits.dtype == torch.half
    logits.float().numpy().astype("<f4").tofile(f"{name}.f32")
