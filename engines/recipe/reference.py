"""A plain Python reference of the cascade's first and third stages, for checking an engine.

Owns preprocessing, sliding window, lesion gain, lesion components and the reclassify score, each
written the short way. Slow and clear; the daemon does not use it.
"""

import numpy as np
from scipy import ndimage as ndi
from skimage.transform import resize

from net import PLANS, SPACING_MM, normalise

ANISOTROPY = 3.0
LIVER_REGION = (1, 2, 3, 4, 5, 6, 7, 8)
BYPASS_CM3, THRESHOLD_CM3 = 64.0, 0.5
TEN_NEIGHBOURS = np.zeros((3, 3, 3), bool)
TEN_NEIGHBOURS[1] = True
TEN_NEIGHBOURS[:, 1, 1] = True


def separate_axis(current, new):
    """The axis resampled apart (nearest), or None: nnU-Net's rule."""
    for spacing in (current, new):
        if max(spacing) / min(spacing) > ANISOTROPY:
            axes = [i for i, s in enumerate(spacing) if s == max(spacing)]
            return axes[0] if len(axes) == 1 else None
    return None


def nearest_index(count_in, count_out):
    return np.clip(np.floor((np.arange(count_out) + 0.5) * count_in / count_out), 0, count_in - 1).astype(int)


def resample(volume, shape, current, new, order):
    """[z, y, x] to `shape`; slices apart when the spacing is anisotropic (z is the coarse axis)."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    options = dict(order=order, mode="edge", anti_aliasing=False, clip=True)
    if separate_axis(current, new) is None:
        return resize(volume.astype(np.float64), shape, **options).astype(np.float32)
    wanted, index = np.unique(nearest_index(volume.shape[0], shape[0]), return_inverse=True)
    slices = [resize(volume[z].astype(np.float64), shape[1:], **options) for z in wanted]
    return np.stack(slices).astype(np.float32)[index]


def to_grid(hu, spacing):
    """HU on the scan's grid -> normalised image on the engine's grid."""
    shape = [int(round(n * s / t)) for n, s, t in zip(hu.shape, spacing, SPACING_MM)]
    return resample(normalise(hu.astype(np.float32)), shape, spacing, SPACING_MM, 3)


def starts(size, tile):
    count = int(np.ceil((size - tile) / (tile * 0.5))) + 1
    step = (size - tile) / (count - 1) if count > 1 else 0
    return [int(np.round(step * i)) for i in range(count)]


def importance(patch):
    kernel = np.ones(())
    for n in patch:
        line = np.zeros(n)
        line[n // 2] = 1
        kernel = np.multiply.outer(kernel, ndi.gaussian_filter1d(line, n / 8, truncate=4, mode="constant"))
    kernel = (kernel / kernel.max() * 10).astype(np.float16)
    kernel[kernel == 0] = kernel[kernel > 0].min()
    return kernel.astype(np.float32)


def sliding_window(image, forward, plan):
    """Mean logits [classes, z, y, x] of an image on the engine's grid."""
    patch = plan.patch
    pads = [(max(p - n, 0) // 2, max(p - n, 0) - max(p - n, 0) // 2) for n, p in zip(image.shape, patch)]
    padded = np.pad(image, pads)
    kernel = importance(patch)
    total = np.zeros((len(plan.classes), *padded.shape), np.float32)
    weight = np.zeros(padded.shape, np.float32)
    for z in starts(padded.shape[0], patch[0]):
        for y in starts(padded.shape[1], patch[1]):
            for x in starts(padded.shape[2], patch[2]):
                box = (slice(z, z + patch[0]), slice(y, y + patch[1]), slice(x, x + patch[2]))
                total[(slice(None), *box)] += forward(padded[box]) * kernel
                weight[box] += kernel
    inner = tuple(slice(a, n - b) for (a, b), n in zip(pads, padded.shape))
    return (total / weight)[(slice(None), *inner)]


def native_logits(logits, shape, spacing):
    return np.stack([resample(c, shape, SPACING_MM, spacing, 1) for c in logits])


def label_map(logits, gain):
    """Argmax after the lesion gain (equation 3 on logits)."""
    shifted = logits.copy()
    shifted[1:7] += np.log(gain)
    return shifted.argmax(0).astype(np.uint8)


def lesions(labels, spacing):
    """Components per lesion label: (label, mask box, mask, volume in cm3), large first."""
    voxel = np.prod(spacing) / 1000
    found = []
    for label in range(1, 7):
        numbered, _ = ndi.label(labels == label, TEN_NEIGHBOURS)
        for i, box in enumerate(ndi.find_objects(numbered), 1):
            mask = numbered[box] == i
            found.append((label, box, mask, float(mask.sum() * voxel)))
    return sorted(found, key=lambda l: -l[3])


def liver_region(labels):
    """Liver with its lesions and vessels: components that hold liver, 3-D holes filled."""
    region = ndi.binary_fill_holes(np.isin(labels, LIVER_REGION))
    numbered, count = ndi.label(region)
    if not count:
        return region
    holds = np.unique(numbered[labels == 7])
    return np.isin(numbered, holds[holds > 0])


def forward_onnx(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda patch: session.run(None, {name: patch[None, None].astype(np.float32)})[0][0]


def forward_torch(model):
    import torch

    def run(patch):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return model(torch.from_numpy(np.ascontiguousarray(patch))[None, None])[0].float().numpy()
    return run


def dice(a, b):
    return float(2 * (a & b).sum() / max(a.sum() + b.sum(), 1))
