"""Compares `hepalert` with connected-components-3d (PyPI) on the same label maps.

    compare_cc3d.py BENCH [MASK.nii.gz ...]

BENCH is the program built from benches/seg2det.rs. Needs numpy, nibabel and
connected-components-3d. Without masks, synthetic maps of 512x512x78 are used. The two run by
turns, five rounds; figures are medians over the rounds of medians over eleven calls.

cc3d labels every non-zero value and returns a volume of component numbers (uint16 or uint32),
on one thread. hepalert is timed at three points: `components` (runs with component numbers),
`detections` (Det of the paper: boxes, masks, volumes, sorted) and `volume` (detections, then a
uint16 volume of their numbers, which is what cc3d returns). Connectivity differs: cc3d has 26
and 6 in three dimensions, hepalert the paper's 10.
"""

import importlib.metadata
import json
import statistics
import subprocess
import sys
import tempfile
import time

import cc3d
import numpy

ROUNDS, REPEATS = 5, 11


def synthetic():
    """Blobs by smoothing nothing away: ellipsoids; a noisy map; and an empty one."""
    random = numpy.random.default_rng(7)
    shape = (78, 512, 512)
    blobs = numpy.zeros(shape, numpy.uint8)
    for number in range(60):
        radius = numpy.array([random.integers(1, 5), random.integers(3, 22), random.integers(3, 22)])
        centre = numpy.array([random.integers(6, 72), random.integers(100, 412), random.integers(100, 412)])
        box = tuple(slice(c - r, c + r + 1) for c, r in zip(centre, radius))
        grid = numpy.ogrid[tuple(slice(-r, r + 1) for r in radius)]
        inside = sum((g / r) ** 2 for g, r in zip(grid, radius)) <= 1
        blobs[box][inside] = number % 6 + 1
    speckled = blobs.copy()
    specks = random.random(shape) < 0.002
    speckled[specks] = random.integers(1, 7, specks.sum())
    liver = blobs.copy()
    z, y, x = numpy.ogrid[:78, :512, :512]
    organ = ((z - 39) / 32) ** 2 + ((y - 250) / 120) ** 2 + ((x - 230) / 140) ** 2 <= 1
    liver[organ & (liver == 0)] = 7
    return {
        "60 lesions": blobs,
        "60 lesions in a liver of label 7": liver,
        "0.2 % specks": speckled,
        "empty": numpy.zeros(shape, numpy.uint8),
    }


def load(paths):
    import nibabel

    for path in paths:
        voxels = numpy.asanyarray(nibabel.load(path).dataobj)
        yield path, numpy.ascontiguousarray(voxels.T.astype(numpy.uint8))


def peer_ms(voxels, connectivity):
    times = []
    cc3d.connected_components(voxels, connectivity=connectivity)
    for _ in range(REPEATS):
        started = time.perf_counter()
        made = cc3d.connected_components(voxels, connectivity=connectivity)
        times.append((time.perf_counter() - started) * 1e3)
        del made
    return statistics.median(times)


def ours_ms(bench, raw, shape):
    command = [bench, raw, *map(str, shape), str(REPEATS)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in lines.splitlines()]


def compare(bench, name, voxels):
    lesions = numpy.where(voxels <= 6, voxels, 0).astype(numpy.uint8)
    rounds = []
    with tempfile.NamedTemporaryFile() as raw:
        raw.write(voxels.tobytes())
        raw.flush()
        for _ in range(ROUNDS):
            peer = {c: peer_ms(lesions, c) for c in (26, 6)}
            one, all_threads = ours_ms(bench, raw.name, voxels.shape)
            rounds.append((peer, one, all_threads))
    peer = {c: statistics.median(r[0][c] for r in rounds) for c in (26, 6)}
    print(f"\n{name}, {'x'.join(map(str, voxels.shape))}, {rounds[0][1]['lesions']} lesions")
    print(f"  cc3d, volume, one thread: {peer[26]:.2f} ms (26), {peer[6]:.2f} ms (6)")
    for at, threads in ((1, "one thread"), (2, f"{rounds[0][2]['threads']} threads")):
        for step in ("components", "detections", "volume"):
            ours = statistics.median(r[at][step] for r in rounds)
            print(f"  hepalert, {step}, {threads}: {ours:.2f} ms,"
                  f" cc3d takes {peer[26] / ours:.1f} (26) and {peer[6] / ours:.1f} (6) times that")


def main():
    bench, *paths = sys.argv[1:]
    print("connected-components-3d", importlib.metadata.version("connected-components-3d"))
    maps = load(paths) if paths else synthetic().items()
    for name, voxels in maps:
        compare(bench, name, voxels)


if __name__ == "__main__":
    main()
