"""Tries a bundle (or checkpoints) on the training patients and on phantoms, and prints figures.

    python check.py --bundle ../venous-demo --data DATA --phantoms HELD_OUT --json training.json
    python check.py --run RUN --data DATA --phantoms PHANTOMS --hard HARD --first-only

The second form writes the first stage's false positives for `train.py reclassify --hard`.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

import data
import reference as ref
from net import HU_STD, PLANS, SPACING_MM, UNet, shift_of

MALIGNANT = (1, 2, 3)
N_ORIGINAL, N_SHUFFLED = 4, 4


def forwards(args):
    """Forward functions by network name, from ONNX or from the averaged checkpoint weights.

    `shift` is what to add to the first network's image to have the second's.
    """
    found = {"shift": shift_of(PLANS["reclassify"])}
    if args.bundle:  # a bundle says by itself what normalises to 0
        networks = json.loads((args.bundle / "manifest.json").read_text())["networks"]
        means = [networks[n]["normalisation"][0]["mean"] for n in ("segment", "reclassify")]
        found["shift"] = (means[0] - means[1]) / HU_STD
    for name, plan in PLANS.items():
        if args.bundle:
            found[name] = ref.forward_onnx(args.bundle / f"{name}.onnx")
        elif (args.run / f"{name}.pt").exists():
            model = UNet(plan).eval()
            model.load_state_dict(torch.load(args.run / f"{name}.pt", weights_only=False)["average"])
            found[name] = ref.forward_torch(model)
    return found


def patch_at(image, region, centre, patch):
    """Masked patch around a voxel; beyond the image it is 0."""
    start = [int(round(c - p / 2)) for c, p in zip(centre, patch)]
    out, inside = np.zeros(patch, np.float32), np.zeros(patch, bool)
    src = tuple(slice(max(s, 0), min(s + p, n)) for s, p, n in zip(start, patch, image.shape))
    dst = tuple(slice(a.start - s, a.stop - s) for a, s in zip(src, start))
    out[dst] = np.where(region[src], image[src], 0)
    inside[dst] = region[src]
    return out, inside, np.array(start)


def reclassify_score(rng, forward, image, region, lesion_voxels, all_lesions):
    """Mean overlap volume in cm3 and class votes over original and shuffled positives (equation 11)."""
    plan = PLANS["reclassify"]
    patch, voxel = np.array(plan.patch), np.prod(SPACING_MM) / 1000
    low, high = lesion_voxels.min(0), lesion_voxels.max(0) + 1
    centroid = lesion_voxels.mean(0)
    spots, volumes, votes = np.argwhere(region), [], np.zeros(7)
    for i in range(N_ORIGINAL + N_SHUFFLED):
        if i < N_ORIGINAL:
            slack = np.maximum((patch - (high - low)) / 2 - 1, 0)
            middle = np.where(high - low <= patch, (low + high) / 2, centroid)
            picture, _, start = patch_at(image, region, middle + rng.uniform(-1, 1, 3) * slack * 0.8, patch)
            carried = lesion_voxels - start
            carried = carried[((carried >= 0) & (carried < patch)).all(1)]
        else:
            picture, carried = shuffled(rng, image, region, all_lesions, lesion_voxels, spots, patch)
        if not len(carried):
            volumes.append(0.0)
            continue
        seen = forward(picture).argmax(0)[tuple(carried.T)]
        lesion = (seen >= 1) & (seen <= 6)
        volumes.append(float(lesion.sum() * voxel))
        votes += np.bincount(seen[lesion], minlength=7)[:7] * voxel
    return float(np.mean(volumes)), votes


def shuffled(rng, image, region, all_lesions, voxels, spots, patch):
    """Original negative patch with the lesion moved into it."""
    import shuffle
    clear = region & ~all_lesions
    for _ in range(shuffle.TRIES):
        centre = spots[rng.integers(len(spots))]
        picture, inside, start = patch_at(image, region, centre, patch)
        box_lesions = patch_at(all_lesions.astype(np.float32), region, centre, patch)[0] > 0
        if not box_lesions.any():
            break
    picture[box_lesions] = 0
    found = shuffle.best_shift(rng, voxels, inside & ~box_lesions, tuple(patch), 0.95)
    if found is None:
        found = largest_fit(rng, voxels, inside & ~box_lesions, patch)
    if found is None:
        return picture, np.zeros((0, 3), int)
    target, source = found
    picture[tuple(target.T)] = image[tuple(source.T)]
    return picture, target


def largest_fit(rng, voxels, allowed, patch):
    spots, best = np.argwhere(allowed), None
    if not len(spots):
        return None
    middle = voxels.mean(0).round().astype(int)
    for _ in range(50):
        target = voxels + (spots[rng.integers(len(spots))] - middle)
        ok = ((target >= 0) & (target < patch)).all(1)
        ok[ok] = allowed[tuple(target[ok].T)]
        if best is None or ok.sum() > len(best[0]):
            best = (target[ok], voxels[ok])
    return best


def cascade(case, forward, labels, image, seed=1):
    """Lesions of a label map (native grid) after the reclassify stage."""
    shape = image.shape
    on_grid = lambda mask: ref.resample(mask.astype(np.float32), shape, case.spacing, SPACING_MM, 1) > 0.5
    region = on_grid(ref.liver_region(labels))
    all_lesions = on_grid((labels >= 1) & (labels <= 6))
    kept = []
    for label, box, mask, volume in ref.lesions(labels, case.spacing):
        if volume < ref.THRESHOLD_CM3:
            continue
        whole = np.zeros(labels.shape, bool)
        whole[box] = mask
        score, after = None, label
        if volume <= ref.BYPASS_CM3:
            voxels = np.argwhere(on_grid(whole))
            if not len(voxels) or not region.any():
                continue
            score, votes = reclassify_score(np.random.default_rng(seed), forward, image, region, voxels, all_lesions)
            after = int(votes.argmax()) if votes.any() else label
        kept.append({"label": label, "after": after, "cm3": round(volume, 2),
                     "score": None if score is None else round(score, 2),
                     "kept": bool(score is None or score >= ref.THRESHOLD_CM3), "mask": whole})
    return kept


def truth_masks(case):
    codes = case.codes
    liver = np.isin(codes, [*range(1, 9), data.LIVER_OR_VESSEL, data.UNKNOWN])
    lesion = (codes >= 1) & (codes <= 6)
    return liver & (codes != data.UNKNOWN), lesion


def run_case(case, nets, gains, first_only):
    """Figures of one case, and its logits-derived label maps by gain."""
    image = ref.to_grid(case.hu, case.spacing)
    logits = ref.native_logits(ref.sliding_window(image, nets["segment"], PLANS["segment"]), case.hu.shape, case.spacing)
    liver, lesion = truth_masks(case)
    known = case.codes != data.UNKNOWN
    malignant = np.isin(case.codes, MALIGNANT)
    out, maps = {}, {}
    for gain in gains:
        labels = maps[gain] = ref.label_map(logits, gain)
        entry = {"liver_dice": round(ref.dice(((labels >= 1) & (labels <= 8) & known), liver), 4),
                 "lesion_dice": round(ref.dice(((labels >= 1) & (labels <= 6) & known), lesion), 4)}
        if first_only:
            entry["found"] = [(l, round(v, 2), bool(lesion[b][m].any())) for l, b, m, v in ref.lesions(labels, case.spacing) if v >= 0.5][:12]
        else:
            found = cascade(case, nets["reclassify"], labels, image + np.float32(nets["shift"]))
            for f in found:
                mask = f.pop("mask")
                f["on_lesion"] = bool(lesion[mask].any())
                f["on_malignant"] = bool(malignant[mask].any())
            entry["findings"] = found
            entry["malignant"] = any(f["kept"] and f["after"] in MALIGNANT for f in found)
        out[gain] = entry
    truth = "malignant" if malignant.any() else "benign" if lesion.any() else "none"
    return {"truth": truth, "gains": out}, maps


def write_hard(case, labels, folder):
    """Stores where the first stage saw a lesion that is none."""
    lesion = (case.codes >= 1) & (case.codes <= 6)
    false = (labels >= 1) & (labels <= 6) & ~lesion & (case.codes != data.UNKNOWN)
    data.write_hard(folder, case.name, false)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--phantoms")
    parser.add_argument("--limit", type=int, default=1000, help="at most this many phantoms")
    parser.add_argument("--gains", type=float, nargs="+", default=[1, 100])
    parser.add_argument("--first-only", action="store_true")
    parser.add_argument("--hard", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--skip-real", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    nets, results = forwards(args), {}
    cases = [] if args.skip_real else data.load_real(args.data)[:3]
    for case in cases + data.load_phantoms(args.phantoms)[: args.limit]:
        results[case.name], maps = run_case(case, nets, args.gains, args.first_only)
        if args.hard:
            write_hard(case, maps[max(args.gains)], args.hard)
        print(case.name, results[case.name]["truth"], flush=True)
        for gain, entry in results[case.name]["gains"].items():
            print("   gain", gain, json.dumps(entry), flush=True)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
