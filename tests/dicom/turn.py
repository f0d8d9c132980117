"""One patient as five series: the same voxels at the same places, lain and stored differently.

turn.py SERIES OUT: writes OUT/{hfs,ffs,reversed,oblique,prone}, each a DICOM series, and
OUT/<name>.nii.gz of the truth beside SERIES, turned in the same way.
"""

import copy
import pathlib
import sys

import nibabel
import numpy
import pydicom
from pydicom.uid import generate_uid

DEGREES = 9.0


def rotation(degrees):
    """About the patient's left-right axis."""
    c, s = numpy.cos(numpy.radians(degrees)), numpy.sin(numpy.radians(degrees))
    return numpy.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def changed(slice_, rows_back, columns_back, turn):
    """The same voxels, with rows or columns stored backwards and the patient turned."""
    out = copy.deepcopy(slice_)
    row, column = numpy.array(slice_.ImageOrientationPatient, float).reshape(2, 3)
    position = numpy.array(slice_.ImagePositionPatient, float)
    down_mm, along_mm = map(float, slice_.PixelSpacing)
    pixels = slice_.pixel_array
    if columns_back:
        position, row = position + row * along_mm * (slice_.Columns - 1), -row
        pixels = pixels[:, ::-1]
    if rows_back:
        position, column = position + column * down_mm * (slice_.Rows - 1), -column
        pixels = pixels[::-1]
    out.PixelData = numpy.ascontiguousarray(pixels).tobytes()
    out.ImageOrientationPatient = [round(v, 9) for v in numpy.concatenate([turn @ row, turn @ column])]
    out.ImagePositionPatient = [round(v, 6) for v in turn @ position]
    return out


# Rows backwards, columns backwards, position of the patient, slices numbered backwards, turned.
KINDS = {
    "hfs": (False, False, "HFS", False, 0.0),
    "ffs": (False, True, "FFS", False, 0.0),
    "reversed": (False, False, "HFS", True, 0.0),
    "oblique": (False, False, "HFS", False, DEGREES),
    "prone": (True, True, "HFP", False, 0.0),
}


def main(series, out):
    slices = [pydicom.dcmread(path) for path in sorted(pathlib.Path(series).glob("*"))]
    truth = nibabel.load(pathlib.Path(series).parent.parent / "truth.nii.gz")
    for name, (rows_back, columns_back, position, backwards, degrees) in KINDS.items():
        folder = pathlib.Path(out) / name
        folder.mkdir(parents=True)
        turn = rotation(degrees)
        # RAS and LPS differ in the sign of x and y.
        flip = numpy.diag([-1.0, -1.0, 1.0])
        affine = numpy.eye(4)
        affine[:3, :3] = flip @ turn @ flip
        turned = nibabel.Nifti1Image(truth.get_fdata().astype("uint8"), affine @ truth.affine)
        nibabel.save(turned, pathlib.Path(out) / f"{name}.nii.gz")
        series_uid, study_uid, frame_uid = generate_uid(), generate_uid(), generate_uid()
        for at, one in enumerate(slices):
            image = changed(one, rows_back, columns_back, turn)
            image.PatientPosition = position
            image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
            image.FrameOfReferenceUID = frame_uid
            image.SOPInstanceUID = generate_uid()
            image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
            image.InstanceNumber = len(slices) - at if backwards else at + 1
            # The order of names says nothing either.
            image.save_as(folder / f"{(at * 7) % len(slices):04}.dcm")


if __name__ == "__main__":
    main(*sys.argv[1:])
