"""Registration beside the reference program (deedsBCV) on the same pairs: error, time, memory.

Pairs come from `cargo run --release -p hepalert-register --example accuracy -- 1 DATA PAIRS`;
build deedsBCV (https://github.com/mattiaspaul/deedsBCV) anywhere. Then
    python benches/compare_deeds.py --pairs PAIRS --deeds DIR --hepalert target/release/hepalert
prints one line per pair; both run by turns on the same number of threads. Needs numpy.
"""
import argparse
import gzip
import os
import struct
import subprocess
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--deeds", type=Path, required=True)
    parser.add_argument("--hepalert", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--wide", action="store_true", help="search as far as the reference does")
    args = parser.parse_args()
    print("| pair | voxels | before mm | deeds mm | ours mm | deeds s (CPU) | ours s (CPU) "
          "| CPU ratio | deeds MiB | ours MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for fixed in sorted(args.pairs.glob(f"*{args.only}*-fixed.nii.gz")):
        base = str(fixed)[: -len("-fixed.nii.gz")]
        moving = f"{base}-moving.nii.gz"
        if (geometry(fixed)[0] != geometry(moving)[0]).any():
            continue  # the reference takes images of one shape only
        at, truth = points(f"{base}-points.csv"), points(f"{base}-truth.csv")
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            ours = run([args.hepalert, "--json", "register", "--fixed", fixed, "--moving", moving,
                        "--out", out / "w.nii.gz", "--points", f"{base}-points.csv",
                        "--points-out", out / "q.csv"] + (["--wide"] if args.wide else []),
                       args.threads)
            deeds = run([args.deeds / "deedsBCV", "-F", fixed, "-M", moving, "-O", out / "d"],
                        args.threads)
            mine = error(points(out / "q.csv"), truth)
            theirs = error(deeds_points(out / "d", fixed, at), truth)
        before = error(at, truth)
        shape = "x".join(str(n) for n in geometry(fixed)[0])
        print(f"| {Path(base).name} | {shape} | {before.mean():.2f} | {theirs.mean():.2f} "
              f"| {mine.mean():.2f} | {deeds['wall']:.1f} ({deeds['cpu']:.1f}) "
              f"| {ours['wall']:.1f} ({ours['cpu']:.1f}) | {deeds['cpu'] / ours['cpu']:.1f} "
              f"| {deeds['mib']:.0f} | {ours['mib']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
