"""Can lesion types be told apart by density at all? A nearest neighbour on mean HU answers before any training.

    python separable.py --phantoms PHANTOMS

Every lesion of every phantom (`hepalert phantom --setting diagnosis --aligned`) is described by the mean and the
deviation of its core and the mean of its rim, less the liver's mean, in the phases given; its nearest neighbours among
the lesions of other patients name it. What this cannot tell apart, a network has to tell by shape and texture, or
cannot either.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi

from data import load_nifti
from net import SEGMENT_CLASSES

PHASES = ("nc", "ap", "vp", "dp")
NEIGHBOURS = 5


def described(folder):
    """Rows of (label, features [phase, 3]) of one phantom."""
    labels, _ = load_nifti(folder / "truth.nii.gz", np.uint8)
    hu = [load_nifti(folder / f"{phase}.nii.gz")[0].astype(np.float32) for phase in PHASES]
    liver = labels == 7
    means = [float(image[liver].mean()) for image in hu]
    for label in range(1, 7):
        numbered, count = ndi.label(labels == label)
        for i, box in enumerate(ndi.find_objects(numbered), 1):
            lesion = numbered[box] == i
            core = ndi.binary_erosion(lesion, np.ones((1, 3, 3), bool), iterations=3)
            if core.sum() < 20:
                continue
            rim = lesion & ~core
            yield label, [[image[box][core].mean() - mean, image[box][core].std(), image[box][rim].mean() - mean]
                          for image, mean in zip(hu, means)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--phantoms", required=True, type=Path)
    folders = sorted(p.parent for p in parser.parse_args().phantoms.glob("*/phantom.json"))
    rows = [(n, label, features) for n, folder in enumerate(folders) for label, features in described(folder)]
    patient, label = (np.array([row[i] for row in rows]) for i in (0, 1))
    features = np.array([row[2] for row in rows])
    print(f"{len(rows)} lesions of {len(folders)} phantoms")
    print("| phases | all | " + " | ".join(SEGMENT_CLASSES[1:7]) + " |\n" + 8 * "|---" + "|")
    for phases in (("vp",), ("nc",), PHASES):
        at = [PHASES.index(phase) for phase in phases]
        points = features[:, at].reshape(len(rows), -1)
        points = points / points.std(0)
        distance = ((points[:, None] - points[None]) ** 2).sum(-1)
        distance[patient[:, None] == patient[None]] = np.inf
        near = label[np.argsort(distance, 1)[:, :NEIGHBOURS]]
        said = np.array([np.bincount(row, minlength=7).argmax() for row in near])
        right = said == label
        shares = [f"{right[label == c].mean():.2f} of {(label == c).sum()}" for c in range(1, 7)]
        print(f"| {', '.join(phases)} | {right.mean():.2f} | " + " | ".join(shares) + " |")


if __name__ == "__main__":
    main()
