"""Reads what `analyze --dicom` wrote with readers that nobody here wrote, and holds it against the
label maps beside it and against the truth.

read_back.py RESULT SERIES TRUTH: prints one JSON document; ends with an error where anything differs.
"""

import json
import pathlib
import sys

import highdicom
import nibabel
import numpy
import pydicom

FLIP = numpy.array([-1.0, -1.0, 1.0])


def hundredths(points):
    """Rows of millimetres as whole hundredths."""
    return numpy.rint(points * 100).astype(int)


def places(affine, voxels):
    """Points of voxels in LPS, in hundredths of a millimetre: one row each."""
    return hundredths(nibabel.affines.apply_affine(affine, numpy.argwhere(voxels)) * FLIP)


def in_order(points):
    """Rows by the first number, then the second, then the third."""
    return points[numpy.lexsort(points.T[::-1])]


def near(one, other):
    """Two sets of hundredths that rounding may have set apart by one."""
    return len(one) == len(other) and bool((numpy.abs(in_order(one) - in_order(other)) <= 2).all())


def cells(points):
    """The cubes of 5 mm that points lie in."""
    return {tuple(cell) for cell in numpy.unique(points // 500, axis=0)}


def frame_points(seg, frame, pixels, shared):
    """Where the set pixels of a frame lie, by the frame's own words."""
    position = numpy.array(frame.PlanePositionSequence[0].ImagePositionPatient, float)
    cosines = numpy.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    row, column = cosines[:3], cosines[3:]
    down_mm, along_mm = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    at = numpy.argwhere(pixels)
    return hundredths(position + numpy.outer(at[:, 1] * along_mm, row) + numpy.outer(at[:, 0] * down_mm, column))


def segments(path, sources):
    """Points per segment; every frame lies on the very image that it refers to."""
    seg = highdicom.seg.segread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    pixels = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    found = {}
    for frame, mask in zip(seg.PerFrameFunctionalGroupsSequence, pixels):
        assert mask.any(), "a frame holds nothing"
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        found.setdefault(number, []).append(frame_points(seg, frame, mask, shared))
        [image] = frame.DerivationImageSequence[0].SourceImageSequence
        source = sources[image.ReferencedSOPInstanceUID]
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert numpy.allclose(source.ImagePositionPatient, position, atol=0.01), "another slice"
        orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        assert numpy.allclose(source.ImageOrientationPatient, orientation, atol=1e-4)
    assert seg.FrameOfReferenceUID == next(iter(sources.values())).FrameOfReferenceUID
    return seg, {number: numpy.concatenate(points) for number, points in found.items()}


def points_of(sequence, value_type):
    """Every point of this type below an item."""
    found = []
    for item in sequence:
        if item.ValueType == value_type:
            found.append(item)
        found += points_of(item.get("ContentSequence", []), value_type)
    return found


def main(result, series, truth):
    result = pathlib.Path(result)
    sources = {}
    for path in pathlib.Path(series).glob("*"):
        image = pydicom.dcmread(path, stop_before_pixels=True)
        sources[image.SOPInstanceUID] = image
    seg, found = segments(result / "dicom/segmentation.dcm", sources)
    labels = nibabel.load(result / "lesions.nii.gz")
    numbers = numpy.asarray(labels.dataobj)
    told = json.loads((result / "report.json").read_text())
    count = len(told["lesions"])
    assert count > 0, "nothing was found: nothing is shown"
    for number in range(1, count + 1):
        same = near(found[number], places(labels.affine, numbers == number))
        assert same, f"finding {number} is elsewhere in the segmentation"
    report = highdicom.sr.srread(result / "dicom/report.dcm")
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == count + 1
    centres = points_of(report.ContentSequence, "SCOORD3D")
    assert len(centres) == count
    for number, centre in enumerate(centres, 1):
        point = hundredths(numpy.array(centre.GraphicData, float))
        lies_in = (numpy.abs(found[number] - point) <= 2).all(axis=1).any()
        assert lies_in, f"the centre of finding {number} is not in it"
    for group, lesion in zip(groups, told["lesions"]):
        [volume] = group.get_measurements(highdicom.sr.CodedConcept("118565006", "SCT", "Volume"))
        assert abs(volume.value - lesion["volume_cm3"]) < 1e-3
        assert group.tracking_uid.startswith("2.25.")
    # The truth, wherever it was put: a segmentation that is mirrored shares next to nothing with it.
    real = nibabel.load(truth)
    liver = places(real.affine, numpy.asarray(real.dataobj) > 0)
    a, b = cells(liver), cells(found[count + 1])
    document = {"findings": count, "segments": len(seg.SegmentSequence), "overlap": len(a & b) / len(b)}
    lesion = places(real.affine, (numpy.asarray(real.dataobj) >= 1) & (numpy.asarray(real.dataobj) <= 6))
    a, b = cells(lesion), cells(found[1])
    document["lesion_overlap"] = len(a & b) / len(b)
    assert document["lesion_overlap"] > 0.5, document
    print(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
