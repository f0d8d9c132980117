"""Trains one of the two networks of a phantom engine by steps; stops and resumes from its checkpoint.

    python phantom_train.py phantom-diagnosis segment    --phantoms PHANTOMS --out RUN --steps 5000
    python phantom_train.py phantom-diagnosis reclassify --phantoms PHANTOMS --out RUN --steps 4000

Lesion types come to patches by turns, not by their number of voxels: of a patient's types one is drawn first.
`--device cuda` runs the same recipe on a GPU.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import data
import phantom_cases
import shuffle
from net import PHANTOM_PHASES, UNet, plans_of
from train import WARM_UP, Average, save, total_loss

SOURCE = (20, 96, 96)  # lesion shuffle plays inside one patch of this size


class Patches(IterableDataset):
    """Endless stream of patches; every worker and every resumption draws from its own seed."""

    def __init__(self, args, start):
        self.args, self.start = args, start
        self.plan = plans_of(args.engine)[args.network]
        self.cases = phantom_cases.load_all(args.phantoms, PHANTOM_PHASES[args.engine])
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


def rate_at(args, step):
    return args.rate * min(1, (step + 1) / WARM_UP) * max(0.01, 1 - step / args.steps) ** 0.9


def main():
    args = arguments()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / f"{args.network}.pt"
    model = UNet(plans_of(args.engine)[args.network]).train().to(args.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-2)
    average, step, spent = Average(model), 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=False, map_location=args.device)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average.weights, average.steps = state["average"], state["step"]
        step, spent = state["step"], state["spent"]
    table = torch.from_numpy(data.CODES[:, : len(model.head.bias)].copy()).to(args.device)
    loader = iter(DataLoader(Patches(args, step), args.batch, num_workers=args.workers, prefetch_factor=4))
    log = open(args.out / f"{args.network}.log.jsonl", "a", buffering=1)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, from step {step}", flush=True)
    last, saved, losses = time.monotonic(), time.monotonic(), []
    while step < args.steps:
        image, codes = (part.to(args.device) for part in next(loader))
        for group in optimiser.param_groups:
            group["lr"] = rate_at(args, step)
        with torch.autocast(args.device.split(":")[0], torch.bfloat16):
            outputs = model(image)
        loss = total_loss(outputs, codes.long(), table, lesion=args.lesion)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        average.update(model)
        step += 1
        losses.append(float(loss.detach()))
        now = time.monotonic()
        spent, last = spent + min(now - last, 10.0), now  # a paused process does not age
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"loss is not finite at step {step}")
        if step % 50 == 0:
            line = {"step": step, "minutes": round(spent / 60, 2), "loss": round(float(np.mean(losses)), 4)}
            log.write(json.dumps(line) + "\n")
            print(line, flush=True)
            losses = []
        if now - saved > 120 or step == args.steps:
            save(checkpoint, model=model.state_dict(), optimiser=optimiser.state_dict(), average=average.weights,
                 step=step, spent=spent, seed=args.seed)
            saved = now


if __name__ == "__main__":
    main()
