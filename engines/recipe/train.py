"""Trains one of the two networks by the clock; stops and resumes from its checkpoint.

    python train.py segment --data DATA --phantoms PHANTOMS --out RUN --minutes 80
    python train.py reclassify --data DATA --phantoms PHANTOMS --out RUN --minutes 25

Continuing a bundle's network, with hard labels (teacher.py) and coarse arithmetic (coarse.py):

    python train.py segment --from-bundle ../venous-demo --teacher teacher --data DATA \\
        --phantoms PHANTOMS --out RUN --minutes 64 ...   (README.md, "Continuing a bundle")
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import max_pool3d
from torch.utils.data import DataLoader, IterableDataset

import augment
import coarse
import data
import shuffle
from bundle_files import bundle_weights
from loop import Loop
from net import PLANS, UNet
from plain import Plain

COMMON = 0.08  # share of a patch from which on a class is not rare; a spleen's


class Patches(IterableDataset):
    """Endless stream of training patches. Every worker draws from its own seed."""

    def __init__(self, args, kind, start):
        self.args, self.kind, self.start = args, kind, start
        self.real = data.load_real(args.data)
        self.phantoms = data.load_phantoms(args.phantoms)
        if args.teacher:
            for case in self.real:
                data.settle(case, args.teacher)
        if args.plain_share:
            self.plain = {c.name: Plain(c, PLANS[kind].patch) for c in self.real + self.phantoms}
        if args.hard:
            for case in self.real + self.phantoms:
                data.mark_hard(case, args.hard, kind == "reclassify")

    def pick(self, rng):
        if self.phantoms and rng.random() < self.args.phantom_share:
            return self.phantoms[rng.integers(len(self.phantoms))]
        weights = np.array([c.weight for c in self.real])
        return self.real[rng.choice(len(self.real), p=weights / weights.sum())]

    def __iter__(self):
        torch.set_num_threads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.args.seed, self.start, info.id if info else 0])
        donors = [c for c in self.real if len(c.points["lesion"])]
        while True:
            if self.kind == "segment" and rng.random() < self.args.plain_share:
                image, codes = self.plain[self.pick(rng).name].draw(rng)
                yield image[None], codes
            elif self.kind == "segment":
                image, codes = augment.training_patch(rng, self.pick(rng), donors, PLANS["segment"].patch)
                yield image[None], codes
            else:
                yield from shuffle.training_patches(rng, self.pick(rng), donors)


def regions_of(codes, classes):
    """Rows of (channels summed, truth mask): liver with contents, lesions together, single classes."""
    lesion = (codes >= 1) & (codes <= 6)
    yield (1, 2, 3, 4, 5, 6, 7, 8), lesion | (codes == 7) | (codes == 8) | (codes == data.LIVER_OR_VESSEL)
    yield (1, 2, 3, 4, 5, 6), lesion
    yield (1, 2, 3), lesion & (codes <= 3)
    yield (4, 5, 6), lesion & (codes >= 4)
    for c in (1, 2, 3, 4, 5, 6, *range(8, classes)):
        yield (c,), codes == c


def dice_loss(prob, codes, known):
    """Mean of 1 - soft Dice over the regions present; absent ones are left to the cross-entropy."""
    classes, rows, truths = prob.shape[1], [], []
    for channels, truth in regions_of(codes, classes):
        if int(truth.sum()) >= 30:
            rows.append([float(c in channels) for c in range(classes)])
            truths.append(truth.flatten())
    if not rows:
        return prob.sum() * 0
    known = known.flatten()
    p = torch.tensor(rows) @ prob.movedim(1, 0).flatten(1) * known
    t = torch.stack(truths).float() * known
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).mean()


def around(values):
    """The largest of `values` [b, z, y, x] within two pixels."""
    return max_pool3d(values, (1, 5, 5), 1, (0, 2, 2))


def at_borders(codes, said, extra, rare=1.0):
    """Weight per voxel [b, z, y, x]: 1, and `extra` more within two pixels of where labels change.

    A wrong voxel costs a class's Dice the more, the smaller the class: with `rare` over 1 `extra` grows by what a class
    has less than COMMON of the patch, up to `rare` times. Borders of `said`, the network's own classes, weigh the same
    then; else it would draw small classes where no label has them.
    """
    border = changes(codes)
    if rare > 1:
        counts = torch.bincount(codes.flatten(), minlength=data.CODES.shape[0]).clamp_min(1)
        rarity = (COMMON * codes[0].numel() / counts).clamp(1, rare)
        border = torch.maximum(border * around(rarity[codes]), changes(said) * around(rarity[said]))
    return 1 + extra * border


def changes(classes):
    """1.0 within two pixels of where the class changes, else 0."""
    high = classes.float()
    return (around(high) != -around(-high)).float()


def marginal_loss(logits, codes, table, weight):
    """Cross-entropy on summed class probability; a code may stand for a set of classes (data.CODES)."""
    log_prob = torch.log_softmax(logits.float(), 1)
    known = (codes != data.UNKNOWN).float()
    share = known * weight / (known * weight).sum().clamp_min(1)
    if not bool(((codes >= 14) & (codes != data.UNKNOWN)).any()):  # no sets: the common formula is faster
        picked = log_prob.gather(1, codes.clamp_max(log_prob.shape[1] - 1)[:, None])[:, 0]
        return -(picked * share).sum(), log_prob, known
    # No clamp on the probability: a class that has sunk to nothing must still feel its voxels.
    outside = (1 - table[codes].movedim(-1, 1)) * -1e4
    marginal = torch.logsumexp(log_prob + outside, 1)
    return -(marginal * share).sum(), log_prob, known


def type_loss(logits, codes):
    """Which lesion, given that it is one: mean over the types present, each by its own voxels.

    A few hundred lesion voxels drown in a patch of 262,144; here they count by themselves.
    """
    terms = []
    for c in range(1, 7):
        mask = codes == c
        if int(mask.sum()) >= 10:
            log_prob = torch.log_softmax(logits[:, 1:7].float().movedim(1, -1)[mask], 1)
            terms.append(-log_prob[:, c - 1].mean())
    return torch.stack(terms).mean() if terms else logits.sum() * 0


def total_loss(outputs, codes, table, border=0.0, rare=1.0, lesion=0.0, sharpen=0.0):
    """Sum over the heads. `border` and `lesion` are additional weights of such voxels; `sharpen` adds
    the mean entropy under these weights, so that undecided voxels cost."""
    loss = 0
    for level, (logits, weight) in enumerate(zip(outputs, (1.0, 0.4, 0.2))):
        strides = [c // l for c, l in zip(codes.shape[1:], logits.shape[2:])]
        small = codes[:, :: strides[0], :: strides[1], :: strides[2]]
        said = logits.detach().argmax(1) if rare > 1 else None
        emphasis = at_borders(small, said, border, rare) if border else torch.ones(())
        emphasis = emphasis + lesion * ((small >= 1) & (small <= 6)).float()
        ce, log_prob, known = marginal_loss(logits, small, table, emphasis)
        prob = log_prob.exp()
        loss = loss + weight * ce
        if sharpen and level == 0:
            entropy = -(prob * log_prob).sum(1) * known * emphasis
            loss = loss + sharpen * entropy.sum() / (known * emphasis).sum().clamp_min(1)
        if level < 2:
            loss = loss + weight * (dice_loss(prob, small, known) + 0.8 * type_loss(logits, small))
    return loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("network", choices=list(PLANS))
    parser.add_argument("--data", required=True, help="folder with chaos-ct3, crlm-1004, lits-117, ..")
    parser.add_argument("--phantoms", help="folder of phantoms (ct.nii.gz, truth.nii.gz each)")
    parser.add_argument("--hard", help="folder of first-stage false positives (check.py --hard)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--minutes", type=float, required=True, help="whole training time, resumes included")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--phantom-share", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--from-bundle", type=Path, help="start from this bundle's network, without deep supervision")
    parser.add_argument("--teacher", help="folder of hard labels made by teacher.py")
    parser.add_argument("--plain-share", type=float, default=0.0, help="share of patches not augmented (plain.py)")
    parser.add_argument("--mantissa-bits", type=int, default=7, help="round activations to so many bits (bfloat16: 7)")
    parser.add_argument("--border", type=float, default=0.0, help="additional weight of voxels near borders")
    parser.add_argument("--rare", type=float, default=1.0, help="up to how much more borders of small classes weigh")
    parser.add_argument("--lesion", type=float, default=0.0, help="additional weight of lesion voxels")
    parser.add_argument("--sharpen", type=float, default=0.0, help="weight of entropy near borders at the end; grows from 0")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    model = UNet(PLANS[args.network]).train()
    if args.from_bundle:
        model.deep = False
        model.load_state_dict(bundle_weights(args.from_bundle / f"{args.network}.onnx"), strict=False)
    coarse.apply(model, args.mantissa_bits)
    # Rare classes move only the heads at first, and Adam moves them slowly: five times the rate.
    heads = [p for n, p in model.named_parameters() if n.startswith(("head", "aux"))]
    body = [p for n, p in model.named_parameters() if not n.startswith(("head", "aux"))]
    optimiser = torch.optim.AdamW([{"params": body, "gain": 1.0}, {"params": heads, "gain": 1.0 if args.from_bundle else 5.0}],
                                  lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-2)
    loop = Loop(model, optimiser, args.out / f"{args.network}.pt", args.seed, args.rate,
                lambda _, seconds: seconds / (args.minutes * 60))
    table = torch.from_numpy(data.CODES[:, : len(PLANS[args.network].classes)].copy())
    batches = iter(DataLoader(Patches(args, args.network, loop.step), args.batch, num_workers=args.workers,
                              prefetch_factor=4))
    loop.run(batches, lambda outputs, codes, share: total_loss(outputs, codes, table, args.border, args.rare,
                                                               args.lesion, args.sharpen * share))


if __name__ == "__main__":
    main()
