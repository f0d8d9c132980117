//! Enhanced objects made here with `dicom-object`, native and compressed.

use dicom_core::value::{DataSetSequence, PixelFragmentSequence};
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

use crate::volume::dicom::acquisitions::split_headers;
use crate::volume::dicom::elements::{Element, Encoding, Value};
use crate::volume::dicom::header::is_leaf;
use crate::volume::dicom::read::{check_whole, read_frame, read_header, read_headers};
use crate::volume::dicom::{DicomError, Pixels, plan};

const SIDE: usize = 16;
const SLICES: usize = 9;
const FRAMES: usize = 2 * SLICES;

fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

fn group(tag: Tag, elements: Vec<DataElement<InMemDicomObject>>) -> DataElement<InMemDicomObject> {
    let item = InMemDicomObject::from_element_iter(elements);
    DataElement::new(tag, VR::SQ, DataSetSequence::from(vec![item]))
}

/// Two temporal positions of nine slices, in turns.
fn frame(at: usize) -> InMemDicomObject {
    let (slice, time) = (at / 2, at % 2);
    let index =
        |tag, value: usize| DataElement::new(tag, VR::UL, PrimitiveValue::from(value as u32));
    InMemDicomObject::from_element_iter([
        group(
            tags::FRAME_CONTENT_SEQUENCE,
            vec![
                index(tags::TEMPORAL_POSITION_INDEX, time + 1),
                text(tags::STACK_ID, VR::SH, "1"),
                text(tags::FRAME_ACQUISITION_DATE_TIME, VR::DT, "20250131101112"),
            ],
        ),
        group(
            tags::PLANE_POSITION_SEQUENCE,
            vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, &format!("-10\\-20\\{}", 5 * slice))],
        ),
    ])
}

fn stored(at: usize) -> Vec<u16> {
    (0..SIDE * SIDE).map(|pixel| ((pixel * 7 + at * 131) % 4000) as u16).collect()
}

fn enhanced() -> InMemDicomObject {
    let shared = InMemDicomObject::from_element_iter([
        group(tags::PIXEL_MEASURES_SEQUENCE, vec![text(tags::PIXEL_SPACING, VR::DS, "0.8\\0.7")]),
        group(
            tags::PLANE_ORIENTATION_SEQUENCE,
            vec![text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0")],
        ),
        group(
            tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
            vec![
                text(tags::RESCALE_INTERCEPT, VR::DS, "-1024"),
                text(tags::RESCALE_SLOPE, VR::DS, "1"),
                text(tags::RESCALE_TYPE, VR::LO, "HU"),
            ],
        ),
    ]);
    let short = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let pixels: Vec<u16> = (0..FRAMES).flat_map(stored).collect();
    InMemDicomObject::from_element_iter([
        text(tags::SOP_CLASS_UID, VR::UI, uids::ENHANCED_CT_IMAGE_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, "2.25.1"),
        text(tags::MODALITY, VR::CS, "CT"),
        text(tags::STUDY_INSTANCE_UID, VR::UI, "2.25.2"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, "2.25.3"),
        short(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
        text(tags::NUMBER_OF_FRAMES, VR::IS, &FRAMES.to_string()),
        short(tags::ROWS, SIDE as u16),
        short(tags::COLUMNS, SIDE as u16),
        short(tags::BITS_ALLOCATED, 16),
        short(tags::BITS_STORED, 16),
        short(tags::HIGH_BIT, 15),
        short(tags::PIXEL_REPRESENTATION, 0),
        DataElement::new(
            tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
            VR::SQ,
            DataSetSequence::from(vec![shared]),
        ),
        DataElement::new(
            tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
            VR::SQ,
            DataSetSequence::from((0..FRAMES).map(frame).collect::<Vec<_>>()),
        ),
        DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())),
    ])
}

fn file(object: InMemDicomObject, syntax: &str) -> Vec<u8> {
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid(uids::ENHANCED_CT_IMAGE_STORAGE)
        .media_storage_sop_instance_uid("2.25.1")
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    object.with_exact_meta(meta).write_all(&mut bytes).unwrap();
    bytes
}

/// The object with frames as JPEG-LS, each cut into `pieces`.
fn compressed(pieces: usize, with_table: bool) -> Vec<u8> {
    let (mut fragments, mut offsets, mut at) = (Vec::new(), Vec::new(), 0_u32);
    for index in 0..FRAMES {
        let side = SIDE as u32;
        let mut stream = Vec::new();
        jpegls::encode(&stored(index), side, side, &mut stream).unwrap();
        // Both ways to make it even: a fill byte before the end of image, and a byte behind it.
        if index % 2 == 0 {
            stream.insert(stream.len() - 2, 0xff);
        }
        if stream.len() % 2 == 1 {
            stream.push(0);
        }
        offsets.push(at);
        for piece in stream.chunks(stream.len().div_ceil(pieces).next_multiple_of(2)) {
            at += 8 + piece.len() as u32;
            fragments.push(piece.to_vec());
        }
    }
    let offsets = if with_table { offsets } else { Vec::new() };
    let mut object = enhanced();
    let pixels = PixelFragmentSequence::new(offsets, fragments);
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, pixels));
    file(object, uids::JPEGLS_LOSSLESS)
}

fn check(bytes: &[u8], what: &str) {
    let headers = read_headers(bytes).unwrap();
    assert_eq!(headers.len(), FRAMES, "{what}");
    for (at, header) in headers.iter().enumerate() {
        assert_eq!(header.image_position_mm, Some([-10.0, -20.0, 5.0 * (at / 2) as f64]));
        assert_eq!(header.pixel_spacing_mm, Some([0.8, 0.7]));
        assert_eq!(header.temporal_position, Some((at % 2) as i64 + 1));
        assert_eq!(header.stack.as_deref(), Some("1"));
        assert_eq!(header.acquisition_date_time.as_deref(), Some("20250131101112"));
        assert_eq!((header.frame, header.instance_number), (Some(at), Some(at as i64 + 1)));
        let hu: Vec<i16> = stored(at).iter().map(|value| *value as i16 - 1024).collect();
        let slice = read_frame(bytes, header).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(slice.pixels, Pixels::Whole(hu), "{what}: frame {at}");
    }
    check_whole(bytes, &headers[0]).unwrap();
}

#[test]
fn every_frame_has_its_header_and_its_pixels() {
    for syntax in [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    ] {
        check(&file(enhanced(), syntax), syntax);
    }
    check(&compressed(1, false), "one fragment per frame");
    check(&compressed(1, true), "with a table");
    check(&compressed(3, true), "in pieces, with a table");
    check(&compressed(3, false), "in pieces, without");
}

#[test]
fn temporal_positions_are_volumes_of_their_own() {
    let headers = read_headers(&file(enhanced(), uids::EXPLICIT_VR_LITTLE_ENDIAN)).unwrap();
    let parts = split_headers(&headers, |_| None);
    assert_eq!(parts.len(), 2);
    for (time, part) in parts.iter().enumerate() {
        assert!(part.iter().all(|at| at % 2 == time));
        let headers: Vec<_> = part.iter().map(|at| headers[*at].clone()).collect();
        assert_eq!(plan(&headers).unwrap().grid().shape(), [SLICES, SIDE, SIDE]);
    }
}

#[test]
fn objects_that_do_not_say_where_their_frames_lie_are_refused() {
    let mut object = enhanced();
    object.remove_element(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE);
    let bytes = file(object, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(read_headers(&bytes), Err(DicomError::EnhancedCt));
    let mut object = enhanced();
    object.put(text(tags::NUMBER_OF_FRAMES, VR::IS, "4000"));
    let bytes = file(object, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    assert_eq!(read_headers(&bytes), Err(DicomError::EnhancedCt));
    let whole = file(enhanced(), uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let header = read_header(&whole).unwrap();
    assert_eq!(check_whole(&whole[..whole.len() - 10], &header), Err(DicomError::Truncated));
}

/// Compressed pixels under an unknown VR, with a length or without: as archives keep them.
#[test]
fn an_unknown_vr_hides_no_pixels() {
    let whole = compressed(1, false);
    let at = whole.windows(6).position(|bytes| bytes == b"\xe0\x7f\x10\0OB").unwrap();
    let mut unknown = whole.clone();
    unknown[at + 4..at + 6].copy_from_slice(b"UN");
    check(&unknown, "undefined length");
    let length = (whole.len() - at - 12) as u32;
    unknown[at + 8..at + 12].copy_from_slice(&length.to_le_bytes());
    check(&unknown, "a length of its own");
    // And under the name of an uncompressed syntax.
    let named = whole.windows(22).position(|b| b == b"1.2.840.10008.1.2.4.80").unwrap();
    unknown[named..named + 22].copy_from_slice(b"1.2.840.10008.1.2.1\0\0\0");
    check(&unknown, "an uncompressed syntax");
}

#[test]
fn damaged_objects_never_panic() {
    let plain = [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN];
    let plain = plain.map(|syntax| file(enhanced(), syntax));
    for whole in plain.into_iter().chain([compressed(3, true)]) {
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            let Ok(headers) = read_headers(&damaged) else { continue };
            if let Some(header) = headers.last() {
                let _ = read_frame(&damaged, header);
            }
            let _ = read_headers(&damaged[..at]);
        }
    }
}

/// Where the VR is not written the dictionary reads these as numbers, and what does not fill them
/// would be taken for the next length.
#[test]
fn numbers_that_do_not_fill_their_bytes_are_left_out() {
    let fits = |tag, bytes: &[u8]| {
        let element = Element { tag, vr: *b"UN", written: bytes, value: Value::Plain(bytes) };
        is_leaf(&element, Encoding::IMPLICIT)
    };
    assert!(fits(tags::TEMPORAL_POSITION_INDEX, &[0; 4]));
    assert!(!fits(tags::TEMPORAL_POSITION_INDEX, &[0; 6]));
    assert!(fits(tags::FRAME_ACQUISITION_NUMBER, &[0; 2]));
    assert!(!fits(tags::FRAME_ACQUISITION_NUMBER, &[0; 3]));
    assert!(!fits(tags::ROWS, &[0; 3]));
    assert!(fits(tags::STACK_ID, &[b'1'; 3]));
}
