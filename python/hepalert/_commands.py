"""One function per command, with its result.

Owns names of options and files. What is not named a place for goes to a folder that vanishes.
"""

from __future__ import annotations

import csv
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np

from ._image import Image
from ._run import run

#: A path, an :class:`Image`, or an image of nibabel; where it says so also a folder of DICOM slices.
ImageLike = Union[str, Path, Image, Any]


@dataclass
class Segmentation:
    """A label map in the input's geometry: 1 to 6 lesions, 7 liver, 8 to 13 vessels and organs."""

    labels: Image
    margin: Optional[Image]
    #: Voxels per class.
    voxels: dict[str, int]
    #: Everything else that the command tells: engine, seconds, memory.
    info: dict[str, Any]


@dataclass
class Lesion:
    """One lesion. Volume: voxels times the volume of a voxel; diameter: between centres of voxels."""

    id: int
    kind: str
    label: int
    malignant: bool
    voxels: int
    volume_cm3: float
    centre_ras_mm: tuple[float, float, float]
    max_diameter_mm: float
    max_axial_diameter_mm: float
    #: Half-open, `[[z0, y0, x0], [z1, y1, x1]]`.
    bbox_zyx: tuple[tuple[int, int, int], tuple[int, int, int]]


@dataclass
class Detections:
    """Single lesions, and each one's number on its voxels."""

    lesions: list[Lesion]
    numbers: Image


@dataclass
class Match:
    """Predicted lesions against true ones, by the paper's rule and by the strict one."""

    paper: dict[str, Any]
    strict: dict[str, Any]
    pairs: list[dict[str, Any]]


@dataclass
class Evaluation:
    """Tables over a cohort, and one line per case and variant."""

    tables: dict[str, Any]
    cases: list[dict[str, str]]


@dataclass
class Registration:
    """The moving image on the grid of the fixed one."""

    image: Image
    labels: Optional[Image]
    #: Millimetres along x, y, z for every voxel of the fixed image: `[3, z, y, x]`.
    field: Optional[Image]
    #: Where the points of the fixed image lie in the moving one, x, y, z in mm RAS.
    points: Optional[np.ndarray]
    info: dict[str, Any]


@dataclass
class Analysis:
    """The report of one study, with its label maps."""

    report: dict[str, Any]
    labels_base: Image
    labels_high: Image
    lesions: Image


class _Desk:
    """A folder for what goes to and fro."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.count = 0

    def given(self, image: ImageLike) -> Path:
        if isinstance(image, (str, Path)):
            return Path(image)
        self.count += 1
        path = self.folder / f"input-{self.count}.nii.gz"
        Image.of(image).write(path)
        return path

    def at(self, name: str) -> Path:
        return self.folder / name


def _desk() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="hepalert-")


def _options(**options: Any) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words


def _inputs(desk: _Desk, image: Optional[ImageLike], phases: Optional[Mapping[str, ImageLike]]) -> list[str]:
    if (image is None) == (phases is None):
        raise ValueError("give one image, or phases by their codes nc, ap, vp and dp")
    if phases is None:
        return [str(desk.given(image))]
    return [word for code, one in phases.items() for word in ("--phase", f"{code}={desk.given(one)}")]


def segment(
    image: Optional[ImageLike] = None,
    *,
    phases: Optional[Mapping[str, ImageLike]] = None,
    engine: Union[str, Path, None] = None,
    alpha: Optional[float] = None,
    margin: bool = False,
    backend: Optional[str] = None,
    precision: Optional[str] = None,
    threads: Optional[int] = None,
) -> Segmentation:
    """The first stage alone. Paths may be folders of DICOM slices."""
    with _desk() as folder:
        desk = _Desk(folder)
        out, margin_out = desk.at("labels.nii.gz"), desk.at("margin.nii.gz")
        words = _inputs(desk, image, phases)
        words += _options(
            engine=engine, alpha=alpha, backend=backend, precision=precision, threads=threads,
            out=out, margin_out=margin_out if margin else None,
        )
        info = run("segment", *words)
        return Segmentation(
            Image.read(out), Image.read(margin_out) if margin else None, info.pop("voxels"), info
        )


def detect(labels: ImageLike) -> Detections:
    """Single lesions out of a label map."""
    with _desk() as folder:
        desk = _Desk(folder)
        numbers = desk.at("numbers.nii.gz")
        words = _options(out=desk.at("lesions.json"), instances_out=numbers)
        document = run("detect", desk.given(labels), *words)
        lesions = []
        for one in document["lesions"]:
            one = dict(one, kind=one["class"])
            lesions.append(Lesion(**{name: one[name] for name in Lesion.__dataclass_fields__}))
        return Detections(lesions, Image.read(numbers))


def match(truth: ImageLike, predicted: ImageLike) -> Match:
    """Found, missed and false lesions of one case."""
    with _desk() as folder:
        desk = _Desk(folder)
        words = _options(
            truth=desk.given(truth), predicted=desk.given(predicted), out=desk.at("match.json")
        )
        return Match(**run("match", *words))


def evaluate(
    truth: Union[str, Path],
    predicted: Union[str, Path],
    *,
    out: Union[str, Path, None] = None,
    sweep: bool = False,
    missing: Optional[str] = None,
) -> Evaluation:
    """Tables over two folders: label maps by case, and what `analyze` wrote or label maps too.

    Cases without a prediction are refused, unless `missing` is "leave-out" or "count-missed".
    """
    with _desk() as folder:
        place = Path(out) if out is not None else Path(folder) / "tables"
        words = _options(truth=truth, predicted=predicted, out=place, sweep=sweep, missing=missing)
        tables = run("evaluate", *words)
        with open(place / "cases.csv", newline="", encoding="utf-8") as lines:
            return Evaluation(tables, list(csv.DictReader(lines)))


def register(
    fixed: ImageLike,
    moving: ImageLike,
    *,
    labels: Optional[ImageLike] = None,
    points: Optional[Sequence[Sequence[float]]] = None,
    field: bool = False,
    rigid: bool = False,
) -> Registration:
    """The moving image onto the fixed one; with labels of the moving and points of the fixed one."""
    with _desk() as folder:
        desk = _Desk(folder)
        out, field_out, labels_out = (desk.at(f"{name}.nii.gz") for name in ("moved", "field", "labels"))
        points_in, points_out = desk.at("points.csv"), desk.at("moved.csv")
        if points is not None:
            table = np.asarray(points, dtype=float).reshape(-1, 3)
            points_in.write_text("x,y,z\n" + "\n".join(",".join(map(repr, map(float, row))) for row in table) + "\n")
        words = _options(
            fixed=desk.given(fixed), moving=desk.given(moving), out=out, rigid=rigid,
            field_out=field_out if field else None,
            labels=None if labels is None else desk.given(labels),
            labels_out=None if labels is None else labels_out,
            points=None if points is None else points_in,
            points_out=None if points is None else points_out,
        )
        info = run("register", *words)
        return Registration(
            Image.read(out),
            None if labels is None else Image.read(labels_out),
            Image.read(field_out) if field else None,
            None if points is None else np.loadtxt(points_out, delimiter=",", skiprows=1, ndmin=2),
            info,
        )


def analyze(
    image: Optional[ImageLike] = None,
    *,
    phases: Optional[Mapping[str, ImageLike]] = None,
    out: Union[str, Path, None] = None,
    engine: Union[str, Path, None] = None,
    alpha: Optional[float] = None,
    backend: Optional[str] = None,
    precision: Optional[str] = None,
) -> Analysis:
    """The whole cascade on one study; `out` keeps the report, label maps and pictures.

    Several studies are refused before any is computed: call it once for each.
    """
    with _desk() as folder:
        desk = _Desk(folder)
        place = Path(out) if out is not None else desk.at("report")
        words = _inputs(desk, image, phases)
        words += _options(engine=engine, alpha=alpha, backend=backend, precision=precision, out=place, one=True)
        report = run("analyze", *words)
        maps = [Image.read(place / f"{name}.nii.gz") for name in ("labels_base", "labels_high", "lesions")]
        return Analysis(report, *maps)
