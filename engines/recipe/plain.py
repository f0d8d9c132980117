"""Patches exactly as inference sees them: nothing augmented, nnU-Net's resampling, any position.

Owns the engine's grid of a training case. A network that meets only augmented patches never sees
the pictures it is judged on; these teach it their borders.
"""

import numpy as np

import reference as ref
from data import UNKNOWN
from net import SPACING_MM

CENTRED = 0.6  # share of the patches drawn around a voxel that is not background


class Plain:
    """One case on the engine's grid, padded to a patch: image [z, y, x] f32 and codes u8."""

    def __init__(self, case, patch):
        image = ref.to_grid(case.hu, case.spacing)
        codes = codes_on(image.shape, case)
        pads = [((p - n) // 2, p - n - (p - n) // 2) if n < p else (0, 0) for n, p in zip(image.shape, patch)]
        self.patch, self.image = patch, np.pad(image, pads)
        self.codes = np.pad(codes, pads, constant_values=UNKNOWN)
        rng, self.points = np.random.default_rng(0), []
        for code in range(1, 14):  # every class weighs alike
            found = np.argwhere(self.codes == code)
            if len(found):
                self.points.append(found[rng.permutation(len(found))[:5000]].astype(np.int16))

    def draw(self, rng):
        """A patch at a random start, or around a voxel of a random class."""
        room = np.array(self.image.shape) - self.patch
        start = rng.integers(room + 1)
        if self.points and rng.random() < CENTRED:
            spots = self.points[rng.integers(len(self.points))]
            middle = spots[rng.integers(len(spots))] + rng.uniform(-0.4, 0.4, 3) * self.patch
            start = np.clip((middle - np.array(self.patch) / 2).astype(int), 0, room)
        box = tuple(slice(s, s + p) for s, p in zip(start, self.patch))
        return self.image[box].copy(), self.codes[box].copy()


def codes_on(shape, case):
    """Codes on the engine's grid: the class with the largest linearly sampled share wins."""
    top, codes = np.zeros(shape, np.float32), np.full(shape, UNKNOWN, np.uint8)
    for code in np.unique(case.codes):
        share = ref.resample((case.codes == code).astype(np.float32), shape, case.spacing, SPACING_MM, 1)
        codes[share > top] = code
        top = np.maximum(top, share)
    return codes
