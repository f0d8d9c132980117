"""Makes the golden files of this folder.

    python make.py          # numpy, nibabel, SimpleITK, pydicom 3, python-gdcm

Written with nibabel, pydicom and GDCM; `expected.json` holds what nibabel (NIfTI) and
SimpleITK (DICOM) read back from them. Compared exactly, affines to 1e-6 (single precision).
"""
import gzip
import json
import pathlib

import gdcm
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

HERE = pathlib.Path(__file__).parent
EXPECTED = {}

# ---------------------------------------------------------------- NIfTI

SHAPE = (5, 4, 3)  # x, y, z
X, Y, Z = np.indices(SHAPE)
STORED = (X + 10 * Y + 100 * Z - 50).astype(np.int16)


def oblique():
    """0.7 x 0.8 x 2.5 mm, turned by 20 and 10 degrees."""
    a, b = np.radians([20, 10])
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-0.7, -0.8, 2.5])
    affine[:3, 3] = [12.5, -33.25, 107.0]
    return affine


def record_nifti(name):
    image = nib.load(HERE / name)
    zooms = [float(z) for z in image.header.get_zooms()[:3]]
    EXPECTED[name] = {
        "shape": list(image.shape[2::-1]),
        "spacing_mm": zooms[::-1],
        "affine": image.affine[:3].tolist(),
        "voxels": np.squeeze(image.get_fdata(dtype=np.float64)).astype(np.float32)
        .transpose(2, 1, 0).ravel().tolist(),
    }


def save(name, kind, array, affine, byteorder="<", slope=None, inter=None, codes=(0, 2)):
    header = (nib.Nifti1Header if kind == 1 else nib.Nifti2Header)(endianness=byteorder)
    header.set_data_dtype(array.dtype)
    image = (nib.Nifti1Image if kind == 1 else nib.Nifti2Image)(array, affine, header)
    image.header.set_sform(affine, codes[1])
    image.header.set_qform(affine, codes[0])
    raw = bytearray(image.to_bytes())
    at, form = (112, "f4") if kind == 1 else (176, "f8")
    if slope is not None:
        pair = np.array([slope, inter], dtype=byteorder + form)
        raw[at:at + pair.nbytes] = pair.tobytes()
    if kind == 1:  # nibabel sets a code where none fits the affine
        raw[252:256] = np.array(codes, dtype=byteorder + "i2").tobytes()
    raw = bytes(raw)
    if name.endswith(".gz"):
        half = len(raw) // 2
        if "members" in name:
            raw = gzip.compress(raw[:half], mtime=0) + gzip.compress(raw[half:], mtime=0)
        else:
            raw = gzip.compress(raw, mtime=0)
        if "padded" in name:
            raw += bytes(100)
    (HERE / name).write_bytes(raw)
    record_nifti(name)


def nifti():
    plain = np.diag([-0.75, -0.75, 5.0, 1.0])
    plain[:3, 3] = [100, 120, -300]
    save("int16.nii.gz", 1, STORED, plain)
    save("oblique_both.nii", 1, STORED, oblique(), codes=(1, 1))
    save("oblique_qform.nii", 1, STORED, oblique(), codes=(1, 0))
    save("no_orientation.nii", 1, STORED, np.diag([0.75, 0.75, 5.0, 1.0]), codes=(0, 0))
    save("big_endian.nii", 1, STORED, plain, ">")
    save("nifti2_float32.nii.gz", 2, STORED.astype("<f4") * 0.25, plain)
    save("nifti2_big_endian_float64.nii", 2, STORED.astype(">f8") / 3, oblique(), ">")
    save("slope_half.nii", 1, STORED, plain, slope=0.5, inter=-10.25)
    save("slope_nan.nii", 1, STORED, plain, slope=np.nan, inter=np.nan)
    save("slope_zero.nii", 1, STORED, plain, slope=0, inter=7)
    save("uint16_slope.nii", 1, (STORED.astype("i4") + 60000).astype("u2"), plain, slope=1, inter=-60000)
    save("two_members.nii.gz", 1, STORED, plain)
    save("padded.nii.gz", 1, STORED, plain)
    save("four_dimensions.nii.gz", 1, STORED[..., None], plain)
    # As SimpleITK itself writes them: both forms, mirrored axes.
    image = sitk.GetImageFromArray(STORED.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.5, 33.25, 107.0))
    image.SetDirection((1, 0, 0, 0, 0, 1, 0, -1, 0))
    sitk.WriteImage(image, str(HERE / "simpleitk_coronal.nii.gz"))
    record_nifti("simpleitk_coronal.nii.gz")


# ---------------------------------------------------------------- DICOM

ROWS, COLUMNS = 12, 16


def stored_pixels():
    row, column = np.indices((ROWS, COLUMNS))
    return (row * 131 + column * 17 + (row * column) % 7).astype(np.int16)


def dataset(pixels, signed, bits=16, slope="1", intercept="-1024"):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = "2.25.2"
    data = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, "2.25.1"
    data.StudyDate, data.StudyTime = "20200102", "101112"
    data.AccessionNumber = "A1"
    data.Modality = "CT"
    data.SeriesDescription = "Leber portalvenös"
    data.PatientName, data.PatientID = "Müller^Jürgen", "P1"
    data.KVP = "120"
    data.SliceThickness = "5"
    data.StudyInstanceUID, data.SeriesInstanceUID = "2.25.3", "2.25.4"
    data.FrameOfReferenceUID = "2.25.5"
    data.InstanceNumber = "7"
    data.ImagePositionPatient = [-10.5, "20.25", "-300"]
    data.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = ROWS, COLUMNS
    data.PixelSpacing = ["0.75", "0.5"]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, bits, bits - 1
    data.PixelRepresentation = int(signed)
    data.PixelPaddingValue = -2000 if signed else 0
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = intercept, slope, "HU"
    # A private sequence of undefined length, as archives leave behind.
    block = data.private_block(0x0019, "HEPALERT TEST", create=True)
    inner = pydicom.Dataset()
    inner.PatientID = "nested"
    block.add_new(1, "SQ", [inner])
    data[block.get_tag(1)].is_undefined_length = True
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    return data


def record_dicom(name):
    EXPECTED[name] = {
        "voxels": sitk.GetArrayFromImage(sitk.ReadImage(str(HERE / name))).ravel().tolist()
    }


def write(name, data, implicit=False, little=True, syntax=None):
    data.file_meta.TransferSyntaxUID = syntax or pydicom.uid.ExplicitVRLittleEndian
    if not little:
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
    pydicom.dcmwrite(HERE / name, data, implicit_vr=implicit, little_endian=little)
    record_dicom(name)


def compress(source, name, syntax):
    reader = gdcm.ImageReader()
    reader.SetFileName(str(HERE / source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(HERE / name))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    record_dicom(name)


def dicom():
    pixels = stored_pixels()
    uid = pydicom.uid
    write("explicit.dcm", dataset(pixels, True))
    write("implicit.dcm", dataset(pixels, True), implicit=True, syntax=uid.ImplicitVRLittleEndian)
    write("big_endian.dcm", dataset(pixels, True), little=False, syntax=uid.ExplicitVRBigEndian)
    write("deflated.dcm", dataset(pixels, True), syntax=uid.DeflatedExplicitVRLittleEndian)
    write("unsigned.dcm", dataset(pixels.astype("u2"), False))
    # Twelve signed bits; the four above hold what was once an overlay.
    low = ((pixels.astype("i4") - 1000) & 0x0FFF) | (pixels.astype("i4") * 5 & 0xF000)
    write("twelve_bits.dcm", dataset(low.astype("u2"), True, bits=12))
    write("fraction.dcm", dataset(pixels, True, slope="0.37", intercept="-1024.5"))
    compress("explicit.dcm", "rle.dcm", gdcm.TransferSyntax.RLELossless)
    compress("explicit.dcm", "jpeg_lossless.dcm",
             gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    compress("explicit.dcm", "jpeg2000.dcm", gdcm.TransferSyntax.JPEG2000Lossless)
    compress("explicit.dcm", "jpeg_ls.dcm", gdcm.TransferSyntax.JPEGLSLossless)


def series():
    """Eight slices turned about two axes, and SimpleITK's conversion of them."""
    folder = HERE / "oblique_series"
    folder.mkdir(exist_ok=True)
    turn = oblique()[:3, :3] @ np.diag([1 / 0.7, 1 / 0.8, 1 / 2.5])
    row, column = turn[:, 0], turn[:, 1]
    normal = np.cross(row, column)
    for index in range(8):
        data = dataset((stored_pixels() + 100 * index)[:5, :4], True)
        data.Rows, data.Columns = 5, 4
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"2.25.1{index}"
        data.ImageOrientationPatient = [f"{c:.9f}" for c in (*row, *column)]
        data.ImagePositionPatient = [f"{c:.6f}" for c in np.array([7, -80, 33]) + 2.5 * index * normal]
        # Names in another order than positions.
        pydicom.dcmwrite(folder / f"{(index * 3) % 8}.dcm", data)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.WriteImage(reader.Execute(), str(folder / "reference.nii.gz"))


nifti()
dicom()
series()
(HERE / "expected.json").write_text(json.dumps(EXPECTED))
