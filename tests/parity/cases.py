"""What is compared: models, and the shapes of the scans they are run on."""

from dataclasses import dataclass, replace

from models import Model

TORCH = "resample_torch_fornnunet"
RESIDUAL = "ResidualEncoderUNet"
V1 = "probabilities"


@dataclass(frozen=True)
class Case:
    """`padding` voxels of zeros inside the scan's edge; `air` voxels of -1000 HU more, beyond it, in plane.
    Fusion `probabilities` is compared with nnU-Net v1; `importer` holds more words for it."""

    name: str
    model: Model
    shape: tuple = (17, 61, 53)
    spacing: tuple = (4.0, 0.9, 0.8)
    orientation: str = "lps"
    padding: int = 0
    air: int = 0
    fusion: str = "logits"
    importer: tuple = ()


PLAIN = Model()
CUBE = Model(plan="isotropic")
ISO = {"shape": (37, 41, 43), "spacing": (2.0, 1.3, 1.2)}
CASES = [
    Case("plain, anisotropic, 1 channel", PLAIN),
    Case("plain, anisotropic, 4 channels", replace(PLAIN, channels=4)),
    Case("plain, isotropic, 1 channel", CUBE, **ISO),
    Case("plain, isotropic, 4 channels", replace(CUBE, channels=4), **ISO),
    Case("residual, anisotropic, 1 channel", replace(PLAIN, kind=RESIDUAL)),
    Case("residual, anisotropic, 4 channels", replace(PLAIN, kind=RESIDUAL, channels=4)),
    Case("residual, isotropic, 1 channel", replace(CUBE, kind=RESIDUAL), **ISO),
    Case("residual, isotropic, 4 channels", replace(CUBE, kind=RESIDUAL, channels=4), **ISO),
    Case("smaller than the patch", PLAIN, shape=(5, 23, 19)),
    Case("smaller than the patch, isotropic", CUBE, shape=(7, 11, 29), spacing=(2.0, 1.3, 1.2)),
    Case("already at the network's spacing", PLAIN, shape=(13, 47, 37), spacing=(3.2, 1.0, 1.0)),
    Case("padded with zeros", PLAIN, shape=(23, 67, 59), padding=4),
    Case("ratio just below 3", CUBE, shape=(19, 59, 61), spacing=(2.99, 1.0, 1.0)),
    Case("ratio just above 3", CUBE, shape=(19, 59, 61), spacing=(3.01, 1.0, 1.0)),
    Case("torch resampling, anisotropic", replace(PLAIN, resampling=TORCH)),
    Case("torch resampling, isotropic", replace(CUBE, resampling=TORCH), **ISO),
    Case("mirrored over all axes", replace(PLAIN, mirror=(0, 1, 2))),
    Case("three folds", replace(PLAIN, folds=3)),
    Case("three folds, mirrored", replace(PLAIN, folds=3, mirror=(1, 2))),
    Case("regions", replace(PLAIN, regions=True)),
    Case("regions, torch resampling", replace(PLAIN, regions=True, resampling=TORCH)),
    Case("postprocessing", replace(PLAIN, postprocessing=([1, 2, 3], 2))),
    Case("z-score", replace(PLAIN, norm="ZScoreNormalization", channels=4)),
    Case("z-score of the nonzero", replace(PLAIN, norm="ZScoreNormalization", channels=4, masked=True), padding=4),
    Case("NibabelIO", replace(PLAIN, reader="NibabelIO"), orientation="las"),
    Case("reoriented, LPS", replace(PLAIN, reader="NibabelIOWithReorient"), padding=3),
    Case("reoriented, coronal", replace(PLAIN, reader="NibabelIOWithReorient"), shape=(53, 17, 61),
         spacing=(0.9, 4.0, 0.8), orientation="coronal"),
    Case("reoriented, oblique", replace(PLAIN, reader="NibabelIOWithReorient"), orientation="oblique"),
    Case("oblique, as stored", PLAIN, orientation="oblique"),
    Case("transposed", replace(PLAIN, transpose=(1, 0, 2)), shape=(53, 17, 61), spacing=(0.9, 4.0, 0.8)),
    Case("plans without architecture", replace(PLAIN, old_plans=True)),
    Case("merged upsampling", replace(PLAIN, channels=4), importer=("--merge-upsampling",)),
    Case("merged upsampling, isotropic", CUBE, importer=("--merge-upsampling",), **ISO),
    Case("merged upsampling, residual", replace(PLAIN, kind=RESIDUAL), importer=("--merge-upsampling",)),
    Case("Winograd's filters", replace(PLAIN, channels=4), importer=("--winograd", "8")),
    Case("Winograd's filters, residual", replace(PLAIN, kind=RESIDUAL), importer=("--winograd", "8")),
    Case("Winograd's filters, merged upsampling, isotropic", CUBE, importer=("--merge-upsampling", "--winograd", "8"), **ISO),
    Case("air around", PLAIN, shape=(17, 61, 53), air=60),
    Case("air around, 4 channels, three folds, mirrored", replace(PLAIN, channels=4, folds=3, mirror=(2,)), air=60),
    Case("air around, isotropic", CUBE, air=40, **ISO),
    Case("v1: one fold", PLAIN, fusion=V1),
    Case("v1: one fold, mirrored", replace(PLAIN, mirror=(0, 1, 2)), fusion=V1),
    Case("v1: three folds", replace(PLAIN, folds=3), fusion=V1),
    Case("v1: three folds, mirrored", replace(PLAIN, folds=3, mirror=(0, 1, 2)), fusion=V1),
    Case("v1: three folds, mirrored, 4 channels", replace(PLAIN, channels=4, folds=3, mirror=(1, 2)), fusion=V1),
    Case("v1: three folds, mirrored, isotropic", replace(CUBE, folds=3, mirror=(0, 1, 2)), fusion=V1, **ISO),
    Case("v1: smaller than the patch", replace(PLAIN, folds=3), shape=(5, 23, 19), fusion=V1),
    Case("v1: padded with zeros", replace(PLAIN, folds=3), shape=(23, 67, 59), padding=4, fusion=V1),
    Case("v1: air around, three folds, mirrored", replace(PLAIN, folds=3, mirror=(1,)), air=40, fusion=V1),
]

# Real CT: the file below the data folder, for the network of the demonstration engine.
REAL = {"crlm-1004": "crlm-1004/ct.nii.gz", "chaos-ct3": "chaos-ct3/ct.nii.gz",
        "totalsegmentator-example": "totalsegmentator-example/example_ct.nii.gz"}
