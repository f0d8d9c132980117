"""Values of nnU-Net's importance map at chosen voxels, for segment::gaussian.

Run: python make_gaussian.py  (needs nnunetv2 2.8.1)
Writes gaussian.txt: tile z y x, voxel z y x, weight, by compute_gaussian as the predictor calls it.
"""
import numpy as np
import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian


def importance(tile):
    return compute_gaussian(tile, 1 / 8, 10, torch.float16, torch.device("cpu")).numpy()


random = np.random.default_rng(3)
with open("gaussian.txt", "w") as out:
    for tile in [(16, 128, 128), (24, 64, 48), (5, 7, 9)]:
        weights = importance(tile)
        voxels = [[0, 0, 0], [n - 1 for n in tile], [n // 2 for n in tile]]
        voxels += [[int(random.integers(n)) for n in tile] for _ in range(25)]
        for voxel in voxels:
            out.write(" ".join(map(str, [*tile, *voxel])) + f" {float(weights[tuple(voxel)]):.9g}\n")
