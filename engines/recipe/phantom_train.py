"""Trains one of the two networks of a phantom engine by steps; stops and resumes from its checkpoint.

    python phantom_train.py phantom-diagnosis segment    --phantoms PHANTOMS --out RUN --steps 5000
    python phantom_train.py phantom-diagnosis reclassify --phantoms PHANTOMS --out RUN --steps 4000

Lesion types come to patches by turns, not by their number of voxels: of a patient's types one is drawn first.
The second network learns what `phantom_hard.py` found of the first one's errors, if that was run.
`--device cuda` runs the same recipe on a GPU.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import data
import phantom_cases
import shuffle
from loop import Loop
from net import PHANTOM_PHASES, UNet, plans_of
from train import total_loss

SOURCE = (20, 96, 96)  # lesion shuffle plays inside one patch of this size


class Patches(IterableDataset):
    """Endless stream of patches; every worker and every resumption draws from its own seed."""

    def __init__(self, args, start):
        self.args, self.start = args, start
        self.plan = plans_of(args.engine)[args.network]
        self.cases = phantom_cases.load_all(args.phantoms, PHANTOM_PHASES[args.engine])
        if args.network == "reclassify":
            for case in self.cases:
                phantom_cases.mark_hard(case, args.out / "hard")
        self.with_kind = {k: [c for c in self.cases if k in c.kinds] for k in range(1, 7)}
        self.with_kind = {k: cases for k, cases in self.with_kind.items() if cases}

    def pick(self, rng):
        """A patient, each lesion type as often as the others; one time in five anyone."""
        if rng.random() < 0.2:
            return self.cases[rng.integers(len(self.cases))]
        cases = self.with_kind[list(self.with_kind)[rng.integers(len(self.with_kind))]]
        return cases[rng.integers(len(cases))]

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.args.seed, self.start, info.id if info else 0])
        while True:
            case = self.pick(rng)
            if self.args.network == "segment":
                yield phantom_cases.patch_of(rng, case, self.plan)
                continue
            image, codes = phantom_cases.patch_of(rng, case, self.plan, SOURCE, 0.85)
            yield from shuffle.patches_of(shuffle.Source(rng, image, codes, np.array(self.plan.patch)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("engine", choices=list(PHANTOM_PHASES))
    parser.add_argument("network", choices=["segment", "reclassify"])
    parser.add_argument("--phantoms", required=True, help="folder of `hepalert phantom --setting diagnosis --aligned`, by seed")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--steps", type=int, required=True, help="whole training, resumptions included")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--lesion", type=float, default=2.0, help="additional weight of lesion voxels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model = UNet(plans_of(args.engine)[args.network]).train().to(args.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-2)
    loop = Loop(model, optimiser, args.out / f"{args.network}.pt", args.seed, args.rate,
                lambda step, _: step / args.steps, every=50, device=args.device)
    table = torch.from_numpy(data.CODES[:, : len(model.head.bias)].copy()).to(args.device)
    batches = iter(DataLoader(Patches(args, loop.step), args.batch, num_workers=args.workers, prefetch_factor=4))
    loop.run(batches, lambda outputs, codes, _: total_loss(outputs, codes, table, lesion=args.lesion))


if __name__ == "__main__":
    main()
