"""Reads a segmentation with pydicom-seg, which has nothing in common with highdicom but pydicom, and holds
every voxel of every finding against the label map beside it, as SimpleITK reads that.

read_seg.py RESULT: prints one JSON document; ends with an error where anything differs.
"""

import json
import pathlib
import sys

import numpy
import pydicom
import pydicom_seg
import SimpleITK


def places(image, voxels):
    """Points of voxels in LPS, in hundredths of a millimetre, sorted."""
    at = numpy.argwhere(voxels)[:, ::-1]
    direction = numpy.array(image.GetDirection()).reshape(3, 3)
    points = numpy.array(image.GetOrigin()) + (at * image.GetSpacing()) @ direction.T
    return numpy.array(sorted(map(tuple, numpy.rint(points * 100).astype(int))))


def main(result):
    result = pathlib.Path(result)
    seg = pydicom_seg.SegmentReader().read(pydicom.dcmread(result / "dicom/segmentation.dcm"))
    labels = SimpleITK.ReadImage(result / "lesions.nii.gz")
    numbers = SimpleITK.GetArrayFromImage(labels)
    count = len(json.loads((result / "report.json").read_text())["lesions"])
    assert count > 0, "nothing was found: nothing is shown"
    voxels = 0
    for number in range(1, count + 1):
        ours = places(labels, numbers == number)
        theirs = places(seg.segment_image(number), seg.segment_data(number) > 0)
        assert ours.shape == theirs.shape, f"finding {number}: {ours.shape} against {theirs.shape}"
        assert (abs(ours - theirs) <= 2).all(), f"finding {number} is elsewhere in the segmentation"
        voxels += len(ours)
    told = seg.segment_infos[count + 1]
    assert told.SegmentLabel and told.SegmentAlgorithmType == "AUTOMATIC"
    document = {"findings": count, "segments": len(seg.available_segments), "voxels": voxels}
    print(json.dumps(document))


if __name__ == "__main__":
    main(*sys.argv[1:])
