//! Slices as CT Image Storage files: how phantoms become series that any reader takes.
//!
//! Owns the tags of a slice and deterministic UIDs. Refuses grids that DICOM cannot say
//! (sheared axes) and values that do not fit.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use uuid::Uuid;

use crate::volume::{Grid, Volume};

/// Stored value 0 stands for this many Hounsfield units.
const INTERCEPT: i32 = -1024;
/// Namespace of the name-based UIDs; a random number drawn once for this project.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_9c02_53b7_4e0e_9a64_2c81_d07f_35ea);

/// What all slices of one series share besides their grid.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesTags {
    /// (0010,0020); a pseudonym.
    pub patient_id: String,
    /// (0010,0010); a pseudonym.
    pub patient_name: String,
    /// (0020,000D).
    pub study_uid: String,
    /// (0020,000E).
    pub series_uid: String,
    /// (0020,0052); the same for all phases of one examination.
    pub frame_of_reference_uid: String,
    /// (0020,0010).
    pub study_id: String,
    /// (0008,0020), (0008,0021) and (0008,0022), as `YYYYMMDD`.
    pub date: String,
    /// (0008,0030), as `HHMMSS`.
    pub study_time: String,
    /// (0008,0031) and (0008,0032), as `HHMMSS`.
    pub acquisition_time: String,
    /// (0020,0011).
    pub series_number: u32,
    /// (0008,103E).
    pub series_description: String,
    /// (0018,0010); absent without contrast.
    pub contrast_agent: Option<String>,
    /// (0018,0060), tube voltage.
    pub kvp: f64,
    /// (0018,1210).
    pub kernel: String,
    /// (0008,0070).
    pub manufacturer: String,
}

/// Why a slice cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no such slice.
    #[error("slice {slice} of a volume of {slices}")]
    NoSuchSlice {
        /// The slice asked for.
        slice: usize,
        /// How many there are.
        slices: usize,
    },
    /// The axes are not at right angles or not as long as the spacing.
    #[error("DICOM slices need a grid of right angles")]
    Sheared,
    /// More rows or columns than 65535.
    #[error("{0} pixels in a row or column: DICOM has at most 65535")]
    TooLarge(usize),
    /// A value below the rescale intercept.
    #[error("{0} HU is below the rescale intercept of -1024")]
    BelowIntercept(i16),
    /// The DICOM library refused.
    #[error("the slice cannot be encoded as DICOM: {0}")]
    Encode(String),
}

/// A UID under the root 2.25 that is always the same for the same name.
pub fn uid_of(name: &str) -> String {
    format!("2.25.{}", Uuid::new_v5(&NAMESPACE, name.as_bytes()).as_u128())
}

/// Slice `z` of a volume in Hounsfield units as a DICOM file (Part 10, Explicit VR Little
/// Endian). Instances are numbered from the last slice (nearest the head in an axial grid)
/// to the first.
///
/// # Errors
/// [`WriteError`] says what DICOM cannot hold.
pub fn write_slice(
    volume: &Volume<i16>,
    z: usize,
    series: &SeriesTags,
) -> Result<Vec<u8>, WriteError> {
    let [slices, rows, columns] = volume.grid().shape();
    if z >= slices {
        return Err(WriteError::NoSuchSlice { slice: z, slices });
    }
    let number = instance_number(slices, z);
    let instance_uid = uid_of(&format!("{} {number}", series.series_uid));
    let mut object = InMemDicomObject::new_empty();
    put_series(&mut object, series);
    put_text(&mut object, tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE);
    put_text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, &instance_uid);
    put_text(&mut object, tags::INSTANCE_NUMBER, VR::IS, &number.to_string());
    put_geometry(&mut object, volume.grid(), z)?;
    put_pixels(&mut object, volume, z, [rows, columns])?;
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid(instance_uid)
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let encode = |error: &dyn std::fmt::Display| WriteError::Encode(error.to_string());
    let file = object.with_meta(meta).map_err(|error| encode(&error))?;
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| encode(&error))?;
    Ok(bytes)
}

/// The instance number of slice `z` of so many: 1 nearest the head.
pub fn instance_number(slices: usize, z: usize) -> usize {
    slices - z
}

type Object = InMemDicomObject;

fn put_text(object: &mut Object, tag: Tag, vr: VR, text: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(text)));
}

fn put_numbers(object: &mut Object, tag: Tag, numbers: &[f64]) {
    let text: Vec<String> = numbers.iter().map(|n| decimal(*n)).collect();
    put_text(object, tag, VR::DS, &text.join("\\"));
}

fn put_short(object: &mut Object, tag: Tag, value: u16) {
    object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
}

fn put_series(object: &mut Object, series: &SeriesTags) {
    let texts = [
        (tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        (tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\AXIAL"),
        (tags::MODALITY, VR::CS, "CT"),
        (tags::BODY_PART_EXAMINED, VR::CS, "ABDOMEN"),
        (tags::PATIENT_POSITION, VR::CS, "HFS"),
        (tags::PATIENT_SEX, VR::CS, "O"),
        (tags::PATIENT_BIRTH_DATE, VR::DA, ""),
        (tags::ACCESSION_NUMBER, VR::SH, ""),
        (tags::REFERRING_PHYSICIAN_NAME, VR::PN, ""),
        (tags::POSITION_REFERENCE_INDICATOR, VR::LO, ""),
        (tags::PATIENT_ID, VR::LO, &series.patient_id),
        (tags::PATIENT_NAME, VR::PN, &series.patient_name),
        (tags::STUDY_INSTANCE_UID, VR::UI, &series.study_uid),
        (tags::SERIES_INSTANCE_UID, VR::UI, &series.series_uid),
        (tags::FRAME_OF_REFERENCE_UID, VR::UI, &series.frame_of_reference_uid),
        (tags::STUDY_ID, VR::SH, &series.study_id),
        (tags::STUDY_DATE, VR::DA, &series.date),
        (tags::SERIES_DATE, VR::DA, &series.date),
        (tags::ACQUISITION_DATE, VR::DA, &series.date),
        (tags::CONTENT_DATE, VR::DA, &series.date),
        (tags::STUDY_TIME, VR::TM, &series.study_time),
        (tags::SERIES_TIME, VR::TM, &series.acquisition_time),
        (tags::ACQUISITION_TIME, VR::TM, &series.acquisition_time),
        (tags::CONTENT_TIME, VR::TM, &series.acquisition_time),
        (tags::SERIES_DESCRIPTION, VR::LO, &series.series_description),
        (tags::CONVOLUTION_KERNEL, VR::SH, &series.kernel),
        (tags::MANUFACTURER, VR::LO, &series.manufacturer),
        (tags::ACQUISITION_NUMBER, VR::IS, "1"),
    ];
    for (tag, vr, text) in texts {
        put_text(object, tag, vr, text);
    }
    put_text(object, tags::SERIES_NUMBER, VR::IS, &series.series_number.to_string());
    put_numbers(object, tags::KVP, &[series.kvp]);
    if let Some(agent) = &series.contrast_agent {
        put_text(object, tags::CONTRAST_BOLUS_AGENT, VR::LO, agent);
    }
}

/// DICOM's patient axes are left, back, head; a grid's are right, front, head.
fn put_geometry(object: &mut Object, grid: &Grid, z: usize) -> Result<(), WriteError> {
    let [dz, dy, dx] = grid.spacing_mm();
    let axis = |column: usize, length: f64| -> [f64; 3] {
        let [x, y, z] = grid.affine().map(|row| row[column] / length);
        [-x, -y, z]
    };
    let axes = [axis(0, dx), axis(1, dy), axis(2, dz)];
    let product = |a: usize, b: usize| (0..3).map(|i| axes[a][i] * axes[b][i]).sum::<f64>();
    let straight =
        (0..3).all(|a| (0..3).all(|b| (product(a, b) - f64::from(u8::from(a == b))).abs() < 1e-4));
    if !straight {
        return Err(WriteError::Sheared);
    }
    let [x, y, height] = grid.ras_mm([z as f64, 0.0, 0.0]);
    put_numbers(object, tags::IMAGE_POSITION_PATIENT, &[-x, -y, height]);
    put_numbers(object, tags::IMAGE_ORIENTATION_PATIENT, &[axes[0], axes[1]].concat());
    put_numbers(object, tags::PIXEL_SPACING, &[dy, dx]);
    put_numbers(object, tags::SLICE_THICKNESS, &[dz]);
    put_numbers(object, tags::SPACING_BETWEEN_SLICES, &[dz]);
    put_numbers(object, tags::SLICE_LOCATION, &[height]);
    Ok(())
}

fn put_pixels(
    object: &mut Object,
    volume: &Volume<i16>,
    z: usize,
    [rows, columns]: [usize; 2],
) -> Result<(), WriteError> {
    let edge = |length: usize| u16::try_from(length).map_err(|_| WriteError::TooLarge(length));
    let (rows, columns) = (edge(rows)?, edge(columns)?);
    let slice = volume.voxels().index_axis(ndarray::Axis(0), z);
    let store = |hu: &i16| {
        u16::try_from(i32::from(*hu) - INTERCEPT).map_err(|_| WriteError::BelowIntercept(*hu))
    };
    let stored = slice.iter().map(store).collect::<Result<Vec<u16>, WriteError>>()?;
    put_short(object, tags::SAMPLES_PER_PIXEL, 1);
    put_text(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    put_short(object, tags::ROWS, rows);
    put_short(object, tags::COLUMNS, columns);
    put_short(object, tags::BITS_ALLOCATED, 16);
    put_short(object, tags::BITS_STORED, 16);
    put_short(object, tags::HIGH_BIT, 15);
    put_short(object, tags::PIXEL_REPRESENTATION, 0);
    put_numbers(object, tags::RESCALE_INTERCEPT, &[f64::from(INTERCEPT)]);
    put_numbers(object, tags::RESCALE_SLOPE, &[1.0]);
    put_text(object, tags::RESCALE_TYPE, VR::LO, "HU");
    put_numbers(object, tags::WINDOW_CENTER, &[60.0]);
    put_numbers(object, tags::WINDOW_WIDTH, &[350.0]);
    let pixels = PrimitiveValue::U16(stored.into());
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, pixels));
    Ok(())
}

/// A decimal string of at most 16 characters, with as many decimals as fit, up to ten.
fn decimal(value: f64) -> String {
    for decimals in (0..=10).rev() {
        let text = format!("{value:.decimals$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        if text.len() <= 16 {
            return if text == "-0" { "0".to_owned() } else { text.to_owned() };
        }
    }
    format!("{value:.8e}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dicom_object::from_reader;
    use ndarray::Array3;

    use super::*;

    fn series() -> SeriesTags {
        SeriesTags {
            patient_id: "PHANTOM-7".into(),
            patient_name: "PHANTOM^7".into(),
            study_uid: uid_of("study"),
            series_uid: uid_of("series"),
            frame_of_reference_uid: uid_of("frame"),
            study_id: "7".into(),
            date: "20260102".into(),
            study_time: "080000".into(),
            acquisition_time: "080112".into(),
            series_number: 3,
            series_description: "Abdomen venous".into(),
            contrast_agent: Some("synthetic".into()),
            kvp: 120.0,
            kernel: "SOFT".into(),
            manufacturer: "hepalert".into(),
        }
    }

    fn volume(affine: [[f64; 4]; 3]) -> Volume<i16> {
        let grid = Grid::new([3, 2, 4], [5.0, 0.8, 0.75], affine);
        let hu = |(z, y, x)| (100 * z + 10 * y + x) as i16 - 1024;
        Volume::new(Arc::new(grid), Array3::from_shape_fn((3, 2, 4), hu))
    }

    fn axial() -> Volume<i16> {
        volume([[-0.75, 0.0, 0.0, 150.125], [0.0, -0.8, 0.0, 99.5], [0.0, 0.0, 5.0, -310.0]])
    }

    #[test]
    fn a_slice_reads_back() {
        let bytes = write_slice(&axial(), 2, &series()).unwrap();
        let file = from_reader(&bytes[..]).unwrap();
        let text = |tag| file.element(tag).unwrap().to_str().unwrap().into_owned();
        assert_eq!(text(tags::IMAGE_POSITION_PATIENT), "-150.125\\-99.5\\-300");
        assert_eq!(text(tags::IMAGE_ORIENTATION_PATIENT), "1\\0\\0\\0\\1\\0");
        assert_eq!(text(tags::PIXEL_SPACING), "0.8\\0.75");
        assert_eq!(text(tags::INSTANCE_NUMBER), "1");
        assert_eq!(text(tags::PATIENT_ID), "PHANTOM-7");
        assert_eq!(text(tags::CONTRAST_BOLUS_AGENT), "synthetic");
        let pixels = file.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
        assert_eq!(pixels, [200, 201, 202, 203, 210, 211, 212, 213]);
        assert_eq!(file.meta().transfer_syntax(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    }

    #[test]
    fn what_dicom_cannot_say_is_refused() {
        let sheared = [[-0.75, 0.3, 0.0, 0.0], [0.0, -0.8, 0.0, 0.0], [0.0, 0.0, 5.0, 0.0]];
        assert!(matches!(write_slice(&volume(sheared), 0, &series()), Err(WriteError::Sheared)));
        let no_slice = write_slice(&axial(), 3, &series());
        assert!(matches!(no_slice, Err(WriteError::NoSuchSlice { slice: 3, slices: 3 })));
        let mut low = axial();
        low.voxels_mut()[[0, 0, 0]] = -2000;
        let refused = write_slice(&low, 0, &series());
        assert!(matches!(refused, Err(WriteError::BelowIntercept(-2000))));
    }

    #[test]
    fn uids_are_short_numbers_and_stay_the_same() {
        let uid = uid_of("study");
        assert!(uid.len() <= 64 && uid.starts_with("2.25."), "{uid}");
        assert_eq!(uid, uid_of("study"));
        assert_ne!(uid, uid_of("series"));
    }

    #[test]
    fn decimals_fit_sixteen_characters() {
        assert_eq!(decimal(0.7), "0.7");
        assert_eq!(decimal(-0.0), "0");
        assert_eq!(decimal(100.0), "100");
        assert_eq!(decimal(-1.0 / 3.0), "-0.3333333333");
        assert!(decimal(-123_456_789.123_456_7).len() <= 16);
        assert!(decimal(1e300).len() <= 16);
    }
}
