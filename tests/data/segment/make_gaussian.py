"""Values of nnU-Net's importance map at chosen voxels, for segment::gaussian.

Run: python make_gaussian.py  (needs numpy, scipy)
Restates compute_gaussian of nnU-Net 2.8.1 (sigma_scale 1/8, value_scaling_factor 10, float16).
Writes gaussian.txt: tile z y x, voxel z y x, weight.
"""
import numpy as np
from scipy.ndimage import gaussian_filter


def importance(tile):
    impulse = np.zeros(tile)
    impulse[tuple(n // 2 for n in tile)] = 1
    weights = gaussian_filter(impulse, [n / 8 for n in tile], 0, mode="constant", cval=0)
    weights /= weights.max() / 10
    weights = weights.astype(np.float16)
    weights[weights == 0] = weights[weights != 0].min()
    return weights


random = np.random.default_rng(3)
with open("gaussian.txt", "w") as out:
    for tile in [(16, 128, 128), (24, 64, 48), (5, 7, 9)]:
        weights = importance(tile)
        voxels = [[0, 0, 0], [n - 1 for n in tile], [n // 2 for n in tile]]
        voxels += [[int(random.integers(n)) for n in tile] for _ in range(25)]
        for voxel in voxels:
            out.write(" ".join(map(str, [*tile, *voxel])) + f" {float(weights[tuple(voxel)]):.9g}\n")
