"""Phantoms as training cases: all phases of a patient on the networks' grid, and patches cut from them.

Owns resampling, geometry and tone of phantom patches. Phases are aligned (`hepalert phantom --setting diagnosis
--aligned`); what registration leaves undone is drawn here, as a small displacement of every phase against the first.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn.functional import grid_sample

from augment import smooth_noise
from data import HARD_BG, HARD_LIVER, load_nifti, read_hard
from net import PHANTOM_SPACING_MM, normalise

AIR = -1000
# What registration leaves undone, in pixels of 2 mm (deviation of a smooth field).
RESIDUAL = 0.5
# Share of patches around what the first network wrongly takes for a lesion, where that is known.
HARD_SHARE = 0.4


@dataclass
class Case:
    """HU int16 [channel, z, y, x] and labels u8 [z, y, x] on PHANTOM_SPACING_MM."""
    name: str
    hu: np.ndarray
    labels: np.ndarray
    lesions: np.ndarray  # [n, 3] voxels of lesions
    lesion_p: np.ndarray  # components weigh by the root of their size
    liver: np.ndarray
    kinds: tuple
    hard: np.ndarray | None = None  # [n, 3] voxels that the first network takes for lesions and are none


def to_spacing(array, spacing, order):
    """[z, y, x] on the networks' grid. Slices are kept where they are 5 mm apart, as inference keeps them."""
    zoom = [s / t for s, t in zip(spacing, PHANTOM_SPACING_MM)]
    zoom[0] = 1.0 if abs(zoom[0] - 1) < 0.05 else zoom[0]
    return ndi.zoom(array, zoom, order=order, mode="nearest", grid_mode=True)


def load(folder, phases):
    hu = []
    for phase in phases:
        array, spacing = load_nifti(folder / f"{phase}.nii.gz")
        hu.append(to_spacing(array.astype(np.float32), spacing, 1).round().astype(np.int16))
    labels, spacing = load_nifti(folder / "truth.nii.gz", np.uint8)
    labels = to_spacing(labels, spacing, 0)
    lesion = (labels >= 1) & (labels <= 6)
    numbered, _ = ndi.label(lesion)
    voxels = np.argwhere(lesion).astype(np.int16)
    size = np.bincount(numbered.ravel())[numbered[lesion]].astype(float)
    weight = 1 / np.sqrt(size)
    liver = np.argwhere((labels >= 1) & (labels <= 9))[::7].astype(np.int16)
    kinds = tuple(int(k) for k in np.unique(labels[lesion]))
    return Case(folder.name, np.stack(hu), labels, voxels, weight / weight.sum() if len(weight) else weight, liver, kinds)


def load_all(root, phases):
    """Cases below `root`, by seed; a folder without `phantom.json` is not yet whole."""
    found = sorted((p.parent for p in Path(root).glob("*/phantom.json")), key=lambda p: int(p.name))
    cases = [load(folder, phases) for folder in found if set(phases) <= set(json.loads((folder / "phantom.json").read_text())["phases"])]
    if not cases:
        raise SystemExit(f"no phantom with the phases {', '.join(phases)} below {root}")
    return cases


def mark_hard(case, folder):
    """Codes of what `phantom_hard.py` found; lesions keep their label, and a margin of a voxel around them too."""
    false = read_hard(folder, case.name, case.labels.shape)
    if false is None:
        return
    lesion = (case.labels >= 1) & (case.labels <= 6)
    false &= ~ndi.binary_dilation(lesion, np.ones((1, 3, 3), bool))
    liver = (case.labels >= 7) & (case.labels <= 9)
    numbered, _ = ndi.label(false)
    size = np.bincount(numbered.ravel())
    voxels = np.argwhere(false & (size[numbered] >= 8))
    weight = 1 / np.sqrt(size[numbered[tuple(voxels.T)]])
    rng = np.random.default_rng(len(voxels))
    take = rng.choice(len(voxels), min(len(voxels), 4000), p=weight / weight.sum()) if len(voxels) else []
    case.hard = voxels[take].astype(np.int16)
    case.labels[false & liver], case.labels[false & ~liver] = HARD_LIVER, HARD_BG


def centre_of(rng, case, lesion_share):
    if case.hard is not None and len(case.hard) and rng.random() < HARD_SHARE:
        return case.hard[rng.integers(len(case.hard))].astype(float)
    if len(case.lesions) and rng.random() < lesion_share:
        return case.lesions[rng.choice(len(case.lesions), p=case.lesion_p)].astype(float)
    if rng.random() < 0.75:
        return case.liver[rng.integers(len(case.liver))].astype(float)
    return np.array([rng.integers(n) for n in case.labels.shape], float)


def plane_grid(rng, patch, strength):
    """Sampling offsets in voxels [h, w] along y and x: turn, zoom, a smooth bend."""
    zoom, angle = np.exp(rng.uniform(-0.18, 0.18) * strength), np.deg2rad(rng.normal(0, 7) * strength)
    ys, xs = (np.arange(n) - (n - 1) / 2 for n in patch[1:])
    y, x = np.meshgrid(ys * zoom, xs * zoom, indexing="ij")
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    bend = [smooth_noise(rng, tuple(patch[1:]), (5, 5)) * 2.0 * strength * (rng.random() < 0.5) for _ in range(2)]
    return y + bend[0], x + bend[1]


def cut(case, centre, patch, y, x, rng, residual):
    """(HU [c, z, y, x], labels [z, y, x]) around a voxel; beyond the scan it is air and background."""
    z0 = int(round(centre[0])) - patch[0] // 2
    zs = np.arange(z0, z0 + patch[0])
    depth, rows, columns = case.labels.shape
    inside = (zs >= 0) & (zs < depth)
    take = zs.clip(0, depth - 1)
    y, x = y + centre[1], x + centre[2]

    def sample(slices, dy, dx, mode):
        grid = np.stack([(x + dx) / (columns - 1) * 2 - 1, (y + dy) / (rows - 1) * 2 - 1], -1).astype(np.float32)
        grid = torch.from_numpy(np.broadcast_to(grid, (1, *grid.shape)).copy())
        image = torch.from_numpy(slices[None].astype(np.float32))
        return grid_sample(image, grid, mode=mode, padding_mode="border", align_corners=True)[0].numpy()

    hu = []
    for channel, array in enumerate(case.hu):
        moved = residual * rng.random() if channel else 0.0
        dy, dx = (smooth_noise(rng, tuple(patch[1:]), (4, 4)) * moved for _ in range(2))
        hu.append(sample(array[take], dy, dx, "bilinear"))
    labels = sample(case.labels[take], 0, 0, "nearest").astype(np.uint8)
    hu = np.stack(hu)
    hu[:, ~inside], labels[~inside] = AIR, 0
    return hu, labels


def toned(rng, hu):
    """Other contrast per phase, other noise: what differs between scanners, injections and doses."""
    out = np.empty_like(hu)
    for channel, phase in enumerate(hu):
        gain, offset = np.exp(rng.normal(0, 0.05)), rng.normal(0, 5)
        soft = np.clip((phase + 200) / 100, 0, 1)  # air and lung stay
        out[channel] = phase + soft * ((gain - 1) * phase + offset)
        noise = rng.standard_normal(phase.shape).astype(np.float32)
        if rng.random() < 0.5:
            noise = ndi.gaussian_filter(noise, (0, 0.7, 0.7)) * 2.2
        out[channel] += noise * rng.uniform(0, 8)
    return out


def patch_of(rng, case, plan, size=None, lesion_share=0.6):
    """One augmented patch: image [channel, z, y, x], codes [z, y, x]."""
    size = size or plan.patch
    centre = centre_of(rng, case, lesion_share) + rng.uniform(-0.25, 0.25, 3) * size
    y, x = plane_grid(rng, size, 1.0)
    hu, labels = cut(case, centre, size, y, x, rng, RESIDUAL)
    return normalise(toned(rng, hu), plan.hu_mean).astype(np.float32), labels
