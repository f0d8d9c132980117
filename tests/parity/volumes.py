"""Synthetic volumes with balls, boxes and bars in a made-up body, and their files."""

import nibabel
import numpy as np

# Hounsfield units per channel of body, ball, box, bar.
TONES = np.array([[40, 110, -30, 190], [45, 190, -20, 90], [60, 100, 10, 240], [30, 60, -60, 150]], float)


def world(rng, shape, spacing, channels):
    """(image [channel, z, y, x] in HU, truth [z, y, x]) with shapes some centimetres apart."""
    position = np.meshgrid(*((np.arange(n) - n / 2) * mm for n, mm in zip(shape, spacing)), indexing="ij")
    size = np.array(shape) * spacing
    truth = np.zeros(shape, np.uint8)
    for _ in range(max(3, int(np.prod(size) / 9000))):
        centre = (rng.random(3) - 0.5) * size
        radius = rng.uniform(3, 8)
        away = [np.abs(p - c) for p, c in zip(position, centre)]
        label = rng.integers(1, 4)
        if label == 1:
            inside = sum(a**2 for a in away) < radius**2
        elif label == 2:
            inside = np.maximum.reduce(away) < 0.8 * radius
        else:
            inside = (np.hypot(away[1], away[2]) < 0.5 * radius) & (away[0] < 1.6 * radius)
        truth[inside] = label
    image = np.stack([TONES[c][truth] for c in range(channels)])
    body = (position[1] / size[1]) ** 2 + (position[2] / size[2]) ** 2 < 0.24
    image[:, ~body & (truth == 0)] = -150
    return image + rng.normal(0, 12, image.shape), truth


def affine(spacing, orientation, origin=(-31.0, 17.5, -204.0)):
    """x, y, z columns; `las`, `lps`, `ras` axial, `coronal`, `oblique`."""
    sz, sy, sx = spacing
    columns = {"ras": np.diag([sx, sy, sz]), "lps": np.diag([-sx, -sy, sz]), "las": np.diag([-sx, sy, sz]),
               "coronal": np.array([[-sx, 0, 0], [0, 0, sz], [0, -sy, 0]]).astype(float)}
    if orientation == "oblique":
        c, s = np.cos(0.3), np.sin(0.3)
        made = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([-sx, -sy, sz])
    else:
        made = columns[orientation]
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = made, origin
    return out


def write(folder, name, seed, case):
    """One int16 file per channel, of a case's shape and its air around it."""
    rng = np.random.default_rng(seed)
    image, _ = world(rng, case.shape, case.spacing, case.model.channels)
    image = np.rint(image).astype(np.int16)
    if case.padding:
        image[image == 0] = 1
        inside = np.zeros(case.shape, bool)
        inside[tuple(slice(case.padding, n - case.padding) for n in case.shape)] = True
        image[:, ~inside] = 0
    image = np.pad(image, ((0, 0), (0, 0), (case.air,) * 2, (case.air,) * 2), constant_values=-1000)
    paths = []
    for channel, voxels in enumerate(image):
        path = folder / f"{name}_{channel:04}.nii.gz"
        file = nibabel.Nifti1Image(voxels.transpose(2, 1, 0), affine(case.spacing, case.orientation))
        file.header.set_zooms(case.spacing[::-1])
        file.header.set_xyzt_units("mm")
        nibabel.save(file, path)
        paths.append(path)
    return paths
