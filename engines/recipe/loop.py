"""The training loop of both trainers: rate, average, checkpoint, log.

Owns what is stored between runs. A run goes on where its checkpoint ends, and a paused process does not age.
"""

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

WARM_UP = 150


class Average:
    """Exponential moving average of the weights: short runs need it."""

    def __init__(self, model):
        self.weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
        self.steps = 0

    def update(self, model):
        self.steps += 1
        keep = min(0.998, self.steps / (self.steps + 10))
        for k, v in model.state_dict().items():
            self.weights[k].lerp_(v, 1 - keep)


@dataclass
class Loop:
    """One network in training. `share(step, seconds)` is how much of the training is done; 1 ends it."""

    model: torch.nn.Module
    optimiser: torch.optim.Optimizer
    checkpoint: Path
    seed: int
    rate: float
    share: Callable
    every: int = 100  # steps between two lines of the log
    keep_s: float = 150.0  # seconds between two checkpoints
    device: str = "cpu"

    def __post_init__(self):
        self.average, self.step, self.spent = Average(self.model), 0, 0.0
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=False, map_location=self.device)
            self.model.load_state_dict(state["model"])
            if "optimiser" in state:
                self.optimiser.load_state_dict(state["optimiser"])
            self.average.weights, self.average.steps = state["average"], state["step"]
            self.step, self.spent = state["step"], state["spent"]
        print(f"{sum(p.numel() for p in self.model.parameters())} parameters, from step {self.step}", flush=True)

    def save(self):
        state = {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
                 "average": self.average.weights, "step": self.step, "spent": self.spent, "seed": self.seed}
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        os.replace(self.checkpoint.with_suffix(".tmp"), self.checkpoint)

    def descend(self, image, codes, loss_of, share):
        """One step; gives the loss."""
        rate = self.rate * min(1, (self.step + 1) / WARM_UP) * max(0.01, 1 - share) ** 0.9
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group.get("gain", 1.0)
        with torch.autocast(self.device.split(":")[0], torch.bfloat16):
            outputs = self.model(image.to(self.device))
        loss = loss_of(outputs, codes.long().to(self.device), share)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(self.model)
        self.step += 1
        return float(loss.detach())

    def run(self, batches, loss_of):
        """Until all is done: `loss_of(outputs, codes, share)`. The log lies beside the checkpoint."""
        log = open(self.checkpoint.with_suffix(".log.jsonl"), "a", buffering=1)
        last, saved, losses = time.monotonic(), time.monotonic(), []
        while (share := self.share(self.step, self.spent)) < 1:
            losses.append(self.descend(*next(batches), loss_of, share))
            now = time.monotonic()
            self.spent, last = self.spent + min(now - last, 10.0), now
            if not math.isfinite(losses[-1]):
                raise SystemExit(f"loss is not finite at step {self.step}")
            if self.step % self.every == 0:
                line = {"step": self.step, "minutes": round(self.spent / 60, 2), "loss": round(float(np.mean(losses)), 4)}
                log.write(json.dumps(line) + "\n")
                print(line, flush=True)
                losses = []
            if now - saved > self.keep_s or self.share(self.step, self.spent) >= 1:
                self.save()
                saved = now
