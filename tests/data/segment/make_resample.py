"""Golden arrays for image::resample, made by nnU-Net's own resample_data_or_seg.

Run: python make_resample.py  (needs nnunetv2 2.8.1, scipy)
Writes one raw little-endian f32 file per case, `<name>.f32`; shapes are in crates/voxels/src/image/resample/tests.rs.
The source array is not stored: both sides compute sin(0.37 z^2 + 1.3 y) * 100 + ((7x + 3y + 5z) mod 11) * 9
in f64 and round it to f32.
"""
import os
import tempfile

for name in ("raw", "preprocessed", "results"):
    os.environ.setdefault(f"nnUNet_{name}", tempfile.gettempdir())

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg
from scipy.ndimage import map_coordinates


def source(shape):
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij")
    return (np.sin(0.37 * z * z + 1.3 * y) * 100 + np.mod(7 * x + 3 * y + 5 * z, 11) * 9).astype(np.float32)


def nnunet(data, new_shape, order, axis):
    return resample_data_or_seg(data[None], new_shape, False, axis, order, axis is not None, order_z=0)[0]


CASES = {
    "cubic_separate0": ((6, 11, 9), (4, 7, 13), 3, 0),
    "cubic_separate1": ((7, 6, 8), (9, 9, 5), 3, 1),
    "cubic_separate2": ((7, 6, 8), (5, 9, 12), 3, 2),
    "cubic_volume": ((7, 9, 8), (10, 6, 11), 3, None),
    "linear_separate0": ((6, 11, 9), (9, 7, 13), 1, 0),
    "linear_volume": ((7, 9, 8), (10, 6, 11), 1, None),
}

for name, (shape, new_shape, order, axis) in CASES.items():
    nnunet(source(shape), new_shape, order, axis).astype("<f4").tofile(f"{name}.f32")

pairs = [(4, 6), (20, 10), (10, 4), (35, 50), (50, 35), (3, 9), (9, 3), (41, 40), (6, 4), (1, 3), (5, 1)]
with open("nearest.txt", "w") as out:
    for n, m in pairs:
        x = n / m * (np.arange(m) + 0.5) - 0.5
        index = map_coordinates(np.arange(n, dtype=float), [x], order=0, mode="nearest").astype(int)
        out.write(f"{n} {m} " + " ".join(map(str, index)) + "\n")
