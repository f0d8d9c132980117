"""hepalert's side: bundles from results folders, and `hepalert segment` on files."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engines/recipe"))
import nnunet_import

PHASES = {1: ["vp"], 4: ["nc", "ap", "vp", "dp"]}
UNUSABLE = 4  # exit code: the engine or its runtime


class Unusable(Exception):
    """The engine cannot be run so; the message is hepalert's own."""


def find_openvino():
    """Lets hepalert find the OpenVINO of this Python; false if there is none."""
    spec = importlib.util.find_spec("openvino")
    if spec is None or spec.origin is None:
        return "HEPALERT_OPENVINO" in os.environ
    os.environ.setdefault("HEPALERT_OPENVINO", str(Path(spec.origin).parent / "libs"))
    return True


def run(words):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode == UNUSABLE:
        raise Unusable(done.stderr.strip().splitlines()[-1])
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def why_not(program, backend, precision):
    """None if the demonstration engine passes its golden patch so, or what hepalert says."""
    bundle = ROOT / "engines/venous-demo"
    try:
        run([program, "engine", "selftest", bundle, "--backend", backend, "--precision", precision])
    except Unusable as reason:
        return str(reason)
    return None


def import_bundle(results, bundle, channels, fusion, golden, more=()):
    words = [results, "--bundle", bundle, "--id", "parity", "--phases", ",".join(PHASES[channels]), "--fusion", fusion,
             *more]
    nnunet_import.main([str(word) for word in words + (["--golden", golden] if golden else [])])


def changed(bundle, copy, change):
    """The same bundle with another manifest."""
    copy.mkdir()
    for path in bundle.iterdir():
        if path.name != "manifest.json":
            os.link(path, copy / path.name)
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@dataclass(frozen=True)
class Study:
    """A program, an engine and the scan it is run on."""

    program: Path
    bundle: Path
    images: tuple

    def segment(self, out, *extra):
        """What `hepalert segment` says of its work, with the time of the whole process."""
        words = [self.program, "--json", "segment", "--engine", self.bundle, "--out", out, *extra]
        for phase, path in zip(PHASES[len(self.images)], self.images):
            words += ["--phase", f"{phase}={path}"]
        started = time.time()
        said = json.loads(run(words))
        return said | {"process_s": time.time() - started}
