"""Suspected liver lesions in CT: the commands of the program hepalert, with arrays of numpy.

Owns calls and results. Computes nothing: every function runs the program once.
"""

from ._commands import (
    Analysis,
    Detections,
    Evaluation,
    Lesion,
    Match,
    Registration,
    Segmentation,
    analyze,
    detect,
    evaluate,
    match,
    register,
    segment,
)
from ._image import Image
from ._run import Failed, Refused, program, version

__all__ = [
    "Analysis",
    "Detections",
    "Evaluation",
    "Failed",
    "Image",
    "Lesion",
    "Match",
    "Refused",
    "Registration",
    "Segmentation",
    "analyze",
    "detect",
    "evaluate",
    "match",
    "program",
    "register",
    "segment",
    "version",
]
