//! What the header of a slice says, as far as intake, the gate and the geometry need it.
//!
//! Any DICOM object has one: what is absent or unreadable is `None`, and only reading pixels
//! insists on a CT image. The text of values is decoded by `dicom-object`.

use std::collections::BTreeMap;
use std::fmt;

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use dicom_transfer_syntax_registry::{TransferSyntaxIndex, TransferSyntaxRegistry};

use super::DicomError;
use super::elements::{EXPLICIT_VR_BIG_ENDIAN, Element, Elements, Encoding, Value};
use super::envelope::Envelope;
use super::geometry::{cross, dot};

/// Longer values of the attributes read here are passed over: the longest real ones are
/// comments of a few hundred bytes.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// No attribute that is read lies behind this group and before the pixels; the functional groups of
/// enhanced objects are read by `frames`.
const LAST_GROUP: u16 = 0x0028;

/// What tells who the patient is. Not in any log line, topic, metric or file name; `Debug`
/// shows nothing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identifiers {
    /// PatientName, as stored (`family^given`).
    pub patient_name: Option<String>,
    /// PatientID.
    pub patient_id: Option<String>,
    /// IssuerOfPatientID: whose numbers those are.
    pub issuer: Option<String>,
    /// PatientBirthDate, `YYYYMMDD`.
    pub birth_date: Option<String>,
    /// PatientSex, `M`, `F` or `O`.
    pub sex: Option<String>,
    /// PatientAge, such as `063Y`.
    pub age: Option<String>,
    /// AccessionNumber.
    pub accession_number: Option<String>,
}

impl fmt::Debug for Identifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identifiers(..)")
    }
}

/// The header of one slice. Points and directions are in patient coordinates as DICOM has
/// them: LPS, millimetres. UIDs name the study to whoever has the archive: `Debug` leaves
/// them and all free text out.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)] // named as in the standard
pub struct SliceHeader {
    pub identifiers: Identifiers,
    pub study_uid: String,
    pub series_uid: String,
    pub sop_uid: String,
    pub sop_class: String,
    pub frame_of_reference_uid: Option<String>,
    pub transfer_syntax: String,
    pub modality: String,
    /// Such as `ORIGINAL`, `PRIMARY`, `AXIAL`; `LOCALIZER` for a scout.
    pub image_type: Vec<String>,
    pub rows: Option<u16>,
    pub columns: Option<u16>,
    /// Millimetres between rows (y), between columns (x).
    pub pixel_spacing_mm: Option<[f64; 2]>,
    /// Centre of the first pixel.
    pub image_position_mm: Option<[f64; 3]>,
    /// Direction in which the column index grows, then the row index.
    pub image_orientation: Option<[f64; 6]>,
    pub slice_thickness_mm: Option<f64>,
    pub instance_number: Option<i64>,
    pub series_number: Option<i64>,
    pub acquisition_number: Option<i64>,
    /// TemporalPositionIdentifier, or the index of an enhanced object.
    pub temporal_position: Option<i64>,
    /// StackID of an enhanced object.
    pub stack: Option<String>,
    /// Which frame of an enhanced object this is, from 0.
    pub frame: Option<usize>,
    pub kvp: Option<f64>,
    /// As said; the geometry is checked by positions.
    pub gantry_tilt_degrees: Option<f64>,
    pub body_part: Option<String>,
    pub study_description: Option<String>,
    pub series_description: Option<String>,
    pub protocol_name: Option<String>,
    pub convolution_kernel: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub contrast_agent: Option<String>,
    /// `HHMMSS.f`.
    pub contrast_start_time: Option<String>,
    /// `YYYYMMDD`.
    pub study_date: Option<String>,
    pub series_date: Option<String>,
    pub acquisition_date: Option<String>,
    pub content_date: Option<String>,
    /// `HHMMSS.f`.
    pub study_time: Option<String>,
    pub series_time: Option<String>,
    pub acquisition_time: Option<String>,
    pub content_time: Option<String>,
    /// `YYYYMMDDHHMMSS.f`, where the scanner writes it in one.
    pub acquisition_date_time: Option<String>,
    pub number_of_frames: i64,
    pub samples_per_pixel: Option<u16>,
    pub photometric: Option<String>,
    pub bits_allocated: Option<u16>,
    pub bits_stored: Option<u16>,
    pub high_bit: Option<u16>,
    /// PixelRepresentation 1: two's complement.
    pub signed: Option<bool>,
    pub rescale_slope: Option<f64>,
    pub rescale_intercept: Option<f64>,
    /// `HU` for Hounsfield units, often absent.
    pub rescale_type: Option<String>,
    /// PixelPaddingValue, as stored.
    pub padding_value: Option<i64>,
    /// PixelPaddingRangeLimit: padding reaches from the value to here.
    pub padding_limit: Option<i64>,
    /// LossyImageCompression says that pixels are not what was measured.
    pub lossy: bool,
    /// Values go through a table instead of slope and intercept.
    pub has_modality_lut: bool,
}

impl fmt::Debug for SliceHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SliceHeader")
            .field("sop_class", &self.sop_class)
            .field("transfer_syntax", &self.transfer_syntax)
            .field("rows", &self.rows)
            .field("columns", &self.columns)
            .field("pixel_spacing_mm", &self.pixel_spacing_mm)
            .field("image_position_mm", &self.image_position_mm)
            .field("image_orientation", &self.image_orientation)
            .field("instance_number", &self.instance_number)
            .finish_non_exhaustive()
    }
}

impl SliceHeader {
    /// Whether the object holds a whole series in frames.
    pub fn is_enhanced(&self) -> bool {
        matches!(
            self.sop_class.as_str(),
            uids::ENHANCED_CT_IMAGE_STORAGE | uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE
        )
    }

    /// The direction in which slices are stacked, if it says how it lies.
    pub fn normal(&self) -> Option<[f64; 3]> {
        let [rx, ry, rz, cx, cy, cz] = self.image_orientation?;
        Some(cross([rx, ry, rz], [cx, cy, cz]))
    }

    /// Where it lies along its normal.
    pub fn position_mm(&self) -> Option<f64> {
        Some(dot(self.image_position_mm?, self.normal()?))
    }

    /// Passes a CT image of one frame, or one frame of an enhanced object.
    ///
    /// # Errors
    /// [`DicomError::NotCt`], [`DicomError::EnhancedCt`] or [`DicomError::MultiFrame`].
    pub fn require_ct(&self) -> Result<(), DicomError> {
        if self.is_enhanced() {
            return if self.frame.is_some() { Ok(()) } else { Err(DicomError::EnhancedCt) };
        }
        if self.sop_class != uids::CT_IMAGE_STORAGE {
            return Err(DicomError::NotCt(self.sop_class.clone()));
        }
        match self.number_of_frames {
            1 => Ok(()),
            frames => Err(DicomError::MultiFrame(frames)),
        }
    }

    /// Reads up to the last attribute of interest; gives back the elements behind it.
    pub(super) fn parse<'a>(
        envelope: &'a Envelope<'_>,
    ) -> Result<(SliceHeader, Elements<'a>), DicomError> {
        let leaves = Leaves::of(envelope)?;
        Ok((leaves.header(envelope)?, leaves.rest))
    }

    /// The header that these elements make.
    pub(super) fn of_leaves<'a>(
        written: impl Iterator<Item = &'a [u8]>,
        has_modality_lut: bool,
        envelope: &Envelope<'_>,
    ) -> Result<SliceHeader, DicomError> {
        let elements: Vec<u8> = written.flatten().copied().collect();
        let values = Values::decode(&elements, envelope.encoding)?;
        let mut header = values.header(envelope.syntax_uid.clone(), has_modality_lut);
        if header.sop_class.is_empty() {
            // A DICOMDIR says what it is in the group before the data set alone.
            header.sop_class.clone_from(&envelope.media_class);
        }
        header.lossy |= is_lossy(&header.transfer_syntax);
        // A file cut between two elements.
        if header.sop_class.is_empty()
            || (header.sop_class == uids::CT_IMAGE_STORAGE && header.rows.is_none())
        {
            return Err(DicomError::Truncated);
        }
        Ok(header)
    }
}

/// The elements of interest before the pixels, as written.
pub(super) struct Leaves<'a> {
    pub(super) written: BTreeMap<Tag, &'a [u8]>,
    pub(super) has_modality_lut: bool,
    /// What follows.
    pub(super) rest: Elements<'a>,
}

impl<'a> Leaves<'a> {
    pub(super) fn of(envelope: &'a Envelope<'_>) -> Result<Leaves<'a>, DicomError> {
        let mut rest = Elements::new(&envelope.dataset, envelope.encoding);
        let mut written = BTreeMap::new();
        let mut has_modality_lut = false;
        while rest.next_tag().is_none_or(|tag| tag.group() <= LAST_GROUP) {
            let Some(element) = rest.next()? else { break };
            has_modality_lut |= element.tag == tags::MODALITY_LUT_SEQUENCE;
            if is_wanted(element.tag) && is_leaf(&element, envelope.encoding) {
                written.insert(element.tag, element.written);
            }
        }
        Ok(Leaves { written, has_modality_lut, rest })
    }

    /// The header that they make.
    pub(super) fn header(&self, envelope: &Envelope<'_>) -> Result<SliceHeader, DicomError> {
        let written = self.written.values().copied();
        SliceHeader::of_leaves(written, self.has_modality_lut, envelope)
    }
}

/// Transfer syntaxes that never give back what was measured. JPEG 2000 (and its fast variant)
/// may or may not: there the header's own word counts.
fn is_lossy(uid: &str) -> bool {
    const SPECTRAL_SELECTION: &str = "1.2.840.10008.1.2.4.53";
    const FULL_PROGRESSION: &str = "1.2.840.10008.1.2.4.55";
    [
        uids::JPEG_BASELINE8_BIT,
        uids::JPEG_EXTENDED12_BIT,
        SPECTRAL_SELECTION,
        FULL_PROGRESSION,
        uids::JPEGLS_NEAR_LOSSLESS,
    ]
    .contains(&uid)
}

/// Text, or whole 16-bit numbers. `dicom-object` descends into whatever calls itself a
/// sequence, and loses its place where numbers do not fill their bytes, to take the next
/// bytes for a length.
pub(super) fn is_leaf(element: &Element<'_>, encoding: Encoding) -> bool {
    let Value::Plain(value) = element.value else { return false };
    let numbers_fit = value.len() % 2 == 0;
    let fits = match &element.vr {
        b"AS" | b"CS" | b"DA" | b"DS" | b"DT" | b"IS" | b"LO" | b"LT" | b"PN" | b"SH" | b"ST"
        | b"TM" | b"UI" => true,
        b"US" | b"SS" => numbers_fit,
        b"UL" => value.len() == 4,
        _ if encoding.explicit_vr => false,
        // In implicit VR the dictionary decides: numbers are these, and what is in the last group.
        _ if element.tag == tags::TEMPORAL_POSITION_INDEX => value.len() == 4,
        _ if element.tag == tags::FRAME_ACQUISITION_NUMBER => numbers_fit,
        _ if element.tag.group() == LAST_GROUP => numbers_fit,
        _ => true,
    };
    fits && value.len() <= MAX_VALUE_BYTES
}

/// Leaf attributes that [`Values::header`] asks for, and the character set of the text.
pub(super) fn is_wanted(tag: Tag) -> bool {
    const WANTED: [Tag; 63] = [
        tags::SPECIFIC_CHARACTER_SET,
        tags::IMAGE_TYPE,
        tags::SOP_CLASS_UID,
        tags::SOP_INSTANCE_UID,
        tags::STUDY_DATE,
        tags::SERIES_DATE,
        tags::ACQUISITION_DATE,
        tags::CONTENT_DATE,
        tags::ACQUISITION_DATE_TIME,
        tags::STUDY_TIME,
        tags::SERIES_TIME,
        tags::ACQUISITION_TIME,
        tags::CONTENT_TIME,
        tags::ACCESSION_NUMBER,
        tags::MODALITY,
        tags::MANUFACTURER,
        tags::STUDY_DESCRIPTION,
        tags::SERIES_DESCRIPTION,
        tags::MANUFACTURER_MODEL_NAME,
        tags::PATIENT_NAME,
        tags::PATIENT_ID,
        tags::ISSUER_OF_PATIENT_ID,
        tags::PATIENT_BIRTH_DATE,
        tags::PATIENT_SEX,
        tags::PATIENT_AGE,
        tags::CONTRAST_BOLUS_AGENT,
        tags::BODY_PART_EXAMINED,
        tags::SLICE_THICKNESS,
        tags::KVP,
        tags::PROTOCOL_NAME,
        tags::CONTRAST_BOLUS_START_TIME,
        tags::GANTRY_DETECTOR_TILT,
        tags::CONVOLUTION_KERNEL,
        tags::STUDY_INSTANCE_UID,
        tags::SERIES_INSTANCE_UID,
        tags::SERIES_NUMBER,
        tags::ACQUISITION_NUMBER,
        tags::INSTANCE_NUMBER,
        tags::IMAGE_POSITION_PATIENT,
        tags::IMAGE_ORIENTATION_PATIENT,
        tags::FRAME_OF_REFERENCE_UID,
        tags::SAMPLES_PER_PIXEL,
        tags::PHOTOMETRIC_INTERPRETATION,
        tags::NUMBER_OF_FRAMES,
        tags::ROWS,
        tags::COLUMNS,
        tags::PIXEL_SPACING,
        tags::BITS_ALLOCATED,
        tags::BITS_STORED,
        tags::HIGH_BIT,
        tags::PIXEL_REPRESENTATION,
        tags::RESCALE_INTERCEPT,
        tags::RESCALE_SLOPE,
        tags::RESCALE_TYPE,
        tags::TEMPORAL_POSITION_IDENTIFIER,
        tags::PIXEL_PADDING_VALUE,
        tags::PIXEL_PADDING_RANGE_LIMIT,
        tags::LOSSY_IMAGE_COMPRESSION,
        tags::FRAME_TYPE,
        tags::FRAME_ACQUISITION_DATE_TIME,
        tags::FRAME_ACQUISITION_NUMBER,
        tags::STACK_ID,
        tags::TEMPORAL_POSITION_INDEX,
    ];
    WANTED.contains(&tag)
}

/// Decoded leaf attributes.
pub(super) struct Values(InMemDicomObject);

impl Values {
    pub(super) fn decode(elements: &[u8], encoding: Encoding) -> Result<Values, DicomError> {
        let uid = match encoding {
            Encoding::BIG => EXPLICIT_VR_BIG_ENDIAN,
            Encoding { explicit_vr: true, .. } => uids::EXPLICIT_VR_LITTLE_ENDIAN,
            Encoding { explicit_vr: false, .. } => uids::IMPLICIT_VR_LITTLE_ENDIAN,
        };
        let syntax = TransferSyntaxRegistry.get(uid).ok_or(DicomError::NotDicom)?;
        InMemDicomObject::read_dataset_with_ts(elements, syntax)
            .map(Values)
            .map_err(|_| DicomError::Corrupt("an attribute cannot be decoded".into()))
    }

    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        let text = self.0.get(tag)?.to_str().ok()?;
        let text = text.trim_matches(['\0', ' ']);
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Exactly `N` finite numbers.
    fn numbers<const N: usize>(&self, tag: Tag) -> Option<[f64; N]> {
        let text = self.text(tag)?;
        let numbers: Option<Vec<f64>> = text
            .split('\\')
            .map(|part| part.trim_matches(['\0', ' ']).parse().ok().filter(|n: &f64| n.is_finite()))
            .collect();
        numbers?.try_into().ok()
    }

    fn number(&self, tag: Tag) -> Option<f64> {
        self.numbers(tag).map(|[number]| number)
    }

    fn integer(&self, tag: Tag) -> Option<i64> {
        self.number(tag).filter(|number| number.fract() == 0.0).map(|number| number as i64)
    }

    fn short(&self, tag: Tag) -> Option<u16> {
        self.integer(tag).and_then(|number| u16::try_from(number).ok())
    }

    fn identifiers(&self) -> Identifiers {
        Identifiers {
            patient_name: self.text(tags::PATIENT_NAME),
            patient_id: self.text(tags::PATIENT_ID),
            issuer: self.text(tags::ISSUER_OF_PATIENT_ID),
            birth_date: self.text(tags::PATIENT_BIRTH_DATE),
            sex: self.text(tags::PATIENT_SEX),
            age: self.text(tags::PATIENT_AGE),
            accession_number: self.text(tags::ACCESSION_NUMBER),
        }
    }

    fn header(&self, transfer_syntax: String, has_modality_lut: bool) -> SliceHeader {
        let either = |frame: Tag, image: Tag| self.text(frame).or_else(|| self.text(image));
        let number = |frame: Tag, image: Tag| self.integer(frame).or_else(|| self.integer(image));
        let types = either(tags::FRAME_TYPE, tags::IMAGE_TYPE).unwrap_or_default();
        SliceHeader {
            identifiers: self.identifiers(),
            study_uid: self.text(tags::STUDY_INSTANCE_UID).unwrap_or_default(),
            series_uid: self.text(tags::SERIES_INSTANCE_UID).unwrap_or_default(),
            sop_uid: self.text(tags::SOP_INSTANCE_UID).unwrap_or_default(),
            sop_class: self.text(tags::SOP_CLASS_UID).unwrap_or_default(),
            frame_of_reference_uid: self.text(tags::FRAME_OF_REFERENCE_UID),
            transfer_syntax,
            modality: self.text(tags::MODALITY).unwrap_or_default(),
            image_type: types.split('\\').map(|part| part.trim().to_owned()).collect(),
            rows: self.short(tags::ROWS),
            columns: self.short(tags::COLUMNS),
            pixel_spacing_mm: self.numbers(tags::PIXEL_SPACING),
            image_position_mm: self.numbers(tags::IMAGE_POSITION_PATIENT),
            image_orientation: self.numbers(tags::IMAGE_ORIENTATION_PATIENT),
            slice_thickness_mm: self.number(tags::SLICE_THICKNESS),
            instance_number: self.integer(tags::INSTANCE_NUMBER),
            series_number: self.integer(tags::SERIES_NUMBER),
            acquisition_number: number(tags::FRAME_ACQUISITION_NUMBER, tags::ACQUISITION_NUMBER),
            temporal_position: number(
                tags::TEMPORAL_POSITION_INDEX,
                tags::TEMPORAL_POSITION_IDENTIFIER,
            ),
            stack: self.text(tags::STACK_ID),
            frame: None,
            kvp: self.number(tags::KVP),
            gantry_tilt_degrees: self.number(tags::GANTRY_DETECTOR_TILT),
            body_part: self.text(tags::BODY_PART_EXAMINED),
            study_description: self.text(tags::STUDY_DESCRIPTION),
            series_description: self.text(tags::SERIES_DESCRIPTION),
            protocol_name: self.text(tags::PROTOCOL_NAME),
            convolution_kernel: self.text(tags::CONVOLUTION_KERNEL),
            manufacturer: self.text(tags::MANUFACTURER),
            model: self.text(tags::MANUFACTURER_MODEL_NAME),
            contrast_agent: self.text(tags::CONTRAST_BOLUS_AGENT),
            contrast_start_time: self.text(tags::CONTRAST_BOLUS_START_TIME),
            study_date: self.text(tags::STUDY_DATE),
            series_date: self.text(tags::SERIES_DATE),
            acquisition_date: self.text(tags::ACQUISITION_DATE),
            content_date: self.text(tags::CONTENT_DATE),
            study_time: self.text(tags::STUDY_TIME),
            series_time: self.text(tags::SERIES_TIME),
            acquisition_time: self.text(tags::ACQUISITION_TIME),
            content_time: self.text(tags::CONTENT_TIME),
            acquisition_date_time: either(
                tags::FRAME_ACQUISITION_DATE_TIME,
                tags::ACQUISITION_DATE_TIME,
            ),
            number_of_frames: self.integer(tags::NUMBER_OF_FRAMES).unwrap_or(1),
            samples_per_pixel: self.short(tags::SAMPLES_PER_PIXEL),
            photometric: self.text(tags::PHOTOMETRIC_INTERPRETATION),
            bits_allocated: self.short(tags::BITS_ALLOCATED),
            bits_stored: self.short(tags::BITS_STORED),
            high_bit: self.short(tags::HIGH_BIT),
            signed: self.short(tags::PIXEL_REPRESENTATION).map(|number| number == 1),
            rescale_slope: self.number(tags::RESCALE_SLOPE),
            rescale_intercept: self.number(tags::RESCALE_INTERCEPT),
            rescale_type: self.text(tags::RESCALE_TYPE),
            padding_value: self.integer(tags::PIXEL_PADDING_VALUE),
            padding_limit: self.integer(tags::PIXEL_PADDING_RANGE_LIMIT),
            lossy: self.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref() == Some("01"),
            has_modality_lut,
        }
    }
}
