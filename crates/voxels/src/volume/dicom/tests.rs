//! Files made here with `dicom-object`, and damaged here by hand: envelopes, refusals by
//! name, and the geometry of a series.

use std::io::{Read, Write};

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use proptest::prelude::*;

use super::read::{read_header, read_slice};
use super::*;

const SYNTAXES: [&str; 4] = [
    uids::IMPLICIT_VR_LITTLE_ENDIAN,
    uids::EXPLICIT_VR_LITTLE_ENDIAN,
    elements::EXPLICIT_VR_BIG_ENDIAN,
    uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
];

/// A CT image of 2 rows and 3 columns, stored values 0 to 5.
fn image() -> InMemDicomObject {
    let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, uids::CT_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1"),
        text(tags::MODALITY, VR::CS, "CT"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.2"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "2.25.3"),
        text(tags::IMAGE_POSITION_PATIENT, VR::DS, "-100\\-120\\50 "),
        text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0"),
        text(tags::PIXEL_SPACING, VR::DS, "0.8\\0.7"),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        short(tags::ROWS, 2),
        short(tags::COLUMNS, 3),
        short(tags::BITS_ALLOCATED, 16),
        short(tags::BITS_STORED, 16),
        short(tags::HIGH_BIT, 15),
        short(tags::PIXEL_REPRESENTATION, 1),
        text(tags::RESCALE_INTERCEPT, VR::DS, "-1000"),
        text(tags::RESCALE_SLOPE, VR::DS, "1"),
        DataElement::new(tags::PIXEL_DATA, VR::OW, dicom_value!(U16, [0, 1, 2, 3, 4, 5])),
    ])
}

const UNITS: [i16; 6] = [-1000, -999, -998, -997, -996, -995];

fn dataset(object: &InMemDicomObject, syntax: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let syntax = TransferSyntaxRegistry.get(syntax).unwrap();
    object.write_dataset_with_ts(&mut bytes, syntax).unwrap();
    bytes
}

fn file(object: &InMemDicomObject, syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid(uids::CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("2.25.1")
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    object.clone().with_exact_meta(meta).write_all(&mut bytes).unwrap();
    bytes
}

fn explicit(object: &InMemDicomObject) -> Vec<u8> {
    file(object, uids::EXPLICIT_VR_LITTLE_ENDIAN)
}

/// The refusal of an image with one text attribute changed.
fn refusal(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> DicomError {
    let mut object = image();
    object.put(DataElement::new(tag, vr, value.into()));
    read_slice(&explicit(&object)).expect_err("must be refused")
}

fn units(bytes: &[u8]) -> Pixels {
    read_slice(bytes).unwrap().pixels
}

#[test]
fn every_envelope_is_opened() {
    for syntax in SYNTAXES {
        let whole = file(&image(), syntax);
        let meta_ends = whole.len() - dataset(&image(), syntax).len();
        assert_eq!(units(&whole), Pixels::Whole(UNITS.to_vec()), "{syntax}");
        // Without the preamble, and without the mark behind it.
        assert_eq!(units(&whole[128..]), Pixels::Whole(UNITS.to_vec()), "{syntax}");
        assert_eq!(units(&whole[132..]), Pixels::Whole(UNITS.to_vec()), "{syntax}");
        if syntax != uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
            // Without anything: nothing tells that a bare stream is deflated.
            let slice = read_slice(&whole[meta_ends..]).unwrap();
            assert_eq!(slice.pixels, Pixels::Whole(UNITS.to_vec()), "{syntax}");
            assert_eq!(slice.header.transfer_syntax, syntax);
        }
    }
}

/// Zeros behind a whole data set, packed to a thousandth: as much as an image may have is read, a
/// byte more is refused.
#[test]
fn what_unpacks_to_more_than_an_image_has_is_refused() {
    let whole = file(&image(), uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN);
    // Preamble, mark, and the group that says how long it is.
    let meta_ends = 144 + u32::from_le_bytes(whole[140..144].try_into().unwrap()) as usize;
    let plain = dataset(&image(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let unpacking_to = |bytes: usize| {
        let mut packed = DeflateEncoder::new(whole[..meta_ends].to_vec(), Compression::fast());
        packed.write_all(&plain).unwrap();
        let padding = bytes - plain.len();
        // An element nobody reads, so that the data set stays a right one.
        let head = [&[0xfc, 0xff, 0xfc, 0xff][..], b"OB\0\0", &(padding as u32 - 12).to_le_bytes()];
        packed.write_all(&head.concat()).unwrap();
        std::io::copy(&mut std::io::repeat(0).take(padding as u64 - 12), &mut packed).unwrap();
        packed.finish().unwrap()
    };
    let largest = unpacking_to(64 << 20);
    assert!(largest.len() < 1 << 20, "{}", largest.len());
    assert_eq!(units(&largest), Pixels::Whole(UNITS.to_vec()));
    let refused = read_header(&unpacking_to((64 << 20) + 2)).unwrap_err();
    assert_eq!(refused.code(), "corrupt");
    assert!(refused.to_string().contains("more than any image"), "{refused}");
}

#[test]
fn a_data_set_written_otherwise_than_declared_is_read() {
    let declared = explicit(&image());
    let meta_ends = declared.len() - dataset(&image(), uids::EXPLICIT_VR_LITTLE_ENDIAN).len();
    let implicit = dataset(&image(), uids::IMPLICIT_VR_LITTLE_ENDIAN);
    let lying = [&declared[..meta_ends], &implicit].concat();
    assert_eq!(units(&lying), Pixels::Whole(UNITS.to_vec()));
}

#[test]
fn other_files_are_not_dicom() {
    let text = b"<html><body>Not found</body></html>".repeat(20);
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 500]].concat();
    for bytes in [text.as_slice(), &png, b"x", &[7; 300], &[0; 300]] {
        assert_eq!(read_header(bytes), Err(DicomError::NotDicom));
    }
    assert_eq!(read_header(b""), Err(DicomError::Truncated));
    assert_eq!(read_header(&[0; 131]), Err(DicomError::Truncated));
}

#[test]
fn images_that_are_no_ct_slice_are_refused_by_name() {
    let class = |uid: &str| refusal(tags::SOP_CLASS_UID, VR::UI, uid).code();
    assert_eq!(class(uids::MR_IMAGE_STORAGE), "not_ct");
    assert_eq!(class(uids::SECONDARY_CAPTURE_IMAGE_STORAGE), "not_ct");
    assert_eq!(class(uids::ENHANCED_CT_IMAGE_STORAGE), "enhanced_ct");
    assert_eq!(refusal(tags::NUMBER_OF_FRAMES, VR::IS, "2").code(), "multi_frame");
    let photometric = refusal(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME1");
    assert_eq!(photometric.code(), "unsupported_pixels");
    assert_eq!(refusal(tags::SAMPLES_PER_PIXEL, VR::US, 3_u16).code(), "unsupported_pixels");
    assert_eq!(refusal(tags::BITS_ALLOCATED, VR::US, 32_u16).code(), "unsupported_pixels");
    assert_eq!(refusal(tags::HIGH_BIT, VR::US, 3_u16).code(), "unsupported_pixels");
    assert_eq!(refusal(tags::BITS_STORED, VR::US, 0_u16).code(), "unsupported_pixels");
    assert_eq!(refusal(tags::RESCALE_SLOPE, VR::DS, "").code(), "missing_attribute");
    assert_eq!(refusal(tags::RESCALE_SLOPE, VR::DS, "0").code(), "missing_attribute");
    assert_eq!(refusal(tags::RESCALE_INTERCEPT, VR::DS, "none").code(), "missing_attribute");
    assert_eq!(refusal(tags::RESCALE_TYPE, VR::LO, "ED").code(), "not_hounsfield");
    assert_eq!(refusal(tags::ROWS, VR::US, 5000_u16).code(), "too_large");
    assert_eq!(refusal(tags::ROWS, VR::US, 0_u16).code(), "corrupt");
    assert_eq!(refusal(tags::ROWS, VR::US, 3_u16).code(), "truncated");
    let mut tabled = image();
    let table = DataSetSequence::from(vec![InMemDicomObject::new_empty()]);
    tabled.put(DataElement::new(tags::MODALITY_LUT_SEQUENCE, VR::SQ, table));
    assert_eq!(read_slice(&explicit(&tabled)).unwrap_err().code(), "unsupported_pixels");
    let unknown = [explicit(&image())].concat();
    let at = unknown.windows(19).position(|bytes| bytes == b"1.2.840.10008.1.2.1").unwrap();
    let mut private = unknown.clone();
    private[at..at + 19].copy_from_slice(b"1.2.840.10008.9.9.9");
    assert_eq!(read_slice(&private).unwrap_err().code(), "corrupt");
}

/// An element of VR `UN` before the pixels, its value as given.
fn with_unknown(value: &[u8], length: u32) -> Vec<u8> {
    let whole = explicit(&image());
    let at = whole.windows(6).position(|bytes| bytes == b"\x28\0\x02\0US").unwrap();
    let head = [b"\x27\0\x10\x10UN\0\0".as_slice(), &length.to_le_bytes()].concat();
    [&whole[..at], &head, value, &whole[at..]].concat()
}

const ITEM: &[u8] = &[0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff];
const ITEM_END: &[u8] = &[0xfe, 0xff, 0x0d, 0xe0, 0, 0, 0, 0];
const SEQUENCE_END: &[u8] = &[0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

#[test]
fn sequences_of_unknown_vr_are_stepped_over() {
    // Inside: implicit VR, as the standard has it; then explicit, as some write it.
    let implicit = [0x10, 0, 0x20, 0, 4, 0, 0, 0, b'A', b'B', b'C', b'D'];
    let explicit = [0x10, 0, 0x20, 0, b'L', b'O', 4, 0, b'A', b'B', b'C', b'D'];
    for inside in [implicit, explicit] {
        let value = [ITEM, &inside, ITEM_END, SEQUENCE_END].concat();
        let slice = read_slice(&with_unknown(&value, u32::MAX)).unwrap();
        assert_eq!(slice.pixels, Pixels::Whole(UNITS.to_vec()));
        assert_eq!(slice.header.identifiers.patient_id, None);
    }
}

#[test]
fn lengths_and_depths_that_lie_are_errors() {
    // A decoder that believed these would clear gigabytes, or leave its stack.
    assert_eq!(read_header(&with_unknown(b"", u32::MAX - 1)), Err(DicomError::Truncated));
    let open = [ITEM, b"\x27\0\x10\x10\xff\xff\xff\xff".as_slice()].concat();
    let deep = read_header(&with_unknown(&open.repeat(100_000), u32::MAX));
    assert_eq!(deep.unwrap_err().code(), "corrupt");
    let no_items = read_header(&with_unknown(&[1; 16], u32::MAX));
    assert_eq!(no_items.unwrap_err().code(), "corrupt");
}

#[test]
fn a_value_of_a_wrong_vr_is_absent_and_upsets_nothing() {
    let whole = explicit(&image());
    let at = whole.windows(6).position(|bytes| bytes == b"\x08\0\x18\0UI").unwrap() + 4;
    // Numbers of four bytes in six; a sequence that would be descended into.
    let mut numbers = whole.clone();
    numbers[at..at + 2].copy_from_slice(b"UL");
    let slice = read_slice(&numbers).unwrap();
    assert_eq!(slice.pixels, Pixels::Whole(UNITS.to_vec()));
    assert_eq!((slice.header.sop_uid.as_str(), slice.header.modality.as_str()), ("", "CT"));
    let inside = [ITEM, b"\x10\0\x10\0OB\0\0\xf0\xff\xff\xff"].concat();
    let head = [b"\x08\0\x18\0SQ\0\0".as_slice(), &(inside.len() as u32).to_le_bytes()].concat();
    let sequence = [&whole[..at - 4], &head, &inside, &whole[at + 10..]].concat();
    assert_eq!(read_slice(&sequence).unwrap().header.sop_uid, "");
}

#[test]
fn a_header_is_read_from_the_beginning_of_a_file() {
    let whole = explicit(&image());
    let pixels_at = whole.windows(4).position(|bytes| bytes == b"\xe0\x7f\x10\0").unwrap();
    let header = read_header(&whole[..pixels_at + 4]).unwrap();
    assert_eq!(header, read_slice(&whole).unwrap().header);
    assert_eq!(header.pixel_spacing_mm, Some([0.8, 0.7]));
    assert_eq!(header.image_position_mm, Some([-100.0, -120.0, 50.0]));
    assert_eq!(header.rescale_intercept, Some(-1000.0));
    assert_eq!((header.kvp, header.rescale_type.as_deref()), (None, None));
}

#[test]
fn objects_without_pixels_have_a_header() {
    let mut report = InMemDicomObject::new_empty();
    let class = PrimitiveValue::from(uids::BASIC_TEXT_SR_STORAGE);
    report.put(DataElement::new(tags::SOP_CLASS_UID, VR::UI, class));
    let header = read_header(&explicit(&report)).unwrap();
    assert_eq!(header.require_ct().unwrap_err().code(), "not_ct");
}

proptest! {
    #[test]
    fn damaged_files_never_panic(
        syntax in prop::sample::select(SYNTAXES.to_vec()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = file(&image(), syntax);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(slice) = read_slice(&bytes) {
            let side = |side: Option<u16>| usize::from(side.unwrap());
            let pixels = side(slice.header.rows) * side(slice.header.columns);
            prop_assert_eq!(slice.pixels.len(), pixels);
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = read_slice(&bytes);
        bytes.splice(0..0, [vec![0; 128], b"DICM".to_vec()].concat());
        let _ = read_slice(&bytes);
    }
}

/// Headers of slices along a normal, 512 x 512, at these distances.
fn stack(distances_mm: &[f64], orientation: [f64; 6]) -> Vec<SliceHeader> {
    let mut header = read_header(&explicit(&image())).unwrap();
    header.image_orientation = Some(orientation);
    let [rx, ry, rz, cx, cy, cz] = orientation;
    let normal = [ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx];
    let at = |distance: &f64| {
        let mut header = header.clone();
        header.image_position_mm =
            Some([0, 1, 2].map(|axis| [-100.0, -120.0, 50.0][axis] + distance * normal[axis]));
        header
    };
    distances_mm.iter().map(at).collect()
}

const AXIAL: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

fn steps(count: usize, step_mm: f64) -> Vec<f64> {
    (0..count).map(|index| index as f64 * step_mm).collect()
}

fn why(headers: &[SliceHeader]) -> &'static str {
    plan(headers).expect_err("must be refused").code()
}

#[test]
fn slices_are_sorted_and_spaced_by_position() {
    let mut headers = stack(&steps(10, 2.0), AXIAL);
    headers.swap(0, 7);
    headers.iter_mut().for_each(|header| header.slice_thickness_mm = Some(3.2));
    let plan = plan(&headers).unwrap();
    assert_eq!(plan.order(), [7, 1, 2, 3, 4, 5, 6, 0, 8, 9]);
    assert_eq!(plan.grid().shape(), [10, 2, 3]);
    assert_eq!(plan.grid().spacing_mm(), [2.0, 0.8, 0.7]);
    assert_eq!(plan.coverage_mm(), 20.0);
    // LPS to RAS: x and y change their sign.
    assert_eq!(plan.grid().ras_mm([0.0; 3]), [100.0, 120.0, 50.0]);
    let corner = plan.grid().ras_mm([9.0, 1.0, 2.0]);
    assert!(corner.iter().zip([98.6, 119.2, 68.0]).all(|(p, q)| (p - q).abs() < 1e-9));
}

#[test]
fn a_turned_stack_is_right_angled_and_a_sheared_one_is_not() {
    let (sin, cos) = 15.0_f64.to_radians().sin_cos();
    let turned = [1.0, 0.0, 0.0, 0.0, cos, -sin];
    let headers = stack(&steps(20, 5.0), turned);
    let plan = plan(&headers).unwrap();
    let affine = plan.grid().affine();
    assert!((affine[1][2] - -sin * 5.0).abs() < 1e-9, "{affine:?}");
    // The same slices along the table, as a tilted gantry takes them.
    let mut tilted = headers;
    for (index, header) in tilted.iter_mut().enumerate() {
        header.image_position_mm = Some([-100.0, -120.0, 50.0 + 5.0 * index as f64]);
    }
    match super::plan(&tilted) {
        Err(GeometryError::GantryTilt { degrees }) => assert!((degrees - 15.0).abs() < 1e-9),
        other => panic!("{other:?}"),
    }
}

#[test]
fn series_that_are_no_volume_are_refused_by_name() {
    let fine = || stack(&steps(10, 5.0), AXIAL);
    let broken = |change: fn(&mut SliceHeader)| {
        let mut headers = fine();
        change(&mut headers[4]);
        why(&headers)
    };
    assert!(plan(&fine()).is_ok());
    assert_eq!(why(&fine()[..7]), "too_few_slices");
    assert_eq!(why(&[]), "too_few_slices");
    assert_eq!(broken(|h| h.image_position_mm = None), "missing_geometry");
    assert_eq!(broken(|h| h.pixel_spacing_mm = None), "missing_geometry");
    assert_eq!(broken(|h| h.series_uid.push('1')), "mixed_series");
    assert_eq!(broken(|h| h.frame_of_reference_uid = Some("2.25.9".into())), "mixed_series");
    assert_eq!(broken(|h| h.columns = Some(512)), "mixed_size");
    assert_eq!(broken(|h| h.pixel_spacing_mm = Some([0.8, 0.8])), "mixed_spacing");
    let coronal = Some([1.0, 0.0, 0.0, 0.0, 0.0, -1.0]);
    let mut mixed = fine();
    mixed[0].image_orientation = coronal;
    assert_eq!(why(&mixed), "mixed_orientation");
    let all = |change: fn(&mut SliceHeader)| {
        let mut headers = fine();
        headers.iter_mut().for_each(change);
        why(&headers)
    };
    assert_eq!(all(|h| h.pixel_spacing_mm = Some([0.0, 0.7])), "bad_spacing");
    assert_eq!(
        all(|h| h.image_orientation = Some([1.0, 0.0, 0.0, 0.1, 1.0, 0.0])),
        "non_orthonormal"
    );
    assert_eq!(
        all(|h| h.image_orientation = Some([2.0, 0.0, 0.0, 0.0, 1.0, 0.0])),
        "non_orthonormal"
    );
    assert_eq!(all(|h| h.image_position_mm = Some([0.0; 3])), "duplicate_position");
    assert_eq!(all(|h| (h.rows, h.columns) = (Some(65535), Some(65535))), "too_large");
}

#[test]
fn steps_are_judged_by_their_median() {
    let along = |distances: &[f64]| plan(&stack(distances, AXIAL));
    let mut jittered = steps(30, 5.0);
    jittered.iter_mut().step_by(3).for_each(|distance| *distance += 0.04);
    assert!(along(&jittered).is_ok());
    let mut gap = steps(30, 1.25);
    gap.drain(10..12);
    gap.remove(20);
    assert_eq!(
        along(&gap).unwrap_err(),
        GeometryError::MissingSlice { after_mm: 50.0 + 9.0 * 1.25, missing: 3 }
    );
    let mut twice = steps(30, 5.0);
    twice.extend(steps(30, 5.0));
    assert_eq!(along(&twice).unwrap_err(), GeometryError::DuplicatePosition { count: 30 });
    let mut uneven = steps(30, 5.0);
    uneven.extend([150.0 + 2.5, 160.0]);
    assert_eq!(along(&uneven).unwrap_err().code(), "uneven_spacing");
    // Every step within tolerance, and yet the middle is far from the even grid.
    let drifting: Vec<f64> =
        (0..40).map(|i| f64::from(i) * 1.0 + 0.09 * f64::from(i.min(40 - i))).collect();
    assert_eq!(along(&drifting).unwrap_err().code(), "uneven_spacing");
}

#[test]
fn a_slice_of_another_series_finds_no_place() {
    let headers = stack(&steps(8, 5.0), AXIAL);
    let pixels = Pixels::Whole(UNITS.to_vec());
    let slice = |header: &SliceHeader| Slice { header: header.clone(), pixels: pixels.clone() };
    let mut builder = SeriesBuilder::new(&headers).unwrap();
    for header in &headers {
        builder.place(&slice(header)).unwrap();
    }
    let mut foreign = headers[0].clone();
    foreign.image_position_mm = Some([-100.0, -120.0, 50.0 - 5.0]);
    assert_eq!(builder.place(&slice(&foreign)), Err(GeometryError::ForeignSlice));
    let mut short = slice(&headers[0]);
    short.pixels = Pixels::Whole(vec![0; 5]);
    assert_eq!(builder.place(&short), Err(GeometryError::ForeignSlice));
    let volume = builder.finish().unwrap();
    assert_eq!(volume.voxels()[[7, 1, 2]], -995.0);
}
