"""Registration beside other programs on the same pairs: error, time, memory.

Pairs come from `cargo run --release -p hepalert-register --example accuracy -- table 1 DATA PAIRS`.
    python benches/compare_registration.py --pairs PAIRS --hepalert target/release/hepalert \\
        --deeds DIR --convexadam
prints one line per pair and program; programs run by turns on the same number of threads. DIR holds a
build of deedsBCV (https://github.com/mattiaspaul/deedsBCV); convexadam comes from PyPI. Needs numpy.
"""
import argparse
import gzip
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def run(command, threads, **kwargs):
    """Seconds, peak MiB and standard output of a command."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads))
    started = time.monotonic()
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT,
                                 env=env, **kwargs)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - started
        out.seek(0)
        text = out.read().decode(errors="replace")
    if status != 0:
        raise SystemExit(f"{command[0]} ended with {status}:\n{text[-2000:]}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"wall": wall, "cpu": cpu, "mib": usage.ru_maxrss / 1024, "text": text}


def geometry(path):
    """Shape (x, y, z), spacing and origin of a file that `Grid::axial` made."""
    head = gzip.open(path).read(348)
    shape = struct.unpack("<3h", head[42:48])
    spacing = struct.unpack("<3f", head[80:92])
    rows = struct.unpack("<12f", head[280:328])
    return np.array(shape), np.array(spacing), np.array([rows[3], rows[7], rows[11]])


def points(path):
    return np.loadtxt(path, delimiter=",", skiprows=1)


def deeds_points(prefix, image, at):
    """Where the reference's field takes points: blocks u (y), v (x), w (z) of the last lattice."""
    shape, spacing, origin = geometry(image)
    nodes = shape // 4
    blocks = np.fromfile(f"{prefix}_displacements.dat", "<f4").reshape(3, nodes[2], nodes[1], nodes[0])
    voxel = (at - origin) / spacing
    place = np.clip(voxel * nodes / shape, 0, nodes - 1)
    low = np.minimum(place.astype(int), nodes - 1)
    high = np.minimum(low + 1, nodes - 1)
    share = place - low
    moved = np.zeros_like(voxel)
    for corner in range(8):
        pick = [(high if corner >> a & 1 else low)[:, a] for a in range(3)]
        weight = np.prod([share[:, a] if corner >> a & 1 else 1 - share[:, a] for a in range(3)], axis=0)
        for axis, block in ((0, 1), (1, 0), (2, 2)):
            moved[:, axis] += weight * blocks[block][pick[2], pick[1], pick[0]]
    return origin + (voxel + moved) * spacing


def error(found, truth):
    return np.linalg.norm(found - truth, axis=1)


CONVEXADAM = """
import sys, numpy as np, gzip
from convexAdam.convex_adam_MIND import convex_adam_pt
def image(path):
    raw = gzip.open(path).read()
    shape = np.frombuffer(raw, "<i2", 3, 42)
    return np.frombuffer(raw, "<f4", int(np.prod(shape, dtype=np.int64)), 352).reshape(shape, order="F").copy()
np.save(sys.argv[3], convex_adam_pt(image(sys.argv[1]), image(sys.argv[2])))
"""


def convexadam_points(field, image, at):
    """Where convexadam's field takes points: a displacement in voxels for every voxel, x, y, z."""
    _, spacing, origin = geometry(image)
    field = np.load(field)
    voxel = (at - origin) / spacing
    low = np.clip(voxel.astype(int), 0, np.array(field.shape[:3]) - 2)
    share = voxel - low
    moved = np.zeros_like(voxel)
    for corner in range(8):
        step = np.array([corner >> a & 1 for a in range(3)])
        weight = np.prod(np.where(step, share, 1 - share), axis=1)
        moved += weight[:, None] * field[tuple((low + step).T)]
    return origin + (voxel + moved) * spacing


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--hepalert", type=Path, required=True)
    parser.add_argument("--deeds", type=Path)
    parser.add_argument("--convexadam", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="part of the names of the pairs to run")
    args = parser.parse_args()
    print("| pair | voxels | before mm | program | after mm | 95 % mm | s | CPU s | MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for fixed in sorted(args.pairs.glob(f"*{args.only}*-fixed.nii.gz")):
        base = str(fixed)[: -len("-fixed.nii.gz")]
        moving = f"{base}-moving.nii.gz"
        if (geometry(fixed)[0] != geometry(moving)[0]).any():
            continue  # the others take images of one shape only
        compare(args, base, fixed, moving)


def compare(args, base, fixed, moving):
    at, truth = points(f"{base}-points.csv"), points(f"{base}-truth.csv")
    shape = "x".join(str(n) for n in geometry(fixed)[0])
    before = error(at, truth).mean()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)

        def hepalert(*more):
            image, csv = (out / f"ours{'-'.join(more)}.{ending}" for ending in ("nii.gz", "csv"))
            command = [args.hepalert, "register", "--fixed", fixed, "--moving", moving, "--out", image,
                       "--points", f"{base}-points.csv", "--points-out", csv, *more]
            return run(command, args.threads), points(csv)

        def deeds():
            cost = run([args.deeds / "deedsBCV", "-F", fixed, "-M", moving, "-O", out / "d"], args.threads)
            return cost, deeds_points(out / "d", fixed, at)

        def convexadam():
            cost = run([sys.executable, "-c", CONVEXADAM, fixed, moving, out / "c.npy"], args.threads)
            return cost, convexadam_points(out / "c.npy", fixed, at)

        programs = [("hepalert", hepalert), ("hepalert --wide", lambda: hepalert("--wide"))]
        programs += [("deedsBCV", deeds)] if args.deeds else []
        programs += [("convexadam", convexadam)] if args.convexadam else []
        for name, program in programs:
            cost, found = program()
            off = error(found, truth)
            print(f"| {Path(base).name} | {shape} | {before:.2f} | {name} | {off.mean():.2f} "
                  f"| {np.percentile(off, 95):.2f} | {cost['wall']:.1f} | {cost['cpu']:.1f} | {cost['mib']:.0f} |",
                  flush=True)


if __name__ == "__main__":
    main()
