"""Cuts augmented patches from a case: geometry, lesion synthesis, contrast, noise.

Works in HU until the very end; normalisation is the last step. Arrays are [z, y, x] on the
networks' grid (5, 1.5, 1.5 mm), targets are codes of `data.CODES`.
"""

import numpy as np
import torch
from scipy import ndimage as ndi
from torch.nn.functional import grid_sample, interpolate

from data import (CYST, GALLBLADDER, LIVER_OR_VESSEL, META, PORTAL, SPLEEN, PANCREAS, STOMACH, UNKNOWN)
from net import HU_MEAN, SPACING_MM, normalise

MARGIN = 1.35  # patch corners reach beyond the axis-aligned box under rotation and zoom


def smooth_noise(rng, shape, cells):
    """Smooth random field of unit-ish amplitude: coarse normal noise, cubic-ish upsampling."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, *cells)).astype(np.float32))
    if len(shape) == 2:
        return interpolate(coarse, size=shape, mode="bicubic", align_corners=True)[0, 0].numpy()
    return interpolate(coarse, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()


def slice_positions(rng, centre, count, spacing_z, zoom_z):
    """Source z of every patch slice, in source slices."""
    step = SPACING_MM[0] * zoom_z / spacing_z
    return centre + (np.arange(count) - (count - 1) / 2) * step


def take_slices(rng, array, positions, mode):
    """Slices at fractional positions: nearest as in inference, linear, or averaged thick slices."""
    depth = len(array)
    inside = (positions > -0.5) & (positions < depth - 0.5)
    low = np.clip(np.floor(positions).astype(int), 0, depth - 1)
    near = np.clip(np.floor(positions + 0.5).astype(int), 0, depth - 1)
    if mode == "nearest":
        return array[near].astype(np.float32), inside
    high = np.clip(low + 1, 0, depth - 1)
    w = np.clip(positions - low, 0, 1).astype(np.float32)[:, None, None]
    out = array[low] * (1 - w) + array[high] * w
    if mode == "thick":
        out = (out * 2 + array[np.clip(near - 1, 0, depth - 1)] + array[np.clip(near + 1, 0, depth - 1)]) / 4
    return out.astype(np.float32), inside


def in_plane_grid(rng, patch, spacing, strong):
    """Sampling offsets (y, x) in mm from the patch centre, [z, h, w, 2], and the in-plane zoom."""
    depth, h, w = patch
    zoom = np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
    aspect = np.exp(rng.normal(0, 0.04))
    angle = np.deg2rad(rng.normal(0, 10) if rng.random() < 0.7 else 0)
    ys = (np.arange(h) - (h - 1) / 2) * SPACING_MM[1] * zoom * aspect
    xs = (np.arange(w) - (w - 1) / 2) * SPACING_MM[2] * zoom / aspect
    y, x = np.meshgrid(ys, xs, indexing="ij")
    y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    y, x = np.broadcast_to(y, patch).copy(), np.broadcast_to(x, patch).copy()
    if rng.random() < 0.6:
        cells = [(4, 4), (6, 6), (9, 9)][rng.integers(3)]
        amount = rng.uniform(0.1, 0.28) * 192 / cells[0] * (h / 128)
        drift = rng.uniform(-0.5, 0.5)
        ramp = np.linspace(-1, 1, depth)[:, None, None] * drift
        for axis in (y, x):
            a = smooth_noise(rng, (h, w), cells) * amount * 0.5
            b = smooth_noise(rng, (h, w), cells) * amount * 0.5
            axis += a + b * ramp
    return y, x


def cut(rng, case, centre, patch, augment=True):
    """One patch around a source voxel: HU, codes and the mask of what lies in the scan."""
    depth, h, w = patch
    sz, sy, sx = case.spacing
    zoom_z = np.exp(rng.uniform(np.log(0.8), np.log(1.25))) if augment else 1.0
    positions = slice_positions(rng, centre[0], depth, sz, zoom_z)
    if augment:
        y, x = in_plane_grid(rng, patch, case.spacing, True)
    else:
        ys = (np.arange(h) - (h - 1) / 2) * SPACING_MM[1]
        xs = (np.arange(w) - (w - 1) / 2) * SPACING_MM[2]
        y, x = (np.broadcast_to(a, patch) for a in np.meshgrid(ys, xs, indexing="ij"))
    y, x = y / sy + centre[1], x / sx + centre[2]
    # Crop the source to what the grid touches.
    rows, cols = case.hu.shape[1:]
    y0, y1 = max(int(y.min()) - 2, 0), min(int(y.max()) + 4, rows)
    x0, x1 = max(int(x.min()) - 2, 0), min(int(x.max()) + 4, cols)
    if y1 - y0 < 4 or x1 - x0 < 4:
        y0, y1, x0, x1 = 0, rows, 0, cols
    modes = ("nearest", "linear", "thick") if sz < 3.5 else ("nearest", "nearest", "linear")
    mode = modes[rng.integers(3)] if augment else "nearest"
    hu, inside = take_slices(rng, case.hu[:, y0:y1, x0:x1], positions, mode)
    codes, _ = take_slices(rng, case.codes[:, y0:y1, x0:x1], positions, "nearest")
    grid = np.stack([(x - x0) / (x1 - x0 - 1) * 2 - 1, (y - y0) / (y1 - y0 - 1) * 2 - 1], -1)
    within = inside[:, None, None] & (np.abs(grid) <= 1.01).all(-1)
    grid = torch.from_numpy(np.ascontiguousarray(grid, np.float32))
    kind = "bicubic" if augment and rng.random() < 0.4 or not augment else "bilinear"
    hu = grid_sample(torch.from_numpy(hu)[:, None], grid, mode=kind, padding_mode="border",
                     align_corners=True)[:, 0].numpy()
    codes = grid_sample(torch.from_numpy(codes)[:, None], grid, mode="nearest",
                        padding_mode="border", align_corners=True)[:, 0].numpy().astype(np.uint8)
    codes[~within] = UNKNOWN
    return hu, codes, within


# ---- lesions -------------------------------------------------------------------------------

def blob(rng, patch, centre, radius_mm, lumpy):
    """Signed distance-like field in mm (negative inside) of a lumpy ellipsoid."""
    z, y, x = (np.arange(n, dtype=np.float32) for n in patch)
    axes = radius_mm * np.exp(rng.normal(0, 0.15, 3))
    dz = (z - centre[0])[:, None, None] * SPACING_MM[0] / axes[0]
    dy = (y - centre[1])[None, :, None] * SPACING_MM[1] / axes[1]
    dx = (x - centre[2])[None, None, :] * SPACING_MM[2] / axes[2]
    shear = rng.normal(0, 0.2, 2)
    r = np.sqrt(dz**2 + (dy + shear[0] * dx) ** 2 + (dx + shear[1] * dz) ** 2)
    if lumpy:
        cells = [max(2, int(n * s / radius_mm * 0.9)) for n, s in zip(patch, SPACING_MM)]
        cells = [min(c, n) for c, n in zip(cells, patch)]
        r = r * (1 + lumpy * smooth_noise(rng, patch, cells))
    return (r - 1) * radius_mm


def soft(distance, fuzz_mm):
    return 1 / (1 + np.exp(np.clip(distance / max(fuzz_mm, 0.1) * 2, -30, 30)))


def paint_lesion(rng, hu, codes, liver, kind, base_hu, background):
    """Draws one synthetic lesion into the liver of a patch. Changes hu and codes in place."""
    spots = np.flatnonzero(liver)
    centre = np.array(np.unravel_index(spots[rng.integers(len(spots))], liver.shape), np.float32)
    large = 35 if rng.random() < 0.25 else 18
    radius = np.exp(rng.uniform(np.log(4), np.log(large)))
    patch = hu.shape
    allowed = ndi.gaussian_filter(liver.astype(np.float32), (0, 0.7, 0.7))
    residue = hu - background  # the noise of the scan stays
    if kind == "meta":
        d = blob(rng, patch, centre, radius, rng.uniform(0, 0.35))
        a = soft(d, rng.uniform(0.5, 4.0))
        tone = base_hu - rng.uniform(18, 80)
        inner = np.full(patch, tone, np.float32)
        if rng.random() < 0.5:
            inner = inner + rng.uniform(3, 12) * smooth_noise(rng, patch, [6, 24, 24])
        if radius > 9 and rng.random() < 0.4:  # necrotic centre
            core = soft(blob(rng, patch, centre, radius * rng.uniform(0.3, 0.7), 0.3), 2)
            inner = inner - core * rng.uniform(10, 40)
        if rng.random() < 0.3:  # rim a little brighter than the centre
            ring = np.exp(-((d / rng.uniform(1.5, 4)) ** 2))
            inner = inner + ring * rng.uniform(10, 45)
        new, code = inner + residue * rng.uniform(0.6, 1.1), META
    elif kind == "cyst":
        d = blob(rng, patch, centre, radius, rng.uniform(0, 0.12))
        a = soft(d, rng.uniform(0.2, 1.2))
        new, code = rng.uniform(-5, 22) + residue * rng.uniform(0.7, 1.0), CYST
    elif kind == "hem":
        d = blob(rng, patch, centre, radius, rng.uniform(0, 0.2))
        a = soft(d, rng.uniform(0.3, 1.5))
        nodules = (smooth_noise(rng, patch, [5, 20, 20]) > 0.2) * soft(-(d + radius * 0.35), 1.5)
        fill = rng.uniform(0, 1) ** 2
        bright = base_hu + rng.uniform(25, 80)
        dark = base_hu - rng.uniform(10, 45)
        level = np.clip(nodules + fill, 0, 1)
        new, code = dark + (bright - dark) * level + residue * 0.9, 4
    else:  # hcc: mild washout and a capsule
        d = blob(rng, patch, centre, radius, rng.uniform(0, 0.2))
        a = soft(d, rng.uniform(0.5, 2.0))
        ring = np.exp(-((d / rng.uniform(1.0, 2.2)) ** 2))
        new = base_hu - rng.uniform(12, 40) + 6 * smooth_noise(rng, patch, [6, 20, 20])
        new = new + ring * rng.uniform(15, 45) + residue
        code = 1
    a = (a * allowed).astype(np.float32)
    hu += a * (new - hu)
    inside = (a > 0.5) & liver
    codes[(a > 0.2) & ~inside & liver] = np.where(
        (np.abs(d) < 1.5)[(a > 0.2) & ~inside & liver], UNKNOWN, codes[(a > 0.2) & ~inside & liver])
    codes[inside] = code


def transplant(rng, hu, codes, liver, base_hu, background, donor_patch):
    """Copies real tumours of a donor patch where they fall inside the liver of this one."""
    donor_hu, donor_codes, donor_liver_hu = donor_patch
    tumour = (donor_codes == META)
    if tumour.sum() < 20:
        return
    shift = (rng.integers(-3, 4), rng.integers(-25, 26), rng.integers(-25, 26))
    tumour = np.roll(tumour, shift, (0, 1, 2)) & liver
    excess = np.roll(donor_hu, shift, (0, 1, 2)) - donor_liver_hu
    excess = excess * rng.uniform(0.6, 1.3)
    a = ndi.gaussian_filter(tumour.astype(np.float32), (0.3, 0.8, 0.8))
    hu += a * (background + excess - hu)
    codes[(a > 0.25) & liver & ~tumour] = UNKNOWN
    codes[tumour] = META


KINDS, KIND_P = ("meta", "cyst", "hem", "hcc"), (0.62, 0.2, 0.09, 0.09)


def add_lesions(rng, hu, codes, donors, p_any):
    """Synthesis or transplant of zero to six lesions in whatever liver the patch holds."""
    liver = np.isin(codes, (7, 8, LIVER_OR_VESSEL))
    if liver.sum() < 1500 or rng.random() > p_any:
        return
    base_hu = float(np.median(hu[liver]))
    inner = ndi.binary_erosion(liver, np.ones((1, 3, 3), bool))
    weight = ndi.gaussian_filter(liver.astype(np.float32), (0.5, 3, 3))
    background = ndi.gaussian_filter(np.where(liver, hu, 0), (0.5, 3, 3)) / np.maximum(weight, 1e-3)
    background = np.where(weight > 0.05, background, hu)
    if donors and rng.random() < 0.3:
        transplant(rng, hu, codes, liver, base_hu, background, donors[rng.integers(len(donors))])
        return
    for _ in range(1 + min(int(rng.exponential(1.3)), 5)):
        if not inner.any():
            return
        paint_lesion(rng, hu, codes, inner, rng.choice(KINDS, p=KIND_P), base_hu, background)


# ---- contrast and noise ----------------------------------------------------------------------

def shift_organs(rng, hu, codes, contrast):
    """Contrast-phase-like changes organ by organ, soft at the borders."""
    liver = np.isin(codes, (1, 2, 3, 4, 5, 7, 8, LIVER_OR_VESSEL))
    change = np.zeros(hu.shape, np.float32)
    lift = 0.0 if contrast else rng.uniform(0.3, 1.1)
    if rng.random() < 0.75 or lift:
        amount = rng.normal(0, 14) + lift * 55
        if rng.random() < 0.12:
            amount -= rng.uniform(20, 60)  # fatty liver
        change += liver * amount
    for code, gain in ((SPLEEN, 65), (PANCREAS, 45), (STOMACH, 20), (PORTAL, 110), (GALLBLADDER, 0)):
        if rng.random() < 0.6 or lift:
            change += (codes == code) * (rng.normal(0, 16) + lift * gain)
    if change.any():
        hu += ndi.gaussian_filter(change, (0, 0.8, 0.8))


def shift_vessels(rng, hu, codes):
    """Brightens, dims or inverts the bright vessels inside the liver (unenhanced veins look dark)."""
    liver = np.isin(codes, (7, 8, LIVER_OR_VESSEL))
    if liver.sum() < 500:
        return
    base = np.median(hu[liver])
    smooth = ndi.gaussian_filter(hu, (0, 1, 1))
    vessel = np.clip(smooth - base - 15, 0, 80) * liver
    vessel = ndi.gaussian_filter(vessel.astype(np.float32), (0, 0.6, 0.6))
    if rng.random() < 0.25:
        hu -= vessel * rng.uniform(1.0, 2.2)
    else:
        hu += vessel * rng.uniform(-0.9, 0.6)


def degrade(rng, hu):
    """Blur, low resolution, noise of several grains, gentle bias, tone curve."""
    if rng.random() < 0.25:
        s = rng.uniform(0.4, 1.1)
        hu = ndi.gaussian_filter(hu, (rng.uniform(0, 0.5) if rng.random() < 0.3 else 0, s, s))
    if rng.random() < 0.12:
        factor = rng.uniform(0.5, 0.9)
        t = torch.from_numpy(hu)[:, None]
        small = interpolate(t, scale_factor=factor, mode="nearest")
        hu = interpolate(small, size=hu.shape[1:], mode="bicubic")[:, 0].numpy()
    if rng.random() < 0.6:
        noise = rng.standard_normal(hu.shape, dtype=np.float32)
        if rng.random() < 0.6:
            s = rng.uniform(0.4, 1.2)
            noise = ndi.gaussian_filter(noise, (0, s, s))
            noise /= noise.std() + 1e-6
        hu = hu + noise * abs(rng.normal(0, 12))
    if rng.random() < 0.3:
        hu = hu + smooth_noise(rng, hu.shape, [2, 3, 3]) * rng.uniform(0, 8)
    hu = hu + (rng.normal(0, 12) if rng.random() < 0.7 else 0)
    if rng.random() < 0.5:
        hu = (hu - HU_MEAN) * rng.uniform(0.8, 1.25) + HU_MEAN
    if rng.random() < 0.2:
        unit = np.clip((hu + 150) / 400, 0, 1)
        hu = np.where((hu > -150) & (hu < 250), unit ** rng.uniform(0.75, 1.35) * 400 - 150, hu)
    return hu.astype(np.float32)


def crop_ends(rng, hu, codes, within):
    """Blanks slices at one end, as where a scan stops: padding is 0 after normalisation."""
    if rng.random() < 0.06:
        n = rng.integers(1, 6)
        end = slice(0, n) if rng.random() < 0.5 else slice(len(hu) - n, None)
        within[end] = False
        codes[end] = UNKNOWN


def choose_centre(rng, case):
    """A source voxel near lesion, in liver, or anywhere in the body."""
    u = rng.random()
    if "hard" in case.points and rng.random() < 0.3:
        return case.points["hard"][rng.integers(len(case.points["hard"]))].astype(float)
    if u < 0.3 and len(case.points["lesion"]):
        centre = case.points["lesion"][rng.choice(len(case.points["lesion"]), p=case.points["lesion_p"])]
    elif u < 0.7:
        centre = case.points["liver"][rng.integers(len(case.points["liver"]))]
    else:
        centre = case.points["body"][rng.integers(len(case.points["body"]))]
    return centre.astype(float)


def place(rng, case, centre, patch):
    """Jitters the centre and mostly keeps the patch inside the scan."""
    reach = np.array([n * s / 2 for n, s in zip(patch, SPACING_MM)]) / np.array(case.spacing)
    centre = centre + rng.uniform(-0.7, 0.7, 3) * reach
    size = np.array(case.hu.shape)
    slack = reach * np.array([0.75, 0.85, 0.85])
    low, high = np.minimum(slack, size / 2), np.maximum(size - slack, size / 2)
    return np.clip(centre, low, high)


def donor_patch(rng, donors, patch):
    """Real tumours from another patient, cut with an augmentation of their own."""
    donor = donors[rng.integers(len(donors))]
    at = donor.points["lesion"][rng.choice(len(donor.points["lesion"]), p=donor.points["lesion_p"])]
    hu, codes, _ = cut(rng, donor, place(rng, donor, at.astype(float), patch), patch)
    return hu, codes, donor.liver_hu


def training_patch(rng, case, donors, patch, p_lesions=0.5):
    """A normalised patch [z, y, x] f32 and its codes [z, y, x] u8."""
    hu, codes, within = cut(rng, case, place(rng, case, choose_centre(rng, case), patch), patch)
    hu = np.clip(hu, -1000, 1500)
    has_lesion = ((codes >= 1) & (codes <= 6)).any()
    shift_organs(rng, hu, codes, case.contrast)
    if rng.random() < 0.35:
        shift_vessels(rng, hu, codes)
    donated = [donor_patch(rng, donors, patch)] if donors and rng.random() < 0.35 else []
    add_lesions(rng, hu, codes, donated, 0.15 if has_lesion else p_lesions)
    hu = degrade(rng, hu)
    crop_ends(rng, hu, codes, within)
    image = normalise(hu)
    # Slices beyond the scan are 0, as in inference. Beyond its sides 0, air or the repeated edge,
    # so that the small tumour crop is not known by its frame.
    sides = ~within & within.any((1, 2), keepdims=True)
    fill = rng.integers(3)
    if fill < 2:
        image[sides] = (0, -5)[fill]
    image[~within & ~sides] = 0
    return image.astype(np.float32), codes
