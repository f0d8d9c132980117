//! Readers against what nibabel and SimpleITK read: golden files made by
//! `tests/data/volume/make.py`, and real CT where it is at hand.

#![allow(clippy::unwrap_used)] // helpers of tests fail by panicking, as tests do

use std::path::{Path, PathBuf};

use hepalert_voxels::volume::dicom::{self, DicomError, GeometryError, Pixels, SliceHeader};
use hepalert_voxels::volume::nifti::{self, Datatype};
use hepalert_voxels::volume::{Grid, Volume};

use crate::support::shared_data;

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/volume").join(name))
        .unwrap()
}

fn expected() -> serde_json::Map<String, serde_json::Value> {
    serde_json::from_slice(&golden("expected.json")).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// Files of a folder with a name that ends so, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect();
    files.sort();
    files
}

#[test]
fn nifti_goldens_read_as_nibabel_reads_them() {
    let mut seen = 0;
    for (name, truth) in expected().iter().filter(|(name, _)| name.contains(".nii")) {
        let volume = nifti::read::read(&golden(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let voxels: Vec<f32> = numbers(&truth["voxels"]).iter().map(|v| *v as f32).collect();
        assert_eq!(volume.voxels().as_slice().unwrap(), voxels, "{name}");
        let shape: Vec<f64> = volume.grid().shape().map(|n| n as f64).to_vec();
        assert_eq!(shape, numbers(&truth["shape"]), "{name}");
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(p, q)| (p - q).abs() < 1e-6);
        assert!(close(&volume.grid().spacing_mm(), &numbers(&truth["spacing_mm"])), "{name}");
        for (row, truth) in volume.grid().affine().iter().zip(truth["affine"].as_array().unwrap()) {
            assert!(close(row, &numbers(truth)), "{name}: {row:?} {truth}");
        }
        let facts = nifti::read::peek(&golden(name)).unwrap();
        assert_eq!(&facts.grid, volume.grid().as_ref(), "{name}");
        assert_eq!(facts.gzipped, name.ends_with(".gz"), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn dicom_goldens_read_as_gdcm_reads_them() {
    let mut seen = 0;
    for (name, truth) in expected().iter().filter(|(name, _)| name.ends_with(".dcm")) {
        let slice =
            dicom::read::read_slice(&golden(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let pixels: Vec<f32> = match &slice.pixels {
            Pixels::Whole(pixels) => pixels.iter().map(|unit| f32::from(*unit)).collect(),
            Pixels::Fractional(pixels) => pixels.clone(),
        };
        let truth: Vec<f32> = numbers(&truth["voxels"]).iter().map(|v| *v as f32).collect();
        assert_eq!(pixels, truth, "{name}");
        assert_eq!(matches!(slice.pixels, Pixels::Fractional(_)), name == "fraction.dcm");
        check_header(&slice.header, name);
        seen += 1;
    }
    assert_eq!(seen, 11);
}

fn check_header(header: &SliceHeader, name: &str) {
    assert_eq!(header.study_uid, "2.25.3", "{name}");
    assert_eq!(header.series_uid, "2.25.4", "{name}");
    assert_eq!((header.rows, header.columns), (Some(12), Some(16)), "{name}");
    assert_eq!(header.pixel_spacing_mm, Some([0.75, 0.5]), "{name}");
    assert_eq!(header.image_position_mm, Some([-10.5, 20.25, -300.0]), "{name}");
    assert_eq!(header.image_type, ["ORIGINAL", "PRIMARY", "AXIAL"], "{name}");
    assert_eq!(header.series_description.as_deref(), Some("Leber portalvenös"), "{name}");
    assert_eq!(header.identifiers.patient_name.as_deref(), Some("Müller^Jürgen"), "{name}");
    assert_eq!(header.identifiers.patient_id.as_deref(), Some("P1"), "{name}");
    assert_eq!(header.instance_number, Some(7), "{name}");
    assert_eq!(header.kvp, Some(120.0), "{name}");
    let shown = format!("{header:?} {:?}", header.identifiers);
    for secret in ["Müller", "P1", "A1", "2.25", "Leber"] {
        assert!(!shown.contains(secret), "{name}: {shown}");
    }
}

/// The golden file's data set behind another transfer syntax of the same length.
#[test]
fn a_missing_codec_is_named() {
    let mut bytes = golden("jpeg_ls.dcm");
    let uid = b"1.2.840.10008.1.2.4.80";
    let at = bytes.windows(uid.len()).position(|window| window == uid).unwrap();
    // JPIP, whose pixels lie elsewhere; and a fragment that no codec knows.
    bytes[at..at + uid.len()].copy_from_slice(b"1.2.840.10008.1.2.4.94");
    let stream = bytes.windows(3).rposition(|window| window == [0xff, 0xd8, 0xff]).unwrap();
    bytes[stream..stream + 3].fill(0);
    match dicom::read::read_slice(&bytes) {
        Err(error @ DicomError::NoCodec { .. }) => {
            assert_eq!(error.code(), "no_codec");
            assert!(error.to_string().contains("1.2.840.10008.1.2.4.94"), "{error}");
            assert!(error.to_string().contains("JPIP"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert!(dicom::read::read_header(&bytes).is_ok());
}

/// Every place where a golden DICOM file can end: an error, and never a panic.
#[test]
fn dicom_cut_anywhere_is_an_error() {
    for name in ["explicit.dcm", "implicit.dcm", "big_endian.dcm", "deflated.dcm", "rle.dcm"] {
        let whole = golden(name);
        let header_ends = (0..=whole.len())
            .find(|length| dicom::read::read_header(&whole[..*length]).is_ok())
            .unwrap();
        // The last three bytes of the deflated stream carry no more pixels.
        let slack = if name == "deflated.dcm" { 3 } else { 0 };
        for length in 0..whole.len() - slack {
            let cut = dicom::read::read_slice(&whole[..length]);
            assert!(cut.is_err(), "{name} cut to {length}");
            let header = dicom::read::read_header(&whole[..length]);
            assert!(header.is_err() || length >= header_ends, "{name} cut to {length}");
        }
    }
}

/// Any byte of any golden file changed: an answer, and never a panic or an absurd
/// allocation (which the length fields would ask for).
#[test]
fn damaged_goldens_never_panic() {
    for (name, _) in expected() {
        let whole = golden(&name);
        let is_nifti = name.contains(".nii");
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= change;
                if is_nifti {
                    let _ = nifti::read::read(&damaged);
                    let _ = nifti::read::peek(&damaged);
                } else if !name.starts_with("jp") || at % 7 == 0 {
                    let _ = dicom::read::read_slice(&damaged);
                }
            }
        }
    }
}

/// The DICOM series of a folder, headers first and pixels in parallel.
fn series(folder: &Path) -> Volume<f32> {
    let files: Vec<Vec<u8>> =
        files(folder, ".dcm").iter().map(|path| std::fs::read(path).unwrap()).collect();
    let headers: Vec<SliceHeader> = files
        .iter()
        .map(|bytes| dicom::read::read_header(&bytes[..bytes.len().min(64 << 10)]).unwrap())
        .collect();
    let plan = dicom::plan(&headers).unwrap();
    #[derive(Debug, thiserror::Error)]
    enum Either {
        #[error(transparent)]
        Dicom(#[from] DicomError),
        #[error(transparent)]
        Geometry(#[from] GeometryError),
    }
    plan.fill(|index| Ok::<_, Either>(dicom::read::read_slice(&files[index])?)).unwrap()
}

/// One slice in every syntax of the archive: lossless ones are equal to the pixel, lossy ones
/// are near, and say so.
#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn every_transfer_syntax_of_one_slice_gives_the_same_pixels() {
    let Some(data) = shared_data() else { return };
    let hu = |path: &Path| -> (Vec<f32>, bool) {
        let slice = dicom::read::read_slice(&std::fs::read(path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let hu = match slice.pixels {
            Pixels::Whole(pixels) => pixels.into_iter().map(f32::from).collect(),
            Pixels::Fractional(pixels) => pixels,
        };
        (hu, slice.header.lossy)
    };
    let folder = data.join("dicom-syntaxes");
    let (truth, _) = hu(&folder.join("CTImage.dcm"));
    let (mut lossless, mut lossy) = (0, 0);
    for path in files(&folder, ".dcm") {
        if !path.file_name().unwrap().to_str().unwrap().starts_with("CTImage.dcm_") {
            continue;
        }
        let (found, is_lossy) = hu(&path);
        if is_lossy {
            let apart = truth.iter().zip(&found).map(|(a, b)| f64::from((a - b).abs()));
            let mean = apart.sum::<f64>() / truth.len() as f64;
            assert!(mean < 25.0, "{}: {mean} HU apart", path.display());
            lossy += 1;
        } else {
            assert!(found == truth, "{}", path.display());
            lossless += 1;
        }
    }
    assert_eq!((lossless, lossy), (9, 6));
}

#[test]
fn an_oblique_series_lies_where_simpleitk_puts_it() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/volume").join("oblique_series");
    let reference = nifti::read::read(&golden("oblique_series/reference.nii.gz")).unwrap();
    let volume = series(&folder);
    assert!(volume.grid().matches(reference.grid()), "{:?} {:?}", volume, reference);
    assert_eq!(volume.voxels(), reference.voxels());
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_series_equal_their_reference_conversions() {
    let Some(data) = shared_data() else { return };
    for patient in ["crlm-1004", "chaos-ct3"] {
        let reference =
            nifti::read::read(&std::fs::read(data.join(patient).join("ct.nii.gz")).unwrap())
                .unwrap();
        let volume = series(&data.join(patient).join("dicom"));
        assert!(volume.grid().matches(reference.grid()), "{:?} {:?}", volume, reference.grid());
        assert!(volume.voxels() == reference.voxels(), "{patient}: voxels differ");
        let spacings = volume.grid().spacing_mm().into_iter().zip(reference.grid().spacing_mm());
        assert!(spacings.into_iter().all(|(a, b)| (a - b).abs() < 1e-6), "{patient}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn a_builder_and_assemble_give_the_same_volume_in_any_order() {
    let Some(data) = shared_data() else { return };
    let folder = data.join("crlm-1004/dicom");
    let whole = series(&folder);
    let mut slices: Vec<dicom::Slice> = files(&folder, ".dcm")
        .iter()
        .map(|path| dicom::read::read_slice(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    slices.reverse();
    slices.swap(3, 17);
    let headers: Vec<SliceHeader> = slices.iter().map(|slice| slice.header.clone()).collect();
    let mut builder = dicom::SeriesBuilder::new(&headers).unwrap();
    slices[1..].iter().for_each(|slice| builder.place(slice).unwrap());
    assert_eq!(builder.finish().unwrap_err(), GeometryError::Incomplete { missing: 1 });
    assert_eq!(whole.voxels(), dicom::assemble(slices).unwrap().voxels());
    assert_eq!(dicom::plan(&headers).unwrap().grid(), whole.grid());
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn broken_real_series_are_refused_by_name() {
    let Some(data) = shared_data() else { return };
    let mut headers: Vec<SliceHeader> = files(&data.join("chaos-ct3/dicom"), ".dcm")
        .iter()
        .map(|path| dicom::read::read_header(&std::fs::read(path).unwrap()).unwrap())
        .collect();
    assert_eq!(headers[0].slice_thickness_mm, Some(3.2));
    assert!((dicom::plan(&headers).unwrap().coverage_mm() - 156.0).abs() < 1e-6);
    headers.drain(30..34);
    match dicom::plan(&headers) {
        Err(GeometryError::MissingSlice { missing: 4, .. }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn segmentations_are_not_ct() {
    let Some(data) = shared_data() else { return };
    for name in ["liver.dcm", "partial_overlaps.dcm"] {
        let bytes = std::fs::read(data.join("dicom-seg").join(name)).unwrap();
        let header = dicom::read::read_header(&bytes).unwrap();
        assert_eq!(header.modality, "SEG");
        assert_eq!(dicom::read::read_slice(&bytes).unwrap_err().code(), "not_ct");
    }
    for name in ["01.dcm", "02.dcm", "03.dcm"] {
        let bytes = std::fs::read(data.join("dicom-seg").join(name)).unwrap();
        assert!(dicom::read::read_slice(&bytes).is_ok(), "{name}");
    }
}

#[test]
#[cfg_attr(no_real_ct, ignore = "no real CT in ../shared/data")]
fn real_nifti_of_every_kind_is_read() {
    let Some(data) = shared_data() else { return };
    let read = |name: &str| nifti::read::read(&std::fs::read(data.join(name)).unwrap()).unwrap();
    let labels =
        |name: &str| nifti::read::read_labels(&std::fs::read(data.join(name)).unwrap()).unwrap();
    let crop = read("lits-117/ct_128_crop.nii.gz");
    assert_eq!(crop.grid().shape(), [128; 3]);
    let truth = labels("lits-117/labels_liver1_tumour2.nii.gz");
    assert_eq!(truth.voxels().iter().max(), Some(&2));
    let ct = read("totalsegmentator-example/example_ct.nii.gz");
    assert_eq!(ct.grid().shape(), [112, 101, 122]);
    // The masks are stored as f64.
    let masks = labels("totalsegmentator-example/example_seg_v1.nii.gz");
    assert!(masks.grid().matches(ct.grid()));
    assert_eq!(labels("chaos-ct3/liver.nii.gz").voxels().iter().max(), Some(&1));
    let refused = std::fs::read(data.join("lits-117/ct_128_crop.nii.gz")).unwrap();
    assert_eq!(nifti::read::read_labels(&refused).unwrap_err().code(), "not_labels");
    let facts = nifti::read::peek(&refused[..1024]).unwrap();
    assert_eq!((facts.datatype, facts.grid.shape()), (Datatype::I16, [128; 3]));
    assert_eq!(facts.grid, Grid::clone(crop.grid()));
}
