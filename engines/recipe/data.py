"""Reads the training cases and says which classes each of them labels.

Every case is kept on its own grid; patches are cut by `augment.py`. A voxel's target is a code:
below 14 it is that class, from 14 on it is a set of classes the label does not tell apart
(`CODES`). A loss on the summed probability of the set uses partial labels honestly.
"""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

BG, META, CYST, LIVER, PORTAL = 0, 3, 6, 7, 9
GALLBLADDER, SPLEEN, PANCREAS, STOMACH = 10, 11, 12, 13
LESIONS = range(1, 7)
# Codes that stand for several classes.
BG_OR_ANY_ORGAN, LIVER_OR_VESSEL, BG_OR_PORTAL, UNKNOWN = 14, 15, 16, 17
# Where the first stage saw a lesion that is none (second network only).
HARD_LIVER, HARD_BG = 18, 19
CODES = np.zeros((20, 14), np.float32)
for _c in range(14):
    CODES[_c, _c] = 1
CODES[BG_OR_ANY_ORGAN, [0, 9, 10, 11, 12, 13]] = 1
CODES[LIVER_OR_VESSEL, [7, 8, 9]] = 1
CODES[BG_OR_PORTAL, [0, 9]] = 1
CODES[UNKNOWN, :] = 1
CODES[HARD_LIVER, [7, 8, 9]] = 1
CODES[HARD_BG, [0, 9, 10, 11, 12, 13]] = 1


@dataclass
class Case:
    """One scan: HU int16 [z, y, x], target codes of the same shape, spacing in mm (z, y, x)."""
    name: str
    hu: np.ndarray
    codes: np.ndarray
    spacing: tuple
    weight: float
    contrast: bool = True
    points: dict = field(default_factory=dict)

    def __post_init__(self):
        """Indexes where patches may be centred: lesion, liver, body."""
        liver = (self.codes == LIVER) | (self.codes == 8) | (self.codes == LIVER_OR_VESSEL)
        lesion = (self.codes >= 1) & (self.codes <= 6)
        body = np.zeros(self.hu.shape, bool)
        body[:, ::4, ::4] = self.hu[:, ::4, ::4] > -200  # a subset is enough
        rng = np.random.default_rng(0)
        for name, mask in (("liver", liver), ("lesion", lesion), ("body", body)):
            found = np.flatnonzero(mask)
            if len(found) > 40000:
                found = rng.choice(found, 40000, replace=False)
            self.points[name] = np.stack(np.unravel_index(found, mask.shape), 1).astype(np.int16)
        # Lesion components weigh alike, whatever their size.
        numbered, count = ndi.label(lesion) if lesion.any() else (lesion, 0)
        where = self.points["lesion"]
        owner = numbered[tuple(where.T)]
        sizes = np.bincount(owner, minlength=count + 1)
        weights = 1 / np.sqrt(sizes[owner].astype(float)) if count else np.ones(0)
        self.points["lesion_p"] = weights / weights.sum() if count else weights
        self.liver_hu = float(np.median(self.hu[liver])) if liver.any() else 100.0


def load_nifti(path, dtype=np.int16):
    """Array [z, y, x] in LPS storage order, and spacing (z, y, x) in mm."""
    image = nib.load(path)
    to_lps = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(image.affine),
        nib.orientations.axcodes2ornt(("L", "P", "S")))
    image = image.as_reoriented(to_lps)
    array = np.ascontiguousarray(np.asanyarray(image.dataobj).astype(dtype).T)
    return array, tuple(float(s) for s in image.header.get_zooms()[::-1])


def organ_codes(organs, background):
    """Machine organ labels (1 spleen, 2 pancreas, 4 gallbladder, 7 stomach) as target codes."""
    codes = np.full(organs.shape, background, np.uint8)
    for value, code in ((1, SPLEEN), (2, PANCREAS), (4, GALLBLADDER), (7, STOMACH)):
        codes[organs == value] = code
    return codes


def settle_background(codes, hu):
    """Background too dark or too bright for a filled portal vein is plain background."""
    smooth = ndi.gaussian_filter(hu.astype(np.float32), (0, 1.5, 1.5))
    codes[(codes == BG_OR_PORTAL) & ((smooth < 110) | (smooth > 280))] = BG


def load_chaos(root):
    """Healthy liver by an expert, organs by machine."""
    hu, spacing = load_nifti(root / "chaos-ct3/ct.nii.gz")
    liver, _ = load_nifti(root / "chaos-ct3/liver.nii.gz", np.uint8)
    organs, _ = load_nifti(root / "chaos-ct3/organs_machine.nii.gz", np.uint8)
    codes = organ_codes(organs, BG_OR_PORTAL)
    settle_background(codes, hu)
    codes[(organs == 6) & (liver == 0)] = UNKNOWN  # expert and machine disagree
    codes[liver > 0] = LIVER_OR_VESSEL
    return Case("chaos-ct3", hu, codes, spacing, 1.0)


def load_crlm(root):
    """Consensus (two of three) of machine tumour masks, taken as pseudo-labels.

    Components not mostly inside the machine liver are dropped: they mark gallbladder or heart.
    Voxels that only one mask calls tumour are unknown.
    """
    hu, spacing = load_nifti(root / "crlm-1004/ct.nii.gz")
    organs, _ = load_nifti(root / "crlm-1004/organs_machine.nii.gz", np.uint8)
    masks = [load_nifti(p, np.uint8)[0]
             for p in sorted((root / "crlm-1004").glob("liver_tumour_machine_*.nii.gz"))]
    votes = sum((m == 2).astype(np.uint8) for m in masks)
    livers = sum((m > 0).astype(np.uint8) for m in masks)
    liver = (organs == 6) | ((livers >= 2) & (organs == 0))
    codes = organ_codes(organs, BG_OR_PORTAL)
    settle_background(codes, hu)
    codes[liver] = LIVER_OR_VESSEL
    codes[(votes == 1) & liver] = UNKNOWN
    numbered, count = ndi.label(votes >= 2)
    for i, box in enumerate(ndi.find_objects(numbered), 1):
        lesion = numbered[box] == i
        volume_cm3 = lesion.sum() * np.prod(spacing) / 1000
        if (organs[box][lesion] == 6).mean() > 0.8 and volume_cm3 > 0.1:
            codes[box][lesion] = META
    # The machines draw tight: the next pixel around a lesion is left open.
    rim = ndi.binary_dilation(codes == META, np.ones((1, 3, 3), bool)) & (codes == LIVER_OR_VESSEL)
    codes[rim] = UNKNOWN
    return Case("crlm-1004", hu, codes, spacing, 1.0)


def load_lits(root):
    """Expert liver and tumours of a liver crop.

    The true spacing is lost. The crop is the box of the liver; from the width of vertebra and
    aorta it is about 1.45 mm in plane and 1.5 mm across; augmentation covers the doubt.
    """
    hu, _ = load_nifti(root / "lits-117/ct_128_crop.nii.gz")
    labels, _ = load_nifti(root / "lits-117/labels_liver1_tumour2.nii.gz", np.uint8)
    codes = np.full(hu.shape, BG_OR_ANY_ORGAN, np.uint8)
    codes[(hu < -150) | (hu > 350)] = BG  # air, fat's dark end and bone are no organ
    codes[labels == 1] = LIVER_OR_VESSEL
    codes[labels == 2] = META
    return Case("lits-117", hu, codes, (1.55, 1.45, 1.45), 1.0)


def load_totalsegmentator(root):
    """Non-contrast abdomen with machine organs: a weak extra, organs are lifted by augmentation."""
    hu, spacing = load_nifti(root / "totalsegmentator-example/example_ct.nii.gz")
    labels, _ = load_nifti(root / "totalsegmentator-example/example_seg_v1.nii.gz", np.uint8)
    codes = np.zeros(hu.shape, np.uint8)
    for value, code in ((1, SPLEEN), (4, GALLBLADDER), (5, LIVER_OR_VESSEL), (6, STOMACH),
                        (9, PORTAL), (10, PANCREAS)):
        codes[labels == value] = code
    return Case("totalsegmentator-example", hu, codes, spacing, 0.3, contrast=False)


def load_phantom(folder):
    """A synthetic patient with exact truth of all classes."""
    hu, spacing = load_nifti(folder / "ct.nii.gz")
    codes, _ = load_nifti(folder / "truth.nii.gz", np.uint8)
    return Case(folder.name, hu, codes, spacing, 1.0)


def settle(case, folder):
    """Replaces the codes of a case by the hard labels that teacher.py made of them."""
    case.codes = np.load(Path(folder) / f"{case.name}.npz")["codes"]


def write_hard(folder, name, false):
    """Stores where the first network saw a lesion that is none, a mask [z, y, x]."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", false=np.packbits(false))


def read_hard(folder, name, shape):
    """What `write_hard` stored for a case of this shape, or None."""
    path = Path(folder) / f"{name}.npz"
    if not path.exists():
        return None
    return np.unpackbits(np.load(path)["false"], count=int(np.prod(shape))).reshape(shape).astype(bool)


def mark_hard(case, folder, recode):
    """Reads where the first stage saw a lesion that is none (`NAME.npz` of check.py).

    Both networks draw patches there; with `recode` (second network) the codes say so too.
    """
    false = read_hard(folder, case.name, case.codes.shape)
    if false is None:
        return
    liver = np.isin(case.codes, [LIVER, 8, LIVER_OR_VESSEL])
    lesion = (case.codes >= 1) & (case.codes <= 6)
    if recode:
        case.codes[false & ~liver & ~lesion & (case.codes != UNKNOWN)] = HARD_BG
        case.codes[false & liver] = HARD_LIVER
    found = np.argwhere(false & ~lesion)
    if len(found):
        case.points["hard"] = found.astype(np.int16)


def load_real(root):
    root = Path(root)
    return [load_chaos(root), load_crlm(root), load_lits(root), load_totalsegmentator(root)]


def load_phantoms(folder):
    if folder is None:
        return []
    return [load_phantom(p.parent) for p in sorted(Path(folder).glob("*/truth.nii.gz"))]
