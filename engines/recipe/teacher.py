"""Lets a trained bundle choose where a label stands for a set of classes.

    python teacher.py --bundle ../venous-demo --data DATA --out teacher

Owns the hard labels that `train.py --teacher` uses. What an expert or a machine labelled with one
class stays; elsewhere the teacher's class is taken if it is of the set (`data.CODES`), else the set's
plain tissue. Small pieces go to that tissue too. A lesion is never made up: an unknown voxel becomes one only where it
touches a labelled lesion.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi

import data
import reference as ref
from net import PLANS

SMALLEST_CM3 = 0.2
VESSELS_AND_ORGANS = range(8, 14)
NOT_A_LESION = np.array([c not in data.LESIONS for c in range(14)])


# What a voxel of a set is if the teacher's class is not of it.
PLAIN_TISSUE = np.full(len(data.CODES), data.BG, np.uint8)
PLAIN_TISSUE[data.LIVER_OR_VESSEL] = data.LIVER


def choose(codes, logits, spacing):
    """Codes [z, y, x] with one class per voxel, from codes with sets and logits [14, z, y, x]."""
    out, said = codes.copy(), logits.argmax(0).astype(np.uint8)
    for code in range(14, 18):
        allowed = NOT_A_LESION if code == data.UNKNOWN else data.CODES[code] > 0
        where = codes == code
        out[where] = np.where(allowed[said[where]], said[where], PLAIN_TISSUE[code])
    least = SMALLEST_CM3 * 1000 / np.prod(spacing)
    for organ in VESSELS_AND_ORGANS:
        numbered, count = ndi.label(out == organ)
        small = np.bincount(numbered.ravel(), minlength=count + 1) < least
        small[0] = False
        scrap = small[numbered] & (codes >= 14)
        out[scrap] = PLAIN_TISSUE[codes[scrap]]
    return grow_lesions(codes, out, logits)


def grow_lesions(codes, out, logits):
    """Unknown voxels that the teacher calls lesion and that touch a labelled one take its class."""
    lesion = (codes >= 1) & (codes <= 6)
    maybe = lesion | ((codes == data.UNKNOWN) & (logits[1:7].max(0) > logits[NOT_A_LESION].max(0)))
    numbered, count = ndi.label(maybe)
    for i, box in enumerate(ndi.find_objects(numbered), 1):
        piece = numbered[box] == i
        if (piece & lesion[box]).any():
            kind = np.bincount(codes[box][piece & lesion[box]]).argmax()
            out[box][piece & ~lesion[box]] = kind
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", required=True, type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    forward = ref.forward_onnx(args.bundle / "segment.onnx")
    for case in data.load_real(args.data):
        grid = ref.sliding_window(ref.to_grid(case.hu, case.spacing), forward, PLANS["segment"])
        hard = choose(case.codes, ref.native_logits(grid, case.hu.shape, case.spacing), case.spacing)
        np.savez_compressed(args.out / f"{case.name}.npz", codes=hard)
        print(case.name, np.bincount(case.codes.ravel(), minlength=18), "->", np.bincount(hard.ravel()), flush=True)


if __name__ == "__main__":
    main()
