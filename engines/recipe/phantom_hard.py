"""What the first network takes for lesions and is none, over the phantoms of its own training: hard cases for the second.

    python phantom_hard.py phantom-diagnosis --phantoms PHANTOMS --out RUN [--gain 10]

Writes RUN/hard/<seed>.npz: the voxels, on the networks' grid. `phantom_train.py ... reclassify` takes them up by itself.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import phantom_cases
from data import write_hard
from net import PHANTOM_PHASES, UNet, normalise, plans_of

LESIONS = slice(1, 7)


def starts(length, patch):
    """Where tiles begin: edge to edge, the last one at the end."""
    return sorted({min(at, max(length - patch, 0)) for at in range(0, length, patch)})


@torch.no_grad()
def lesions_seen(model, plan, case, gain):
    """Mask [z, y, x] of what the network calls a lesion when lesions' probabilities count `gain` times."""
    shape = [max(n, p) for n, p in zip(case.labels.shape, plan.patch)]
    pad = [(0, 0), *((0, s - n) for s, n in zip(shape, case.labels.shape))]
    image = normalise(np.pad(case.hu, pad, constant_values=phantom_cases.AIR).astype(np.float32), plan.hu_mean)
    image, seen = torch.from_numpy(image.astype(np.float32)), np.zeros(shape, bool)
    for z in starts(shape[0], plan.patch[0]):
        for y in starts(shape[1], plan.patch[1]):
            for x in starts(shape[2], plan.patch[2]):
                box = tuple(slice(a, a + p) for a, p in zip((z, y, x), plan.patch))
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model(image[(None, slice(None), *box)])
                logits = logits[0].float()
                logits[LESIONS] += float(np.log(gain))
                label = logits.argmax(0).numpy()
                seen[box] |= (label >= 1) & (label <= 6)
    return seen[tuple(slice(n) for n in case.labels.shape)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", choices=list(PHANTOM_PHASES))
    parser.add_argument("--phantoms", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--gain", type=float, default=10.0)
    args = parser.parse_args()
    plan = plans_of(args.engine)["segment"]
    model = UNet(plan).eval()
    model.load_state_dict(torch.load(args.out / "segment.pt", weights_only=False)["average"])
    for case in phantom_cases.load_all(args.phantoms, PHANTOM_PHASES[args.engine]):
        false = lesions_seen(model, plan, case, args.gain) & ~((case.labels >= 1) & (case.labels <= 6))
        write_hard(args.out / "hard", case.name, false)
        print(f"{case.name}: {int(false.sum())} voxels", flush=True)


if __name__ == "__main__":
    main()
