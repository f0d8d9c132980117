"""Lesion-shuffle patches for the second network (training side).

The four schemes of the method: original positive, original negative, shuffled positive,
shuffled negative, and hard cases (the first stage's false positives, with the truth of their
place). The image outside the liver region is 0 after normalisation, as in inference.
"""

import numpy as np
from scipy import ndimage as ndi

import augment
from data import HARD_BG, HARD_LIVER, UNKNOWN
from net import PLANS, shift_of

SOURCE = (24, 128, 128)  # schemes are played inside one augmented patch of this size
LIVER = 7
TRIES = 50
# Target code of the eight classes from the fourteen: vessels are liver, organs background.
TO_EIGHT = np.array([0, 1, 2, 3, 4, 5, 6, 7, 7, 0, 0, 0, 0, 0, 0, 7, 0, UNKNOWN, 7, 0], np.uint8)


def region_of(rng, truth, codes):
    """Liver region as the first stage might draw it: true liver, now and then too much or too little."""
    inside = (truth >= 1) & (truth <= LIVER)
    inside |= (truth == UNKNOWN) & ndi.binary_dilation(inside, np.ones((1, 3, 3), bool))
    region = np.stack([ndi.binary_fill_holes(s) for s in inside])
    region |= codes == HARD_BG
    shape = truth.shape
    if rng.random() < 0.4:  # leaks into neighbours
        near = ndi.binary_dilation(region, np.ones((1, 5, 5), bool), iterations=int(rng.integers(1, 6)))
        leak = augment.smooth_noise(rng, shape, [5, 8, 8]) > rng.uniform(0.6, 1.2)
        region = region | (near & leak)
    if rng.random() < 0.4:  # bites out of the rim
        core = ndi.binary_erosion(region, np.ones((1, 3, 3), bool), iterations=int(rng.integers(1, 4)))
        bite = augment.smooth_noise(rng, shape, [5, 10, 10]) > rng.uniform(0.4, 1.0)
        region = region & ~((~core) & bite)
    return region


def window(centre, shape, patch):
    """Start of a patch around a centre, kept inside the source."""
    return [int(np.clip(round(c - p / 2), 0, n - p)) for c, n, p in zip(centre, shape, patch)]


def box_at(start, patch):
    return tuple(slice(s, s + p) for s, p in zip(start, patch))


class Source:
    """One source patch, `image` [channel, z, y, x] normalised, with its liver region and lesion components."""

    def __init__(self, rng, image, codes, patch):
        self.rng, self.patch, self.image, self.shape = rng, patch, image, codes.shape
        self.truth = TO_EIGHT[codes]
        self.region = region_of(rng, self.truth, codes)
        lesion = (self.truth >= 1) & (self.truth <= 6)
        self.clear = self.region & ~ndi.binary_dilation(lesion | (self.truth == UNKNOWN), np.ones((1, 3, 3), bool))
        self.lesions = [np.argwhere(m) for m in components(lesion & self.region, self.truth)]
        self.hard = [np.argwhere(m) for m in components(np.isin(codes, [HARD_LIVER, HARD_BG]), codes)]

    def cut(self, start):
        box = box_at(start, self.patch)
        region = self.region[box]
        image = np.where(region, self.image[(slice(None), *box)], 0).astype(np.float32)
        truth = np.where(region, self.truth[box], 0).astype(np.uint8)
        return image, truth, region.copy()

    def around(self, voxels):
        """Start of a window that holds a random voxel of the lesion, jittered."""
        centre = voxels[self.rng.integers(len(voxels))] + self.rng.uniform(-0.35, 0.35, 3) * self.patch
        return window(centre, self.shape, self.patch)

    def original_positive(self, voxels):
        start = self.around(voxels)
        return start, *self.cut(start)

    def original_negative(self):
        spots = np.argwhere(self.region)
        for attempt in range(TRIES):
            start = window(spots[self.rng.integers(len(spots))], self.shape, self.patch)
            image, truth, region = self.cut(start)
            lesion = (truth >= 1) & (truth <= 6)
            if not lesion.any():
                return image, truth, region
        image[:, lesion], truth[lesion] = 0, 0
        return image, truth, region & ~lesion

    def shuffled_positive(self, voxels, label=None):
        """A lesion moved into a lesion-free patch, exactly by its mask."""
        image, truth, region = self.original_negative()
        found = best_shift(self.rng, voxels, region, self.patch, 0.95)
        if found is None:
            return image, truth, region
        target, source = found
        t, s = tuple(target.T), tuple(source.T)
        image[(slice(None), *t)] = self.image[(slice(None), *s)]
        truth[t] = self.truth[s] if label is None else label
        return image, truth, region

    def shuffled_negative(self, voxels):
        """A lesion painted over with liver from elsewhere."""
        start, image, truth, region = self.original_positive(voxels)
        local = voxels - start
        inside = ((local >= 0) & (local < self.patch)).all(1)
        found = best_shift(self.rng, voxels[inside], self.clear, self.shape, 1.0)
        lesion = (truth >= 1) & (truth <= 6)
        if found is not None:
            target, source = found
            kept = tuple((source - start).T)
            image[(slice(None), *kept)] = self.image[(slice(None), *target.T)]
            truth[kept] = LIVER
        elif lesion.any():
            image[:, lesion], truth[lesion] = 0, 0
        return image, truth, region


def components(mask, labels):
    found = []
    for label in np.unique(labels[mask]) if mask.any() else []:
        numbered, _ = ndi.label(mask & (labels == label))
        for i, box in enumerate(ndi.find_objects(numbered), 1):
            if (numbered[box] == i).sum() >= 8:
                whole = np.zeros(mask.shape, bool)
                whole[box] = numbered[box] == i
                found.append(whole)
    return found[:12]


def best_shift(rng, voxels, allowed, shape, share):
    """(target voxels, source voxels) of a move with at least `share` inside, else the largest fit."""
    spots = np.argwhere(allowed)
    if not len(spots) or not len(voxels):
        return None
    if len(voxels) > 60000:
        return None
    middle, best, best_fit = voxels.mean(0).round().astype(int), None, 0.3
    for _ in range(TRIES):
        target = voxels + (spots[rng.integers(len(spots))] - middle)
        ok = ((target >= 0) & (target < shape)).all(1)
        ok[ok] = allowed[tuple(target[ok].T)]
        fit = ok.mean()
        if fit > best_fit:
            best, best_fit = (target[ok], voxels[ok]), fit
        if fit >= share:
            break
    return best if best_fit >= share or share < 1 else None


def training_patches(rng, case, donors):
    """Up to four patches ([1, z, y, x] f32, codes u8) from one augmented source patch of a venous case."""
    plan = PLANS["reclassify"]
    image, codes = augment.training_patch(rng, case, donors, SOURCE, 0.75)
    yield from patches_of(Source(rng, image[None] + np.float32(shift_of(plan)), codes, np.array(plan.patch)))


def patches_of(source):
    """Up to four patches ([channel, z, y, x] f32, codes u8) of one source by the four schemes, hard cases first."""
    rng = source.rng
    if source.region.sum() < 300:
        return
    for _ in range(4):
        u = rng.random()
        if source.hard and u < 0.35:
            voxels = source.hard[rng.integers(len(source.hard))]
            image, truth, _ = source.cut(source.around(voxels)) if u < 0.2 else source.shuffled_positive(voxels, LIVER)
        elif source.lesions and u < 0.85:
            voxels = source.lesions[rng.integers(len(source.lesions))]
            if u < 0.45:
                _, image, truth, _ = source.original_positive(voxels)
            elif u < 0.68:
                image, truth, _ = source.shuffled_positive(voxels)
            else:
                image, truth, _ = source.shuffled_negative(voxels)
        else:
            image, truth, _ = source.original_negative()
        if np.isin(truth, range(1, 8)).sum() > 100:
            yield image, truth
