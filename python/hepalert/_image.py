"""Images as arrays, and NIfTI-1 as this program writes and reads it.

Owns one image on a regular grid. Refuses what the program would have to guess: other formats are for
nibabel, whose images are taken as they are.
"""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
_CODES = {np.dtype(name).newbyteorder("="): code for code, name in _TYPES.items()}


@dataclass(repr=False)
class Image:
    """Voxels `[z, y, x]`, and the affine that carries `[x, y, z, 1]` to millimetres, RAS."""

    array: np.ndarray
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))

    def __repr__(self) -> str:
        z, y, x = self.spacing_mm
        return f"<Image {self.array.shape} {self.array.dtype}, {z:.3g} x {y:.3g} x {x:.3g} mm>"

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel, `[z, y, x]`."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(z), float(y), float(x)

    @classmethod
    def of(cls, image: Any) -> Image:
        """This image, or one of nibabel."""
        if isinstance(image, cls):
            return image
        if hasattr(image, "get_fdata") and hasattr(image, "affine"):
            return cls(np.asarray(image.dataobj).T, np.asarray(image.affine, dtype=float))
        raise TypeError(f"{type(image).__name__} is no image: give a path, a hepalert.Image or an image of nibabel")

    @classmethod
    def read(cls, path: Union[str, Path]) -> Image:
        """Reads a NIfTI-1 file with an sform, as the program writes them."""
        data = Path(path).read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if len(data) < 352:
            raise ValueError(f"{path}: {len(data)} bytes, less than the head of a NIfTI-1 file")
        order = "<" if struct.unpack("<i", data[:4])[0] == 348 else ">"
        if struct.unpack(order + "i", data[:4])[0] != 348 or data[344:348] != b"n+1\0":
            raise ValueError(f"{path}: not a NIfTI-1 file; read it with nibabel and give that image")
        dims = struct.unpack(order + "8h", data[40:56])
        shape = [max(1, n) for n in dims[1 : dims[0] + 1]]
        code, = struct.unpack(order + "h", data[70:72])
        offset, slope, intercept = struct.unpack(order + "3f", data[108:120])
        sform, = struct.unpack(order + "h", data[254:256])
        if code not in _TYPES or sform <= 0:
            raise ValueError(f"{path}: no sform, or another kind of voxels; read it with nibabel and give that image")
        rows = struct.unpack(order + "12f", data[280:328])
        affine = np.vstack([np.reshape(rows, (3, 4)), [0, 0, 0, 1]]).astype(float)
        voxels = np.frombuffer(data, order + _TYPES[code], int(np.prod(shape)), int(offset))
        array = voxels.reshape(shape[::-1]).astype(voxels.dtype.newbyteorder("="))
        if (slope, intercept) not in ((0.0, 0.0), (1.0, 0.0)):
            array = array * np.float32(slope) + np.float32(intercept)
        # A field of displacements has five axes: [component, 1, z, y, x].
        return cls(array if array.ndim != 5 else array[:, 0], affine)

    def write(self, path: Union[str, Path]) -> None:
        """Writes a NIfTI-1 file, packed if its name ends in .gz."""
        array = np.ascontiguousarray(self.array)
        if array.dtype == bool:
            array = array.astype(np.uint8)
        if array.dtype not in _CODES:
            array = array.astype(np.float32)
        if array.ndim != 3 or max(array.shape) > 32767:
            raise ValueError(f"an image has three axes of at most 32767 voxels, this one {array.shape}")
        if np.shape(self.affine) != (4, 4):
            raise ValueError(f"an affine has four rows and columns, this one {np.shape(self.affine)}")
        head = bytearray(352)
        z, y, x = array.shape
        dz, dy, dx = self.spacing_mm
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, 3, x, y, z, 1, 1, 1, 1)
        struct.pack_into("<2h", head, 70, _CODES[array.dtype], array.dtype.itemsize * 8)
        struct.pack_into("<8f", head, 76, 1, dx, dy, dz, 0, 0, 0, 0)
        struct.pack_into("<3f", head, 108, 352, 1, 0)
        head[123] = 2
        struct.pack_into("<2h", head, 252, 0, 1)
        struct.pack_into("<12f", head, 280, *np.asarray(self.affine, dtype=float)[:3].ravel())
        head[344:348] = b"n+1\0"
        data = bytes(head) + array.astype(array.dtype.newbyteorder("<")).tobytes()
        path = Path(path)
        path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)
