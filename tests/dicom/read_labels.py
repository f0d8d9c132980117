"""Reads a segmentation of a reader's labels with highdicom and holds it against the same labels as
NIfTI, read by nibabel.

read_labels.py SEG SERIES LABELS: prints one JSON document; ends with an error where anything differs.
"""

import json
import pathlib
import sys

import nibabel
import numpy
import pydicom

from read_back import near, places, segments

LESIONS = range(1, 7)
IN_LIVER = (*LESIONS, 7, 8)


def main(path, series, labels):
    sources = {}
    for file in pathlib.Path(series).glob("*"):
        image = pydicom.dcmread(file, stop_before_pixels=True)
        sources[image.SOPInstanceUID] = image
    seg, found = segments(path, sources)
    image = next(iter(sources.values()))
    assert (seg.PatientID, seg.StudyInstanceUID) == (image.PatientID, image.StudyInstanceUID)
    drawn = nibabel.load(labels)
    voxels = numpy.asarray(drawn.dataobj)
    told = {}
    lesions = []
    for item in seg.SegmentSequence:
        points = found[item.SegmentNumber]
        told[item.SegmentLabel] = len(points)
        assert item.SegmentAlgorithmType == "SEMIAUTOMATIC", item.SegmentAlgorithmType
        if item.SegmentLabel.startswith("Label "):
            lesions.append(points)
        elif item.SegmentLabel == "Liver":
            assert near(points, places(drawn.affine, numpy.isin(voxels, IN_LIVER))), "the liver"
    lesions = numpy.concatenate(lesions)
    assert len(numpy.unique(lesions, axis=0)) == len(lesions), "regions of one map do not overlap"
    assert near(lesions, places(drawn.affine, numpy.isin(voxels, LESIONS))), "the lesions"
    print(json.dumps({"segments": told, "creator": str(seg.ContentCreatorName)}))


main(*sys.argv[1:])
